"""Git, destination by destination: through the same door and with the same credentials as a worker.

Hosts are asked in parallel, each within a deadline of its own, so that a dead one delays nobody else's answer. Reading
is all that can be tried: whether a push is allowed shows in the last one, or in its error, which SQL keeps.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from app import errors, events, settings
from app.cli import counting, tables
from app.cli.checks import findings
from app.cli.checks.facts import Facts
from app.cli.checks.findings import Finding
from app.drain import credentials
from app.git import remote as remotes
from app.git import urls
from app.models import destinations, health

HOSTS_AT_ONCE = 8
# All repositories of one host together, in seconds, and what is left for one of them at least.
HOST_DEADLINE, _LEAST = 15.0, 1.0

_ADVICE: Mapping[str, str] = {
    "SecretNotFound": "kubectl -n {namespace} create secret generic {secret} --from-literal=..., "
    "with the keys of docs/guide/ssh-and-https.md",
    "AuthenticationFailed": "write the login, token or key into the Secret {namespace}/{secret} again",
    "HostKeyMismatch": "ask the operator of the host; only then put the new key into known_hosts of the Secret "
    "{namespace}/{secret}",
    "HostKeyUnknown": "compare the fingerprint as the message says, then write known_hosts of the Secret "
    "{namespace}/{secret}",
    "KnownHostsInvalid": "write that line of known_hosts in the Secret {namespace}/{secret} again",
    "CertificateRefused": "put the CA of the host into the Secret {namespace}/{secret} as ca.crt",
    "CertificateInvalid": "write ca.crt of the Secret {namespace}/{secret} again",
    "RepositoryNotFound": "create the repository, let the account read it, or correct the URL: "
    "kubectl -n {namespace} edit grc {config}",
    "RepositoryMoved": "write the new address: kubectl -n {namespace} edit grc {config}",
    "HostUnreachable": "is the host up, and can this machine reach it? Else: kubectl -n {namespace} edit grc {config}",
    "LocalRepositoryRefused": "set REVERSER_ALLOW_LOCAL_REPOS=true for the workers, or use https or ssh",
    "Forbidden": "give the account of the workers the rule that the message names",
}
_CLUSTER_AWAY = "its Secret cannot be read while the cluster does not answer"


# What one conversation answers for: URL, Secret, and the Secret's namespace.
_Repository: TypeAlias = tuple[str, str | None, str]


@dataclass(frozen=True)
class _Question:
    """One destination, and where it writes."""

    health: health.DestinationHealth
    place: destinations.Destination

    @property
    def repository(self) -> _Repository:
        """Destinations on one repository with one Secret need one conversation."""
        return self.place.url, self.place.secret_name, self.place.repo_config.namespace


_Answer: TypeAlias = remotes.Heads | errors.ReverserError


def examine(
    options: settings.Settings, known: Facts, *, cluster_answers: bool, host_deadline: float = HOST_DEADLINE
) -> Iterator[Finding]:
    """Findings for each destination, by name."""
    if not known.destinations:
        yield findings.Subject("destination", "destinations").warn(
            "there is none yet: nothing is mirrored", do="apply a GitRepoConfig, a GitDestination and a WatchRule"
        )
    asked = [_Question(one, known.placed[one.id]) for one in known.destinations if one.id in known.placed]
    if not options.credentials_dir and not cluster_answers:
        asked = [one for one in asked if one.place.secret_name is None]
    answers = _Hosts(options, host_deadline).ask(asked)
    for one in known.destinations:
        place = known.placed.get(one.id)
        subject = findings.Subject("destination", f"destination {one.ref}")
        if place is None:
            yield subject.fail(one.message, do=f"kubectl -n {one.ref.namespace} describe gd {one.ref.name}")
        elif _Question(one, place).repository not in answers:
            yield subject.skip(_CLUSTER_AWAY)
        else:
            question = _Question(one, place)
            judged = _judge(subject, question, answers[question.repository])
            yield judged
            yield from _last_drain(subject, one, judged.level)
        if standing := known.standings.get(one.ref):
            yield from _stands(subject, one.ref, standing)


def _stands(subject: findings.Subject, ref: events.Ref, standing: counting.Standing) -> Iterator[Finding]:
    for wanted in standing.wanting:
        yield subject.warn(wanted.found, do=wanted.do)
    if kept := standing.retained:
        said = "1 file is" if kept == 1 else f"{kept} files are"
        yield subject.ok(f"{said} kept, which no rule selects any more: `reverser explain {ref}` lists them")


def _judge(subject: findings.Subject, question: _Question, answer: _Answer) -> Finding:
    if isinstance(answer, _NotAskedError):
        return subject.skip(answer.message)
    if isinstance(answer, errors.ReverserError):
        return _refused(subject, question.place, answer)
    place, host = question.place, urls.host_of(question.place.url)
    tip = answer.branches.get(place.branch)
    if tip is None and question.health.branch_recorded:
        return _deleted(subject, question)
    if place.transport == "file" and not os.access(urls.local_path(place.url) / "objects", os.W_OK):
        return subject.fail(f"this user may not write {host}", do=f"chown -R $(id -un) {host}, or run as its owner")
    return subject.ok(f"{host} answers, {_branch(place.branch, tip, answer)}; {_pushed(question.health)}")


def _refused(subject: findings.Subject, place: destinations.Destination, error: errors.ReverserError) -> Finding:
    advice = _ADVICE.get(error.reason, "as the message says")
    # Anonymous access has no Secret to repair: it may need one.
    secret = place.secret_name or "that spec.secretRef has to name"
    do = advice.format(namespace=place.repo_config.namespace, secret=secret, config=place.repo_config.name)
    return subject.fail(findings.words(error), do=do)


def _deleted(subject: findings.Subject, question: _Question) -> Finding:
    ref, branch = question.place.ref, question.place.branch
    host = urls.host_of(question.place.url)
    return subject.fail(
        f"{host} answers; branch {branch} was there and was deleted: it is not created again",
        do=f"push {question.health.last_sha or 'a commit'} to {branch}, or name another branch: "
        f"kubectl -n {ref.namespace} edit gd {ref.name}",
    )


def _branch(branch: str, tip: str | None, heads: remotes.Heads) -> str:
    if tip is not None:
        return f"branch {branch} stands at {tip[:10]}"
    if heads.default_branch is None:
        return f"the repository is empty: branch {branch} starts with the first commit"
    return f"branch {branch} is missing and starts from {heads.default_branch}"


def _pushed(one: health.DestinationHealth) -> str:
    if one.last_pushed_at is None:
        return "nothing was pushed yet, so write access is not proven"
    ago = tables.age((datetime.now(UTC) - one.last_pushed_at).total_seconds())
    return f"the last push, {ago} ago, was {(one.last_sha or '')[:10]}"


def _last_drain(subject: findings.Subject, one: health.DestinationHealth, now: findings.Level) -> Iterator[Finding]:
    """The error that the last drain left, unless reading fails now as well: then that is the news."""
    if not one.last_error or now is findings.Level.FAIL:
        return
    found = f"a worker could not push: {findings.words(one.last_error)}"
    # Whatever has advice above is found by reading already.
    passed = now is findings.Level.OK and one.last_error_reason in _ADVICE
    if one.stalled and not passed:
        yield subject.fail(found, do="repair what the message names; it is tried again each minute by itself")
    else:
        yield subject.warn(found, do="nothing: the next try comes within a minute by itself; then ask again")


class _NotAskedError(errors.TemporaryError):
    """There was no time left for a repository."""


class _Hosts:
    """Asks each repository once. Hosts in parallel, the repositories of one host one after the other."""

    def __init__(self, options: settings.Settings, deadline: float) -> None:
        self._options = options
        self._deadline = min(deadline, options.git_timeout)
        self._source = credentials.CredentialSource(options)

    def ask(self, questions: Iterable[_Question]) -> dict[_Repository, _Answer]:
        """Heads or an error for each repository."""
        by_host: dict[tuple[str, str], dict[_Repository, _Question]] = {}
        for one in questions:
            # A host may answer on one port and not on another.
            host = one.place.transport, urls.host_of(one.place.url)
            by_host.setdefault(host, {})[one.repository] = one
        # Helpers need a home; the work directory belongs to the workers, and nothing is left in it.
        with (
            tempfile.TemporaryDirectory(prefix="reverser-doctor-") as scratch,
            futures.ThreadPoolExecutor(HOSTS_AT_ONCE) as threads,
            closing(remotes.Helpers(Path(scratch))) as helpers,
        ):
            running = [threads.submit(self._ask_host, helpers, list(found.values())) for found in by_host.values()]
            return {key: answer for one in running for key, answer in one.result().items()}

    def _ask_host(self, helpers: remotes.Helpers, questions: list[_Question]) -> dict[_Repository, _Answer]:
        end = time.monotonic() + self._deadline
        answers: dict[_Repository, _Answer] = {}
        dead = False
        for one in questions:
            left = end - time.monotonic()
            if dead or left < _LEAST:
                why = "did not answer for another repository" if dead else f"used up its {self._deadline:g} s"
                answers[one.repository] = _NotAskedError(f"{urls.host_of(one.place.url)} {why}")
                continue
            answer = answers[one.repository] = self._ask_one(helpers, one, left)
            dead = isinstance(answer, errors.ReverserError) and answer.reason == destinations.HOST_UNREACHABLE
        return answers

    def _ask_one(self, helpers: remotes.Helpers, one: _Question, timeout: float) -> _Answer:
        try:
            remote = remotes.Remote(
                url=one.place.url,
                transport=one.place.transport,
                credentials=self._source.of(one.place),
                timeout=timeout,
            )
            return helpers.heads(remote)
        except errors.ReverserError as error:
            return error
