"""A helper process: `python -m app.git.helper`, started by `helping.py` and good for one set of credentials.

The first line on standard input configures it, every further line is one operation; each gets one line back. It has a
home of its own with known_hosts and the CA file, and ends with its parent. `network.py` and `local.py` do the work.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import select
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import pygit2
from pygit2.enums import ConfigLevel, Option

from app import errors
from app.git import known_hosts, local, network, problems
from app.git.credentials import Credentials

# How often a helper looks whether its parent still lives, where a forked sibling keeps its input open.
_PARENT_BEAT = 1.0
# A home without a held lock is a dead helper's; one younger than this may just be coming up.
_HOME_AGE = 60.0


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # Whatever prints must not end up between two answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    homes: list[Path] = []
    threading.Thread(target=_listen, args=(lines, homes, os.getppid()), daemon=True).start()
    first = json.loads(lines.get())
    credentials = Credentials.from_wire(first["credentials"])
    _answer(answers, _attempt(lambda: _configure(Path(first["home_root"]), credentials, homes), credentials))
    while True:
        request = json.loads(lines.get())
        _answer(answers, _attempt(partial(_operate, request, homes[0], credentials), credentials))


def _listen(lines: queue.SimpleQueue[bytes], homes: list[Path], parent: int) -> None:
    """Hand on lines; end the process when its input or its parent ends, whatever the main thread does."""
    unread = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], _PARENT_BEAT)[0]:
            continue
        part = os.read(0, 1 << 16)
        if not part:
            break
        *whole, unread = (unread + part).split(b"\n")
        for line in whole:
            lines.put(line)
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)
    os._exit(0)


def _attempt(work: Callable[[], dict[str, Any]], credentials: Credentials) -> dict[str, Any]:
    try:
        return {"result": work()}
    except errors.ReverserError as error:
        return {"error": problems.to_wire(error)}
    except Exception as error:  # noqa: BLE001 - a helper answers whatever happens; its parent decides.
        words = problems.redact(f"{type(error).__name__}: {error}", credentials.secrets())
        return {"error": problems.to_wire(errors.TemporaryError(f"Git failed: {words}", delay=problems.HOST_DELAY))}


def _answer(answers: IO[bytes], answer: Mapping[str, Any]) -> None:
    line = memoryview(json.dumps(answer).encode() + b"\n")
    while line:
        line = line[answers.write(line) :]


def _configure(home_root: Path, credentials: Credentials, homes: list[Path]) -> dict[str, Any]:
    """Make the home and set what libgit2 keeps per process."""
    known_hosts.check(credentials.known_hosts)
    try:
        home_root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(home_root)
        home = _make_home(home_root)
        homes.append(home)
        _write_files(home, credentials)
    except OSError as error:
        raise problems.cache_error(error) from error
    pygit2.option(Option.SET_HOMEDIR, str(home))
    for level in (ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL, ConfigLevel.PROGRAMDATA):
        pygit2.option(Option.SET_SEARCH_PATH, level, str(home))
    # Repositories here are named by settings and by operators; who owns their folder says nothing in a container.
    pygit2.option(Option.SET_OWNER_VALIDATION, False)
    # A record says "pushed" once a local repository took a commit: then it must survive a power cut.
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    if credentials.ca_certificate:
        _trust(home / "ca.crt")
    network.keep_words_of_servers()
    return {"home": str(home)}


def _make_home(home_root: Path) -> Path:
    home = Path(tempfile.mkdtemp(prefix="home-", dir=home_root))
    # Held until the process ends, in whatever way: the sign that this home is in use. Never closed.
    handle = os.open(home / ".held", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return home


def _write_files(home: Path, credentials: Credentials) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "known_hosts").write_text(credentials.known_hosts.rstrip("\n") + "\n")
    (home / "ca.crt").write_text(credentials.ca_certificate)
    pygit2.init_repository(str(home / "scratch.git"), bare=True)


def _trust(ca_file: Path) -> None:
    try:
        pygit2.settings.set_ssl_cert_locations(str(ca_file), None)
    except pygit2.GitError as error:
        raise errors.StalledError(
            f"the Secret's ca.crt holds no certificate in PEM form: {error}", reason="CertificateInvalid"
        ) from error


def _sweep(home_root: Path) -> None:
    """Remove the homes of helpers that were killed."""
    for home in home_root.glob("home-*"):
        try:
            if time.time() - home.stat().st_mtime < _HOME_AGE:
                continue
            handle = os.open(home / ".held", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            # Another helper sweeps at the same time.
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


def _operate(request: Mapping[str, Any], home: Path, credentials: Credentials) -> dict[str, Any]:
    operation, url, branch = request["operation"], request["url"], request.get("branch", "")
    if operation != "heads" and not pygit2.reference_is_valid_name(f"refs/heads/{branch}"):
        raise errors.PermanentError(f"{branch[:200]!r} is no name of a branch", reason="InvalidBranch")
    host: local.LocalHost | network.NetworkHost
    if request["transport"] == "file":
        host = local.LocalHost(url)
    else:
        host = network.NetworkHost(
            url,
            transport=request["transport"],
            credentials=credentials,
            timeout=request["timeout"],
            scratch=home / "scratch.git",
        )
    if operation == "heads":
        return host.heads()
    cache = Path(request["cache"])
    if operation == "fetch":
        return host.fetch(cache, branch=branch, until=request["until"], whole=request["whole"])
    return host.push(cache, branch=branch, commit=request["commit"], parent=request["parent"])


if __name__ == "__main__":
    main()
