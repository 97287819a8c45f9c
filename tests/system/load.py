"""Writing into a cluster for as long as a test breaks things beside it, and noting what was written when."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tests.system.cluster import Api

OBJECTS = 50
PER_SECOND = 20.0
# Objects that come and go; the oldest goes when there are so many.
PASSING = 5


class Load:
    """Changes of ConfigMaps of one namespace with a rising number; each tenth is a create or a delete instead."""

    def __init__(self, api: Api, namespace: str, *, objects: int = OBJECTS, per_second: float = PER_SECOND) -> None:
        self.namespace, self.seq = namespace, 0
        # Number -> when the API server had answered, in seconds of the clock that all processes share.
        self.wrote: dict[int, float] = {}
        self._api, self._objects, self._per_second = api, objects, per_second
        self._passing: list[str] = []

    def prepare(self) -> None:
        """Create the objects that are changed."""
        for number in range(self._objects):
            self._api.create("configmaps", self.namespace, f"steady-{number}", data={"seq": "0"})

    def run(self, stop: threading.Event) -> None:
        """Thread: write until told to stop. The API server is not what is broken here, so every error is one."""
        for number, _ in zip(itertools.cycle(range(self._objects)), ticks(self._per_second, stop), strict=False):
            self.seq += 1
            data = {"seq": str(self.seq)}
            if self.seq % 10:
                self._api.merge("configmaps", self.namespace, f"steady-{number}", data=data)
            elif len(self._passing) < PASSING:
                self._passing.append(f"passing-{self.seq}")
                self._api.create("configmaps", self.namespace, self._passing[-1], data=data)
            else:
                self._api.delete("configmaps", self.namespace, self._passing.pop(0))
                continue
            self.wrote[self.seq] = time.time()


@contextlib.contextmanager
def running(*loads: Load) -> Iterator[None]:
    """Write all of them until the end of the block."""
    for one in loads:
        one.prepare()
    with beside(*(one.run for one in loads)):
        yield


def ticks(per_second: float, stop: threading.Event) -> Iterator[None]:
    """So many in a second, until told to stop; who is late for more than a second is not made to catch up."""
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + 1 / per_second, time.monotonic() - 1.0)
        yield


@contextlib.contextmanager
def beside(*jobs: Callable[[threading.Event], None]) -> Iterator[Sequence[BaseException]]:
    """Do these in threads, which are told to stop at the end of the block; their errors so far. One fails the block."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def run(job: Callable[[threading.Event], None]) -> None:
        try:
            job(stop)
        except BaseException as error:  # noqa: BLE001 - told by the thread that asserts
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed
