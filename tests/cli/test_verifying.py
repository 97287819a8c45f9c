"""`reverser verify`: what is said of a path, and that what moves while it is read is no difference.

That it reads cluster, Git and record shows in `tests/system/test_seeding.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from app import errors
from app.cli import verifying
from app.drain import sweeping
from app.events import Identifier
from app.models import destinations, inventory, seeds
from app.rules import pruning
from tests.models.records import Records
from tests.watch.desk import CONFIG_MAPS

PATH = "clusters/prod/v1/configmaps/shop/a.yaml"
RULES = {
    "WatchRule shop/r": {
        "scopes": [{"group": "", "resource": "configmaps", "namespace": "shop", "operations": ["CREATE", "DELETE"]}]
    }
}
KEEPS = {
    "WatchRule shop/r": {
        "scopes": [{"group": "", "resource": "configmaps", "namespace": "shop", "operations": ["CREATE"]}]
    }
}
MARKS = {seeds.ScopeKey("", "configmaps", "shop"): "m"}


@pytest.fixture
def prod(sqlite_url: str) -> Iterator[destinations.Destination]:
    """A destination."""
    with closing(Records(sqlite_url)) as records:
        yield records.destination()


def written(*, blob: str = "right", on_create: bool = True, on_update: bool = True) -> verifying._Written:
    """The object as the rules have it written."""
    return verifying._Written(blob, on_create=on_create, on_update=on_update)


def item(**changes: Any) -> inventory.Item:
    """What the record says of its file."""
    what = Identifier("", "v1", "configmaps", "shop", "a", "ConfigMap", "uid-a")
    made = inventory.Item(PATH, what, "5", "hash", "right", None, removed=False, selection="m")
    return dataclasses.replace(made, **changes)


def said(
    prod: destinations.Destination,
    *,
    cluster: verifying._Written | None,
    git: str | None,
    record: inventory.Item | None,
    rules: Any = RULES,
    listed: bool | None = None,
) -> str:
    """What is said of the path; `listed` says of an object whether the rules have it written, None for no object."""
    read = verifying._Read("clusters/prod")
    if cluster is not None:
        read.written[PATH] = cluster
    if listed is not None:
        read.objects["", "configmaps", "shop", "a"] = listed
    recorded = {PATH: record} if record else {}
    return verifying._Judge(read, recorded, sweeping.Removers(rules), MARKS, prod).of(PATH, git)


def test_what_agrees_is_not_mentioned(prod: destinations.Destination) -> None:
    """The object, its file, and the record that knows it."""
    assert said(prod, cluster=written(), git="right", record=item()) == ""


@pytest.mark.parametrize(
    ("git", "record", "what"),
    [
        (None, item(), verifying.MISSING),
        (None, None, verifying.MISSING),
        ("other", item(), verifying.DIFFERS),
        ("other", None, verifying.FOREIGN),
        ("right", None, verifying.UNRECORDED),
        ("right", item(blob_id="before"), verifying.UNRECORDED),
    ],
)
def test_an_object_is_looked_for_in_git_and_in_the_record(
    prod: destinations.Destination, git: str | None, record: inventory.Item | None, what: str
) -> None:
    """A file that is missing, differs, is somebody else's, or that the record does not know."""
    assert said(prod, cluster=written(), git=git, record=record) == what


def test_what_rules_do_not_write_is_not_missed(prod: destinations.Destination) -> None:
    """Without CREATE an object has no file until it changes, without UPDATE its file stays as it was."""
    assert said(prod, cluster=written(on_create=False), git=None, record=None) == ""
    assert said(prod, cluster=written(on_create=False), git=None, record=item()) == verifying.MISSING
    assert said(prod, cluster=written(on_update=False), git="before", record=item()) == ""


@pytest.mark.parametrize(
    ("changes", "rules", "policy", "what"),
    [
        ({}, RULES, "Always", verifying.GONE),
        # A sweep that waits for a person.
        ({"orphan": inventory.HELD}, RULES, "Always", verifying.GONE),
        ({}, RULES, "OnEvent", verifying.KEPT),
        ({"orphan": inventory.KEPT}, RULES, "Never", verifying.KEPT),
        # Whatever selected it once: a sweep asks for its type.
        ({"selection": "before"}, RULES, "Always", verifying.GONE),
        ({}, {}, "Always", verifying.KEPT),
        # No rule on it removes anything.
        ({}, KEEPS, "Always", verifying.KEPT),
    ],
)
def test_a_file_without_an_object_goes_or_is_kept(
    prod: destinations.Destination, changes: dict[str, Any], rules: Any, policy: str, what: str
) -> None:
    """As the next sweep would decide."""
    pruned = dataclasses.replace(prod, pruning=pruning.Pruning(pruning.Policy(policy)))
    assert said(pruned, cluster=None, git="right", record=item(**changes), rules=rules) == what


def test_the_file_of_a_former_version_is_none_to_keep(prod: destinations.Destination) -> None:
    """Its object is there, under another path."""
    never = dataclasses.replace(prod, pruning=pruning.Pruning(pruning.Policy.NEVER))
    assert said(never, cluster=None, git="right", record=item(), listed=True) == verifying.GONE


@pytest.mark.parametrize(
    ("selection", "policy", "what"),
    [
        ("m", "Always", verifying.GONE),
        ("m", "OnEvent", verifying.GONE),
        ("m", "Never", verifying.KEPT),
        ("before", "Always", verifying.KEPT),
    ],
)
def test_a_file_of_an_object_that_is_selected_no_more(
    prod: destinations.Destination, selection: str, policy: str, what: str
) -> None:
    """The object's own change removes its file, as a deletion does; a change of rules leaves it."""
    pruned = dataclasses.replace(prod, pruning=pruning.Pruning(pruning.Policy(policy)))
    assert said(pruned, cluster=None, git="right", record=item(selection=selection), listed=False) == what


def test_a_file_that_the_record_invents_is_told(prod: destinations.Destination) -> None:
    """Neither the cluster nor Git has it."""
    assert said(prod, cluster=None, git=None, record=item()) == verifying.LOST


def look(*, seeding: bool = False, **found: tuple[str, str, bool]) -> verifying._Look:
    """What one look sees: path -> what, the blob of the object, and whether a change is on its way."""
    sightings = {
        path: verifying._Sighting(what, ("git", blob), pending=pending) for path, (what, blob, pending) in found.items()
    }
    return verifying._Look("c" * 40, 1, 1, 0, seeding, sightings)


@pytest.mark.parametrize(
    ("looks", "differences"),
    [
        # Nothing wrong: one look is enough.
        ([look(a=(verifying.KEPT, "1", False), b=(verifying.DIFFERS, "1", True))], [("a", False), ("b", True)]),
        # A seed goes on: nothing counts.
        ([look(seeding=True, a=(verifying.MISSING, "1", False))], [("a", True)]),
        # Still there, with the same content.
        ([look(a=(verifying.DIFFERS, "1", False)), look(a=(verifying.DIFFERS, "1", False))], [("a", False)]),
        # It came to Git meanwhile.
        ([look(a=(verifying.DIFFERS, "1", False)), look()], []),
        # It changed meanwhile, or is new: nobody can tell yet.
        ([look(a=(verifying.DIFFERS, "1", False)), look(a=(verifying.DIFFERS, "2", False))], [("a", True)]),
        (
            [
                look(a=(verifying.GONE, "1", False)),
                look(a=(verifying.GONE, "1", False), b=(verifying.MISSING, "3", False)),
            ],
            [("a", False), ("b", True)],
        ),
    ],
)
def test_a_difference_counts_when_it_stays(
    prod: destinations.Destination,
    monkeypatch: pytest.MonkeyPatch,
    looks: list[verifying._Look],
    differences: list[tuple[str, bool]],
) -> None:
    """Cluster, Git and record move while they are read: what differs is looked at twice."""
    waiting = list(looks)

    class Looks:
        def __init__(self, *_: object) -> None:
            pass

        def look(self) -> verifying._Look:
            return waiting.pop(0)

    monkeypatch.setattr(verifying, "_Verifier", Looks)
    monkeypatch.setattr(verifying, "_SETTLES", 0.0)
    verified = verifying.verify(None, None, None, prod)  # type: ignore[arg-type]
    assert [(one.path, one.pending) for one in verified.differences] == differences
    assert waiting == []
    assert verified.is_equal == all(one.pending or one.what == verifying.KEPT for one in verified.differences)


class Tree:
    """Files of a branch, by path."""

    def __init__(self, **texts: str) -> None:
        self._texts = texts

    def files(self, folder: str, *, depth: int) -> Iterator[tuple[str, str]]:
        assert (folder, depth) == ("clusters/prod", 5)
        yield from ((path, path) for path in self._texts)

    def read(self, blob: str, _limit: int) -> bytes:
        if self._texts[blob] == "large":
            raise errors.PermanentError("over the limit", reason="TooLarge")
        return self._texts[blob].encode()


def manifest(name: str = "a", *, kind: str = "ConfigMap", namespace: str = "shop") -> str:
    """A file of one object."""
    place = f", namespace: {namespace}" if namespace else ""
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}{place}}}\n"


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        (PATH, manifest(), True),
        # Of a type that is not served nobody can say more.
        ("clusters/prod/v1/gadgets/shop/a.yaml", manifest(kind="Gadget"), True),
        (PATH, manifest("b"), False),
        (PATH, manifest(kind="Secret"), False),
        (PATH, "large", False),
        (PATH, "notes: of a person\n", False),
        ("clusters/prod/v1/configmaps/shop/a.txt", manifest(), False),
        # ConfigMaps have a namespace, and no object is in a proxy's path.
        ("clusters/prod/v1/configmaps/a.yaml", manifest(namespace=""), False),
    ],
)
def test_a_file_without_a_record_says_whose_it_is(path: str, text: str, *, told: bool) -> None:
    """By its path and its content, and the type has such objects; all others are nobody's business."""
    served = {CONFIG_MAPS.key: CONFIG_MAPS}
    tree: Any = Tree(**{path: text})
    found = list(verifying._strays(tree, "clusters/prod", known=(), served=served))
    assert [(one.path, one.blob) for one in found] == ([(path, path)] if told else [])
    assert list(verifying._strays(tree, "clusters/prod", known=[path], served=served)) == []
