"""What stands in the files: all that a person wrote, and nothing of the server's but documented defaults."""

from __future__ import annotations

import pytest

from tests.roundtrip import counting, defaults, travels
from tests.roundtrip.travelling import Travelling
from tests.roundtrip.travels import Kind
from tests.servers.api import KUBE_ONLY

pytestmark = [pytest.mark.kubectl, KUBE_ONLY]

KINDS = travels.by_kind()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_intent_is_lost(travelling: Travelling, kind: Kind) -> None:
    """Every field that a person wrote, and the server kept, stands in the file with its value and type."""
    found = {trip.path: list(counting.lost(trip)) for trip in travelling.trips(kind)}
    assert {path: fields for path, fields in found.items() if fields} == {}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nothing_of_the_server_is_kept(travelling: Travelling, kind: Kind) -> None:
    """A field that nobody wrote is a documented default."""
    found = {trip.path: counting.unexplained(trip) for trip in travelling.trips(kind)}
    assert {path: fields for path, fields in found.items() if fields} == {}


def test_no_default_is_left_over(travelling: Travelling) -> None:
    """A default that no server fills in any more goes from the table."""
    trips = (trip for kind in KINDS for trip in travelling.trips(kind))
    used = {defaults.row_of(*field) for trip in trips for field in counting.added(trip)}
    assert defaults.DEFAULTS.keys() - used == set()
