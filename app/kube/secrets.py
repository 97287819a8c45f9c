"""Read the Secret that a GitRepoConfig names: from the cluster, or from a folder that somebody mounted.

Values live in `SecretData`, which never shows them: not in a log, a traceback or a debugger's repr (promise P12).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app import errors, events
from app.kube import client, paths, problems
from app.rules import types

_SECRETS = types.ResourceType(
    group="",
    version="v1",
    resource="secrets",
    kind="Secret",
    namespaced=True,
    verbs=frozenset({"get"}),
    preferred=True,
)
# A worker waits for a Secret with work in its hands. Seconds.
_READ_TIMEOUT = 5.0
# RFC 1123 names: what Kubernetes allows, and nothing that leaves a folder.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class SecretData(Mapping[str, bytes]):
    """Keys and values of a Secret; its text shows the keys alone."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> bytes:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"SecretData({', '.join(sorted(self._values))})"


def read_secret(cluster: client.Cluster, ref: events.Ref) -> SecretData:
    """Read one Secret with `get` alone.

    Raises StalledError(SecretNotFound), Forbidden that names the missing RBAC rule, TemporaryError.
    """
    try:
        secret = cluster.get_json(paths.single(_SECRETS, ref), timeout=_READ_TIMEOUT)
    except problems.NotServed as error:
        raise _not_found(ref) from error
    return SecretData({key: _decode(ref, key, value) for key, value in (secret.get("data") or {}).items()})


def directory_secret(directory: Path, ref: events.Ref) -> SecretData:
    """Read DIRECTORY/NAMESPACE/NAME/KEY, one file a key, as a Secret is mounted into a pod.

    Raises StalledError(SecretNotFound).
    """
    if not (_NAME.fullmatch(ref.namespace) and _NAME.fullmatch(ref.name)):
        raise _not_found(ref)
    try:
        # A mounted Secret keeps its versions in hidden folders such as `..data`.
        files = [path for path in (directory / ref.namespace / ref.name).iterdir() if not path.name.startswith("..")]
        return SecretData({path.name: path.read_bytes() for path in files if path.is_file()})
    except OSError as error:
        raise _not_found(ref) from error


def _not_found(ref: events.Ref) -> errors.StalledError:
    return errors.StalledError(
        f"the Secret {ref.name} is not in namespace {ref.namespace}: create it there, beside the GitRepoConfig",
        reason="SecretNotFound",
    )


def _decode(ref: events.Ref, key: str, value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        # Not raised from the original, whose traceback holds the value.
        raise errors.StalledError(f"the Secret {ref} holds no base64 under {key}", reason="SecretUnreadable") from None
