"""Rows that remove the files which a person wants gone (`reverser prune`).

The person saw each file with its content. What is another one by now is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from app import events
from app.models import inventory, ledger
from app.watch import eventing, routing

RULE = "reverser prune"
SOURCE = "command"


def entries(
    target: routing.Target,
    items: Iterable[inventory.Item],
    *,
    seen: Mapping[str, str],
    cluster: str,
    by: str,
    seed: str,
) -> list[ledger.Entry]:
    """A DELETE for each file that is what was seen of it (path -> blob), in the order of their paths."""
    user = events.UserInfo(by, SOURCE)
    return [
        eventing.removal(
            target,
            eventing.Origin(cluster, item.source_epoch, datetime.now(UTC)),
            item,
            rule=RULE,
            user=user,
            seed=seed,
        )
        for item in sorted(items, key=lambda item: item.path)
        if not item.removed and item.blob_id == seen[item.path]
    ]
