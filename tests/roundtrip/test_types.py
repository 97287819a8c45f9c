"""Every built-in type: what is mirrored and applied again is what was mirrored, byte for byte."""

from __future__ import annotations

import pytest

from app import errors
from app.rules import sanitising
from tests.roundtrip import travels
from tests.roundtrip.travelling import Travelling
from tests.roundtrip.travels import Kind
from tests.servers.api import KUBE_ONLY, SANDBOX_ONLY

pytestmark = pytest.mark.kubectl

KINDS = travels.by_kind()
# What is asked of the product: this many built-in types that can be created.
AT_LEAST = 45


@KUBE_ONLY
def test_every_type_travels_or_has_a_reason_not_to(travelling: Travelling) -> None:
    """A type that a new server brings along does not go unseen."""
    assert travelling.served.keys() == KINDS.keys() | travels.REASONS.keys()
    assert not KINDS.keys() & travels.REASONS.keys()
    assert len([kind for kind in KINDS if not travels.is_custom(kind)]) >= AT_LEAST


@KUBE_ONLY
def test_the_reasons_are_true(travelling: Travelling) -> None:
    """What does not travel cannot be created, listed and watched; but for Secrets, which are refused."""
    able = {kind for kind in travels.REASONS if travelling.served[kind].verbs >= travels.NEEDED}
    assert able == {Kind("v1", "Secret")}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tank", "uid": "1"}, "data": {"a": "Yg=="}}
    with pytest.raises(errors.PermanentError) as raised:
        sanitising.sanitise(secret)
    assert raised.value.reason == "EncryptionRequired"


@KUBE_ONLY
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_second_mirroring_is_the_first(travelling: Travelling, kind: Kind) -> None:
    """An object that is made anew from its file is mirrored as that file, byte for byte."""
    trips = travelling.trips(kind)
    assert {trip.path: trip.second.decode() for trip in trips} == {trip.path: trip.first.decode() for trip in trips}


@SANDBOX_ONLY
def test_what_the_sandbox_serves_travels(travelling: Travelling) -> None:
    """The same for the sandbox, which fills in few defaults and takes every type that it knows."""
    kinds = KINDS.keys() & travelling.served.keys()
    assert len(kinds) >= AT_LEAST / 2
    for trip in (trip for kind in kinds for trip in travelling.trips(kind)):
        assert trip.second.decode() == trip.first.decode()
