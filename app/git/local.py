"""Repositories on this machine (`file://`), worked on directly, inside a helper process.

libgit2's local transport packs the whole history of every branch for each fetch, leaves one pack per push, and
moves a ref without comparing it to what it was. So the cache borrows the repository's objects (Git's `alternates`)
and nothing is fetched; a push copies exactly the new objects, children first, and moves the ref by compare-and-swap.
Hooks of such a repository do not run: this process runs no program. Neighbours: `helper.py`, `network.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import SortMode

from app import errors
from app.git import objects, problems
from app.git.urls import local_path

# Git's own `unpackLimit`: fewer objects are cheaper loose, more are cheaper in a pack.
_LOOSE_LIMIT = 100
# Moving a ref takes milliseconds. A lock of this age, in seconds, belongs to a process that was killed.
_STALE_LOCK = 60.0
_TREE_MODE = b"40000"
# How libgit2 says that another process holds the lock of a ref; how long we wait for it, in seconds.
_LOCKED = ("failed to lock file", "failed to create locked file")
_LOCK_PATIENCE, _LOCK_PAUSE = 1.0, 0.02
_SUBMODULE_MODE = b"160000"


class LocalHost:
    """The operations of a helper on one local repository; the answers are as `remote.py` reads them."""

    def __init__(self, url: str) -> None:
        """Raises StalledError when there is no bare repository."""
        self.path = local_path(url)
        try:
            self.repository = pygit2.Repository(str(self.path))
        except (pygit2.GitError, OSError) as error:
            message = f"no Git repository can be read at {self.path}: create it with `git init --bare {self.path}`"
            raise errors.StalledError(message, reason="RepositoryNotFound") from error
        if not self.repository.is_bare:
            message = f"{self.path} has a work tree, which a push would leave behind: name a bare repository"
            raise errors.StalledError(message, reason="NotBare")

    def heads(self) -> dict[str, Any]:
        """All branches and the one that HEAD names."""
        branches = self._branches()
        named = self.repository.references["HEAD"].raw_target
        default = named.decode().removeprefix("refs/heads/") if isinstance(named, bytes) else None
        return {"default_branch": default if default in branches else None, "branches": branches}

    def fetch(
        self,
        cache: Path,
        *,
        branch: str,
        until: str | None,
        whole: bool,  # noqa: ARG002 - borrowed objects come with all their history
    ) -> dict[str, Any]:
        """Let the cache borrow the objects; nothing is copied."""
        self._lend(cache)
        heads = self.heads()
        found = {"branches": len(heads["branches"])}
        tip = heads["branches"].get(branch)
        if tip is None:
            default = heads["default_branch"]
            return {**found, "tip": None, "contains_until": False, "default_tip": heads["branches"].get(default)}
        contains = until is None or self._contains(tip, until)
        return {**found, "tip": tip, "contains_until": contains, "default_tip": None}

    def push(self, cache: Path, *, branch: str, commit: str, parent: str | None) -> dict[str, Any]:
        """Copy what is new, then move the branch if it still is at `parent`."""
        self._compare(self._tip(branch), parent, branch)
        try:
            source = pygit2.Repository(str(cache))
            self._receive(source, list(self._new_objects(source, commit)))
        except (pygit2.GitError, KeyError, OSError) as error:
            raise problems.cache_error(error) from error
        self._move(branch, commit=commit, parent=parent)
        tip = self._tip(branch)
        if tip is None or not self._contains(tip, commit):
            raise errors.RemoteMovedError(f"{branch} of {self.path} was moved away right after the push")
        return {"tip": tip, "branches": len(self._branches())}

    def _branches(self) -> dict[str, str]:
        refs = self.repository.references
        names = (name for name in refs if name.startswith("refs/heads/"))
        return {name.removeprefix("refs/heads/"): str(refs[name].resolve().target) for name in names}

    def _tip(self, branch: str) -> str | None:
        reference = self.repository.references.get(f"refs/heads/{branch}")
        return str(reference.resolve().target) if reference is not None else None

    def _contains(self, tip: str, sha: str) -> bool:
        repository = self.repository
        return tip == sha or (sha in repository and repository.descendant_of(tip, sha))

    def _lend(self, cache: Path) -> None:
        objects = os.fsencode((self.path / "objects").resolve())
        if b"\n" in objects:
            raise errors.PermanentError("a repository path must not hold a newline", reason="InvalidPath")
        alternates = cache / "objects" / "info" / "alternates"
        try:
            if not alternates.exists() or alternates.read_bytes() != objects + b"\n":
                alternates.parent.mkdir(exist_ok=True)
                fresh = alternates.with_suffix(".new")
                fresh.write_bytes(objects + b"\n")
                fresh.replace(alternates)
        except OSError as error:
            raise problems.cache_error(error) from error

    def _new_objects(self, source: pygit2.Repository, commit: str) -> Iterator[str]:
        """What the repository lacks for `commit`, children before parents.

        Compared tree by tree with the commit's parent, not by looking whether an object is there: one that a killed
        push left behind may lack its own children after a `git gc`.
        """
        walker = source.walk(commit, SortMode.TOPOLOGICAL | SortMode.REVERSE)
        for tip in self._branches().values():
            walker.hide(tip)
        seen: set[str] = set()
        for new in walker:
            old = new.parents[0].tree_id if new.parent_ids else None
            yield from _differing(source, str(new.tree_id), str(old) if old else None, seen)
            yield str(new.id)

    def _receive(self, source: pygit2.Repository, objects: list[str]) -> None:
        if len(objects) <= _LOOSE_LIMIT:
            for oid in objects:
                self.repository.odb.write(*source.odb.read(oid))
            return
        builder = pygit2.PackBuilder(source)
        for oid in objects:
            builder.add(pygit2.Oid(hex=oid))
        builder.write(str(self.path / "objects" / "pack"))

    def _move(self, branch: str, *, commit: str, parent: str | None) -> None:
        """Compare and swap, waiting a moment for another writer's lock of the ref."""
        name = f"refs/heads/{branch}"
        give_up = time.monotonic() + _LOCK_PATIENCE
        while True:
            self._remove_stale_lock(name)
            try:
                return self._swap(name, branch, commit=commit, parent=parent)
            except (pygit2.GitError, KeyError, OSError) as error:
                self._compare(self._tip(branch), parent, branch)
                problem = _not_moved(f"{branch} of {self.path}", error)
                if isinstance(problem, errors.StalledError) or time.monotonic() > give_up:
                    raise problem from error
            time.sleep(_LOCK_PAUSE)

    def _swap(self, name: str, branch: str, *, commit: str, parent: str | None) -> None:
        if parent is None:
            self.repository.references.create(name, commit, force=False)
            return
        reference = self.repository.references[name].resolve()
        self._compare(str(reference.target), parent, branch)
        # libgit2 moves it only if it still has the target that was just compared.
        reference.set_target(commit)

    def _compare(self, tip: str | None, parent: str | None, branch: str) -> None:
        if tip != parent:
            raise moved(branch, tip=tip, parent=parent)

    def _remove_stale_lock(self, name: str) -> None:
        lock = self.path / f"{name}.lock"
        try:
            if time.time() - lock.stat().st_mtime > _STALE_LOCK:
                lock.unlink()
        except FileNotFoundError:
            return


def _not_moved(what: str, error: Exception) -> errors.ReverserError:
    words = problems.redact(str(error))
    if any(sign in words for sign in _LOCKED):
        return errors.TemporaryError(f"{what} is locked: {words}", reason="RefLocked")
    return errors.StalledError(f"{what} cannot be moved: {words}", reason="PushRefused")


def moved(branch: str, *, tip: str | None, parent: str | None) -> errors.RemoteMovedError:
    """The branch is elsewhere than the commit that was built on."""
    found = f"at {tip[:12]}" if tip else "gone"
    expected = f"built on {parent[:12]}" if parent else "expected not to exist"
    return errors.RemoteMovedError(f"{branch} is {found}, this push was {expected}: fetched and rebuilt next")


def _differing(source: pygit2.Repository, tree: str, old: str | None, seen: set[str]) -> Iterator[str]:
    if tree == old or tree in seen:
        return
    seen.add(tree)
    before = _entries(source, old) if old else []
    folders = {name: oid for _, mode, name, oid in before if mode == _TREE_MODE}
    for _, mode, name, oid in set(_entries(source, tree)).difference(before):
        if mode == _TREE_MODE:
            below = folders.get(name)
            yield from _differing(source, oid.hex(), below.hex() if below else None, seen)
        elif mode != _SUBMODULE_MODE and oid.hex() not in seen:
            seen.add(oid.hex())
            yield oid.hex()
    yield tree


def _entries(source: pygit2.Repository, tree: str) -> list[tuple[bytes, bytes, bytes, bytes]]:
    return objects.entries(source.odb.read(tree)[1])
