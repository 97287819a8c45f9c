"""Git hosts and a cache for the tests of this folder; the hosts live for the session, repositories for one test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.git import cache as caches
from app.git import remote
from app.git.credentials import Credentials
from tests import lanes
from tests.git import servers

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Hosted:
    """A repository on a host: its folder on disk, and how we reach it."""

    host: servers.LocalHost
    name: str
    path: Path

    def remote(self, *, timeout: float = 20.0, credentials: Credentials | None = None) -> remote.Remote:
        """With the host's own credentials where none are given."""
        return remote.Remote(
            url=self.host.url(self.name),
            transport=self.host.transport,
            credentials=credentials or self.host.credentials,
            timeout=timeout,
        )


def host_repository(host: servers.LocalHost) -> Hosted:
    """A new bare repository on `host`."""
    name = f"repo-{next(_numbers)}"
    return Hosted(host, name, host.repository(name))


@pytest.fixture(scope="session")
def local_host(tmp_path_factory: pytest.TempPathFactory) -> servers.LocalHost:
    """Repositories by file://."""
    return servers.LocalHost(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="session")
def ssh_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.SshGitServer]:
    """An sshd; its tests carry the marker `sshd`."""
    lanes.lane("sshd")
    server = servers.SshGitServer(tmp_path_factory.mktemp("ssh"))
    yield server
    server.stop()


@pytest.fixture
def https_host(tmp_path: Path) -> Iterator[servers.HttpsGitServer]:
    """An HTTPS host of this test's own, so that it may misbehave."""
    server = servers.HttpsGitServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["file", "https", pytest.param("ssh", marks=pytest.mark.sshd)])
def hosted(request: pytest.FixtureRequest) -> Hosted:
    """An empty repository: the test runs once on each kind of host."""
    fixture = {"file": "local_host", "https": "https_host", "ssh": "ssh_host"}[request.param]
    return host_repository(request.getfixturevalue(fixture))


@pytest.fixture(params=["https", pytest.param("ssh", marks=pytest.mark.sshd)])
def behind_server(request: pytest.FixtureRequest) -> Hosted:
    """As `hosted`, on the hosts that run hooks."""
    return host_repository(request.getfixturevalue({"https": "https_host", "ssh": "ssh_host"}[request.param]))


@pytest.fixture
def local(local_host: servers.LocalHost) -> Hosted:
    """An empty local repository."""
    return host_repository(local_host)


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """A work directory that does not exist yet."""
    return tmp_path / "work"


@pytest.fixture
def helpers(work_dir: Path) -> Iterator[remote.Helpers]:
    """A pool of helpers, closed afterwards."""
    pool = remote.Helpers(work_dir)
    yield pool
    pool.close()


@pytest.fixture
def cache(work_dir: Path) -> Iterator[caches.Cache]:
    """An open cache."""
    with caches.open_cache(work_dir, "a repository") as opened:
        yield opened
