"""Hosts that are down, slow, hostile or set up wrongly: each has its own reason, and no credential goes astray."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from app import errors
from app.git import remote
from app.git.credentials import Credentials
from tests.git import servers
from tests.git.conftest import Hosted, host_repository


def _reason(call: Callable[[], object], kind: type[errors.ReverserError] = errors.StalledError) -> tuple[str, str]:
    with pytest.raises(kind) as caught:
        call()
    return caught.value.reason, caught.value.message


@pytest.fixture
def https(https_host: servers.HttpsGitServer) -> Hosted:
    """A repository on a host that may misbehave."""
    return host_repository(https_host)


@pytest.fixture
def ssh(ssh_host: servers.SshGitServer) -> Hosted:
    """A repository behind sshd."""
    return host_repository(ssh_host)


def _with(hosted: Hosted, **changes: str) -> remote.Remote:
    return hosted.remote(credentials=dataclasses.replace(hosted.host.credentials, **changes))


def test_a_wrong_password_needs_a_person(https: Hosted, helpers: remote.Helpers) -> None:
    """A refused password is said to be refused, once asked, and does not stand in the message."""
    reason, message = _reason(lambda: helpers.heads(_with(https, password="wrong-canary")))
    assert reason == "AuthenticationFailed"
    assert "secretRef" in message
    assert "wrong-canary" not in message
    assert len(https.host.requests) <= 4
    assert _reason(lambda: helpers.heads(_with(https, password="")))[0] == "AuthenticationFailed"


def test_a_private_ca_has_to_be_given(https: Hosted, helpers: remote.Helpers) -> None:
    """Without its CA a private host is refused before anything is asked, and with a CA that is none as well."""
    reason, message = _reason(lambda: helpers.heads(_with(https, ca_certificate="")))
    assert reason == "CertificateRefused"
    assert "ca.crt" in message
    assert https.host.requests == []
    assert _reason(lambda: helpers.heads(_with(https, ca_certificate="none")))[0] == "CertificateInvalid"


def test_a_certificate_of_another_name_is_refused(https: Hosted, helpers: remote.Helpers) -> None:
    """A certificate of a trusted CA for another name gets no credential."""
    elsewhere = dataclasses.replace(https.remote(), url=https.remote().url.replace(servers.HOST, "localhost"))
    assert _reason(lambda: helpers.heads(elsewhere))[0] == "CertificateRefused"
    assert https.host.requests == []


def test_a_redirect_to_another_host_gets_no_credential(
    https: Hosted, helpers: remote.Helpers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A host that sends us elsewhere, even to one with a trusted certificate, cannot hand our password on."""
    other = servers.HttpsGitServer(tmp_path_factory.mktemp("other"), name="localhost")
    try:
        authorities = https.host.credentials.ca_certificate + other.credentials.ca_certificate
        for target in (f"https://localhost:{other.port}", f"http://{servers.HOST}:{other.port}"):
            https.host.redirect = target
            reason, message = _reason(lambda: helpers.heads(_with(https, ca_certificate=authorities)))
            assert reason == "RepositoryMoved"
            assert "repoUrl" in message
        assert other.requests == []
    finally:
        other.stop()


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (403, errors.StalledError, "AuthenticationFailed"),
        (404, errors.StalledError, "RepositoryNotFound"),
        (429, errors.TemporaryError, "RateLimited"),
        (500, errors.TemporaryError, "HostUnreachable"),
        (503, errors.TemporaryError, "HostUnreachable"),
    ],
)
def test_an_http_status_has_a_consequence(
    https: Hosted, helpers: remote.Helpers, status: int, kind: type[errors.ReverserError], expected: str
) -> None:
    """Refusals need a person, rate limits and server errors only time."""
    https.host.status = status
    reason, message = _reason(lambda: helpers.heads(https.remote()), kind)
    assert reason == expected
    assert "open-sesame-canary" not in message


def test_a_host_that_is_down_is_tried_again(helpers: remote.Helpers) -> None:
    """A refused connection and an unknown name are temporary, for half a minute at most."""
    for url in (f"https://{servers.HOST}:{servers.free_port()}/x.git", "https://host.invalid/x.git"):
        with pytest.raises(errors.TemporaryError, match="cannot be reached") as caught:
            helpers.heads(remote.Remote(url=url, transport="https", timeout=5))
        assert caught.value.reason == "HostUnreachable"
        assert caught.value.delay == 30


@pytest.mark.parametrize("transport", ["https", "ssh"])
def test_a_host_that_says_nothing_is_left_at_the_deadline(helpers: remote.Helpers, transport: remote.Transport) -> None:
    """A host that accepts a connection and stays silent costs the deadline and no more."""
    known = f"[{servers.HOST}]:%d ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGkKa2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr\n"
    with socket.create_server((servers.HOST, 0)) as silent:
        port = silent.getsockname()[1]
        asked = remote.Remote(
            url=f"{transport}://git@{servers.HOST}:{port}/x.git".replace("https://git@", "https://"),
            transport=transport,
            credentials=Credentials(known_hosts=known % port, ssh_private_key="x"),
            timeout=0.5,
        )
        assert _reason(lambda: helpers.heads(asked), errors.TemporaryError)[0] == "HostUnreachable"


def test_a_url_of_another_kind_is_refused(helpers: remote.Helpers) -> None:
    """The transport that was checked is the one that is used: no plain HTTP, no git://, no command."""
    for url in ("http://host/x", "git://host/x", "ext::sh -c x", "-uhost:x", "/etc"):
        for transport in ("https", "ssh"):
            asked = remote.Remote(url=url, transport=transport, credentials=Credentials(known_hosts="# none\n"))
            with pytest.raises(errors.ReverserError) as caught:
                helpers.heads(asked)
            assert caught.value.reason == "InvalidUrl"


@pytest.mark.sshd
def test_an_unknown_host_key_is_refused(ssh: Hosted, helpers: remote.Helpers) -> None:
    """A host that known_hosts does not name is not trusted on first use; the message says how to see its key."""
    elsewhere = ssh.host.credentials.known_hosts.replace(servers.HOST, "git.example.com")
    for text in (elsewhere, ""):
        reason, message = _reason(lambda text=text: helpers.heads(_with(ssh, known_hosts=text)))
        assert reason == "HostKeyUnknown"
        assert f"ssh-keyscan -p {ssh.host.port} {servers.HOST} | ssh-keygen -lf -" in message


@pytest.mark.sshd
def test_a_changed_host_key_is_refused(ssh: Hosted, ssh_host: servers.SshGitServer, helpers: remote.Helpers) -> None:
    """A host that shows another key than known_hosts says is told apart from an unknown one."""
    ssh_host.create_key("impostor")
    reason, message = _reason(lambda: helpers.heads(_with(ssh, known_hosts=ssh_host.known_hosts("impostor"))))
    assert reason == "HostKeyMismatch"
    assert "another host key" in message


@pytest.mark.sshd
def test_known_hosts_that_cannot_be_read_is_refused(ssh: Hosted, helpers: remote.Helpers) -> None:
    """A known_hosts that is none stops before any connection."""
    assert _reason(lambda: helpers.heads(_with(ssh, known_hosts="garbage")))[0] == "KnownHostsInvalid"


@pytest.mark.sshd
def test_keys_that_do_not_open_need_a_person(
    ssh: Hosted, ssh_host: servers.SshGitServer, helpers: remote.Helpers
) -> None:
    """A key that is not authorized, none, garbage, or locked by another passphrase: authentication failed."""
    stranger = ssh_host.create_key("stranger").read_text()
    locked = ssh_host.create_key("locked", passphrase="right").read_text()
    for key, phrase in ((stranger, ""), ("", ""), ("garbage", ""), (locked, "wrong-canary")):
        asked = _with(ssh, ssh_private_key=key, ssh_passphrase=phrase)
        reason, message = _reason(lambda asked=asked: helpers.heads(asked))
        assert reason == "AuthenticationFailed"
        assert "canary" not in message


@pytest.mark.sshd
def test_a_key_with_a_passphrase_opens(ssh: Hosted, ssh_host: servers.SshGitServer, helpers: remote.Helpers) -> None:
    """A key that is locked by a passphrase works, from memory."""
    key = ssh_host.create_key("phrased", passphrase="right")
    with (ssh_host.keys / "authorized_keys").open("a") as authorized:
        authorized.write(Path(f"{key}.pub").read_text())
    asked = _with(ssh, ssh_private_key=key.read_text(), ssh_passphrase="right")
    assert helpers.heads(asked).branches == {}
