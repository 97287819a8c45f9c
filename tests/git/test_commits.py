"""Commits: identities that cannot break a header, history in order, changes as Git sees them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pygit2
import pytest
from hypothesis import strategies as st

from app import errors
from app.git import cache as caches
from app.git import commits, problems
from app.git.names import EMPTY_TREE, Sha
from tests.git import servers
from tests.git.building import NOON, REVERSER, commit, loosen, tree


def _write(cache: caches.Cache, *, author: tuple[str, str], message: str = "m") -> Sha:
    sha = commits.write_commit(
        cache, tree=tree(cache, {"a": "1"}), parent=None, author=author, committer=REVERSER, message=message, time=NOON
    )
    cache.store()
    return sha


@pytest.mark.parametrize(
    ("author", "name", "email"),
    [
        (("alice", "alice@example.com"), "alice", "alice@example.com"),
        (("a\nb <x@y>", "e"), "a b  x@y", "e"),
        (("system:serviceaccount:ns:sa", ""), "system:serviceaccount:ns:sa", "unknown"),
        (("<>\0\r\n", "a>\nparent x"), "unknown", "a parent x"),
        (("ü \udcff\u2028x", "ü@x"), "ü ? x", "ü@x"),
    ],
)
def test_any_author_becomes_a_valid_identity(
    cache: caches.Cache, author: tuple[str, str], name: str, email: str
) -> None:
    """A requester's name cannot inject a header: Git reads back one author line, and finds no fault."""
    sha = _write(cache, author=author, message="first\0\n\nbody \udcff\n")
    info = commits.read_commit(cache, sha)
    assert (info.author_name, info.author_email) == (name, email)
    assert info.message == "first\n\nbody ?\n"
    assert info.parents == ()
    assert info.committed_at == NOON
    assert servers.git("fsck", "--strict", "--no-dangling", cwd=cache.path) == ""
    shown = servers.git("log", "-1", "--format=%an|%ae|%cn", sha, cwd=cache.path)
    assert shown == f"{name}|{email}|Reverser"


@pytest.fixture
def first(cache: caches.Cache) -> commits.CommitInfo:
    """A stored commit."""
    return commits.read_commit(cache, _write(cache, author=REVERSER))


@hypothesis.given(
    who=st.tuples(st.text(max_size=20), st.text(max_size=20)),
    message=st.text(max_size=50),
    moment=st.integers(0, 2**31 - 1),
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_a_commit_is_the_one_that_git_makes(
    cache: caches.Cache, first: commits.CommitInfo, who: tuple[str, str], message: str, moment: int
) -> None:
    """The bytes of a commit are those that libgit2 writes for the same author, message, tree and parent."""
    sha = commits.write_commit(
        cache, tree=first.tree, parent=first.sha, author=who, committer=REVERSER, message=message,
        time=datetime.fromtimestamp(moment, UTC),
    )  # fmt: skip
    header, _, text = cache.read(sha)[1].partition(b"\n\n")
    found = re.search(rb"^author (.*) <(.*)> [0-9]+ \+0000$", header, re.MULTILINE)
    assert found is not None
    authored = pygit2.Signature(found[1].decode(), found[2].decode(), moment, 0)
    committed = pygit2.Signature(*REVERSER, moment, 0)
    again = cache.repository.create_commit(None, authored, committed, text.decode(), first.tree, [first.sha])
    assert str(again) == sha


def test_the_same_input_is_the_same_commit(cache: caches.Cache) -> None:
    """A commit that is built twice has one id, so that a repeated drain repeats nothing."""
    assert _write(cache, author=REVERSER) == _write(cache, author=REVERSER)


def test_ancestry_stops_at_the_known_commit_and_follows_merges(tmp_path: Path) -> None:
    """Everything that came in by a merge is scanned, children first, and nothing behind the known commit."""
    repository = servers.create_repository(tmp_path / "r.git")
    servers.commit_file(repository, "old", "0")
    known = Sha(servers.commit_file(repository, "old", "1"))
    servers.git("update-ref", "refs/heads/side", f"{known}^", cwd=repository)
    side = servers.commit_file(repository, "side", "1", branch="side")
    ours = servers.commit_file(repository, "ours", "1")
    merge = servers.git("commit-tree", f"{ours}^{{tree}}", "-p", ours, "-p", side, "-m", "Merge", cwd=repository)
    opened = caches.Cache(repository)
    found = [info.sha for info in commits.ancestry(opened, Sha(merge), known, 100)]
    assert found[0] == merge
    assert set(found) == {merge, ours, side}
    assert len(list(commits.ancestry(opened, Sha(merge), None, 2))) == 2
    assert commits.contains(opened, Sha(merge), known)
    assert not commits.contains(opened, Sha(side), known)
    assert not commits.contains(opened, Sha(side), Sha("1" * 40))


def test_changes_of_a_commit(cache: caches.Cache) -> None:
    """Added, changed and removed files, by path, with the blobs of both sides."""
    first = commit(cache, {"keep": "1", "change": "1", "drop/x": "1"})
    second = commit(cache, {"change": "2", "drop/x": None, "new/ü": "1"}, first)
    one, two = (commits.tree_of(cache, sha) for sha in (first, second))
    assert one != two
    found = {change.path: (change.old is not None, change.new is not None) for change in commits.changes(cache, second)}
    assert found == {"change": (True, True), "drop/x": (True, False), "new/ü": (False, True)}
    root = {change.path: (change.old, change.new is not None) for change in commits.changes(cache, first)}
    assert root == {"keep": (None, True), "change": (None, True), "drop/x": (None, True)}


def test_changes_behind_the_edge_of_a_shallow_cache_are_not_guessed(cache: caches.Cache) -> None:
    """Where the parent is not in the cache, nobody claims that the commit added everything."""
    parent = commit(cache, {"a": "1"})
    child = commit(cache, {"b": "1"}, parent)
    loosen(cache)
    (cache.path / "shallow").write_text(f"{child}\n")
    (cache.path / "objects" / parent[:2] / parent[2:]).unlink()
    cache.reload()
    assert commits.read_commit(cache, child).parents == (parent,)
    with pytest.raises(problems.CacheDamagedError):
        commits.changes(cache, child)


def test_something_else_than_a_commit_is_said_to_be_none(cache: caches.Cache) -> None:
    """A tree's id in place of a commit's is a clear error."""
    with pytest.raises(errors.PermanentError, match="no commit"):
        commits.tree_of(cache, Sha(tree(cache, {"a": "1"})))
    assert commits.read_commit(cache, commit(cache, {})).tree == EMPTY_TREE
