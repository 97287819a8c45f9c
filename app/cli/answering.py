"""Why one object is in Git for a destination, or is not: the first thing that is true of it, for `reverser explain`.

From what is in Git and in the ledger (`app/models/tracing.py`), what the rules say (`weighing.py`) and what the cluster
says of the object. Each of them may not answer; what the others say is still worth having.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app import errors, events
from app.cli import overviews, rendering, surveying, tables, weighing
from app.kube import problems
from app.models import base, ledger, seeds, tracing
from app.rules import matching, types

_STATES = {
    ledger.UNCHANGED: "was already in Git as it is",
    ledger.STALE: "came too late",
    ledger.SUPERSEDED: "was overtaken",
    ledger.HELD: "is held back",
}
# Nobody is sent into rules for one: naming Secrets there gives a problem and no file.
_NO_SECRETS = "A Secret is not mirrored, whatever the rules say: that needs encryption, and there is none yet"
_WHEN_SEEN = "{} removes it when the change is seen"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one object for one destination.

    `in_git` says what Reverser wrote, not what others did to it since: a drain looks at a path when it writes there. It
    is None where the database does not answer. `reason` is one word for programs: `InGit`, or why not.
    """

    destination: str
    object: str
    namespace: str
    in_git: bool | None
    reason: str
    sentence: str
    path: str | None
    branch: str | None
    commit: str | None
    pushed_at: datetime | None
    rule: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Live:
    """The object in the cluster: `found`, or missing, or `deleting` since then, or `unknown` with the reason."""

    found: rendering.Subject | None = None
    deleting: str = ""
    unknown: str = ""


def answer(
    view: surveying.View, destination: overviews.Destination, type_: types.ResourceType, ref: events.Ref
) -> Answer:
    """Ask everybody. `ref` has no namespace for a type without namespaces."""
    return _Question(view, destination, type_, ref).answer()


class _Question:
    """One object of one destination."""

    def __init__(
        self, view: surveying.View, destination: overviews.Destination, type_: types.ResourceType, ref: events.Ref
    ) -> None:
        self._scale = weighing.Scale(view.survey, destination.ref)
        # One object whatever version it is read in: the destination's counts.
        self._destination, self._type, self._ref = destination, self._scale.held(type_), ref
        self._trace = _Trace.of(view, destination, self._type, ref)
        self._live = _look(view, self._type, ref)
        self._weighed = (
            self._scale.weigh(self._live.found)
            if self._live.found
            else self._scale.weigh_type(self._type, ref.namespace)
        )
        self._nearest = weighing.nearest(self._weighed)

    def answer(self) -> Answer:
        """The first thing that is true."""
        file, change = self._trace.file, self._trace.change
        in_git = None if not self._trace.asked else file is not None
        reason, sentence = ("InGit", self._in_git()) if in_git else next(self._reasons())
        return Answer(
            destination=str(self._destination.ref),
            object=f"{self._type}/{self._ref.name}",
            namespace=self._ref.namespace,
            in_git=in_git,
            reason=reason,
            sentence=sentence,
            path=file.path if file else None,
            branch=file.branch if file else None,
            commit=change.sha if file and change else None,
            pushed_at=change.pushed_at if file and change else None,
            rule=change.rule if file and change else None,
            notes=tuple(self._notes(reason)),
        )

    @property
    def _taken(self) -> bool:
        return self._nearest is not None and self._nearest.near is weighing.Near.TAKEN

    def _in_git(self) -> str:
        file, change = self._trace.file, self._trace.change
        assert file
        if change is None or change.path != file.path:
            return f"Reverser took its file over: {file.path} on {file.branch}, which stood there before"
        return (
            f"Reverser wrote it to Git: {file.path} on {file.branch}, with commit {change.sha[:10]} of "
            f"{tables.moment(change.pushed_at)} UTC, under {change.rule}"
        )

    def _reasons(self) -> Iterator[tuple[str, str]]:
        """Why it is not in Git; what stands first decides."""
        if self._type.key == matching.SECRETS:
            yield "EncryptionRequired", _NO_SECRETS
        if not self._destination.ready:
            yield self._destination.reason, f"The destination is not ready: {self._destination.message}"
        if self._nearest is None:
            kind = "WatchRule" if self._type.namespaced else "ClusterWatchRule"
            yield "NoRule", f"No rule feeds {self._destination.ref}: make a {kind} whose destinationRef names it"
        elif self._nearest.near is weighing.Near.OTHER_TYPE:
            advice = (
                "add it to the resources of one"
                if self._type.namespaced
                else "it is cluster-scoped, so select it in a ClusterWatchRule with scope Cluster"
            )
            yield "NotSelected", f"No rule of {self._destination.ref} selects {self._type}: {advice}"
        elif not self._taken:
            yield self._nearest.reason, self._nearest.sentence
        if not self._live.found and not self._live.unknown:
            yield "Gone", self._gone()
        yield from self._operations()
        yield from self._on_its_way()
        if self._live.unknown:
            yield (
                "Unknown",
                f"A rule selects its type; whether it selects the object is not known: {self._live.unknown}",
            )
        assert self._nearest
        if not self._trace.asked:
            yield "Selected", f"{self._nearest.rule} selects it; whether it is in Git yet is not known"
        unseen = "nothing of it is in the ledger yet: `reverser status` says whether a watch daemon leads"
        yield "NotSeen", f"{self._nearest.rule} selects it, and {unseen}"

    def _gone(self) -> str:
        if self._live.deleting:
            return f"It is being deleted in the cluster, since {self._live.deleting}: that is as good as gone"
        change = self._trace.change
        if change and change.operation == events.Operation.DELETE:
            when = tables.moment(change.pushed_at)
            return f"It does not exist in the cluster; commit {change.sha[:10]} of {when} UTC removed its file"
        return "It does not exist in the cluster: check name and namespace"

    def _operations(self) -> Iterator[tuple[str, str]]:
        """A rule that selects the object, but not what happened to it."""
        if not self._live.found or self._trace.pending:
            return
        selection = self._scale.selection(self._live.found)
        if selection is None or events.Operation.CREATE in selection.rules:
            return
        if events.Operation.UPDATE in selection.rules:
            rule = selection.rules[events.Operation.UPDATE]
            yield (
                "OperationNotSelected",
                f"{rule} does not select CREATE: the object gets into Git with its next change",
            )
        else:
            rule = selection.rules[events.Operation.DELETE]
            yield "OperationNotSelected", f"{rule} selects DELETE alone, which writes no file"

    def _on_its_way(self) -> Iterator[tuple[str, str]]:
        row = self._trace.row
        if row and row.state == ledger.PENDING:
            yield "Pending", f"It is on its way: {_event(row)} pends{self._waits()}"
        if self._trace.seeding:
            yield "Seeding", f"It is on its way: {self._type} is being listed for a seed ({self._trace.seeding})"
        if row and row.state == ledger.DEAD:
            yield "Dead", f"It could not be written: {row.reason}; its next change is tried again"
        elif row and row.state in _STATES:
            yield row.state.capitalize(), f"{_event(row)} {_STATES[row.state]}{f': {row.reason}' if row.reason else ''}"

    def _waits(self) -> str:
        error = self._destination.last_error
        return f"; the destination waits: {error}" if error else ""

    def _notes(self, reason: str) -> Iterator[str]:
        """What is worth knowing beside the sentence."""
        if reason == "EncryptionRequired":
            return
        if reason == "InGit":
            yield from self._notes_of_file()
        elif reason != "Gone":
            yield from self._removal()
        for one in self._weighed:
            if one.sentence and one is not self._nearest and one.near > weighing.Near.OTHER_TYPE:
                yield one.sentence
        for other in self._trace.elsewhere:
            yield f"A file of a former place is kept: {other.path} on {other.branch}"

    def _notes_of_file(self) -> Iterator[str]:
        row = self._trace.row
        if row and row.state == ledger.PENDING:
            yield f"A newer state is on its way: {_event(row)} pends{self._waits()}"
        if row and row.state == ledger.DEAD:
            yield f"Its newest state could not be written: {row.reason}"
        if self._trace.seeding:
            yield f"{self._type} is being listed for a seed ({self._trace.seeding})"
        if self._live.unknown:
            yield f"How it stands in the cluster is not known: {self._live.unknown}"
        if self._trace.pending:
            return
        missing = not self._live.found and not self._live.unknown
        if not self._taken:
            yield self._left(missing=missing)
        elif missing:
            gone = "is being deleted" if self._live.deleting else "does not exist any more"
            goes = (
                _WHEN_SEEN.format(rule)
                if (rule := self._remover())
                else "no rule removes it: the last one that selected it had no DELETE, or looks elsewhere now"
            )
            yield f"It {gone} in the cluster, and its file is there still: {goes}"

    def _left(self, *, missing: bool) -> str:
        """Of an object that no rule selects: what stands in Git, and when that goes."""
        why = self._nearest.sentence if self._nearest else f"no rule feeds {self._destination.ref}"
        state = "Its object is gone, and it was not followed any more" if missing else "It is not followed any more"
        commit = f"that of commit {self._trace.change.sha[:10]}" if self._trace.change else "what was taken over"
        if rule := self._remover():
            goes = _WHEN_SEEN.format(rule) if missing else "it goes when its object is deleted"
        else:
            stays = "it stays" if missing else "it stays when its object is deleted"
            goes = f"{stays}, until a rule with DELETE selects {self._type} again"
        return f"{state}: {why}. Its content is {commit}; {goes}"

    def _removal(self) -> Iterator[str]:
        """That there was a file, where the sentence does not say it."""
        change = self._trace.change
        if change is None or change.operation != events.Operation.DELETE:
            return
        why = ""
        if self._live.found:
            same = self._live.found.identifier.uid == change.uid
            why = ": the object had left the selection" if same else ": the object of that name was deleted then"
        when = tables.moment(change.pushed_at)
        under = f", under {change.rule}" if change.rule else ""
        yield f"Commit {change.sha[:10]} of {when} UTC removed its file{under}{why}"

    def _remover(self) -> str | None:
        """The rule that removes the file once the object is gone."""
        file = self._trace.file
        key = events.Identifier(
            group=self._type.group,
            version=self._type.version,
            resource=self._type.resource,
            namespace=self._ref.namespace,
            name=self._ref.name,
            kind=self._type.kind,
            uid="",
        )
        return self._scale.matcher.remover(key, self._destination.ref, noted=file.remover if file else None)


@dataclass(frozen=True, slots=True)
class _Trace:
    """What the database says of the object; `asked` is False where it does not answer."""

    asked: bool = False
    file: tracing.File | None = None
    elsewhere: tuple[tracing.File, ...] = ()
    change: tracing.Change | None = None
    row: tracing.Row | None = None
    # The cause of the open seed in which the object's type is not listed to its end.
    seeding: str = ""

    @property
    def pending(self) -> bool:
        """Whether an Event of the object is on its way."""
        return self.row is not None and self.row.state == ledger.PENDING

    @classmethod
    def of(
        cls, view: surveying.View, destination: overviews.Destination, type_: types.ResourceType, ref: events.Ref
    ) -> _Trace:
        if view.database is None:
            return cls()
        if destination.id is None:
            return cls(asked=True)
        key = type_.group, type_.resource, ref.namespace, ref.name
        with view.database.read() as connection:
            files = [one for one in tracing.files(connection, destination.id, key) if not one.removed]
            return cls(
                asked=True,
                file=next((one for one in files if one.place_id == destination.place_id), None),
                elsewhere=tuple(one for one in files if one.place_id != destination.place_id),
                change=tracing.last_change(connection, destination.id, key),
                row=tracing.last_row(connection, destination.id, key, place_id=destination.place_id),
                seeding=_seeding(_runs(connection, destination.id), type_, ref.namespace),
            )


def _runs(connection: base.Connection, destination_id: int) -> list[seeds.Run]:
    """The seeds that are not listed to their end, those that wait for another one included."""
    states = (seeds.LISTING, seeds.QUEUED)
    return [run for state in states for run in seeds.open_runs(connection, [destination_id], state=state)]


def _seeding(runs: Sequence[seeds.Run], type_: types.ResourceType, namespace: str) -> str:
    for run in runs:
        for scope in run.scopes:
            same = (scope.key.group, scope.key.resource) == type_.key and scope.key.namespace in {"", namespace}
            if same and scope.outcome == seeds.NOT_LISTED:
                return run.cause
    return ""


def _look(view: surveying.View, type_: types.ResourceType, ref: events.Ref) -> _Live:
    if view.survey.cluster is None:
        return _Live(unknown="the cluster does not answer")
    if type_.key == matching.SECRETS:
        return _Live(unknown="a Secret is never read")
    try:
        found = rendering.from_cluster(view.survey.cluster, type_, ref)
        deleting = found.content["metadata"].get("deletionTimestamp")
        return _Live(deleting=str(deleting)) if deleting else _Live(found=found)
    except problems.NotServed:
        return _Live()
    except errors.ReverserError as error:
        return _Live(unknown=error.message)


def _event(row: tracing.Row) -> str:
    return f"Event {row.sequence} ({row.operation}, seen at {tables.moment(row.observed_at)} UTC)"
