"""What narrows a rule beyond types and namespaces: labels, names, and the namespaces of a ClusterWatchRule.

A `Filter` is one rule item's wish in normal form. `compiling.py` puts it into scopes, `selecting.py` asks it about
objects. Globs are those of `allowedBranches`: `*`, `?`, `[...]`, case-sensitive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from app.rules import labels as labelling

_GLOB = frozenset("*?[")
# The fields that look at the namespace of an object, as a manifest spells them.
BY_NAMESPACE = ("namespaceSelector", "excludeNamespaces")


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

    def __post_init__(self) -> None:
        for field in ("names", "exclude_names", "exclude_namespaces"):
            object.__setattr__(self, field, tuple(sorted(set(getattr(self, field)))))

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

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether an object gets through, by its name and labels."""
        if self.names and not _any(name, self.names):
            return False
        return not _any(name, self.exclude_names) and self.labels.matches(labels)

    def refusal(self, name: str, labels: Mapping[str, str]) -> str | None:
        """Which part leaves an object out, in words; None when it gets through."""
        if self.names and not _any(name, self.names):
            return f"its name matches none of names ({', '.join(self.names)})"
        if glob := _first(name, self.exclude_names):
            return f"its name matches {glob} of excludeNames"
        unmet = self.labels.unmet(labels)
        return f"its labels do not meet {unmet} of labelSelector" if unmet else None

    def covers(self, namespace: str, members: Collection[str] | None) -> bool:
        """Whether objects of a namespace get through. `members` are the namespaces that the selector selects now."""
        return (members is None or namespace in members) and not _any(namespace, self.exclude_namespaces)

    def namespace_refusal(self, namespace: str, members: Collection[str] | None) -> str | None:
        """Which part leaves a namespace out, in words; None when it gets through."""
        if glob := _first(namespace, self.exclude_namespaces):
            return f"its namespace matches {glob} of excludeNamespaces"
        if members is not None and namespace not in members:
            return f"the labels of its namespace do not meet namespaceSelector ({self.namespaces})"
        return None

    def names_exactly(self, name: str) -> bool:
        """Whether `names` holds this very name, not a glob for it."""
        return name in self.names and is_exact(name)

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


def literal_prefix(glob: str) -> str:
    """What every name begins with that a glob matches."""
    return glob[: next((place for place, letter in enumerate(glob) if letter in _GLOB), len(glob))]


def _first(text: str, globs: Iterable[str]) -> str:
    return next((glob for glob in globs if fnmatchcase(text, glob)), "")


def _any(text: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)
