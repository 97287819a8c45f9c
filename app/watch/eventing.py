"""From a change to Events: pure, without a clock and without I/O.

The operation follows from the change and from what a destination knows; rules are asked with the real one; the object
is sanitised, encoded and hashed once for all destinations. `writing.py` calls this and owns what is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Protocol

from app import errors, events
from app.models import inventory, ledger
from app.rules import matching, sanitising, types, users
from app.watch import routing

# etcd takes 1.5 MB; what is much larger comes from an aggregated server and would fill a table that nobody can read.
LARGEST_BODY = 5_000_000

ChangeKind = Literal["ADDED", "MODIFIED", "DELETED", "LISTED"]


class Known(Protocol):
    """What one destination has of each object: a dict, or a batch's view on one."""

    def get(self, key: inventory.Key, /) -> inventory.Known | None:
        """The newest state of an object, or None."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when changes were seen: the same for all of one batch's stream."""

    cluster: str
    source_epoch: int
    observed_at: datetime


class Subject:
    """One object as the API delivered it; what is derived from it is made at most once."""

    def __init__(self, type_: types.ResourceType, obj: Mapping[str, Any], *, change: ChangeKind) -> None:
        metadata = obj["metadata"]
        self.obj = obj
        self.identifier = events.Identifier(
            group=type_.group,
            version=type_.version,
            resource=type_.resource,
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            kind=type_.kind,
            uid=metadata.get("uid", ""),
        )
        self.key: inventory.Key = inventory.key_of(self.identifier)
        self.resource_version: str = metadata.get("resourceVersion", "")
        # A deletionTimestamp is the intent to delete: a finalizer only delays the end of it.
        self.deleted = change == "DELETED" or bool(metadata.get("deletionTimestamp"))
        self.modified = change == "MODIFIED"

    @cached_property
    def content(self) -> Content:
        """The sanitised object, or why there is none."""
        try:
            body = sanitising.body(sanitising.sanitise(self.obj))
        except errors.PermanentError as error:
            return Content(b"", "", error.message)
        except (RecursionError, TypeError, ValueError, AttributeError, KeyError) as error:
            # The message of a library's error may quote the object.
            return Content(b"", "", f"the object cannot be sanitised ({type(error).__name__})")
        if len(body) > LARGEST_BODY:
            return Content(b"", "", f"the object has {len(body)} bytes, at most {LARGEST_BODY} are mirrored")
        return Content(body, sanitising.content_hash(body), "")

    @cached_property
    def user(self) -> events.UserInfo | None:
        """Who changed it, as far as the object says; a delete does not say."""
        return None if self.deleted else users.user_of(self.obj)

    def operation(self, known: Known) -> events.Operation:
        """What happened, as a destination sees it that knows these objects."""
        if self.deleted:
            return events.Operation.DELETE
        if self.modified:
            return events.Operation.UPDATE
        found = known.get(self.key)
        same = found is not None and found.uid == self.identifier.uid
        return events.Operation.UPDATE if same else events.Operation.CREATE


@dataclass(frozen=True, slots=True)
class Content:
    """What the ledger keeps of an object; with a `problem` there is no body."""

    body: bytes
    hash: str
    problem: str


@dataclass(frozen=True, slots=True)
class Selected:
    """One destination that gets an Event of an object; `rule` is the first by name, None when only listed."""

    target: routing.Target
    operation: events.Operation
    rule: str | None


def select(subject: Subject, routes: routing.Routing, known: Mapping[int, Known]) -> Iterator[Selected]:
    """The destinations whose rules select this change with its real operation."""
    if subject.key[:2] == matching.SECRETS:
        return
    for selection in routes.matcher.match(subject.identifier, subject.obj):
        target = routes.targets.get(selection.destination)
        if target is None:
            continue
        operation = subject.operation(known[target.id])
        rule = selection.rules.get(operation)
        if rule is not None:
            yield Selected(target, operation, rule)


def is_unchanged(subject: Subject, known: Known) -> bool:
    """Whether a destination has this very content of this very object already. A DELETE is never compared."""
    if subject.deleted or subject.content.problem:
        return False
    return known.get(subject.key) == inventory.Known(subject.identifier.uid, subject.content.hash)


def entry(
    subject: Subject, chosen: Selected, origin: Origin, *, seed: str | None = None, stale: str | None = None
) -> ledger.Entry:
    """The row of one Event: pending, stale with a reason, or dead when the object cannot be written.

    Raises EventError for an Event without branch, folder or destination (promise P4).
    """
    target, removed = chosen.target, chosen.operation is events.Operation.DELETE
    problem = "" if removed else subject.content.problem
    event = _event(
        target,
        origin,
        operation=chosen.operation,
        identifier=subject.identifier,
        resource_version=subject.resource_version,
        rule=chosen.rule or "",
        user_info=subject.user,
        content_hash=None if removed or problem else subject.content.hash,
        seed=seed,
    )
    state = ledger.DEAD if problem else ledger.STALE if stale else ledger.PENDING
    body = None if removed or state != ledger.PENDING else subject.content.body
    return ledger.Entry(target.id, target.place_id, event, body, state, problem or stale)


def sync_entry(
    target: routing.Target, origin: Origin, *, seed: str, scopes: tuple[events.ScopeCount, ...]
) -> ledger.Entry:
    """The SEED_SYNC row that closes a seed."""
    event = _event(
        target,
        origin,
        operation=events.Operation.SEED_SYNC,
        identifier=None,
        resource_version="",
        rule="",
        seed=seed,
        scopes=scopes,
    )
    return ledger.Entry(target.id, target.place_id, event, None)


def _event(target: routing.Target, origin: Origin, **fields: Any) -> events.Event:
    """An Event for a destination, with the place that it has now (promise P4)."""
    return events.Event.create(
        cluster=origin.cluster,
        source_epoch=origin.source_epoch,
        observed_at=origin.observed_at,
        destination=target.ref,
        destination_uid=target.uid,
        repo_config=target.repo_config,
        branch=target.branch,
        base_folder=target.base_folder,
        place_generation=target.place_generation,
        **fields,
    )
