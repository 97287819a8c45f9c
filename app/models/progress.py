"""How far a seed is, for whoever waits for it (`reverser seed --wait`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from app.events import Operation
from app.models import commits, ledger, seeds

_E = ledger.EventRow

# State of the ledger -> how many rows.
States = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SeedProgress:
    """How far one seed is. Its SEED_SYNC is none of its objects."""

    state: str
    scopes: int
    # Listed to their end, or not to be listed.
    scopes_ended: int
    # How many objects have which state.
    states: States
    # Reason -> types that could not be listed; nothing of theirs is removed.
    refused: Mapping[str, list[str]]
    # Files whose objects are gone; and why they are not, where a person has to decide.
    removed: int
    held: str

    @property
    def is_listing(self) -> bool:
        """Whether the API server has more to say."""
        return self.state == seeds.LISTING

    @property
    def is_done(self) -> bool:
        """Whether Git has it, and what it removes is gone."""
        return self.state == seeds.SWEPT

    @property
    def is_given_up(self) -> bool:
        """Whether it ended without coming to its end, and no other one took its place."""
        return self.state == seeds.SUPERSEDED

    @property
    def objects(self) -> int:
        """What was listed so far."""
        return sum(self.states.values())

    @property
    def pending(self) -> int:
        """What is not in Git yet."""
        return self.states.get(ledger.PENDING, 0)


def of_seed(connection: Connection, destination_id: int, run: str) -> SeedProgress:
    """A seed of a destination, or the one that took its place: rules change, daemons die."""
    state = seeds.state_of(connection, run) or seeds.SUPERSEDED
    while state == seeds.SUPERSEDED and (later := seeds.next_of(connection, destination_id, run)):
        run, state = later, seeds.state_of(connection, later) or seeds.SUPERSEDED
    outcomes = [(scope.outcome, scope.key.resource) for scope in seeds.scopes_of(connection, run)]
    refused: dict[str, list[str]] = {}
    for outcome, resource in outcomes:
        if outcome not in {seeds.COMPLETE, seeds.NOT_LISTED}:
            refused.setdefault(outcome, []).append(resource)
    return SeedProgress(
        state=state,
        scopes=len(outcomes),
        scopes_ended=sum(outcome != seeds.NOT_LISTED for outcome, _ in outcomes),
        states=states_of(connection, destination_id, run),
        refused=refused,
        removed=_removed(connection, destination_id, run),
        held=_held(connection, destination_id, run),
    )


def states_of(connection: Connection, destination_id: int, run: str) -> States:
    """How many rows of a seed, or of what a person wants gone, have which state."""
    of_run = _E.destination_id == destination_id, _E.seed_run_id == run, _E.operation != Operation.SEED_SYNC.value
    query = select(_E.state, func.count().label("number")).where(*of_run).group_by(_E.state)
    return {row.state: row.number for row in connection.execute(query)}


def reasons_of(connection: Connection, destination_id: int, run: str) -> list[str]:
    """Why rows of what a person wants gone did not become a commit, each reason once."""
    of_run = _E.destination_id == destination_id, _E.seed_run_id == run
    left = _E.state.not_in([ledger.PENDING, ledger.PUSHED, ledger.UNCHANGED]), _E.state_reason.is_not(None)
    reasons = select(_E.state_reason).where(*of_run, *left).distinct().order_by(_E.state_reason)
    return [str(reason) for reason in connection.scalars(reasons)]


def _held(connection: Connection, destination_id: int, run: str) -> str:
    of_sync = _E.destination_id == destination_id, _E.seed_run_id == run, _E.operation == Operation.SEED_SYNC.value
    return connection.scalar(select(_E.state_reason).where(*of_sync, _E.state == ledger.HELD)) or ""


def _removed(connection: Connection, destination_id: int, run: str) -> int:
    """What a seed removes goes in one commit, that of its SEED_SYNC."""
    change = commits.CommitChange
    query = (
        select(func.count())
        .select_from(_E)
        .join(change, change.commit_id == _E.commit_id)
        .where(
            _E.destination_id == destination_id,
            _E.seed_run_id == run,
            _E.operation == Operation.SEED_SYNC.value,
            change.operation == Operation.DELETE.value,
        )
    )
    return connection.execute(query).scalar_one()
