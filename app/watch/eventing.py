"""From a change to Events: pure, without a clock and without I/O.

The operation follows from the change, from what a destination selects now, and from what it knows: an object that
enters a selection is created there, one that leaves it is deleted. It has left only if the selection is the one that it
was written under: what a change of a rule leaves behind is kept. The object is sanitised, encoded and hashed once for
all destinations that ignore the same. `writing.py` calls this and owns what is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Protocol

from app import errors, events
from app.models import inventory, ledger
from app.rules import ignoring, matching, sanitising, selecting, types, users
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
        self._contents: dict[ignoring.Ignored, Content] = {}

    def content(self, ignored: ignoring.Ignored = ignoring.NOTHING) -> Content:
        """The sanitised object without what is ignored, or why there is none."""
        found = self._contents.get(ignored)
        if found is None:
            found = self._contents[ignored] = self._sanitised(ignored)
        return found

    def _sanitised(self, ignored: ignoring.Ignored) -> Content:
        try:
            body = sanitising.body(sanitising.sanitise(self.obj, ignored))
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

    def written(self, found: inventory.Known | None) -> events.Operation:
        """What writing the object is, as a destination sees it that has this of it."""
        same = found is not None and found.uid == self.identifier.uid
        return events.Operation.UPDATE if same else events.Operation.CREATE


@dataclass(frozen=True, slots=True)
class Content:
    """What the ledger keeps of an object; with a `problem` there is no body."""

    body: bytes
    hash: str
    problem: str


NO_CONTENT = Content(b"", "", "")


@dataclass(frozen=True, slots=True)
class Selected:
    """One destination that gets an Event of an object; `rule` is the first by name, None when only listed.

    `uid` is whose file a DELETE takes away: of an object that left under another uid than its file has, the file's.
    `kept` says that no rule selects such an operation of the object, or the object at all: its file stays as it is.
    `remover` is what `selecting.remover` wants to know of the file later.
    """

    target: routing.Target
    operation: events.Operation
    rule: str | None
    uid: str
    mark: str | None = None
    ignored: ignoring.Ignored = ignoring.NOTHING
    kept: bool = False
    remover: str | None = None


def select(subject: Subject, routes: routing.Routing, known: Mapping[int, Known]) -> Iterator[Selected]:
    """The destinations that get an Event of this change, with its real operation.

    A listed object that left its selection comes as a DELETE: `batching.py` leaves it to the sweep. What is kept is no
    news, and only a listing says of it which rules hold its file.
    """
    if subject.key[:2] == matching.SECRETS:
        return
    selections = {one.destination: one for one in routes.matcher.match(subject.identifier, subject.obj)}
    for holding in routes.holding(subject.key):
        found = known[holding.target.id].get(subject.key)
        selection = selections.get(holding.target.ref)
        if selection is None or subject.deleted:
            chosen = _removed(subject, holding, selection, found=found, matcher=routes.matcher)
        else:
            chosen = _written(subject, holding, selection, found)
            if chosen is None and found is not None:
                # The successor of the file's object is not written, and its file is not the successor's.
                chosen = _removed(subject, holding, None, found=found, matcher=routes.matcher)
        if chosen is not None:
            yield chosen


def _written(
    subject: Subject, holding: routing.Holding, selection: selecting.Selection, found: inventory.Known | None
) -> Selected | None:
    operation = subject.written(found)
    is_new = operation is events.Operation.CREATE
    # What changed is an update even where nobody knows it, unless it may have changed into the selection.
    entered = is_new and selection.narrowed and events.Operation.CREATE in selection.rules
    if subject.modified and not entered:
        operation = events.Operation.UPDATE
    rule = selection.rules.get(operation)
    kept = rule is None
    if kept and is_new:
        return None
    rule = rule or next(iter(selection.rules.values()))
    return Selected(
        holding.target,
        operation,
        rule,
        subject.identifier.uid,
        holding.mark,
        selection.ignored,
        kept,
        selection.rules.get(events.Operation.DELETE, selecting.NOBODY),
    )


def _removed(
    subject: Subject,
    holding: routing.Holding,
    selection: selecting.Selection | None,
    *,
    found: inventory.Known | None,
    matcher: selecting.Matcher,
) -> Selected | None:
    """The DELETE of an object that is gone, or that left the selection under which its file was written.

    `selection` is that of a deleted object at its end, which is the last word on its own file.
    """
    rule = selection.rules.get(events.Operation.DELETE) if selection is not None else None
    # Under its name there is another object: that of the file is gone, whatever became of the rules.
    other = found is not None and found.uid != subject.identifier.uid
    left = selection is None and (subject.deleted or (found is not None and found.mark == holding.mark))
    if rule is None and found is not None and (other or left):
        rule = matcher.remover(subject.identifier, holding.target.ref, noted=found.remover)
    if rule is None:
        return None
    uid = subject.identifier.uid if subject.deleted or found is None else found.uid
    return Selected(holding.target, events.Operation.DELETE, rule, uid, holding.mark)


def is_unchanged(subject: Subject, chosen: Selected, known: Known) -> bool:
    """Whether a destination has this very content of this very object already. A DELETE is never compared.

    What was written under another selection, or goes under another rule, gets a row all the same: that stamps its file
    anew, and makes no commit.
    """
    if chosen.operation is events.Operation.DELETE:
        return False
    content = subject.content(chosen.ignored)
    return not content.problem and known.get(subject.key) == inventory.Known(
        subject.identifier.uid, content.hash, chosen.mark, chosen.remover
    )


def entry(
    subject: Subject, chosen: Selected, origin: Origin, *, seed: str | None = None, stale: str | None = None
) -> ledger.Entry:
    """The row of one Event: pending, stale with a reason, or dead when the object cannot be written.

    Raises EventError for an Event without branch, folder or destination (promise P4).
    """
    target, removed = chosen.target, chosen.operation is events.Operation.DELETE
    content = NO_CONTENT if removed or chosen.kept else subject.content(chosen.ignored)
    problem = content.problem
    same = chosen.uid == subject.identifier.uid
    identifier = subject.identifier if same else replace(subject.identifier, uid=chosen.uid)
    event = _event(
        target,
        origin,
        operation=chosen.operation,
        identifier=identifier,
        resource_version=subject.resource_version,
        rule=chosen.rule or "",
        user_info=subject.user,
        content_hash=content.hash or None,
        seed=seed,
    )
    state = ledger.DEAD if problem else ledger.STALE if stale else ledger.PENDING
    body = None if removed or state != ledger.PENDING else content.body
    # A row that is stale because a newer one says more does not stamp the file.
    mark, remover = (chosen.mark, chosen.remover) if chosen.kept or not stale else (None, None)
    return ledger.Entry(target.id, target.place_id, event, body, state, problem or stale, mark, remover)


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


def removal(
    target: routing.Target,
    origin: Origin,
    what: events.Identifier,
    *,
    version: str = "",
    rule: str,
    user: events.UserInfo,
    seed: str,
    body: bytes | None = None,
) -> ledger.Entry:
    """The row that removes a file because a person wants that; `version` is the one that stands there, if known."""
    event = _event(
        target,
        origin,
        operation=events.Operation.DELETE,
        identifier=what,
        resource_version=version,
        rule=rule,
        user_info=user,
        seed=seed,
    )
    return ledger.Entry(target.id, target.place_id, event, body)


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
