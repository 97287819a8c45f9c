"""Who changed an object, as far as the object itself says: the manager of its newest `managedFields` entry.

That is the name of a program (`kubectl-edit`), chosen by the client, and never proof of a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.events import UserInfo

SOURCE = "managedFields"


def user_of(obj: Mapping[str, Any]) -> UserInfo | None:
    """The manager of the newest entry, or None. Entries of the status subresource are no change of intent."""
    metadata = obj.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    candidates = [
        (str(entry.get("time") or ""), index, entry["manager"])
        for index, entry in enumerate(entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("manager"), str) and entry.get("subresource") != "status"
    ]
    # Times are RFC 3339 in UTC with seconds, so they sort as text; of one second, the last entry counts.
    manager = max(candidates, default=("", 0, ""))[2]
    return UserInfo(username=manager, source=SOURCE) if manager else None
