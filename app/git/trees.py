"""Change single files in a tree of any size at a cost that follows the change.

A `TreeEditor` keeps the folders it touched and writes only those, each from its old tree. It refuses to work through
or over anything that is not a plain file or folder: a repository's content comes from outside (promise P13).
Neighbours: `cache.py` holds the objects, `commits.py` makes a commit of the tree; the drain decides what to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pygit2
from pygit2.enums import FileMode

from app import errors
from app.git import cache as caches
from app.git import packs, problems
from app.git.names import EMPTY_TREE, BlobId, TreeId

Kind: TypeAlias = Literal["blob", "link", "tree", "commit"]

# Up to this many blobs at a time are stored each by itself: a pack per small drain would slow every look-up.
_LOOSE_BLOBS = 100

_KINDS: dict[int, Kind] = {
    FileMode.TREE: "tree",
    FileMode.BLOB: "blob",
    FileMode.BLOB_EXECUTABLE: "blob",
    FileMode.LINK: "link",
    FileMode.COMMIT: "commit",
}
_WORDS = {"blob": "a file", "link": "a symbolic link", "tree": "a folder", "commit": "a submodule"}


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path; `commit` is a submodule."""

    kind: Kind
    id: str
    mode: int


@dataclass(slots=True)
class _Folder:
    """A folder that was looked into: its tree as last written, and what changed since (None: removed)."""

    tree: pygit2.Tree | None
    folders: dict[str, _Folder] = field(default_factory=dict)
    changes: dict[str, Entry | None] = field(default_factory=dict)
    # Whether anything changed in or below it since it was written.
    dirty: bool = False

    def entry(self, name: str) -> Entry | None:
        if name in self.changes:
            return self.changes[name]
        if self.tree is None:
            return None
        try:
            found = self.tree[name]
        except KeyError:
            return None
        return Entry(_KINDS.get(found.filemode, "blob"), str(found.id), int(found.filemode))


class TreeEditor:
    """Edits of one tree, in memory until `write()`; can be used again afterwards. `root` None is the empty tree.

    All methods raise ForeignContentError for a path that leads through a link, a file or a submodule, PermanentError
    for one that is no clean relative path, and what `Cache.guarded` raises.
    """

    def __init__(self, cache: caches.Cache, root: TreeId | None) -> None:
        self._cache = cache
        self._repository = cache.repository
        self._blobs: dict[BlobId, bytes] = {}
        with cache.guarded():
            self._root = _Folder(self._tree(root) if root and root != EMPTY_TREE else None)

    def get(self, path: str) -> Entry | None:
        """What stands at `path`, changes included; None for nothing."""
        *parents, name = _segments(path)
        with self._cache.guarded():
            folder = self._descend(parents, path)
            if folder is None:
                return None
            self._settle(folder, name)
            return folder.entry(name)

    def put(self, path: str, blob: BlobId) -> None:
        """Have `path` be a plain file of this content. Raises ForeignContentError where it is anything else."""
        *parents, name = _segments(path)
        with self._cache.guarded():
            line = self._make(parents, path)
            folder = line[-1]
            self._settle(folder, name)
            self._refuse_foreign(folder.entry(name), path)
        folder.changes[name] = Entry("blob", blob, FileMode.BLOB)
        for touched in line:
            touched.dirty = True

    def remove(self, path: str) -> None:
        """Have no file at `path`; folders that become empty vanish. A file that is not there is no error.

        Raises ForeignContentError for anything that is not a file.
        """
        *parents, name = _segments(path)
        with self._cache.guarded():
            if self._descend(parents, path) is None:
                return
            line = self._make(parents, path)
            folder = line[-1]
            self._settle(folder, name)
            found = folder.entry(name)
            self._refuse_foreign(found, path)
        if found is None:
            return
        folder.changes[name] = None
        for touched in line:
            touched.dirty = True

    def blob(self, data: bytes) -> BlobId:
        """Take content, to be stored by the next `write()`; putting it somewhere is `put`."""
        oid = packs.blob_id(data)
        self._blobs[oid] = data
        return oid

    def read(self, blob: BlobId, limit: int) -> bytes:
        """The content of a blob. Raises PermanentError when it has more than `limit` bytes."""
        with self._cache.guarded():
            waiting = self._blobs.get(blob)
            size = self._repository.odb.read_header(blob)[1] if waiting is None else len(waiting)
            if size > limit:
                raise errors.PermanentError(f"a file of {size} bytes is over the limit of {limit}", reason="TooLarge")
            return self._repository.odb.read(blob)[1] if waiting is None else waiting

    def files(self, folder: str = "") -> Iterator[tuple[str, Entry]]:
        """Every entry that is not a folder below `folder`, with its full path, as of the last `write()`."""
        tree: pygit2.Tree | None = self._root.tree
        for name in _segments(folder) if folder else []:
            found = tree[name] if tree is not None and name in tree else None
            tree = found if isinstance(found, pygit2.Tree) else None
        if tree is not None:
            yield from _walk(tree, f"{folder}/" if folder else "")

    def write(self) -> TreeId:
        """Write the changed folders; returns the root, which is the empty tree when nothing is left."""
        with self._cache.guarded():
            return self._write(self._root) or TreeId(str(self._repository.TreeBuilder().write()))

    def _store_blobs(self) -> None:
        if len(self._blobs) > _LOOSE_BLOBS:
            packs.write(self._cache.path / "objects" / "pack", self._blobs)
        else:
            for data in self._blobs.values():
                self._repository.create_blob(data)
        self._blobs.clear()

    def _tree(self, oid: str) -> pygit2.Tree:
        tree = self._repository[oid]
        if not isinstance(tree, pygit2.Tree):
            raise errors.PermanentError(f"{oid} is no tree", reason="NotATree")
        return tree

    def _descend(self, parents: list[str], path: str) -> _Folder | None:
        folder = self._root
        for name in parents:
            below = self._open(folder, name, path)
            if below is None:
                return None
            folder = below
        return folder

    def _make(self, parents: list[str], path: str) -> list[_Folder]:
        line = [self._root]
        for name in parents:
            below = self._open(line[-1], name, path)
            if below is None:
                below = line[-1].folders[name] = _Folder(None)
            line.append(below)
        return line

    def _open(self, folder: _Folder, name: str, path: str) -> _Folder | None:
        known = folder.folders.get(name)
        if known is not None:
            return known
        found = folder.entry(name)
        if found is None:
            return None
        if found.kind != "tree":
            raise problems.ForeignContentError(f"{path}: {_WORDS[found.kind]} stands where its folder {name!r} belongs")
        below = folder.folders[name] = _Folder(self._tree(found.id))
        return below

    def _refuse_foreign(self, found: Entry | None, path: str) -> None:
        if found is not None and found.kind != "blob":
            raise problems.ForeignContentError(f"{path}: {_WORDS[found.kind]} stands where a file of ours belongs")

    def _settle(self, folder: _Folder, name: str) -> None:
        """Write the folder `name`, so that its entry tells whether anything is left of it."""
        below = folder.folders.get(name)
        if below is None:
            return
        folder.changes[name] = self._written(below)
        if folder.changes[name] is None:
            del folder.folders[name]

    def _written(self, folder: _Folder) -> Entry | None:
        tree = self._write(folder)
        return Entry("tree", tree, FileMode.TREE) if tree is not None else None

    def _write(self, folder: _Folder) -> TreeId | None:
        if folder.dirty:
            for name, below in list(folder.folders.items()):
                if below.dirty or below.tree is None:
                    self._settle(folder, name)
            folder.tree = self._build(folder)
            folder.changes.clear()
            folder.dirty = False
        return TreeId(str(folder.tree.id)) if folder.tree is not None else None

    def _build(self, folder: _Folder) -> pygit2.Tree | None:
        # libgit2 takes only what is stored into a tree.
        self._store_blobs()
        builder = (
            self._repository.TreeBuilder(folder.tree) if folder.tree is not None else self._repository.TreeBuilder()
        )
        for name, entry in folder.changes.items():
            if entry is not None:
                _insert(builder, name, entry)
            elif folder.tree is not None and name in folder.tree:
                builder.remove(name)
        return self._tree(str(builder.write())) if len(builder) else None


def _insert(builder: pygit2.TreeBuilder, name: str, entry: Entry) -> None:
    try:
        builder.insert(name, entry.id, entry.mode)
    except (pygit2.GitError, ValueError) as error:
        if problems.is_damage(str(error)):
            raise
        raise errors.PermanentError(f"Git refuses the file name {name!r}: {error}", reason="PathRefused") from error


def _segments(path: str) -> list[str]:
    segments = path.split("/")
    if not all(segments) or "." in segments or ".." in segments or "\0" in path:
        raise errors.PermanentError(f"{path[:200]!r} is no clean relative path", reason="PathRefused")
    return segments


def _walk(tree: pygit2.Tree, prefix: str) -> Iterator[tuple[str, Entry]]:
    for found in tree:
        if isinstance(found, pygit2.Tree):
            yield from _walk(found, f"{prefix}{found.name}/")
        else:
            yield f"{prefix}{found.name}", Entry(_KINDS.get(found.filemode, "blob"), str(found.id), int(found.filemode))
