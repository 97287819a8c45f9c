"""The embedded Redis and the local repository: their life, and what happens to their files."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
import redis

from app import errors
from app.cli import embedded
from tests.waiting import wait_until


class Broker:
    """The embedded Redis of one folder, run as `up` runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = embedded.socket_path(folder)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        embedded.make_redis_folder(self.folder)
        command = embedded.redis_command(binary=embedded.redis_binary(), folder=self.folder, socket_file=self.socket)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def is_ready(self) -> bool:
        return embedded.is_ready(self.socket)


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder, for sockets."""
    with tempfile.TemporaryDirectory(prefix="rv-") as folder:
        yield Path(folder)


@pytest.fixture
def broker(place: Path) -> Iterator[Broker]:
    """A running embedded Redis."""
    one = Broker(place / "redis")
    one.start()
    wait_until(one.is_ready)
    yield one
    one.kill()


def _put_and_get(url: str, put: str | None) -> str | None:
    with kombu.Connection(url) as connection, connection.SimpleQueue("dest.shop.prod") as queue:
        if put is not None:
            queue.put(put)
            return None
        message = queue.get(timeout=5)
        message.ack()
        return str(message.payload)


def test_queues_outlive_kill_9(broker: Broker) -> None:
    """What stands in a queue is there after kill -9 of the broker and a start over its stale socket."""
    _put_and_get(embedded.broker_url(broker.socket), "ring")
    broker.kill()
    assert broker.socket.exists()
    assert not broker.is_ready()
    broker.start()
    wait_until(broker.is_ready)
    assert _put_and_get(embedded.broker_url(broker.socket), None) == "ring"


def test_only_this_user_reaches_it(broker: Broker) -> None:
    """The socket and its folder are private, and there is no port."""
    assert stat.S_IMODE(broker.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(broker.folder.stat().st_mode) == 0o700
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        assert set(client.config_get("*port").values()) == {"0"}


@pytest.mark.parametrize("name", ["with space", "umlaut-ü", "a&b=c", "plus+@,:"])
def test_url_survives_odd_paths(place: Path, name: str) -> None:
    """Celery's library finds the socket in a folder of any name that a data folder may have."""
    one = Broker(place / name / "redis")
    one.start()
    try:
        wait_until(one.is_ready)
        _put_and_get(embedded.broker_url(one.socket), "ring")
        assert _put_and_get(embedded.broker_url(one.socket), None) == "ring"
    finally:
        one.kill()


def test_unreadable_files_are_set_aside(broker: Broker) -> None:
    """A Redis that cannot read its files starts with new ones, and the old ones are kept beside."""
    _put_and_get(embedded.broker_url(broker.socket), "ring")
    broker.kill()
    for file in broker.folder.rglob("*"):
        if file.is_file():
            file.write_bytes(b"no append-only file")
    broker.start()
    assert broker.process
    assert broker.process.wait(10) != 0
    aside = embedded.set_data_aside(broker.folder)
    assert aside
    assert any(aside.iterdir())
    broker.start()
    wait_until(broker.is_ready)


def test_nothing_to_set_aside(tmp_path: Path) -> None:
    """An empty folder is not the reason why Redis does not start: it stays where it is."""
    (tmp_path / "redis.sock").touch()
    assert embedded.set_data_aside(tmp_path) is None
    assert tmp_path.exists()


def test_long_paths_get_a_short_socket(tmp_path: Path) -> None:
    """A folder too deep for a socket gets a private one in the temporary folder, the same one each time."""
    folder = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 5)
    socket_file = embedded.socket_path(folder)
    try:
        assert len(os.fsencode(socket_file)) <= embedded.LONGEST_SOCKET_PATH
        assert stat.S_IMODE(socket_file.parent.stat().st_mode) == 0o700
        assert embedded.socket_path(folder) == socket_file
        assert embedded.socket_path(folder / "other").parent != socket_file.parent
        socket_file.parent.chmod(0o755)
        with pytest.raises(errors.PermanentError, match="not a private folder"):
            embedded.socket_path(folder)
    finally:
        socket_file.parent.rmdir()
        embedded.socket_path(folder / "other").parent.rmdir()


def test_no_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server the message says what to install."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(errors.PermanentError, match="install redis-server or valkey-server"):
        embedded.redis_binary()


def test_path_wins_over_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Valkey on the PATH is taken first."""
    binary = tmp_path / "valkey-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.redis_binary() == binary


def test_what_an_activated_environment_brings_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever typed `activate` gets the same server as before."""
    ours, theirs = tmp_path / "ours" / "bin", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
        (folder / "redis-server").write_text("#!/bin/sh\n")
        (folder / "redis-server").chmod(0o755)
    monkeypatch.setattr(embedded.sys, "prefix", str(tmp_path / "ours"))
    monkeypatch.setenv("PATH", f"{ours}:{theirs}")
    assert embedded.redis_binary() == theirs / "redis-server"


def test_repository_is_one_for_git(tmp_path: Path) -> None:
    """Git clones the empty repository and pushes to it; a second start leaves it as it is."""
    path = tmp_path / "repository.git"
    embedded.make_repository(path)

    def git(*words: str, cwd: Path = tmp_path) -> str:
        return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()

    assert git("--git-dir", str(path), "fsck", "--strict") == ""
    assert git("--git-dir", str(path), "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git("--git-dir", str(path), "rev-parse", "--is-bare-repository") == "true"
    git("clone", "-q", path.as_uri(), "clone")
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=tmp_path / "clone")
    git("push", "-q", "origin", "HEAD:main", cwd=tmp_path / "clone")
    head = git("--git-dir", str(path), "rev-parse", "main")
    embedded.make_repository(path)
    assert git("--git-dir", str(path), "rev-parse", "main") == head
