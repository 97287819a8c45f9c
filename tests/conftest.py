"""Fixtures and rules for every test: a scrubbed environment, strict lanes, real servers, Hypothesis profiles.

The servers themselves live in `tests/servers`; `tests/lanes.py` says which of them a machine has.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy.engine import URL

from app import db
from tests import lanes, properties, scheduling
from tests.servers import postgres, rabbitmq
from tests.servers.redis import RedisServer, find_server

# A test must not depend on who runs it, nor reach what that person's tools reach.
SCRUBBED = ("GIT_", "REVERSER_", "KUBECONFIG", "XDG_", "SSH_", "PG", "CELERY_", "FLOWER_", "C_FORCE_ROOT")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
GIT_CONFIG = "[user]\n\tname = Test\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n"

# `make test` stays quick; CI looks harder; `make test-long` asks for 20,000 with --hypothesis-profile=long. For each of
# many mutants the same few examples have to do: a mutant that lives by luck would be another one each time.
hypothesis.settings.register_profile("dev", max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", max_examples=1_000, deadline=None, print_blob=True)
hypothesis.settings.register_profile("long", max_examples=20_000, deadline=None, print_blob=True)
hypothesis.settings.register_profile("mutation", max_examples=30, deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("ci" if lanes.IN_CI else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lanes` says which servers a run may start, `--properties-page` where its properties are written down."""
    parser.addoption(
        "--lanes", default=lanes.ALL, help=f"run these lanes: {', '.join(lanes.LANES)}; all (default), or ''"
    )
    parser.addoption(properties.OPTION, type=Path, help="write what was tried of each property into this page")


def pytest_configure(config: pytest.Config) -> None:
    """Scrub the environment before anything of ours reads it, for child processes too."""
    lanes.choose(config.getoption("lanes"))
    if page := config.getoption(properties.OPTION):
        config.pluginmanager.register(properties.Recorder(page))
    # Who hands tests to other processes runs none, and they inherit its environment: each scrubs its own.
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    for name in list(os.environ):
        if name.startswith(SCRUBBED) or name.lower() in PROXIES:
            del os.environ[name]
    # A shell that starts us in the background has us ignore Ctrl-C, and all that we start: some tests press it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    home = Path(tempfile.mkdtemp(prefix="reverser-home-"))
    (home / ".gitconfig").write_text(GIT_CONFIG)
    os.environ.update(HOME=str(home), GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One API server after the other; on each, what takes longest begins first.

    Coverage is not traced where that costs minutes and finds nothing: properties, because what only luck takes is no
    covered branch, and what has run on the sandbox and runs once more on a real API server.
    """
    for item in items:
        if item.get_closest_marker("hypothesis") or scheduling.on_kube(item.nodeid):
            item.add_marker("no_cover")
    items.sort(key=lambda item: scheduling.rank(item.path.relative_to(config.rootpath), item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.ByFileAndServer:
    """How `-n` hands tests to its processes."""
    return scheduling.ByFileAndServer(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test in a lane that was not asked for is skipped, as is one whose server is missing; in CI that one fails."""
    if scheduling.on_kube(item.nodeid):
        # It makes processes that a test starts trace themselves; nothing after this test is to be traced.
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    for name in lanes.LANES:
        if item.get_closest_marker(name):
            lanes.lane(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end which lanes were left out, and how to have them."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    for name in lanes.LANES:
        count = sum(f"lane {name} is left out" in reason for reason in skipped)
        if count:
            text = f"lane {name}: {count} tests left out; to have them: {lanes.how(name)}"
            terminalreporter.write_line(text, yellow=True)


@pytest.fixture(scope="session")
def postgres_admin_url() -> Iterator[str]:
    """The maintenance database of a PostgreSQL server, for as long as the tests run."""
    if lanes.POSTGRES_URL:
        yield _text(postgres.parse(lanes.POSTGRES_URL))
        return
    programs = lanes.find_postgres() or lanes.leave_out("postgres")
    server = postgres.PostgresServer(programs)
    try:
        server.start()
        yield _text(server.admin_url)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_databases(postgres_admin_url: str) -> postgres.Databases:
    """Makes databases on the server of this run."""
    return postgres.Databases(postgres.parse(postgres_admin_url))


@pytest.fixture
def postgres_url(postgres_databases: postgres.Databases) -> Iterator[str]:
    """An empty PostgreSQL database, gone after the test."""
    url = postgres_databases.create()
    yield _text(url)
    postgres_databases.drop(url)


@pytest.fixture(scope="session")
def postgres_template(postgres_databases: postgres.Databases) -> Iterator[str]:
    """The name of a migrated database to copy: a copy takes a tenth of the migrations' time."""
    url = postgres_databases.create()
    db.upgrade(_text(url))
    yield str(url.database)
    postgres_databases.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "reverser.db"
    db.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of this test's own."""
    path = tmp_path / "reverser.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_migrated_url(postgres_databases: postgres.Databases, postgres_template: str) -> Iterator[str]:
    """A migrated PostgreSQL database of this test's own."""
    url = postgres_databases.create(postgres_template)
    yield _text(url)
    postgres_databases.drop(url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database: the test runs once on SQLite and once on PostgreSQL."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_migrated_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of this test's own, empty, append-only file on; it may be killed and started again."""
    program = find_server()
    assert program, "install redis-server or valkey-server: without one, no test of the broker can run"
    server = RedisServer(program)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The broker URL of a Redis of this test's own."""
    return redis_server.url


@pytest.fixture(scope="session")
def rabbitmq_node() -> Iterator[rabbitmq.RabbitServer]:
    """A RabbitMQ that all tests of a run share: a node takes seconds to start. Never killed."""
    with rabbitmq.RabbitServer(rabbitmq.find_server() or lanes.leave_out("rabbitmq")) as server:
        yield server


@pytest.fixture
def rabbitmq_vhost(rabbitmq_node: rabbitmq.RabbitServer) -> Iterator[rabbitmq.Vhost]:
    """A virtual host of this test's own on the shared RabbitMQ."""
    with rabbitmq_node.vhost() as vhost:
        yield vhost


@pytest.fixture
def rabbitmq_url(rabbitmq_vhost: rabbitmq.Vhost) -> str:
    """The broker URL of a virtual host of this test's own."""
    return rabbitmq_vhost.url


@pytest.fixture
def rabbitmq_server() -> Iterator[rabbitmq.RabbitServer]:
    """A RabbitMQ of this test's own, which may be killed and started again."""
    with rabbitmq.RabbitServer(rabbitmq.find_server() or lanes.leave_out("rabbitmq")) as server:
        yield server


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker_url(request: pytest.FixtureRequest) -> str:
    """A broker: the test runs once on Redis and once on RabbitMQ."""
    return str(request.getfixturevalue(f"{request.param}_url"))


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
