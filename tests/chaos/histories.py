"""Histories of a cluster, made from a seed number: what people and controllers do to objects, rules and destinations.

A step is plain data, and one that finds nothing to do does nothing: any part of a history is a history, so that one
that fails can be made small (`shrunk`). `playing.py` does the steps, `checking.py` says what has to hold afterwards.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

Deed = Literal[
    # To an object: create or change it, give it another label, write what is no content, delete it, delete it and
    # create it again with a new uid, delete it while a finalizer holds it, take the finalizer away.
    "write", "label", "noise", "delete", "replace", "linger", "release",
    # To a destination: create it, delete it, give it another branch or folder; give it a rule, take the rule away.
    "place", "displace", "move", "rule", "unrule",
    # To the custom type: install it, remove it with all its objects.
    "define", "undefine",
]  # fmt: skip
DEEDS: tuple[Deed, ...] = get_args(Deed)
TO_OBJECTS: tuple[Deed, ...] = ("write", "label", "noise", "delete", "replace", "linger", "release")

# How often each deed is done, beside the others.
_WEIGHTS: dict[Deed, int] = {
    "write": 60, "label": 12, "noise": 8, "delete": 12, "replace": 6, "linger": 4, "release": 5,
    "place": 3, "displace": 1, "move": 2, "rule": 4, "unrule": 1, "define": 2, "undefine": 1,
}  # fmt: skip
assert _WEIGHTS.keys() == set(DEEDS)

# Slots that steps name by number. Few objects of many versions: what goes wrong goes wrong between two versions.
NAMESPACES, OBJECTS, DESTINATIONS = 2, 14, 3
BRANCHES = ("main", "next")
FOLDERS = ("one", "two")
CONFIG_MAPS, TOYS = "configmaps", "toys"
TEAMS = ("", "blue", "red")
# What the rule of a destination may select: resources, and the team that an object has to be labelled with.
SELECTIONS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((CONFIG_MAPS,), ""),
    ((CONFIG_MAPS, TOYS), ""),
    ((TOYS,), ""),
    ((CONFIG_MAPS,), "blue"),
    ((CONFIG_MAPS, TOYS), "red"),
)
_MOST = max(OBJECTS, DESTINATIONS)
_One = TypeVar("_One")


@dataclass(frozen=True, slots=True)
class Step:
    """One deed to the slot `slot` of its kind; `choice` says which of the possible ways."""

    deed: Deed
    slot: int
    choice: int

    def text(self) -> str:
        """As it stands in a report, and is read again from there."""
        return f"{self.deed} {self.slot} {self.choice}"

    @classmethod
    def parse(cls, text: str) -> Step:
        """A step as `text` wrote it. Raises ValueError."""
        deed, slot, choice = text.split()
        if deed not in _WEIGHTS:
            raise ValueError(f"{deed!r} is no deed")
        return cls(deed, int(slot), int(choice))


@dataclass(frozen=True, slots=True)
class Slot:
    """What an object's number stands for: where it is, and what it is called."""

    resource: str
    namespace: int
    name: str


def slot(number: int) -> Slot:
    """Every third object is a toy; each namespace has both kinds."""
    resource = TOYS if number % 3 == 2 else CONFIG_MAPS
    return Slot(resource, number // 3 % NAMESPACES, f"{resource[:-1]}-{number}")


def beginning() -> list[Step]:
    """What each history begins with: the type, every destination with a rule, and some objects."""
    return [
        Step("define", 0, 0),
        *(Step(deed, number, number) for number in range(DESTINATIONS) for deed in ("place", "rule")),
        *(Step("write", number, 0) for number in range(0, OBJECTS, 2)),
    ]


def history(seed: int) -> Iterator[Step]:
    """The steps of a seed number, without an end; the same ones for the same number."""
    yield from beginning()
    yield from _chosen(random.Random(seed), DEEDS)


def going_on(seed: int) -> Iterator[Step]:
    """Further steps of a seed number, about objects alone: what rules and destinations say stays as it is."""
    return _chosen(random.Random(~seed), TO_OBJECTS)


def _chosen(chance: random.Random, deeds: Sequence[Deed]) -> Iterator[Step]:
    weights = [_WEIGHTS[deed] for deed in deeds]
    while True:
        yield Step(chance.choices(deeds, weights)[0], chance.randrange(_MOST), chance.randrange(60))


def shrunk(steps: Sequence[_One], fails: Callable[[Sequence[_One]], bool]) -> list[_One]:
    """A part of `steps` that fails as well, from which no single step can be taken; `steps` itself has to fail."""
    left, size = list(steps), max(1, len(steps) // 2)
    while True:
        cuts = (left[:at] + left[at + size :] for at in range(0, len(left), size))
        smaller = next((cut for cut in cuts if len(cut) < len(left) and fails(cut)), None)
        if smaller is not None:
            left = smaller
        elif size == 1:
            return left
        else:
            size //= 2


def prefix(seed: int, count: int) -> list[Step]:
    """The first steps of a seed number."""
    return list(itertools.islice(history(seed), count))
