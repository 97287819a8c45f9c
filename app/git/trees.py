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
from pygit2.enums import FileMode, ObjectType

from app import errors
from app.git import cache as caches
from app.git import objects, problems
from app.git.names import EMPTY_TREE, BlobId, TreeId

Kind: TypeAlias = Literal["blob", "link", "tree", "commit"]

_KINDS: dict[int, Kind] = {
    FileMode.TREE: "tree",
    FileMode.BLOB: "blob",
    FileMode.BLOB_EXECUTABLE: "blob",
    FileMode.LINK: "link",
    FileMode.COMMIT: "commit",
}
_WORDS = {"blob": "a file", "link": "a symbolic link", "tree": "a folder", "commit": "a submodule"}
# Of an entry that is made only to have its name judged; a submodule's commit need not be there.
_ANY_COMMIT = "1" * 40


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path; `commit` is a submodule."""

    kind: Kind
    id: str
    mode: int


@dataclass(slots=True)
class _Folder:
    """A folder that was looked into: its tree as last written, and its lines by name, which are Git's own bytes."""

    tree: TreeId | None = None
    lines: dict[bytes, bytes] = field(default_factory=dict)
    folders: dict[bytes, _Folder] = field(default_factory=dict)
    # Whether anything changed in or below it since it was written, and whether its lines are in Git's order.
    dirty: bool = False
    ordered: bool = True

    def entry(self, name: bytes) -> Entry | None:
        line = self.lines.get(name)
        if line is None:
            return None
        mode = objects.mode_of(line)
        return Entry(_KINDS.get(mode, "blob"), objects.id_of(line), mode)

    def set(self, name: bytes, mode: int, oid: str) -> None:
        self.ordered &= name in self.lines
        self.lines[name] = objects.line(mode, name, oid)


class TreeEditor:
    """Edits of one tree, in memory until `write()`; can be used again afterwards. `root` None is the empty tree.

    All methods raise ForeignContentError for a path that leads through a link, a file or a submodule, PermanentError
    for one that is no clean relative path, and what `Cache.guarded` raises.
    """

    def __init__(self, cache: caches.Cache, root: TreeId | None) -> None:
        self._cache = cache
        self._root = self._folder(root) if root and root != EMPTY_TREE else _Folder()

    def get(self, path: str) -> Entry | None:
        """What stands at `path`, changes included; None for nothing."""
        *parents, name = _segments(path)
        folder = self._find(parents, path)
        return None if folder is None else self._entry(folder, name)

    def files(self, folder: str, *, depth: int) -> Iterator[tuple[str, BlobId]]:
        """The plain files of at most `depth` segments below a folder, by path; names that are no UTF-8 are left out."""
        found = self._find(_segments(folder), folder)
        if found is not None:
            yield from self._files(found, folder, depth)

    def _files(self, folder: _Folder, path: str, depth: int) -> Iterator[tuple[str, BlobId]]:
        for name in list(folder.lines):
            entry = self._entry(folder, name)
            try:
                full = f"{path}/{name.decode()}"
            except UnicodeDecodeError:
                continue
            if entry is not None and entry.kind == "blob":
                yield full, BlobId(entry.id)
            elif entry is not None and entry.kind == "tree" and depth > 1:
                yield from self._files(folder.folders.get(name) or self._folder(TreeId(entry.id)), full, depth - 1)

    def put(self, path: str, blob: BlobId) -> None:
        """Have `path` be a plain file of this content. Raises ForeignContentError where it is anything else."""
        *parents, name = _segments(path)
        line = self._make(parents, path)
        folder = line[-1]
        _refuse_foreign(self._entry(folder, name), path)
        if name not in folder.lines:
            self._judge(name)
        folder.set(name, FileMode.BLOB, blob)
        for touched in line:
            touched.dirty = True

    def remove(self, path: str) -> None:
        """Have no file at `path`; folders that become empty vanish. A file that is not there is no error.

        Raises ForeignContentError for anything that is not a file.
        """
        found = self.get(path)
        if found is None:
            return
        _refuse_foreign(found, path)
        *parents, name = _segments(path)
        line = self._make(parents, path)
        del line[-1].lines[name]
        for touched in line:
            touched.dirty = True

    def blob(self, data: bytes) -> BlobId:
        """Take content; putting it somewhere is `put`."""
        return BlobId(self._cache.keep(ObjectType.BLOB, data))

    def read(self, blob: BlobId, limit: int) -> bytes:
        """The content of a blob. Raises PermanentError when it has more than `limit` bytes."""
        size = self._cache.size(blob)
        if size > limit:
            raise errors.PermanentError(f"a file of {size} bytes is over the limit of {limit}", reason="TooLarge")
        return self._cache.read(blob)[1]

    def write(self) -> TreeId:
        """Make the changed folders objects of the cache; returns the root, the empty tree when nothing is left."""
        return self._write(self._root) or TreeId(self._cache.keep(ObjectType.TREE, b""))

    def _folder(self, oid: TreeId) -> _Folder:
        kind, data = self._cache.read(oid)
        if kind != ObjectType.TREE:
            raise errors.PermanentError(f"{oid} is no tree", reason="NotATree")
        with self._cache.guarded():
            # Somebody's tree may be in another order than Git's.
            return _Folder(oid, {name: line for line, _, name, _ in objects.entries(data)}, ordered=False)

    def _find(self, names: list[bytes], path: str) -> _Folder | None:
        """The folder on the way to `path`, from the root on; None where there is none."""
        folder: _Folder | None = self._root
        for name in names:
            folder = self._open(folder, name, path) if folder else None
        return folder

    def _make(self, parents: list[bytes], path: str) -> list[_Folder]:
        """The folders on the way to `path`, from the root on; new ones where there are none."""
        line = [self._root]
        for name in parents:
            below = self._open(line[-1], name, path)
            if below is None:
                self._judge(name)
                below = line[-1].folders[name] = _Folder()
            line.append(below)
        return line

    def _open(self, folder: _Folder, name: bytes, path: str) -> _Folder | None:
        known = folder.folders.get(name)
        if known is not None:
            return known
        found = folder.entry(name)
        if found is None:
            return None
        if found.kind != "tree":
            shown = repr(name.decode(errors="replace"))
            raise problems.ForeignContentError(f"{path}: {_WORDS[found.kind]} stands where its folder {shown} belongs")
        below = folder.folders[name] = self._folder(TreeId(found.id))
        return below

    def _entry(self, folder: _Folder, name: bytes) -> Entry | None:
        if name in folder.folders:
            # Written, so that its line tells whether anything is left of it.
            self._settle(folder, name)
        return folder.entry(name)

    def _judge(self, name: bytes) -> None:
        """Have libgit2 refuse what no tree may name, such as `.git` in all its spellings."""
        try:
            self._cache.repository.TreeBuilder().insert(name.decode(), _ANY_COMMIT, FileMode.COMMIT)
        except (pygit2.GitError, ValueError) as error:
            shown = repr(name.decode(errors="replace"))
            raise errors.PermanentError(f"Git refuses the file name {shown}: {error}", reason="PathRefused") from error

    def _write(self, folder: _Folder) -> TreeId | None:
        """The tree of a folder; None where nothing is left of it."""
        if folder.dirty or not folder.lines:
            for name, below in list(folder.folders.items()):
                if below.dirty or not below.lines:
                    self._settle(folder, name)
            if not folder.ordered:
                folder.lines, folder.ordered = objects.in_order(folder.lines), True
            lines = b"".join(folder.lines.values())
            folder.tree = TreeId(self._cache.keep(ObjectType.TREE, lines)) if lines else None
            folder.dirty = False
        return folder.tree

    def _settle(self, folder: _Folder, name: bytes) -> None:
        """Write the folder `name` into its line of the tree above it; an empty one has none, and is forgotten."""
        tree = self._write(folder.folders[name])
        if tree is not None:
            folder.set(name, FileMode.TREE, tree)
        else:
            del folder.folders[name]
            folder.lines.pop(name, None)


def _refuse_foreign(found: Entry | None, path: str) -> None:
    if found is not None and found.kind != "blob":
        raise problems.ForeignContentError(f"{path}: {_WORDS[found.kind]} stands where a file of ours belongs")


def _segments(path: str) -> list[bytes]:
    segments = path.split("/")
    if not all(segments) or "." in segments or ".." in segments or "\0" in path:
        raise errors.PermanentError(f"{path[:200]!r} is no clean relative path", reason="PathRefused")
    try:
        return [segment.encode() for segment in segments]
    except UnicodeEncodeError as error:
        raise errors.PermanentError(f"{path[:200]!r} is no text of UTF-8", reason="PathRefused") from error
