"""Every Celery option that Reverser sets, each with its reason (docs/decisions, "the broker distributes").

One dictionary serves the publisher, the worker and Flower. Celery's own defaults are meant for task queues that hold
the only copy of the work; here the ledger holds it, and a message is a ring. Neighbours: `app/queues.py` makes the app
from this, `app/worker` adds what belongs to a pool.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from app.settings import Settings

EXCHANGE = "dest"
# A publisher or a connection attempt that waits longer blocks its thread for nothing: the sweeper rings later.
SOCKET_TIMEOUT = 3.0
# The longest pause between two tries on a broker that is away; kombu's is 30 s. A try costs it one connection, and the
# processes are few, while whoever has just mended it waits for them.
RETRY_LONGEST = 5.0
# Redis gives a killed worker's message back after this many drains. Shorter than one drain, it would repeat for ever.
VISIBILITY_DRAINS = 5


def is_amqp(broker_url: str) -> bool:
    """Whether the broker is RabbitMQ: its queues take arguments, Redis lists do not."""
    return urlsplit(broker_url).scheme.startswith(("amqp", "pyamqp"))


def config(settings: Settings) -> dict[str, Any]:
    """All options of a Celery app, for `app.conf.update`."""
    return {
        **_broker(settings),
        **_queues(),
        **_tasks(settings),
        **_worker(),
        **_monitoring(),
    }


def publishing(settings: Settings, *, on_blocked: Callable[[str], None]) -> dict[str, Any]:
    """Transport options of a publisher alone; `on_blocked` is told when the broker takes nothing more.

    In a worker, confirms and a memory alarm of the broker stop the consuming for ever.
    """
    return {"confirm_publish": True, "on_blocked": on_blocked} if is_amqp(settings.broker_url) else {}


def _broker(settings: Settings) -> dict[str, Any]:
    return {
        "broker_url": settings.broker_url,
        "broker_transport_options": _transport(settings),
        "broker_use_ssl": _tls(settings.broker_url),
        "broker_connection_timeout": SOCKET_TIMEOUT,
        # A worker may start before its broker, and outlives any outage of it.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # On, a refused declaration reconnects endlessly instead of being seen.
        "broker_channel_error_retry": False,
        # RabbitMQ gives the queues of a worker that froze to the next one after two or three of these, in seconds. One
        # that is only slow for so long connects again, and loses nothing: the default of 120 s guards against less.
        "broker_heartbeat": 2,
    }


def _tls(broker_url: str) -> dict[str, Any] | None:
    """Options of TLS: left to itself kombu compares no name on RabbitMQ, and verifies nothing at all on Redis."""
    scheme = urlsplit(broker_url).scheme
    if scheme.endswith("amqps"):
        # None stands for the URL's host.
        return {"server_hostname": None}
    if scheme == "rediss":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    return None


def _transport(settings: Settings) -> dict[str, Any]:
    if is_amqp(settings.broker_url):
        return {"read_timeout": 5, "write_timeout": 5}
    return {
        "visibility_timeout": int(VISIBILITY_DRAINS * settings.drain_deadline),
        # One list per queue: with the default four, each BRPOP names four keys per queue.
        "priority_steps": [0],
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        # A unix socket has no keepalive and redis-py refuses to be asked for it.
        **({} if "socket://" in settings.broker_url else {"socket_keepalive": True}),
        "health_check_interval": 10,
    }


def _queues() -> dict[str, Any]:
    return {
        # No queue by default: a message without a destination's queue is a mistake and is refused (app/queues.py).
        "task_queues": None,
        "task_default_queue": None,
        "task_default_exchange": EXCHANGE,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": "dest",
        "task_create_missing_queues": True,
        # A worker's channel must know from its first queue on that these are quorum queues (error 540 otherwise).
        "worker_detect_quorum_queues": True,
    }


def _tasks(settings: Settings) -> dict[str, Any]:
    return {
        # Anything else is code waiting to be run (pickle) or a second parser to attack (YAML).
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        # A message is acknowledged when its rows are recorded or rescheduled, not when it arrives.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # Off means rejected without requeue, which drops; our tasks catch everything anyway.
        "task_acks_on_failure_or_timeout": True,
        # The ledger is the result.
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # Waiting in place belongs to the publisher, which drops instead.
        "task_publish_retry": False,
        # A drain ends by its own deadline; this ends a process that hangs in C. Only prefork has it.
        "task_time_limit": settings.drain_deadline + 30,
        "enable_utc": True,
        "timezone": "UTC",
    }


def _worker() -> dict[str, Any]:
    return {
        "worker_prefetch_multiplier": 1,
        # Per-consumer prefetch is static with quorum queues; reducing it after a reconnect never recovers.
        "worker_enable_prefetch_count_reduction": False,
        "worker_disable_rate_limits": True,
        # Logging is set up by the command (app/cli); Celery leaves it alone.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _monitoring() -> dict[str, Any]:
    return {
        # Flower lives on these events.
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "task_track_started": True,
        "worker_enable_remote_control": True,
        # Replies to remote control that nobody fetched, and events nobody reads.
        "control_queue_expires": 60.0,
        "event_queue_expires": 60.0,
        "event_queue_ttl": 5.0,
    }
