"""What every thread of a leader runs under: when one dies, the leader ends, and a supervisor starts it again.

Half a daemon would look alive and mirror nothing. `daemon.py` starts its threads under a guard, `streams.py` one for
each stream, and `daemon.py` decides by `failed` how the process ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from app import errors

log = structlog.get_logger(__name__)


class Guard:
    """Ends a leader when one of its threads dies; `failed` holds what they died of."""

    def __init__(self, stop: threading.Event) -> None:
        self.failed: list[BaseException] = []
        self._stop = stop

    def run(self, name: str, job: Callable[[], None]) -> None:
        """Run a thread's job. While the leader stops, errors that pass by themselves are no news."""
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - the main thread ends the process because of it
            lost = isinstance(error, errors.LeaseLostError)
            if lost or not (self._stop.is_set() and isinstance(error, errors.TemporaryError)):
                self.failed.append(error)
                _tell(name, error)
                self._stop.set()


def _tell(name: str, error: BaseException) -> None:
    # The message of a foreign error may quote an object, and so may its traceback.
    words = {"message": error.message} if isinstance(error, errors.ReverserError) else {}
    log.error("thread_died", thread=name, error=type(error).__name__, **words, at=errors.trace(error))
