"""Every built-in type: what is mirrored and applied again is what was mirrored, and says what a person wrote.

One file, because each process that runs a part of it makes all the round trips anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app import errors
from app.rules import sanitising
from tests.roundtrip import counting, defaults, page, travels
from tests.roundtrip.travelling import Travelling, mirrored
from tests.roundtrip.travels import Kind, Object
from tests.servers.api import KUBE_ONLY, SANDBOX_ONLY

pytestmark = pytest.mark.kubectl

KINDS = travels.by_kind()
# What is asked of the product: this many built-in types that can be created.
AT_LEAST = 45

CLIENT_SIDE, SERVER_SIDE = (), ("--server-side",)
# What the files say right, and only one way of applying reads right.
NULL = {
    "apiVersion": "garden.example.com/v1",
    "kind": "Path",
    "metadata": {"name": "null", "namespace": "garden"},
    "spec": {"nothing": None, "width": 2},
}
NEXT_LINE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "next-line", "namespace": "garden"},
    "data": {"text": "one\x85two"},
}


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


@KUBE_ONLY
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_server_s_own_apply_brings_the_same(travelling: Travelling, kind: Kind) -> None:
    """So it is for those who apply on the server's side, as many tools do: nobody owns the defaults then."""
    trips = travelling.trips(kind)
    assert {trip.path: trip.by_server.decode() for trip in trips} == {trip.path: trip.first.decode() for trip in trips}


@KUBE_ONLY
@pytest.mark.parametrize(
    ("manifest", "right", "wrong"),
    [(NULL, SERVER_SIDE, CLIENT_SIDE), (NEXT_LINE, CLIENT_SIDE, SERVER_SIDE)],
    ids=["null", "next line"],
)
def test_what_one_way_of_applying_loses(
    travelling: Travelling, manifest: Object, right: Sequence[str], wrong: Sequence[str]
) -> None:
    """A null, and the character U+0085, stand in the file; it is kubectl or the server that loses them on the way."""
    travelling.create(manifest)
    file = mirrored(travelling.read(manifest))
    travelling.remove(manifest)
    files = {travelling.path_of(manifest): file}
    assert travelling.again([manifest], files, *right) == [file]
    assert travelling.again([manifest], files, *wrong) != [file]


@SANDBOX_ONLY
def test_what_the_sandbox_serves_travels(travelling: Travelling) -> None:
    """The same for the sandbox, which fills in few defaults and takes every type that it knows."""
    kinds = KINDS.keys() & travelling.served.keys()
    assert len(kinds) >= AT_LEAST / 2
    for trip in (trip for kind in kinds for trip in travelling.trips(kind)):
        assert trip.second.decode() == trip.first.decode()


@KUBE_ONLY
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_intent_is_lost(travelling: Travelling, kind: Kind) -> None:
    """Every field that a person wrote, and the server kept, stands in the file with its value and type."""
    found = {trip.path: list(counting.lost(trip)) for trip in travelling.trips(kind)}
    assert {path: fields for path, fields in found.items() if fields} == {}


@KUBE_ONLY
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nothing_of_the_server_is_kept(travelling: Travelling, kind: Kind) -> None:
    """A field that nobody wrote is a documented default."""
    found = {trip.path: counting.unexplained(trip) for trip in travelling.trips(kind)}
    assert {path: fields for path, fields in found.items() if fields} == {}


@KUBE_ONLY
def test_no_default_is_left_over(travelling: Travelling) -> None:
    """A default that no server fills in any more goes from the table."""
    trips = (trip for kind in KINDS for trip in travelling.trips(kind))
    used = {defaults.row_of(*field) for trip in trips for field in counting.added(trip)}
    assert defaults.DEFAULTS.keys() - used == set()


@KUBE_ONLY
def test_the_page_of_types_tells_what_is_found(travelling: Travelling) -> None:
    """What the reference says of each type is what this server does; only the date may be another."""
    assert page.PATH.read_text().splitlines()[page.DATED :] == page.of(travelling).splitlines()[page.DATED :]
