"""Judge a known_hosts text: is it one, and does it name a host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

libssh2 does the comparing of keys; it cannot say which line it could not read, nor whether a refused host was
unknown or changed its key. Neighbour: `network.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from app import errors


def check(text: str) -> None:
    """Raises StalledError(KnownHostsInvalid) that names the first line which is no host key."""
    for number, line in enumerate(text.splitlines(), start=1):
        if (problem := _problem(line)) is not None:
            raise errors.StalledError(
                f"known_hosts in the Secret, line {number}: {problem}; write it with `ssh-keyscan HOST`, and compare"
                " the fingerprint (`ssh-keygen -lf FILE`) with the one that the host publishes",
                reason="KnownHostsInvalid",
            )


def names(text: str, *, host: str, port: int) -> bool:
    """Whether any line is about this host and port, hashed lines included."""
    sought = host if port == 22 else f"[{host}]:{port}"  # noqa: PLR2004 - the port that known_hosts leaves out.
    return any(_matches(pattern, sought) for line in text.splitlines() for pattern in _patterns(line))


def _problem(line: str) -> str | None:
    if not (fields := _fields(line)):
        return None
    if fields[0].startswith("@"):
        return f"the marker {fields[0]!r} is not supported, name the host's own key"
    if len(fields) < 3:  # noqa: PLR2004 - hosts, key type, key.
        return "a line needs a host, a key type and a key"
    try:
        key = base64.b64decode(fields[2], validate=True)
    except (binascii.Error, ValueError):
        return "the key is no base64"
    # A key starts with the length and text of its own type (RFC 4253, section 6.6).
    kind = fields[1].encode()
    return None if key.startswith(len(kind).to_bytes(4, "big") + kind) else f"the key is no {fields[1]} key"


def _fields(line: str) -> list[str]:
    return [] if line.lstrip().startswith("#") else line.split()


def _patterns(line: str) -> list[str]:
    fields = _fields(line)
    return fields[0].split(",") if fields else []


def _matches(pattern: str, sought: str) -> bool:
    if not pattern.startswith("|1|"):
        return pattern == sought
    try:
        _, _, salt, digest = pattern.split("|")
        expected = hmac.new(base64.b64decode(salt), sought.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(expected, base64.b64decode(digest))
    except ValueError:
        return False
