"""What a destination mirrors: its place, its rules with what became of them, and the files that stand there.

For `reverser explain`. Judged by the compiler (`surveying.py`), counted by `counting.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app import errors, events
from app.cli import counting, surveying, tables
from app.models import destinations, health, states
from app.rules import compiling


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination: as the cluster has it, else as the database does. `id` and `place_id` are the database's."""

    ref: events.Ref
    ready: bool
    reason: str
    message: str
    id: int | None = None
    place_id: int | None = None
    url: str | None = None
    branch: str | None = None
    base_folder: str | None = None
    last_error: str | None = None
    last_sha: str | None = None
    last_pushed_at: datetime | None = None
    pending: int | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """Types that a rule selects in the same way. `narrowed` is its filter as a manifest spells it."""

    types: tuple[str, ...]
    # `namespace` is empty for all of them, and for types without.
    namespaced: bool
    namespace: str
    operations: tuple[str, ...]
    wildcard: bool
    narrowed: Mapping[str, Any]
    ignored: Mapping[str, Any]
    namespaces: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that a rule names and does not get."""

    resource: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a destination. `files` counts what stands in Git under it, None where nobody knows."""

    rule: str
    ready: bool
    reason: str
    message: str
    selected: tuple[Selected, ...]
    refused: tuple[Refused, ...]
    left_out: tuple[str, ...]
    files: int | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything about one destination.

    `retained` counts files that no rule stands behind any more, `orphans` of the others those whose object is gone.
    """

    destination: str
    ready: bool
    reason: str
    message: str
    repository: str | None
    branch: str | None
    base_folder: str | None
    last_error: str | None
    last_sha: str | None
    last_pushed_at: datetime | None
    pending: int | None
    files: int | None
    retained: int | None
    orphans: int | None
    # The paths of the first of either.
    kept: tuple[str, ...]
    gone: tuple[str, ...]
    rules: tuple[Rule, ...]
    # What it left where it pointed before, and what those left that had its name.
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """Files at a place that nobody has any more."""

    repository: str
    branch: str
    base_folder: str
    files: int


def find(view: surveying.View, ref: events.Ref) -> Destination:
    """A destination by name. Raises PermanentError where there is none."""
    recorded = _recorded(view, ref)
    survey = view.survey
    verdict = survey.compilation.destinations.get(ref)
    if error := survey.unreadable.get(("GitDestination", ref)):
        verdict = compiling.DestinationVerdict(ready=False, reason=error.reason, message=error.message)
    if verdict is None and survey.cluster is None and recorded is not None:
        # What is not ready has no place, and is compiled from its place where the cluster is away.
        return recorded
    if verdict is None:
        known = ", ".join(sorted(str(one) for one in _known(view))) or "none"
        left = sum(one.files for one in _left(view, ref))
        was = (
            f"; one was deleted, and left {tables.counted(left, 'file')}: see `reverser prune {ref} --retired`"
            if left
            else ""
        )
        raise errors.PermanentError(
            f"there is no GitDestination {ref}{was}; there are: {known}", reason="NoDestination"
        )
    return _joined(ref, verdict, recorded)


def overview(view: surveying.View, destination: Destination) -> Overview:
    """What it mirrors."""
    survey, counted = view.survey, _count(view, destination)
    rules = [
        _rule(key, verdict, survey.raws[key.kind, key.ref], files=counted.of_rule(str(key)) if counted else None)
        for key, verdict in survey.rules_of(destination.ref)
    ]
    return Overview(
        destination=str(destination.ref),
        ready=destination.ready,
        reason=destination.reason,
        message=destination.message,
        repository=destination.url,
        branch=destination.branch,
        base_folder=destination.base_folder,
        last_error=destination.last_error,
        last_sha=destination.last_sha,
        last_pushed_at=destination.last_pushed_at,
        pending=destination.pending,
        files=counted.files if counted else None,
        retained=counted.retained if counted else None,
        orphans=counted.orphans if counted else None,
        kept=counted.kept if counted else (),
        gone=counted.gone if counted else (),
        rules=(*rules, *_unreadable(survey, destination.ref)),
        left=_left(view, destination.ref),
    )


def _left(view: surveying.View, ref: events.Ref) -> tuple[Left, ...]:
    if view.database is None:
        return ()
    with view.database.read() as connection:
        found = counting.left_behind(connection, ref, cluster=view.settings.cluster)
    return tuple(Left(one.placed.url_key, one.placed.branch, one.placed.base_folder, len(one.items)) for one in found)


def _count(view: surveying.View, destination: Destination) -> counting.Counted | None:
    """None where the database does not answer, or never heard of the destination."""
    if view.database is None or destination.id is None:
        return None
    with view.database.read() as connection:
        found = counting.count(
            connection,
            view.survey.compilation,
            destination.ref,
            destination_id=destination.id,
            place_id=destination.place_id,
        )
    forgotten = view.survey.cluster is None and any(
        not verdict.ready for _, verdict in view.survey.rules_of(destination.ref)
    )
    # A rule that was not compiled here holds its files still.
    return counting.Counted(found.files) if forgotten else found


def _known(view: surveying.View) -> set[events.Ref]:
    found = set(view.survey.compilation.destinations)
    if view.survey.cluster is None and view.database is not None:
        with view.database.read() as connection:
            found |= {one.ref for one in health.of_destinations(connection, cluster=view.settings.cluster)}
    return found


def _recorded(view: surveying.View, ref: events.Ref) -> Destination | None:
    """The live destination of this name, as the database has it."""
    if view.database is None:
        return None
    with view.database.read() as connection:
        rows = health.of_destinations(connection, cluster=view.settings.cluster)
        row = next((one for one in rows if one.ref == ref), None)
        if row is None:
            return None
        found = states.of_destinations(connection, cluster=view.settings.cluster).values()
        state = next(one for one in found if one.destination_id == row.id)
        placed = destinations.by_id(connection, row.id)
    return Destination(
        ref=ref,
        ready=row.ready,
        reason=row.reason,
        message=row.message,
        id=row.id,
        place_id=state.place_id,
        url=placed.url if placed else None,
        branch=placed.branch if placed else None,
        base_folder=placed.base_folder if placed else None,
        last_error=state.last_error,
        last_sha=state.last_sha,
        last_pushed_at=state.last_pushed_at,
        pending=state.pending,
    )


def _joined(ref: events.Ref, verdict: compiling.DestinationVerdict, recorded: Destination | None) -> Destination:
    """The verdict of now, with what the database knows of the destination."""
    found = recorded or Destination(ref, verdict.ready, verdict.reason, verdict.message)
    found = replace(found, ready=verdict.ready, reason=verdict.reason, message=verdict.message)
    if verdict.place is None:
        return found
    place = verdict.place
    return replace(found, url=place.url.url, branch=place.branch, base_folder=place.base_folder)


def _rule(key: compiling.RuleKey, verdict: compiling.RuleVerdict, raw: surveying.Raw, *, files: int | None) -> Rule:
    problems = [Refused(one.resource, one.reason, one.message) for one in verdict.problems]
    unread = [
        Refused(str(one["resource"]), "Unreadable", str(one["message"]))
        for one in (raw.get("status") or {}).get("problems") or ()
        if one.get("reason") == "Unreadable"
    ]
    return Rule(
        rule=str(key),
        ready=verdict.ready,
        reason=verdict.reason,
        message=verdict.message,
        selected=tuple(_selected(verdict.rule.scopes)) if verdict.rule else (),
        refused=(*problems, *unread),
        left_out=verdict.notes,
        files=files,
    )


def _selected(scopes: Iterable[compiling.Scope]) -> Iterator[Selected]:
    """Scopes that differ in their type alone, joined."""
    joined: dict[tuple[Any, ...], list[compiling.Scope]] = {}
    for one in scopes:
        key = (one.type.namespaced, one.namespace, one.operations, one.wildcard, one.filter, one.ignored, one.members)
        joined.setdefault(key, []).append(one)
    for same in joined.values():
        one = same[0]
        yield Selected(
            types=tuple(sorted(str(scope.type) for scope in same)),
            namespaced=one.type.namespaced,
            namespace=one.namespace,
            operations=tuple(operation.value for operation in events.Operation if operation in one.operations),
            wildcard=one.wildcard,
            narrowed=one.filter.to_json(),
            ignored=one.ignored.to_json(),
            namespaces=None if one.members is None else tuple(sorted(one.members)),
        )


def _unreadable(survey: surveying.Survey, destination: events.Ref) -> Iterator[Rule]:
    """The rules of a destination that cannot be used at all."""
    for key, error in survey.unreadable_of(destination):
        yield Rule(str(key), False, error.reason, error.message, (), (), (), None)
