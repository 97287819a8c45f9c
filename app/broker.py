"""Who answers at the broker's address, and what stands against us there. Asks only: changes and declares nothing.

For `reverser doctor`. Neighbours: `app/queues.py` declares and publishes, `app/celeryconfig.py` has the options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app import celeryconfig, events, queues
from app.settings import Settings

# What a queue that is not there answers: the reply code of AMQP.
_NOT_FOUND = "404"


@dataclass(frozen=True, slots=True)
class Broker:
    """Who answers at the broker's address. What a kind of broker does not have is None."""

    product: str
    version: str
    # Redis and Valkey: `master` or `slave`, the most memory in bytes (0: no limit), what goes when it is full, and
    # whether a file keeps the messages over a restart.
    role: str | None = None
    max_memory: int | None = None
    eviction: str | None = None
    append_only: bool | None = None


def describe(broker_url: str) -> str:
    """Which broker a URL names, without its user and password."""
    parts = urlsplit(broker_url)
    # A port that is no number is the broker's client to complain of.
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def survey(settings: Settings) -> Broker:
    """Ask the broker who it is. Changes nothing.

    Raises TemporaryError when it cannot be asked, SettingsError for a URL of no broker that we know.
    """
    with queues.asking(settings) as connection:
        if celeryconfig.is_amqp(settings.broker_url):
            said = connection.connection.server_properties
            return Broker(str(said.get("product", "an AMQP server")), str(said.get("version", "")))
        return _redis(connection.default_channel.client.info())


def _redis(info: Mapping[str, Any]) -> Broker:
    valkey = info.get("valkey_version")
    return Broker(
        product="Valkey" if valkey else "Redis",
        version=str(valkey or info.get("redis_version", "")),
        role=str(info.get("role", "master")),
        max_memory=int(info.get("maxmemory", 0)),
        eviction=str(info.get("maxmemory_policy", "")),
        append_only=bool(info.get("aof_enabled")),
    )


def look(settings: Settings, destinations: Sequence[events.Ref]) -> dict[events.Ref, str]:
    """What stands against the queues of some destinations: the broker's words, by destination. Declares nothing.

    A queue that is not there yet is made by its first message. Raises as `survey` does.
    """
    with queues.asking(settings) as connection:
        found = {destination: _refusal(connection, events.queue_name(destination)) for destination in destinations}
    return {destination: words for destination, words in found.items() if words}


def _refusal(connection: Any, name: events.QueueName) -> str:
    try:
        # A channel of its own, because RabbitMQ closes it with an error.
        with connection.channel() as channel:
            channel.queue_declare(queue=name, passive=True)
    except connection.channel_errors as error:
        return "" if str(getattr(error, "reply_code", "")) == _NOT_FOUND else str(error).partition("\n")[0][:200]
    return ""
