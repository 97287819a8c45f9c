"""RabbitMQ: whether it has what the files in `deploy/rabbitmq` bring, and our user the rights of its role.

Without it all works, until a message cannot be delivered; without a right nothing does.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from app import broker, errors, events, settings
from app.broker import Right
from app.cli.checks import findings
from app.cli.checks.findings import Finding, Role

# `deploy` stands beside `app`, in a checkout and in a wheel alike.
_FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "rabbitmq"
# The virtual host of these files; the names of their users begin with it.
_THEIR_VHOST = "reverser"
_RIGHTS_SHOWN = 4
# Queues of nobody: of remote control of no worker, whose name has more than a dot, of events, and of answers.
_CONTROL, _EVENTS, _ANSWERS = "reverser@..celery.pidbox", "celeryev..", "..reply.celery.pidbox"

# By policy of ours: which kinds of policies RabbitMQ weighs against it, and what happens without it. From 3.12 on there
# are some for kinds of queues; which kind dead letters have is up to the virtual host.
_POLICIES = {
    "dest-queues": (
        {"queues", "quorum_queues", "all"},
        "a message that is delivered too often or rejected is dropped instead of kept",
    ),
    "dest-dead": ({"queues", "quorum_queues", "classic_queues", "all"}, "dead letters are kept for ever"),
    "dest-unroutable": ({"exchanges", "all"}, "a message without a queue is dropped instead of kept"),
}

_PUBLISHING = (
    Right("configure", "exchange", "dest"),
    Right("write", "exchange", "dest"),
    Right("read", "exchange", "dest"),
    Right("configure", "queue", broker.NOBODY),
    Right("write", "queue", broker.NOBODY),
    Right("configure", "exchange", "celeryev"),
    Right("write", "exchange", "celeryev"),
    Right("write", "topic", broker.NOBODY, exchange="dest"),
    Right("read", "topic", broker.NOBODY, exchange="dest"),
    Right("write", "topic", "task.sent", exchange="celeryev"),
)
_CONSUMING = (
    Right("read", "queue", broker.NOBODY),
    Right("configure", "exchange", "celery.pidbox"),
    Right("read", "exchange", "celery.pidbox"),
    Right("configure", "exchange", "reply.celery.pidbox"),
    Right("write", "exchange", "reply.celery.pidbox"),
    Right("configure", "queue", _CONTROL),
    Right("write", "queue", _CONTROL),
    Right("read", "queue", _CONTROL),
    Right("write", "topic", "task.multi", exchange="celeryev"),
    Right("write", "topic", "worker.heartbeat", exchange="celeryev"),
)
_SHOWING = (
    Right("configure", "exchange", "celeryev"),
    Right("read", "exchange", "celeryev", queue=_EVENTS),
    Right("configure", "queue", _EVENTS),
    Right("write", "queue", _EVENTS),
    Right("read", "queue", _EVENTS),
    Right("configure", "exchange", "celery.pidbox"),
    Right("write", "exchange", "celery.pidbox"),
    Right("configure", "exchange", "reply.celery.pidbox"),
    Right("read", "exchange", "reply.celery.pidbox", queue=_ANSWERS),
    Right("configure", "queue", _ANSWERS),
    Right("write", "queue", _ANSWERS),
    Right("read", "queue", _ANSWERS),
    Right("read", "topic", "#", exchange="celeryev", queue=_EVENTS),
)
# Where every role is looked at, the worker's rights are those of all but Flower.
_NEEDED = {
    Role.WATCH: (_PUBLISHING, "the watch daemon"),
    Role.WORKER: ((*_PUBLISHING, *_CONSUMING), "the worker"),
    Role.FLOWER: (_SHOWING, "Flower"),
}


def rights(subject: findings.Subject, options: settings.Settings, role: Role) -> Iterator[Finding]:
    """Look whether our user may do what a role does."""
    account = broker.account(options.broker_url)
    role = Role.WORKER if role is Role.ALL else role
    needed, who = _NEEDED[role]
    denied = broker.denied(options, needed)
    topics = [right for right in denied if right.kind == "topic"]
    if others := [right for right in denied if right.kind != "topic"]:
        yield subject.fail(_lacking(account, who, others), do=_set_permissions(account, role))
    for exchange in sorted({right.exchange for right in topics}):
        lacked = [right for right in topics if right.exchange == exchange]
        yield subject.fail(_lacking(account, who, lacked), do=_set_topic_permissions(account, role, exchange))


def _lacking(account: broker.Account, who: str, denied: Sequence[Right]) -> str:
    shown = ", ".join(str(right).replace(broker.NOBODY, "dest.*") for right in denied[:_RIGHTS_SHOWN])
    more = f" and {len(denied) - _RIGHTS_SHOWN} more" if len(denied) > _RIGHTS_SHOWN else ""
    return f"user {account.user} may not {shown}{more}; {who} needs it"


def _set_permissions(account: broker.Account, role: Role) -> str:
    given = next(_given("permissions", role))
    patterns = (given["configure"], given["write"], given["read"])
    return shlex.join(["rabbitmqctl", "set_permissions", "-p", account.vhost, account.user, *patterns])


def _set_topic_permissions(account: broker.Account, role: Role, exchange: str) -> str:
    for given in _given("topic_permissions", role):
        if given["exchange"] == exchange:
            patterns = [exchange, given["write"], given["read"]]
            return shlex.join(["rabbitmqctl", "set_topic_permissions", "-p", account.vhost, account.user, *patterns])
    # Without permissions for topics of an exchange, all of them are allowed.
    return shlex.join(["rabbitmqctl", "clear_topic_permissions", "-p", account.vhost, account.user, exchange])


def _given(kind: str, role: Role) -> Iterator[Mapping[str, Any]]:
    return (one for one in _read("permissions.json")[kind] if one["user"] == f"{_THEIR_VHOST}-{role}")


def policies(options: settings.Settings, destinations: Sequence[events.Ref]) -> Iterator[Finding]:
    """Look at the policies of our virtual host, and at what they lead to."""
    account = broker.account(options.broker_url)
    subject = findings.Subject("policies", f"policies of virtual host {account.vhost}")
    try:
        where = broker.api_url(options)
        found = broker.policies(options)
    except errors.SettingsError as error:
        yield subject.fail(findings.words(error), do="correct REVERSER_RABBITMQ_API, or unset it")
        return
    except (errors.StalledError, errors.TemporaryError) as error:
        said = f"not looked at, for only the management API at {where} tells them: {findings.words(error)}"
        if isinstance(error, errors.TemporaryError):
            said += ". To have them looked at: rabbitmq-plugins enable rabbitmq_management, and REVERSER_RABBITMQ_API"
            said += " where it is elsewhere"
        yield subject.skip(said)
        return
    problems = [*_absent(subject, options, account), *_wrong(subject, account, found, destinations)]
    if not problems:
        yield subject.ok("dead letters, delivery limit and bounds are as Reverser wants them")
    yield from problems


def _absent(subject: findings.Subject, options: settings.Settings, account: broker.Account) -> Iterator[Finding]:
    ours = _definitions()
    absent = broker.missing(
        options,
        exchanges=[one["name"] for one in ours["exchanges"]],
        queue_names=[one["name"] for one in ours["queues"]],
    )
    if absent:
        yield subject.warn(
            f"there is no {', no '.join(absent)}: what cannot be delivered is lost instead of kept", do=_import(account)
        )


def _import(account: broker.Account) -> str:
    # From standard input: rabbitmqctl may run as a user who cannot read the file.
    command, path = "rabbitmqctl import_definitions", shlex.quote(str(_FOLDER / "definitions.json"))
    if account.vhost == _THEIR_VHOST:
        return f"{command} < {path}"
    change = shlex.quote(f's|"{_THEIR_VHOST}|"{account.vhost}|g')
    return f"sed {change} {path} | {command}"


def _wrong(
    subject: findings.Subject,
    account: broker.Account,
    found: Sequence[Mapping[str, Any]],
    destinations: Sequence[events.Ref],
) -> Iterator[Finding]:
    names = [str(events.queue_name(one)) for one in destinations] or ["dest.shop.prod"]
    names += [one["name"] for one in (*_definitions()["queues"], *_definitions()["exchanges"])]
    for policy in _definitions()["policies"]:
        covered = [name for name in names if re.search(policy["pattern"], name)]
        for name in covered:
            winner = _winner(found, name, _POLICIES[policy["name"]][0])
            if lacks := _lacks(policy["definition"], winner.get("definition", {})):
                yield _wrong_policy(subject, account, policy, winner=winner, name=name, lacks=lacks)
                break


def _winner(found: Sequence[Mapping[str, Any]], name: str, kinds: set[str]) -> Mapping[str, Any]:
    """The policy that RabbitMQ applies to a queue or an exchange; empty where none does."""
    fitting = [one for one in found if one["apply-to"] in kinds and _covers(one["pattern"], name)]
    return max(fitting, key=lambda one: int(one["priority"]), default={})


def _covers(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        # RabbitMQ's patterns are Perl's: a few of them mean nothing here. Ours mean the same.
        return False


def _lacks(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What a policy does not set; how high a bound is, is the operator's to choose."""
    return [
        f"{key} {value}" if isinstance(value, str) else key
        for key, value in wanted.items()
        if (given.get(key) != value if isinstance(value, str) else key not in given)
    ]


def _wrong_policy(
    subject: findings.Subject,
    account: broker.Account,
    policy: Mapping[str, Any],
    *,
    winner: Mapping[str, Any],
    name: str,
    lacks: Sequence[str],
) -> Finding:
    found = f"policy {winner['name']} of {name} lacks {', '.join(lacks)}" if winner else f"{name} has no policy"
    # Of several policies RabbitMQ applies the one of the highest priority, and nothing of the others.
    above = int(winner["priority"]) + (winner["name"] != policy["name"]) if winner else int(policy["priority"])
    command = ["rabbitmqctl", "set_policy", "-p", account.vhost, "--priority", str(above)]
    command += ["--apply-to", policy["apply-to"], policy["name"], policy["pattern"], json.dumps(policy["definition"])]
    return subject.warn(f"{found}: {_POLICIES[policy['name']][1]}", do=shlex.join(command))


def _definitions() -> Any:
    return _read("definitions.json")


@cache
def _read(name: str) -> Any:
    return json.loads((_FOLDER / name).read_text(encoding="utf-8"))
