"""Write the status of our objects: conditions that move only when something changed, and no write for nothing.

The leading watch daemon of the home cluster is the only writer; it knows the status that it read last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from app import events
from app.kube import client, paths
from app.rules import types

# The API allows 32,768; nobody reads more than this in `kubectl describe`.
_LONGEST_MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as we judge it now; `merge_conditions` adds the times (metav1.Condition)."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def merge_conditions(
    old: Sequence[Mapping[str, Any]], new: Sequence[Condition], *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions to write: `new` in its order, then those of other types that somebody else keeps there.

    `lastTransitionTime` stays as long as the status of that type stays.
    """
    before = {one.get("type"): one for one in old}
    ours = {one.type for one in new}
    merged = [_merged(before.get(one.type), one, generation=generation, now=now) for one in new]
    return merged + [dict(one) for one in old if one.get("type") not in ours]


def patch_status(
    cluster: client.Cluster, resource_type: types.ResourceType, found: Mapping[str, Any], *, status: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Give an object of ours this status, and return the object as it stands then: `found` when nothing differs.

    `found` is the raw object as it was read last; its resourceVersion guards the write. The fields of `status` are
    scalars or lists, which a merge patch replaces as a whole. Raises Conflict when the object changed in between,
    NotServed when it is gone, Forbidden, PermanentError (the schema refuses the status), TemporaryError.
    """
    changes = _difference(found.get("status") or {}, status)
    if not changes:
        return found
    metadata = found["metadata"]
    response = cluster.request(
        "PATCH",
        paths.single(resource_type, events.Ref(metadata.get("namespace", ""), metadata["name"]), subresource="status"),
        query={"fieldManager": client.FIELD_MANAGER},
        body=orjson.dumps({"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": changes}),
        content_type=client.MERGE_PATCH,
    )
    return client.decode(response.data, call=f"patch the status of {resource_type}")


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch (RFC 7396) of the fields that differ; null removes a field."""
    changed = {field: value for field, value in new.items() if old.get(field) != value}
    return {**changed, **{field: None for field in old if field not in new}}


def _merged(old: Mapping[str, Any] | None, new: Condition, *, generation: int, now: datetime) -> dict[str, Any]:
    kept = old.get("lastTransitionTime") if old and old.get("status") == new.status else None
    return {
        "type": new.type,
        "status": new.status,
        "reason": new.reason,
        "message": _cut(new.message),
        "lastTransitionTime": kept or now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observedGeneration": generation,
    }


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
