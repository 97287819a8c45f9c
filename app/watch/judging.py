"""The status of our objects from what is known of them: pure, without a clock and without I/O.

Conditions follow the kstatus convention: Ready says whether it works, Reconciling that something is on its way, Stalled
that a person has to act. `reporting.py` gathers what is known and writes what is made here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app import errors, events
from app.kube import status
from app.models import inventory, seeds, states
from app.rules import compiling
from app.watch import routing

# Reasons of errors that are about the Secret itself; every other end of a connection has found it.
SECRET_PROBLEMS = frozenset({"SecretNotFound", "SecretUnreadable", "SecretInvalid", "Forbidden"})
# So many objects that cannot be written are named, the rest is counted.
_NAMED = 3
# What an error says of its next try at the moment when it is raised.
_TRY_AGAIN = re.compile(r"; will try again in \d+ s$")

Conditions = list[status.Condition]


@dataclass(frozen=True)
class Judged:
    """A status without its conditions, and those."""

    fields: Mapping[str, Any]
    conditions: Conditions

    @property
    def ready(self) -> str:
        """The status of Ready, a change of which is always written at once."""
        return next(one.status for one in self.conditions if one.type == "Ready")


def unreadable(error: errors.PermanentError) -> Judged:
    """An object that cannot be read at all."""
    return Judged({}, _stalled(error.reason, error.message))


def repo_config(verdict: compiling.RepoVerdict, *, state: states.RepoState | None) -> Judged:
    """A GitRepoConfig; whether the host answers is what the workers of its destinations saw last."""
    conditions = _ready(verdict.message) if verdict.ready else _stalled(verdict.reason, verdict.message)
    return Judged(_connection(state) if state and verdict.ready else {}, conditions)


def _connection(state: states.RepoState) -> dict[str, Any]:
    check = state.connection_check
    fields: dict[str, Any] = {"connectionCheck": check or "Unknown"}
    if state.secret_name is None:
        fields["connectionSecret"] = "Anonymous"
    else:
        fields["connectionSecret"] = "Unknown" if check is None else check if check in SECRET_PROBLEMS else "Found"
    if state.branch_count is not None:
        fields["remoteBranchCount"] = state.branch_count
    return fields


def destination(
    ref: events.Ref,
    verdict: compiling.DestinationVerdict,
    *,
    state: states.DestinationState | None,
    seeding: bool,
    files: Tally,
    unwritable: Sequence[states.Unwritable],
    outage: str,
) -> Judged:
    """A GitDestination; `outage` says why the broker takes no messages, empty while it does."""
    fields: dict[str, Any] = {"queue": events.queue_name(ref)}
    if state is None:
        conditions = _progressing("Recording", "it is being recorded") if verdict.ready else _refused(verdict)
        return Judged({**fields, "syncStatus": "syncing" if verdict.ready else "error"}, conditions)
    fields |= {"pending": state.pending, "superseded": state.superseded}
    fields |= {"retained": files.retained, "orphans": files.orphans, "unwritable": len(unwritable)}
    fields |= {"lastCommitSHA": state.last_sha} if state.last_sha else {}
    fields |= {"branchExists": state.branch_exists} if state.branch_exists is not None else {}
    fields |= {"lastSyncTime": _time(state.last_pushed_at)} if state.last_pushed_at else {}
    fields["syncStatus"] = _sync_status(verdict, state, seeding=seeding)
    wanted = wanting(ref, files=files, unwritable=unwritable, foreign_sha=state.foreign_sha)
    return Judged(fields, _destination_conditions(verdict, state, seeding=seeding, wanted=wanted, outage=outage))


@dataclass(frozen=True, slots=True)
class RuleState:
    """What is known of a rule beside its verdict: files, its version in SQL, and what the cluster does not let us read.

    `namespaces` says why the labels of namespaces cannot be read, empty while they can.
    """

    objects: int = 0
    version: int | None = None
    refusals: Mapping[routing.StreamKey, str] = field(default_factory=dict)
    namespaces: str = ""


def rule(verdict: compiling.RuleVerdict, *, namespace: str, state: RuleState) -> Judged:
    """A WatchRule or ClusterWatchRule, with what the cluster does not let us read."""
    problems = [
        {"resource": problem.resource, "reason": problem.reason, "message": problem.message}
        for problem in verdict.problems
    ]
    fields: dict[str, Any] = {"excluded": list(verdict.notes)}
    if verdict.rule is None:
        if verdict.reason == "NamespacesUnknown" and state.namespaces:
            problems.append(_unreadable("namespaces", state.namespaces))
        return Judged({**fields, "problems": problems}, _stalled(verdict.reason, verdict.message))
    resolved = {
        (scope.type.group, scope.type.version, scope.type.resource): str(scope.type) for scope in verdict.rule.scopes
    }
    unread = [
        _unreadable(resolved[key[:3]], message)
        for key, message in state.refusals.items()
        if key[:3] in resolved and (key.namespace in {"", namespace} or not namespace)
    ]
    ready = len(unread) < len(resolved)
    if state.namespaces and any(scope.members is not None for scope in verdict.rule.scopes):
        unread.append(_unreadable("namespaces", state.namespaces))
    fields |= {
        "destination": str(verdict.rule.destination),
        "resolvedTypes": sorted("/".join(part for part in key if part) for key in resolved),
        "objects": state.objects,
        "problems": problems + unread,
    }
    fields |= {"ruleVersion": state.version} if state.version is not None else {}
    if unread:
        message = "; ".join(problem["message"] for problem in unread)
        return Judged(fields, _stalled("Unreadable", message, ready=ready, fine=verdict.message))
    return Judged(fields, _ready(verdict.message))


def _unreadable(resource: str, message: str) -> dict[str, str]:
    return {"resource": resource, "reason": "Unreadable", "message": message}


@dataclass(frozen=True, slots=True)
class Tally:
    """The files of a destination: those that each rule holds, those that are left over, and those of gone objects.

    `orphans` counts the files whose objects are gone and whose types are selected, `waiting` those of them about which
    a person has to decide.
    """

    retained: int
    held: Mapping[str, int]
    orphans: int = 0
    waiting: int = 0


NO_FILES = Tally(0, {})


def tally(counts: Iterable[states.FileCount], *, place_id: int | None, marks: routing.Marks) -> Tally:
    """Add up the files of a destination, of which `marks` says what it selects now.

    Left over are those of former places, of what is selected no more, and those that rules selected which were others
    then. What the first release wrote says none of it: it counts as selected, and for no rule, until a listing finds it
    and says that nothing selects it (`ledger.LEFT`).
    """
    retained, orphans, waiting, held = 0, 0, 0, Counter[str]()
    for count in counts:
        gone = count.orphans if has_orphans(count, place_id=place_id, marks=marks) else 0
        orphans += gone
        waiting += count.waiting if gone else 0
        if is_left(count, place_id=place_id, marks=marks):
            retained += count.files - gone
        elif count.rule is not None:
            held[count.rule] += count.files
    return Tally(retained, held, orphans, waiting)


def is_left(count: states.FileCount, *, place_id: int | None, marks: routing.Marks) -> bool:
    """Whether files are left over."""
    mark = mark_of(count.group, count.resource, count.namespace, marks=marks)
    return count.place_id != place_id or mark is None or count.selection not in {None, mark}


def has_orphans(count: states.FileCount, *, place_id: int | None, marks: routing.Marks) -> bool:
    """Whether files of gone objects are among these: a sweep asks for their type alone, whatever selected them."""
    mark = mark_of(count.group, count.resource, count.namespace, marks=marks)
    return bool(count.orphans) and count.place_id == place_id and mark is not None


def is_left_over(item: inventory.Item, *, marks: routing.Marks) -> bool:
    """Whether a file at the present place is left over; of an orphan of a type that is selected, a seed decides."""
    what = item.identifier
    mark = mark_of(what.group, what.resource, what.namespace, marks=marks)
    return mark is None or (item.orphan is None and item.selection not in {None, mark})


def selected(objects: Iterable[states.Unwritable], *, marks: routing.Marks) -> list[states.Unwritable]:
    """Those whose type is selected still: nobody misses the others. The end of a seed has no type."""
    return [
        one
        for one in objects
        if not (what := one.identifier).name
        or mark_of(what.group, what.resource, what.namespace, marks=marks) is not None
    ]


def mark_of(group: str, resource: str, namespace: str, *, marks: routing.Marks) -> str | None:
    """The mark of what is selected of a type in a namespace now; None for nothing."""
    wide, own = (marks.get(seeds.ScopeKey(group, resource, name)) for name in ("", namespace))
    return wide or own


def _destination_conditions(
    verdict: compiling.DestinationVerdict,
    state: states.DestinationState,
    *,
    seeding: bool,
    wanted: Sequence[Wanting],
    outage: str,
) -> Conditions:
    if not verdict.ready:
        return _refused(verdict)
    if state.last_error:
        return _failed(state, state.last_error)
    if seeding:
        ready = "True" if state.last_sha else "Unknown"
        return _progressing("Seeding", "the objects that the rules select are being listed", ready=ready)
    # No number here: a condition that changes with each Event would be written with each Event.
    pending = "changes are on their way"
    if outage:
        pending += f"; publishing fails ({outage}), and they wait until the broker takes messages again"
    if wanted and (state.last_sha or not state.pending):
        said = [f"{one.found}; {one.do}" for one in wanted] + ([pending] if state.pending and outage else [])
        return _stalled(wanted[0].reason, "; ".join(said), ready=True, fine=verdict.message)
    if state.pending:
        return _progressing("Pending", pending, ready="True" if state.last_sha else "Unknown")
    return _ready(verdict.message)


def _failed(state: states.DestinationState, message: str) -> Conditions:
    reason = state.last_error_reason or "Error"
    if state.not_before:
        # The moment stands for the "in 30 s" of whoever failed, which is not true for long.
        message = f"{_TRY_AGAIN.sub('', message)}; next try at {_time(state.not_before)}"
    return _stalled(reason, message) if state.stalled else _progressing(reason, message, ready="False")


@dataclass(frozen=True, slots=True)
class Wanting:
    """What a person has to see to, while everything else goes on: what is so, and what to do."""

    reason: str
    found: str
    do: str


def wanting(
    ref: events.Ref, *, files: Tally, unwritable: Sequence[states.Unwritable], foreign_sha: str | None
) -> tuple[Wanting, ...]:
    """What a person has to see to at one destination; nothing, most of the time."""
    found = []
    if foreign_sha:
        other = f"another installation of Reverser writes to its folder: commit {foreign_sha[:10]}"
        found.append(Wanting("ForeignWriter", other, "stop one of the two, or give each a folder of its own"))
    if files.waiting:
        gone = f"a seed did not find the objects of {files.waiting} files, too many to remove them unasked"
        let = f"if they are really gone, let it pass with `reverser seed {ref} --allow-prune {files.waiting}`"
        found.append(Wanting("PruneHeld", gone, let))
    if unwritable:
        count = "1 object" if len(unwritable) == 1 else f"{len(unwritable)} objects"
        names = f"{count} cannot be written: {', '.join(_first(unwritable))}"
        found.append(
            Wanting("Unwritable", names, "mend what the reason says: the next change of each object is tried again")
        )
    return tuple(found)


def _first(objects: Sequence[states.Unwritable]) -> Iterator[str]:
    for one in objects[:_NAMED]:
        yield f"{_named(one.identifier)} ({one.reason})"
    if len(objects) > _NAMED:
        yield f"and {len(objects) - _NAMED} more"


def _named(what: events.Identifier) -> str:
    if not what.name:
        return "the end of a seed"
    return f"{what} in {what.namespace}" if what.namespace else str(what)


def _sync_status(verdict: compiling.DestinationVerdict, state: states.DestinationState, *, seeding: bool) -> str:
    if not verdict.ready or state.last_error:
        return "error"
    return "syncing" if seeding or state.pending else "idle"


def _ready(message: str) -> Conditions:
    return [
        status.Condition("Ready", "True", "Ready", message),
        status.Condition("Reconciling", "False", "Ready", "nothing is on its way"),
        status.Condition("Stalled", "False", "Ready", "nobody has to act"),
    ]


def _refused(verdict: compiling.DestinationVerdict) -> Conditions:
    return _stalled(verdict.reason, verdict.message)


def _stalled(reason: str, message: str, *, ready: bool = False, fine: str = "") -> Conditions:
    return [
        status.Condition(
            "Ready", "True" if ready else "False", "Ready" if ready else reason, fine if ready else message
        ),
        status.Condition("Reconciling", "False", reason, "it is tried again slowly"),
        status.Condition("Stalled", "True", reason, message),
    ]


def _progressing(reason: str, message: str, *, ready: Any = "Unknown") -> Conditions:
    return [
        status.Condition("Ready", ready, "Ready" if ready == "True" else reason, message),
        status.Condition("Reconciling", "True", reason, message),
        status.Condition("Stalled", "False", reason, "nobody has to act"),
    ]


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""
