"""Rows that remove the files which a person wants gone (`reverser prune`, `reverser adopt`).

The person saw each file with its content. What is another one by now, or what a rule may stand behind, is not touched:
this decides with all that the leading watch daemon knows, and the worker with what it finds in Git.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from app import events
from app.models import base, commands, inventory, ledger, rules, seeds
from app.rules import paths
from app.watch import eventing, judging, routing

Seen = Mapping[str, commands.SeenFile]


class Removal(Protocol):
    """One request, for one destination; `seed` is the mark of its rows."""

    seed: str

    def write(self, connection: base.Connection, seen: Seen) -> list[events.Identifier]:
        """Write a DELETE for each file (by path) that is as it was seen; their objects."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the rows of one request share."""

    target: routing.Target
    cluster: str
    user: events.UserInfo
    rule: str
    seed: str

    @classmethod
    def of(cls, asked: commands.Request, target: routing.Target, *, cluster: str, verb: str, seed: str) -> _Rows:
        """As a person asked for them."""
        return cls(target, cluster, events.UserInfo(asked.by, "command"), f"reverser {verb}", seed)

    def entry(
        self, what: events.Identifier, *, version: str = "", epoch: int = 1, body: bytes | None = None
    ) -> ledger.Entry:
        """One of them."""
        origin = eventing.Origin(self.cluster, epoch, datetime.now(UTC))
        return eventing.removal(
            self.target, origin, what, version=version, rule=self.rule, user=self.user, seed=self.seed, body=body
        )

    def append(self, connection: base.Connection, entries: list[ledger.Entry]) -> None:
        """Write them."""
        numbers = ledger.take_numbers(connection, {self.target.id: len(entries)})
        ledger.append(connection, entries, numbers)


class Pruning:
    """Files that no rule selects. `present` are the uids of all our objects."""

    def __init__(
        self,
        asked: commands.Request,
        target: routing.Target,
        *,
        marks: routing.Marks,
        cluster: str,
        present: Collection[str],
    ) -> None:
        self.seed = f"{ledger.PRUNE}{asked.id}"
        self._rows = _Rows.of(asked, target, cluster=cluster, verb=commands.PRUNE, seed=self.seed)
        self._target, self._marks, self._cluster, self._present = target, marks, cluster, present

    def write(self, connection: base.Connection, seen: Seen) -> list[events.Identifier]:
        """Only those that are left over."""
        paused = rules.paused_specs(connection, self._target.id, cluster=self._cluster, present=self._present)
        unlisted = seeds.incomplete_types(connection, self._target.place_id)
        found = inventory.by_paths(connection, self._target.place_id, list(seen))
        items = [
            item
            for path, item in sorted(found.items())
            if not item.removed and item.blob_id == seen[path].blob and self._is_left_over(item, paused, unlisted)
        ]
        entries = [
            self._rows.entry(item.identifier, version=item.resource_version, epoch=item.source_epoch) for item in items
        ]
        self._rows.append(connection, entries)
        return [item.identifier for item in items]

    def _is_left_over(
        self, item: inventory.Item, paused: Collection[Mapping[str, Any]], unlisted: Collection[tuple[str, str]]
    ) -> bool:
        """No rule selects it, nor did one that is out of order now; and where one looks at its type, it was listed."""
        what = item.identifier
        if any(_covers(spec, what) for spec in paused) or (what.group, what.resource) in unlisted:
            return False
        return judging.is_left_over(item, marks=self._marks)


def _covers(spec: Mapping[str, Any], what: events.Identifier) -> bool:
    return any(
        (scope["group"], scope["resource"]) == (what.group, what.resource)
        and scope["namespace"] in {"", what.namespace}
        for scope in spec["scopes"]
    )


class Adoption:
    """Files of which there is no record, and whose objects the person did not find in the cluster."""

    def __init__(self, asked: commands.Request, target: routing.Target, *, cluster: str) -> None:
        self.seed = f"{ledger.ADOPT}{asked.id}"
        self._rows = _Rows.of(asked, target, cluster=cluster, verb=commands.ADOPT, seed=self.seed)
        self._target = target

    def write(self, connection: base.Connection, seen: Seen) -> list[events.Identifier]:
        """Only those without a record still. A change of the object that comes before makes one: the row is stale."""
        found = inventory.by_paths(connection, self._target.place_id, list(seen))
        recorded = {path for path, item in found.items() if not item.removed}
        objects = dict(self._objects({path: one for path, one in seen.items() if path not in recorded}))
        entries = [self._rows.entry(what, body=seen[path].blob.encode()) for path, what in objects.items()]
        self._rows.append(connection, entries)
        return list(objects.values())

    def _objects(self, seen: Seen) -> Iterator[tuple[str, events.Identifier]]:
        """What the paths stand for, as far as they are ours to make."""
        for path, file in sorted(seen.items()):
            if found := paths.decode(self._target.base_folder, path, name=file.name):
                yield path, events.Identifier(**found._asdict(), kind=file.kind, uid="")
