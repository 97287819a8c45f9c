"""One batch on its way into the ledger: a stretch of live changes and listed objects, with all that goes with them.

`Batch` is filled from the inbox without touching the writer's memory, so that a batch whose transaction fails leaves
no trace; `writing.py` commits it and then lets it take effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app import events
from app.models import inventory, ledger
from app.watch import eventing, inbox, routing, runs

NOT_SELECTED = "it was listed, and no rule selects it any more: what is in Git stays"
NO_OPERATION = "it was listed, and the rules select no such operation of it: what is in Git stays"
CHANGED_SINCE = "it changed after it was listed, and so is there: what is in Git stays"

_ScopeOf = tuple[str, routing.WantedScope]


class Overlay:
    """What a destination knows, with what this batch changes on top."""

    def __init__(self, below: dict[inventory.Key, inventory.Known]) -> None:
        self._below = below
        self._changed: dict[inventory.Key, inventory.Known | None] = {}

    def get(self, key: inventory.Key, /) -> inventory.Known | None:
        """The newest state of an object, or None."""
        return self._changed[key] if key in self._changed else self._below.get(key)

    def note(self, subject: eventing.Subject, chosen: eventing.Selected) -> None:
        """An Event of this object is in the batch. A DELETE of an older uid says nothing of its successor."""
        found = self.get(subject.key)
        if chosen.kept and found is not None:
            if chosen.mark:
                self._changed[subject.key] = replace(found, mark=chosen.mark, remover=chosen.remover)
        elif chosen.operation is not events.Operation.DELETE:
            content = subject.content(chosen.ignored)
            self._changed[subject.key] = inventory.Known(chosen.uid, content.hash, chosen.mark, chosen.remover)
        elif found is not None and found.uid == chosen.uid:
            self._changed[subject.key] = None

    def apply(self) -> None:
        """The batch is committed."""
        for key, found in self._changed.items():
            if found is None:
                self._below.pop(key, None)
            else:
                self._below[key] = found


@dataclass
class Batch:
    """Rows and what is written with them in one transaction."""

    cluster: str
    routes: routing.Routing
    book: runs.SeedBook
    known: Mapping[int, Overlay]
    entries: list[ledger.Entry] = field(default_factory=list)
    # Event id -> the seed scope that its row counts for.
    scope_of: dict[str, _ScopeOf] = field(default_factory=dict)
    # Stream -> (resourceVersion, epoch) up to which its changes stand in this batch.
    positions: dict[routing.StreamKey, tuple[str, int]] = field(default_factory=dict)
    taken: Counter[inbox.Listing] = field(default_factory=Counter)
    ended: list[tuple[inbox.Listing, str]] = field(default_factory=list)
    unchanged: int = 0
    changes: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.entries or self.positions or self.taken or self.ended)

    def pages_full(self, most: int) -> bool:
        """Whether this batch took as many listed objects as it should."""
        return sum(self.taken.values()) >= most

    def add_live(self, item: inbox.Live) -> None:
        """Take one line of a stream."""
        self.positions[item.key] = item.change.resource_version, item.source_epoch
        kind = item.change.kind
        if kind in {"BOOKMARK", "SYNCED"}:
            return
        self.changes += 1
        subject = eventing.Subject(item.type, item.change.object, change=_KINDS[kind])
        self.book.note(subject)
        origin = eventing.Origin(self.cluster, item.source_epoch, item.observed_at)
        for chosen in list(eventing.select(subject, self.routes, self.known)):
            known = self.known[chosen.target.id]
            if chosen.kept:
                continue
            if eventing.is_unchanged(subject, chosen, known):
                self.unchanged += 1
                continue
            self.entries.append(eventing.entry(subject, chosen, origin))
            if chosen.operation is not events.Operation.DELETE:
                self._note_news(subject, chosen, origin)
            known.note(subject, chosen)

    def _note_news(self, subject: eventing.Subject, chosen: eventing.Selected, origin: eventing.Origin) -> None:
        """What an open seed has to know of an object that becomes known to its destination."""
        if subject.written(self.known[chosen.target.id].get(subject.key)) is not events.Operation.CREATE:
            return
        for run in self.book.holding(subject.key):
            if run.destination_id != chosen.target.id:
                continue
            if chosen.operation is events.Operation.CREATE:
                run.created[subject.identifier.uid] = chosen.rule or ""
            else:
                there = replace(chosen, kept=True)
                row = eventing.entry(subject, there, origin, seed=run.id, stale=CHANGED_SINCE)
                run.passed_over[subject.identifier.uid] = row

    def add_passed_over(self) -> None:
        """Take what keeps the files that the seeds which end here wrote no row of from being orphans."""
        for run in self.closing():
            self.entries += run.passed_over.values()

    def add_page(self, page: inbox.Page) -> None:
        """Take objects of a listing, for the seeds that are still open."""
        listing = page.listing
        # By namespace: one listing may serve a thousand destinations, of which each has its own.
        served: dict[str, list[_ScopeOf]] = {}
        for run_id, scope in listing.scopes:
            if run_id in self.book.runs:
                served.setdefault(scope.key.namespace, []).append((run_id, scope))
        if not served:
            listing.cancelled.set()
            return
        origin = eventing.Origin(self.cluster, listing.source_epoch, page.observed_at)
        for obj in page.objects:
            self._add_listed(eventing.Subject(listing.type, obj, change="LISTED"), served, origin)
        self.taken[listing] += len(page.objects)
        if page.ended_at:
            self.ended.append((listing, page.ended_at))

    def _add_listed(
        self, subject: eventing.Subject, served: Mapping[str, list[_ScopeOf]], origin: eventing.Origin
    ) -> None:
        """Every seed row is written, even of unchanged content: that repairs a repository somebody changed."""
        # An object on its way out counts as not listed: a listing must not resurrect it.
        if subject.deleted:
            return
        chosen = {one.target.id: one for one in eventing.select(subject, self.routes, self.known)}
        for run_id, scope in (one for name in {"", subject.identifier.namespace} for one in served.get(name, ())):
            run = self.book.runs[run_id]
            run.passed_over.pop(subject.identifier.uid, None)
            selected = _as_created(subject, chosen.get(run.destination_id), run)
            stale = run.stale(subject)
            if stale is None and selected is not None and selected.operation is events.Operation.DELETE:
                self._left(subject, selected, scope)
                continue
            if selected is None or selected.operation is events.Operation.DELETE:
                selected = self._only_listed(subject, run)
            if selected is None:
                continue
            if stale and not selected.kept and eventing.is_unchanged(subject, selected, self.known[run.destination_id]):
                # The newer state is of this very content, and has no row: this one carries it.
                stale = None
            if selected.kept:
                stale = stale or self._why_kept(subject, selected.target)
            entry = eventing.entry(subject, selected, origin, seed=run_id, stale=stale)
            self.entries.append(entry)
            self.scope_of[entry.event.id] = run_id, scope
            if stale is None or selected.kept:
                self.known[run.destination_id].note(subject, selected)

    def _left(self, subject: eventing.Subject, selected: eventing.Selected, scope: routing.WantedScope) -> None:
        """An object left its selection while nobody looked: uncounted, it is an orphan that the sweep takes.

        It is not known from here on, so that its way back writes it anew.
        """
        if scope.sweepable:
            self.known[selected.target.id].note(subject, selected)

    def _only_listed(self, subject: eventing.Subject, run: runs.OpenRun) -> eventing.Selected | None:
        """An object that is in Git and exists, and is not selected: its row keeps it from being an orphan."""
        found = self.known[run.destination_id].get(subject.key)
        if found is None:
            return None
        target, mark = self.routes.target_of(run.destination_id), None if found.mark else ledger.LEFT
        return eventing.Selected(target, subject.written(found), None, subject.identifier.uid, mark, kept=True)

    def _why_kept(self, subject: eventing.Subject, target: routing.Target) -> str:
        selections = self.routes.matcher.match(subject.identifier, subject.obj)
        return NO_OPERATION if any(one.destination == target.ref for one in selections) else NOT_SELECTED

    def closing(self) -> list[runs.OpenRun]:
        """Seeds whose last scope ends with this batch: SEED_SYNC is tried for them."""
        now = {(run_id, scope) for listing, _ in self.ended for run_id, scope in listing.scopes}
        return [
            run
            for run in self.book.runs.values()
            if all(
                state.progress is runs.Progress.ENDED or (run.id, scope) in now for scope, state in run.scopes.items()
            )
        ]

    def part(self, entries: list[ledger.Entry], *, last: bool) -> Batch:
        """A batch of some of the rows; cursors, counts and ends go with the last part only."""
        rest = Batch(self.cluster, self.routes, self.book, self.known, entries=entries, scope_of=self.scope_of)
        if last:
            rest.positions, rest.taken, rest.ended = self.positions, self.taken, self.ended
        return rest


def _as_created(
    subject: eventing.Subject, selected: eventing.Selected | None, run: runs.OpenRun
) -> eventing.Selected | None:
    """What is known since a live CREATE during this seed is listed as that: the live row may be behind a tombstone."""
    if selected is None or not selected.kept or (rule := run.created.get(subject.identifier.uid)) is None:
        return selected
    return replace(selected, operation=events.Operation.CREATE, rule=rule, kept=False)


_KINDS: Mapping[str, eventing.ChangeKind] = {"ADDED": "ADDED", "MODIFIED": "MODIFIED", "DELETED": "DELETED"}
