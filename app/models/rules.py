"""Compiled rules with their history: each change of a rule is a new version, valid from and to a moment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, ForeignKey, Index, Text, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base, differences

REPLACED = "the next version replaced it"
DELETED = "the rule was deleted"
NOT_READY = "the rule is there, and not ready any more"


class CompiledRuleRow(base.Base):
    """One version of one compiled rule; `valid_to` is null for the one in force."""

    __tablename__ = "compiled_rule"
    __table_args__ = (Index(None, "cluster", "rule"),)

    id: Mapped[base.AutoId]
    cluster: Mapped[str] = mapped_column(Text)
    # `WatchRule shop/prod-apps` or `ClusterWatchRule cluster-a`, as Events and commits name it.
    rule: Mapped[base.Name]
    uid: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    destination_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("git_destination.id"))
    place_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("place.id"))
    spec: Mapped[base.Json]
    valid_from: Mapped[base.Moment]
    valid_to: Mapped[datetime | None] = mapped_column(base.Utc)
    # What changed from the version before, and what became of this one: for people.
    difference: Mapped[str | None] = mapped_column(base.Escaped)
    ended: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """A compiled rule as it should be in force."""

    rule: str
    uid: str
    destination_id: int
    place_id: int
    spec: Mapping[str, Any]


_R = CompiledRuleRow


def save(connection: Connection, *, cluster: str, rules: Sequence[RuleSeen], present: Collection[str] = ()) -> set[int]:
    """Make `rules` the ones in force; the ids of destinations whose rules changed.

    A rule that is the same keeps its version; any other is closed. `present` are the uids of all objects there are.
    """
    open_rows = {
        row.rule: row
        for row in connection.execute(select(_R.__table__).where(_R.cluster == cluster, _R.valid_to.is_(None)))
    }
    changed: set[int] = set()
    for rule in rules:
        row = open_rows.pop(rule.rule, None)
        if row is not None and _same(row, rule):
            continue
        changed |= {rule.destination_id} | ({row.destination_id} if row is not None else set())
        if row is not None:
            _close(connection, row.id, why=REPLACED)
        _insert(connection, cluster, rule, returned=row is None)
    for row in open_rows.values():
        changed.add(row.destination_id)
        _close(connection, row.id, why=NOT_READY if row.uid in present else DELETED)
    return changed


def _same(row: base.AnyRow, rule: RuleSeen) -> bool:
    return (row.uid, row.destination_id, row.place_id, row.spec) == (
        rule.uid,
        rule.destination_id,
        rule.place_id,
        dict(rule.spec),
    )


def _close(connection: Connection, row_id: int, *, why: str) -> None:
    connection.execute(update(_R).where(_R.id == row_id).values(valid_to=base.now(), ended=why))


def _insert(connection: Connection, cluster: str, rule: RuleSeen, *, returned: bool) -> None:
    query = select(_R.__table__).where(_R.cluster == cluster, _R.rule == rule.rule)
    last = connection.execute(query.order_by(_R.version.desc()).limit(1)).first()
    connection.execute(
        base.insert(_R).values(
            cluster=cluster,
            rule=rule.rule,
            uid=rule.uid,
            version=last.version + 1 if last is not None else 1,
            destination_id=rule.destination_id,
            place_id=rule.place_id,
            spec=dict(rule.spec),
            valid_from=base.now(),
            difference=_difference(last, rule, returned=returned),
        )
    )


def _difference(last: base.AnyRow | None, rule: RuleSeen, *, returned: bool) -> str:
    """What changed from the version before, which was in force until now unless the rule `returned`."""
    if last is None:
        return differences.FIRST
    parts = ["in force again"] if returned else []
    if last.uid != rule.uid:
        parts.append("the rule was created again")
    if last.destination_id != rule.destination_id and last.spec.get("destination") == rule.spec.get("destination"):
        parts.append("the destination was created again")
    parts.append(differences.describe(last.spec, rule.spec))
    return "; ".join(filter(None, parts)) or "the destination has another place"


def versions(connection: Connection, *, cluster: str) -> dict[str, int]:
    """The versions in force of a cluster's rules, by name."""
    query = select(_R.rule, _R.version).where(_R.cluster == cluster, _R.valid_to.is_(None))
    return {row.rule: row.version for row in connection.execute(query)}


def in_force(connection: Connection, *, cluster: str) -> list[base.AnyRow]:
    """The rules in force of a cluster, by name."""
    query = select(_R.__table__).where(_R.cluster == cluster, _R.valid_to.is_(None)).order_by(_R.rule)
    return list(connection.execute(query))


def paused_specs(
    connection: Connection, destination_id: int, *, cluster: str, present: Collection[str]
) -> list[Mapping[str, Any]]:
    """What the rules of a destination said last that are there and not ready now; `present` are the uids of all."""
    own = select(_R.rule).where(_R.cluster == cluster, _R.destination_id == destination_id)
    columns = _R.rule, _R.uid, _R.destination_id, _R.valid_to, _R.spec
    query = select(*columns).where(_R.cluster == cluster, _R.rule.in_(own)).order_by(_R.id)
    # The newest version of each, wherever it points.
    last = {row.rule: row for row in connection.execute(query)}
    return [
        row.spec
        for row in last.values()
        if row.destination_id == destination_id and row.valid_to is not None and row.uid in present
    ]


def specs_of(connection: Connection, destination_id: int) -> dict[str, Mapping[str, Any]]:
    """What the rules in force of one destination say, by name."""
    query = select(_R.rule, _R.spec).where(_R.destination_id == destination_id, _R.valid_to.is_(None))
    return {row.rule: row.spec for row in connection.execute(query.order_by(_R.rule))}
