"""What becomes of one pending row, before Git is asked: write, remove, or an end without either. Pure.

Order of the questions matters: a row that is older than what stands in Git must never win (DESIGN section 2), and a
DELETE of one object never removes the file of another that took its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.events import Operation
from app.models import inventory, ledger
from app.rules import versions


@dataclass(frozen=True, slots=True)
class Write:
    """Render the object and put it at the row's path."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the file away and leave a tombstone."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing to do in Git; the row ends in `state`."""

    state: str
    reason: str


Verdict = Write | Remove | End

WRITE, REMOVE = Write(), Remove()


def judge(row: ledger.Pending, item: inventory.Item | None, before: Iterable[inventory.Item] = ()) -> Verdict:
    """Decide for one row, given the inventory's row of its path (with what this drain did so far).

    `before` is what was recorded of the path by those who had the folder earlier. It makes no file ours, but a stream
    that comes from further back than they had come must not take their files back. A seed is not behind them.
    """
    if item is not None and item.removed and row.seed_run_id and row.operation is not Operation.DELETE:
        # A complete listing found the object; what was deleted while it was listed is stale before it comes here.
        return WRITE
    records = [item] if item is not None else before if row.seed_run_id is None else ()
    if outdated := next(filter(None, (_outdated(row, one) for one in records)), None):
        return outdated
    same_object = item is not None and item.identifier.uid == row.identifier.uid
    return _judge_removal(row, item, same_object=same_object) if row.operation is Operation.DELETE else WRITE


def _outdated(row: ledger.Pending, item: inventory.Item) -> End | None:
    """Whether something newer than the row is recorded of the file."""
    same_object = item.identifier.uid == row.identifier.uid
    if _is_older(row, item):
        # Who took a name later has only later versions.
        reason = f"Git holds resourceVersion {item.resource_version} of this object already"
        return End(ledger.STALE, reason if same_object else "the file belongs to a newer object of the same name")
    same_version = (item.source_epoch, item.resource_version) == (row.source_epoch, row.resource_version)
    if item.removed and same_object and same_version and row.operation is not Operation.DELETE:
        return End(ledger.STALE, "the object was removed at this resourceVersion")
    return None


def _judge_removal(row: ledger.Pending, item: inventory.Item | None, *, same_object: bool) -> Verdict:
    recorded = item is not None and not item.removed
    if row.is_adopted:
        return End(ledger.STALE, "there is a record of the file by now") if recorded else REMOVE
    if not recorded:
        return End(ledger.UNCHANGED, "no file of ours at this path")
    if not same_object:
        return End(ledger.STALE, "the file belongs to a newer object of the same name")
    return REMOVE


def _is_older(row: ledger.Pending, item: inventory.Item) -> bool:
    """Versions are compared within one epoch of the source: after a restored backup its numbers start again lower."""
    if row.source_epoch != item.source_epoch:
        return row.source_epoch < item.source_epoch
    return versions.newer(item.resource_version, row.resource_version) is True
