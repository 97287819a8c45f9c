"""Label and field selectors as clients write them, read and matched as kube-apiserver does.

The grammar and its messages are those of k8s.io/apimachinery (labels.Parse, fields.ParseSelector). Every type has the
fields `metadata.name` and `metadata.namespace`; a few have more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.sandbox import kinds, problems

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|>|<|[^\s=!,()<>]+)")
_LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_OPERATORS = {"=", "==", "!=", "in", "notin", ">", "<"}
_FIELDS = ("metadata.name", "metadata.namespace")
_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_MORE_FIELDS = {
    "events": (*[f"involvedObject.{one}" for one in _ABOUT], "reason", "type"),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
}
_FIELD_TERM = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL)

_Test = Callable[[Mapping[str, str]], bool]
_FieldTest = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """Which objects a request is about. Empty selectors match everything."""

    labels: tuple[_Test, ...] = ()
    fields: tuple[_FieldTest, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.labels or self.fields)

    def matches(self, found: Mapping[str, Any]) -> bool:
        """Whether an object is selected."""
        labels = found["metadata"].get("labels") or {}
        return all(test(labels) for test in self.labels) and all(test(found) for test in self.fields)


def parse(kind: kinds.Kind, *, labels: str, fields: str) -> Selector:
    """Read the selectors of a request. Raises Refused (400)."""
    return Selector(
        labels=tuple(_label_tests(_Tokens(labels))) if labels.strip() else (),
        fields=tuple(_field_tests(kind, fields)) if fields else (),
    )


class _Tokens:
    """The tokens of a label selector, with one to look ahead; "" at the end."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    @property
    def next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        token = self.next
        self._at += 1
        return token

    def expect(self, token: str) -> None:
        if self.next != token:
            raise _unparsed(f"found '{self.next}' expected: '{token}'")
        self.take()


def _label_tests(tokens: _Tokens) -> Iterator[_Test]:
    while True:
        yield _requirement(tokens)
        if not tokens.next:
            return
        if tokens.next != ",":
            raise _unparsed(f"found '{tokens.next}', expected: ',' or 'end of string'", plain=True)
        tokens.take()
        if not tokens.next:
            raise _unparsed("found '', expected: identifier after ','", plain=True)


def _requirement(tokens: _Tokens) -> _Test:
    if tokens.next == "!":
        tokens.take()
        absent = _key(tokens)
        return lambda labels: absent not in labels
    key = _key(tokens)
    if tokens.next in {"", ","}:
        return lambda labels: key in labels
    operator = tokens.take()
    if operator not in _OPERATORS:
        raise _unparsed(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
    return _TESTS[operator](key, _operand(tokens, operator))


def _key(tokens: _Tokens) -> str:
    key = tokens.take()
    if not key or key in {",", "(", ")", "=", "==", "!=", ">", "<"}:
        raise _unparsed(f"found '{key}', expected: !, identifier, or 'end of string'", plain=True)
    if not _LABEL_KEY.fullmatch(key):
        raise _unparsed(f"key: Invalid value: {problems.quoted(key)}: not a label key")
    return key


def _operand(tokens: _Tokens, operator: str) -> frozenset[str]:
    if operator in {"in", "notin"}:
        return frozenset(_values(tokens))
    value = "" if tokens.next in {"", ","} else tokens.take()
    _check_value(value)
    if operator in {"<", ">"} and not re.fullmatch(r"-?[0-9]+", value):
        raise _unparsed(f"values[0]: Invalid value: {problems.quoted(value)}: for 'Gt', 'Lt' operators, an integer")
    return frozenset({value})


def _values(tokens: _Tokens) -> Iterator[str]:
    tokens.expect("(")
    while True:
        value = "" if tokens.next in {",", ")"} else tokens.take()
        _check_value(value)
        yield value
        if tokens.next == ")":
            tokens.take()
            return
        if tokens.next != ",":
            raise _unparsed(f"found '{tokens.next}', expected: ',' or ')'")
        tokens.take()


def _check_value(value: str) -> None:
    if not _LABEL_VALUE.fullmatch(value):
        raise _unparsed(f"values[0]: Invalid value: {problems.quoted(value)}: not a label value")


def _is_one_of(key: str, values: frozenset[str]) -> _Test:
    return lambda labels: labels.get(key) in values


def _is_none_of(key: str, values: frozenset[str]) -> _Test:
    return lambda labels: labels.get(key) not in values


def _is_above(key: str, values: frozenset[str]) -> _Test:
    (bound,) = values
    return lambda labels: _whole(labels.get(key), otherwise=int(bound)) > int(bound)


def _is_below(key: str, values: frozenset[str]) -> _Test:
    (bound,) = values
    return lambda labels: _whole(labels.get(key), otherwise=int(bound)) < int(bound)


def _whole(text: str | None, *, otherwise: int) -> int:
    return int(text) if text and re.fullmatch(r"-?[0-9]+", text) else otherwise


_TESTS: dict[str, Callable[[str, frozenset[str]], _Test]] = {
    "=": _is_one_of,
    "==": _is_one_of,
    "in": _is_one_of,
    "!=": _is_none_of,
    "notin": _is_none_of,
    ">": _is_above,
    "<": _is_below,
}


def _field_tests(kind: kinds.Kind, text: str) -> Iterator[_FieldTest]:
    known = (*_FIELDS, *(() if kind.group else _MORE_FIELDS.get(kind.resource, ())))
    for term in filter(None, re.split(r"(?<!\\),", text)):
        match = _FIELD_TERM.fullmatch(term)
        if not match:
            raise problems.bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        key, operator, value = match.groups()
        if key not in known:
            raise problems.bad_request(_unknown_field(kind, key))
        yield _field_test(key, re.sub(r"\\([\\,=])", r"\1", value), wanted=operator != "!=")


def _field_test(key: str, value: str, *, wanted: bool) -> _FieldTest:
    path = key.split(".")
    return lambda found: (_field(found, path) == value) is wanted


def _field(found: Any, path: Sequence[str]) -> str:
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return "" if found is None else str(found)


def _unknown_field(kind: kinds.Kind, key: str) -> str:
    if kind.definition:
        return f"field label not supported: {key}"
    known = ", ".join(problems.quoted(one) for one in _FIELDS)
    return f"{problems.quoted(key)} is not a known field selector: only {known}"


def _unparsed(detail: str, *, plain: bool = False) -> problems.Refused:
    return problems.bad_request(detail if plain else f"unable to parse requirement: {detail}")
