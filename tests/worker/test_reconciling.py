"""Moments of the consumer's loop that no live broker can be made to hit: the consumer here stands in for a fault."""

from __future__ import annotations

import json
import uuid
from typing import Any

from kombu.message import Message

from app import events, publishing, queues
from app.events import Ref
from app.settings import Settings
from app.worker import roster, serving

PROD, DEV = Ref("shop", "prod"), Ref("shop", "dev")


def delivery(destination: Ref) -> Message:
    """A good message from a destination's queue."""
    kwargs = events.Message(destination=destination, first=1, last=1).to_json()
    return Message(
        body=json.dumps([[], kwargs, {}]).encode(),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": events.TASK_APPLY_EVENTS, "id": str(uuid.uuid4()), "lang": "py"},
        delivery_info={"routing_key": events.queue_name(destination)},
    )


class _Consumer:
    """As much of a consumer as giving queues up needs; a message of shop/prod comes while a cancel is answered."""

    def __init__(self, settings: Settings, service: serving.Service) -> None:
        self.task_consumer: Any = None
        self.cancelled: list[str] = []
        self.app = queues.make_app(settings)
        self.app.amqp.queues.select([events.queue_name(PROD), events.queue_name(DEV)])
        self._service = service

    def cancel_task_queue(self, name: str) -> None:
        """Stop listening to a queue."""
        self.cancelled.append(name)
        self.app.amqp.queues.deselect(name)
        if len(self.cancelled) == 1:
            self._service.receive(self, delivery(PROD), lambda _message: None)  # type: ignore[arg-type]


def test_a_queue_whose_message_came_while_another_is_given_up_is_kept(redis_url: str) -> None:
    """A queue is looked at again before it is given up: its message may have come since the others were."""
    settings = Settings(broker_url=redis_url)
    own = roster.Roster(settings, globs=[], dedicated=False)
    publisher = publishing.Publisher(settings)
    service = serving.Service(own, publisher, grace=1.0)
    consumer = _Consumer(settings, service)
    service.reconcile(consumer)  # type: ignore[arg-type]
    publisher.close()
    assert consumer.cancelled == ["dest.shop.dev"]
    assert own.serves == ("shop/prod",)
