"""Git hosts for tests: OpenSSH and HTTPS on loopback with keys and certificates of their own, and bare repositories.

Other rooms' tests may use them: each has `url(name)`, `credentials`, `stop()`. Repositories are made by the git
program, so that what we push is judged by Git itself.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import getpass
import http.server
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.git.credentials import Credentials
from tests import lanes
from tests.servers import processes
from tests.waiting import wait_until

HOST = "127.0.0.1"
ENVIRONMENT = {
    "PATH": os.defpath,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.com",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.com",
}


def git(*arguments: str | Path, cwd: Path, text: str = "") -> str:
    """Run the git program with an environment of its own; its output without the last newline."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, "HOME": str(cwd)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"git {' '.join(map(str, arguments))}: {done.stderr}"
    return done.stdout.rstrip("\n")


def create_repository(path: Path) -> Path:
    """A bare repository whose HEAD names `main`."""
    path.mkdir(parents=True)
    git("init", "--quiet", "--bare", "--initial-branch=main", ".", cwd=path)
    return path


def commit_file(repository: Path, path: str, content: str, *, branch: str = "main", mode: str = "100644") -> str:
    """Commit one file straight into a bare repository, as another person would; the new tip."""
    blob = git("hash-object", "-w", "--stdin", cwd=repository, text=content)
    return commit_entry(repository, path, blob, branch=branch, mode=mode)


def commit_entry(repository: Path, path: str, oid: str, *, branch: str = "main", mode: str) -> str:
    """Commit an entry of any mode at `path`; the new tip."""
    index = {"GIT_INDEX_FILE": str(repository / "test-index"), "GIT_DIR": str(repository)}
    ENVIRONMENT.update(index)
    try:
        parent = tip(repository, branch)
        git("read-tree", *([parent] if parent else ["--empty"]), cwd=repository)
        git("update-index", "--add", "--cacheinfo", f"{mode},{oid},{path}", cwd=repository)
        tree = git("write-tree", cwd=repository)
        commit = git("commit-tree", tree, *(["-p", parent] if parent else []), "-m", f"Change {path}", cwd=repository)
        git("update-ref", f"refs/heads/{branch}", commit, cwd=repository)
    finally:
        for name in index:
            del ENVIRONMENT[name]
    return commit


def tip(repository: Path, branch: str = "main") -> str | None:
    """Where a branch of a bare repository points."""
    found = git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}", cwd=repository)
    return found or None


def add_hook(repository: Path, name: str, script: str) -> None:
    """Install a hook of the server."""
    hook = repository / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def free_port() -> int:
    """A port of the loopback that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


class LocalHost:
    """Bare repositories in a folder, by `file://`."""

    transport = "file"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = Credentials()

    def repository(self, name: str = "repo") -> Path:
        """A new bare repository."""
        return create_repository(self.folder / f"{name}.git")

    def url(self, name: str = "repo") -> str:
        """Its URL."""
        return f"file://{self.folder}/{name}.git"

    def stop(self) -> None:
        """Nothing runs."""


class SshGitServer(LocalHost):
    """An sshd of our own for the current user, one authorized key, git's own programs behind it.

    It runs from the beginning; `kill9` and `start` again for crash tests.
    """

    transport = "ssh"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.keys = processes.private_folder("sshd")
        self.port = free_port()
        self.user = getpass.getuser()
        for name in ("host", "user"):
            self.create_key(name)
        (self.keys / "authorized_keys").write_text((self.keys / "user.pub").read_text())
        self.credentials = Credentials(
            ssh_private_key=(self.keys / "user").read_text(), known_hosts=self.known_hosts("host")
        )
        self.start()

    def url(self, name: str = "repo") -> str:
        """Its URL."""
        return f"ssh://{self.user}@{HOST}:{self.port}{self.folder}/{name}.git"

    def create_key(self, name: str, passphrase: str = "") -> Path:
        """A new key pair; the private file."""
        path = self.keys / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True)
        return path

    def known_hosts(self, name: str) -> str:
        """A known_hosts line that gives this server the public key `name`."""
        kind, key, *_ = (self.keys / f"{name}.pub").read_text().split()
        return f"[{HOST}]:{self.port} {kind} {key}\n"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        if os.geteuid() == 0:
            # sshd started by root insists on it; distributions make it when the service starts.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.keys / "config"
        lines = [
            f"ListenAddress {HOST}:{self.port}",
            f"HostKey {self.keys}/host",
            f"AuthorizedKeysFile {self.keys}/authorized_keys",
            f"PidFile {self.keys}/pid",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "MaxStartups 100",
        ]
        config.write_text("\n".join(lines) + "\n")
        program = lanes.find_program("sshd")
        assert program is not None
        with (self.keys / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(lambda: _answers(self.port), what="sshd")

    def running(self) -> list[subprocess.Popen[bytes]]:
        """The sshd that listens."""
        return [self._process]

    def kill9(self) -> None:
        """End it as a crash does; the sessions that it began go on."""
        processes.end(self._process, signal.SIGKILL)

    def stop(self) -> None:
        """End it and remove its keys."""
        processes.end(self._process)
        shutil.rmtree(self.keys, ignore_errors=True)


class HttpsGitServer(LocalHost):
    """Smart HTTP with basic authentication behind a private CA, by `git http-backend`; the certificate names `name`.

    `status` answers every request with that code, `redirect` sends it elsewhere; while `hang` is set, answers wait for
    `go_on`. `requests` lists what was asked, `authorizations` with which headers.
    """

    transport = "https"

    def __init__(
        self, folder: Path, *, username: str = "robot", password: str = "open-sesame-canary", name: str = HOST
    ) -> None:
        super().__init__(folder)
        self.name = name
        self.status = 0
        self.redirect = ""
        self.hang = threading.Event()
        self.go_on = threading.Event()
        self.requests: list[str] = []
        self.authorizations: list[str] = []
        self.authorization = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        ca, chain = certificates(name)
        self.credentials = Credentials(username=username, password=password, ca_certificate=ca)
        self._server = _HttpServer((HOST, 0), _Handler)
        self._server.host = self
        self.port = self._server.server_port
        self._server.socket = _encrypted(self._server.socket, folder / f"server-{self.port}.pem", chain)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def url(self, name: str = "repo") -> str:
        """Its URL."""
        return f"https://{self.name}:{self.port}/{name}.git"

    def stop(self) -> None:
        """End it."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    host: HttpsGitServer


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def handle(self) -> None:
        """A client that refuses the certificate or is killed ends the connection; that is no error here."""
        with contextlib.suppress(ssl.SSLError, ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        """Answer as the host is told to, else as Git does."""
        host, body = self.server.host, self._body()
        host.requests.append(f"{self.command} {self.path}")
        host.authorizations.append(self.headers.get("Authorization", ""))
        if host.hang.is_set():
            host.go_on.wait(60)
        if host.redirect:
            self._send(301, [("Location", host.redirect + self.path)], b"")
        elif host.status:
            self._send(host.status, [], b"")
        elif self.headers.get("Authorization") != host.authorization:
            self._send(401, [("WWW-Authenticate", 'Basic realm="test"')], b"")
        else:
            self._git(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for.

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _git(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        folder = str(self.server.host.folder)
        environment = ENVIRONMENT | {
            "GIT_PROJECT_ROOT": folder,
            "GIT_HTTP_EXPORT_ALL": "1",
            "HOME": folder,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": self.server.host.credentials.username,
            "REMOTE_ADDR": HOST,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if line]
        status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
        self._send(status, [(name, value) for name, value in headers if name != "Status"], content)

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _encrypted(listener: socket.socket, pem: Path, chain: str) -> ssl.SSLSocket:
    pem.write_text(chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    # The handshake is done in the thread of the connection: a client that refuses must not stop the others.
    return context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def certificates(host: str) -> tuple[str, str]:
    """A CA certificate, and a server's key with its certificate for `host` by that CA, as PEM."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    ca = _sign(name, name, ca_key, ca_key, names=[])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names: list[x509.GeneralName] = [x509.DNSName("git.example.com")]
    names.append(x509.IPAddress(ipaddress.ip_address(host)) if host == HOST else x509.DNSName(host))
    server = _sign(server_name, name, server_key, ca_key, names=names)
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _pem(ca), key.decode() + _pem(server)


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    names: list[x509.GeneralName],
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
