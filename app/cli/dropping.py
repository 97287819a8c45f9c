"""What the watch daemon's publisher drops, in words: for `reverser status` and `reverser doctor`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """One reason in words, and what a person can do about it."""

    found: str
    do: str


def tell(drops: Mapping[str, int]) -> Iterator[Said]:
    """Each reason with what it is counted; one that a newer watch daemon knows has no advice here."""
    if not drops:
        return
    # Celery is loaded where it is needed: it costs as much time as all the rest.
    publishing = importlib.import_module("app.publishing")
    for reason, count in sorted(drops.items()):
        messages = "1 message was" if count == 1 else f"{count} messages were"
        yield Said(
            f"publishing fails ({reason}): {messages} dropped since the watch daemon started; no change is lost, what "
            "pends is rung for",
            do=publishing.ADVICE.get(reason, "look into the watch daemon's log"),
        )
