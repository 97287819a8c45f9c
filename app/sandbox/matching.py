"""Patterns of custom resources: Go's regular expressions (RE2) with Python's engine, within a bound of time.

RE2 takes a time that grows with the text alone. Python's engine tries one way after the other: for `^(a+)+$` the time
doubles with each letter, and everything here runs in one thread. Such patterns stand in definitions of good repute,
so none is refused; a text that would take too long is let through, as one is that only a CEL rule refuses.
"""

from __future__ import annotations

import functools
import re
import signal
import threading

# Of processor time, for one text: a thousand times what a pattern usually takes.
_PATIENCE = 0.2


class _TooLong(Exception):  # noqa: N818 - a fact about a pattern and a text.
    """The time is over."""


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text; also true where that cannot be said in time."""
    compiled = _compiled(pattern)
    if threading.current_thread() is not threading.main_thread():
        # Signals are for the main thread alone, which is where a sandbox runs.
        return bool(compiled.search(text))
    _arm()
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE)
        try:
            return bool(compiled.search(text))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _TooLong:
        return True


@functools.cache
def _arm() -> None:
    """The engine looks for signals while it searches; this one is no other part's."""
    signal.signal(signal.SIGVTALRM, _end)


def _end(_number: int, _frame: object) -> None:
    raise _TooLong


@functools.lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of Go (RE2) with the same meaning in Python: `$` is the very end there, not before a last newline."""
    translated, in_class, i = [], False, 0
    while i < len(pattern):
        step = 2 if pattern[i] == "\\" else 1
        part = pattern[i : i + step]
        in_class = (in_class or part == "[") and part != "]"
        translated.append({"$": r"\Z", r"\z": r"\Z"}.get(part, part) if not in_class else part)
        i += step
    return re.compile("".join(translated))
