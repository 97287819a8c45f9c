"""Selectors: the grammar of labels and fields, as kube-apiserver reads it."""

from __future__ import annotations

from typing import Any

import pytest

from app.sandbox import kinds, problems, selecting

MAPS = next(kind for kind in kinds.BUILT_IN if kind.kind == "ConfigMap")


def selects(labels: str = "", fields: str = "", **carried: str) -> bool:
    """Whether an object with these labels, named `web` in the namespace `shop`, is selected."""
    found: dict[str, Any] = {"metadata": {"name": "web", "namespace": "shop", "labels": carried}}
    return selecting.parse(MAPS, labels=labels, fields=fields).matches(found)


@pytest.mark.parametrize(
    ("selector", "yes", "no"),
    [
        ("app", {"app": "x"}, {}),
        ("!app", {}, {"app": "x"}),
        ("app=x", {"app": "x"}, {"app": "y"}),
        ("app==x", {"app": "x"}, {}),
        ("app!=x", {}, {"app": "x"}),
        ("app in (x, y)", {"app": "y"}, {"app": "z"}),
        ("app in (x,)", {"app": ""}, {"app": "y"}),
        ("app notin (x,y)", {}, {"app": "x"}),
        ("app=", {"app": ""}, {"app": "x"}),
        ("app = x , tier != y,!old", {"app": "x"}, {"app": "x", "old": ""}),
        ("size>5", {"size": "6"}, {"size": "5"}),
        ("size<5", {"size": "-1"}, {"size": "many"}),
        ("in in (in)", {"in": "in"}, {}),
    ],
)
def test_labels_select(selector: str, yes: dict[str, str], no: dict[str, str]) -> None:
    """Each operator takes what it says and nothing else; terms are joined by and."""
    assert selects(selector, **yes)
    assert not selects(selector, **no)


def test_prefixed_labels_select() -> None:
    """A key may carry a domain."""
    found = {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "web"}}}
    assert selecting.parse(MAPS, labels="app.kubernetes.io/name in (web)", fields="").matches(found)


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (b", "found '', expected: ',' or ')'"),
        ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("a/b/c", "key: Invalid value"),
        ("a=-b", "values[0]: Invalid value"),
        ("a>b", "'Gt', 'Lt' operators"),
    ],
)
def test_a_selector_that_cannot_be_read_is_refused(selector: str, said: str) -> None:
    """Half a selector is never taken for a wider one."""
    with pytest.raises(problems.Refused) as caught:
        selects(selector)
    assert caught.value.code == 400
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("metadata.name=web", True),
        ("metadata.name==web,metadata.namespace=shop", True),
        ("metadata.name!=web", False),
        ("metadata.namespace!=other", True),
        (r"metadata.name=a\,b", False),
    ],
)
def test_fields_select(selector: str, *, selected: bool) -> None:
    """Name and namespace can be asked for."""
    assert selects(fields=selector) is selected


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("data.x=1", '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
    ],
)
def test_other_fields_are_refused(selector: str, said: str) -> None:
    """A field that is not known is an error, not an empty list."""
    with pytest.raises(problems.Refused) as caught:
        selects(fields=selector)
    assert (caught.value.code, str(caught.value)) == (400, said)
