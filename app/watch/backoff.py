"""How long to wait after a failure, as client-go's reflector does: 0.8 s doubling to 30 s, with jitter."""

from __future__ import annotations

import random
import time

FIRST = 0.8
LONGEST = 30.0
# After this much time without a failure the next one counts as the first again.
RESET_AFTER = 120.0


class Backoff:
    """The waits of one thing that fails now and then; used by one thread."""

    def __init__(self, *, first: float = FIRST, longest: float = LONGEST) -> None:
        self._first = first
        self._longest = longest
        self._next = first
        self._last_failure = 0.0

    def failed(self, *, at_least: float = 0.0) -> float:
        """Seconds to wait now; `at_least` is what the other side asked for (Retry-After)."""
        now = time.monotonic()
        if now - self._last_failure > RESET_AFTER:
            self._next = self._first
        wait, self._last_failure = self._next, now
        self._next = min(self._next * 2, self._longest)
        # Jitter up to the double, so that many streams of one server do not come back as one.
        return max(at_least, wait * (1.0 + random.random()))  # noqa: S311 - no secret

    def worked(self) -> None:
        """Start from the first wait again."""
        self._next = self._first
