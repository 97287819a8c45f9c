"""Paths: one object, one file, inside of the folder, on every file system."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app import errors
from app.events import Identifier
from app.rules import paths

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
    st.text(alphabet=".~%/aA1con\\:\u200b\u0301é", min_size=1, max_size=12),
    st.text(alphabet="xX", min_size=150, max_size=260),
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


@given(identifiers)
@example(_identifier("x" * 253))
@example(_identifier("é" * 253))
@example(_identifier("a" * 196))
@example(_identifier("\ud800"))
@example(_identifier(".git"))
def test_every_path_is_safe_and_reads_back(identifier: Identifier) -> None:
    """Whatever an object is called, its path is portable ASCII under the folder, and stands for it alone."""
    path = paths.object_path(FOLDER, identifier)
    for segment in path.removeprefix(FOLDER + "/").split("/"):
        assert re.fullmatch(r"[a-z0-9_%~-][a-zA-F0-9._%~-]*", segment)
        assert len(segment) <= 200
        assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|git~[0-9].*|.*[. ]", segment)
    assert path.startswith(FOLDER + "/")
    assert _decode(identifier) == _location(identifier)


@given(identifiers, identifiers)
@example(_identifier("Web"), _identifier("web"))
@example(_identifier("\u00e9"), _identifier("e\u0301"))
@example(_identifier("x" * 253), _identifier("x" * 252 + "y"))
@example(
    _identifier("a", group="", version="v1", resource="roles", namespace="shop"),
    _identifier("a", group="v1", version="roles", resource="shop", namespace=""),
)
def test_two_objects_never_share_a_file(one: Identifier, other: Identifier) -> None:
    """Two identities have two paths, even where the file system folds case."""
    same = paths.object_path(FOLDER, one).casefold() == paths.object_path(FOLDER, other).casefold()
    assert same == (_location(one) == _location(other))


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


@pytest.mark.parametrize(
    "folder",
    [
        "",
        "../other",
        "/etc",
        "a/../../b",
        "..",
        ".",
        "./a",
        "a//b",
        "a/",
        ".git/hooks",
        "x/.GIT",
        ".git",
        "git~1",
        ".gitmodules",
        "x/.gitattributes",
        "a\0b",
        "a\nb",
        "a\n",
        "a\\b",
        "a ",
        " a",
        "a.",
        "a./b",
        "...",
        "é",
        "a:b",
        "a" * 201,
    ],
)
def test_a_folder_outside_or_of_git_is_refused(folder: str) -> None:
    """Refused: whatever is not plainly a folder inside of the repository."""
    with pytest.raises(errors.PermanentError, match="baseFolder") as caught:
        paths.check_base_folder(folder)
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
