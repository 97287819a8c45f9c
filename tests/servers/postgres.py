"""A PostgreSQL cluster of our own for the tests: private folder, unix socket only or with TLS, gone afterwards.

Where `REVERSER_TEST_POSTGRES` names a server, that one is used instead. Each test gets a database of its own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from tests.servers import processes, proxy
from tests.waiting import wait_until

DRIVER = "postgresql+psycopg"
# Safe against a killed process, not against a power cut: that is what tests need, and ten times faster.
FAST = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer(processes.Server):
    """One cluster: `start`, then `create` databases; `kill9` and `start` again for crash tests."""

    def __init__(self, programs: Path, *, port: int = 5432) -> None:
        self.programs = programs
        self.port = port
        self._settings = {**FAST, "listen_addresses": "", "port": str(port)}
        self.user = processes.unprivileged_user()
        self.folder = processes.private_folder("pg", self.user)
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def admin_url(self) -> URL:
        """The maintenance database, as the superuser of this cluster."""
        return URL.create(
            DRIVER, username="reverser", port=self.port, database="postgres", query={"host": str(self.folder)}
        )

    def encrypt(self, chain: str) -> None:
        """Listen on the loopback as well, with a key and its certificate, both as PEM; call it before `start`."""
        file = self.folder / "server.pem"
        file.write_text(chain)
        file.chmod(0o600)
        if self.user:
            shutil.chown(file, self.user)
        paths = {"ssl_cert_file": str(file), "ssl_key_file": str(file)}
        self._settings |= {"listen_addresses": "127.0.0.1", "ssl": "on", **paths}

    def start(self) -> None:
        """Create the cluster on the first call, start it, and wait until it answers."""
        if not (self.folder / "data").exists():
            self._run("initdb", "-D", "data", "-U", "reverser", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = {**self._settings, "unix_socket_directories": str(self.folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", "data", *options],
                cwd=self.folder,
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, timeout=30, what="PostgreSQL")

    def stop(self) -> None:
        """End the cluster at once, with its sessions, and remove its folder."""
        if self.process:
            processes.end(self.process, signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill9(self) -> None:
        """Kill the postmaster; its children notice and end. `start` recovers from the log of writes."""
        if self.process:
            self.process.kill()
            self.process.wait(processes.GRACE)
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def running(self) -> list[subprocess.Popen[bytes]]:
        return [self.process] if self.process else []

    def _run(self, program: str, *arguments: str) -> None:
        with self.log.open("ab") as log:
            subprocess.run(
                [self.programs / program, *arguments],
                cwd=self.folder,
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"PostgreSQL did not start:\n{processes.log_tail(self.log)}")
        try:
            connect(self.admin_url).close()
        except psycopg.OperationalError:
            return False
        return True


class Databases:
    """Makes a new database for each test, on a server that `admin_url` reaches."""

    def __init__(self, admin_url: URL) -> None:
        self.admin_url = admin_url
        self._numbers = itertools.count(1)

    def create(self, template: str = "template0") -> URL:
        """A new database, a copy of `template`; nobody may be connected to the template meanwhile."""
        name = f"reverser_test_{os.getpid()}_{next(self._numbers)}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.admin_url.set(database=name)

    def drop(self, url: URL) -> None:
        """Remove a database and cut the sessions that are still on it."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", str(url.database))

    def folder(self) -> Path:
        """Where the server keeps what it is given."""
        with connect(self.admin_url) as connection:
            (found,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        return Path(str(found))

    def _execute(self, statement: str, *names: str) -> None:
        with connect(self.admin_url) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def connect(url: URL) -> psycopg.Connection:
    """A plain connection in autocommit, for what SQLAlchemy would wrap in a transaction."""
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, connect_timeout=5)


def address(url: URL) -> proxy.Address:
    """Where the server of a URL listens, for a proxy before it."""
    folder, port = str(url.query.get("host", "")), url.port or 5432
    return Path(folder) / f".s.PGSQL.{port}" if folder.startswith("/") else (url.host or folder, port)


def through(url: URL, before: proxy.Proxy) -> URL:
    """The same database, asked by way of a proxy."""
    return url.difference_update_query(["host"]).set(host="127.0.0.1", port=before.port)


def parse(url: str) -> URL:
    """A URL that a person wrote, with our driver."""
    return make_url(url).set(drivername=DRIVER)
