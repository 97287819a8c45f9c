"""Short words for what tests of Git do over and over: a commit of some files on a parent."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime

import pygit2

from app.git import cache as caches
from app.git import commits, packs, trees
from app.git.names import Sha, TreeId

REVERSER = ("Reverser", "reverser@example.com")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def tree(cache: caches.Cache, files: Mapping[str, str | None], root: TreeId | None = None) -> TreeId:
    """The tree `root` with these files put, or removed where the content is None."""
    editor = trees.TreeEditor(cache, root)
    for path, content in files.items():
        if content is None:
            editor.remove(path)
        else:
            editor.put(path, editor.blob(content.encode()))
    written = editor.write()
    cache.store()
    return written


def commit(
    cache: caches.Cache, files: Mapping[str, str | None], parent: Sha | None = None, message: str = "Test"
) -> Sha:
    """A commit of these changes on `parent`."""
    root = commits.tree_of(cache, parent) if parent else None
    sha = commits.write_commit(
        cache,
        tree=tree(cache, files, root),
        parent=parent,
        author=REVERSER,
        committer=REVERSER,
        message=message,
        time=NOON,
    )
    cache.store()
    return sha


def tidy(cache: caches.Cache) -> None:
    """Merge the packs of a cache, as opening it would: many examples of a property share one."""
    packs.merge(cache.path / "objects" / "pack")
    cache.reload()


def loosen(cache: caches.Cache) -> None:
    """Have each object of a cache in a file of its own, so that a test can lose one of them."""
    for pack in list((cache.path / "objects" / "pack").glob("*.pack")):
        content = pack.read_bytes()
        pack.with_suffix(".idx").unlink()
        pack.unlink()
        subprocess.run(["git", "unpack-objects", "-q"], cwd=cache.path, input=content, check=True)
    cache.reload()


def files(cache: caches.Cache, root: TreeId) -> dict[str, bytes]:
    """Every file of a stored tree with its content, as libgit2 reads them."""
    found: dict[str, bytes] = {}
    folders = [("", str(root))]
    while folders:
        prefix, oid = folders.pop()
        for entry in cache.repository[oid].peel(pygit2.Tree):
            if isinstance(entry, pygit2.Tree):
                folders.append((f"{prefix}{entry.name}/", str(entry.id)))
            else:
                found[f"{prefix}{entry.name}"] = entry.peel(pygit2.Blob).data
    return found
