"""Leases: one holder at a time, tokens that only rise, and writes that a stale holder cannot make."""

from __future__ import annotations

import ast
import inspect

import pytest
from sqlalchemy import select

from app import errors
from app.models import destinations, leases
from tests.models.records import CLUSTER, Records
from tests.waiting import wait_until

SHORT = 0.2


def take(
    records: Records, destination: destinations.Destination, *, owner: str = "worker-1", seconds: float = 60.0
) -> leases.BranchLease | None:
    """Try to take the lease of a destination's branch in a transaction of its own."""
    with records.database.write() as connection:
        return leases.take_branch(
            connection,
            branch_id=destination.branch_id,
            owner=owner,
            seconds=seconds,
            destination_id=destination.id,
        )


def taken(
    records: Records, destination: destinations.Destination, *, owner: str = "worker-1", seconds: float = 60.0
) -> leases.BranchLease:
    """Take a lease that is free."""
    lease = take(records, destination, owner=owner, seconds=seconds)
    assert lease is not None
    return lease


def is_free(records: Records, destination: destinations.Destination) -> bool:
    """Whether the lease of a destination's branch has run out."""
    with records.database.read() as connection:
        return leases.waiting_until(connection, branch_id=destination.branch_id) is None


def renew(records: Records, lease: leases.BranchLease, *, seconds: float = 60.0) -> bool:
    """Renew a lease in a transaction of its own."""
    with records.database.write() as connection:
        return leases.renew_branch(connection, lease, seconds=seconds)


def fence(records: Records, lease: leases.BranchLease) -> None:
    """Prove a lease in a transaction of its own."""
    with records.database.write() as connection:
        leases.fence_branch(connection, lease)


def lead(
    records: Records, *, owner: str = "watch-1", uid: str = "uid-1", seconds: float = 60.0, cluster: str = CLUSTER
) -> leases.Lead | None:
    """Try to lead a cluster in a transaction of its own."""
    with records.database.write() as connection:
        return leases.take_lead(connection, cluster=cluster, cluster_uid=uid, owner=owner, seconds=seconds)


def test_a_branch_is_the_same_row_for_everybody(records: Records) -> None:
    """Repository and branch have one lease, whoever asks for it first and however often."""
    with records.database.write() as connection:
        first = leases.ensure_branch(connection, url_key="host/repo", branch="main")
        assert leases.ensure_branch(connection, url_key="host/repo", branch="main") == first
        assert leases.ensure_branch(connection, url_key="host/repo", branch="dev") != first
        assert leases.ensure_branch(connection, url_key="host/other", branch="main") != first


def test_a_lease_has_one_holder(records: Records) -> None:
    """While somebody holds a branch nobody else gets it, not even under the same name."""
    prod = records.destination()
    lease = taken(records, prod)
    assert (lease.token, lease.owner, lease.head, lease.state) == (1, "worker-1", None, leases.UNKNOWN)
    assert take(records, prod, owner="worker-2") is None
    assert take(records, prod) is None
    assert not is_free(records, prod)


def test_a_lease_that_was_given_back_is_free_at_once(records: Records) -> None:
    """After a release the next one takes it with a higher token, and nobody counts as crashed."""
    prod = records.destination()
    first = taken(records, prod)
    with records.database.write() as connection:
        leases.release_branch(connection, first)
    second = taken(records, prod, owner="worker-2")
    assert (second.token, second.crashed) == (first.token + 1, None)


def test_a_lease_runs_out_on_the_clock_of_the_database(records: Records) -> None:
    """A lease that nobody renews is free after its time and not before, and the next token is higher."""
    prod = records.destination()
    first = taken(records, prod, seconds=SHORT)
    assert take(records, prod, owner="worker-2") is None
    wait_until(lambda: is_free(records, prod), what="the end of the lease")
    assert taken(records, prod, owner="worker-2").token == first.token + 1


def test_no_lease_asks_the_clock_of_its_process() -> None:
    """Clocks of machines differ: the module of the leases reads none of them."""
    tree = ast.parse(inspect.getsource(leases))
    clocks = {"now", "utcnow", "time", "monotonic", "today"}
    asked = [
        ast.unparse(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]
    assert asked
    assert set(asked) == {"base.now"}


def test_a_renewed_lease_lasts(records: Records) -> None:
    """A renewal moves the end of the lease to `seconds` from now."""
    prod = records.destination()
    lease = taken(records, prod, seconds=0.0)
    assert is_free(records, prod)
    assert renew(records, lease)
    assert not is_free(records, prod)


def test_a_stale_holder_can_do_nothing(records: Records) -> None:
    """Who was overtaken cannot renew, prove, settle or move the head, and its release leaves the new holder alone."""
    prod = records.destination()
    stale = taken(records, prod, seconds=0.0)
    fresh = taken(records, prod, owner="worker-2")
    assert not renew(records, stale)
    with pytest.raises(errors.LeaseLostError):
        fence(records, stale)
    with records.database.write() as connection:
        leases.settle_branch(connection, stale)
        leases.move_head(connection, stale, head="stale", state=leases.PRESENT)
        leases.release_branch(connection, stale)
    row = leases.RepositoryBranch.__table__
    with records.database.read() as connection:
        stored = connection.execute(select(row).where(row.c.id == prod.branch_id)).one()
    assert (stored.owner, stored.token, stored.head, stored.settled) == ("worker-2", fresh.token, None, False)
    fence(records, fresh)


def test_an_expired_lease_that_nobody_took_is_still_ours(records: Records) -> None:
    """Too short a lease costs work, never truth: until a takeover the token holds and may be renewed."""
    prod = records.destination()
    lease = taken(records, prod, seconds=0.0)
    fence(records, lease)
    assert renew(records, lease)


def test_the_head_is_handed_to_the_next_holder(records: Records) -> None:
    """Where the branch stood is recorded under the lease and read by whoever takes it next."""
    prod = records.destination()
    with records.database.write() as connection:
        lease = leases.take_branch(
            connection, branch_id=prod.branch_id, owner="worker-1", seconds=60.0, destination_id=prod.id
        )
        assert lease is not None
        moved = leases.move_head(connection, lease, head="abc", state=leases.PRESENT)
        assert (moved.head, moved.state, moved.token) == ("abc", leases.PRESENT, lease.token)
        leases.release_branch(connection, moved)
    following = taken(records, prod, owner="worker-2")
    assert (following.head, following.state) == ("abc", leases.PRESENT)


def test_a_holder_that_vanished_is_counted_to_its_destination(records: Records) -> None:
    """The next holder learns which destination was drained when the last one vanished without a word."""
    prod, other = records.destination("prod"), records.destination("other", folder="clusters/other")
    assert prod.branch_id == other.branch_id
    taken(records, other, seconds=0.0)
    lease = taken(records, prod, owner="worker-2", seconds=0.0)
    assert lease.crashed == other.id
    with records.database.write() as connection:
        leases.fence_branch(connection, lease)
        destinations.note_crash(connection, other.id)
        destinations.note_crash(connection, other.id)
        found = destinations.by_id(connection, other.id)
    assert found is not None
    assert found.failed_drains == 2


def test_a_holder_that_said_how_it_ended_did_not_crash(records: Records) -> None:
    """A drain that was recorded or put off counts as ended, even if the lease then ran out without a release."""
    prod = records.destination()
    lease = taken(records, prod, seconds=0.0)
    with records.database.write() as connection:
        leases.settle_branch(connection, lease)
    assert taken(records, prod, owner="worker-2").crashed is None


@pytest.mark.postgres
def test_nobody_takes_over_from_a_record_in_flight(postgres_records: Records) -> None:
    """A holder whose lease ran out while it records finishes first; the takeover after it sees what it recorded."""
    records = postgres_records
    prod = records.destination()
    lease = taken(records, prod, seconds=0.0)
    with records.database.write() as connection:
        leases.fence_branch(connection, lease)
        assert take(records, prod, owner="worker-2") is None
        leases.move_head(connection, lease, head="recorded", state=leases.PRESENT)
    following = take(records, prod, owner="worker-2")
    assert following is not None
    assert (following.token, following.head) == (lease.token + 1, "recorded")


@pytest.mark.postgres
def test_a_renewal_does_not_wait_for_a_record_in_flight(postgres_records: Records) -> None:
    """A long record transaction holds up no renewal, also of a lease that ran out meanwhile."""
    records = postgres_records
    prod = records.destination()
    lease = taken(records, prod, seconds=0.0)
    with records.database.write() as connection:
        leases.fence_branch(connection, lease)
        assert renew(records, lease)
    assert take(records, prod, owner="worker-2") is None
    fence(records, lease)


@pytest.mark.postgres
def test_a_record_waits_for_a_takeover_and_then_finds_itself_overtaken(postgres_records: Records) -> None:
    """A holder that wakes in the middle of a takeover cannot slip its record in before the new token stands."""
    records = postgres_records
    prod = records.destination()
    stale = taken(records, prod, seconds=0.0)
    with records.database.write() as connection:
        leases.take_branch(connection, branch_id=prod.branch_id, owner="worker-2", seconds=60.0, destination_id=prod.id)
        record = records.blocked_call(lambda: fence(records, stale))
    with pytest.raises(errors.LeaseLostError):
        record.result()


@pytest.mark.postgres
def test_of_two_takeovers_at_once_one_wins(postgres_records: Records) -> None:
    """Two workers that find the same lease free do not both get it."""
    records = postgres_records
    prod = records.destination()
    with records.database.write() as connection:
        first = leases.take_branch(
            connection, branch_id=prod.branch_id, owner="worker-1", seconds=60.0, destination_id=prod.id
        )
        assert take(records, prod, owner="worker-2") is None
    assert first is not None


@pytest.mark.postgres
def test_a_held_lease_is_refused_without_waiting(postgres_records: Records) -> None:
    """Who finds a branch held goes away at once, although its holder is recording."""
    records = postgres_records
    prod = records.destination()
    lease = taken(records, prod)
    with records.database.write() as connection:
        leases.fence_branch(connection, lease)
        assert take(records, prod, owner="worker-2") is None


def test_a_sqlite_record_and_a_takeover_exclude_each_other(sqlite_records: Records) -> None:
    """On SQLite the record transaction holds the whole database: a takeover gets in before it or after it."""
    records = sqlite_records
    prod = records.destination()
    lease = taken(records, prod, seconds=0.0)
    with records.database.write() as connection:
        leases.fence_branch(connection, lease)
        takeover = records._threads.submit(lambda: take(records, prod, owner="worker-2"))
        leases.move_head(connection, lease, head="recorded", state=leases.PRESENT)
    following = takeover.result()
    assert following is not None
    assert (following.token, following.head) == (lease.token + 1, "recorded")


def test_one_watch_daemon_leads_a_cluster(records: Records) -> None:
    """While one leads, others stand by; each cluster has a leader of its own."""
    first = lead(records)
    assert first is not None
    assert lead(records, owner="watch-2") is None
    other = lead(records, owner="watch-2", uid="uid-2", cluster="edge")
    assert other is not None
    with records.database.read() as connection:
        assert leases.leader(connection, cluster=CLUSTER) == "watch-1"
        assert leases.leader(connection, cluster="edge") == "watch-2"
        assert leases.leader(connection, cluster="unknown") is None


def test_a_leader_that_is_overtaken_cannot_write(records: Records) -> None:
    """A frozen leader that wakes finds in its own transaction that another one leads."""
    stale = lead(records, seconds=0.0)
    fresh = lead(records, owner="watch-2")
    assert stale is not None
    assert fresh is not None
    assert fresh.token == stale.token + 1
    with records.database.write() as connection:
        assert not leases.renew_lead(connection, stale, seconds=60.0, drops={})
        leases.release_lead(connection, stale)
        leases.fence_lead(connection, fresh)
        assert leases.renew_lead(connection, fresh, seconds=60.0, drops={})
        assert leases.leader(connection, cluster=CLUSTER) == "watch-2"
        with pytest.raises(errors.LeaseLostError, match="another watch daemon leads"):
            leases.fence_lead(connection, stale)


def test_a_leader_that_steps_down_is_followed_at_once(records: Records) -> None:
    """A release frees the leadership without waiting for its end."""
    first = lead(records)
    assert first is not None
    with records.database.write() as connection:
        leases.release_lead(connection, first)
        assert leases.leader(connection, cluster=CLUSTER) is None
    assert lead(records, owner="watch-2") is not None


def test_a_lead_runs_out_on_the_clock_of_the_database(records: Records) -> None:
    """A leader that is silent for its lease is followed by a standby."""
    lead(records, seconds=SHORT)
    assert lead(records, owner="watch-2") is None
    following = wait_until(lambda: lead(records, owner="watch-2"), what="the end of the lease")
    assert following is not None
    assert following.token == 2


@pytest.mark.postgres
def test_a_new_leader_waits_for_the_write_of_the_old_one(postgres_records: Records) -> None:
    """A batch that is being written under the old token ends before a standby leads; its renewal does not wait."""
    records = postgres_records
    first = lead(records, seconds=0.0)
    assert first is not None
    with records.database.write() as connection:
        leases.fence_lead(connection, first)
        standby = records.blocked_call(lambda: lead(records, owner="watch-2"))
        with records.database.write() as other:
            assert leases.renew_lead(other, first, seconds=0.0, drops={})
    following = standby.result()
    assert following is not None
    assert following.token == first.token + 1


def test_the_wrong_cluster_is_refused(records: Records) -> None:
    """A kubeconfig that points to another cluster under the old name stops there and says so; the lead stays free."""
    first = lead(records, uid="uid-1", seconds=0.0)
    assert first is not None
    with pytest.raises(errors.StalledError, match="another one than the recorded one") as caught:
        lead(records, owner="watch-2", uid="uid-2")
    assert caught.value.reason == "WrongCluster"
    assert lead(records, owner="watch-3", uid="uid-1") is not None
