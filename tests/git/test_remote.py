"""Heads, fetch and push against every kind of host: a moved, reset, deleted or refused branch is never overwritten."""

from __future__ import annotations

import pytest

from app import errors
from app.git import cache as caches
from app.git import commits, problems, remote
from app.git.names import Sha
from tests.git import servers
from tests.git.building import commit
from tests.git.conftest import Hosted


def test_an_empty_repository_has_no_heads_and_no_tip(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """An empty repository is told apart from a missing branch: no branches, no default, no tip."""
    assert helpers.heads(hosted.remote()) == remote.Heads(None, {})
    fetched = helpers.fetch(hosted.remote(), cache, branch="main", until=None)
    assert fetched == remote.Fetched(tip=None, contains_until=False, default_tip=None)


def test_the_first_push_makes_the_branch_and_git_finds_no_fault(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """A root commit lands in an empty repository, is read back, and passes `git fsck --strict`."""
    first = commit(cache, {"base/v1/a.yaml": "a: 1\n", "base/v1/b/c.yaml": "c: 1\n"})
    assert helpers.push(hosted.remote(), cache, branch="main", commit=first, parent=None).tip == first
    second = commit(cache, {"base/v1/a.yaml": "a: 2\n", "base/v1/b/c.yaml": None}, first)
    assert helpers.push(hosted.remote(), cache, branch="main", commit=second, parent=first).tip == second
    assert helpers.heads(hosted.remote()) == remote.Heads("main", {"main": second})
    assert servers.git("fsck", "--strict", "--no-dangling", cwd=hosted.path) == ""
    assert servers.git("ls-tree", "-r", "--name-only", "main", cwd=hosted.path) == "base/v1/a.yaml"


def test_many_objects_travel_in_one_push(hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache) -> None:
    """A seed of 500 files and a chain of 20 commits arrive whole."""
    parent = seed = commit(cache, {f"v1/configmaps/ns{n % 7}/{n}.yaml": f"n: {n}\n" for n in range(500)})
    for number in range(20):
        parent = commit(cache, {"v1/configmaps/ns1/1.yaml": f"n: {number}-\n"}, parent)
    assert helpers.push(hosted.remote(), cache, branch="main", commit=parent, parent=None).tip == parent
    assert servers.git("rev-list", "--count", "main", cwd=hosted.path) == "21"
    assert len(servers.git("ls-tree", "-r", seed, cwd=hosted.path).splitlines()) == 500
    assert servers.git("fsck", "--strict", "--no-dangling", cwd=hosted.path) == ""


def test_a_missing_branch_brings_the_default_branch(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """Where the branch is missing, the default branch's tip is fetched, so that a new branch can start from it."""
    base = servers.commit_file(hosted.path, "README.md", "hello\n")
    fetched = helpers.fetch(hosted.remote(), cache, branch="prod/eu", until=None)
    assert fetched == remote.Fetched(tip=None, contains_until=False, default_tip=Sha(base))
    new = commit(cache, {"live/a.yaml": "a: 1\n"}, Sha(base))
    assert helpers.push(hosted.remote(), cache, branch="prod/eu", commit=new, parent=None).tip == new
    assert servers.git("show", "prod/eu:README.md", cwd=hosted.path) == "hello"


def test_a_fetch_reaches_back_to_the_recorded_commit(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """However far others moved the branch, the fetch deepens until the recorded commit is found."""
    recorded = Sha(servers.commit_file(hosted.path, "file", "0"))
    assert helpers.fetch(hosted.remote(), cache, branch="main", until=None).tip == recorded
    theirs = [servers.commit_file(hosted.path, "file", str(number)) for number in range(1, 40)]
    fetched = helpers.fetch(hosted.remote(), cache, branch="main", until=recorded)
    assert fetched == remote.Fetched(tip=Sha(theirs[-1]), contains_until=True, default_tip=None)
    found = [info.sha for info in commits.ancestry(cache, Sha(theirs[-1]), recorded, 1_000)]
    assert found == theirs[::-1]
    assert [change.path for change in commits.changes(cache, found[-1])] == ["file"]


def test_a_fetch_into_a_new_cache_finds_the_recorded_commit(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """A cache that was lost does not hide that the branch contains what was recorded."""
    history = [Sha(servers.commit_file(hosted.path, "file", str(number))) for number in range(30)]
    assert helpers.fetch(hosted.remote(), cache, branch="main", until=history[3]).contains_until
    assert commits.contains(cache, history[-1], history[3])


def test_a_fetch_of_the_whole_branch_brings_all_history(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """A branch that started empty is looked at from its root, also by a new cache."""
    history = [Sha(servers.commit_file(hosted.path, "file", str(number))) for number in range(30)]
    helpers.fetch(hosted.remote(), cache, branch="main", until=None, whole=True)
    assert [info.sha for info in commits.ancestry(cache, history[-1], None, 1_000)] == history[::-1]


def test_a_rewritten_branch_does_not_contain_the_recorded_commit(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """After a force push, the fetch says that the recorded commit is not contained."""
    servers.commit_file(hosted.path, "file", "0")
    recorded = Sha(servers.commit_file(hosted.path, "file", "1"))
    helpers.fetch(hosted.remote(), cache, branch="main", until=None)
    servers.git("update-ref", "refs/heads/main", f"{recorded}^", cwd=hosted.path)
    tip = servers.commit_file(hosted.path, "file", "other")
    fetched = helpers.fetch(hosted.remote(), cache, branch="main", until=recorded)
    assert fetched == remote.Fetched(tip=Sha(tip), contains_until=False, default_tip=None)


def test_a_cache_keeps_no_refs(hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache) -> None:
    """Neither branches nor tags of the remote become refs of the cache."""
    tip = Sha(servers.commit_file(hosted.path, "file", "0"))
    servers.git("tag", "v1", cwd=hosted.path)
    helpers.fetch(hosted.remote(), cache, branch="main", until=tip)
    assert list(cache.repository.references) == []


def test_a_branch_that_moved_is_not_pushed_over(hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache) -> None:
    """A push from a parent that is no longer the tip is refused and the other's commit stays."""
    ours = commit(cache, {"a": "1"})
    helpers.push(hosted.remote(), cache, branch="main", commit=ours, parent=None)
    theirs = servers.commit_file(hosted.path, "b", "2")
    with pytest.raises(errors.RemoteMovedError, match=f"main is at {theirs[:12]}"):
        helpers.push(hosted.remote(), cache, branch="main", commit=commit(cache, {"a": "2"}, ours), parent=ours)
    assert servers.tip(hosted.path) == theirs


def test_a_branch_that_was_reset_is_not_restored(hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache) -> None:
    """Commits that somebody took off the branch do not come back with our next push."""
    first = commit(cache, {"a": "1"})
    second = commit(cache, {"a": "2"}, first)
    helpers.push(hosted.remote(), cache, branch="main", commit=second, parent=None)
    servers.git("update-ref", "refs/heads/main", first, cwd=hosted.path)
    with pytest.raises(errors.RemoteMovedError):
        helpers.push(hosted.remote(), cache, branch="main", commit=commit(cache, {"a": "3"}, second), parent=second)
    assert servers.tip(hosted.path) == first


def test_a_branch_that_was_deleted_is_not_created_again(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """A push that built on a branch's tip does not create the branch when it is gone."""
    first = commit(cache, {"a": "1"})
    helpers.push(hosted.remote(), cache, branch="main", commit=first, parent=None)
    servers.git("update-ref", "-d", "refs/heads/main", cwd=hosted.path)
    with pytest.raises(errors.RemoteMovedError, match="main is gone"):
        helpers.push(hosted.remote(), cache, branch="main", commit=commit(cache, {"a": "2"}, first), parent=first)
    assert servers.tip(hosted.path) is None


def test_a_branch_that_appeared_is_not_pushed_over(
    hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """A push that expects no branch is refused when somebody made one, even where ours contains it."""
    base = Sha(servers.commit_file(hosted.path, "a", "1"))
    helpers.fetch(hosted.remote(), cache, branch="main", until=None)
    with pytest.raises(errors.RemoteMovedError, match="expected not to exist"):
        helpers.push(hosted.remote(), cache, branch="main", commit=commit(cache, {"b": "1"}, base), parent=None)
    assert servers.tip(hosted.path) == base


def test_a_missing_repository_is_named(hosted: Hosted, helpers: remote.Helpers) -> None:
    """A repository that is not there needs a person."""
    gone = Hosted(hosted.host, "absent", hosted.path).remote()
    with pytest.raises(errors.StalledError) as caught:
        helpers.heads(gone)
    assert caught.value.reason == "RepositoryNotFound"


def test_a_bad_branch_name_is_refused(hosted: Hosted, helpers: remote.Helpers, cache: caches.Cache) -> None:
    """What is no name of a branch never becomes part of a refspec."""
    for branch in ("a:refs/heads/b", "a..b", "", "*", "a\nb"):
        with pytest.raises(errors.PermanentError) as caught:
            helpers.fetch(hosted.remote(), cache, branch=branch, until=None)
        assert caught.value.reason == "InvalidBranch"


@pytest.mark.parametrize("hook", ["pre-receive", "update"])
def test_a_refusing_hook_is_quoted(
    behind_server: Hosted, helpers: remote.Helpers, cache: caches.Cache, hook: str
) -> None:
    """A ref that a hook refuses is an error with the hook's words, bounded, whatever bytes it writes."""
    words = 'printf "\\377 no secrets here \\303\\n" >&2; echo "see https://user:hook-canary@host/" >&2'
    servers.add_hook(behind_server.path, hook, f"{words}; head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1")
    with pytest.raises(problems.PushRefusedError, match="no secrets here") as caught:
        helpers.push(behind_server.remote(), cache, branch="main", commit=commit(cache, {"a": "1"}), parent=None)
    assert caught.value.reason == "PushRefused"
    assert len(caught.value.message) < 1_200
    assert "hook-canary" not in caught.value.message
    assert servers.tip(behind_server.path) is None


def test_a_push_whose_answer_is_lost_has_an_unknown_outcome(
    behind_server: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """When the host goes silent after it took the pack, nobody claims to know; the next fetch finds the commit."""
    servers.add_hook(behind_server.path, "post-receive", "exec sleep 5 >/dev/null 2>&1")
    first = commit(cache, {"a": "1"})
    with pytest.raises(errors.UnknownOutcomeError):
        helpers.push(behind_server.remote(timeout=2.0), cache, branch="main", commit=first, parent=None)
    fetched = helpers.fetch(behind_server.remote(), cache, branch="main", until=first)
    assert fetched.tip == first
    assert fetched.contains_until


def test_a_tip_that_contains_our_commit_is_accepted(
    behind_server: Hosted, helpers: remote.Helpers, cache: caches.Cache
) -> None:
    """Somebody who commits right on top of our push does not make it fail."""
    script = 'new=$(git commit-tree "main^{tree}" -p main -m "On top"); git update-ref refs/heads/main "$new"'
    identity = "export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x"
    servers.add_hook(behind_server.path, "post-receive", f"{identity}\n{script}")
    first = commit(cache, {"a": "1"})
    tip = helpers.push(behind_server.remote(), cache, branch="main", commit=first, parent=None).tip
    assert tip == servers.tip(behind_server.path) != first
    assert commits.read_commit(cache, tip).parents == (first,)
