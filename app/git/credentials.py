"""Credentials of one repository, as its Secret holds them.

They live in memory and on the pipe to a helper process only: never in a URL, a file, an argument, an environment, a
log or an error. Neighbours: the drain reads the Secret through `app/kube`, `remote.py` hands them to a helper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Self

from app import errors

# The keys of a Secret by field. The first of each is what `kubernetes.io/ssh-auth` and `basic-auth` name; the others
# are what Flux, Argo CD and common Helm charts write, so that an existing Secret can be used as it is.
KEYS: dict[str, tuple[str, ...]] = {
    "username": ("username",),
    "password": ("password",),
    "ssh_private_key": ("ssh-privatekey", "identity", "sshPrivateKey"),
    "ssh_passphrase": ("ssh-password", "password"),
    "known_hosts": ("known_hosts",),
    "ca_certificate": ("ca.crt",),
}


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Everything a Git host may ask for; empty where there is none. The repr shows nothing of it."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ssh_private_key: str = field(default="", repr=False)
    ssh_passphrase: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)
    ca_certificate: str = field(default="", repr=False)

    @classmethod
    def from_wire(cls, wire: Mapping[str, str]) -> Self:
        """Read what `to_wire` wrote."""
        return cls(**{item.name: wire[item.name] for item in fields(cls)})

    def to_wire(self) -> dict[str, str]:
        """For the pipe to a helper process, and for nothing else."""
        return asdict(self)

    def fingerprint(self) -> str:
        """Equal for equal credentials, and no way back; keys the pool of helpers, in memory."""
        return hashlib.sha256(json.dumps(self.to_wire()).encode()).hexdigest()

    def secrets(self) -> Iterator[str]:
        """What must not be shown, line by line where a text could be quoted in part."""
        yield from (self.password, self.ssh_passphrase)
        yield from (line for line in self.ssh_private_key.splitlines() if line and not line.startswith("-----"))


ANONYMOUS = Credentials()


def from_secret(data: Mapping[str, bytes]) -> Credentials:
    """Read the decoded `data` of a Secret. Raises StalledError that names a key which is no text."""
    return Credentials(**{name: _first(data, keys) for name, keys in KEYS.items()})


def _first(data: Mapping[str, bytes], keys: tuple[str, ...]) -> str:
    for key in keys:
        if key in data:
            text = _decoded(data[key])
            if text is None:
                raise errors.StalledError(f"the Secret's key {key} is no UTF-8 text", reason="SecretInvalid")
            # An editor's last newline is never part of a name or password; a key or a file needs its own.
            return text.rstrip("\r\n") if key in {"username", "password", "ssh-password"} else text
    return ""


def _decoded(data: bytes) -> str | None:
    # Apart from the raise: as its cause, the decoder's error would carry the bytes along.
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
