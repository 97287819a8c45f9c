"""What a message must look like before Celery touches it; everything else is refused here, with a reason.

Anybody who can write to the broker can put anything on a queue: pickle, megabytes, a thousand brackets, callbacks into
other tasks, an eta that holds a slot for a year. So a message is checked from outside, and only what a worker needs
(DESIGN section 5: destination, first and last) is handed on, in a body and headers written anew. Pure: `app/worker`
calls it for each delivery, acknowledges what it refuses, and rings for the queue it came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app import errors, events

# Flower shows it; a summary of ours is far shorter.
SUMMARY_LONGEST = 500
_TASKS = frozenset({events.TASK_APPLY_EVENTS, events.TASK_APPLY_SEED, events.TASK_SWEEP_ORPHANS})
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
# The fourth part of a body: what Celery would do after the task. Ours does nothing.
_NOTHING_AFTER = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True)
class Delivery:
    """One message as the consumer got it; nothing in it is trusted but `queue`."""

    queue: str
    content_type: Any
    content_encoding: Any
    headers: Any
    body: Any


@dataclass(frozen=True)
class Admitted:
    """A message that may become a task: its envelope, and what Celery is given instead of the original."""

    message: events.Message
    headers: dict[str, Any]
    body: bytes


def admit(delivery: Delivery) -> Admitted:
    """Read a delivery. Raises MessageError that names what is wrong, never what the message holds."""
    headers = _headers(delivery)
    message = events.read_envelope(_kwargs(delivery))
    if message.destination != events.destination_of(delivery.queue):
        raise errors.MessageError("the message is for another destination than its queue")
    envelope = {"schema": events.SCHEMA, "destination": str(message.destination)}
    kwargs = {**envelope, "first": message.first, "last": message.last, "events": []}
    return Admitted(message=message, headers=headers, body=orjson.dumps([[], kwargs, _NOTHING_AFTER]))


def identity(delivery: Delivery) -> dict[str, str]:
    """What may be kept of a refused message: where it was, which task and id it claimed, never its content."""
    headers = delivery.headers if isinstance(delivery.headers, Mapping) else {}
    task, task_id = headers.get("task"), headers.get("id")
    return {
        "queue": delivery.queue[:300],
        "task": task if isinstance(task, str) and task in _TASKS else "unknown",
        "id": task_id if isinstance(task_id, str) and _ID.fullmatch(task_id) else "unknown",
        "refused_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _headers(delivery: Delivery) -> dict[str, Any]:
    """Celery's headers, written anew from the few that are believed."""
    given = delivery.headers
    if not isinstance(given, Mapping):
        raise errors.MessageError("the message has no headers")
    task, task_id, shown = given.get("task"), given.get("id"), given.get("kwargsrepr")
    if not isinstance(task, str) or task not in _TASKS:
        raise errors.MessageError("the message asks for a task that does not exist")
    if not isinstance(task_id, str) or not _ID.fullmatch(task_id):
        raise errors.MessageError("the message has no task id")
    return {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "expires": None,
        "eta": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": shown[:SUMMARY_LONGEST] if isinstance(shown, str) else "",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamps": {},
        "stamped_headers": None,
    }


def _kwargs(delivery: Delivery) -> Mapping[str, Any]:
    if delivery.content_type != "application/json":
        raise errors.MessageError("the message's content type is not application/json")
    if delivery.content_encoding not in {"utf-8", "UTF-8"}:
        raise errors.MessageError("the message's content encoding is not utf-8")
    body = delivery.body.encode() if isinstance(delivery.body, str) else delivery.body
    if not isinstance(body, bytes | bytearray | memoryview):
        raise errors.MessageError("the message has no body")
    if len(body) > events.MAX_MESSAGE_BYTES + SUMMARY_LONGEST:
        raise errors.MessageError(f"the message is larger than {events.MAX_MESSAGE_BYTES} bytes")
    return _keywords(body)


def _keywords(body: bytes | bytearray | memoryview) -> Mapping[str, Any]:
    try:
        # orjson refuses what is nested too deep for it, where the standard library runs out of stack.
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.MessageError("the message's body is no JSON, or nested too deep") from error
    if not (isinstance(content, list) and len(content) == 3 and isinstance(content[1], dict)):  # noqa: PLR2004
        raise errors.MessageError("the message's body is not arguments, keyword arguments and options")
    return content[1]
