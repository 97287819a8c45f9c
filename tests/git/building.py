"""Short words for what tests of Git do over and over: a commit of some files on a parent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from app.git import cache as caches
from app.git import commits, trees
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
    return editor.write()


def commit(
    cache: caches.Cache, files: Mapping[str, str | None], parent: Sha | None = None, message: str = "Test"
) -> Sha:
    """A commit of these changes on `parent`."""
    root = commits.tree_of(cache, parent) if parent else None
    return commits.write_commit(
        cache,
        tree=tree(cache, files, root),
        parent=parent,
        author=REVERSER,
        committer=REVERSER,
        message=message,
        time=NOON,
    )
