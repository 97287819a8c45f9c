"""Rows that remove the files which a person wants gone (`reverser prune`).

The person saw each file with its content, and took it for left over. What is another one by now, or what a rule may
stand behind, is not touched: this decides with all that the leading watch daemon knows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from app import events
from app.models import base, inventory, ledger, rules, seeds
from app.watch import eventing, judging, routing

RULE = "reverser prune"
SOURCE = "command"


class Removal:
    """One request, for one destination; `present` are the uids of all our objects."""

    def __init__(
        self, target: routing.Target, marks: routing.Marks, *, cluster: str, present: Collection[str], by: str
    ) -> None:
        self._target, self._marks, self._cluster, self._present = target, marks, cluster, present
        self._user = events.UserInfo(by, SOURCE)

    def write(self, connection: base.Connection, *, seen: Mapping[str, str], seed: str) -> list[inventory.Item]:
        """Write a DELETE for each file that is what was seen of it (path -> blob) and left over; those files."""
        paused = rules.paused_specs(connection, self._target.id, cluster=self._cluster, present=self._present)
        unlisted = seeds.incomplete_types(connection, self._target.place_id)
        found = inventory.by_paths(connection, self._target.place_id, list(seen))
        items = [
            item
            for path, item in sorted(found.items())
            if not item.removed and item.blob_id == seen[path] and self._is_left_over(item, paused, unlisted)
        ]
        numbers = ledger.take_numbers(connection, {self._target.id: len(items)})
        ledger.append(connection, [self._entry(item, seed) for item in items], numbers)
        return items

    def _is_left_over(
        self, item: inventory.Item, paused: Collection[Mapping[str, Any]], unlisted: Collection[tuple[str, str]]
    ) -> bool:
        """No rule selects it, nor did one that is out of order now; and where one looks at its type, it was listed."""
        what = item.identifier
        if any(_covers(spec, what) for spec in paused) or (what.group, what.resource) in unlisted:
            return False
        return judging.is_left_over(item, marks=self._marks)

    def _entry(self, item: inventory.Item, seed: str) -> ledger.Entry:
        origin = eventing.Origin(self._cluster, item.source_epoch, datetime.now(UTC))
        return eventing.removal(self._target, origin, item, rule=RULE, user=self._user, seed=seed)


def _covers(spec: Mapping[str, Any], what: events.Identifier) -> bool:
    return any(
        (scope["group"], scope["resource"]) == (what.group, what.resource)
        and scope["namespace"] in {"", what.namespace}
        for scope in spec["scopes"]
    )
