"""Two deployment targets in one repository: each has its own queue, branch and folder, and nothing of the other."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Mapping

import pytest

from app import broker, events, queues
from tests.git import servers
from tests.system.cluster import Api, Destination, git_secret, rendered, repo_config
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

log = logging.getLogger(__name__)

CHANGES = 1_000
SELECTED = {"left": "configmaps", "right": "serviceaccounts"}
SIDES = ("left", "right")


def two_destinations(api: Api, repository: Repository, namespace: str) -> tuple[Destination, Destination]:
    """`left` and `right` on one GitRepoConfig, each on the branch of its name; LimitRanges belong to both."""
    config = repo_config(api, namespace, "shared", repository.url)
    left, right = (
        Destination(
            api,
            namespace,
            side,
            repository=config,
            branch=side,
            folder=f"clusters/{side}",
            resources=[SELECTED[side], "limitranges"],
        )
        for side in SIDES
    )
    return left, right


def expected(api: Api, destination: Destination) -> dict[str, bytes]:
    """What has to stand on the branch of a destination."""
    selected = (SELECTED[destination.name], "limitranges")
    objects = [one for resource in selected for one in api.list(resource, destination.namespace)]
    return rendered(objects, folder=destination.folder)


def wait_equal(repository: Repository, api: Api, destination: Destination, others: Mapping[str, bytes]) -> None:
    """Wait until a branch holds the objects of its destination and `others`, byte for byte."""
    wanted = {**expected(api, destination), **others}
    wait_until(lambda: repository.tree(destination.branch).keys() == wanted.keys(), what=destination.ref)
    assert repository.tree(destination.branch) == wanted


@pytest.mark.promise("P1", "P4")
def test_a_thousand_interleaved_changes(shared: Lane, api: Api, repository: Repository) -> None:
    """Of 1,000 interleaved changes each branch holds its own, byte for byte, from an empty repository on."""
    namespace = api.namespace()
    left, right = two_destinations(api, repository, namespace)
    for destination in (left, right):
        shared.wait_seeded(destination.ref)
    assert not repository.tip("left"), "an empty selection of an empty repository makes no branch"
    change_many(api, namespace)
    for destination in (left, right):
        shared.wait_drained(destination.ref, timeout=120)
        wanted = expected(api, destination)
        assert len(wanted) > 20
        assert repository.tree(destination.branch) == wanted

    places = shared.rows(
        "SELECT d.name, p.branch, p.base_folder, count(*) AS events, "
        "count(*) FILTER (WHERE e.state = 'superseded') AS superseded, "
        "count(*) FILTER (WHERE e.operation = 'SEED_SYNC') AS syncs "
        "FROM event e JOIN place p ON p.id = e.place_id JOIN git_destination d ON d.id = e.destination_id "
        "WHERE d.namespace = :namespace GROUP BY d.name, p.branch, p.base_folder",
        namespace=namespace,
    )
    assert {(row["name"], row["branch"], row["base_folder"], row["syncs"]) for row in places} == {
        (side, side, f"clusters/{side}", 1) for side in SIDES
    }
    for row in places:
        commits = len(repository.commits(row["branch"]))
        log.info(f"{row['name']}: {row['events']} Events, {commits} commits, {row['superseded']} superseded")
        assert commits + row["superseded"] == row["events"] - 1, "each Event but SEED_SYNC is a commit, or superseded"
    assert CHANGES <= sum(row["events"] for row in places) <= CHANGES + 2 * CHANGES // 10 + 2

    refs = [events.Ref(namespace, side) for side in SIDES]
    ours = {name for name in shared.bound() if f".{namespace}." in name}
    assert ours == {f"dest.{namespace}.{side}" for side in SIDES}
    # Messages whose rows an earlier one has drained are still on their way through.
    empty = dict.fromkeys(refs, 0)
    wait_until(lambda: queues.queue_depths(shared.options, refs) == empty, what="the queues get empty")
    found = {one["destination"]: one for one in shared.answer("status")}
    assert [found[f"{namespace}/{side}"]["pending"] for side in SIDES] == [0, 0]
    for side in SIDES:
        assert found[f"{namespace}/{side}"]["last_sha"] == repository.tip(side)


def change_many(api: Api, namespace: str) -> None:
    """1,000 writes: 24 objects of each side and 4 of both are created and changed in turn, some are deleted."""
    objects = [(SELECTED[side], f"{side}-{number}") for number in range(24) for side in SIDES]
    objects += [("limitranges", f"both-{number}") for number in range(4)]
    for resource, name in objects:
        api.create(resource, namespace, name, annotations={"seq": "0"})
    doomed = [one for one in objects if one[1].endswith("-7")]
    for resource, name in doomed:
        api.delete(resource, namespace, name)
    rest = itertools.cycle(one for one in objects if one not in doomed)
    for seq in range(1, CHANGES - len(objects) - len(doomed) + 1):
        resource, name = next(rest)
        api.merge(resource, namespace, name, metadata={"annotations": {"seq": str(seq)}})


@pytest.mark.promise("P2", "P8")
def test_a_destination_comes_and_goes(shared: Lane, api: Api, repository: Repository) -> None:
    """A new one is served without a restart. A deleted one gets what was seen before; then its queue goes for good."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "slow", repository.url, push={"interval": "6s"})
    begun = time.monotonic()
    prod = Destination(api, namespace, "prod", repository=config)
    wait_until(lambda: is_served(shared, prod), what="the new destination is served")
    log.info(f"served {time.monotonic() - begun:.1f} s after it was created")
    shared.wait_seeded(prod.ref)
    api.create("configmaps", namespace, "first")
    wait_until(lambda: repository.read(prod.path("configmaps", "first")), what="the first object")

    # It waits for push.interval, and longer than its destination lives.
    api.create("configmaps", namespace, "second")
    wait_until(lambda: states(shared, prod)[-1:] == ["pending"], what="the row of the second object")
    api.delete("watchrules", namespace, "prod")
    api.delete("gitdestinations", namespace, "prod")
    wait_until(lambda: "second" in str(repository.tree("main").keys()), what="the second object")
    files = repository.tree("main")
    wait_until(lambda: states(shared, prod)[-2:] == ["pushed", "pushed"], what="the record of both")

    queue = events.queue_name(events.Ref.parse(prod.ref))
    wait_until(lambda: not is_served(shared, prod) and queue not in shared.bound(), what="the end of the queue")
    api.create("configmaps", namespace, "third")
    threading.Event().wait(3.0)
    assert not is_served(shared, prod)
    assert queue not in shared.bound()
    assert repository.tree("main") == files
    assert queues.queue_depths(shared.options, [events.Ref.parse(prod.ref)]) == {events.Ref.parse(prod.ref): 0}
    assert broker.dead_letters(shared.options) == 0


def is_served(lane: Lane, destination: Destination) -> bool:
    """Whether a worker listens to the queue of a destination."""
    served = (
        json.loads(row["serves"]) if isinstance(row["serves"], str) else row["serves"]
        for row in lane.rows("SELECT serves FROM worker_node")
    )
    return any(destination.ref in refs for refs in served)


def states(lane: Lane, destination: Destination) -> list[str]:
    """The states of the live rows of a destination, in order."""
    query = (
        "SELECT e.state FROM event e JOIN git_destination d ON d.id = e.destination_id "
        "WHERE d.namespace = :namespace AND d.name = :name AND e.seed_run_id IS NULL ORDER BY e.sequence"
    )
    rows = lane.rows(query, namespace=destination.namespace, name=destination.name)
    return [row["state"] for row in rows]


@pytest.mark.promise("P2")
def test_orphans(shared: Lane, api: Api, repository: Repository) -> None:
    """A listing removes the file of an object that is gone, in its branch and folder; what others put there stays."""
    namespace = api.namespace()
    for name in ("kept", "gone"):
        api.create("configmaps", namespace, name, data={"key": "value"})
    api.create("serviceaccounts", namespace, "gone")
    left, right = two_destinations(api, repository, namespace)
    for destination in (left, right):
        shared.wait_seeded(destination.ref)
        wait_equal(repository, api, destination, {})
    gone = left.path("configmaps", "gone")
    foreign = {
        "README.md": b"of a person\n",
        "clusters/left/notes.txt": b"inside of our folder\n",
        gone.replace("clusters/left", "clusters/other"): repository.read(gone, "left").encode(),
        gone.replace("gone", "never-ours"): b"kind: of somebody else\n",
    }
    for path, content in foreign.items():
        servers.commit_file(repository.path, path, content.decode(), branch="left")

    # Nobody looks at ConfigMaps while the object is deleted: only the next listing can tell.
    left.select("limitranges")
    api.delete("configmaps", namespace, "gone")
    before = repository.tip("right")
    left.select("configmaps", "limitranges")
    wait_equal(repository, api, left, foreign)
    assert repository.git("log", "-1", "--format=%s", "left").startswith("[SEED_SYNC]")
    assert (repository.tip("right"), list(repository.tree("right"))) == (
        before,
        [right.path("serviceaccounts", "gone")],
    )


@pytest.mark.promise("P5")
def test_a_host_that_hangs(shared: Lane, api: Api, repository: Repository, https_host: servers.HttpsGitServer) -> None:
    """While the host of one destination does not answer, another one's changes arrive; the first catches up later."""
    remote = Repository(https_host.repository("shop"), https_host.url("shop"))
    namespace = api.namespace()
    api.create("configmaps", namespace, "first", data={"key": "value"})
    robot = git_secret(api, namespace, "robot", https_host.credentials)
    far = repo_config(api, namespace, "far", remote.url, secret=robot)
    slow = Destination(api, namespace, "slow", repository=far)
    quick = Destination(api, namespace, "quick", repository=repo_config(api, namespace, "near", repository.url))
    for destination in (slow, quick):
        shared.wait_seeded(destination.ref)
    before, asked = remote.tip(), len(https_host.requests)
    https_host.hang.set()
    for number in range(3):
        api.create("configmaps", namespace, f"while-{number}", data={"key": "value"})
        path = quick.path("configmaps", f"while-{number}")
        wait_until(lambda path=path: repository.read(path), what=path)  # type: ignore[misc]
        wait_until(lambda: len(https_host.requests) > asked, what="the host that hangs is asked")
    assert remote.tip() == before
    assert shared.pending(slow.ref) == 3
    https_host.hang.clear()
    https_host.go_on.set()
    wanted = rendered(api.list("configmaps", namespace), folder=slow.folder)
    wait_until(lambda: remote.tree() == wanted, what="the slow one catches up")


def test_a_branch_that_is_missing(shared: Lane, api: Api, repository: Repository) -> None:
    """A branch that does not exist starts from the default branch of the repository, without an error."""
    start = servers.commit_file(repository.path, "README.md", "hello\n")
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    config = repo_config(api, namespace, "shared", repository.url)
    left = Destination(api, namespace, "left", repository=config, branch="release/v1", folder="clusters/left")
    shared.wait_seeded(left.ref)
    wait_equal(repository, api, left, {"README.md": b"hello\n"})
    assert repository.git("rev-list", "release/v1").split()[-1] == start
    assert repository.tip() == start
    api.wait_ready("gitdestinations", namespace, "left")
    (entry,) = [one for one in shared.answer("status") if one["destination"] == left.ref]
    assert (entry["last_error"], entry["branch"]) == (None, "release/v1")
