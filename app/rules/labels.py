"""Label selectors as Kubernetes reads them (metav1.LabelSelector), in one normal form.

`kinds.py` reads them from manifests, `filters.py` and `compiling.py` ask them about objects and namespaces, and
`selecting.py` files rules by what they require.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IN, NOT_IN, EXISTS, DOES_NOT_EXIST = "In", "NotIn", "Exists", "DoesNotExist"
OPERATORS = (IN, NOT_IN, EXISTS, DOES_NOT_EXIST)

# What the API server takes for the labels of an object (k8s.io/apimachinery, util/validation).
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME = 63
_LONGEST_PREFIX = 253


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One condition on one label. `matchLabels: {a: b}` is `a In (b)`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(sorted(set(self.values))))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. As in Kubernetes, `NotIn` holds for an object without the label too."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case _:
                return value is None

    def problem(self) -> str:
        """What a server would refuse in it, and what to write; empty when it is in order."""
        if not is_key(self.key):
            return f"the key {self.key[:80]!r} can be no label: write it like tier or example.com/tier"
        if self.operator not in OPERATORS:
            return f"the operator {self.operator[:40]!r} is unknown: use {', '.join(OPERATORS)}"
        if self.operator in (IN, NOT_IN) and not self.values:
            return f"{self.operator} needs values: list at least one, or use {EXISTS} or {DOES_NOT_EXIST}"
        if self.operator in (EXISTS, DOES_NOT_EXIST) and self.values:
            return f"{self.operator} takes no values: remove them, or use {IN} or {NOT_IN}"
        wrong = next((value for value in self.values if not _is_value(value)), None)
        if wrong is not None:
            return f"the value {wrong[:80]!r} can be no label's: letters, digits, - _ and . up to 63 characters"
        return ""

    def __str__(self) -> str:
        """As kubectl takes it: `tier in (back, front)`, `tier=front`, `!tier`."""
        match self.operator:
            case "In" if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case "In":
                return f"{self.key} in ({', '.join(self.values)})"
            case "NotIn":
                return f"{self.key} notin ({', '.join(self.values)})"
            case "Exists":
                return self.key
            case _:
                return f"!{self.key}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements that all have to be met; none selects everything.

    They are kept sorted and once each, so that two spellings of one wish are one value.
    """

    requirements: tuple[Requirement, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "requirements", tuple(sorted(set(self.requirements))))

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet all requirements."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def unmet(self, labels: Mapping[str, str]) -> Requirement | None:
        """The first requirement that labels do not meet."""
        return next((one for one in self.requirements if not one.matches(labels)), None)

    def to_json(self) -> dict[str, Any]:
        """As in a manifest: `matchLabels` where that says it, `matchExpressions` for the rest."""
        equal: dict[str, str] = {}
        expressions: list[dict[str, Any]] = []
        for one in self.requirements:
            if one.operator == IN and len(one.values) == 1 and one.key not in equal:
                equal[one.key] = one.values[0]
            else:
                values = {"values": list(one.values)} if one.values else {}
                expressions.append({"key": one.key, "operator": one.operator, **values})
        found = {"matchLabels": equal, "matchExpressions": expressions}
        return {field: value for field, value in found.items() if value}

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> LabelSelector:
        """The inverse of `to_json`."""
        equal = [Requirement(key, IN, (value,)) for key, value in said.get("matchLabels", {}).items()]
        others = [
            Requirement(one["key"], one["operator"], tuple(one.get("values", ())))
            for one in said.get("matchExpressions", ())
        ]
        return cls((*equal, *others))

    def __str__(self) -> str:
        """As kubectl takes it after `-l`."""
        return ",".join(map(str, self.requirements))


EVERYTHING = LabelSelector()


def is_key(key: str) -> bool:
    """Whether the API server takes it for a label."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (_PREFIX.fullmatch(prefix) and len(prefix) <= _LONGEST_PREFIX):
        return False
    return bool(_NAME.fullmatch(name)) and len(name) <= _LONGEST_NAME


def _is_value(value: str) -> bool:
    return not value or (bool(_NAME.fullmatch(value)) and len(value) <= _LONGEST_NAME)
