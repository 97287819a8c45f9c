"""Bare object caches, one per repository: what was fetched, and what was built and not yet pushed.

A cache holds objects only: no refs, no work tree, no hooks, nothing that could run. It may be deleted whenever no
worker runs; everything in it comes from the remote or can be rendered again. `trees.py` and `commits.py` build in
it, in memory until `store`; the helper processes fetch into it and push from it while their caller holds its lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from app import errors
from app.git import objects, packs, problems

# How often a busy lock is tried again: a drain that waits for another's fetch notices within a blink.
_LOCK_BEAT = 0.02
# A cache beyond either figure is dropped and fetched anew: Git reads many loose objects and packs slowly, and what the
# remote has comes back in one pack. Loose objects are of versions that stored a drain's so; one of 256 folders is
# counted, so 200 stand for about 50,000.
_MOST_LOOSE_IN_ONE_FOLDER = 200
_MOST_PACKS = 50
# Something that should be there is not, or is a file and not a folder. Other errors are the machine's: it has no memory
# or no file handles left, and the cache is well.
_MISSHAPEN = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
# New objects beyond so many bytes are stored before there are more: a large folder is written anew by each commit.
_MOST_NEW = 16_000_000


class Cache:
    """One open cache. Valid inside the `open_cache` context that made it, in one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repository = pygit2.Repository(str(path))
        self._new: dict[str, tuple[ObjectType, bytes]] = {}
        self._new_bytes = 0

    def keep(self, kind: ObjectType, data: bytes) -> str:
        """Take a new object; its id. Others see it after `store`. Raises what `guarded` raises."""
        oid = objects.object_id(kind, data)
        if oid not in self._new:
            self._new[oid] = kind, data
            self._new_bytes += len(data)
        if self._new_bytes > _MOST_NEW:
            self.store()
        return oid

    def read(self, oid: str) -> tuple[ObjectType, bytes]:
        """Kind and content of an object, new or stored. Raises what `guarded` raises."""
        if oid in self._new:
            return self._new[oid]
        with self.guarded():
            kind, data = self.repository.odb.read(oid)
            return ObjectType(kind), data

    def size(self, oid: str) -> int:
        """The length of an object's content. Raises what `guarded` raises."""
        if oid in self._new:
            return len(self._new[oid][1])
        with self.guarded():
            return int(self.repository.odb.read_header(oid)[1])

    def store(self) -> None:
        """Write down what is new, as one pack. Raises what `guarded` raises."""
        if self._new:
            with self.guarded():
                packs.write(self.path / "objects" / "pack", self._new)
            self._new, self._new_bytes = {}, 0

    def has(self, sha: str) -> bool:
        """Whether an object is stored here, or in what it borrows from."""
        return sha in self.repository

    def reload(self) -> None:
        """See what another process brought in: packs, the shallow boundary, borrowed objects."""
        self.repository = pygit2.Repository(str(self.path))

    def condemn(self) -> None:
        """Have the cache rebuilt when it is opened next."""
        _mark(self.path).touch()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Map what libgit2 and the disk say inside.

        Raises CacheDamagedError (and condemns the cache), TemporaryError for a full disk, StalledError for a work
        directory that cannot be written.
        """
        try:
            yield
        except (pygit2.GitError, KeyError, OSError) as error:
            mapped = problems.cache_error(error)
            if isinstance(mapped, problems.CacheDamagedError):
                self.condemn()
            raise mapped from error


@contextmanager
def open_cache(work_dir: Path, url_key: str, *, wait: float = 10.0) -> Iterator[Cache]:
    """The cache of the repository that `url_key` names, locked against every other process and thread.

    A missing or broken one is made anew, leftovers of a killed process are removed. Raises TemporaryError when the
    lock is not free within `wait` seconds or the disk is full, StalledError when `work_dir` cannot be written.
    """
    path = work_dir / "caches" / f"{hashlib.sha256(url_key.encode()).hexdigest()[:24]}.git"
    with _mapped():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path.with_suffix(".held"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(handle, wait=wait)
        with _mapped():
            cache = _ready(path)
        yield cache
    finally:
        os.close(handle)


def _take(handle: int, *, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                message = f"another drain has held this repository's cache for {wait:.0f} s"
                raise errors.TemporaryError(message, reason="CacheBusy") from error
            time.sleep(_LOCK_BEAT)
        else:
            return


def _ready(path: Path) -> Cache:
    if _mark(path).exists() or (path.exists() and _outgrown(path)):
        _discard(path)
    if path.exists():
        try:
            _remove_leftovers(path)
            packs.merge(path / "objects" / "pack")
            return Cache(path)
        except (pygit2.GitError, KeyError, struct.error, *_MISSHAPEN):
            _discard(path)
    return _create(path)


def _create(path: Path) -> Cache:
    # Built beside its place and renamed, so that a kill in the middle leaves no half a cache behind.
    fresh = path.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    pygit2.init_repository(str(fresh), bare=True)
    shutil.rmtree(fresh / "hooks", ignore_errors=True)
    fresh.rename(path)
    return Cache(path)


def _discard(path: Path) -> None:
    """Rename away first: what cannot be deleted in one go is never opened again."""
    aside = path.with_suffix(".broken")
    _remove(aside)
    if path.exists():
        path.rename(aside)
        _remove(aside)
    _mark(path).unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _mark(path: Path) -> Path:
    return path.with_suffix(".condemned")


def _remove_leftovers(path: Path) -> None:
    """Lock files, refs and half-written packs of a process that was killed; the lock says that nobody uses them."""
    for name in ("shallow.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "FETCH_HEAD.lock", "packed-refs"):
        (path / name).unlink(missing_ok=True)
    for ref in (path / "refs").rglob("*"):
        if ref.is_file():
            ref.unlink()
    for file in (path / "objects" / "pack").iterdir():
        half = file.suffix == ".pack" and not file.with_suffix(".idx").exists()
        if half or file.suffix not in {".pack", ".idx"} or file.name.startswith(packs.UNFINISHED):
            # A helper whose worker was killed may still be busy here.
            file.unlink(missing_ok=True)


def _outgrown(path: Path) -> bool:
    loose = path / "objects" / "17"
    packs = path / "objects" / "pack"
    return (loose.is_dir() and sum(1 for _ in loose.iterdir()) > _MOST_LOOSE_IN_ONE_FOLDER) or (
        packs.is_dir() and sum(pack.suffix == ".pack" for pack in packs.iterdir()) > _MOST_PACKS
    )


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (pygit2.GitError, OSError) as error:
        mapped = problems.cache_error(error)
        if isinstance(mapped, problems.CacheDamagedError):
            mapped = errors.StalledError(f"the work directory cannot be used: {error}", reason="WorkDirUnusable")
        raise mapped from error
