"""Rows that remove the files which a person wants gone (`reverser prune`, `reverser adopt`).

The person saw each file with its content. What is another one by now, or what a rule may stand behind, is not touched:
this decides with all that the leading watch daemon knows, and the worker with what it finds in Git.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from app import events
from app.models import base, commands, destinations, inventory, ledger, rules, seeds
from app.rules import paths
from app.watch import eventing, judging, routing

Seen = Mapping[str, commands.SeenFile]


class Removal(ABC):
    """One request, for one destination; `seed` is the mark of its rows."""

    def __init__(self, asked: commands.Request, target: routing.Target, *, cluster: str, verb: str, mark: str) -> None:
        self.seed, self.destination = f"{mark}{asked.id}", target.ref
        self._target, self._cluster = target, cluster
        self._rule, self._user = f"reverser {verb}", events.UserInfo(asked.by, "command")

    def write(self, connection: base.Connection, seen: Seen) -> list[events.Identifier]:
        """Write a DELETE for each file (by path) that is as it was seen; their objects."""
        found = inventory.by_paths(connection, self._target.place_id, list(seen))
        present = {path: item for path, item in found.items() if not item.removed}
        removed = list(self._removed(connection, dict(sorted(seen.items())), present))
        numbers = ledger.take_numbers(connection, {self._target.id: len(removed)})
        ledger.append(connection, [entry for _, entry in removed], numbers)
        return [what for what, _ in removed]

    @abstractmethod
    def _removed(
        self, connection: base.Connection, seen: Seen, present: Mapping[str, inventory.Item]
    ) -> Iterator[tuple[events.Identifier, ledger.Entry]]:
        """Which of them go, in order; `present` is the record of those that have one."""

    def _entry(
        self, what: events.Identifier, *, version: str = "", epoch: int = 1, body: bytes | None = None
    ) -> tuple[events.Identifier, ledger.Entry]:
        origin = eventing.Origin(self._cluster, epoch, datetime.now(UTC))
        return what, eventing.removal(
            self._target, origin, what, version=version, rule=self._rule, user=self._user, seed=self.seed, body=body
        )


class Pruning(Removal):
    """Files that no rule selects. `present` are the uids of all our objects."""

    def __init__(
        self,
        asked: commands.Request,
        target: routing.Target,
        *,
        cluster: str,
        marks: routing.Marks,
        present: Collection[str],
    ) -> None:
        super().__init__(asked, target, cluster=cluster, verb=commands.PRUNE, mark=ledger.PRUNE)
        self._marks, self._present = marks, present

    def _removed(
        self, connection: base.Connection, seen: Seen, present: Mapping[str, inventory.Item]
    ) -> Iterator[tuple[events.Identifier, ledger.Entry]]:
        paused = rules.paused_specs(connection, self._target.id, cluster=self._cluster, present=self._present)
        unlisted = seeds.incomplete_types(connection, self._target.place_id)
        for path, file in seen.items():
            item = present.get(path)
            if item and item.blob_id == file.blob and self._is_left_over(item, paused, unlisted):
                yield self._entry(item.identifier, version=item.resource_version, epoch=item.source_epoch)

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


class Leaving(Removal):
    """Files at a place that no destination has any more."""

    def __init__(self, asked: commands.Request, left: destinations.Destination, *, cluster: str) -> None:
        target = routing.target_of(left)
        super().__init__(asked, target, cluster=cluster, verb=commands.PRUNE, mark=ledger.PRUNE)

    def _removed(
        self,
        connection: base.Connection,  # noqa: ARG002 - another removal asks it
        seen: Seen,
        present: Mapping[str, inventory.Item],
    ) -> Iterator[tuple[events.Identifier, ledger.Entry]]:
        for path, file in seen.items():
            item = present.get(path)
            if item and item.blob_id == file.blob:
                yield self._entry(item.identifier, version=item.resource_version, epoch=item.source_epoch)


class Adoption(Removal):
    """Files of which there is no record, and whose objects the person did not find in the cluster.

    A change of the object that comes before the row makes a record: the row is stale then.
    """

    def __init__(self, asked: commands.Request, target: routing.Target, *, cluster: str) -> None:
        super().__init__(asked, target, cluster=cluster, verb=commands.ADOPT, mark=ledger.ADOPT)

    def _removed(
        self,
        connection: base.Connection,  # noqa: ARG002 - another removal asks it
        seen: Seen,
        present: Mapping[str, inventory.Item],
    ) -> Iterator[tuple[events.Identifier, ledger.Entry]]:
        for path, file in seen.items():
            found = None if path in present else paths.decode(self._target.base_folder, path, name=file.name)
            if found:
                yield self._entry(found.identifier(kind=file.kind), body=file.blob.encode())
