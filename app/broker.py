"""Who answers at the broker's address, what stands against us there, and what RabbitMQ lacks. Asks: changes nothing.

For `reverser doctor`. RabbitMQ tells rights and declarations over AMQP, policies only over its management HTTP API.
Neighbours: `app/queues.py` declares, `deploy/rabbitmq` has what a broker should be given.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from amqp import basic_message
from kombu.utils import url as kombu_url

from app import celeryconfig, errors, events, queues
from app.settings import Settings

# Reply codes of AMQP.
_REFUSED, _NOT_FOUND = 403, 404
# A name that our rights cover and no destination has: its namespace would be empty.
NOBODY = "dest..nobody"
_API_TIMEOUT = 5.0
# Where RabbitMQ has it unless it is told otherwise.
_API_IN_CLEAR, _API_OVER_TLS = ("http", 15672), ("https", 15671)
# Hundreds of policies; whoever answers with more is no RabbitMQ.
_API_LONGEST = 1_000_000


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


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are at a RabbitMQ."""

    user: str
    vhost: str


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that a user of RabbitMQ may do: `configure`, `write` or `read` a `queue` or an `exchange`.

    A `topic` is a routing key of an exchange, to `write` or `read`; `exchange` is empty for the other kinds. To read is
    tried with a `queue` of nobody that the user may write to.
    """

    verb: str
    kind: str
    name: str
    exchange: str = ""
    queue: str = NOBODY

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}" + (f" of exchange {self.exchange}" if self.exchange else "")


def describe(broker_url: str) -> str:
    """Which broker a URL names, without its user and password."""
    parts = urlsplit(broker_url)
    # A port that is no number is the broker's client to complain of.
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def account(broker_url: str) -> Account:
    """Who we are by the URL of a RabbitMQ."""
    parts = kombu_url.parse_url(broker_url)
    return Account(user=parts["userid"] or "guest", vhost=parts["virtual_host"] or "/")


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
    """What stands against the queues of some destinations: the broker's words. Declares nothing that is not there.

    A queue that is not there yet is made by its first message, and rights are for `denied`. Raises as `survey` does.
    """
    found = {}
    with queues.asking(settings) as connection:
        for destination in destinations:
            code, words = _attempt(connection, _declare_again(settings, destination))
            if words and code not in {_REFUSED, _NOT_FOUND}:
                found[destination] = words
    return found


def _declare_again(settings: Settings, destination: events.Ref) -> Callable[[Any], object]:
    queue = queues.queue_for(destination, broker_url=settings.broker_url)

    def declare(channel: Any) -> None:
        channel.queue_declare(queue=queue.name, passive=True)
        if celeryconfig.is_amqp(settings.broker_url):
            # RabbitMQ compares no arguments when asked passively. The queue is there, so this changes nothing.
            bound: Any = queue(channel)
            bound.queue_declare()

    return declare


def dead_letters(settings: Settings) -> int:
    """Messages that nobody could read or deliver; at most a thousand are kept. Raises as `survey` does."""
    found = 0

    def count(channel: Any) -> None:
        nonlocal found
        found = channel.queue_declare(queue=queues.DEAD_QUEUE, passive=True).message_count

    with queues.asking(settings) as connection:
        # Where none was ever kept there is no queue.
        _attempt(connection, count)
    return found


def missing(settings: Settings, *, exchanges: Iterable[str], queue_names: Iterable[str]) -> list[str]:
    """Which of some exchanges and queues of a RabbitMQ are not there. Raises as `survey` does."""
    acts: dict[str, Callable[[Any], object]] = {}
    for name in exchanges:
        acts[f"exchange {name}"] = partial(_exchange_there, name)
    for name in queue_names:
        acts[f"queue {name}"] = partial(_queue_there, name)
    with queues.asking(settings) as connection:
        return [name for name, act in acts.items() if _attempt(connection, act)[0] == _NOT_FOUND]


def _exchange_there(name: str, channel: Any) -> None:
    channel.exchange_declare(name, "topic", passive=True)


def _queue_there(name: str, channel: Any) -> None:
    channel.queue_declare(name, passive=True)


def denied(settings: Settings, rights: Iterable[Right]) -> list[Right]:
    """Which rights our user does not have at a RabbitMQ. Raises as `survey` does.

    Each is tried on something that cannot succeed: RabbitMQ looks at rights before anything else.
    """
    with queues.asking(settings) as connection:
        return [right for right in rights if _is_denied(connection, right)]


def _is_denied(connection: Any, right: Right) -> bool:
    code, words = _attempt(connection, lambda channel: _TRIALS[right.verb, right.kind](channel, right))
    # A binding asks for the rights on both of its ends; only the one in question counts.
    return code == _REFUSED and f"access to {right.kind} '{right.name}'" in words


def _publish_in_vain(channel: Any, right: Right) -> None:
    # RabbitMQ refuses a message in the name of another user, once it has looked at everything else. A user with the tag
    # `impersonator` may send it: it is empty then, and ends in `dest.dead`.
    message = basic_message.Message("", user_id=NOBODY)
    channel.basic_publish(message, exchange=right.exchange, routing_key=right.name)
    # A message is not answered; this is, after it.
    channel.queue_declare(queue=NOBODY, passive=True)


_TRIALS: Mapping[tuple[str, str], Callable[[Any, Right], object]] = {
    # The value of this argument has to be a name, so nothing is ever declared.
    ("configure", "exchange"): lambda channel, right: channel.exchange_declare(
        right.name, "topic", durable=True, auto_delete=False, arguments={"alternate-exchange": 0}
    ),
    ("configure", "queue"): lambda channel, right: channel.queue_declare(
        right.name, durable=True, auto_delete=False, arguments={"x-dead-letter-exchange": 0}
    ),
    # The other end of these bindings is not there.
    ("write", "exchange"): lambda channel, right: channel.exchange_bind(right.name, NOBODY),
    ("write", "queue"): lambda channel, right: channel.queue_bind(right.name, NOBODY),
    ("read", "exchange"): lambda channel, right: channel.queue_bind(right.queue, right.name),
    ("read", "queue"): lambda channel, right: channel.basic_get(right.name),
    ("write", "topic"): _publish_in_vain,
    ("read", "topic"): lambda channel, right: channel.queue_bind(right.queue, right.exchange, routing_key=right.name),
}


def _attempt(connection: Any, act: Callable[[Any], object]) -> tuple[int, str]:
    """Reply code and words of a refusal; 0 and nothing where there is none."""
    try:
        # A channel of its own: RabbitMQ closes it with the refusal.
        with connection.channel() as channel:
            act(channel)
    except connection.channel_errors as error:
        return int(getattr(error, "reply_code", 0) or 0), str(error).partition("\n")[0][:200] or type(error).__name__
    return 0, ""


def api_url(settings: Settings) -> str:
    """Where the management HTTP API of the broker is, without user and password."""
    return describe(_api(settings).geturl())


def policies(settings: Settings) -> list[dict[str, Any]]:
    """The policies of our virtual host, as RabbitMQ's management HTTP API tells them.

    Raises TemporaryError when it cannot be asked, StalledError when it does not let our user in, SettingsError for a
    URL that is none.
    """
    api, ours = _api(settings), kombu_url.parse_url(settings.broker_url)
    user = unquote(api.username or "") or ours["userid"] or "guest"
    password = unquote(api.password or "") or ours["password"] or "guest"
    status, said = _get(api, f"/api/policies/{quote(ours['virtual_host'] or '/', safe='')}", user, password)
    if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        raise errors.StalledError(
            f"it does not let user {user} in. To have them looked at: rabbitmqctl set_user_tags {user} management, or "
            "name another user in REVERSER_RABBITMQ_API"
        )
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if status != http.client.OK or not isinstance(found, list):
        raise errors.TemporaryError(f"something else answers there (status {status})")
    return found


def _api(settings: Settings) -> SplitResult:
    if settings.rabbitmq_api:
        return _given_api(settings.rabbitmq_api)
    parts = kombu_url.parse_url(settings.broker_url)
    host = parts["hostname"] or "127.0.0.1"
    scheme, port = _API_OVER_TLS if parts["transport"].endswith("amqps") else _API_IN_CLEAR
    return SplitResult(scheme, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "", "", "")


def _given_api(url: str) -> SplitResult:
    given = urlsplit(url)
    try:
        if given.scheme in {"http", "https"} and given.hostname and given.port != 0:
            return given
    except ValueError:
        # A port that is no number.
        pass
    # Without the text, which may hold a password.
    raise errors.SettingsError("REVERSER_RABBITMQ_API is no http:// or https:// URL")


def _get(api: SplitResult, path: str, user: str, password: str) -> tuple[int, bytes]:
    """Status and body; certificates are verified, redirections not followed: they would lead the password elsewhere."""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    kind = http.client.HTTPSConnection if api.scheme == "https" else http.client.HTTPConnection
    connection = kind(api.hostname or "", api.port, timeout=_API_TIMEOUT)
    try:
        connection.request("GET", api.path.rstrip("/") + path, headers={"Authorization": f"Basic {login}"})
        answer = connection.getresponse()
        return answer.status, answer.read(_API_LONGEST)
    except (OSError, http.client.HTTPException) as error:
        raise errors.TemporaryError(f"it does not answer ({error or type(error).__name__})") from error
    finally:
        connection.close()
