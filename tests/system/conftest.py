"""One installation beside each API server for this folder; tests that break things have one of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app import settings
from app.kube import client, crds
from tests import lanes
from tests.git import servers
from tests.servers import redis
from tests.servers.api import EACH, SANDBOX, ApiServer, make
from tests.servers.postgres import Databases
from tests.servers.rabbitmq import RabbitServer, Vhost
from tests.servers.sandbox import SandboxServer
from tests.system.cluster import OURS, Api, RefusedError
from tests.system.installation import CHOSEN, Embedded, Lane, Separate
from tests.system.repository import Repository
from tests.waiting import wait_until

# Fixtures of installations that must be the only one on the cluster: two would both write into the test's repository.
ALONE = frozenset({"own", "separate"})
RABBITMQ, REDIS = "rabbitmq", "redis"
# API server and broker; beside the sandbox the broker is embedded.
INSTALLATIONS = (
    pytest.param(SANDBOX, REDIS, id=SANDBOX),
    pytest.param("kube", RABBITMQ, id="kube", marks=pytest.mark.kube),
    pytest.param("kube", REDIS, id="kube-redis", marks=pytest.mark.kube),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here takes its time; those that need to be alone come last."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.timeout(300))
    items[:] = [item for item in items if item not in here] + sorted(here, key=_is_alone)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What runs on any shared installation runs on each kind of them."""
    names = set(metafunc.fixturenames)
    chosen = any("server" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "shared_lane" in names and ALONE.isdisjoint(names) and not chosen:
        # As if the test said so itself: `server` has parameters of its own otherwise.
        metafunc.definition.add_marker(pytest.mark.parametrize(("server", "broker"), INSTALLATIONS, indirect=True))


def _is_alone(item: pytest.Item) -> bool:
    return not ALONE.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The API server, with our CRDs for local repositories."""
    with make(request.param, tmp_path_factory.mktemp("server")) as server:
        cluster = client.connect(settings.Settings(kubeconfig=str(server.kubeconfig())))
        crds.apply(cluster, allow_local=True)
        cluster.close()
        wait_until(lambda: _serves_ours(Api(server)), what="our kinds are served")
        yield server


def _serves_ours(api: Api) -> bool:
    """A new kind answers 404, then 429, for a moment."""
    try:
        return [api.list(resource) for resource in OURS] == [[]] * len(OURS)
    except RefusedError:
        return False


@pytest.fixture
def api(server: ApiServer) -> Iterator[Api]:
    """The API server for one test; none of our objects outlives it, for the next installation would serve them."""
    one = Api(server)
    yield one
    one.remove_ours()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> str:
    """The kind of broker of an installation in production."""
    return str(getattr(request, "param", RABBITMQ))


@pytest.fixture(scope="session")
def shared_lane(
    server: ApiServer, broker: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lane]:
    """The installation that tests share, running or not.

    Beside the sandbox what a newcomer has, `reverser up`; beside a kube-apiserver what production has.
    """
    folder = tmp_path_factory.mktemp("shared")
    if isinstance(server, SandboxServer):
        one: Lane = Embedded(folder / "data", server.kubeconfig())
        yield one
        one.end()
        return
    lanes.lane("postgres")
    databases: Databases = request.getfixturevalue("postgres_databases")
    url = databases.create()
    text = url.render_as_string(hide_password=False)
    with _broker(broker, request) as (broker_url, kept, vhost):
        options = _options(folder, server.kubeconfig(), database_url=text, broker_url=broker_url)
        kept_by_all = (databases.folder(), kept)
        one = Separate(folder, options, flower_port=servers.free_port(), kept=kept_by_all, vhost=vhost)
        yield one
        one.end()
    databases.drop(url)


@contextlib.contextmanager
def _broker(kind: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, Path, Vhost | None]]:
    """A broker's URL and folder; on RabbitMQ, a virtual host of it."""
    if kind == REDIS:
        program = redis.find_server()
        assert program, "install redis-server or valkey-server"
        with redis.RedisServer(program) as server:
            yield server.url, server.folder, None
        return
    lanes.lane(RABBITMQ)
    node: RabbitServer = request.getfixturevalue("rabbitmq_node")
    with node.vhost() as vhost:
        yield vhost.url, node.folder, vhost


def _options(folder: Path, kubeconfig: Path, *, database_url: str, broker_url: str) -> settings.Settings:
    chosen = {settings.variable_of(name): value for name, value in CHOSEN.items()}
    return replace(
        settings.Settings.from_environment(chosen),
        database_url=database_url,
        broker_url=broker_url,
        work_dir=folder / "work",
        kubeconfig=str(kubeconfig),
        allow_local_repos=True,
    )


@pytest.fixture
def shared(shared_lane: Lane) -> Lane:
    """A running installation for tests that leave it as it is."""
    if not shared_lane.is_running():
        shared_lane.start()
    return shared_lane


@pytest.fixture
def own(api: Api, shared_lane: Lane, tmp_path: Path) -> Iterator[Embedded]:
    """A `reverser up` that a test may break; not started."""
    shared_lane.end()
    one = Embedded(tmp_path / "data", api.kubeconfig)
    yield one
    one.end()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty bare repository on this machine."""
    return Repository.local(tmp_path / "repository.git")


@pytest.fixture
def separate(api: Api, shared_lane: Lane, postgres_url: str, broker_url: str, tmp_path: Path) -> Iterator[Separate]:
    """Separate processes on PostgreSQL, and on Redis or RabbitMQ, that a test may break; not started."""
    shared_lane.end()
    options = _options(tmp_path, api.kubeconfig, database_url=postgres_url, broker_url=broker_url)
    one = Separate(tmp_path, options, flower_port=servers.free_port())
    yield one
    one.end()


@pytest.fixture
def ssh_host(tmp_path: Path) -> Iterator[servers.SshGitServer]:
    """An sshd with git behind it; its tests carry the marker `sshd`."""
    server = servers.SshGitServer(tmp_path / "ssh")
    yield server
    server.stop()


@pytest.fixture
def https_host(tmp_path: Path) -> Iterator[servers.HttpsGitServer]:
    """An HTTPS host that notes what it is asked."""
    (tmp_path / "https").mkdir()
    server = servers.HttpsGitServer(tmp_path / "https")
    yield server
    server.stop()
