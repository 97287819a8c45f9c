"""Caches: locked, rebuilt when broken, and clear about a work directory that cannot be used (promise P9)."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app import errors
from app.git import cache as caches
from app.git import commits, problems, remote
from tests.git import servers
from tests.git.building import commit, loosen
from tests.git.conftest import Hosted, host_repository


def test_two_urls_have_two_caches(work_dir: Path) -> None:
    """A cache belongs to one repository and is private to its user."""
    with caches.open_cache(work_dir, "one") as one, caches.open_cache(work_dir, "two") as two:
        assert one.path != two.path
        assert one.path.parent.stat().st_mode & 0o777 == 0o700
        assert not (one.path / "hooks").exists()


def test_a_cache_is_open_once(work_dir: Path) -> None:
    """A second opener waits a bounded time and is told why; afterwards the cache is free."""
    with caches.open_cache(work_dir, "one"):
        with pytest.raises(errors.TemporaryError) as caught, caches.open_cache(work_dir, "one", wait=0.05):
            pytest.fail("the cache was opened twice")
        assert caught.value.reason == "CacheBusy"
    with caches.open_cache(work_dir, "one", wait=0.05):
        pass


def test_a_waiting_opener_gets_the_cache(work_dir: Path) -> None:
    """Threads that share a repository take turns."""
    inside, most = [], []

    def enter() -> None:
        with caches.open_cache(work_dir, "one"):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_killed_holder_leaves_the_cache_free(work_dir: Path) -> None:
    """A kill -9 of a process that holds a cache frees it, and its leftovers are removed."""
    code = (
        "import sys, pathlib; from app.git import cache\n"
        "with cache.open_cache(pathlib.Path(sys.argv[1]), 'one') as c:\n"
        "    (c.path / 'shallow.lock').touch()\n"
        "    for name in ('pack_git2_x', 'tmp_own-x.pack', 'tmp_own-x.idx', 'own-y.pack'):\n"
        "        (c.path / 'objects/pack' / name).touch()\n"
        "    (c.path / 'refs/have').mkdir(); (c.path / 'refs/have/x').write_text('1' * 40)\n"
        "    print(c.path, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, work_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        path = Path(holder.stdout.readline().decode().strip())
        assert (path / "shallow.lock").exists()
        holder.kill()
    with caches.open_cache(work_dir, "one", wait=1.0) as cache:
        assert cache.path == path
        assert not (path / "shallow.lock").exists()
        assert not list((path / "objects" / "pack").iterdir())
        assert list(cache.repository.references) == []


def _lose_the_head(path: Path) -> None:
    (path / "HEAD").unlink()


def _lose_the_objects(path: Path) -> None:
    (path / "config").write_text("[core\n")


def _half_a_cache(path: Path) -> None:
    for name in ("HEAD", "config", "description"):
        (path / name).unlink(missing_ok=True)


@pytest.mark.parametrize("damage", [_lose_the_head, _lose_the_objects, _half_a_cache])
def test_a_broken_cache_is_made_anew(work_dir: Path, damage: Callable[[Path], None]) -> None:
    """What is no repository any more is renamed away and replaced."""
    with caches.open_cache(work_dir, "one") as cache:
        old = commit(cache, {"a": "1"})
    damage(cache.path)
    with caches.open_cache(work_dir, "one") as cache:
        assert not cache.has(old)
        commit(cache, {"a": "1"})
    assert not list(work_dir.rglob("*.broken"))


@pytest.mark.parametrize("content", [b"", b"no pack"])
@pytest.mark.parametrize("suffix", ["pack", "idx"])
def test_a_damaged_object_has_the_cache_rebuilt(work_dir: Path, content: bytes, suffix: str) -> None:
    """A pack that a power cut emptied is reported as temporary, and the next opening starts from nothing."""
    with caches.open_cache(work_dir, "one") as cache:
        sha = commit(cache, {"a": "1"})
        for victim in (cache.path / "objects" / "pack").glob(f"*.{suffix}"):
            victim.chmod(0o600)
            victim.write_bytes(content)
        cache.reload()
        with pytest.raises(problems.CacheDamagedError, match="rebuilt at the next try"):
            commits.tree_of(cache, sha)
    with caches.open_cache(work_dir, "one") as cache:
        assert not cache.has(sha)


def test_a_push_from_a_damaged_cache_has_it_rebuilt(
    behind_server: Hosted, helpers: remote.Helpers, work_dir: Path
) -> None:
    """Damage that only the helper meets is no fault of the host: the cache is rebuilt, the host is not blamed."""
    with caches.open_cache(work_dir, "one") as cache:
        sha = commit(cache, {"a": "1"})
        tree = commits.tree_of(cache, sha)
        loosen(cache)
        (cache.path / "objects" / tree[:2] / tree[2:]).unlink()
        with pytest.raises(problems.CacheDamagedError):
            helpers.push(behind_server.remote(), cache, branch="main", commit=sha, parent=None)
    with caches.open_cache(work_dir, "one") as cache:
        sha = commit(cache, {"a": "1"})
        assert helpers.push(behind_server.remote(), cache, branch="main", commit=sha, parent=None).tip == sha


def _scribble(victim: Path) -> None:
    _remove(victim)
    victim.write_bytes(b"\xff\xbe\x00 no file of Git" * 20)


def _empty(victim: Path) -> None:
    _remove(victim)
    victim.touch()


def _remove(victim: Path) -> None:
    if victim.is_dir():
        shutil.rmtree(victim)
    else:
        victim.unlink()


def _make_a_folder(victim: Path) -> None:
    _remove(victim)
    victim.mkdir()


@pytest.mark.parametrize("host", ["local_host", "https_host"])
@pytest.mark.parametrize("damage", [_scribble, _empty, _remove, _make_a_folder])
def test_whatever_is_damaged_holds_nothing_up(
    request: pytest.FixtureRequest,
    helpers: remote.Helpers,
    work_dir: Path,
    host: str,
    damage: Callable[[Path], None],
) -> None:
    """Each file and folder of a cache in turn: at most one try fails, waiting helps, and the next one pushes."""
    hosted = host_repository(request.getfixturevalue(host))
    used, well = work_dir / "caches", work_dir / "well"

    def push(name: str) -> None:
        with caches.open_cache(work_dir, "one") as cache:
            parent = helpers.fetch(hosted.remote(), cache, branch="main", until=None).tip
            sha = commit(cache, {name: "content"}, parent)
            helpers.push(hosted.remote(), cache, branch="main", commit=sha, parent=parent)

    # With packs of both kinds: fetched, and built here.
    for name in ("first", "second"):
        push(name)
    used.rename(well)
    (path,) = well.glob("*.git")
    for number, victim in enumerate([path, *sorted(path.rglob("*"))]):
        shutil.copytree(well, used)
        damage(used / victim.relative_to(well))
        try:
            push(str(number))
        except errors.TemporaryError:
            push(str(number))
        shutil.rmtree(used)


def test_a_machine_without_file_handles_costs_no_cache(work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no damage of the cache is an error of this try alone."""
    with caches.open_cache(work_dir, "one") as cache:
        sha = commit(cache, {"a": "1"})

    def no_handles(_: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(caches.packs, "merge", no_handles)
        with pytest.raises(errors.ReverserError), caches.open_cache(work_dir, "one"):
            pytest.fail("a cache that could not be opened")
    with caches.open_cache(work_dir, "one") as cache:
        assert cache.has(sha)


def test_a_cache_that_grew_too_large_is_dropped(work_dir: Path) -> None:
    """Tens of thousands of loose objects are worth less than a fresh fetch."""
    with caches.open_cache(work_dir, "one") as cache:
        sha = commit(cache, {"a": "1"})
        folder = cache.path / "objects" / "17"
        folder.mkdir(exist_ok=True)
        for number in range(201):
            (folder / f"{number:038x}").touch()
    with caches.open_cache(work_dir, "one") as cache:
        assert not cache.has(sha)


def test_a_work_directory_that_cannot_be_used_needs_a_person(tmp_path: Path) -> None:
    """A work directory that is a file, or below one, is said to be unusable."""
    (tmp_path / "file").touch()
    with pytest.raises(errors.StalledError) as caught, caches.open_cache(tmp_path / "file", "one"):
        pytest.fail("a file became a work directory")
    assert caught.value.reason == "WorkDirUnusable"


def test_a_full_disk_is_temporary_and_a_read_only_one_is_not() -> None:
    """A full disk is tried again, a read-only one needs a person; neither condemns the cache."""
    full = problems.cache_error(OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, errors.TemporaryError)
    assert full.reason == "DiskFull"
    read_only = problems.cache_error(OSError(errno.EROFS, "Read-only file system"))
    assert isinstance(read_only, errors.StalledError)
    assert read_only.reason == "WorkDirUnusable"


def test_a_local_repository_lends_its_objects(local: Hosted, helpers: remote.Helpers, cache: caches.Cache) -> None:
    """Fetching from a local repository copies nothing, and the cache survives the repository's end."""
    tip = servers.commit_file(local.path, "a", "1")
    helpers.fetch(local.remote(), cache, branch="main", until=None)
    assert cache.has(tip)
    assert not (cache.path / "objects" / tip[:2] / tip[2:]).exists()
    local.path.rename(local.path.with_suffix(".gone"))
    cache.reload()
    assert not cache.has(tip)
    commit(cache, {"a": "1"})
