"""Trees: what is changed is changed, everything else keeps its bytes, and nothing leads out of the folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from app import errors
from app.git import cache as caches
from app.git import commits, problems, trees
from app.git.names import EMPTY_TREE, TreeId
from tests.git import servers
from tests.git.building import NOON, REVERSER, files, tidy, tree

NAMES = strategies.sampled_from(["a", "b", "a.yaml", "b.yaml"])
PATHS = strategies.lists(NAMES, min_size=1, max_size=3).map("/".join)


def test_put_get_remove_and_write(cache: caches.Cache) -> None:
    """An edit is seen before and after it is written, and an editor goes on after `write`."""
    editor = trees.TreeEditor(cache, None)
    blob = editor.blob(b"x")
    editor.put("v1/a/x.yaml", blob)
    found = editor.get("v1/a/x.yaml")
    assert found == trees.Entry("blob", blob, 0o100644)
    first = editor.write()
    editor.put("v1/b.yaml", blob)
    editor.remove("v1/a/x.yaml")
    assert editor.get("v1/a/x.yaml") is None
    assert editor.get("v1/a") is None
    second = editor.write()
    cache.store()
    assert files(cache, second) == {"v1/b.yaml": b"x"}
    assert files(cache, first) == {"v1/a/x.yaml": b"x"}


def test_files_are_found_to_a_depth(cache: caches.Cache) -> None:
    """Plain files alone, changes included; a folder that is not there has none, and a file is no folder."""
    root = tree(cache, {"a/b/c": "1", "a/b/d/e": "2", "a/f": "3", "g": "4"})
    editor = trees.TreeEditor(cache, root)
    assert dict(editor.files("a", depth=2)).keys() == {"a/b/c", "a/f"}
    editor.put("a/b/new", editor.blob(b"5"))
    editor.remove("a/f")
    assert dict(editor.files("a", depth=3)).keys() == {"a/b/c", "a/b/d/e", "a/b/new"}
    assert editor.get("a/b/c") == trees.Entry("blob", dict(editor.files("a/b", depth=1))["a/b/c"], 0o100644)
    assert list(editor.files("nowhere/x", depth=9)) == []
    with pytest.raises(problems.ForeignContentError):
        list(editor.files("g/h", depth=9))


def test_the_last_file_takes_its_folders_along(cache: caches.Cache) -> None:
    """Git has no empty folders: removing the last file leaves the empty tree."""
    root = tree(cache, {"a/b/c/d.yaml": "1"})
    assert tree(cache, {"a/b/c/d.yaml": None}, root) == EMPTY_TREE


def test_removing_what_is_not_there_changes_nothing(cache: caches.Cache) -> None:
    """A second removal is no error and makes no other tree."""
    root = tree(cache, {"a/b": "1"})
    assert tree(cache, {"a/c": None, "x/y/z": None}, root) == root


def test_an_unchanged_file_makes_the_same_tree(cache: caches.Cache) -> None:
    """Writing what is already there is no change (promise P7)."""
    root = tree(cache, {"a/b": "1", "a/c": "2"})
    assert tree(cache, {"a/b": "1"}, root) == root


@hypothesis.given(edits=strategies.lists(strategies.tuples(PATHS, strategies.none() | strategies.text(max_size=3))))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_edits_end_as_a_dictionary_would(cache: caches.Cache, edits: list[tuple[str, str | None]]) -> None:
    """Whatever the order of puts, removals and writes, the tree holds what was put last, and Git's own tree of it."""
    tidy(cache)
    editor, expected = trees.TreeEditor(cache, None), dict[str, bytes]()
    for number, (path, text) in enumerate(edits):
        try:
            if text is None:
                editor.remove(path)
                expected.pop(path, None)
            else:
                editor.put(path, editor.blob(text.encode()))
                expected[path] = text.encode()
        except problems.ForeignContentError:
            above = {known for known in expected if path.startswith(f"{known}/")}
            below = {known for known in expected if known.startswith(f"{path}/")}
            assert above | below
        if number % 3 == 0:
            editor.write()
    root = editor.write()
    cache.store()
    assert files(cache, root) == expected
    assert tree(cache, {path: data.decode() for path, data in expected.items()}) == root


@pytest.mark.parametrize("mode", ["120000", "160000"])
@pytest.mark.parametrize("path", ["base", "base/v1", "base/v1/a.yaml"])
def test_a_link_or_submodule_is_never_followed_or_replaced(tmp_path: Path, mode: str, path: str) -> None:
    """A link or submodule at our path or above it refuses that path, by name, and stays as it is."""
    repository = servers.create_repository(tmp_path / "r.git")
    target = servers.git("hash-object", "-w", "--stdin", cwd=repository, text="../../etc")
    oid = target if mode == "120000" else "1" * 40
    tip = servers.commit_entry(repository, path, oid, mode=mode)
    opened = caches.Cache(repository)
    editor = trees.TreeEditor(opened, TreeId(servers.git("rev-parse", f"{tip}^{{tree}}", cwd=repository)))
    before = editor.write()
    for edit in (lambda: editor.put("base/v1/a.yaml", editor.blob(b"x")), lambda: editor.remove("base/v1/a.yaml")):
        with pytest.raises(
            problems.ForeignContentError, match=r"base/v1/a\.yaml: a (symbolic link|submodule)"
        ) as caught:
            edit()
        assert caught.value.reason == "ForeignContent"
    assert editor.write() == before


def test_a_file_where_a_folder_belongs_and_the_reverse_are_refused(cache: caches.Cache) -> None:
    """Somebody's file in place of our folder, or folder in place of our file, is foreign content."""
    editor = trees.TreeEditor(cache, tree(cache, {"base": "a file", "x/a.yaml/README": "a folder"}))
    blob = editor.blob(b"x")
    with pytest.raises(problems.ForeignContentError, match="a file stands where its folder 'base' belongs"):
        editor.put("base/a.yaml", blob)
    with pytest.raises(problems.ForeignContentError, match="a folder stands where a file of ours belongs"):
        editor.put("x/a.yaml", blob)
    with pytest.raises(problems.ForeignContentError):
        editor.remove("x/a.yaml")


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", ".", "a/../b", "./a", "a\0b", ".git/hooks/x", "a/.GIT", "git~1/x"]
)
def test_a_path_that_leads_elsewhere_is_refused(cache: caches.Cache, path: str) -> None:
    """No path can name Git's own folder or leave the tree (promise P13)."""
    with pytest.raises(errors.PermanentError) as caught:
        tree(cache, {path: "x"})
    assert caught.value.reason == "PathRefused"


def test_odd_content_of_others_keeps_its_bytes(tmp_path: Path) -> None:
    """Filters, LFS pointers, modules and executables beside our files are neither read nor changed."""
    repository = servers.create_repository(tmp_path / "r.git")
    servers.commit_file(repository, ".gitattributes", "* filter=lfs eol=crlf\n")
    servers.commit_file(repository, ".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = ext::sh\n')
    tip = servers.commit_file(repository, "run.sh", "#!/bin/sh\n", mode="100755")
    opened = caches.Cache(repository)
    root = TreeId(servers.git("rev-parse", f"{tip}^{{tree}}", cwd=repository))
    after = tree(opened, {"base/a.yaml": "a: 1\n"}, root)
    listed = servers.git("diff-tree", "-r", "--name-status", root, after, cwd=repository)
    assert listed == "A\tbase/a.yaml"
    assert servers.git("show", f"{after}:base/a.yaml", cwd=repository) == "a: 1"


def test_reading_is_bounded(cache: caches.Cache) -> None:
    """A file of somebody's that is too large is not loaded."""
    editor = trees.TreeEditor(cache, None)
    blob = editor.blob(b"x" * 100)
    assert editor.read(blob, 100) == b"x" * 100
    with pytest.raises(errors.PermanentError, match="over the limit"):
        editor.read(blob, 99)


def test_one_change_beside_many_files_writes_only_its_own_line(cache: caches.Cache) -> None:
    """The cost follows the change: one file beside 2,000 in 40 folders writes its blob and the three trees above it."""
    root = tree(cache, {f"v1/ns{n % 40}/{n}.yaml": str(n) for n in range(2_000)})
    before = set(cache.repository)
    changed = tree(cache, {"v1/ns7/7.yaml": "other"}, root)
    assert changed != root
    cache.reload()
    assert len(set(cache.repository) - before) == 4


def test_what_was_only_looked_at_is_not_written(cache: caches.Cache) -> None:
    """A file that is there, one that is not and a folder are found without a new object."""
    root = tree(cache, {"a/b/c": "1", "a/d": "2"})
    before = set(cache.repository)
    editor = trees.TreeEditor(cache, root)
    assert [editor.get(path) is not None for path in ("a/b/c", "a/b", "a/x", "x/y")] == [True, True, False, False]
    assert editor.write() == root
    cache.store()
    cache.reload()
    assert set(cache.repository) == before


@pytest.mark.parametrize("name", ["a", "a.b", "a0", "a-", "ü"])
def test_folders_and_files_stand_in_the_order_of_git(cache: caches.Cache, name: str) -> None:
    """A folder is ordered as if its name ended with a slash: Git finds no fault with any neighbours."""
    root = tree(cache, {"a/x": "1", "a.b/x": "1", "a0": "1", "b": "1"})
    both = tree(cache, {f"z/{name}/x": "1", "z/a.c": "1", "z/a1": "1", "c": "1"}, root)
    sha = commits.write_commit(
        cache, tree=both, parent=None, author=REVERSER, committer=REVERSER, message="m", time=NOON
    )
    cache.store()
    assert servers.git("fsck", "--strict", "--no-dangling", sha, cwd=cache.path) == ""


def test_a_tree_of_somebody_that_is_none_is_an_error(tmp_path: Path) -> None:
    """Bytes that are no tree, under a tree's name, are not taken for an empty folder."""
    repository = servers.create_repository(tmp_path / "r.git")
    command = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    made = subprocess.run(command, cwd=repository, check=True, input=b"100644 a\0short", capture_output=True)
    with pytest.raises(problems.CacheDamagedError, match="corrupt tree"):
        trees.TreeEditor(caches.Cache(repository), TreeId(made.stdout.decode().strip()))


def test_a_tree_of_somebody_in_disorder_is_put_in_order(tmp_path: Path) -> None:
    """What we change in a folder that no Git wrote is a tree that every host takes."""
    repository = servers.create_repository(tmp_path / "r.git")
    blob = bytes.fromhex(servers.git("hash-object", "-w", "--stdin", cwd=repository, text="x"))
    lines = b"".join(b"100644 %b\0%b" % (name, blob) for name in (b"b", b"a.b", b"a"))
    command = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    made = subprocess.run(command, cwd=repository, check=True, input=lines, capture_output=True)
    after = tree(caches.Cache(repository), {"c": "1"}, TreeId(made.stdout.decode().strip()))
    assert servers.git("ls-tree", "--name-only", after, cwd=repository).split() == ["a", "a.b", "b", "c"]
