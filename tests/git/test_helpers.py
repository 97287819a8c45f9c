"""Helper processes: overdue ones are killed, dead ones replaced, none outlives its parent, none shows a credential."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from app import errors
from app.git import cache as caches
from app.git import helping, remote
from app.git.names import Sha
from tests.git import servers
from tests.git.building import commit
from tests.git.conftest import Hosted, host_repository
from tests.waiting import wait_until


def _idle(helpers: remote.Helpers) -> list[helping.Helper]:
    return [helper for _, _, helper in helpers._idle]


def _process(helpers: remote.Helpers) -> int:
    (helper,) = _idle(helpers)
    return helper._process.pid


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def _homes(work_dir: Path) -> list[Path]:
    return list((work_dir / "helpers").iterdir())


def test_a_helper_is_kept_warm_and_ends_with_the_pool(local: Hosted, work_dir: Path) -> None:
    """One process serves many calls; closing the pool ends it, reaps it and removes its home."""
    helpers = remote.Helpers(work_dir)
    helpers.heads(local.remote())
    first = _process(helpers)
    helpers.heads(local.remote())
    assert _process(helpers) == first
    assert [home.stat().st_mode & 0o777 for home in _homes(work_dir)] == [0o700]
    helpers.close()
    assert not Path(f"/proc/{first}").exists()
    assert _homes(work_dir) == []


def _ask(helpers: remote.Helpers, host: servers.HttpsGitServer, password: str) -> None:
    credentials = dataclasses.replace(host.credentials, password=password)
    one = remote.Remote(url=host.url("private"), transport="https", credentials=credentials)
    with pytest.raises(errors.StalledError):
        helpers.heads(one)


def test_other_credentials_have_another_helper(https_host: servers.HttpsGitServer, helpers: remote.Helpers) -> None:
    """A process that knows one password never works for another."""
    for password in ("one", "other", "one"):
        _ask(helpers, https_host, password)
    assert len(_idle(helpers)) == 2


def test_idle_helpers_are_bounded(https_host: servers.HttpsGitServer, helpers: remote.Helpers) -> None:
    """However many hosts are served, only a few idle processes stay."""
    for number in range(12):
        _ask(helpers, https_host, str(number))
    assert len(_idle(helpers)) == 8


def test_all_local_repositories_share_a_helper(local_host: servers.LocalHost, helpers: remote.Helpers) -> None:
    """They need no credentials, and with one process each, more than a few would start one for each push."""
    for _ in range(3):
        helpers.heads(host_repository(local_host).remote())
    assert len(_idle(helpers)) == 1


@pytest.mark.parametrize(
    ("operation", "kind"), [("push", errors.UnknownOutcomeError), ("fetch", errors.TemporaryError)]
)
def test_a_hung_call_is_killed_at_its_deadline(
    local: Hosted,
    helpers: remote.Helpers,
    cache: caches.Cache,
    operation: str,
    kind: type[errors.TemporaryError],
) -> None:
    """A helper that does not answer in time is killed; a push then has an unknown outcome, a fetch is just late."""
    first = commit(cache, {"a": "1"})
    helpers.heads(local.remote())
    process = _process(helpers)
    os.kill(process, signal.SIGSTOP)
    late = local.remote(timeout=0.1)
    calls = {
        "push": lambda: helpers.push(late, cache, branch="main", commit=first, parent=None),
        "fetch": lambda: helpers.fetch(late, cache, branch="main", until=None),
    }
    with pytest.raises(errors.TemporaryError) as caught:
        calls[operation]()
    assert type(caught.value) is kind
    assert not _runs(process)
    assert helpers.push(local.remote(), cache, branch="main", commit=first, parent=None).tip == first


def test_a_dead_helper_is_replaced(local: Hosted, helpers: remote.Helpers) -> None:
    """A helper that was killed while idle costs its caller nothing."""
    helpers.heads(local.remote())
    process = _process(helpers)
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: not _runs(process))
    assert helpers.heads(local.remote()).branches == {}
    assert _process(helpers) != process


def test_a_hanging_host_delays_only_its_own_calls(
    local: Hosted, https_host: servers.HttpsGitServer, helpers: remote.Helpers
) -> None:
    """While one host hangs, another's calls go through in other threads (promise P5)."""
    https_host.repository("slow")
    https_host.hang.set()
    slow = remote.Remote(url=https_host.url("slow"), transport="https", credentials=https_host.credentials, timeout=20)
    done: list[remote.Heads] = []
    waiting = threading.Thread(target=lambda: done.append(helpers.heads(slow)))
    waiting.start()
    wait_until(lambda: https_host.requests)
    assert helpers.heads(local.remote()).branches == {}
    assert not done
    https_host.go_on.set()
    waiting.join()
    assert done == [remote.Heads(None, {})]


def test_of_two_pushes_at_once_one_wins(local: Hosted, helpers: remote.Helpers, work_dir: Path) -> None:
    """Two writers on one parent never overwrite each other: the loser is told that the branch moved (promise P6)."""
    with caches.open_cache(work_dir, "one") as one, caches.open_cache(work_dir, "two") as two:
        tip = commit(one, {"a": "0"})
        helpers.push(local.remote(), one, branch="main", commit=tip, parent=None)
        for cache in (one, two):
            helpers.fetch(local.remote(), cache, branch="main", until=None)
        for number in range(15):
            rivals = [(cache, commit(cache, {name: str(number)}, tip)) for cache, name in ((one, "a"), (two, "b"))]
            winners = _race([partial(_try_push, helpers, local, cache, sha=sha, parent=tip) for cache, sha in rivals])
            tip = Sha(servers.tip(local.path) or "")
            assert winners == [tip]
            for cache in (one, two):
                helpers.fetch(local.remote(), cache, branch="main", until=None)
    assert servers.git("rev-list", "--count", "main", cwd=local.path) == "16"


def test_a_lock_that_a_killed_process_left_is_removed(
    local: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """A fresh lock of a local ref is respected, one of a minute ago is a leftover."""
    first = commit(cache, {"a": "1"})
    lock = local.path / "refs" / "heads" / "main.lock"
    lock.touch()
    with pytest.raises(errors.TemporaryError, match="locked"):
        helpers.push(local.remote(), cache, branch="main", commit=first, parent=None)
    os.utime(lock, (1, 1))
    assert helpers.push(local.remote(), cache, branch="main", commit=first, parent=None).tip == first


def _try_push(helpers: remote.Helpers, local: Hosted, cache: caches.Cache, *, sha: Sha, parent: Sha) -> Sha | None:
    try:
        return helpers.push(local.remote(), cache, branch="main", commit=sha, parent=parent).tip
    except errors.TemporaryError:
        return None


def _race(calls: list[Callable[[], Sha | None]]) -> list[Sha]:
    """What the calls returned that ran at the same time and returned something."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [found for found in threads.map(lambda call: call(), calls) if found]


SCRIPT = """
import os, pathlib, sys, time
from app.git import remote
pool = remote.Helpers(pathlib.Path(sys.argv[1]))
repository = remote.Remote(url=sys.argv[2], transport="file")
pool.heads(repository)
"""


def _run(code: str, work_dir: Path, local: Hosted) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-c", SCRIPT + code, str(work_dir), local.host.url(local.name)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("sibling", [False, True])
def test_a_helper_ends_with_a_killed_parent(local: Hosted, work_dir: Path, sibling: bool) -> None:  # noqa: FBT001
    """A kill -9 of the parent ends its helper, also when a forked sibling keeps the pipe open."""
    fork = "if not os.fork(): sys.stdin.read(); os._exit(0)\n" if sibling else ""
    code = f"{fork}print(pool._idle[0][2]._process.pid, flush=True); sys.stdin.read()"
    with _run(code, work_dir, local) as parent:
        assert parent.stdout
        helper = int(parent.stdout.readline())
        assert _runs(helper)
        parent.kill()
        wait_until(lambda: not _runs(helper), what="the helper's end")
        assert _homes(work_dir) == []


def test_a_forked_child_has_helpers_of_its_own(local: Hosted, work_dir: Path) -> None:
    """A prefork worker may fork after a pool was used: neither side disturbs the other."""
    code = """
mine = pool._idle[0][2]._process.pid
child = os.fork()
if not child:
    pool.heads(repository)
    ok = pool._idle[0][2]._process.pid != mine
    pool.close()
    os._exit(0 if ok else 1)
assert os.waitpid(child, 0)[1] == 0
pool.heads(repository)
assert pool._idle[0][2]._process.pid == mine
print("fine")
"""
    with _run(code, work_dir, local) as process:
        assert process.communicate(timeout=30)[0] == b"fine\n"
        assert process.returncode == 0
    assert _homes(work_dir) == []


def test_homes_of_killed_helpers_are_swept(local: Hosted, helpers: remote.Helpers, work_dir: Path) -> None:
    """What a machine's crash left of helpers is removed by the next one; a home in use stays."""
    old = work_dir / "helpers" / "home-old"
    (old / ".ssh").mkdir(parents=True)
    os.utime(old, (1, 1))
    helpers.heads(local.remote())
    (used,) = _homes(work_dir)
    assert used != old
    os.utime(used, (1, 1))
    helpers.heads(local.remote(credentials=dataclasses.replace(local.host.credentials, password="other")))
    assert used.exists()


def test_no_credential_stands_anywhere(
    https_host: servers.HttpsGitServer, helpers: remote.Helpers, work_dir: Path
) -> None:
    """After fetches, pushes and failures a password stands in no argument, environment, file, message or repr."""
    canary = https_host.credentials.password
    path = https_host.repository()
    hosted = remote.Remote(url=https_host.url(), transport="https", credentials=https_host.credentials)
    with caches.open_cache(work_dir, "one") as cache:
        first = commit(cache, {"a": "1"})
        helpers.push(hosted, cache, branch="main", commit=first, parent=None)
        helpers.fetch(hosted, cache, branch="main", until=first)
        servers.add_hook(path, "pre-receive", f"echo {canary} >&2; exit 1")
        with pytest.raises(errors.StalledError) as caught:
            helpers.push(hosted, cache, branch="main", commit=commit(cache, {"a": "2"}, first), parent=first)
    process = _process(helpers)
    shown = [Path(f"/proc/{process}/{name}").read_bytes() for name in ("cmdline", "environ")]
    shown += [file.read_bytes() for file in work_dir.rglob("*") if file.is_file()]
    shown += [repr(hosted).encode(), repr(caught.value).encode(), caught.value.message.encode()]
    assert "***" in caught.value.message
    assert not any(canary.encode() in text for text in shown)
