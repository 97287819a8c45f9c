"""The pages keep up with the product: fields of our kinds, reasons of conditions, properties, links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from tests import properties

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CRDS = sorted((ROOT / "deploy" / "crds").glob("*.yaml"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

# Which code sets the reasons of which kind's conditions: a file, or `file:function`.
REASONS_OF: dict[str, tuple[str, ...]] = {
    "gitrepoconfig": ("app/rules/urls.py", "app/rules/kinds.py", "app/watch/judging.py:_ready"),
    "gitdestination": (
        "app/errors.py",
        "app/db.py",
        "app/drain",
        "app/git",
        "app/kube/problems.py",
        "app/kube/secrets.py",
        "app/rules/branches.py",
        "app/rules/kinds.py",
        "app/rules/paths.py",
        "app/rules/rendering.py",
        "app/rules/urls.py",
        "app/rules/compiling.py:_place",
        "app/rules/compiling.py:reachable",
        "app/rules/compiling.py:_conflict",
        "app/rules/compiling.py:_denied",
        "app/watch/judging.py:destination",
        "app/watch/judging.py:_destination_conditions",
    ),
    "watchrule": (
        "app/rules/kinds.py",
        "app/rules/matching.py",
        "app/rules/compiling.py:_place_of_rule",
        "app/rules/compiling.py:_judge_rule",
        "app/rules/compiling.py:_denied",
        "app/watch/judging.py:rule",
    ),
}
REASONS_OF["clusterwatchrule"] = REASONS_OF["watchrule"]

# Words of the same shape in that code that never stand in a condition, with the reason.
NO_REASONS = {
    "AllNamespaces": "an access mode",
    "SameNamespace": "an access mode",
    "Cluster": "a scope",
    "Namespaced": "a scope",
    "GitDestination": "a kind",
    "GitRepoConfig": "a kind",
    "Secret": "a kind",
    "BlobId": "a type's name",
    "RepoPath": "a type's name",
    "Sha": "a type's name",
    "TreeId": "a type's name",
    "True": "a condition's status",
    "False": "a condition's status",
    "Unknown": "a condition's status",
    "Error": "the root of our errors is never raised",
    "Stalled": "each error of this class is raised with a reason of its own",
    "LeaseLost": "another holder works on: nothing is written on the destination",
    "InvalidEvent": "an Event that is not made leaves no trace at the destination",
    "InvalidMessage": "goes to the dead-letter queue",
    "PlaceTaken": "the answer to `reverser prune`",
    "RepoConfigChanged": "the answer to `reverser prune`",
    "TookTooLong": "the answer to `reverser prune`",
    "OutdatedAnswer": "a listing that is made again: the log says it",
    "InvalidSettings": "ends a process at its start",
    "DatabaseNotMigrated": "ends a process at its start",
    "DatabaseTooNew": "ends a process at its start",
    "DatabaseUnreadable": "ends a process at its start: nothing can be written on a destination",
    "Conflict": "of a status write; the destinations' Conflict has its own source",
    "Expired": "of a watch",
    "NotServed": "of a watch; a Secret that is not there is SecretNotFound",
    "NotSupported": "of a watch",
}
# The exceptions of the destination alone: a rule's NotServed is a reason, and so is a destination's Conflict.
REASONS_ANYWAY = {"watchrule": {"NotServed"}, "clusterwatchrule": {"NotServed"}, "gitdestination": {"Conflict"}}

# A row of the page of properties names a test; its parameters do not count.
_PROPERTY = re.compile(r"^\| .* \| `(tests/[^`\[]+)[^`]*` \|", re.MULTILINE)
_ASKS_HYPOTHESIS = re.compile(rf"(hypothesis\.)?given\(|pytest\.mark\.{properties.MARKER}$")
_REASON = re.compile(r"([A-Z][a-z]+)+")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The paths of all fields of a schema, such as `rules[].resources`; parents whose children are named too."""
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        items = child.get("items", {})
        yield here
        yield from fields(child, here)
        yield from fields(items, f"{here}[]")


def schema_of(path: Path) -> Mapping[str, Any]:
    """The schema of the one version of a CRD."""
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    properties: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]
    return properties


def page_of(kind: str) -> str:
    """The text of a kind's page."""
    return (DOCS / "reference" / f"{kind}.md").read_text()


def words_in(source: str) -> set[str]:
    """The constants of a file, a folder, or a function `file:name` that look like the reason of a condition."""
    name, _, function = source.partition(":")
    place = ROOT / name
    trees: list[ast.AST] = [
        ast.parse(path.read_text()) for path in ([place] if place.is_file() else sorted(place.glob("*.py")))
    ]
    if function:
        trees = [
            node
            for tree in trees
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == function
        ]
    assert trees, f"{source} is gone: correct REASONS_OF"
    found = {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {word for word in found if _REASON.fullmatch(word)}


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as Git hosts make them."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(path.read_text())}


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_every_field_of_our_kinds_is_explained(path: Path) -> None:
    """A field that people can set, or read in a status, stands on the page of its kind."""
    page = page_of(path.stem.removesuffix("s"))
    written = set(re.findall(r"`([^`\n]+)`", page))
    schema = schema_of(path)
    assert not {
        field
        for field in fields(schema["spec"])
        # A parent is explained by its children.
        if field not in written and not any(other.startswith((f"{field}.", f"{field}[]")) for other in written)
    }
    # A field of an item of a list stands in the row of the list.
    assert not {field.rpartition("[].")[2] for field in fields(schema["status"])} - written


@pytest.mark.parametrize("kind", sorted(REASONS_OF))
def test_every_reason_is_explained(kind: str) -> None:
    """What stands as reason in a condition is found on the page of its kind, with what to do."""
    words = {word for source in REASONS_OF[kind] for word in words_in(source)}
    wanted = (words - NO_REASONS.keys()) | (words & REASONS_ANYWAY.get(kind, set()))
    written = set(re.findall(r"`(\w+)`", page_of(kind)))
    assert not wanted - written


def test_no_exception_is_left_over() -> None:
    """A word that is gone from the code goes from the list of exceptions too."""
    used = {word for sources in REASONS_OF.values() for source in sources for word in words_in(source)}
    assert used >= NO_REASONS.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading that is in it."""
    broken = []
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / unquote(file)).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_linked() -> None:
    """No page is lost: each one is reached by a link from another."""
    linked = {
        (page.parent / unquote(link.partition("#")[0])).resolve()
        for page in PAGES
        for link in _LINK.findall(page.read_text())
        if "://" not in link and not link.startswith("#")
    }
    lost = [page for page in PAGES if page.is_relative_to(DOCS) and page not in linked]
    assert not lost


def properties_in(path: Path) -> Iterator[str]:
    """The tests of a file that ask Hypothesis, as the page of properties names them (`tests/properties.py`)."""
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    for function in functions:
        if any(_ASKS_HYPOTHESIS.match(ast.unparse(decorator)) for decorator in function.decorator_list):
            yield f"{path.relative_to(ROOT)}::{function.name}"


def test_the_page_of_properties_has_every_property() -> None:
    """A property that was added, renamed or removed asks for `make test-long`, which writes the page."""
    there = {name for path in sorted((ROOT / "tests").rglob("test_*.py")) for name in properties_in(path)}
    assert set(_PROPERTY.findall((DOCS / "reference" / "properties.md").read_text())) == there
