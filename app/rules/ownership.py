"""Who manages a field: reading `metadata.managedFields` (Server-Side Apply).

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Path = tuple[str | int, ...]


def fields_of(obj: Mapping[str, Any], managers: Sequence[str]) -> list[tuple[Path, str]]:
    """The places that only these managers own, with the reason."""
    del obj, managers
    return []
