"""`reverser doctor` on settings, database, broker, processes and disk: each check both ways, on real servers."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import kombu
import pytest
import redis
import sqlalchemy
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from app import db, errors, queues, settings
from app.cli import doctor, main, updata
from app.cli.checks import configuration, database, disk, findings, processes
from app.models import base, health, nodes
from tests.cli.patient import Patient
from tests.servers import postgres
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

# Nobody listens on this port of the loopback.
NO_BROKER = "redis://:broker-canary@127.0.0.1:1/0"


@pytest.fixture
def patient(tmp_path: Path, database_url: str) -> Patient:
    """An installation on a migrated database, without broker and cluster."""
    return Patient(tmp_path, database_url=database_url, broker_url=NO_BROKER)


@pytest.fixture
def on_sqlite(tmp_path: Path, sqlite_url: str) -> Patient:
    """The same on SQLite, for what has nothing to do with the kind of database."""
    return Patient(tmp_path, database_url=sqlite_url, broker_url=NO_BROKER)


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of the test's own Redis."""
    client = redis_server.client()
    yield client
    client.close()


def snapshot(url: str) -> dict[str, list[str]]:
    """Every row of every table of ours."""
    opened = db.Database(url)
    try:
        with opened.read() as connection:
            return {
                name: sorted(str(tuple(row)) for row in connection.execute(sqlalchemy.select(table)))
                for name, table in base.Base.metadata.tables.items()
            }
    finally:
        opened.close()


def file_of(url: str) -> Path:
    """The file of a SQLite database."""
    return db.sqlite_file(url)


# Settings


def test_unreadable_settings_skip_everything_else(patient: Patient) -> None:
    """A setting that cannot be read is named, and nothing else is looked at; exit code 1."""
    found = patient.doctor(REVERSER_GIT_TIMEOUT="soon")
    assert found.exit_code == 1
    assert [one["level"] for one in found.findings] == ["FAIL", "SKIP"]
    assert "REVERSER_GIT_TIMEOUT='soon'" in found.findings[0]["found"]


@pytest.mark.parametrize(
    ("variables", "level", "words"),
    [
        ({"REVERSER_STATEMENT_TIMEOUT": "5"}, "WARN", "not below the leases"),
        ({"REVERSER_GIT_TIMEOUT": "60"}, "WARN", "uses up a whole drain"),
        ({"REVERSER_CREDENTIALS_DIR": "/nowhere/at-all"}, "FAIL", "no folder"),
        ({"REVERSER_FLOWER_LOGIN": "only-a-name"}, "FAIL", "not user:password"),
        ({"REVERSER_LOG_LEVEL": "loud"}, "FAIL", "REVERSER_LOG_LEVEL"),
    ],
)
def test_settings_that_do_not_fit_each_other(
    on_sqlite: Patient, variables: dict[str, str], level: str, words: str
) -> None:
    """Settings that contradict each other, or that a process would refuse, are named with what to do."""
    finding = on_sqlite.doctor(**variables).worst("settings")
    assert finding["level"] == level
    assert words in finding["found"]
    assert finding["do"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[updata.DataFolder]:
    """The data folder of an `up` that says it is ready."""
    folder = updata.DataFolder.at(tmp_path / "data")
    folder.make()
    with folder.locked() as lock:
        assert lock
        up = {"kubeconfig": "/k", "repository": "/r", "repository_url": "file:///r", "flower_url": "http://f"}
        folder.write_up(updata.Up(database_url="sqlite:////db", broker_url="redis+socket:///s", pids={}, **up))
        yield folder


def test_a_variable_that_wins_over_a_running_up_is_named(
    running: updata.DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder of a running `up`, a variable that leads elsewhere is said: all that follows is about that."""
    loaded = configuration.load(running.path)
    assert loaded.settings
    assert (loaded.settings.database_url, [one.level for one in loaded.said]) == ("sqlite:////db", ["OK"])
    assert "running `reverser up`" in loaded.said[0].found
    monkeypatch.setenv("KUBECONFIG", "/another")
    (said,) = configuration.load(running.path).said
    assert (said.level, "env -u KUBECONFIG" in said.do) == ("WARN", True)


def test_an_up_that_starts(running: updata.DataFolder) -> None:
    """While `up` is not ready yet, the doctor says to ask again."""
    running.forget()
    (said,) = configuration.load(running.path).said
    assert (said.level, "starting" in said.found) == ("FAIL", True)


def test_an_up_that_does_not_run(tmp_path: Path, sqlite_template: Path) -> None:
    """In the folder of an `up` that was stopped or killed, one line says to start it; its parts are not blamed."""
    folder = updata.DataFolder.at(tmp_path / "data")
    folder.make()
    shutil.copy(sqlite_template, folder.database)
    done = CliRunner().invoke(main.main, ["doctor", "--data-dir", str(folder.path)])
    assert done.exit_code == 1
    levels = [line.split()[0] for line in done.stdout.splitlines()]
    assert levels == ["FAIL", "->", "OK", "OK", "SKIP", "2"]
    assert f"-> reverser up --data-dir {folder.path}" in done.stdout


# Database


def test_a_database_of_this_version_is_well(patient: Patient) -> None:
    """A migrated database is named by product and place, without its password."""
    found = patient.doctor()
    assert found.levels("database") == ["OK"]
    assert "migrated to this version" in found.of("database")[0]["found"]


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """Where there is no SQLite file the doctor says so, makes none, and skips what only it could tell."""
    found = Patient(tmp_path, database_url=f"sqlite:///{tmp_path}/data/reverser.db", broker_url=NO_BROKER).doctor()
    assert found.levels("database") == ["FAIL"]
    assert "--data-dir" in found.worst("database")["do"]
    assert [found.levels(check) for check in ("processes", "destination")] == [["SKIP"], ["SKIP"]]
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_away(tmp_path: Path) -> None:
    """A PostgreSQL that does not answer fails in one line, without the password."""
    url = "postgresql://reverser:database-canary@127.0.0.1:1/reverser"
    found = Patient(tmp_path, database_url=url, broker_url=NO_BROKER).doctor()
    assert found.levels("database") == ["FAIL"]
    assert found.worst("database")["subject"] == "PostgreSQL database reverser at 127.0.0.1:1 as reverser"
    assert "canary" not in found.text


def test_a_database_url_that_is_none(tmp_path: Path) -> None:
    """A URL of another kind of database is refused without being shown."""
    found = Patient(tmp_path, database_url="mysql://u:database-canary@h/d", broker_url=NO_BROKER).doctor()
    assert "mysql is not supported" in found.worst("database")["found"]
    assert "canary" not in found.text


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_database_that_was_not_migrated(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """An empty database gets the command to type; it stays empty."""
    url = f"sqlite:///{tmp_path}/empty.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    if kind == "sqlite":
        sqlite3.connect(tmp_path / "empty.db").close()
    found = Patient(tmp_path, database_url=url, broker_url=NO_BROKER).doctor()
    assert found.worst("database")["do"] == "`reverser migrate`"
    opened = db.Database(url, read_only=True)
    with opened.read() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == []
    opened.close()


def test_a_database_of_a_newer_version(patient: Patient) -> None:
    """A revision that this program does not know asks for an upgrade of the program."""
    with patient.writing() as opened, opened.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    finding = patient.doctor().worst("database")
    assert "revision 9999" in finding["found"]
    assert "upgrade this program" in finding["do"]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_database_of_something_else(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A database that holds another program's tables is not to be migrated: it is the wrong one."""
    url = f"sqlite:///{tmp_path}/other.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    opened = db.Database(url)
    with opened.write() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE invoice (id INTEGER)"))
    opened.close()
    finding = Patient(tmp_path, database_url=url, broker_url=NO_BROKER).doctor().worst("database")
    assert "belongs to something else" in finding["found"]
    assert "invoice" in finding["found"]


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of something else is said in one line."""
    (tmp_path / "x.db").write_text("This is a letter, and no database at all. " * 20)
    found = Patient(tmp_path, database_url=f"sqlite:///{tmp_path}/x.db", broker_url=NO_BROKER).doctor()
    assert "cannot be read" in found.worst("database")["found"]


def test_a_file_that_others_may_read(on_sqlite: Patient) -> None:
    """A readable SQLite file is a warning with the command; the doctor leaves its mode as it is."""
    path = file_of(on_sqlite.options.database_url)
    path.chmod(0o644)
    finding = on_sqlite.doctor().worst("database")
    assert (finding["level"], finding["do"]) == ("WARN", f"chmod 600 {path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("seconds", [60.0, -60.0])
def test_clocks_that_do_not_agree(patient: Patient, seconds: float) -> None:
    """A database whose clock is far from ours is a warning; a second is not."""
    known, said = database.examine(patient.options, clock=lambda: time.time() + seconds)
    assert known
    assert [one.level for one in said] == ["OK", "WARN"]
    assert ("60 s behind" if seconds > 0 else "60 s ahead of") in said[1].found
    _, said = database.examine(patient.options, clock=lambda: time.time() + 1)
    assert [one.level for one in said] == ["OK"]


@pytest.mark.postgres
def test_a_role_without_rights(tmp_path: Path, postgres_migrated_url: str) -> None:
    """A role that may not write our tables, or not use their sequences, is told which right it misses."""
    url = make_url(postgres_migrated_url)
    role = f"{url.database}_app"
    patient = Patient(
        tmp_path,
        database_url=url.set(username=role).render_as_string(hide_password=False),
        broker_url=NO_BROKER,
    )
    with postgres.connect(url) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN")  # type: ignore[arg-type]
        try:
            finding = patient.doctor().worst("database")
            assert "permission denied for table alembic_version" in finding["found"]
            assert "GRANT" in finding["do"]
            owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")  # type: ignore[arg-type]
            finding = patient.doctor().worst("database")
            assert "INSERT on" in finding["found"]
            assert "GRANT" in finding["do"]
            owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")  # type: ignore[arg-type]
            assert "USAGE on the sequence of" in patient.doctor().worst("database")["found"]
            owner.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")  # type: ignore[arg-type]
            assert patient.doctor().levels("database") == ["OK"]
            owner.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")  # type: ignore[arg-type]
            finding = patient.doctor().worst("database")
            assert "may only read" in finding["found"]
            assert "role of the processes" in finding["do"]
        finally:
            owner.execute(f"DROP OWNED BY {role}")  # type: ignore[arg-type]
            owner.execute(f"DROP ROLE {role}")  # type: ignore[arg-type]


@pytest.mark.postgres
def test_a_standby(tmp_path: Path, postgres_migrated_url: str) -> None:
    """A server that takes no writes is told from one that does not answer, with how the primary is found."""
    url = make_url(postgres_migrated_url)
    patient = Patient(tmp_path, database_url=postgres_migrated_url, broker_url=NO_BROKER)
    with postgres.connect(url) as owner:
        owner.execute(f'ALTER DATABASE "{url.database}" SET default_transaction_read_only = on')  # type: ignore[arg-type]
    finding = patient.doctor().worst("database")
    assert "standby" in finding["found"]
    assert "?host=" in finding["do"]


def test_reading_while_others_write(on_sqlite: Patient) -> None:
    """The doctor sees what a running process committed a moment ago and has not moved into the file yet."""
    running = db.Database(on_sqlite.options.database_url)
    try:
        with running.write() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE IF NOT EXISTS note (x INTEGER)"))
        on_sqlite.worker_lives()
        assert on_sqlite.doctor().levels("workers") == ["OK"]
    finally:
        running.close()


def test_reading_what_a_crash_left(on_sqlite: Patient, tmp_path: Path) -> None:
    """What a killed process committed is seen, and stays for the next process to bring into the file."""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    path = file_of(on_sqlite.options.database_url)
    running = db.Database(on_sqlite.options.database_url)
    try:
        with running.read() as connection:
            connection.execute(sqlalchemy.text("SELECT * FROM worker_node"))
        on_sqlite.worker_lives()
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            shutil.copy(path.with_name(name), crashed / name)
    finally:
        running.close()
    left = {one.name: one.read_bytes() for one in crashed.iterdir() if not one.name.endswith("-shm")}
    assert left[f"{path.name}-wal"]
    found = on_sqlite.doctor(REVERSER_DATABASE_URL=f"sqlite:///{crashed / path.name}")
    assert found.levels("workers") == ["OK"]
    assert {one.name: one.read_bytes() for one in crashed.iterdir() if not one.name.endswith("-shm")} == left


# Broker


def test_a_broker_that_answers(on_sqlite: Patient, broker_url: str) -> None:
    """Redis and RabbitMQ are named with their versions."""
    on_sqlite.destination("prod", url="file:///nowhere", transport="file")
    found = on_sqlite.doctor(REVERSER_BROKER_URL=broker_url)
    assert found.levels("broker") == ["OK"]
    assert "refuses none of 1 queue" in found.of("broker")[0]["found"]


def test_a_broker_that_is_away(on_sqlite: Patient) -> None:
    """A broker that does not answer fails, says that nothing is lost, and does not show its password."""
    found = on_sqlite.doctor()
    assert found.levels("broker") == ["FAIL"]
    assert "nothing is lost" in found.worst("broker")["found"]
    assert found.worst("broker")["subject"] == "broker redis://127.0.0.1:1/0"
    assert "canary" not in found.text


@pytest.mark.parametrize("url", ["kafka://u:broker-canary@h", "redis://:broker-canary@127.0.0.1:1/letters"])
def test_a_broker_url_that_is_none(on_sqlite: Patient, url: str) -> None:
    """A URL that is no broker's is a failure of one line, without what it holds."""
    found = on_sqlite.doctor(REVERSER_BROKER_URL=url)
    assert "is no redis://" in found.worst("broker")["found"]
    assert "canary" not in found.text


def test_a_password_that_redis_refuses(
    on_sqlite: Patient, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """A login that the broker refuses is said in its words."""
    redis_client.config_set("requirepass", "broker-canary")
    found = on_sqlite.doctor(REVERSER_BROKER_URL=redis_server.url)
    assert "uthentication" in found.worst("broker")["found"]


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("login", "host", "words"), [("guest:broker-canary", "", "ACCESS_REFUSED"), ("guest:guest", "nope", "NOT_ALLOWED")]
)
def test_a_login_that_rabbitmq_refuses(
    on_sqlite: Patient, rabbitmq_url: str, login: str, host: str, words: str
) -> None:
    """A wrong password and a virtual host that is not there end in one line."""
    place = rabbitmq_url.rpartition("@")[2].rstrip("/")
    found = on_sqlite.doctor(REVERSER_BROKER_URL=f"amqp://{login}@{place}/{host}")
    assert words in found.worst("broker")["found"]
    assert "canary" not in found.text


def test_dead_letters_are_told(on_sqlite: Patient, broker_url: str) -> None:
    """Messages that nobody could read are told with their number and how to be rid of them; looking keeps them."""
    with kombu.Connection(broker_url) as connection:
        dead = kombu.Queue(queues.DEAD_QUEUE, durable=True)(connection.default_channel)
        dead.declare()
        connection.Producer().publish({}, routing_key=queues.DEAD_QUEUE)
    for _ in range(2):
        found = wait_until(lambda: on_sqlite.doctor(REVERSER_BROKER_URL=broker_url).of("broker")[1:])
        assert [one["level"] for one in found] == ["WARN"]
        assert "dest.dead holds 1 message that" in found[0]["found"]
        assert f" {queues.DEAD_QUEUE}" in found[0]["do"]


@pytest.mark.parametrize(("memory", "level"), [("0", "WARN"), ("100mb", "FAIL")])
def test_a_redis_that_evicts(
    on_sqlite: Patient, redis_server: RedisServer, redis_client: redis.Redis, memory: str, level: str
) -> None:
    """A Redis that drops keys when it is full is a failure once it can be full, and gets the command."""
    redis_client.config_set("maxmemory", memory)
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    finding = on_sqlite.doctor(REVERSER_BROKER_URL=redis_server.url).worst("broker")
    assert finding["level"] == level
    assert "allkeys-lru" in finding["found"]
    assert "CONFIG SET maxmemory-policy noeviction" in finding["do"]


def test_a_redis_that_forgets(on_sqlite: Patient, redis_server: RedisServer, redis_client: redis.Redis) -> None:
    """Without an append-only file a restart forgets rings, which is a warning: nothing is lost."""
    redis_client.config_set("appendonly", "no")
    finding = on_sqlite.doctor(REVERSER_BROKER_URL=redis_server.url).worst("broker")
    assert (finding["level"], "nothing is lost" in finding["found"]) == ("WARN", True)


def test_a_redis_that_is_a_replica(on_sqlite: Patient, redis_server: RedisServer, redis_client: redis.Redis) -> None:
    """On a replica nothing can be queued."""
    redis_client.replicaof("127.0.0.1", "1")
    finding = on_sqlite.doctor(REVERSER_BROKER_URL=redis_server.url).worst("broker")
    assert (finding["level"], "replica" in finding["found"]) == ("FAIL", True)


# Processes


def test_nobody_runs(patient: Patient) -> None:
    """Without a leading watch daemon, and without a worker, each is a failure with the command."""
    found = patient.doctor()
    assert "reverser watch" in found.worst("watch")["do"]
    assert "reverser worker" in found.worst("workers")["do"]


def test_everybody_runs(patient: Patient) -> None:
    """A leader and a worker with a young heartbeat are named."""
    patient.watch_leads()
    patient.worker_lives()
    found = patient.doctor()
    assert found.levels("watch") == found.levels("workers") == ["OK"]
    assert "worker-1" in found.of("workers")[0]["found"]


def test_what_the_watch_daemon_drops(patient: Patient) -> None:
    """Messages that a watch daemon drops are a warning with what to do, also where the broker answers by now."""
    patient.watch_leads(drops={"unroutable": 3, "of_the_future": 1})
    warned = [one for one in patient.doctor().of("watch") if one["level"] == "WARN"]
    assert ["(of_the_future): 1 message was" in warned[0]["found"], "(unroutable): 3" in warned[1]["found"]] == [
        True
    ] * 2
    assert [one["do"].split()[0] for one in warned] == ["look", "nothing,"]


def test_a_worker_that_died_is_none(patient: Patient) -> None:
    """A heartbeat that stopped longer ago than others wait for it counts as no worker."""
    patient.worker_lives()
    with patient.writing() as opened, opened.write() as connection:
        late = base.now(-2 * nodes.STALE_AFTER)
        connection.execute(sqlalchemy.update(base.Base.metadata.tables["worker_node"]).values(heartbeat=late))
    assert patient.doctor().levels("workers") == ["FAIL"]


def test_a_destination_that_nobody_serves(patient: Patient) -> None:
    """A destination that the patterns of no worker name is a failure with the command that serves it."""
    patient.destination("prod", url="file:///nowhere", transport="file")
    patient.worker_lives("shop/other")
    finding = patient.doctor().worst("workers")
    assert "shop/prod" in finding["found"]
    assert "--destinations 'shop/prod'" in finding["do"]
    patient.worker_lives(name="worker-2")
    assert patient.doctor().levels("workers") == ["OK"]


def test_many_names_are_cut() -> None:
    """A thousand destinations do not fill the screen."""
    assert processes._listed([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"


# Disk


def test_a_work_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A path below a file is no folder."""
    (tmp_path / "file").touch()
    (finding,) = disk.examine(settings.Settings(work_dir=tmp_path / "file" / "work"))
    assert finding.level is findings.Level.FAIL


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_work_directory_of_somebody_else(tmp_path: Path) -> None:
    """A folder that this user may not write is a failure."""
    (tmp_path / "work").mkdir(mode=0o500)
    (finding,) = disk.examine(settings.Settings(work_dir=tmp_path / "work"))
    assert finding.level is findings.Level.FAIL


@pytest.mark.parametrize(("free", "level"), [(5e9, "OK"), (5e8, "WARN"), (5e7, "FAIL")])
def test_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, level: str) -> None:
    """Little room is a warning, next to none a failure; the folder is not made."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=int(free)))
    (finding,) = disk.examine(settings.Settings(work_dir=tmp_path / "work"))
    assert finding.level == level
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("free", "said"), [(999_999, True), (2e6, False)])
def test_a_full_disk_of_the_database_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, *, said: bool
) -> None:
    """`reverser status` says why nobody leads; of a database elsewhere this machine knows nothing."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=int(free)))
    here = settings.Settings(database_url=f"sqlite:///{tmp_path}/reverser.db")
    assert (f"free some space in {tmp_path}" in disk.database_has_no_room(here)) is said
    elsewhere = settings.Settings(database_url="postgresql://reverser@db.example.com/reverser")
    assert disk.database_has_no_room(elsewhere) == ""


@pytest.mark.postgres
def test_a_full_disk_of_postgresql_is_said(postgres_migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is asked for room, and keeps nothing of it; where it has none it says so, to `doctor` too."""
    options = settings.Settings(database_url=postgres_migrated_url)
    assert disk.database_has_no_room(options) == ""
    _, found = database.examine(options)
    assert [one.level.value for one in found] == ["OK"]

    def full(connection: sqlalchemy.Connection) -> None:
        words = "could not extend file: No space left on device"
        connection.execute(sqlalchemy.text(f"DO $$ BEGIN RAISE EXCEPTION '{words}' USING ERRCODE = '53100'; END $$"))

    monkeypatch.setattr(health, "take_room", full)
    said = disk.database_has_no_room(options)
    assert said.startswith("The database has no room left (could not extend file: No space left on device")
    _, found = database.examine(options)
    assert ("FAIL", "it has no room left on its disk: nothing is recorded") in [
        (one.level.value, one.found) for one in found
    ]


# The whole


def test_nothing_is_written(
    patient: Patient, tmp_path: Path, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The database, its files, the work directory and the broker are as they were before."""
    patient.destination("prod", url=f"file://{tmp_path}/repo.git", transport="file")
    patient.watch_leads()
    on_disk = _files(tmp_path)
    rows, keys = snapshot(patient.options.database_url), sorted(redis_client.keys("*"))
    on_disk = _files(tmp_path)
    patient.doctor(REVERSER_BROKER_URL=redis_server.url)
    assert _files(tmp_path) == on_disk
    assert snapshot(patient.options.database_url) == rows
    assert sorted(redis_client.keys("*")) == keys


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def test_a_read_only_database_cannot_be_written(patient: Patient) -> None:
    """What is opened to look refuses to write, on SQLite while it runs and while it rests, and on PostgreSQL."""
    patient.worker_lives()
    running = db.Database(patient.options.database_url)
    for _ in range(2):
        opened = db.Database(patient.options.database_url, read_only=True)
        with pytest.raises((errors.ReverserError, sqlalchemy.exc.DBAPIError)), opened.write() as connection:
            connection.execute(sqlalchemy.text("DELETE FROM worker_node"))
        opened.close()
        running.close()
    assert patient.doctor().levels("workers") == ["OK"]


def test_a_writer_that_comes_later_is_seen(on_sqlite: Patient, tmp_path: Path) -> None:
    """What is opened to look sees what a process writes after that, also through a link in another folder."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(db.sqlite_file(on_sqlite.options.database_url))
    opened = db.Database(f"sqlite:///{link}", read_only=True)
    question = "SELECT name FROM worker_node"
    assert opened.ask(question)[1] == []
    with on_sqlite.writing() as writer:
        with writer.write() as connection:
            nodes.beat(connection, name="late", globs=(), dedicated=False, serves=())
        assert opened.ask(question)[1] == [("late",)]
    opened.close()


def test_what_nobody_foresaw_is_one_line(on_sqlite: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that breaks is a failure without a value or a traceback, and the others go on."""

    def broken(_settings: settings.Settings) -> Iterator[findings.Finding]:
        raise RuntimeError("canary")

    monkeypatch.setattr(disk, "examine", broken)
    found = on_sqlite.doctor()
    assert "this check broke: RuntimeError at" in found.worst("disk")["found"]
    assert "canary" not in found.text
    assert found.levels("database") == ["OK"]


def test_a_person_reads_lines(on_sqlite: Patient) -> None:
    """The table has one line for each finding, what to do below it, and a sum at the end."""
    done = on_sqlite.command()
    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert lines[0].startswith("OK    settings: ")
    assert any(line.startswith("      -> start it, or correct REVERSER_BROKER_URL") for line in lines)
    assert "failures" in lines[-1]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("levels", "code", "text"),
    [("O", 0, "All is well."), ("OW", 0, "1 OK, 1 warning."), ("OFFS", 1, "1 OK, 2 failures, 1 skipped.")],
)
def test_the_exit_code(monkeypatch: pytest.MonkeyPatch, levels: str, code: int, text: str) -> None:
    """1 when anything failed, 0 otherwise; warnings and what was skipped alone are no failure."""
    by_letter = {level.value[0]: level for level in findings.Level}
    given = [findings.Finding(by_letter[letter], "c", "s", "f") for letter in levels]
    monkeypatch.setattr(doctor, "examine", lambda _folder, _role: iter(given))
    done = CliRunner().invoke(main.main, ["doctor"])
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (code, text)


def test_wrong_usage_is_2() -> None:
    """An unknown option is wrong usage."""
    assert CliRunner().invoke(main.main, ["doctor", "--fix"]).exit_code == 2
