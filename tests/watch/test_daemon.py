"""The daemon on each API server: what is applied becomes rows, whatever happens to the daemon in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy

from app import db, errors, events
from app.kube import client, crds, kinds, paths
from app.models import leases
from app.rules import types
from app.settings import Settings
from app.watch import daemon
from tests.kube import objects
from tests.servers.api import EACH, KUBE_ONLY, ApiServer, make
from tests.servers.redis import RedisServer
from tests.waiting import PATIENCE, wait_until

ROLES = types.ResourceType(
    "rbac.authorization.k8s.io", "v1", "roles", "Role", True, frozenset({"list", "watch"}), True
)  # fmt: skip
CODE = "from app.settings import Settings; from app.watch import daemon; daemon.run(Settings.from_environment())"


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server of this module's own: the daemon follows everything of ours in it."""
    with make(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(server: ApiServer) -> Iterator[client.Cluster]:
    """The cluster as its administrator sees it, with our kinds."""
    cluster = client.connect(Settings(kubeconfig=str(server.kubeconfig())))
    crds.apply(cluster, allow_local=False)
    yield cluster
    cluster.close()


class World:
    """Daemons as processes, on one database and one cluster; and what they wrote."""

    def __init__(self, settings: Settings, cluster: client.Cluster, folder: Path) -> None:
        self.settings = settings
        self.cluster = cluster
        self.namespace = objects.namespace(cluster)
        self.database = db.Database(settings.database_url)
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, node: str = "one", **changes: Any) -> subprocess.Popen[bytes]:
        """Start a daemon."""
        environment = {**os.environ, **replace(self.settings, **changes).to_environment(), "REVERSER_NODE": node}
        with (self.folder / "watch.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", CODE], env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def leads(self) -> str | None:
        """Who leads."""
        with self.database.read() as connection:
            return leases.leader(connection, cluster=self.settings.cluster)

    def apply(self, kind: str, name: str, **spec: Any) -> None:
        """Create or change one of our objects."""
        type_ = kinds.OUR_TYPES[kind]
        ref = events.Ref(self.namespace if type_.namespaced else "", name)
        body = {"apiVersion": type_.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.cluster.request(
            "PATCH",
            paths.single(type_, ref),
            query={"fieldManager": "test", "force": "true"},
            body=orjson.dumps(body),
            content_type=client.APPLY_PATCH,
        )

    def apply_ours(self, *resources: str) -> None:
        """A repository, a destination and a rule on these resources."""
        self.apply("GitRepoConfig", "repo", repoUrl="https://example.com/x.git", allowedBranches=["main"])
        self.apply("GitDestination", "prod", repoRef={"name": "repo"}, branch="main", baseFolder="clusters/prod")
        self.apply("WatchRule", "rule", destinationRef={"name": "prod"}, rules=[{"resources": list(resources)}])

    def config_map(self, name: str, text: str = "1") -> None:
        """Create a ConfigMap."""
        metadata = {"name": name, "namespace": self.namespace}
        objects.create(self.cluster, objects.CONFIG_MAPS, {"metadata": metadata, "data": {"text": text}})

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """The status of one of our objects; conditions by type."""
        raw = self.cluster.get_json(paths.single(kinds.OUR_TYPES[kind], events.Ref(self.namespace, name)))
        status = raw.get("status") or {}
        return status | {"ready": {one["type"]: one for one in status.get("conditions", ())}.get("Ready", {})}

    def rows(self, *, where: str = "TRUE") -> list[tuple[str, str]]:
        """(operation, name) of every row, in order."""
        with self.database.read() as connection:
            query = f"SELECT operation, name FROM event WHERE {where} ORDER BY destination_id, sequence"
            return [(row.operation, row.name) for row in connection.execute(sqlalchemy.text(query))]

    def has(self, operation: str, name: str = "") -> Callable[[], bool]:
        """Whether a row is there."""
        return lambda: (operation, name) in self.rows()

    def close(self) -> None:
        """Kill what still runs, and take our objects away."""
        for process in self.processes:
            process.kill()
            process.wait(10)
        self.database.close()
        for kind in ("WatchRule", "GitDestination", "GitRepoConfig"):
            type_ = kinds.OUR_TYPES[kind]
            self.cluster.request("DELETE", paths.collection(type_, self.namespace))


@pytest.fixture
def world(server: ApiServer, cluster: client.Cluster, database_url: str, tmp_path: Path) -> Iterator[World]:
    """A database and a namespace; no daemon runs yet. There is no broker: publishing fails, and nothing is lost."""
    settings = Settings(
        kubeconfig=str(server.kubeconfig()),
        database_url=database_url,
        broker_url=f"redis+socket://{tmp_path}/no-redis",
        work_dir=tmp_path / "work",
        watch_lease=2.0,
        status_interval=0.2,
    )
    world = World(settings, cluster, tmp_path)
    yield world
    world.close()


def said_by_status(settings: Settings) -> str:
    """What `reverser status` says below its table."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "status"],
        env={**os.environ, **settings.to_environment()},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stderr


def test_what_is_dropped_is_named_until_it_is_not(world: World, redis_server: RedisServer) -> None:
    """While publishing fails `reverser status` and the destination say why; when it works again, neither does."""
    redis_server.kill9()
    settings = replace(world.settings, broker_url=redis_server.url)
    world.start(broker_url=redis_server.url)
    world.apply_ours("configmaps")
    wait_until(lambda: "broker_away" in said_by_status(settings), what="the reason in `reverser status`")
    assert "To do: start the broker, or correct REVERSER_BROKER_URL." in said_by_status(settings)

    def ready() -> str:
        return str(world.status("GitDestination", "prod")["ready"].get("message"))

    wait_until(lambda: "publishing fails (broker_away)" in ready(), what="the reason in the destination's status")
    redis_server.start()
    wait_until(lambda: "publishing fails" not in ready() + said_by_status(settings).lower(), what="the end of it")


@pytest.mark.promise("P8")
def test_what_is_applied_becomes_rows(world: World) -> None:
    """Objects that exist are seeded, later ones are followed, and a broken broker loses nothing."""
    world.config_map("before")
    world.start()
    world.apply_ours("configmaps")
    wait_until(world.has("SEED_SYNC"))
    world.config_map("after")
    wait_until(world.has("CREATE", "after"))
    objects.delete(world.cluster, objects.CONFIG_MAPS, events.Ref(world.namespace, "after"))
    wait_until(world.has("DELETE", "after"))
    names = [row for row in world.rows() if row[1] != "kube-root-ca.crt"]
    assert names == [("CREATE", "before"), ("SEED_SYNC", ""), ("CREATE", "after"), ("DELETE", "after")]


@pytest.mark.promise("P6", "P9")
def test_a_killed_leader_is_followed_by_the_standby(world: World) -> None:
    """After kill -9 a standby leads within the lease time and resumes from the cursors: each change once."""
    first = world.start(node="first")
    world.apply_ours("configmaps")
    wait_until(world.has("SEED_SYNC"))
    second = world.start(node="second")
    first.kill()
    first.wait()
    world.config_map("meanwhile")
    wait_until(lambda: world.leads() == "second")
    wait_until(world.has("CREATE", "meanwhile"))
    rows = world.rows()
    assert len(rows) == len(set(rows))
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE) == 0
    assert world.leads() is None


@pytest.mark.promise("P3")
def test_a_restart_on_an_unchanged_cluster_writes_nothing(world: World) -> None:
    """Restarting the daemon on an unchanged cluster makes no row (promise P3)."""
    world.config_map("same")
    first = world.start(node="first")
    world.apply_ours("configmaps")
    wait_until(world.has("SEED_SYNC"))
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0
    rows = world.rows()
    world.start(node="second")
    wait_until(lambda: world.leads() == "second")
    world.config_map("marker")
    wait_until(world.has("CREATE", "marker"))
    assert world.rows() == [*rows, ("CREATE", "marker")]


def test_a_lost_lease_ends_the_process_with_its_code(world: World) -> None:
    """A leader whose lease was taken over stops at once, with a code that tells its supervisor why."""
    process = world.start(node="first")
    wait_until(lambda: world.leads() == "first")
    with world.database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE watch_lease SET token = token + 1"))
    assert process.wait(PATIENCE) == daemon.EXIT_LOST


def test_status_says_what_became_of_our_objects(world: World) -> None:
    """Conditions of all kinds follow the compiler and SQL, and carry the generation that they are about."""
    world.start()
    world.apply_ours("configmaps", "secrets", "unicorns")
    wait_until(world.has("SEED_SYNC"))
    wait_until(lambda: world.status("GitDestination", "prod").get("pending"))
    assert world.status("GitDestination", "prod")["queue"] == f"dest.{world.namespace}.prod"
    assert world.status("GitRepoConfig", "repo")["ready"]["status"] == "True"
    rule = wait_until(lambda: world.status("WatchRule", "rule") if world.status("WatchRule", "rule")["ready"] else {})
    assert rule["resolvedTypes"] == ["v1/configmaps"]
    assert {problem["reason"] for problem in rule["problems"]} == {"EncryptionRequired", "NotServed"}
    counted = wait_until(lambda: world.status("WatchRule", "rule").get("ruleVersion"))
    assert (counted, world.status("WatchRule", "rule")["objects"]) == (1, 0)
    world.apply("GitDestination", "prod", repoRef={"name": "repo"}, branch="dev", baseFolder="clusters/prod")
    wait_until(lambda: world.status("GitDestination", "prod")["ready"].get("reason") == "BranchNotAllowed")
    assert world.status("GitDestination", "prod")["observedGeneration"] == 2


@pytest.mark.promise("P10")
@KUBE_ONLY
def test_a_forbidden_type_is_never_read_as_empty(world: World, server: ApiServer) -> None:
    """A type that RBAC forbids ends its scope without a sweep and says so; allowed later, it is seeded."""
    user = server_user(world)
    grant(world.cluster, user, "configmaps", "customresourcedefinitions", "apiservices", "namespaces")
    world.start(kubeconfig=str(server.kubeconfig(user)))
    world.apply_ours("configmaps", "roles")
    wait_until(world.has("SEED_SYNC"))
    assert outcomes(world) == {("configmaps", "complete"), ("roles", "Forbidden")}
    problems = wait_until(lambda: world.status("WatchRule", "rule").get("problems"))
    assert "roles" in problems[0]["message"]
    grant(world.cluster, user, "roles")
    wait_until(lambda: ("roles", "complete") in outcomes(world))


def server_user(world: World) -> str:
    """A user whom no other test granted anything."""
    return "reader" if world.settings.database_url.startswith("sqlite") else "bob"


def outcomes(world: World) -> set[tuple[str, str]]:
    """(resource, outcome) of every scope of every seed."""
    with world.database.read() as connection:
        found = connection.execute(sqlalchemy.text("SELECT resource, outcome FROM seed_scope"))
        return {(row.resource, row.outcome) for row in found}


def causes(world: World) -> list[str]:
    """Why each seed was started, the first one first."""
    with world.database.read() as connection:
        found = connection.execute(sqlalchemy.text("SELECT cause FROM seed_run ORDER BY started_at"))
        return [row.cause for row in found]


def grant(cluster: client.Cluster, user: str, *resources: str) -> None:
    """Let a user read these resources, and do with our kinds what a daemon does."""
    rules = [
        {"apiGroups": ["*"], "resources": list(resources), "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["configbutler.ai"], "resources": ["*"], "verbs": ["*"]},
    ]
    role = types.ResourceType(
        "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False, frozenset(), True
    )  # fmt: skip
    binding = replace(role, resource="clusterrolebindings", kind="ClusterRoleBinding")
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "User", "name": user, "apiGroup": api}
    metadata = {"name": f"watch-{user}-{resources[0]}"}
    reference = {"apiGroup": api, "kind": "ClusterRole", "name": metadata["name"]}
    objects.create(cluster, role, {"metadata": metadata, "rules": rules})
    objects.create(cluster, binding, {"metadata": metadata, "subjects": [subject], "roleRef": reference})


@pytest.mark.promise("P9")
def test_an_api_server_that_crashes_costs_time_only(world: World, server: ApiServer) -> None:
    """After kill -9 of the API server and its etcd the streams resume from their cursors: nothing lost or doubled."""
    world.start()
    world.apply_ours("configmaps")
    wait_until(world.has("SEED_SYNC"))
    world.config_map("before")
    wait_until(world.has("CREATE", "before"))
    server.kill9()
    server.start()
    wait_until(lambda: server.kubeconfig().exists() and can_create(world, "after"))
    wait_until(world.has("CREATE", "after"))
    rows = [row for row in world.rows(where="seed_run_id IS NULL") if row[1] != "kube-root-ca.crt"]
    assert rows == [("CREATE", "before"), ("CREATE", "after")]
    # An API server that starts knows no change of before: where anything was written since, the cursor has expired.
    assert [cause for cause in causes(world)[1:] if cause != "the resume point expired"] == []


def can_create(world: World, name: str) -> bool:
    """Create a ConfigMap, unless the server is not ready for it."""
    try:
        world.config_map(name)
    except errors.TemporaryError:
        return False
    return True
