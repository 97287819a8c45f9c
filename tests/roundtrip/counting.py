"""What a trip did to the fields of an object: counts for the page of types, and the fields that a test has to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from app.rules import sanitising
from tests.roundtrip import comparing, defaults, travels
from tests.roundtrip.travelling import Trip


@dataclass(frozen=True, slots=True)
class Count:
    """Sums over the objects of one kind."""

    objects: int
    written: int
    lost: int
    rewritten: int
    added: int
    removed: int
    size: int
    equal: bool

    @classmethod
    def of(cls, trips: Sequence[Trip]) -> Count:
        """Count what the trips of one kind did."""
        return cls(
            objects=len(trips),
            written=sum(len(list(comparing.fields(trip.manifest))) for trip in trips),
            lost=sum(len(list(lost(trip))) for trip in trips),
            rewritten=sum(len(list(rewritten(trip))) for trip in trips),
            added=sum(len(list(added(trip))) for trip in trips),
            removed=sum(len(sanitising.removals(trip.live)) for trip in trips),
            size=sum(len(trip.first) for trip in trips),
            equal=all(trip.first == trip.second == trip.by_server for trip in trips),
        )


def file_of(trip: Trip) -> Any:
    """What the file says, as a reader of YAML 1.1 finds it."""
    return yaml.safe_load(trip.first)


def lost(trip: Trip) -> Iterator[tuple[str, Any, Any]]:
    """What a person wrote and the server kept, but the file does not hold, and for no reason that we know."""
    live, kind = list(rewritten(trip)), travels.kind_of(trip.manifest)
    gone = (one for one in comparing.missing(trip.manifest, file_of(trip)) if one not in live)
    return (one for one in gone if (kind, one[0]) not in travels.NEVER_SAID)


def rewritten(trip: Trip) -> Iterator[tuple[str, Any, Any]]:
    """What the server itself did not keep as it was written: it left it out, or wrote a quantity in its own way."""
    return comparing.missing(trip.manifest, trip.live)


def added(trip: Trip) -> Iterator[comparing.Field]:
    """What the file holds and nobody wrote."""
    return comparing.added(trip.manifest, file_of(trip))


def unexplained(trip: Trip) -> list[comparing.Field]:
    """What the file holds, and neither a person nor a documented default put there."""
    return [field for field in added(trip) if defaults.row_of(*field) is None]
