"""The sandbox API server (`reverser sandbox`) for tests, with the interface of `kube.py`, and faults on demand.

It is a process of its own: a test may kill it. There is one user, `admin`, with the token that `kube.py` gives to
theirs; the namespaces of deleted content finish deleting, as they do where a controller manager runs.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, cast

import yaml

from app import settings
from app.sandbox import running
from tests.servers import processes

# `reverser sandbox`, as a test starts it.
COMMAND = (sys.executable, "-m", "app.cli.main", "sandbox")
_TOKEN = "admintoken"
_START_DEADLINE = 30.0
_READY = re.compile(r"^sandbox ready at (https://\S+), faults at (http://\S+): ", re.MULTILINE)


class SandboxServer(processes.Server):
    """One sandbox with its data in a folder; the same folder can be started again after `stop` or `kill9`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._fault_url = ""
        self.url = ""

    @property
    def ca(self) -> Path:
        """The certificate of its authority."""
        return running.folder_of(self._directory) / "ca.crt"

    @property
    def database(self) -> Path:
        """The file that holds everything."""
        return running.folder_of(self._directory) / "sandbox.db"

    @property
    def log(self) -> Path:
        """What it said, on both outputs."""
        return self._directory / "sandbox.log"

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process
        return self._process.pid

    def kubeconfig(self, user: str = "admin") -> Path:
        """The kubeconfig of admin; there are no other users."""
        if user != "admin":
            raise ValueError(f"the sandbox knows no user {user}: it has admin alone")
        return running.kubeconfig_path(self._directory)

    def kubeconfig_text(self, *, token: str = "", token_file: Path | None = None) -> str:
        """A kubeconfig for this server with a token, or with a file that holds one."""
        user = {"tokenFile": str(token_file)} if token_file else {"token": token}
        ca = base64.b64encode(self.ca.read_bytes()).decode()
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": ca}}],
                "users": [{"name": "test", "user": user}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "current-context": "test",
            }
        )

    def start(self) -> Path:
        """Start the process, wait until it is ready, and give the kubeconfig of admin."""
        folder = running.folder_of(self._directory)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "token").write_text(_TOKEN)
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "--data-dir", self._directory, "--fault-port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=settings.inherited_environment(),
            )
        self._wait(begin)
        return self.kubeconfig()

    def stop(self) -> int | None:
        """End the process; its exit code, None when it did not run."""
        return self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End the process at once, as a crash does."""
        self._end(signal.SIGKILL)

    def running(self) -> list[subprocess.Popen[bytes]]:
        return [self._process] if self._process else []

    def compact(self) -> None:
        """Make it forget every state but the present one."""
        self.fault("compact")

    def fault(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Ask for a fault (docs/reference/cli.md, `reverser sandbox`). Raises ValueError when it is refused."""
        return self._control("POST", {"kind": kind, **fields})

    def clear_faults(self) -> None:
        """Take all faults of requests back."""
        self._control("DELETE", None)

    def _control(self, method: str, document: dict[str, Any] | None) -> dict[str, Any]:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self._fault_url}/faults", data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5) as response:
                return cast("dict[str, Any]", json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None

    def _end(self, with_signal: signal.Signals) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        processes.end(process, with_signal)
        return process.returncode

    def _wait(self, begin: int) -> None:
        assert self._process
        try:
            self.url, self._fault_url = wait_until_ready(self.log, self._process, begin=begin)
        except RuntimeError:
            self.kill9()
            raise


def wait_until_ready(log: Path, process: subprocess.Popen[bytes], *, begin: int = 0) -> tuple[str, str]:
    """Where it is and where it takes faults, as its log says. Raises RuntimeError with the end of the log."""
    deadline = time.monotonic() + _START_DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        found = _READY.search(log.read_bytes()[begin:].decode(errors="replace"))
        if found:
            return found[1], found[2]
        time.sleep(0.02)
    raise RuntimeError(f"the sandbox did not start:\n{processes.log_tail(log)}")
