"""Where the time goes: a few counters that the bench and a person with SIGUSR1 can read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

FILE = "figures-watch.json"
NAMES = ("list_s", "sanitise_s", "ledger_s", "publish_s", "rows", "batches", "changes", "unchanged")


class Figures:
    """Counters since the start; seconds for names that end in `_s`. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, float] = dict.fromkeys(NAMES, 0)

    def add(self, name: str, amount: float) -> None:
        """Count."""
        with self._lock:
            self._values[name] += amount

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the seconds of a block."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - before)

    def snapshot(self) -> dict[str, float]:
        """The values now."""
        with self._lock:
            return {name: round(value, 4) for name, value in self._values.items()}

    def write(self, folder: Path) -> None:
        """Write them as one line of JSON, for the bench."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_bytes(orjson.dumps(self.snapshot()) + b"\n")
