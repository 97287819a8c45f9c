"""What every server fixture shares: a short private folder, an unprivileged user, and an end that is sure."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

GRACE = 10.0
# Where to make files while something is measured that is no disk; None where there is no such place.
MEMORY = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)


class Server:
    """A server for the length of a `with` block; one that does not come up leaves nothing behind."""

    def start(self) -> object:
        """Start it, and wait until it is ready."""
        raise NotImplementedError

    def stop(self) -> object:
        """End it, whatever of it runs."""
        raise NotImplementedError

    def kill9(self) -> None:
        """End it as a crash does; it may be started again."""
        raise NotImplementedError

    def running(self) -> list[subprocess.Popen[bytes]]:
        """Its processes that were started here, the first one first."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def unprivileged_user() -> str | None:
    """Whom to become where a server refuses to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def private_folder(name: str, user: str | None = None) -> Path:
    """A new folder of mode 0700, owned by `user`.

    Straight under the system's temporary folder: pytest's own are longer than a unix socket's path may be (107 bytes),
    and closed to other users.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"reverser-{name}-"))
    if user:
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
    return folder


def end(process: subprocess.Popen[bytes], with_signal: signal.Signals = signal.SIGTERM) -> None:
    """End a process that we started and reap it; SIGKILL when it does not go within the grace."""
    if process.poll() is None:
        process.send_signal(with_signal)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(GRACE)


def descendants(pid: int) -> list[int]:
    """Every process that a process has started, and they in turn."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def log_tail(log: Path, lines: int = 20) -> str:
    """The end of a server's log, for the message of a failed start."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its own session, with all that it started there, and reap it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(GRACE)
