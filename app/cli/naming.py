"""What people type for an object, `deployments.apps/web` or `cm/app-config`, and the type that they mean.

A type is its plural, singular, kind or short name, in any case; `.group` or `.version.group` after it decide between
two of one name, as for kubectl. Neighbours: `app/kube/discovery.py` and `offline.py` say what types there are.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app import errors
from app.cli import offline
from app.kube import discovery
from app.rules import types


@dataclass(frozen=True, slots=True)
class Types:
    """The types that there are, with what people call them; `where` says who knows them."""

    served: Sequence[types.ResourceType]
    names: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    failed_groups: Collection[str] = ()
    where: str = "the cluster"

    @classmethod
    def of(cls, found: discovery.Discovery) -> Types:
        """What a cluster serves."""
        return cls(found.types, found.names, found.failed_groups)

    @classmethod
    def remembered(cls, known: Sequence[types.ResourceType], *, where: str) -> Types:
        """Types that somebody else knows, with the names of the built-in ones."""
        names = {(group, plural): names for (group, _), (plural, _, names) in offline.BUILT_IN.items()}
        return cls(known, names, where=where)

    def parse(self, text: str) -> tuple[types.ResourceType, str]:
        """The type and the name of `TYPE/NAME`. Raises PermanentError for another form, and for an unknown type."""
        word, slash, name = text.partition("/")
        if not (word and slash and name) or "/" in name:
            raise errors.PermanentError(
                f"{text[:80]!r} is no object: write TYPE/NAME, for example deployments.apps/web or cm/app-config"
            )
        return self.find(word), name

    def find(self, word: str) -> types.ResourceType:
        """The type that a word means: an exact plural before other names, the preferred version before others."""
        found = [one for one in self.served if _fits(word.lower(), one, {one.resource})] or [
            one for one in self.served if _fits(word.lower(), one, self._called(one))
        ]
        if not found:
            raise errors.PermanentError(f"{self.where} has no type {word[:80]!r}{self._hint(word)}")
        return next((one for one in found if one.preferred), found[0])

    def of_kind(self, api_version: str, kind: str) -> types.ResourceType | None:
        """The type of a manifest, or None."""
        return next((one for one in self.served if (one.api_version, one.kind) == (api_version, kind)), None)

    def _called(self, one: types.ResourceType) -> set[str]:
        return {one.resource, one.kind.lower(), *self.names.get(one.key, ())}

    def _hint(self, word: str) -> str:
        if self.failed_groups:
            return f": its API groups {', '.join(sorted(self.failed_groups))} do not answer, try again"
        near = difflib.get_close_matches(word.lower(), self._words(), n=1, cutoff=0.7)
        return f": do you mean {near[0]}?" if near else ": check the spelling, or install its CustomResourceDefinition"

    def _words(self) -> list[str]:
        return sorted({str(one) for one in self.served} | {name for one in self.served for name in self._called(one)})


def _fits(word: str, one: types.ResourceType, names: Collection[str]) -> bool:
    head, _, rest = word.partition(".")
    return head in {name.lower() for name in names} and rest in set(_tails(one))


def _tails(one: types.ResourceType) -> Iterator[str]:
    """What may stand after the name of a type."""
    yield ""
    yield one.version
    if one.group:
        yield one.group.lower()
        yield f"{one.version}.{one.group}".lower()
