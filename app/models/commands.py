"""What operators asked for: who, when, what, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base, destinations

# Verbs.
SEED, PRUNE, ADOPT = "seed", "prune", "adopt"
# Those that want files gone.
REMOVALS = (PRUNE, ADOPT)
# What becomes of what is asked for.
STARTED, NOTHING_SELECTED, TOO_LATE = "started", "no rule selects anything", "nobody did it within an hour"
MOVED, UNREADABLE = "the place changed hands meanwhile: look again", "the request cannot be read"
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
    # The destination that `target` names; null of a release that did not say.
    destination_id: Mapped[int | None] = mapped_column(BigInteger)
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


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as a person saw it: its blob, and of one without a record what it calls its object."""

    blob: str
    kind: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for of one destination, at one generation of one place."""

    id: int
    destination_id: int
    place: tuple[int, int]
    by: str
    allow_prune: int = 0
    # By path.
    files: Mapping[str, SeenFile] = field(default_factory=dict)

    def is_at(self, place_id: int, generation: int) -> bool:
        """Whether it is of this generation of this place."""
        return self.place == (place_id, generation)


_C = CommandRow


def ask(
    connection: Connection,
    *,
    verb: str,
    by: str,
    target: str,
    destination_id: int,
    place: tuple[int, int],
    arguments: Mapping[str, object] | None = None,
) -> int:
    """Write down a request; its id.

    `target` is `namespace/name` of the destination, `place` its place and generation; `arguments` become JSON.
    """
    values = {
        "asked_at": base.now(),
        "asked_by": by,
        "verb": verb,
        "target": target,
        "destination_id": destination_id,
        "arguments": {"place": list(place), **(arguments or {})},
    }
    return int(connection.execute(insert(_C).values(**values).returning(_C.id)).scalar_one())


def outcome(connection: Connection, command: int) -> Outcome:
    """What became of a request."""
    return Outcome(*connection.execute(select(_C.outcome, _C.seed_run_id).where(_C.id == command)).one())


def is_waiting(connection: Connection, *, verbs: Collection[str], cluster: str) -> bool:
    """Whether anything of some verbs is left to do in a cluster; cheap enough to be asked each second."""
    destination = destinations.GitDestinationRow
    wanted = _C.verb.in_(verbs), _C.done_at.is_(None), destination.cluster == cluster
    query = select(_C.id).join(destination, destination.id == _C.destination_id).where(*wanted)
    return connection.scalar(query.limit(1)) is not None


def take_waiting(connection: Connection, *, verb: str, among: Collection[int]) -> list[Request]:
    """What nobody did yet for some destinations, the oldest first.

    What waited too long is answered so, and what cannot be read: no row of this table ends a watch daemon.
    """
    late = update(_C).where(_C.verb == verb, _C.done_at.is_(None), _C.asked_at < base.now(-VALID))
    connection.execute(late.values(done_at=base.now(), outcome=TOO_LATE))
    found = []
    for row in connection.execute(_waiting(verb, _C.id, _C.destination_id, _C.asked_by).order_by(_C.id)):
        if row.destination_id not in among:
            continue
        arguments = connection.scalar(select(_C.arguments).where(_C.id == row.id))
        try:
            found.append(_request(row.id, row.destination_id, row.asked_by, arguments))
        except (AttributeError, KeyError, TypeError, ValueError):
            answer(connection, row.id, outcome=UNREADABLE)
    return found


def _waiting(verb: str, *columns: base.AnyColumn) -> base.AnySelect:
    return select(*columns).where(_C.verb == verb, _C.done_at.is_(None))


def _request(command: int, destination_id: int, by: str, arguments: Any) -> Request:
    """Raises AttributeError, KeyError, TypeError or ValueError for arguments of another shape."""
    place_id, generation = arguments["place"]
    files = {_text(path): SeenFile(*map(_text, seen)) for path, *seen in arguments.get("files", ())}
    return Request(
        id=command,
        destination_id=destination_id,
        place=(int(place_id), int(generation)),
        by=by,
        allow_prune=int(arguments.get("allow_prune", 0)),
        files=files,
    )


def _text(value: object) -> str:
    """Raises ValueError for what JSON can hold and UTF-8 cannot."""
    text = str(value)
    text.encode()
    return text


def answer(connection: Connection, command: int, *, outcome: str, seed_run_id: str | None = None) -> None:
    """A request was done, or cannot be."""
    values = {"done_at": base.now(), "outcome": outcome, "seed_run_id": seed_run_id}
    connection.execute(update(_C).where(_C.id == command).values(values))


def forget_files(connection: Connection, command: int) -> None:
    """The rows of the ledger name the files of a request by now: it need not, ten thousand of them."""
    arguments = connection.scalar(select(_C.arguments).where(_C.id == command))
    kept = {name: value for name, value in arguments.items() if name != "files"}
    connection.execute(update(_C).where(_C.id == command).values(arguments=kept))
