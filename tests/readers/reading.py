"""What the readers of YAML have in common: they take whole files, as many as there are, and tell what each one holds.

`python.py`, `kubectl.py` and `go.py` are the readers. Starting a program costs more than reading a file, so that
`asking.py` gives them long lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What a reader answers about a file that it cannot read."""

    why: str


Reader = Callable[[Sequence[bytes]], list[Any]]


def identical(read: Any, written: Any) -> bool:
    """Whether a value came back with every type that Python tells apart: 1 is neither 1.0 nor true."""
    return repr(_sorted(read)) == repr(_sorted(written))


def equal(read: Any, written: Any) -> bool:
    """Whether a value came back as JSON sees it, where 1.0 and 1 are one number; Go writes both as 1."""
    if isinstance(written, dict):
        same_keys = isinstance(read, dict) and read.keys() == written.keys()
        return same_keys and all(equal(read[key], written[key]) for key in written)
    if isinstance(written, list):
        same_length = isinstance(read, list) and len(read) == len(written)
        return same_length and all(map(equal, read, written))
    if isinstance(written, bool) or isinstance(read, bool):
        return read is written
    if isinstance(written, float) and isinstance(read, int):
        # As many digits as tell this number from its neighbours, and then zeros.
        return float(read) == written
    return bool(read == written)


def _sorted(value: Any) -> Any:
    """Mappings in one order, for `repr`."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=repr)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
