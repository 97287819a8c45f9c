"""What a file holds beside what its manifest holds: nothing lost, and nothing added but documented defaults.

A field is named by the keys that lead to it; `[]` stands for a place in a list. Lists keep their order on the way, so
that items are compared by their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# A field: where it stands, and its value, which is no map or list unless that is empty.
Field = tuple[str, Any]
_ABSENT = object()


def fields(value: Any, path: str = "") -> Iterator[Field]:
    """The fields of a document."""
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from fields(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for child in value:
            yield from fields(child, f"{path}[]")
    else:
        yield path, value


def missing(wanted: Any, found: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where something wanted is not found, or is another value: path, what was wanted, and what there is."""
    if isinstance(wanted, Mapping) and wanted and isinstance(found, Mapping):
        for key, child in wanted.items():
            yield from missing(child, found.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif isinstance(wanted, list) and wanted and isinstance(found, list):
        for index, child in enumerate(wanted):
            yield from missing(child, found[index] if index < len(found) else _ABSENT, f"{path}[]")
    elif found is _ABSENT:
        yield path, wanted, None
    elif type(wanted) is not type(found) or wanted != found:
        yield path, wanted, found


def added(wanted: Any, found: Any, path: str = "") -> Iterator[Field]:
    """The fields of what is found that nobody wanted."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key, child in found.items():
            here = f"{path}.{key}" if path else key
            yield from added(wanted[key], child, here) if key in wanted else fields(child, here)
    elif isinstance(wanted, list) and isinstance(found, list):
        for index, child in enumerate(found):
            here = f"{path}[]"
            yield from added(wanted[index], child, here) if index < len(wanted) else fields(child, here)
