"""Write commits and read history, in an object cache.

Authors and messages hold values from outside; what would break out of a commit header is taken out here. A cache may
be shallow: history ends where its objects do. Neighbours: `trees.py` makes the trees, the drain scans with `ancestry`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pygit2
from pygit2.enums import FileMode, ObjectType, SortMode

from app import errors
from app.git import cache as caches
from app.git import objects
from app.git.names import BlobId, Sha, TreeId

# Git ends a name at `<` and a header at a newline; the other characters of the class break terminals and parsers.
_UNFIT = re.compile(r"[<>\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Git strips these from both ends of a name itself.
_CRUD = " .,:;<>\"\\'"
_FILES = {FileMode.BLOB, FileMode.BLOB_EXECUTABLE}


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """One commit. `parents` are those it names, also where a shallow cache does not hold them."""

    sha: Sha
    tree: TreeId
    parents: tuple[Sha, ...]
    author_name: str
    author_email: str
    message: str
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class FileChange:
    """One plain file that a commit added (`old` None), removed (`new` None) or changed."""

    path: str
    old: BlobId | None
    new: BlobId | None


def write_commit(
    cache: caches.Cache,
    *,
    tree: TreeId,
    parent: Sha | None,
    author: tuple[str, str],
    committer: tuple[str, str],
    message: str,
    time: datetime,
) -> Sha:
    """Make a commit in the cache; no ref points to it. Same arguments, same id. Who did it is (name, e-mail).

    Raises what `Cache.guarded` raises.
    """
    seconds = int(time.timestamp())
    data = objects.commit(
        tree,
        [parent] if parent else [],
        author=_signature(author, seconds),
        committer=_signature(committer, seconds),
        message=_encodable(message.replace("\0", "")),
    )
    return Sha(cache.keep(ObjectType.COMMIT, data))


def read_commit(cache: caches.Cache, sha: Sha) -> CommitInfo:
    """One commit. Raises CacheDamagedError when it is not there, PermanentError when it is something else."""
    with cache.guarded():
        return _info(_commit(cache, sha))


def tree_of(cache: caches.Cache, sha: Sha) -> TreeId:
    """The tree of a commit. Raises as `read_commit`."""
    with cache.guarded():
        return TreeId(str(_commit(cache, sha).tree_id))


def ancestry(cache: caches.Cache, tip: Sha, until: Sha | None, limit: int) -> Iterator[CommitInfo]:
    """Commits that `tip` contains and `until` does not, children before parents, at most `limit`.

    Ends early where a shallow cache ends. Raises CacheDamagedError when `tip` is not there.
    """
    with cache.guarded():
        walker = cache.repository.walk(tip, SortMode.TOPOLOGICAL | SortMode.TIME)
        if until and cache.has(until):
            walker.hide(until)
        for commit in itertools.islice(walker, limit):
            yield _info(commit)


def contains(cache: caches.Cache, tip: Sha, sha: Sha) -> bool:
    """Whether `sha` is `tip` or one of its ancestors, as far as the cache knows."""
    if tip == sha:
        return True
    if not (cache.has(tip) and cache.has(sha)):
        return False
    with cache.guarded():
        return cache.repository.descendant_of(tip, sha)


def changes(cache: caches.Cache, sha: Sha) -> list[FileChange]:
    """Plain files that differ between a commit and its first parent, by path; links and submodules are left out.

    Raises CacheDamagedError when the commit or its parent is not there: behind a shallow boundary nobody can tell.
    """
    with cache.guarded():
        commit = _commit(cache, sha)
        parents = _parents(commit)
        if parents:
            diff = _commit(cache, parents[0]).tree.diff_to_tree(commit.tree)
        else:
            diff = commit.tree.diff_to_tree(swap=True)
        found = [_change(delta) for delta in diff.deltas]
    return sorted((change for change in found if change.old or change.new), key=lambda change: change.path)


def _change(delta: pygit2.DiffDelta) -> FileChange:
    return FileChange(
        path=(delta.new_file.raw_path or delta.old_file.raw_path).decode(errors="surrogateescape"),
        old=_blob(delta.old_file),
        new=_blob(delta.new_file),
    )


def _blob(side: pygit2.DiffFile) -> BlobId | None:
    return BlobId(str(side.id)) if side.mode in _FILES else None


def _commit(cache: caches.Cache, sha: Sha) -> pygit2.Commit:
    found = cache.repository[sha]
    if found.type != ObjectType.COMMIT:
        raise errors.PermanentError(f"{sha} is a {found.type_str}, no commit", reason="NotACommit")
    return found.peel(pygit2.Commit)


def _parents(commit: pygit2.Commit) -> tuple[Sha, ...]:
    """From the commit's own text: at a shallow boundary libgit2 says that there are none."""
    header, _, _ = commit.read_raw().partition(b"\n\n")
    lines = (line.split(b" ") for line in header.split(b"\n"))
    return tuple(Sha(line[1].decode()) for line in lines if line[0] == b"parent")


def _info(commit: pygit2.Commit) -> CommitInfo:
    return CommitInfo(
        sha=Sha(str(commit.id)),
        tree=TreeId(str(commit.tree_id)),
        parents=_parents(commit),
        author_name=commit.author.raw_name.decode(errors="replace"),
        author_email=commit.author.raw_email.decode(errors="replace"),
        message=commit.raw_message.decode(errors="replace"),
        committed_at=datetime.fromtimestamp(commit.commit_time, UTC),
    )


def _signature(who: tuple[str, str], seconds: int) -> bytes:
    name, email = (_encodable(_UNFIT.sub(" ", text)).strip(_CRUD) for text in who)
    return objects.signature(name or "unknown", email or "unknown", seconds)


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
