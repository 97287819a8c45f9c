"""What narrows a rule beyond types and namespaces: labels, names, and the namespaces of a ClusterWatchRule.

A `Filter` is one rule item's wish in normal form. `compiling.py` puts it into scopes, `selecting.py` asks it about
objects. Globs are those of `allowedBranches`: `*`, `?`, `[...]`, case-sensitive.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from typing import Any

from app.rules import labels as labelling

_GLOB = frozenset("*?[")
# `[` with what it holds, and the `]` that ends it, if there is one; inside of it, a `]` may come first.
_SET = re.compile(r"\[!?(\]?[^\]]*)(\]?)")
_RANGE = re.compile("(.)-(.)")
# What other matchers take for signs and ours for text, and what to write. The schema of our kinds has the same.
_FOREIGN = (
    (re.compile(r"\[\^"), "^ is no sign of a set: write [!ab] for any character but a and b"),
    (re.compile(r"\{[^{}]*,[^{}]*\}"), "{a,b} is no sign of a glob: write each of them as an entry of its own"),
)
# `?` is one character, and no name is empty. The schema has it too.
_EVERY_NAME = re.compile("^([*]+[?]?[*]*|[?][*]+)$")
# The fields that look at the namespace of an object, as a manifest spells them.
BY_NAMESPACE = ("namespaceSelector", "excludeNamespaces")


class _Globs:
    """Globs that are asked about every object: names at once, and all the others as one pattern, made at first use."""

    def __init__(self, globs: Iterable[str]) -> None:
        self.exact = frozenset(glob for glob in globs if is_exact(glob))
        self._others = [glob for glob in globs if glob not in self.exact]

    def match(self, text: str) -> bool:
        return text in self.exact or bool(self._others and self._pattern.match(text))

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(translate(glob) for glob in self._others))


@dataclass(frozen=True, slots=True)
class Filter:
    """Every part has to let an object through; an empty part lets everything through.

    `namespaces` is a selector over the labels of Namespaces, None when there is none. Lists are kept sorted and once
    each, so that equal wishes are equal values.
    """

    labels: labelling.LabelSelector = labelling.EVERYTHING
    names: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    namespaces: labelling.LabelSelector | None = None
    exclude_namespaces: tuple[str, ...] = ()
    _globs: Mapping[str, _Globs] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lists = ("names", "exclude_names", "exclude_namespaces")
        for name in lists:
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        object.__setattr__(self, "_globs", {name: _Globs(getattr(self, name)) for name in lists})

    @property
    def by_object(self) -> bool:
        """Whether it looks at single objects at all."""
        return bool(self.labels or self.names or self.exclude_names)

    @property
    def by_namespace(self) -> bool:
        """Whether it looks at the namespace of an object."""
        return self.namespaces is not None or bool(self.exclude_namespaces)

    @property
    def by_labels(self) -> bool:
        """Whether labels decide, so that what an object or a namespace says of itself takes it in and out."""
        return bool(self.labels) or self.namespaces is not None

    @property
    def emptied_by(self) -> str:
        """The field that leaves nothing of the rest, as a manifest spells it; empty where something may get through.

        Only where it is plain: an exact name that is excluded, a glob that is excluded word for word, and what takes
        every name.
        """
        if all(self._is_excluded(name) for name in self.names or ("*",)):
            return "excludeNames"
        return "excludeNamespaces" if any(map(takes_every_name, self.exclude_namespaces)) else ""

    def _is_excluded(self, glob: str) -> bool:
        if is_exact(glob):
            return self._globs["exclude_names"].match(glob)
        return glob in self.exclude_names or any(map(takes_every_name, self.exclude_names))

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether an object gets through, by its name and labels."""
        if self.names and not self._globs["names"].match(name):
            return False
        return not self._globs["exclude_names"].match(name) and self.labels.matches(labels)

    def refusal(self, name: str, labels: Mapping[str, str]) -> str | None:
        """Which part leaves an object out, in words; None when it gets through."""
        if self.names and not self._globs["names"].match(name):
            return f"its name matches none of names ({', '.join(self.names)})"
        if glob := _first(name, self.exclude_names):
            return f"its name matches {glob} of excludeNames"
        unmet = self.labels.unmet(labels)
        if unmet is None:
            return None
        has = f"{unmet.key}={labels[unmet.key]}" if unmet.key in labels else f"no label {unmet.key}"
        return f"its labels do not meet {unmet} of labelSelector: it has {has}"

    def covers(self, namespace: str, members: Collection[str] | None) -> bool:
        """Whether objects of a namespace get through. `members` are the namespaces that the selector selects now."""
        return (members is None or namespace in members) and not self._globs["exclude_namespaces"].match(namespace)

    def namespace_refusal(self, namespace: str, members: Collection[str] | None) -> str | None:
        """Which part leaves a namespace out, in words; None when it gets through."""
        if glob := _first(namespace, self.exclude_namespaces):
            return f"its namespace matches {glob} of excludeNamespaces"
        if members is not None and namespace not in members:
            return f"the labels of its namespace do not meet namespaceSelector ({self.namespaces})"
        return None

    def names_exactly(self, name: str) -> bool:
        """Whether `names` holds this very name, not a glob for it."""
        return name in self._globs["names"].exact

    def to_json(self) -> dict[str, Any]:
        """The fields as a manifest spells them; only what is set."""
        found: dict[str, Any] = {
            "labelSelector": self.labels.to_json(),
            "names": list(self.names),
            "excludeNames": list(self.exclude_names),
            "namespaceSelector": self.namespaces.to_json() if self.namespaces else {},
            "excludeNamespaces": list(self.exclude_namespaces),
        }
        return {field: value for field, value in found.items() if value}


EVERYTHING = Filter()


def is_exact(glob: str) -> bool:
    """Whether a glob means one name only."""
    return _GLOB.isdisjoint(glob)


def takes_every_name(glob: str) -> bool:
    """Whether every name matches a glob, because it asks for one character at most."""
    return bool(_EVERY_NAME.match(glob))


def problem(glob: str) -> str:
    """What nobody can mean by a glob, and what to write; empty when it is in order.

    `fnmatch` takes a set without an end for text, and drops a range without characters: nothing would match, unseen.
    `^` and braces, which Go and shells take for signs, are text to it too.
    """
    for held, end in _SET.findall(glob):
        if not end:
            return "no ] ends its [: write a set like [ab], or ? for any character"
        for first, last in _RANGE.findall(held):
            if first > last:
                return f"{first}-{last} runs backwards: write {last}-{first}"
    return next((advice for pattern, advice in _FOREIGN if pattern.search(glob)), "")


def literal_prefix(glob: str) -> str:
    """What every name begins with that a glob matches."""
    return glob[: next((place for place, letter in enumerate(glob) if letter in _GLOB), None)]


def _first(text: str, globs: Iterable[str]) -> str:
    return next((glob for glob in globs if fnmatchcase(text, glob)), "")
