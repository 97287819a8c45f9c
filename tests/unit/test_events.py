"""Events and messages: the wire format, and the invariants of an Event (promise P4)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors, events
from app.events import Event, Identifier, Message, Operation, Ref, ScopeCount, UserInfo

PROD = Ref("shop", "prod")
CONFIGMAP = Identifier("", "v1", "configmaps", "shop", "app-config", "ConfigMap", "uid-1")
FIELDS: dict[str, Any] = {
    "cluster": "home",
    "source_epoch": 1,
    "operation": Operation.UPDATE,
    "identifier": CONFIGMAP,
    "resource_version": "17",
    "observed_at": datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    "destination": PROD,
    "destination_uid": "uid-d",
    "repo_config": Ref("shop", "repo"),
    "branch": "main",
    "base_folder": "clusters/prod",
    "place_generation": 1,
    "rule": "WatchRule shop/apps",
}


def _event(sequence: int = 0, **fields: Any) -> Event:
    return Event.create(**{**FIELDS, **fields}).numbered(sequence)


def _seed_sync(sequence: int = 0) -> Event:
    scope = ScopeCount("", "configmaps", "shop", "17", listed=2, complete=True)
    return _event(sequence, operation=Operation.SEED_SYNC, identifier=None, seed="run", scopes=(scope,))


@pytest.mark.parametrize("field", ["branch", "base_folder", "destination_uid", "cluster"])
def test_an_event_without_its_place_is_not_made(field: str) -> None:
    """P4: rejected where it is made, by name."""
    with pytest.raises(errors.EventError, match=field):
        _event(**{field: ""})


@pytest.mark.parametrize(
    "fields",
    [
        {"place_generation": 0},
        {"identifier": None},
        {"operation": Operation.SEED_SYNC},
    ],
)
def test_an_event_that_contradicts_itself_is_not_made(fields: dict[str, Any]) -> None:
    """A change names an object, the end of a seed names none, and a place has a generation."""
    with pytest.raises(errors.EventError):
        _event(**fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cluster", "west"),
        ("source_epoch", 2),
        ("destination_uid", "other"),
        ("place_generation", 2),
        ("identifier", Identifier("", "v1", "configmaps", "shop", "app-config", "ConfigMap", "uid-2")),
        ("identifier", Identifier("apps", "v1", "configmaps", "shop", "app-config", "ConfigMap", "uid-1")),
        ("identifier", Identifier("", "v2", "configmaps", "shop", "app-config", "ConfigMap", "uid-1")),
        ("identifier", Identifier("", "v1", "events", "shop", "app-config", "ConfigMap", "uid-1")),
        ("identifier", Identifier("", "v1", "configmaps", "team", "app-config", "ConfigMap", "uid-1")),
        ("identifier", Identifier("", "v1", "configmaps", "shop", "other", "ConfigMap", "uid-1")),
        ("resource_version", "18"),
        ("operation", Operation.DELETE),
        ("seed", "run"),
    ],
)
def test_the_id_tells_changes_apart(field: str, value: Any) -> None:
    """The same change has the same id whenever it is seen; another one has another."""
    assert _event().id == _event(observed_at=datetime.now(UTC), rule="other", content_hash="x").id
    assert _event().id != _event(**{field: value}).id
    assert len(_event().id) == 32


def test_an_event_speaks_the_names_of_the_design() -> None:
    """The wire form is JSON with fixed names, and times are UTC."""
    user = UserInfo("kubectl-edit", "managedFields")
    wire = json.loads(json.dumps(_event(9, user_info=user, content_hash="abc").to_json()))
    assert wire == {
        "id": _event().id,
        "sequence": 9,
        "cluster": "home",
        "source_epoch": 1,
        "operation": "UPDATE",
        "identifier": {
            "group": "",
            "version": "v1",
            "resource": "configmaps",
            "namespace": "shop",
            "name": "app-config",
            "kind": "ConfigMap",
            "uid": "uid-1",
        },
        "resource_version": "17",
        "observed_at": "2024-01-01T10:00:00+00:00",
        "git_destination_ref": "prod",
        "git_destination_namespace": "shop",
        "git_destination_uid": "uid-d",
        "git_repo_config_ref": "repo",
        "git_repo_config_namespace": "shop",
        "branch": "main",
        "base_folder": "clusters/prod",
        "place_generation": 1,
        "rule": "WatchRule shop/apps",
        "user_info": {"username": "kubectl-edit", "source": "managedFields", "uid": "", "groups": []},
        "content_hash": "abc",
        "seed": None,
        "scopes": [],
    }
    assert _event().to_json()["user_info"] is None


def test_the_end_of_a_seed_counts_its_scopes() -> None:
    """SEED_SYNC names no object, and says how much was listed."""
    wire = _seed_sync().to_json()
    assert wire["identifier"] is None
    assert wire["scopes"][0]["listed"] == 2


def test_identities_print_as_people_write_them() -> None:
    """Core and named groups, as in a manifest."""
    assert str(CONFIGMAP) == "v1/configmaps/app-config"
    assert str(Identifier("apps", "v1", "deployments", "shop", "web", "Deployment", "u")) == "apps/v1/deployments/web"


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
subdomains = st.lists(labels, min_size=1, max_size=3).map(".".join)


@given(labels, subdomains)
def test_a_queue_name_reads_back_one_way(namespace: str, name: str) -> None:
    """A namespace has no dot, a name may have some: the key is the destination and nothing else."""
    ref = Ref(namespace, name)
    assert events.destination_of(events.queue_name(ref)) == ref
    assert Ref.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "queue", ["", "celery", "dest", "dest.", "dest.shop", "dest.shop.", "dest..prod", "other.shop.prod"]
)
def test_a_queue_that_is_not_a_destinations_is_nobodys(queue: str) -> None:
    """Foreign queues on the broker are left alone."""
    assert events.destination_of(queue) is None


@pytest.mark.parametrize("text", ["", "shop", "shop/", "/prod", "a/b/c"])
def test_a_reference_is_namespace_and_name(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(errors.MessageError):
        Ref.parse(text)


def test_a_message_is_called_after_what_it_brings() -> None:
    """Flower shows three tasks; a bare ring is a live one."""
    assert Message(PROD, 1, 1).task == events.TASK_APPLY_EVENTS
    assert Message(PROD, 1, 1, (_event(),)).task == events.TASK_APPLY_EVENTS
    assert Message(PROD, 1, 1, (_event(seed="run"),)).task == events.TASK_APPLY_SEED
    assert Message(PROD, 1, 1, (_seed_sync(),)).task == events.TASK_SWEEP_ORPHANS


def test_a_summary_is_identity_and_can_be_searched() -> None:
    """`kwargs:dest=shop/prod` finds it in Flower; nothing of an object's content is in it."""
    one = Message(PROD, 900, 900, (_event(900),))
    assert (
        one.summary() == "{'dest': 'shop/prod', 'events': 'UPDATE v1/configmaps/app-config', 'first': 900, 'last': 900}"
    )
    assert "and 1 more" in Message(PROD, 900, 901, (_event(900), _event(901))).summary()
    assert "'events': 'SEED_SYNC'" in Message(PROD, 1, 1, (_seed_sync(),)).summary()
    assert "'events': 'ring'" in Message(PROD, 1, 1).summary()


def test_an_envelope_reads_back() -> None:
    """Schema, destination, first and last are all that a worker needs, whatever the rest holds."""
    wire = Message(PROD, 900, 941, (_event(900),)).to_json()
    assert events.read_envelope({**wire, "events": object(), "news": 1}) == Message(PROD, 900, 941)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"first": "1"},
        {"first": True},
        {"first": 2, "last": 1},
        {"first": -1},
        {"last": None},
        {"destination": None},
        {"destination": "shop"},
        {"destination": ["shop", "prod"]},
    ],
)
def test_an_envelope_that_cannot_be_read_is_refused(change: dict[str, Any]) -> None:
    """It goes to the dead letters; the queue goes on."""
    with pytest.raises(errors.MessageError):
        events.read_envelope({**Message(PROD, 1, 2).to_json(), **change})


def test_events_are_cut_into_messages_of_one_destination_and_one_flow() -> None:
    """At most 100 Events, in order, live ones and a seed's apart, SEED_SYNC alone."""
    other = Ref("shop", "dev")
    live = [_event(number) for number in range(1, 151)]
    seed = [_event(151, seed="run"), _seed_sync(152)]
    dev = [_event(1, destination=other)]
    messages = list(events.messages_for([*reversed(live), *seed, *dev]))
    assert [(message.destination, message.first, message.last, message.task) for message in messages] == [
        (other, 1, 1, events.TASK_APPLY_EVENTS),
        (PROD, 1, 100, events.TASK_APPLY_EVENTS),
        (PROD, 101, 150, events.TASK_APPLY_EVENTS),
        (PROD, 151, 151, events.TASK_APPLY_SEED),
        (PROD, 152, 152, events.TASK_SWEEP_ORPHANS),
    ]
    assert list(events.messages_for([])) == []


def test_a_full_message_stays_below_the_limit() -> None:
    """100 Events with long names are far from the size at which a message is refused."""
    name = Identifier("g" * 63, "v1", "r" * 63, "n" * 63, "x" * 253, "K" * 63, "u" * 36)
    wire = json.dumps(Message(PROD, 1, 100, tuple(_event(identifier=name) for _ in range(100))).to_json())
    assert len(wire) < events.MAX_MESSAGE_BYTES / 5
