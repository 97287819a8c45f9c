"""Paths: one object, one file, inside of the folder, on every file system."""

from __future__ import annotations

import functools
import posixpath
import re
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app import errors
from app.events import Identifier
from app.rules import paths
from tests.readers import asking

FOLDER = "clusters/prod"


def _identifier(
    name: str, *, group: str = "apps", version: str = "v1", resource: str = "deployments", namespace: str = "shop"
) -> Identifier:
    return Identifier(group, version, resource, namespace, name, kind="Any", uid="u")


def _decode(identifier: Identifier) -> paths.Location | None:
    return paths.decode(FOLDER, paths.object_path(FOLDER, identifier), name=identifier.name)


def _location(identifier: Identifier) -> tuple[str, ...]:
    return identifier.group, identifier.version, identifier.resource, identifier.namespace, identifier.name


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        (_identifier("web"), "apps/v1/deployments/shop/web.yaml"),
        (_identifier("app-config.v2", group="", resource="configmaps"), "v1/configmaps/shop/app-config.v2.yaml"),
        (_identifier("shop", group="", resource="namespaces", namespace=""), "v1/namespaces/shop.yaml"),
        (
            _identifier("a", group="rbac.authorization.k8s.io", namespace=""),
            "rbac.authorization.k8s.io/v1/deployments/a.yaml",
        ),
        (_identifier("system:node"), "apps/v1/deployments/shop/system%3Anode.yaml"),
        (_identifier(".git"), "apps/v1/deployments/shop/%2Egit.yaml"),
        (_identifier("..x"), "apps/v1/deployments/shop/%2E.x.yaml"),
        (_identifier("Web"), "apps/v1/deployments/shop/%57eb.yaml"),
        (_identifier("con"), "apps/v1/deployments/shop/%63on.yaml"),
        (_identifier("com1.web"), "apps/v1/deployments/shop/%63om1.web.yaml"),
        (_identifier("conx"), "apps/v1/deployments/shop/conx.yaml"),
        (_identifier("a\nb"), "apps/v1/deployments/shop/a%0Ab.yaml"),
        (_identifier("a."), "apps/v1/deployments/shop/a%2E.yaml"),
        (_identifier("git~1"), "apps/v1/deployments/shop/git%7E1.yaml"),
        (_identifier("a:b"), "apps/v1/deployments/shop/a%3Ab.yaml"),
        (_identifier("a\u200bb"), "apps/v1/deployments/shop/a%E2%80%8Bb.yaml"),
        (_identifier("a\u202eb"), "apps/v1/deployments/shop/a%E2%80%AEb.yaml"),
        (_identifier("\u00e9"), "apps/v1/deployments/shop/%C3%A9.yaml"),
        (_identifier("e\u0301"), "apps/v1/deployments/shop/e%CC%81.yaml"),
        (_identifier("x" * 195), f"apps/v1/deployments/shop/{'x' * 195}.yaml"),
        (
            _identifier("x" * 253),
            f"apps/v1/deployments/shop/{'x' * 162}~1329e1bd71a6a7b275594ffb7ac73e14.yaml",
        ),
        (_identifier("a", group="", resource="events"), "v1/events/shop/a.yaml"),
        (_identifier("a", group="events.k8s.io", resource="events"), "events.k8s.io/v1/events/shop/a.yaml"),
        (_identifier("a", group="v1"), "%761/v1/deployments/shop/a.yaml"),
        (_identifier("a", group="con.example.com"), "%63on.example.com/v1/deployments/shop/a.yaml"),
    ],
)
def test_paths_are_readable_where_they_can_be(identifier: Identifier, path: str) -> None:
    """The layout of DESIGN section 7, dangerous names encoded, and all of it read back."""
    assert paths.object_path(FOLDER, identifier) == f"{FOLDER}/{path}"
    assert _decode(identifier) == _location(identifier)


names = st.one_of(
    st.text(min_size=1, max_size=80),
    st.text(alphabet=".~%/aA1con\\:\u200b\u202e\u0301éſK", min_size=1, max_size=12),
    # Around the limits of a file name, with and without escapes, and of a cut in the middle of one.
    st.builds(
        lambda head, character, count, tail: head + character * count + tail,
        st.text("aXé", max_size=3),
        st.sampled_from("xXé"),
        st.integers(20, 260),
        st.text(max_size=2),
    ),
)
groups = st.sampled_from(["", "apps", "v1", "v1beta1", "rbac.authorization.k8s.io", "shop.example.com", "nul"])
identifiers = st.builds(
    _identifier,
    names,
    group=groups,
    version=st.sampled_from(["v1", "v2beta1"]),
    resource=st.sampled_from(["configmaps", "v1", "roles"]),
    namespace=st.sampled_from(["", "shop", "v1", "roles", "aux"]),
)
folders = st.lists(st.sampled_from(["a", "Z9", "-x", ".y", "_", "a.b", "v1"]), min_size=1, max_size=3).map("/".join)


@given(identifiers, folders)
@example(_identifier("x" * 253), FOLDER)
@example(_identifier("é" * 253), FOLDER)
@example(_identifier("a" * 196), FOLDER)
@example(_identifier("\ud800"), FOLDER)
@example(_identifier(".git"), "v1/apps")
def test_every_path_is_safe_and_reads_back(identifier: Identifier, folder: str) -> None:
    """Whatever an object is called, its path is portable ASCII under any folder, and stands for it alone."""
    paths.check_base_folder(folder)
    path = paths.object_path(folder, identifier)
    for segment in path.removeprefix(folder + "/").split("/"):
        assert re.fullmatch(r"[a-z0-9_%~-][a-zA-F0-9._%~-]*", segment)
        assert len(segment) <= 200
        assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|git~[0-9].*|.*[. ]", segment)
    assert path.startswith(folder + "/")
    assert posixpath.normpath(path) == path
    assert paths.decode(folder, path, name=identifier.name) == _location(identifier)


FORMS = ("NFC", "NFD", "NFKC", "NFKD")
# How a name becomes another one that some file system takes for the same.
alike = st.sampled_from(
    [
        str.upper,
        str.lower,
        str.swapcase,
        str.casefold,
        *(functools.partial(unicodedata.normalize, form) for form in FORMS),
        lambda name: name + " ",
        lambda name: name + ".",
        lambda name: name[: len(name) // 2] + "\u200b" + name[len(name) // 2 :],
    ]
)


def _folded(path: str) -> set[str]:
    """What file systems that fold case and normalise take this path for."""
    return {unicodedata.normalize(form, path).casefold() for form in FORMS}


@given(identifiers, identifiers)
@example(_identifier("x" * 253), _identifier("x" * 252 + "y"))
@example(
    _identifier("a", group="", version="v1", resource="roles", namespace="shop"),
    _identifier("a", group="v1", version="roles", resource="shop", namespace=""),
)
@example(_identifier("a", group="apps", resource="events"), _identifier("a", group="events.k8s.io", resource="events"))
def test_two_objects_never_share_a_file(one: Identifier, other: Identifier) -> None:
    """Two identities have two paths, even where the file system folds case and normalises."""
    same = bool(_folded(paths.object_path(FOLDER, one)) & _folded(paths.object_path(FOLDER, other)))
    assert same == (_location(one) == _location(other))


@given(names, alike)
@example("Web", str.lower)
@example("é", functools.partial(unicodedata.normalize, "NFD"))
def test_twins_never_share_a_file(name: str, change: Callable[[str], str]) -> None:
    """Nor do two names that look the same, or that some file system takes for the same."""
    twin = change(name)
    same = _folded(paths.object_path(FOLDER, _identifier(name))) & _folded(paths.object_path(FOLDER, _identifier(twin)))
    assert bool(same) == (name == twin)


@pytest.mark.hypothesis
def test_git_takes_every_path(tmp_path: Path) -> None:
    """Trees of any objects are sound to `git fsck --strict`, and a checkout has a file for each of them."""
    repository = pygit2.init_repository(tmp_path)
    blob = repository.create_blob(b"{}\n")
    wanted = {paths.object_path(folder, one) for one, folder in asking.examples(st.tuples(identifiers, trees))}
    index = pygit2.Index()
    for path in wanted:
        index.add(pygit2.IndexEntry(path, blob, pygit2.enums.FileMode.BLOB))
    tree = index.write_tree(repository)
    # As strict as git is on Windows and on macOS.
    strict = ("-c", "core.protectNTFS=true", "-c", "core.protectHFS=true")
    for command in (("fsck", "--strict", "--no-dangling"), ("read-tree", "--reset", "-u", str(tree))):
        done = subprocess.run(["git", *strict, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        complaints = [line for line in done.stderr.splitlines() if not line.startswith("notice:")]
        assert (done.returncode, complaints) == (0, [])
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.yaml")}
    assert there == wanted


# One folder is never inside the other: such a pair is refused.
trees = st.sampled_from(["clusters/prod", "clusters/test", "v1", "-x/.y"])


@pytest.mark.parametrize(
    "path",
    [
        "other/apps/v1/deployments/shop/web.yaml",
        "clusters/prod",
        "clusters/prod/README.md",
        "clusters/prod/kustomization.yaml",
        "clusters/prod/v1/configmaps.yaml",
        "clusters/prod/apps/v1/deployments/shop/extra/web.yaml",
        "clusters/prod/apps/v1/deployments/shop/Web.yaml",
        "clusters/prod/apps/v1/deployments/shop/%77eb.yaml",
        "clusters/prod/apps/v1/deployments/shop/%3aweb.yaml",
        "clusters/prod/apps/v1/deployments/shop/.yaml",
        "clusters/prod/apps/v1/deployments//web.yaml",
        "clusters/prod/apps/v1/deployments/shop/wéb.yaml",
        "clusters/prod/apps/v1/deployments/shop/%FF.yaml",
        "clusters/prod/apps/v1/deployments/shop/web.yml",
    ],
)
def test_what_is_not_canonical_stands_for_nothing(path: str) -> None:
    """A file that we would not have written there is not ours."""
    assert paths.decode(FOLDER, path) is None


def test_a_cut_name_needs_the_name_in_the_file() -> None:
    """The digest proves a name; alone it says nothing, and a wrong name is refused."""
    path = paths.object_path(FOLDER, _identifier("x" * 253))
    assert paths.decode(FOLDER, path) is None
    assert paths.decode(FOLDER, path, name="y" * 253) is None
    assert paths.decode(FOLDER, path, name="x" * 253) == _location(_identifier("x" * 253))
    assert paths.may_be_canonical(FOLDER, path)


@pytest.mark.parametrize(
    ("path", "may_be"),
    [
        (f"{FOLDER}/v1/configmaps/shop/a.yaml", True),
        (f"{FOLDER}/v1/configmaps/shop/a.txt", False),
        (f"{FOLDER}/v1/configmaps/shop/A.yaml", False),
        ("elsewhere/v1/configmaps/shop/a.yaml", False),
    ],
)
def test_what_may_be_a_file_of_ours_shows_in_its_path(path: str, *, may_be: bool) -> None:
    """Without a look into it."""
    assert paths.may_be_canonical(FOLDER, path) is may_be


@pytest.mark.parametrize(
    "identifier",
    [
        _identifier(""),
        _identifier("a", version=""),
        _identifier("a", resource=""),
        _identifier("a", group="", version="x"),
    ],
)
def test_an_incomplete_identity_has_no_path(identifier: Identifier) -> None:
    """Nothing is written for an object that is not fully named."""
    with pytest.raises(errors.PermanentError) as caught:
        paths.object_path(FOLDER, identifier)
    assert caught.value.reason == "InvalidName"


EMPTY = "baseFolder is empty: name a folder, for example clusters/prod"
PLAIN = (
    "baseFolder must be relative and made of letters, digits and . _ - between single slashes, "
    "for example clusters/prod"
)
DOTS = "baseFolder holds . or ..: write the plain path inside the repository"
LAST_DOT = "baseFolder holds a segment that ends in a dot: rename it"
LONG = "baseFolder is longer than 200 bytes: choose a shorter one"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("", EMPTY),
        ("../other", DOTS),
        ("/etc", PLAIN),
        ("a/../../b", DOTS),
        ("..", DOTS),
        (".", DOTS),
        ("./a", DOTS),
        ("a//b", PLAIN),
        ("a/", PLAIN),
        (".git/hooks", "baseFolder holds .git, which belongs to Git: choose another name"),
        ("x/.GIT", "baseFolder holds .GIT, which belongs to Git: choose another name"),
        (".gitmodules", "baseFolder holds .gitmodules, which belongs to Git: choose another name"),
        ("x/.gitattributes", "baseFolder holds .gitattributes, which belongs to Git: choose another name"),
        ("git~1", PLAIN),
        ("a\0b", PLAIN),
        ("a\nb", PLAIN),
        ("a\n", PLAIN),
        ("a\\b", PLAIN),
        ("a ", PLAIN),
        (" a", PLAIN),
        ("a.", LAST_DOT),
        ("a./b", LAST_DOT),
        ("...", LAST_DOT),
        ("é", PLAIN),
        (".g\u200cit", PLAIN),
        ("a\u202eb", PLAIN),
        ("a:b", PLAIN),
        ("a" * 201, LONG),
        ("a/" * 100 + "b", LONG),
    ],
)
def test_a_folder_outside_or_of_git_is_refused(folder: str, message: str) -> None:
    """Refused: whatever is not plainly a folder inside of the repository. The message says what to write."""
    with pytest.raises(errors.PermanentError) as caught:
        paths.check_base_folder(folder)
    assert str(caught.value) == message
    assert caught.value.reason == "InvalidFolder"


@pytest.mark.parametrize("folder", ["a", "clusters/prod", "A.b_c-d/1", ".github", "a" * 200, "-x"])
def test_a_plain_folder_is_taken(folder: str) -> None:
    """The pattern that existing manifests rely on."""
    paths.check_base_folder(folder)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a/b/c", "a", True),
        ("A/b", "a/B/c", True),
        ("a", "ab", False),
        ("a/b", "a/c", False),
        ("x/a", "a", False),
    ],
)
def test_folders_overlap_by_whole_segments(one: str, other: str, *, overlap: bool) -> None:
    """A folder overlaps itself, what is above it and what is inside of it, and nothing else."""
    assert paths.folders_overlap(one, other) is overlap
    assert paths.folders_overlap(other, one) is overlap
