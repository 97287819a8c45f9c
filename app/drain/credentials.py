"""The credentials of a destination's repository: read from the Secret it names, kept for a short while in memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from app import errors, settings
from app.events import Ref
from app.git import credentials as git_credentials
from app.kube import client, secrets
from app.models import destinations

# A changed Secret is used after this long at the latest, and at once after a refusal.
KEEP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Kept:
    credentials: git_credentials.Credentials
    until: float


class CredentialSource:
    """Reads Secrets of the home cluster, or files of a directory; safe to use from many threads.

    The cluster is that of the settings, unless one is given.
    """

    def __init__(self, options: settings.Settings, cluster: client.Cluster | None = None) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._cluster = cluster
        self._kept: dict[Ref, _Kept] = {}

    def of(self, destination: destinations.Destination) -> git_credentials.Credentials:
        """The credentials of a destination; anonymous where no Secret is named.

        While Kubernetes is away, they are those that were read before. Raises StalledError for a Secret that is missing
        or may not be read, TemporaryError when Kubernetes is away and none were read.
        """
        if destination.transport == "file" and not self._options.allow_local_repos:
            raise errors.StalledError(
                "repositories of this machine (file://) are switched off for this worker; "
                "set REVERSER_ALLOW_LOCAL_REPOS=true, or use https or ssh",
                reason="LocalRepositoryRefused",
            )
        if destination.secret_name is None:
            return git_credentials.ANONYMOUS
        ref = Ref(destination.repo_config.namespace, destination.secret_name)
        with self._lock:
            kept = self._kept.get(ref)
            if kept is None or kept.until < time.monotonic():
                found = self._present(ref, kept)
                kept = self._kept[ref] = _Kept(found, time.monotonic() + KEEP_SECONDS)
        return kept.credentials

    def forget(self, destination: destinations.Destination) -> None:
        """Read the Secret again next time: the remote refused what we have."""
        if destination.secret_name is not None:
            self._kept.pop(Ref(destination.repo_config.namespace, destination.secret_name), None)

    def _present(self, ref: Ref, kept: _Kept | None) -> git_credentials.Credentials:
        try:
            return git_credentials.from_secret(self._read(ref))
        except errors.TemporaryError:
            # What pends needs Git alone, and Git knows whether they are still good.
            if kept is None:
                raise
            return kept.credentials

    def _read(self, ref: Ref) -> secrets.SecretData:
        if self._options.credentials_dir:
            return secrets.directory_secret(Path(self._options.credentials_dir), ref)
        if self._cluster is None:
            self._cluster = client.connect(self._options)
        return secrets.read_secret(self._cluster, ref)
