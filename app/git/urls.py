"""What a repository URL says without its user part: the host, for messages and pools, or the path of a local one."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

# `git@host:team/repo.git`, the form that Git shares with scp.
_SCP = re.compile(r"^(?:(?P<user>[^@/]+)@)?(?P<host>\[[0-9a-fA-F:]+\]|[^:/]+):(?!//)")
SSH_PORT = 22


def host_of(url: str) -> str:
    """`host` or `host:port` for people; the whole path for a local repository."""
    if (scp := _SCP.match(url)) is not None:
        return scp["host"]
    if url.startswith(("/", "file:")):
        return str(local_path(url))
    parts = urllib.parse.urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def hostname(url: str) -> str:
    """The host alone, in lower case."""
    return str(urllib.parse.urlsplit(url).hostname)


def ssh_host_and_port(url: str) -> tuple[str, int]:
    """Host and port of an SSH URL of either form."""
    if (scp := _SCP.match(url)) is not None:
        return scp["host"].strip("[]"), SSH_PORT
    parts = urllib.parse.urlsplit(url)
    return str(parts.hostname), parts.port or SSH_PORT


def local_path(url: str) -> Path:
    """The folder that a `file://` URL or a plain path names."""
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path) if url.startswith("file:") else url)
