"""The broker: reachable, of a version that can do what we ask, and set so that it keeps what it was given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from app import broker, celeryconfig, errors, settings
from app.cli.checks import findings, topology
from app.cli.checks.findings import Finding, Role
from app.events import Ref, queue_name
from app.queues import DEAD_QUEUE

# Quorum queues came with 3.8; below 3.10 they are not what Reverser is tested with.
_OLDEST_RABBITMQ, _TESTED_RABBITMQ = (3, 8), (3, 10)
# Any from 6 on, as for the embedded one.
_OLDEST_REDIS = (6, 0)


def examine(options: settings.Settings, destinations: Sequence[Ref] | None, role: Role) -> Iterator[Finding]:
    """Look at the broker, and at the queues of `destinations`; None when nobody knows which there are."""
    subject = findings.Subject("broker", f"broker {broker.describe(options.broker_url)}")
    on_rabbitmq = celeryconfig.is_amqp(options.broker_url)
    try:
        asked = broker.survey(options)
        problems = list(_problems(subject, asked))
        if role is not Role.FLOWER:
            problems += [*_refused(subject, options, destinations or ()), *_dead_letters(subject, options)]
        if on_rabbitmq:
            problems += topology.rights(subject, options, role)
    except errors.SettingsError as error:
        yield subject.fail(findings.words(error), do="correct REVERSER_BROKER_URL")
        return
    except errors.ReverserError as error:
        yield subject.fail(
            f"{findings.words(error)}; nothing is lost meanwhile, changes wait in the database",
            do="start it, or correct REVERSER_BROKER_URL",
        )
        return
    if not any(one.level is findings.Level.FAIL for one in problems):
        yield subject.ok(_well(asked, destinations))
    yield from problems
    if on_rabbitmq and role is not Role.FLOWER:
        yield from topology.policies(options, destinations or ())


def _well(asked: broker.Broker, destinations: Sequence[Ref] | None) -> str:
    found = f"{asked.product} {asked.version} answers"
    if not destinations:
        return found
    count = len(destinations)
    return f"{found}, and refuses none of {count} {'queue' if count == 1 else 'queues'}"


def _problems(subject: findings.Subject, asked: broker.Broker) -> Iterator[Finding]:
    yield from _version_problem(subject, asked)
    if asked.role not in {None, "master"}:
        yield subject.fail(
            f"{asked.product} {asked.version} is a replica: nothing can be queued on it",
            do="name its primary in REVERSER_BROKER_URL",
        )
    if asked.eviction is not None and asked.eviction != "noeviction":
        yield _eviction(subject, asked)
    if asked.append_only is False:
        yield subject.warn(
            "its append-only file is off: a restart forgets its messages; nothing is lost, destinations are rung again",
            do="redis-cli CONFIG SET appendonly yes, and `appendonly yes` in its configuration file",
        )


def _eviction(subject: findings.Subject, asked: broker.Broker) -> Finding:
    advice = "redis-cli CONFIG SET maxmemory-policy noeviction, and the same line in its configuration file"
    found = f"its maxmemory-policy is {asked.eviction}"
    if asked.max_memory:
        return subject.fail(f"{found}: when its memory is full it drops queues", do=advice)
    return subject.warn(f"{found}; it drops queues once a maxmemory is set and reached", do=advice)


def _version_problem(subject: findings.Subject, asked: broker.Broker) -> Iterator[Finding]:
    found = tuple(int(part) for part in re.findall(r"\d+", asked.version)[:2])
    said = f"{asked.product} {asked.version}"
    if asked.product == "RabbitMQ" and found < _OLDEST_RABBITMQ:
        yield subject.fail(f"{said} has no quorum queues", do="upgrade it to 3.10 or newer")
    elif asked.product == "RabbitMQ" and found < _TESTED_RABBITMQ:
        yield subject.warn(f"{said} is older than what Reverser is tested with", do="upgrade it to 3.10 or newer")
    elif asked.product == "Redis" and found < _OLDEST_REDIS:
        yield subject.warn(f"{said} is older than what Reverser is tested with", do="upgrade it to 6 or newer")


def _refused(subject: findings.Subject, options: settings.Settings, destinations: Sequence[Ref]) -> Iterator[Finding]:
    for destination, words in broker.look(options, destinations).items():
        yield subject.fail(f"the queue of {destination} cannot be used: {words}", do=_removal(options, destination))


def _dead_letters(subject: findings.Subject, options: settings.Settings) -> Iterator[Finding]:
    if not (count := broker.dead_letters(options)):
        return
    look, clear = f"redis-cli LRANGE {DEAD_QUEUE} 0 9", f"redis-cli DEL {DEAD_QUEUE}"
    if celeryconfig.is_amqp(options.broker_url):
        vhost = shlex.quote(broker.account(options.broker_url).vhost)
        look, clear = "Get messages in RabbitMQ's pages", f"rabbitmqctl purge_queue -p {vhost} {DEAD_QUEUE}"
    yield subject.warn(
        f"{DEAD_QUEUE} holds {count} {'message' if count == 1 else 'messages'} that nobody could read or deliver; "
        "no change is lost by that",
        do=f"look what sends them ({look}), then: {clear}",
    )


def _removal(options: settings.Settings, destination: Ref) -> str:
    name = queue_name(destination)
    after = "; it is made anew, and what pends is rung again"
    if not celeryconfig.is_amqp(options.broker_url):
        return f"redis-cli DEL {name}{after}"
    return shlex.join(["rabbitmqctl", "delete_queue", "-p", broker.account(options.broker_url).vhost, name]) + after
