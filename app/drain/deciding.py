"""What becomes of one pending row, before Git is asked: write, remove, or an end without either. Pure.

Order of the questions matters: a row that is older than what stands in Git must never win (DESIGN section 2), and a
DELETE of one object never removes the file of another that took its name.
"""

from __future__ import annotations

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

OF_ANOTHER = "the file belongs to a newer object of the same name"


def judge(row: ledger.Pending, item: inventory.Item | None) -> Verdict:
    """Decide for one row, given the inventory's row of its path (with what this drain did so far)."""
    if item is not None and item.removed and row.seed_run_id and row.operation is not Operation.DELETE:
        # A complete listing found the object; what was deleted while it was listed is stale before it comes here.
        return WRITE
    same_object = item is not None and item.identifier.uid == row.identifier.uid
    if item is not None and same_object and _is_older(row, item):
        return End(ledger.STALE, f"Git holds resourceVersion {item.resource_version} of this object already")
    if row.operation is not Operation.DELETE:
        return _judge_write(row, item, same_object=same_object)
    return _judge_removal(row, item, same_object=same_object)


def _judge_removal(row: ledger.Pending, item: inventory.Item | None, *, same_object: bool) -> Verdict:
    recorded = item is not None and not item.removed
    if row.is_adopted:
        return End(ledger.STALE, "there is a record of the file by now") if recorded else REMOVE
    if not recorded:
        return End(ledger.UNCHANGED, "no file of ours at this path")
    if not same_object:
        return End(ledger.STALE, OF_ANOTHER)
    return REMOVE


def _judge_write(row: ledger.Pending, item: inventory.Item | None, *, same_object: bool) -> Verdict:
    if item is None:
        return WRITE
    if not same_object:
        # A seed knows what is there now, and brings whatever a tombstone hides that has the version of a listing.
        behind = row.seed_run_id is None and _is_older(row, item)
        return End(ledger.STALE, OF_ANOTHER) if behind else WRITE
    if item.removed and (item.source_epoch, item.resource_version) == (row.source_epoch, row.resource_version):
        return End(ledger.STALE, "the object was removed at this resourceVersion")
    return WRITE


def _is_older(row: ledger.Pending, item: inventory.Item) -> bool:
    """Whether a row is older than what is recorded of its file.

    Versions are compared within one epoch of the source: after a restored backup its numbers start again lower. Of two
    objects that had one name, the later one has only later versions.
    """
    if row.source_epoch != item.source_epoch:
        return row.source_epoch < item.source_epoch
    return versions.newer(item.resource_version, row.resource_version) is True
