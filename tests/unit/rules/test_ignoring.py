"""What a rule may leave out: which pointers and managers are refused, and with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.rules import ignoring
from app.rules.ignoring import Ignored
from tests.unit.rules import strategies


def test_equal_wishes_are_equal_values() -> None:
    """Order and repetition make no difference: a rule that is written otherwise is no other rule."""
    one = Ignored(("/b", "/a", "/a"), ("y", "x", "y"))
    assert one == Ignored(("/a", "/b"), ("x", "y"))
    assert hash(one) == hash(Ignored(("/a", "/b"), ("x", "y")))
    assert one.fields == ("/a", "/b")
    assert one.managers == ("x", "y")


def test_several_rules_leave_out_all_of_it() -> None:
    """The union counts, and nothing adds nothing."""
    one, other = Ignored(("/b",), ("x",)), Ignored(("/a", "/b"), ("w",))
    assert one | other == other | one == Ignored(("/a", "/b"), ("w", "x"))
    assert one | ignoring.NOTHING == one
    assert not ignoring.NOTHING
    assert Ignored(("/a",))
    assert Ignored(managers=("x",))


def test_json_holds_what_is_set() -> None:
    """The rows of a rule that ignores nothing stay as they were before rules could."""
    assert ignoring.NOTHING.to_json() == {}
    assert Ignored(("/a",)).to_json() == {"ignoreFields": ["/a"]}
    assert Ignored(managers=("x",)).to_json() == {"ignoreManagers": ["x"]}
    both = Ignored(("/b", "/a"), ("x",)).to_json()
    assert both == {"ignoreFields": ["/a", "/b"], "ignoreManagers": ["x"]}


START = "write a JSON pointer that starts with /, such as /spec/replicas"
IDENTITY = "apiVersion, kind, metadata.name and metadata.namespace tell which object it is: name other fields"
ESCAPE = "in a JSON pointer ~ is written ~0, and a / inside a key ~1"
CONTROL = "it holds a control character, and nobody means one: remove it"
POSITION = "it holds the position of an item, and positions move: write * for every item"
EMPTY = "a part of it is empty: write no / at its end, and no two side by side"
DOTTED = "no field at the top of an object has a dot in its name: write it like /spec/replicas"
ITEM = "items of a list are a part of their own: write it like /spec/containers/*/image"
BELOW = "nothing is below a key of annotations or labels: where the / belongs to the key, write "
DEEP = "nothing is below a key of annotations or labels: such a key has one / at most, which is written ~1"
WHOLE = "* stands for a whole part, and no key here holds one: write each key, or * alone for all of them"
FINALIZERS = "finalizers are a list of texts: write /metadata/finalizers for all"
TWO = "* stands for one whole part: write /*/* for two"
METADATA = "metadata has no field {!r}: people write annotations, labels and finalizers there"
NO_KEY = "{!r} is no annotation or label: write it like tier or example.com~1tier"


@pytest.mark.parametrize(
    ("pointer", "advice"),
    [
        ("", START),
        ("spec/replicas", START),
        ("#/spec", START),
        ("/apiVersion", IDENTITY),
        ("/kind", IDENTITY),
        ("/metadata", IDENTITY),
        ("/metadata/name", IDENTITY),
        ("/metadata/namespace", IDENTITY),
        ("/*", IDENTITY),
        ("/metadata/*", IDENTITY),
        ("/*/name", IDENTITY),
        ("/*/*", IDENTITY),
        ("/a~", ESCAPE),
        ("/a~2b", ESCAPE),
        ("/a~/b", ESCAPE),
        ("/spec/list/0", POSITION),
        ("/spec/list/07", POSITION),
        ("/spec/containers/0/image", POSITION),
        ("/spec/list/17", POSITION),
        ("/0", POSITION),
        ("/spec/data/1", POSITION),
        ("/spec/0/metadata/labels/1", POSITION),
        ("/metadata/finalizers/0", POSITION),
        ("/spec/list/-", POSITION),
        ("/spec/list/-/a", POSITION),
        ("/metadata/finalizers/-", POSITION),
        ("/", EMPTY),
        ("/spec/", EMPTY),
        ("/spec//x", EMPTY),
        ("//spec", EMPTY),
        ("/spec.replicas", DOTTED),
        ("/.spec", DOTTED),
        ("/metadata.annotations/a", DOTTED),
        ("/kind/x", IDENTITY),
        ("/apiVersion/x", IDENTITY),
        ("/metadata/name/x", IDENTITY),
        ("/metadata/namespace/x/y", IDENTITY),
        ("/spec/containers[0]/image", ITEM),
        ("/spec/containers/[*]/image", ITEM),
        ("/spec/containers[]", ITEM),
        ("/spec/ports[12]", ITEM),
        ("/metadata/annotations/a.b/c", f"{BELOW}/metadata/annotations/a.b~1c"),
        ("/metadata/labels/a/b", f"{BELOW}/metadata/labels/a~1b"),
        ("/metadata/labels/a/b/c", DEEP),
        ("/metadata/annotations/a/b/c/d", DEEP),
        ("/spec/claimTemplates/*/metadata/labels/a/b", f"{BELOW}/spec/claimTemplates/*/metadata/labels/a~1b"),
        (
            "/spec/template/metadata/annotations/checksum/config",
            f"{BELOW}/spec/template/metadata/annotations/checksum~1config",
        ),
        ("/foo*", WHOLE),
        ("/*foo", WHOLE),
        ("/spec*/a", WHOLE),
        ("/**", TWO),
        ("/spec/**", TWO),
        ("/spec/***/image", TWO),
        ("/metadata/labels/**", TWO),
        ("/data/cache-*", WHOLE),
        ("/binaryData/*.png", WHOLE),
        ("/metadata/annot*", WHOLE),
        ("/metadata/annotations/example.com~1*", WHOLE),
        ("/metadata/labels/*b", WHOLE),
        ("/spec/template/metadata/labels/app*", WHOLE),
        ("/spec/template/metadata/annotations/*b", WHOLE),
        ("/metadata/finalizers/example.com~1a", FINALIZERS),
        ("/metadata/finalizers/*/a", FINALIZERS),
        ("/metadata/finalizers/*a", FINALIZERS),
        ("/metadata/annotation/a", METADATA.format("annotation")),
        ("/metadata/annotations~1a", METADATA.format("annotations/a")),
        (f"/metadata/{'x' * 41}", METADATA.format("x" * 40)),
        ("/metadata/annotations/a~1b~1c", NO_KEY.format("a/b/c")),
        ("/metadata/labels/a b", NO_KEY.format("a b")),
        (f"/metadata/labels/{'x' * 81}", NO_KEY.format("x" * 80)),
        ("/a\0", CONTROL),
        ("/a\x1b[2J/b", CONTROL),
        ("/a\x7f", CONTROL),
        ("/a" * 256 + "b", "a pointer has at most 512 characters"),
    ],
)
def test_a_pointer_that_cannot_work_is_refused(pointer: str, advice: str) -> None:
    """The message names the entry and says what is wrong; the rule's status shows it."""
    with pytest.raises(errors.PermanentError) as caught:
        ignoring.check(["/spec/a", pointer], [])
    assert caught.value.reason == "InvalidSpec"
    assert caught.value.message == f"ignoreFields holds {pointer[:80]!r}: {advice}"


@pytest.mark.parametrize(
    "pointer",
    [
        "/spec/replicas",
        "/spec/containers/*/image",
        "/spec/containers/0a/image",
        "/spec/list/*",
        "/spec/list/-a",
        "/spec/list/a-",
        "/spec/list/1a",
        "/spec/a.b",
        "/spec/kind/x",
        "/spec/metadata/name/x",
        "/*/name/x/y",
        "/kinds/x",
        "/spec/[0-9]",
        "/spec/a[b]",
        "/spec/hosts/*.example.com",
        "/spec/paths/~1api~1*",
        "/spec/data/x*",
        "/spec/metadata/x*",
        "/datas/x*",
        "/data/*",
        "/data/a/b/c",
        "/data/a/b*",
        "/data/-",
        "/*/*/x*",
        "/spec/annotations/a/b",
        "/spec/template/metadata/annotations/*",
        "/spec/template/metadata/labels/{{name}}",
        "/spec/metadata/finalizers/x",
        "/data/8080",
        "/metadata/annotations/1",
        "/metadata/labels/07",
        "/metadata/labels",
        "/metadata/*/name",
        "/metadata/annotations/*",
        "/metadata/annotations/Example.com~1A_b.c",
        "/metadata/finalizers",
        "/metadata/finalizers/*",
        "/metadata/generateName",
        "/metadata/ownerReferences/*/uid",
        "/metadata/clusterName",
        "/spec/metadata/labels/*/name",
        "/spec/rules/*/validate/pattern/metadata/annotations/x*",
        "/spec/example.com~1a~0b",
        "/*/name/x",
        "/*/labels",
        "/*/namespaces",
        "/status",
        "/a" * 256,
    ],
)
def test_a_pointer_that_can_work_is_taken(pointer: str) -> None:
    """All the rest is somebody's wish."""
    ignoring.check([pointer], [])


NAME = "write the name of a field manager, or <manager>/<subresource>, such as kube-controller-manager/scale"
EVERYBODY = "it would leave out every field that anybody manages: name a manager"


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("", NAME),
        ("/scale", NAME),
        ("kube-controller-manager/", NAME),
        ("/", NAME),
        ("a.example.com/x/", NAME),
        ("*", EVERYBODY),
        ("**", EVERYBODY),
        ("?*", EVERYBODY),
        ("*?", EVERYBODY),
        ("kube-[^s]*", "^ is no sign of a set: write [!ab] for any character but a and b"),
        ("{helm,flux}", "{a,b} is no sign of a glob: write each of them as an entry of its own"),
        ("a\n", CONTROL),
        ("m" * 257, "an entry has at most 256 characters"),
    ],
)
def test_a_manager_that_cannot_work_is_refused(entry: str, advice: str) -> None:
    """The message names the entry and says what is wrong."""
    with pytest.raises(errors.PermanentError) as caught:
        ignoring.check([], ["kube-controller-manager", entry])
    assert caught.value.reason == "InvalidSpec"
    assert caught.value.message == f"ignoreManagers holds {entry[:80]!r}: {advice}"


@pytest.mark.parametrize("entry", ["kubectl", "*/scale", "kube-*", "a/b/c", "?", "X*", "??*", "m" * 256])
def test_a_manager_that_can_work_is_taken(entry: str) -> None:
    """A glob, with a subresource or without."""
    ignoring.check([], [entry])


@pytest.mark.parametrize(
    ("entry", "manager", "subresource", "meant"),
    [
        ("kubectl", "kubectl", "", True),
        ("kubectl", "kubectl", "scale", True),
        ("kubectl", "kubectl-edit", "", False),
        ("kubectl", "Kubectl", "", False),
        ("kube*", "kubectl", "", True),
        ("kubectl/scale", "kubectl", "scale", True),
        ("kubectl/scale", "kubectl", "", False),
        ("kubectl/scale", "other", "scale", False),
        ("*/scale", "anybody", "scale", True),
        ("*/scale", "anybody", "status", False),
        ("a.example.com/x/1", "a.example.com/x/1", "", True),
        ("a.example.com/x/scale", "a.example.com/x", "scale", True),
    ],
)
def test_who_is_meant(entry: str, manager: str, subresource: str, *, meant: bool) -> None:
    """A manager by glob, through any subresource or through one; a name with slashes is a name too."""
    assert ignoring.names_manager(entry, manager=manager, subresource=subresource) is meant


@given(st.lists(strategies.texts))
def test_pointers_and_paths_are_one_to_one(path: list[str]) -> None:
    """Any key can be named, whatever stands in it."""
    assert list(ignoring.segments(ignoring.pointer(path))) == path


def test_pointers_are_written_as_the_rfc_says() -> None:
    """RFC 6901, section 3 and 5; a position is a number."""
    assert ignoring.pointer(("a/b", "m~n", 0, "")) == "/a~1b/m~0n/0/"
    assert ignoring.segments("/a~1b/m~0n/~01/0/") == ("a/b", "m~n", "~1", "0", "")
