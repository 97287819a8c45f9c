"""The Event and the queue message: the wire format of Reverser (DESIGN section 5).

Standard library only, because every room and every foreign reader may depend on it. An Event names its
destination, branch and folder; it never holds an object's content, which stands in the ledger.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NewType, Self

from app import errors

QueueName = NewType("QueueName", str)

SCHEMA = 1
# Measured: a batch of 100 is worth a factor of 60 over single messages; more gains nothing.
EVENTS_PER_MESSAGE = 100
# A batch of 100 Events is about 100 kB; what is ten times larger is not ours.
MAX_MESSAGE_BYTES = 1_500_000

TASK_APPLY_EVENTS = "reverser.apply_events"
TASK_APPLY_SEED = "reverser.apply_seed"
TASK_SWEEP_ORPHANS = "reverser.sweep_orphans"


class Operation(StrEnum):
    """What happened to the object; SEED_SYNC closes a seed."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    SEED_SYNC = "SEED_SYNC"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The name of a namespaced object of ours; `str()` is `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `namespace/name`. Raises MessageError."""
        namespace, slash, name = text.partition("/")
        if not (slash and namespace and name) or "/" in name:
            raise errors.MessageError(f"not a namespace/name: {text[:80]!r}")
        return cls(namespace, name)


def queue_name(destination: Ref) -> QueueName:
    """Queue and routing key of a destination. A namespace has no dot, so the key reads back one way only."""
    return QueueName(f"dest.{destination.namespace}.{destination.name}")


def destination_of(queue: str) -> Ref | None:
    """The destination a queue belongs to, or None for a queue that is not a destination's."""
    prefix, _, rest = queue.partition(".")
    namespace, _, name = rest.partition(".")
    return Ref(namespace, name) if prefix == "dest" and namespace and name else None


@dataclass(frozen=True, slots=True)
class Identifier:
    """One Kubernetes object. `group` and `namespace` are empty for the core group and for cluster scope."""

    group: str
    version: str
    resource: str
    namespace: str
    name: str
    kind: str
    uid: str

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`, as in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        """`apps/v1/deployments/web`, without the namespace, as commit subjects show it."""
        return f"{self.api_version}/{self.resource}/{self.name}"


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who made a change, as far as it is known; `source` says how: `managedFields`, later audit or admission."""

    username: str
    source: str
    uid: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeCount:
    """One scope of a finished seed: `complete` says whether it may be swept."""

    group: str
    resource: str
    namespace: str
    list_resource_version: str
    listed: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object for one destination. Build it with `Event.create`, which fills `id`."""

    id: str
    sequence: int
    cluster: str
    source_epoch: int
    operation: Operation
    identifier: Identifier | None
    resource_version: str
    observed_at: datetime
    destination: Ref
    destination_uid: str
    repo_config: Ref
    branch: str
    base_folder: str
    place_generation: int
    rule: str
    user_info: UserInfo | None = None
    content_hash: str | None = None
    seed: str | None = None
    scopes: tuple[ScopeCount, ...] = ()

    @classmethod
    def create(cls, **fields: Any) -> Self:
        """Check the invariants and derive `id`; `sequence` is 0 until the ledger numbers it.

        The id is the same whenever the same change of the same object, named by type, name and uid, is seen.

        Raises EventError for an Event without branch, folder, destination or object (promise P4).
        """
        event = cls(id="", sequence=0, **fields)
        for name in ("branch", "base_folder", "destination_uid", "cluster"):
            if not getattr(event, name):
                raise errors.EventError(f"an Event for {event.destination} has no {name}: it is not made")
        if event.place_generation < 1:
            raise errors.EventError(f"an Event for {event.destination} has no place generation: it is not made")
        if (event.identifier is None) != (event.operation is Operation.SEED_SYNC):
            raise errors.EventError(f"a {event.operation} Event for {event.destination} names the wrong object")
        return replace(event, id=event._digest())

    def numbered(self, sequence: int) -> Self:
        """The same Event with its number in the destination's ledger."""
        # Done for each row while the numbers are locked: dataclasses.replace takes five times as long.
        return type(self)(self.id, sequence, *_AFTER_SEQUENCE(self))

    def _digest(self) -> str:
        what = self.identifier
        # Type and name beside the uid: one object is served under two groups with one uid (events), and some have none.
        identity = (what.group, what.version, what.resource, what.namespace, what.name, what.uid) if what else ()
        parts = (
            self.cluster,
            self.source_epoch,
            self.destination_uid,
            self.place_generation,
            *identity,
            self.resource_version,
            self.operation.value,
            self.seed or "",
        )
        # JSON keeps the parts apart whatever they hold; 128 bits are enough to be unique in a ledger.
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """The wire form, as DESIGN section 5 names the fields."""
        return {
            "id": self.id,
            "sequence": self.sequence,
            "cluster": self.cluster,
            "source_epoch": self.source_epoch,
            "operation": self.operation.value,
            "identifier": asdict(self.identifier) if self.identifier else None,
            "resource_version": self.resource_version,
            "observed_at": self.observed_at.astimezone(UTC).isoformat(),
            "git_destination_ref": self.destination.name,
            "git_destination_namespace": self.destination.namespace,
            "git_destination_uid": self.destination_uid,
            "git_repo_config_ref": self.repo_config.name,
            "git_repo_config_namespace": self.repo_config.namespace,
            "branch": self.branch,
            "base_folder": self.base_folder,
            "place_generation": self.place_generation,
            "rule": self.rule,
            "user_info": asdict(self.user_info) if self.user_info else None,
            "content_hash": self.content_hash,
            "seed": self.seed,
            "scopes": [asdict(scope) for scope in self.scopes],
        }


_AFTER_SEQUENCE = operator.attrgetter(*[field.name for field in fields(Event)][2:])


@dataclass(frozen=True, slots=True)
class Message:
    """What travels on a destination's queue: a ring, with the Events it is about.

    A worker needs `destination`, `first` and `last` only; a ring of the sweeper has no Events. `uid` is that of the
    destination whose numbers these are, where Events tell it: another one may have had the name before.
    """

    destination: Ref
    first: int
    last: int
    events: tuple[Event, ...] = ()
    uid: str = field(default="", compare=False)

    @property
    def task(self) -> str:
        """The task name that tells a reader of Flower what is going on; all of them enter one drain."""
        if any(event.operation is Operation.SEED_SYNC for event in self.events):
            return TASK_SWEEP_ORPHANS
        return TASK_APPLY_SEED if self.events and self.events[0].seed else TASK_APPLY_EVENTS

    def to_json(self) -> dict[str, Any]:
        """The keyword arguments of the task."""
        return {
            "schema": SCHEMA,
            "destination": str(self.destination),
            "first": self.first,
            "last": self.last,
            "events": [event.to_json() for event in self.events],
        }

    def summary(self) -> str:
        """What Flower shows as kwargs: identity, never content. `kwargs:dest=shop/prod` finds it."""
        what = "ring"
        if self.events:
            head = self.events[0]
            what = f"{head.operation.value} {head.identifier}" if head.identifier else head.operation.value
            if len(self.events) > 1:
                what += f" and {len(self.events) - 1} more"
        return str({"dest": str(self.destination), "events": what, "first": self.first, "last": self.last})


def read_envelope(kwargs: Mapping[str, Any]) -> Message:
    """Destination, first and last of a message, and its uid, whatever else it holds: enough to ring.

    Raises MessageError for an unknown schema, a destination that is no `namespace/name`, or numbers that are none.
    """
    schema, first, last = kwargs.get("schema"), kwargs.get("first"), kwargs.get("last")
    if schema != SCHEMA:
        raise errors.MessageError(f"message schema {str(schema)[:20]!r} is not {SCHEMA}: upgrade the worker")
    if not (type(first) is int and type(last) is int and 0 <= first <= last):
        raise errors.MessageError("a message needs whole numbers with 0 <= first <= last")
    destination = kwargs.get("destination")
    if not isinstance(destination, str):
        raise errors.MessageError("a message needs a destination, namespace/name")
    return Message(destination=Ref.parse(destination), first=first, last=last, uid=_uid(kwargs.get("events")))


def _uid(events: object) -> str:
    head = events[0] if isinstance(events, list) and events else None
    uid = head.get("git_destination_uid") if isinstance(head, dict) else None
    return uid if isinstance(uid, str) else ""


def messages_for(events: Sequence[Event]) -> Iterator[Message]:
    """Cut numbered Events into messages: one destination and one kind of task each, at most 100 Events, in order."""
    batch: list[Event] = []
    for event in sorted(events, key=lambda event: (event.destination, event.sequence)):
        if batch and (len(batch) == EVENTS_PER_MESSAGE or _flow(event) != _flow(batch[0])):
            yield _message(batch)
            batch = []
        batch.append(event)
    if batch:
        yield _message(batch)


def _flow(event: Event) -> tuple[Ref, bool, bool]:
    return event.destination, event.seed is None, event.operation is Operation.SEED_SYNC


def _message(batch: Sequence[Event]) -> Message:
    return Message(
        destination=batch[0].destination,
        first=batch[0].sequence,
        last=batch[-1].sequence,
        events=tuple(batch),
        uid=batch[0].destination_uid,
    )
