"""A real kube-apiserver with etcd on loopback, for tests: RBAC on, four users by token, certificates of its own.

It needs two binaries, `etcd` and `kube-apiserver`, in the folder that KUBEBUILDER_ASSETS names (the layout of
`setup-envtest`). There is no controller manager: namespaces do not finish deleting, Deployments get no pods.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, cast

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.sandbox import identity
from tests import lanes
from tests.servers import processes

# admin is in system:masters; the others may do what a test grants them.
USERS = ("admin", "alice", "bob", "reader")
_START_DEADLINE = 60.0


class KubeServer(processes.Server):
    """One API server with its data in a folder; the same folder can be started again after `stop` or `kill9`."""

    def __init__(self, directory: Path, *, flags: tuple[str, ...] = ()) -> None:
        self._directory = directory
        self._flags = flags
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port, self._etcd_port, self._peer_port = _free_ports(3)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca(self) -> Path:
        """The certificate of its authority."""
        return self._directory / "ca.crt"

    def kubeconfig(self, user: str = "admin") -> Path:
        """The kubeconfig of one of USERS."""
        return self._directory / f"kubeconfig.{user}"

    def start(self) -> Path:
        """Start both processes, wait until ready, and give the kubeconfig of admin."""
        if not self.ca.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            write_certificates(self._directory)
            self._write_users()
        self._spawn("etcd", self._etcd_flags())
        self._wait(f"http://127.0.0.1:{self._etcd_port}/health")
        self._spawn("kube-apiserver", self._apiserver_flags())
        self._wait(f"{self.url}/readyz")
        return self.kubeconfig()

    def stop(self) -> None:
        """End both processes, the API server first."""
        while self._processes:
            processes.end(self._processes.pop())

    def kill9(self) -> None:
        """End both processes at once, as a crash does."""
        while self._processes:
            processes.end(self._processes.pop(), signal.SIGKILL)

    def running(self) -> list[subprocess.Popen[bytes]]:
        return list(self._processes)

    def back_up(self, folder: Path) -> None:
        """Copy what etcd holds; both processes restart for it."""
        self.stop()
        shutil.copytree(self._directory / "etcd", folder)
        self.start()

    def put_back(self, folder: Path) -> None:
        """Put an older copy in the place of what etcd holds, as somebody does who restores a cluster."""
        self.stop()
        shutil.rmtree(self._directory / "etcd")
        shutil.copytree(folder, self._directory / "etcd")
        self.start()

    def compact(self) -> None:
        """Make etcd forget every state but the present one, as it does by itself after some minutes."""
        revision = int(self._etcd("range", {"key": "AA=="})["header"]["revision"])
        self._etcd("compaction", {"revision": str(revision), "physical": True})

    def _etcd(self, verb: str, request: dict[str, object]) -> dict[str, Any]:
        """One call of etcd's JSON gateway."""
        url = f"http://127.0.0.1:{self._etcd_port}/v3/kv/{verb}"
        with self._open(urllib.request.Request(url, data=json.dumps(request).encode())) as response:
            return cast("dict[str, Any]", json.load(response))

    def _spawn(self, name: str, flags: list[str]) -> None:
        folder = lanes.find_kube() or lanes.leave_out("kube")
        with (self._directory / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [folder / name, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory
                )
            )

    def _etcd_flags(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        return [
            "--data-dir=etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
            "--unsafe-no-fsync",
        ]

    def _apiserver_flags(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--token-auth-file=tokens.csv",
            "--service-account-key-file=accounts.key",
            "--service-account-signing-key-file=accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            *self._flags,
        ]

    def _write_users(self) -> None:
        rows = [f"{user}token,{user},{user}{',system:masters' if user == 'admin' else ''}\n" for user in USERS]
        (self._directory / "tokens.csv").write_text("".join(rows))
        for user in USERS:
            self.kubeconfig(user).write_text(self.kubeconfig_text(token=f"{user}token"))

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

    def _wait(self, url: str) -> None:
        """Wait until a process answers. Raises RuntimeError with the end of its log."""
        deadline = time.monotonic() + _START_DEADLINE
        request = urllib.request.Request(url, headers={"Authorization": "Bearer admintoken"})
        while time.monotonic() < deadline and self._processes[-1].poll() is None:
            with contextlib.suppress(OSError), self._open(request):
                return
            time.sleep(0.05)
        name = "kube-apiserver" if url.startswith("https") else "etcd"
        self.kill9()
        raise RuntimeError(f"{name} did not start:\n{processes.log_tail(self._directory / f'{name}.log')}")

    def _open(self, request: urllib.request.Request) -> AbstractContextManager[IO[bytes]]:
        trust = ssl.create_default_context(cafile=str(self.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        return cast("AbstractContextManager[IO[bytes]]", opener.open(request, timeout=5))


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody uses now, all different because they are held together."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)


def write_certificates(directory: Path) -> None:
    """An authority and a server certificate for loopback, as the sandbox makes them, and a key for service accounts."""
    identity.at(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    path = directory / "accounts.key"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
