"""Nothing is removed without evidence, nothing is lost without an error: an API server in trouble, seen from Git.

The sandbox gives the faults. `tests/kube/test_faults.py` holds each answer of a broken server to its error; here the
whole product runs, and Git has to be right in the end (promises P8, P10 and P11).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.watch import streams
from tests.servers.api import KUBE_ONLY, SANDBOX_ONLY, ApiServer
from tests.servers.kube import KubeServer
from tests.servers.sandbox import SandboxServer
from tests.system.cluster import Api, Destination, rendered, repo_config
from tests.system.installation import PAGE_SIZE, Lane, Row
from tests.system.repository import Repository
from tests.waiting import wait_until

# Three pages.
NAMES = tuple(f"settings-{number}" for number in range(2 * PAGE_SIZE + 2))


@pytest.fixture
def faults(server: ApiServer) -> Iterator[SandboxServer]:
    """The API server, which is well again after the test."""
    assert isinstance(server, SandboxServer)
    yield server
    server.clear_faults()


@dataclass(frozen=True)
class Mirror:
    """One destination of ConfigMaps and LimitRanges, seeded; and what Git has to hold for it."""

    shared: Lane
    api: Api
    repository: Repository
    destination: Destination

    @property
    def namespace(self) -> str:
        """Where its objects are."""
        return self.destination.namespace

    @property
    def watched(self) -> str:
        """The path at which the daemon lists and watches the ConfigMaps, as a regular expression."""
        return f"/namespaces/{self.namespace}/configmaps"

    def path(self, name: str) -> str:
        """The file of a ConfigMap."""
        return self.destination.path("configmaps", name)

    def files(self) -> dict[str, bytes]:
        """What stands in Git."""
        return self.repository.tree()

    def wait_equal(self) -> None:
        """Wait until Git holds what the cluster holds, and nothing pends; each recorded commit is there, once."""
        objects = [one for resource in ("configmaps", "limitranges") for one in self.api.list(resource, self.namespace)]
        wanted = rendered(objects, folder=self.destination.folder)
        wait_until(lambda: self.files() == wanted, what="Git equals the cluster")
        self.shared.wait_drained(self.destination.ref)
        assert self.files() == wanted
        recorded = sorted(str(row["sha"]) for row in self.rows('c.sha FROM "commit" c'))
        assert recorded == sorted(self.repository.commits())

    def mark(self, name: str) -> None:
        """Make a change of the type that is well, and wait for it: what came before has been seen, too."""
        self.api.create("limitranges", self.namespace, name, spec={"limits": []})
        path = self.destination.path("limitranges", name)
        wait_until(lambda: path in self.files(), what=f"the LimitRange {name}")

    def causes(self) -> set[str]:
        """Why its seeds were started."""
        return {str(row["cause"]) for row in self.rows("c.cause FROM seed_run c")}

    def outcomes(self) -> set[str]:
        """What became of the listings of ConfigMaps."""
        found = self.rows("s.resource, s.outcome FROM seed_scope s JOIN seed_run c ON c.id = s.seed_run_id")
        return {str(row["outcome"]) for row in found if row["resource"] == "configmaps"}

    def rows(self, what: str) -> list[Row]:
        """Rows of its destination; `c` is the table that names it."""
        query = f"SELECT {what} JOIN git_destination d ON d.id = c.destination_id WHERE d.namespace = :namespace"
        return self.shared.rows(query, namespace=self.namespace)

    def count_broken_listings(self) -> int:
        """How many listings of the ConfigMaps broke off, as the log says."""
        lines = self.shared.log("watch").read_text().splitlines()
        return sum("listing_broke_off" in line and self.namespace in line for line in lines)


@pytest.fixture
def mirror(shared: Lane, api: Api, repository: Repository) -> Mirror:
    """A namespace with some ConfigMaps, which are in Git."""
    namespace = api.namespace()
    for name in NAMES:
        api.create("configmaps", namespace, name, data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["configmaps", "limitranges"])
    shared.wait_seeded(destination.ref)
    one = Mirror(shared, api, repository, destination)
    one.wait_equal()
    return one


@SANDBOX_ONLY
@pytest.mark.promise("P10")
def test_a_type_that_is_forbidden_is_not_swept(mirror: Mirror, faults: SandboxServer) -> None:
    """A type that answers 403 keeps its files, even of objects that are gone, until it can be listed again."""
    mirror.destination.select("limitranges")
    mirror.api.delete("configmaps", mirror.namespace, NAMES[0])
    before = mirror.files()
    faults.fault("answer", status=403, path=mirror.watched)
    mirror.destination.select("configmaps", "limitranges")
    wait_until(lambda: "Forbidden" in mirror.outcomes(), what="the refusal is recorded")
    mirror.mark("meanwhile")
    mirror.shared.wait_drained(mirror.destination.ref)
    assert before.items() < mirror.files().items()
    (problem,) = mirror.api.get("watchrules", mirror.namespace, "prod")["status"]["problems"]
    assert problem["resource"] == "configmaps"
    faults.clear_faults()
    mirror.wait_equal()
    assert mirror.path(NAMES[0]) not in mirror.files()


@SANDBOX_ONLY
@pytest.mark.promise("P10")
@pytest.mark.parametrize("status", [403, 410, 429, 500])
def test_a_list_that_breaks_off_is_not_swept(mirror: Mirror, faults: SandboxServer, status: int) -> None:
    """A list whose second page fails is no evidence: all files stay, live changes go on, and it is listed again."""
    mirror.destination.select("limitranges")
    mirror.api.delete("configmaps", mirror.namespace, NAMES[0])
    before = mirror.files()
    faults.fault("answer", status=status, path=f"{mirror.watched}.*continue=", verb="list")
    mirror.destination.select("configmaps", "limitranges")
    wait_until(lambda: mirror.count_broken_listings() >= 1, what="a list that broke off")
    mirror.mark("meanwhile")
    assert before.items() < mirror.files().items()
    faults.clear_faults()
    mirror.wait_equal()
    assert mirror.path(NAMES[0]) not in mirror.files()


@SANDBOX_ONLY
@pytest.mark.promise("P10")
def test_an_empty_first_page_is_not_the_end(mirror: Mirror, faults: SandboxServer) -> None:
    """A list that begins with a page of nothing is read to its end: only what is gone goes, and what is new comes."""
    mirror.destination.select("limitranges")
    mirror.api.delete("configmaps", mirror.namespace, NAMES[0])
    mirror.api.create("configmaps", mirror.namespace, "new", data={"key": "value"})
    mirror.mark("meanwhile")
    before = mirror.files()
    faults.fault("empty", path=mirror.watched)
    mirror.destination.select("configmaps", "limitranges")
    wait_until(lambda: mirror.path(NAMES[0]) not in mirror.files(), what="the file of what is gone is gone")
    faults.clear_faults()
    mirror.wait_equal()
    assert before.keys() - mirror.files().keys() == {mirror.path(NAMES[0])}
    gone = mirror.repository.git("log", "--diff-filter=D", "--name-only", "--format=", "main").split()
    assert gone == [mirror.path(NAMES[0])]


@SANDBOX_ONLY
@pytest.mark.promise("P10")
@pytest.mark.parametrize("created", [False, True], ids=["before all", "before the last"])
def test_a_listing_of_the_past_is_none(mirror: Mirror, faults: SandboxServer, *, created: bool) -> None:
    """A cache that lags, be it empty: what it lacks is no orphan, what it has too much does not come back."""
    first = mirror.api.get("configmaps", mirror.namespace, NAMES[0])["metadata"]["resourceVersion"]
    at = mirror.api.list_version("configmaps", mirror.namespace) if created else str(int(first) - 1)
    mirror.api.create("configmaps", mirror.namespace, "new", data={"key": "value"})
    mirror.api.delete("configmaps", mirror.namespace, NAMES[0])
    mirror.wait_equal()
    before = mirror.repository.commits()
    faults.fault("stale", at=at, path=mirror.watched)
    assert mirror.shared.reverser("seed", mirror.destination.ref).returncode == 0
    wait_until(lambda: mirror.count_broken_listings() >= 1, what="a list that was refused")
    assert "the API server lags; it is listed again" in mirror.shared.log("watch").read_text()
    mirror.mark("meanwhile")
    faults.clear_faults()
    mirror.wait_equal()
    assert len(mirror.repository.commits()) == len(before) + 1


@SANDBOX_ONLY
@pytest.mark.promise("P10")
def test_a_server_that_lags_for_a_moment_removes_nothing(mirror: Mirror, faults: SandboxServer) -> None:
    """A stream that comes to it does not take what it lacks for gone: it looks again where to begin, and lists."""
    at = mirror.api.list_version("configmaps", mirror.namespace)
    mirror.api.create("configmaps", mirror.namespace, "new", data={"key": "value"})
    mirror.wait_equal()
    before = mirror.repository.commits()
    faults.fault("stale", at=at, path=f"{mirror.watched}.limit=1$", times=1)
    faults.fault("drop", path=mirror.watched)
    wait_until(lambda: streams.LAGGED in mirror.causes(), what="a seed of all of it")
    mirror.shared.wait_seeded(mirror.destination.ref)
    mirror.wait_equal()
    assert mirror.repository.commits() == before


@SANDBOX_ONLY
@pytest.mark.promise("P8")
def test_a_server_that_lags_for_long_is_made_up_for(mirror: Mirror, faults: SandboxServer) -> None:
    """No API server should; what its stream brings once it has caught up is news, though it was written before."""
    at = mirror.api.list_version("configmaps", mirror.namespace)
    mirror.api.create("configmaps", mirror.namespace, "new", data={"key": "value"})
    mirror.wait_equal()
    faults.fault("stale", at=at, path=mirror.watched)
    faults.fault("drop", path=mirror.watched)
    wait_until(lambda: streams.RESTORED in mirror.causes(), what="a seed of the past")
    mirror.shared.wait_seeded(mirror.destination.ref)
    faults.clear_faults()
    mirror.wait_equal()


def by_compaction(faults: SandboxServer, mirror: Mirror, change: Callable[[], object]) -> None:
    """Nobody can read the type for a while; when that ends, the server has forgotten what happened meanwhile."""
    for verb in ("list", "watch"):
        faults.fault("answer", status=500, path=mirror.watched, verb=verb)
    assert faults.fault("drop", path=mirror.watched)["streams"]
    change()
    mirror.mark("meanwhile")
    assert mirror.path(NAMES[0]) in mirror.files(), "nobody has seen the change"
    faults.compact()
    faults.clear_faults()


def by_an_answer(faults: SandboxServer, mirror: Mirror, change: Callable[[], object]) -> None:
    """The stream ends, and the next one says 410 as soon as it is open."""
    faults.fault("answer", status=410, path=mirror.watched, verb="watch", times=1, in_stream=True)
    assert faults.fault("drop", path=mirror.watched)["streams"]
    change()


@SANDBOX_ONLY
@pytest.mark.promise("P2", "P8", "P10")
@pytest.mark.parametrize("expire", [by_compaction, by_an_answer])
def test_a_resume_point_that_expired_is_a_new_seed(
    mirror: Mirror, faults: SandboxServer, expire: Callable[[SandboxServer, Mirror, Callable[[], object]], None]
) -> None:
    """What happened while the daemon was cut off, and is forgotten, is found by a new seed; nothing else goes."""

    def change() -> None:
        mirror.api.delete("configmaps", mirror.namespace, NAMES[0])
        mirror.api.merge("configmaps", mirror.namespace, NAMES[1], data={"key": "changed"})
        mirror.api.create("configmaps", mirror.namespace, "new", data={"key": "value"})

    expire(faults, mirror, change)
    wait_until(lambda: "the resume point expired" in mirror.causes(), what="a seed of this cause")
    mirror.wait_equal()
    gone = mirror.repository.git("log", "--diff-filter=D", "--name-only", "--format=", "main").split()
    assert gone == [mirror.path(NAMES[0])]


@SANDBOX_ONLY
@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["cut", "drop"])
def test_a_broken_stream_loses_nothing(mirror: Mirror, faults: SandboxServer, kind: str) -> None:
    """After a stream that ended, or broke in the middle of a line, each change is in Git by one commit of its own."""
    before = len(mirror.repository.commits())
    for name in NAMES[:2]:
        wait_until(lambda: faults.fault(kind, path=mirror.watched)["streams"], what="an open stream")
        tip = mirror.repository.tip()
        mirror.api.merge("configmaps", mirror.namespace, name, data={"key": kind})
        wait_until(lambda tip=tip: mirror.repository.tip() != tip, what=name)  # type: ignore[misc]
    mirror.wait_equal()
    assert len(mirror.repository.commits()) == before + 2
    assert mirror.causes() == {"new destination or place"}


def change_often(mirror: Mirror, times: int) -> None:
    """So often that what is written on a restored cluster in its first seconds does not come up to these numbers."""
    for number in range(times):
        mirror.api.merge("configmaps", mirror.namespace, "kept", data={"key": f"new-{number}"})


@SANDBOX_ONLY
@pytest.mark.promise("P1")
def test_a_restored_cluster_is_mirrored_as_it_is_now(mirror: Mirror, faults: SandboxServer) -> None:
    """After etcd was restored from a backup, Git holds the older state again, although its numbers are lower."""
    mirror.api.create("configmaps", mirror.namespace, "kept", data={"key": "old"})
    mirror.mark("backup")
    backup = mirror.api.get("limitranges", mirror.namespace, "backup")["metadata"]["resourceVersion"]
    change_often(mirror, 20)
    mirror.api.create("configmaps", mirror.namespace, "lost", data={"key": "value"})
    mirror.api.delete("configmaps", mirror.namespace, NAMES[0])
    mirror.wait_equal()
    faults.fault("rewind", to=backup)
    # Who restores etcd restarts the API server.
    faults.fault("drop")
    mirror.wait_equal()
    assert mirror.path("lost") not in mirror.files()
    assert mirror.path(NAMES[0]) in mirror.files()
    assert mirror.api.get("configmaps", mirror.namespace, "kept")["data"] == {"key": "old"}


@KUBE_ONLY
@pytest.mark.promise("P1", "P10")
def test_an_older_etcd_is_put_back(mirror: Mirror, server: ApiServer, tmp_path: Path) -> None:
    """The same with a real etcd: a new epoch, and Git equals the cluster; what the older state has not got is gone."""
    assert isinstance(server, KubeServer)
    mirror.api.create("configmaps", mirror.namespace, "kept", data={"key": "old"})
    mirror.mark("backup")
    server.back_up(tmp_path / "etcd")
    change_often(mirror, 300)
    mirror.api.create("configmaps", mirror.namespace, "lost", data={"key": "value"})
    mirror.api.delete("configmaps", mirror.namespace, NAMES[0])
    mirror.wait_equal()
    (before,) = mirror.shared.rows("SELECT max(source_epoch) AS epoch FROM event")
    server.put_back(tmp_path / "etcd")
    mirror.wait_equal()
    assert mirror.path("lost") not in mirror.files()
    assert mirror.path(NAMES[0]) in mirror.files()
    assert mirror.api.get("configmaps", mirror.namespace, "kept")["data"] == {"key": "old"}
    (after,) = mirror.shared.rows("SELECT max(source_epoch) AS epoch FROM event")
    assert after["epoch"] > before["epoch"]
    # Changes arrive as before.
    mirror.mark("afterwards")
    wait_until(mirror.api.serves_all, what="the API server is well again, for the next test")


@pytest.mark.promise("P10", "P11")
def test_changes_during_a_listing(shared: Lane, api: Api, repository: Repository) -> None:
    """Objects that come while a seed lists are no orphans, those that go leave no file, and nothing else is removed."""
    namespace = api.namespace()
    for number in range(20 * PAGE_SIZE):
        api.create("configmaps", namespace, f"old-{number}", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    gone: list[str] = []

    def write() -> None:
        for number in range(30):
            api.create("configmaps", namespace, f"new-{number}", data={"key": "value"})
            if number % 3 == 0:
                gone.append(f"old-{3 * number}")
                api.delete("configmaps", namespace, gone[-1])

    writing = threading.Thread(target=write)
    writing.start()
    destination = Destination(api, namespace, "prod", repository=config)
    writing.join()
    assert len(gone) == 10
    shared.wait_seeded(destination.ref)
    wanted = rendered(api.list("configmaps", namespace), folder=destination.folder)
    wait_until(lambda: repository.tree() == wanted, what="Git equals the cluster")
    removed = set(repository.git("log", "--diff-filter=D", "--name-only", "--format=", "main").split())
    assert removed <= {destination.path("configmaps", name) for name in gone}
