"""The inventory: what is in Git for each place and path, tombstones included.

A file is ours exactly when it has a row here. Written only in the fenced transaction that records a drain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import BigInteger, Connection, ForeignKey, Index, Text, func, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app import events
from app.models import base, ledger


class InventoryRow(base.Base):
    """One path of one place: whose object stands there, at which version, or that it is gone."""

    __tablename__ = "inventory"
    __table_args__ = (Index(None, "place_id", "api_group", "resource", "namespace", "name"),)

    place_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("place.id"), primary_key=True, autoincrement=False)
    path: Mapped[str] = mapped_column(base.Escaped, primary_key=True)
    api_group: Mapped[base.Name]
    version: Mapped[base.Name]
    resource: Mapped[base.Name]
    namespace: Mapped[base.Name]
    name: Mapped[base.Name]
    kind: Mapped[base.Name]
    uid: Mapped[base.Name]
    resource_version: Mapped[base.Name]
    source_epoch: Mapped[int] = mapped_column(BigInteger)
    content_hash: Mapped[str | None] = mapped_column(Text)
    blob_id: Mapped[str | None] = mapped_column(Text)
    seed_run_id: Mapped[str | None] = mapped_column(Text)
    # What selected the object when it was last written or listed (`ledger.Entry`), the first rule by name, and the rule
    # that removes the file. Null for what the first release wrote, until a listing found it.
    selection: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[str | None] = mapped_column(base.Escaped)
    remover: Mapped[str | None] = mapped_column(base.Escaped)
    # A tombstone: the file was removed; it keeps late rows of the same object from bringing it back.
    removed: Mapped[bool] = mapped_column(default=False)
    # Its object is gone, and the file stays: KEPT or HELD. Null for all others.
    orphan: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the inventory."""

    path: str
    identifier: events.Identifier
    resource_version: str
    content_hash: str | None
    blob_id: str | None
    seed_run_id: str | None
    removed: bool
    source_epoch: int = 1
    selection: str | None = None
    rule: str | None = None
    remover: str | None = None
    orphan: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """The newest state of an object that the ledger or Git holds for a destination; what `unchanged` compares.

    `mark` says what selected it: None for what an earlier version wrote. `remover` is the rule that selects its
    deletion ('' for none, None where nobody knows).
    """

    uid: str
    content_hash: str
    mark: str | None = None
    remover: str | None = None


# Why the file of an object that is gone stays: `spec.prune` says so, or a person has to let a large sweep pass.
KEPT, HELD = "kept", "held"

# Rows of one statement, which must end within the statement timeout.
_STAMPED_AT_ONCE = 5_000

# Identity without version and uid, in the order of a path.
Key = tuple[str, str, str, str]

_I = InventoryRow


def key_of(identifier: events.Identifier) -> Key:
    """Identity without version and uid."""
    return identifier.group, identifier.resource, identifier.namespace, identifier.name


def by_paths(connection: Connection, place_id: int, paths: Sequence[str]) -> dict[str, Item]:
    """The rows of some paths, tombstones included, by path."""
    found: dict[str, Item] = {}
    for start in range(0, len(paths), 5_000):
        query = select(_I.__table__).where(
            _I.place_id == place_id, base.among(connection, _I.path, paths[start : start + 5_000])
        )
        found |= {row.path: item_of(row) for row in connection.execute(query)}
    return found


def describing(connection: Connection, place_ids: Sequence[int], *, path: str, blob_id: str | None) -> list[Item]:
    """What was recorded at some places of this very file, or that it was removed (None); of the newest place first."""
    as_it_is = _I.removed if blob_id is None else _I.blob_id == blob_id
    query = select(_I.__table__).where(_I.place_id.in_(place_ids), _I.path == path, as_it_is)
    return [item_of(row) for row in connection.execute(query.order_by(_I.place_id.desc()))]


def of_scope(connection: Connection, place_id: int, *, group: str, resource: str, namespace: str) -> list[Item]:
    """The present files of one scope (type x namespace; an empty namespace means all), by path."""
    query = select(_I.__table__).where(
        _I.place_id == place_id, _I.api_group == group, _I.resource == resource, ~_I.removed
    )
    if namespace:
        query = query.where(_I.namespace == namespace)
    return [item_of(row) for row in connection.execute(query.order_by(_I.path))]


def present(connection: Connection, place_id: int) -> list[Item]:
    """All present files of a place, by path."""
    query = select(_I.__table__).where(_I.place_id == place_id, ~_I.removed).order_by(_I.path)
    return [item_of(row) for row in connection.execute(query)]


def item_of(row: base.AnyRow) -> Item:
    """A whole row of the table."""
    return Item(
        path=row.path,
        identifier=ledger.identifier_of(row),
        resource_version=row.resource_version,
        content_hash=row.content_hash,
        blob_id=row.blob_id,
        seed_run_id=row.seed_run_id,
        removed=row.removed,
        source_epoch=row.source_epoch,
        selection=row.selection,
        rule=row.rule,
        remover=row.remover,
        orphan=row.orphan,
    )


def save(connection: Connection, place_id: int, items: Iterable[Item]) -> None:
    """Insert or replace rows by path."""
    # The last of one path counts, as if they were written one after the other.
    rows = {item.path: _values(place_id, item) for item in items}
    base.insert_many(connection, _I, list(rows.values()), replace=("place_id", "path"))


def _values(place_id: int, item: Item) -> dict[str, object]:
    what = item.identifier
    return {
        "place_id": place_id,
        "path": item.path,
        "api_group": what.group,
        "version": what.version,
        "resource": what.resource,
        "namespace": what.namespace,
        "name": what.name,
        "kind": what.kind,
        "uid": what.uid,
        "resource_version": item.resource_version,
        "content_hash": item.content_hash,
        "blob_id": item.blob_id,
        "seed_run_id": item.seed_run_id,
        "removed": item.removed,
        "source_epoch": item.source_epoch,
        "selection": item.selection,
        "rule": item.rule,
        "remover": item.remover,
        "orphan": item.orphan,
    }


def take_over(connection: Connection, run: str, *, destination_id: int) -> None:
    """The end of a seed: let the files that it listed and did not write say what selects them now.

    Those rows are stale. What was written since knows better, and a file that no rule selects is left over only if
    nobody ever said what selects it.
    """
    row = ledger.EventRow
    stamping = (row.destination_id == destination_id, *_stamps(run))
    bounds = func.coalesce(func.min(row.sequence), 1), func.coalesce(func.max(row.sequence), 0)
    first, last = connection.execute(select(*bounds).where(*stamping)).one()
    rule = func.coalesce(func.nullif(row.rule, ""), _I.rule)
    said = {"selection": row.selection, "rule": rule, "remover": row.remover}
    stamp = (
        update(_I)
        .where(
            *stamping,
            (row.selection != ledger.LEFT) | _I.selection.is_(None),
            *_is_of(row),
            _I.uid == row.uid,
            ~_is_newer_than(row),
            or_(*(getattr(_I, column).is_distinct_from(value) for column, value in said.items())),
        )
        .values(said)
    )
    for start in range(first, last + 1, _STAMPED_AT_ONCE):
        connection.execute(stamp.where(row.sequence >= start, row.sequence < start + _STAMPED_AT_ONCE))


def _stamps(run: str) -> tuple[base.Condition, ...]:
    """The rows of a seed that only say what selects a file: what is as it was, and what cannot be written (P10)."""
    row = ledger.EventRow
    return row.seed_run_id == run, row.state.in_([ledger.STALE, ledger.DEAD]), row.selection.is_not(None)


def _is_of(row: type[ledger.EventRow]) -> tuple[base.Condition, ...]:
    """The present file of a row's object."""
    return *_is_named_as(row), ~_I.removed


def _is_named_as(row: type[ledger.EventRow]) -> tuple[base.Condition, ...]:
    """What a row's place says of its object, a tombstone included."""
    return (
        _I.place_id == row.place_id,
        _I.api_group == row.api_group,
        _I.resource == row.resource,
        _I.namespace == row.namespace,
        _I.name == row.name,
    )


def recorded_since(row: type[ledger.EventRow]) -> base.Condition:
    """Whether Git got, or lost, the file of a row's object at a newer version."""
    return select(_I.path).where(*_is_named_as(row), _is_newer_than(row)).exists()


def _is_newer_than(row: type[ledger.EventRow]) -> base.Condition:
    """`versions.newer` in SQL: of two whole numbers the longer one is greater, of two of one length the later text."""
    ours, theirs = _I.resource_version, row.resource_version
    longer, as_long = func.length(ours) > func.length(theirs), func.length(ours) == func.length(theirs)
    later = longer | (as_long & (ours > theirs))
    return (_I.source_epoch > row.source_epoch) | ((_I.source_epoch == row.source_epoch) & later)


def known(connection: Connection, *, destination_id: int, place_id: int) -> dict[Key, Known]:
    """The newest state per object at a place: the inventory, overlaid by pending rows in order.

    An object whose newest row is a DELETE, or that was never written, is absent.
    """
    result: dict[Key, Known] = {}
    for item in connection.execute(select(*_state_of(_I)).where(_I.place_id == place_id, ~_I.removed)):
        result[_key(item)] = _known(item)
    row = ledger.EventRow
    pending = (
        select(row.operation, row.seed_run_id, row.sequence, *_state_of(row))
        .where(row.destination_id == destination_id, row.place_id == place_id, ledger.IS_PENDING)
        .order_by(row.sequence)
    )
    # The number of the newest pending row of each object.
    newest: dict[Key, int] = {}
    for one in connection.execute(pending):
        if one.operation == events.Operation.SEED_SYNC.value:
            _overlay(connection, result, newest, run=one.seed_run_id, place_id=place_id)
        elif one.operation == events.Operation.DELETE.value:
            # A DELETE of an older uid says nothing of its successor.
            found = result.get(_key(one))
            if found and found.uid == one.uid:
                del result[_key(one)]
        else:
            result[_key(one)] = _known(one)
            newest[_key(one)] = one.sequence
    return result


def _overlay(
    connection: Connection, result: dict[Key, Known], newest: Mapping[Key, int], *, run: str, place_id: int
) -> None:
    """What the end of a seed that pends still will `take_over`."""
    row = ledger.EventRow
    written_since = select(_I.path).where(*_is_of(row), _is_newer_than(row)).exists()
    listed = select(row.sequence, *_state_of(row)).where(*_stamps(run), row.place_id == place_id, ~written_since)
    for one in connection.execute(listed):
        found = result.get(_key(one))
        if found is None or found.uid != one.uid or newest.get(_key(one), 0) > one.sequence:
            continue
        if one.selection != ledger.LEFT or found.mark is None:
            result[_key(one)] = replace(found, mark=_shared(one.selection), remover=_shared(one.remover))


def _state_of(table: type[InventoryRow | ledger.EventRow]) -> tuple[base.AnyColumn, ...]:
    key = table.api_group, table.resource, table.namespace, table.name
    return *key, table.uid, table.content_hash, table.selection, table.remover


def _key(row: base.AnyRow) -> Key:
    return row.api_group, row.resource, row.namespace, row.name


def _known(row: base.AnyRow) -> Known:
    return Known(row.uid, row.content_hash or "", _shared(row.selection), _shared(row.remover))


def _shared(text: str | None) -> str | None:
    """Marks and rules are few, and the rows that name them may be a million: each text is kept once."""
    return None if text is None else sys.intern(text)
