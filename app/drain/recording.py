"""The record: what was pushed, in one SQL transaction under a valid fencing token (promises P6, P7, P8).

Rows that are final already keep their end, so a place that was raised meanwhile, or a record that is made twice,
changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from app import db
from app.drain import finding, planning
from app.git.names import Sha
from app.models import commits, destinations, inventory, leases, ledger, seeds


def record_plan(
    database: db.Database,
    lease: leases.BranchLease,
    *,
    destination: destinations.Destination,
    plan: planning.Plan,
    head: Sha | None = None,
    branches: int | None = None,
) -> leases.BranchLease:
    """Record a plan whose commits were read back from the remote, or that needed no push; the lease with the new head.

    `head` is what was pushed, and `branches` how many the remote has then; None without a push. Raises LeaseLostError,
    and UnknownOutcomeError when the database did not answer: the next drain finds out.
    """
    with database.write() as connection:
        leases.fence_branch(connection, lease)
        destinations.locked(connection, [destination.id])
        ids = commits.record(
            connection,
            plan.commits,
            destination_id=destination.id,
            place_id=destination.place_id,
            branch_id=lease.branch_id,
        )
        ledger.settle(connection, destination.id, _settled(plan, ids))
        inventory.save(connection, destination.place_id, plan.items.values())
        for run in plan.swept:
            _end_seed(connection, run, destination_id=destination.id)
        if destinations.is_at(connection, destination.id, place_id=destination.place_id):
            destinations.note_success(connection, destination.id, sha=head)
        moved = leases.settle_branch(connection, lease, head=head)
        if head is not None:
            destinations.note_connection(
                connection, destination.repo_config_id, check=destinations.CONNECTED, branches=branches
            )
        return moved


def _end_seed(connection: db.Connection, run: str, *, destination_id: int) -> None:
    inventory.take_over(connection, run, destination_id=destination_id)
    seeds.finish(connection, run, state=seeds.SWEPT)


def _settled(plan: planning.Plan, ids: Sequence[int | None]) -> list[ledger.Settled]:
    return [
        ledger.Settled(sequence, end.state, end.reason, None if end.commit is None else ids[end.commit])
        for sequence, end in plan.ends.items()
    ]


def record_found(
    database: db.Database, lease: leases.BranchLease, found: finding.Scan, *, tip: Sha
) -> leases.BranchLease:
    """Record own commits that were found on the remote, those of strangers, and the tip as the head to build on."""
    with database.write() as connection:
        leases.fence_branch(connection, lease)
        destinations.locked(connection, {one.place.destination_id for one in found.own} | found.foreign.keys())
        for one in found.own:
            _record_one(connection, one, branch_id=lease.branch_id)
        for destination_id, sha in found.foreign.items():
            destinations.note_foreign(connection, destination_id, sha=sha)
        return leases.move_head(connection, lease, head=tip, state=leases.PRESENT)


def _record_one(connection: db.Connection, one: finding.Found, *, branch_id: int) -> None:
    destination_id, place_id = one.place.destination_id, one.place.id
    (commit_id,) = commits.record(
        connection, [one.commit], destination_id=destination_id, place_id=place_id, branch_id=branch_id
    )
    ends = (ledger.Settled(row, ledger.PUSHED, "found on the remote", commit_id) for row in one.rows)
    ledger.settle(connection, destination_id, ends)
    inventory.save(connection, place_id, one.items)
    if one.swept is not None:
        _end_seed(connection, one.swept, destination_id=destination_id)
    if destinations.is_at(connection, destination_id, place_id=place_id):
        destinations.note_success(connection, destination_id, sha=one.commit.sha)
