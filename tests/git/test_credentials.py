"""Credentials: read from the Secrets that people have, shown nowhere; known_hosts judged before it is used."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging

import pytest

from app import errors
from app.git import credentials, known_hosts, problems, urls

CANARY = "canary-5f2a"
KEY = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()


@pytest.mark.parametrize("key", ["ssh-privatekey", "identity", "sshPrivateKey"])
def test_the_keys_of_common_secrets_are_read(key: str) -> None:
    """Secrets of kubernetes.io/ssh-auth, Flux and Argo CD work as they are."""
    found = credentials.from_secret({key: b"a key\n", "known_hosts": b"host\n", "password": b"phrase\n"})
    assert found.ssh_private_key == "a key\n"
    assert found.ssh_passphrase == "phrase"
    assert found.known_hosts == "host\n"


def test_a_basic_auth_secret_loses_its_last_newline() -> None:
    """What an editor or `echo` put behind a password is no part of it."""
    found = credentials.from_secret({"username": b"robot\n", "password": b"p w\r\n", "ca.crt": b"pem\n"})
    assert (found.username, found.password, found.ca_certificate) == ("robot", "p w", "pem\n")
    assert credentials.from_secret({}) == credentials.ANONYMOUS


def test_a_secret_that_is_no_text_is_named_without_its_bytes() -> None:
    """The error names the key; neither it nor what hangs on it holds a byte of the value."""
    with pytest.raises(errors.StalledError, match="key password") as caught:
        credentials.from_secret({"password": CANARY.encode() + b"\xff"})
    assert caught.value.reason == "SecretInvalid"
    assert CANARY not in repr(caught.value)
    assert caught.value.__context__ is None


def test_credentials_are_not_shown() -> None:
    """Neither repr, str nor a log line of credentials shows anything of them."""
    found = credentials.Credentials(password=CANARY, ssh_private_key=CANARY, known_hosts=CANARY, username=CANARY)
    record = logging.LogRecord("x", 0, "x", 0, "%s %r", (found, found), None)
    assert CANARY not in record.getMessage()
    assert CANARY not in found.fingerprint()
    assert credentials.Credentials.from_wire(found.to_wire()) == found


def test_words_of_a_server_are_made_presentable() -> None:
    """Secrets, user parts of URLs, control characters and floods are taken out of what is shown."""
    shown = problems.redact(f"a {CANARY}\n\x1b[31m https://u:p@host/x\r\n" + "y" * 5_000, [CANARY])
    assert shown.startswith("a *** | �[31m https://***@host/x | yyy")
    assert len(shown) <= problems.MAX_WORDS + 1


@pytest.mark.parametrize(
    "error",
    [
        errors.TemporaryError("m", delay=7, reason="HostUnreachable"),
        errors.RemoteMovedError("m"),
        errors.UnknownOutcomeError("m"),
        problems.CacheDamagedError("m"),
        errors.StalledError("m", reason="AuthenticationFailed"),
        errors.PermanentError("m"),
        problems.PushRefusedError("m"),
    ],
)
def test_an_error_crosses_the_pipe_unchanged(error: errors.ReverserError) -> None:
    """What a helper raises is what its caller gets: class, words, reason and delay."""
    back = problems.from_wire(problems.to_wire(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("host", "needs a host, a key type and a key"),
        ("host ssh-ed25519 %%%", "no base64"),
        ("host ssh-ed25519 AAAA", "no ssh-ed25519 key"),
        (f"@revoked host ssh-ed25519 {KEY}", "marker '@revoked' is not supported"),
    ],
)
def test_a_bad_line_of_known_hosts_is_named(line: str, problem: str) -> None:
    """The message says which line cannot be used, why, and how to write a good one."""
    with pytest.raises(errors.StalledError, match=f"line 3: .*{problem}.*ssh-keyscan") as caught:
        known_hosts.check(f"# comment\n\n{line}\n")
    assert caught.value.reason == "KnownHostsInvalid"


def test_known_hosts_names_hosts_plain_with_port_and_hashed() -> None:
    """Every form that OpenSSH writes is found, and no other host."""
    digest = hmac.new(b"salt", b"[git.example.com]:2222", hashlib.sha1).digest()
    hashed = f"|1|{base64.b64encode(b'salt').decode()}|{base64.b64encode(digest).decode()}"
    text = f"a.example.com,10.0.0.1 ssh-ed25519 {KEY} me@here\n{hashed} ssh-ed25519 {KEY}\n"
    known_hosts.check(text)
    assert known_hosts.names(text, host="10.0.0.1", port=22)
    assert known_hosts.names(text, host="git.example.com", port=2222)
    assert not known_hosts.names(text, host="git.example.com", port=22)
    assert not known_hosts.names(text, host="a.example.com", port=2222)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://git.example.com/a.git", "git.example.com"),
        ("https://git.example.com:8443/a.git", "git.example.com:8443"),
        ("ssh://git@git.example.com:2222/a.git", "git.example.com:2222"),
        ("git@git.example.com:team/a.git", "git.example.com"),
        ("file:///srv/git/a%20b.git", "/srv/git/a b.git"),
    ],
)
def test_messages_name_the_host_without_the_user(url: str, host: str) -> None:
    """What is shown of a URL is the host."""
    assert urls.host_of(url) == host
