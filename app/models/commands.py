"""What operators asked for: who, when, what, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base

# Verbs.
SEED, PRUNE = "seed", "prune"
# What becomes of what is asked for.
STARTED, NOTHING_SELECTED, TOO_LATE = "started", "no rule selects anything", "nobody did it within an hour"
MOVED = "the destination points elsewhere now"
# What a person saw when asking is not what is there an hour later.
VALID = 3_600.0


class CommandRow(base.Base):
    """One request of an operator: pause, seed, prune, skip, adopt."""

    __tablename__ = "command"

    id: Mapped[base.AutoId]
    asked_at: Mapped[base.Moment]
    asked_by: Mapped[base.Name]
    verb: Mapped[str] = mapped_column(Text)
    target: Mapped[base.Name]
    arguments: Mapped[base.Json]
    done_at: Mapped[datetime | None] = mapped_column(base.Utc)
    outcome: Mapped[str | None] = mapped_column(base.Escaped)
    # The seed that it started, or the mark of its rows in the ledger.
    seed_run_id: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: in words, None until somebody did it, and the seed of its rows."""

    words: str | None
    seed_run_id: str | None


_C = CommandRow


def ask(
    connection: Connection, *, verb: str, by: str, target: str, arguments: Mapping[str, object] | None = None
) -> int:
    """Write down a request; its id. `target` is `namespace/name` of a destination, `arguments` become JSON."""
    values = {"asked_at": base.now(), "asked_by": by, "verb": verb, "target": target, "arguments": arguments or {}}
    return int(connection.execute(insert(_C).values(**values).returning(_C.id)).scalar_one())


def outcome(connection: Connection, command: int) -> Outcome:
    """What became of a request."""
    return Outcome(*connection.execute(select(_C.outcome, _C.seed_run_id).where(_C.id == command)).one())


def waiting(connection: Connection, *, verb: str) -> dict[int, Mapping[str, Any]]:
    """The arguments of what nobody did yet, by the id of the request. What waited too long is answered so."""
    late = update(_C).where(_C.verb == verb, _C.done_at.is_(None), _C.asked_at < base.now(-VALID))
    connection.execute(late.values(done_at=base.now(), outcome=TOO_LATE))
    query = select(_C.id, _C.arguments).where(_C.verb == verb, _C.done_at.is_(None))
    return {row.id: row.arguments for row in connection.execute(query.order_by(_C.id))}


def is_waiting(connection: Connection, *, verb: str) -> bool:
    """Whether anything of a verb is left to do; cheap enough to be asked each second."""
    return connection.scalar(select(_C.id).where(_C.verb == verb, _C.done_at.is_(None)).limit(1)) is not None


def answer(connection: Connection, command: int, *, outcome: str, seed_run_id: str | None = None) -> None:
    """A request was done, or cannot be."""
    values = {"done_at": base.now(), "outcome": outcome, "seed_run_id": seed_run_id}
    connection.execute(update(_C).where(_C.id == command).values(values))
