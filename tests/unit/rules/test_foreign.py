"""Reading files that somebody else may have written: the identity, or nothing (promise P2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import foreign, rendering

MANIFEST = b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {a: [1, {b: c}]}\n"


def test_a_manifest_says_what_it_is_about() -> None:
    """apiVersion, kind, namespace and name, wherever they stand and however they are quoted."""
    expected = ("apps/v1", "Deployment", "shop", "web")
    assert foreign.identity_of(MANIFEST) == expected
    assert foreign.identity_of(b"---\n# c\n" + MANIFEST + b"...\n") == expected
    other = (
        b'metadata:\n  labels: {name: x}\n  "name": "web"\n  namespace: \'shop\'\nkind: Deployment\napiVersion: apps/v1'
    )
    assert foreign.identity_of(other) == expected


def test_a_cluster_object_has_no_namespace() -> None:
    """An absent namespace is an empty one."""
    identity = foreign.identity_of(b"{apiVersion: v1, kind: Namespace, metadata: {name: a}}")
    assert identity == foreign.FileIdentity("v1", "Namespace", "", "a")


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(names, names)
def test_what_we_write_we_recognise(name: str, kind: str) -> None:
    """Every name that we render is read back exactly."""
    data = rendering.render({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
    assert foreign.identity_of(data) == ("v1", kind, "", name)


BOMB = b"a: &a [x]\nb: &b [*a, *a]\n" + MANIFEST


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"- a\n- b\n",
        b"{",
        b"\xff\xfe\x00",
        b"\x80abc: 1",
        b"a: \xc3",
        b"kind: X\nmetadata: {name: a}\n",
        b"apiVersion: v1\nmetadata: {name: a}\n",
        b"apiVersion: v1\nkind: X\n",
        b"apiVersion: v1\nkind: X\nmetadata: [name]\n",
        b"apiVersion: v1\nkind: {a: b}\nmetadata: {name: a}\n",
        b"apiVersion: v1\nkind: X\nspec: {metadata: {name: a}}\n",
        b"- apiVersion: v1\n  kind: X\n  metadata: {name: a}\n",
        b"apiVersion: v1\nkind: X\nmetadata:\n- name: a\n",
        MANIFEST + b"---\n" + MANIFEST,
        MANIFEST + b"kind: Secret\n",
        MANIFEST + b"metadata: {name: other}\n",
        MANIFEST + b"? {a: b}\n: c\n",
        MANIFEST + b"? [a]\n: c\n",
        MANIFEST.replace(b"name: web", b"name: !!python/name:os.system web"),
        BOMB,
        MANIFEST + b"x: " + b"y" * foreign.MAX_BYTES,
    ],
)
def test_what_is_not_plainly_one_object_is_nothing(data: bytes) -> None:
    """Ambiguous, foreign, hostile or oversized content is never adopted, and never builds a value."""
    assert foreign.identity_of(data) is None


def test_a_deep_file_does_not_end_the_process() -> None:
    """Nesting costs memory of the file's size only."""
    assert foreign.identity_of(b"a: " + b"[" * 5_000) is None
