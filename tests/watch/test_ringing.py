"""The sweeper's bells: whom to ring for, and how often."""

from __future__ import annotations

from app.events import Ref
from app.models import states
from app.watch import ringing

SHOP = Ref("shop", "prod")


def waiting(first: int = 5, *, due: bool = True) -> list[states.Waiting]:
    """One destination with rows that pend."""
    return [states.Waiting(destination_id=1, ref=SHOP, first=first, last=9, due=due)]


def rings(bells: ringing.Bells, seconds: range, **what: bool) -> list[int]:
    """The moments at which a bell rings."""
    return [now for now in seconds if bells.due(waiting(**what), now=now)]


def test_rings_double_without_progress() -> None:
    """Rings of one destination double from one second to the longest distance, until there is progress."""
    assert rings(ringing.Bells(longest=8), range(40)) == [1, 2, 4, 8, 16, 24, 32]


def test_progress_starts_from_the_first_distance() -> None:
    """When the first pending number moves, the next ring is a second away again."""
    bells = ringing.Bells(longest=60)
    assert rings(bells, range(20)) == [1, 2, 4, 8, 16]
    assert not bells.due(waiting(first=8), now=20)
    assert bells.due(waiting(first=8), now=21)


def test_fresh_rows_are_left_alone_for_a_second() -> None:
    """Rows that were just published are not rung for."""
    assert not ringing.Bells(longest=60).due(waiting(), now=100)


def test_what_is_not_due_is_not_rung_and_rings_at_once_when_it_is() -> None:
    """`not_before` holds the bell; when it passed, the first look rings."""
    bells = ringing.Bells(longest=60)
    assert rings(bells, range(30), due=False) == []
    assert bells.due(waiting(), now=30)


def test_what_no_longer_pends_is_forgotten() -> None:
    """A destination whose rows were done starts anew when rows pend again."""
    bells = ringing.Bells(longest=60)
    rings(bells, range(20))
    bells.due([], now=20)
    assert not bells.due(waiting(), now=21)
    assert bells.due(waiting(), now=22)


def test_rings_that_are_lost_are_not_waited_for() -> None:
    """While the broker takes nothing one ring a second asks for it; after that each one is rung for within a second."""
    bells = ringing.Bells(longest=60)
    shop, infra = waiting()[0], states.Waiting(destination_id=2, ref=Ref("infra", "prod"), first=1, last=1, due=True)
    for now in range(100):
        bells.due([shop, infra], now=now)
    assert [bells.due([shop, infra], now=now, lost=True) for now in range(100, 103)] == [[shop]] * 3
    assert not bells.due([shop, infra], now=103)
    assert bells.due([shop, infra], now=104) == [shop, infra]


def test_what_is_put_off_asks_for_no_broker() -> None:
    """A destination that waits for its next try is not rung for, also where that would only ask for the broker."""
    assert ringing.Bells(longest=60).due(waiting(due=False), now=1, lost=True) == []
