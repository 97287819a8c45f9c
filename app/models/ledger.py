"""The ledger: Events numbered per destination, and the bodies of the pending ones.

What is not here did not happen. Numbers are taken by the first statement of a batch, under a row lock that holds
until its commit, so that a lower number can never appear after a higher one; a drain therefore selects by state
and order, never by a watermark. Only watch daemons append; only the holder of a branch lease changes states.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from app import events
from app.models import base
from app.rules import versions

PENDING = "pending"
PUSHED = "pushed"
UNCHANGED = "unchanged"
STALE = "stale"
SUPERSEDED = "superseded"
HELD = "held"
DEAD = "dead"
STATES = (PENDING, PUSHED, UNCHANGED, STALE, SUPERSEDED, HELD, DEAD)

# How the seed of rows begins that remove what a person wants gone: files that no rule selects (`reverser prune`), and
# files of which there is no record (`reverser adopt`). They make one commit, too.
PRUNE, ADOPT = "prune-", "adopt-"

# In place of the mark of a selection: a listing found the object, and no rule selects it.
LEFT = "-"


class LedgerHead(base.Base):
    """The next number of a destination's ledger. Narrow, because each batch locks it."""

    __tablename__ = "ledger_head"

    destination_id: Mapped[int] = mapped_column(
        base.RowId, ForeignKey("git_destination.id"), primary_key=True, autoincrement=False
    )
    next: Mapped[int] = mapped_column(BigInteger, default=1)
    # Stands in the trailers of our commits: numbers of another ledger are not ours.
    ledger_uuid: Mapped[str] = mapped_column(Text)


class EventRow(base.Base):
    """One Event of one destination (DESIGN section 5), and what became of it."""

    __tablename__ = "event"
    __table_args__ = (
        Index(
            "ix_event_pending",
            "destination_id",
            "sequence",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        # Few or none, and the status asks for them all the time.
        Index(
            "ix_event_dead",
            "destination_id",
            "sequence",
            postgresql_where=text("state = 'dead'"),
            sqlite_where=text("state = 'dead'"),
        ),
        # Files that a person wants gone: each drain looks for those at places that its destination has no more.
        Index(
            "ix_event_unwanted",
            "destination_id",
            "place_id",
            "sequence",
            postgresql_where=text("state = 'pending' AND substr(seed_run_id, 1, 6) = 'prune-'"),
            sqlite_where=text("state = 'pending' AND substr(seed_run_id, 1, 6) = 'prune-'"),
        ),
        # Most rows are live Events, which belong to no seed.
        Index(
            "ix_event_seed_run_id",
            "seed_run_id",
            postgresql_where=text("seed_run_id IS NOT NULL"),
            sqlite_where=text("seed_run_id IS NOT NULL"),
        ),
    )

    # No foreign keys to destination and place: ledger_head, which gives the number, has the first; neither is ever
    # deleted; and the two checks take PostgreSQL as long as writing the row.
    destination_id: Mapped[int] = mapped_column(base.RowId, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(Text, unique=True)
    place_id: Mapped[int] = mapped_column(base.RowId)
    cluster: Mapped[str] = mapped_column(Text)
    source_epoch: Mapped[int] = mapped_column(BigInteger)
    operation: Mapped[str] = mapped_column(Text)
    api_group: Mapped[base.Name]
    version: Mapped[base.Name]
    resource: Mapped[base.Name]
    namespace: Mapped[base.Name]
    name: Mapped[base.Name]
    kind: Mapped[base.Name]
    uid: Mapped[base.Name]
    resource_version: Mapped[base.Name]
    observed_at: Mapped[base.Moment]
    rule: Mapped[base.Name]
    user_name: Mapped[str | None] = mapped_column(base.Escaped)
    user_source: Mapped[str | None] = mapped_column(Text)
    content_hash: Mapped[str | None] = mapped_column(Text)
    # What selected the object (`DestinationScope.mark` in `app/rules/selecting.py`), or LEFT; null when nothing did.
    selection: Mapped[str | None] = mapped_column(Text)
    # The rule that selects the deletion of the object, '' when none does; null when nobody knows.
    remover: Mapped[str | None] = mapped_column(base.Escaped)
    seed_run_id: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default=PENDING)
    state_reason: Mapped[str | None] = mapped_column(base.Escaped)
    commit_id: Mapped[int | None] = mapped_column(base.RowId)
    settled_at: Mapped[datetime | None] = mapped_column(base.Utc)


class EventBody(base.Base):
    """The sanitised object of a pending row, as JSON bytes; gone when the row is final.

    Of a row that removes a file of which there is no record (`reverser adopt`), the blob that a person saw.
    """

    __tablename__ = "event_body"

    destination_id: Mapped[int] = mapped_column(base.RowId, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    body: Mapped[bytes] = mapped_column(LargeBinary)


@dataclass(frozen=True, slots=True)
class Entry:
    """One Event on its way into the ledger. `state` is pending, or stale with a reason.

    `selection` is the mark of what selected it, which the inventory keeps: a file whose object leaves that selection
    goes, and one whose selection went stays. `remover` is the rule under which it goes ('' for none, None where nobody
    knows). Of a stale row, the inventory takes both over with the end of its seed.
    """

    destination_id: int
    place_id: int
    event: events.Event
    body: bytes | None
    state: str = PENDING
    reason: str | None = None
    selection: str | None = None
    remover: str | None = None

    def numbered(self, sequence: int) -> Entry:
        """The same Event with its number, spelt out because `dataclasses.replace` takes twice as long."""
        event = self.event.numbered(sequence)
        return Entry(
            self.destination_id,
            self.place_id,
            event,
            self.body,
            self.state,
            self.reason,
            self.selection,
            self.remover,
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """One row as a drain reads it; the body is read apart."""

    sequence: int
    id: str
    place_id: int
    operation: events.Operation
    identifier: events.Identifier
    resource_version: str
    observed_at: datetime
    rule: str
    user: events.UserInfo | None
    content_hash: str | None
    seed_run_id: str | None
    source_epoch: int
    selection: str | None = None
    remover: str | None = None

    @property
    def is_pruned(self) -> bool:
        """Whether a person wants the file gone, whatever became of its object."""
        return self.seed_run_id is not None and self.seed_run_id.startswith((PRUNE, ADOPT))

    @property
    def is_adopted(self) -> bool:
        """The same of a file of which there is no record; the row's body is the blob that the person saw."""
        return self.seed_run_id is not None and self.seed_run_id.startswith(ADOPT)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What pends for one destination; `seed_rows` of the `count` rows are of seeds."""

    destination_id: int
    first: int
    last: int
    count: int
    seed_rows: int


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of one row."""

    sequence: int
    state: str
    reason: str | None = None
    commit_id: int | None = None


_E = EventRow

# Spelt out, not bound: with a parameter in its place, a prepared statement's plan could not use the partial index.
IS_PENDING = EventRow.state == literal_column(f"'{PENDING}'")
IS_DEAD = EventRow.state == literal_column(f"'{DEAD}'")
# A pending row of `reverser prune`, and any other.
_PRUNES = f"substr(event.seed_run_id, 1, {len(PRUNE)})"
IS_UNWANTED = IS_PENDING & text(f"{_PRUNES} = '{PRUNE}'")
IS_WANTED = IS_PENDING & text(f"(event.seed_run_id IS NULL OR {_PRUNES} <> '{PRUNE}')")


def open_head(connection: Connection, destination_id: int) -> None:
    """Give a new destination its numbers, from 1, and the uuid that its trailers carry."""
    if connection.scalar(select(LedgerHead.next).filter_by(destination_id=destination_id)) is None:
        connection.execute(
            base.insert(LedgerHead).values(destination_id=destination_id, next=1, ledger_uuid=str(uuid.uuid4()))
        )


def ledger_uuid(connection: Connection, destination_id: int) -> str:
    """The uuid of a destination's ledger."""
    return connection.execute(select(LedgerHead.ledger_uuid).filter_by(destination_id=destination_id)).scalar_one()


def is_known(connection: Connection, uuid: str) -> bool:
    """Whether a ledger is of this database, be its destination deleted."""
    return connection.scalar(select(LedgerHead.destination_id).filter_by(ledger_uuid=uuid).limit(1)) is not None


def take_numbers(connection: Connection, counts: Mapping[int, int]) -> dict[int, int]:
    """Destination id -> first of its numbers. Must be the first statement of a batch's transaction.

    In id order, so that two batches never wait for each other in a circle.
    """
    first = {}
    for destination_id in sorted(counts):
        count = counts[destination_id]
        taken = connection.execute(
            update(LedgerHead)
            .where(LedgerHead.destination_id == destination_id)
            .values(next=LedgerHead.next + count)
            .returning(LedgerHead.next)
        ).scalar_one()
        first[destination_id] = taken - count
    return first


def append(connection: Connection, entries: Sequence[Entry], numbers: Mapping[int, int]) -> list[Entry]:
    """Write numbered Events and bodies; the entries that were new, with their numbers, in order.

    `numbers` comes from `take_numbers` of the same transaction. An Event whose id stands in the ledger already (a
    batch written again after an unknown outcome) is passed over: its number stays unused.
    """
    by_id: dict[str, Entry] = {}
    for entry in entries:
        by_id.setdefault(entry.event.id, entry)
    distinct = list(by_id.values())
    try:
        # Asking first which are known would take PostgreSQL a fifth of the time, and nearly all batches are new.
        with connection.begin_nested():
            return _insert(connection, distinct, numbers)
    except IntegrityError:
        known = _known_ids(connection, distinct)
        if not known:
            raise
        return _insert(connection, [entry for entry in distinct if entry.event.id not in known], numbers)


def _insert(connection: Connection, entries: Sequence[Entry], numbers: Mapping[int, int]) -> list[Entry]:
    following = dict(numbers)
    written: list[Entry] = []
    for entry in entries:
        sequence = following[entry.destination_id]
        following[entry.destination_id] = sequence + 1
        written.append(entry.numbered(sequence))
    base.insert_many(connection, _E, [_row(entry) for entry in written])
    bodies = [
        {"destination_id": entry.destination_id, "sequence": entry.event.sequence, "body": entry.body}
        for entry in written
        if entry.body is not None and entry.state == PENDING
    ]
    base.insert_many(connection, EventBody, bodies)
    return written


def _known_ids(connection: Connection, entries: Sequence[Entry]) -> set[str]:
    """The ids that are there. The destinations are named for partitions: without them each is looked through."""
    ids, destination_ids = [entry.event.id for entry in entries], {entry.destination_id for entry in entries}
    there = base.among(connection, _E.id, ids), base.among(connection, _E.destination_id, sorted(destination_ids))
    return set(connection.scalars(select(_E.id).where(*there)))


_NOBODY = events.Identifier(group="", version="", resource="", namespace="", name="", kind="", uid="")


def _row(entry: Entry) -> dict[str, Any]:
    event = entry.event
    what = event.identifier or _NOBODY
    return {
        "destination_id": entry.destination_id,
        "sequence": event.sequence,
        "id": event.id,
        "place_id": entry.place_id,
        "cluster": event.cluster,
        "source_epoch": event.source_epoch,
        "operation": event.operation.value,
        "api_group": what.group,
        "version": what.version,
        "resource": what.resource,
        "namespace": what.namespace,
        "name": what.name,
        "kind": what.kind,
        "uid": what.uid,
        "resource_version": event.resource_version,
        "observed_at": event.observed_at,
        "rule": event.rule,
        "user_name": event.user_info.username if event.user_info else None,
        "user_source": event.user_info.source if event.user_info else None,
        "content_hash": event.content_hash,
        "selection": entry.selection,
        "remover": entry.remover,
        "seed_run_id": event.seed,
        "state": entry.state,
        "state_reason": entry.reason,
        "commit_id": None,
        "settled_at": None if entry.state == PENDING else event.observed_at,
    }


def pending(connection: Connection, destination_id: int, *, place_id: int, limit: int) -> list[Pending]:
    """Pending rows of one place in order, by state and order alone: a drain works on one generation."""
    query = _identity_query().where(_E.destination_id == destination_id, _E.place_id == place_id, IS_PENDING)
    return [_pending(row) for row in connection.execute(query.order_by(_E.sequence).limit(limit))]


def unwanted(connection: Connection, destination_id: int, *, place_id: int, limit: int) -> list[Pending]:
    """Pending rows of one place that remove what a person wants gone, in order."""
    query = _identity_query().where(_E.destination_id == destination_id, _E.place_id == place_id, IS_UNWANTED)
    return [_pending(row) for row in connection.execute(query.order_by(_E.sequence).limit(limit))]


def give_up_unwanted(connection: Connection, destination_id: int, *, place_id: int, reason: str) -> None:
    """Supersede those rows, which have no bodies."""
    ended = {"state": SUPERSEDED, "state_reason": reason, "settled_at": base.now()}
    own = _E.destination_id == destination_id, _E.place_id == place_id, IS_UNWANTED
    connection.execute(update(_E).where(*own).values(ended))


def _identity_query() -> base.AnySelect:
    return select(
        _E.sequence,
        _E.id,
        _E.place_id,
        _E.operation,
        _E.api_group,
        _E.version,
        _E.resource,
        _E.namespace,
        _E.name,
        _E.kind,
        _E.uid,
        _E.resource_version,
        _E.observed_at,
        _E.rule,
        _E.user_name,
        _E.user_source,
        _E.content_hash,
        _E.seed_run_id,
        _E.source_epoch,
        _E.selection,
        _E.remover,
    )


def _pending(row: base.AnyRow) -> Pending:
    user = None if row.user_name is None else events.UserInfo(row.user_name, row.user_source)
    return Pending(
        sequence=row.sequence,
        id=row.id,
        place_id=row.place_id,
        operation=events.Operation(row.operation),
        identifier=identifier_of(row),
        resource_version=row.resource_version,
        observed_at=row.observed_at,
        rule=row.rule,
        user=user,
        content_hash=row.content_hash,
        seed_run_id=row.seed_run_id,
        source_epoch=row.source_epoch,
        selection=row.selection,
        remover=row.remover,
    )


def identifier_of(row: base.AnyRow) -> events.Identifier:
    """The object that a row is about; the same columns name it in the ledger, the inventory and the commits."""
    return events.Identifier(
        group=row.api_group,
        version=row.version,
        resource=row.resource,
        namespace=row.namespace,
        name=row.name,
        kind=row.kind,
        uid=row.uid,
    )


def bodies(
    connection: Connection, destination_id: int, sequences: Sequence[int], *, most_bytes: int
) -> dict[int, bytes]:
    """The bodies of some rows, by number: the lowest first, one at least, until they have so many bytes."""
    size = func.length(EventBody.body)
    before = func.sum(size).over(order_by=EventBody.sequence) - size
    sized = (
        select(EventBody.sequence, before.label("before"))
        .where(EventBody.destination_id == destination_id, base.among(connection, EventBody.sequence, sequences))
        .subquery()
    )
    query = select(EventBody.sequence, EventBody.body).join(
        sized, (EventBody.sequence == sized.c.sequence) & (EventBody.destination_id == destination_id)
    )
    return {row.sequence: row.body for row in connection.execute(query.where(sized.c.before < most_bytes))}


def backlog(connection: Connection, destination_id: int, *, place_id: int) -> Backlog | None:
    """What pends for a destination at a place; None for nothing."""
    return next(_backlogs(connection, _E.destination_id == destination_id, _E.place_id == place_id), None)


def backlogs(connection: Connection, destination_ids: Sequence[int]) -> list[Backlog]:
    """What pends for each of some destinations, wherever; those without pending rows are left out."""
    return list(_backlogs(connection, _E.destination_id.in_(destination_ids)))


def _backlogs(connection: Connection, *where: base.Condition) -> Iterator[Backlog]:
    counted = func.min(_E.sequence), func.max(_E.sequence), func.count(), func.count(_E.seed_run_id)
    query = select(_E.destination_id, *counted).where(*where, IS_PENDING).group_by(_E.destination_id)
    return (Backlog(*row) for row in connection.execute(query))


def settle(connection: Connection, destination_id: int, ends: Iterable[Settled]) -> None:
    """Give pending rows their end and drop their bodies; a row that is final already keeps its end.

    Call it in a transaction that is fenced by the branch lease.
    """
    for part in _chunks(list(ends)):
        _end(connection, destination_id, part)
        numbers = base.among(connection, EventBody.sequence, [end.sequence for end in part])
        connection.execute(delete(EventBody).where(EventBody.destination_id == destination_id, numbers))


def _end(connection: Connection, destination_id: int, ends: Sequence[Settled]) -> None:
    ending = update(_E).where(_E.destination_id == destination_id, IS_PENDING).values(settled_at=base.now())
    rows = [
        {"number": end.sequence, "state": end.state, "state_reason": end.reason, "commit_id": end.commit_id}
        for end in ends
    ]
    if connection.dialect.name != "postgresql":
        connection.execute(ending.where(_E.sequence == bindparam("number")), rows)
        return
    kinds = {"number": _E.sequence, "state": _E.state, "state_reason": _E.state_reason, "commit_id": _E.commit_id}
    table = base.table_of(rows, kinds)
    values = {name: table.c[name] for name in ("state", "state_reason", "commit_id")}
    connection.execute(ending.where(_E.sequence == table.c.number).values(values))


def _chunks(ends: Sequence[Settled], size: int = 5_000) -> Iterable[Sequence[Settled]]:
    """SQLite takes 32,766 variables in one statement."""
    return (ends[start : start + size] for start in range(0, len(ends), size))


def supersede_pending(connection: Connection, destination_id: int, *, reason: str) -> int:
    """Supersede all rows that pend for a destination; how many. Used when its place changes or it is deleted."""
    count = connection.execute(
        update(_E)
        .where(_E.destination_id == destination_id, IS_PENDING)
        .values(state=SUPERSEDED, state_reason=reason, settled_at=base.now())
    ).rowcount
    if count:
        connection.execute(delete(EventBody).where(EventBody.destination_id == destination_id))
    return count


@dataclass(frozen=True, slots=True)
class ChangeOf:
    """A pending change, and the version that it brings of which object.

    The object is a digest of 16 bytes, because those of a million rows may be looked at.
    """

    sequence: int
    object: bytes
    source_epoch: int
    resource_version: str

    def is_older(self, than: ChangeOf) -> bool:
        """Whether another change brings a newer version, or the same; not where nobody can tell."""
        if self.source_epoch != than.source_epoch:
            return self.source_epoch < than.source_epoch
        return versions.newer(self.resource_version, than.resource_version) is False


def changes_before(
    connection: Connection, destination_id: int, before: int, *, place_id: int, limit: int
) -> list[ChangeOf]:
    """Pending changes of a place below a number, the newest first; what a seed listed is none."""
    of_object = _E.api_group, _E.resource, _E.namespace, _E.name, _E.uid
    query: base.AnySelect = select(_E.sequence, _E.source_epoch, _E.resource_version, *of_object)
    own = _E.destination_id == destination_id, _E.place_id == place_id, IS_PENDING, _E.seed_run_id.is_(None)
    query = query.where(*own, _E.sequence < before).order_by(_E.sequence.desc()).limit(limit)
    return [
        ChangeOf(sequence, _digest(parts), epoch, version)
        for sequence, epoch, version, *parts in connection.execute(query)
    ]


def _digest(parts: Sequence[str]) -> bytes:
    # What is escaped holds no U+0000.
    return hashlib.blake2b("\0".join(base.escape(part) for part in parts).encode(), digest_size=16).digest()


def rows_between(connection: Connection, destination_id: int, *, first: int, last: int) -> list[Pending]:
    """The rows of a span of numbers, in any state, in order."""
    query = _identity_query().where(_E.destination_id == destination_id, _E.sequence.between(first, last))
    return [_pending(row) for row in connection.execute(query.order_by(_E.sequence))]


def ids_between(connection: Connection, destination_id: int, *, first: int, last: int) -> list[str]:
    """The ids of a span of numbers, in any state, in order: what the digest in a trailer is made of."""
    query = select(_E.id).where(_E.destination_id == destination_id, _E.sequence.between(first, last))
    return list(connection.scalars(query.order_by(_E.sequence)))


def seed_identities(connection: Connection, destination_id: int, run: str) -> list[events.Identifier]:
    """The objects that a seed listed, whatever became of their rows."""
    query = select(_E.api_group, _E.version, _E.resource, _E.namespace, _E.name, _E.kind, _E.uid).where(
        _E.destination_id == destination_id,
        _E.seed_run_id == run,
        _E.operation != events.Operation.SEED_SYNC.value,
    )
    return [identifier_of(row) for row in connection.execute(query)]
