"""Starting and ending: the port, the folder, signals, and what is said when something is in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app import settings
from app.sandbox import storing
from tests.contract.client import Client
from tests.servers import processes
from tests.servers import sandbox as servers
from tests.servers.sandbox import SandboxServer

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SandboxServer]:
    """A sandbox of this test's own."""
    with SandboxServer(tmp_path / "data") as found:
        yield found


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `reverser sandbox` to its end."""
    return subprocess.run(
        [*servers.COMMAND, "--data-dir", folder, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=settings.inherited_environment(),
    )


def port_of(server: SandboxServer) -> int:
    """Where it listens."""
    return int(server.url.rpartition(":")[2])


def test_the_port_is_kept(server: SandboxServer) -> None:
    """A kubeconfig stays valid over restarts."""
    url = server.url
    server.stop()
    server.start()
    assert server.url == url


def test_a_taken_port_is_replaced_and_said(server: SandboxServer) -> None:
    """Where somebody else has taken the port, another is chosen, the kubeconfig names it, and it is kept."""
    port = port_of(server)
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        server.start()
    assert port_of(server) != port
    assert f"port {port} is taken by another program" in server.log.read_text()
    assert Client(server.kubeconfig()).get("/version")
    url = server.url
    server.stop()
    server.start()
    assert server.url == url


def test_a_new_port_is_none_that_others_are_given_by_chance(server: SandboxServer) -> None:
    """While the sandbox is down, no outgoing connection and no server without a port of its own can take its port."""
    assert 20_000 <= port_of(server) < 30_000


def test_a_port_that_is_taken_for_a_moment_is_waited_for(server: SandboxServer) -> None:
    """A program that leaves the port soon after the start costs no client its kubeconfig."""
    url = server.url
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port_of(server)))
        other.listen()
        leave = threading.Timer(2.0, other.close)
        leave.start()
        server.start()
    leave.join()
    assert server.url == url
    assert "is taken by another program" not in server.log.read_text()


def test_a_taken_port_that_was_asked_for_is_refused(tmp_path: Path) -> None:
    """Who names a port gets that one, or a sentence."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = command(tmp_path, "--port", str(port))
    assert ended.returncode == 1
    assert f"Error: port {port} cannot be had (Address already in use): name another one" in ended.stderr


def test_a_second_sandbox_on_the_folder_is_refused(server: SandboxServer) -> None:
    """It says who is there already, and the first one goes on with its kubeconfig untouched."""
    kubeconfig = server.kubeconfig().read_text()
    ended = command(server.ca.parents[1])
    assert ended.returncode == 1
    assert "another sandbox runs on" in ended.stderr
    assert server.kubeconfig().read_text() == kubeconfig
    assert Client(server.kubeconfig()).get("/version")


def test_a_damaged_database_ends_with_a_sentence(tmp_path: Path) -> None:
    """No traceback: what is damaged, and what to do."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    (folder / "sandbox.db").write_bytes(b"rubbish " * 1000)
    ended = command(tmp_path)
    assert ended.returncode == 1
    assert "sandbox.db is damaged or no SQLite file" in ended.stderr
    assert f"move the whole data folder {tmp_path} away" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_a_second(server: SandboxServer, with_signal: signal.Signals) -> None:
    """Open watches end cleanly at once, idle connections do not hold it up, and the exit code is 0."""
    client = Client(server.kubeconfig())
    version = client.version(MAPS)
    with ExitStack() as stack:
        watches = [stack.enter_context(client.watch(MAPS, resourceVersion=version)) for _ in range(20)]
        process = server._process
        assert process
        begin = time.monotonic()
        process.send_signal(with_signal)
        assert process.wait(10) == 0
        assert time.monotonic() - begin < 1.0
        assert [watch.rest() for watch in watches] == [[]] * 20
    assert "Traceback" not in server.log.read_text()


def test_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else on the machine can read Secrets, token or key, also in a folder that was made with other rights."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "token").touch(0o644)
    mask = os.umask(0o022)
    try:
        with SandboxServer(tmp_path) as server:
            Client(server.kubeconfig()).create(MAPS, {"metadata": {"name": "one"}})
            rights = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in folder.iterdir()}
    finally:
        os.umask(mask)
    assert rights.keys() >= {"sandbox.db", "sandbox.db-wal", "server.key", "token", "kubeconfig"}
    assert set(rights.values()) == {"0o600"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_who_is_refused_makes_no_identity(tmp_path: Path) -> None:
    """Of two that begin in one folder, the second changes nothing of what clients of the first are given."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    first = storing.Store(folder / "sandbox.db")
    ended = command(tmp_path)
    first.close()
    assert "another sandbox runs on" in ended.stderr
    assert {file.name for file in folder.iterdir()} <= {"sandbox.db", "sandbox.db-wal", "sandbox.db-shm"}


def test_a_lost_certificate_is_made_again(server: SandboxServer) -> None:
    """Deleting the files of the identity costs new ones, not the cluster."""
    client = Client(server.kubeconfig())
    made = client.create(MAPS, {"metadata": {"name": "one"}})
    server.stop()
    for name in ("ca.crt", "kubeconfig"):
        (server.ca.parent / name).unlink()
    server.start()
    assert Client(server.kubeconfig()).get(f"{MAPS}/one") == made


def test_the_log_holds_no_request(server: SandboxServer) -> None:
    """Neither bodies nor paths of requests that were answered, refused or not."""
    client = Client(server.kubeconfig())
    client.create(MAPS, {"metadata": {"name": "canary-name"}, "data": {"key": "canary-value"}})
    client.call("POST", MAPS, {"metadata": {"name": "canary-name"}}).refused(409, "AlreadyExists")
    client.call("POST", MAPS, b'{"canary": ').refused(400, "BadRequest")
    client.call("GET", MAPS, authorization="Bearer canary").refused(401, "Unauthorized")
    server.stop()
    assert "canary" not in server.log.read_text()


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path) -> None:
    """A write that the disk refuses is answered with 500 and logged without its body; reading goes on."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from app.cli.main import main; main(['sandbox', '--data-dir', sys.argv[1], '--fault-port', '0'])"
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [servers.COMMAND[0], "-c", script, tmp_path],
            stdout=output,
            stderr=output,
            env=settings.inherited_environment(),
        )
    try:
        kubeconfig = tmp_path / "sandbox" / "kubeconfig"
        servers.wait_until_ready(log, process)
        client = Client(kubeconfig)
        made = client.create(MAPS, {"metadata": {"name": "small"}})
        body = {"metadata": {"name": "large"}, "data": {"key": "canary" * 80_000}}
        status = client.call("POST", MAPS, body).refused(500, "InternalError")
        assert "look at the disk of the data folder" in status["message"]
        assert client.get(f"{MAPS}/small") == made
        assert client.names(MAPS) == ["small"]
        assert client.call("DELETE", f"{MAPS}/small").code == 200
    finally:
        processes.end(process)
    told = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [one["event"] for one in told] == ["change_not_written"]
    assert "canary" not in log.read_text()
