"""The reporter: writes the status of our objects, from the last compilation and from SQL.

Looked at each second, written only on a change, and at most every few seconds for one object, except when somebody
waits for it: when Ready moves, or the object was changed. A status that cannot be written is said and tried again
later; mirroring never waits for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from app import db, errors, events, publishing
from app.kube import client, status
from app.kube import kinds as our_kinds
from app.models import rules, states
from app.rules import compiling
from app.settings import Settings
from app.watch import judging, namespaces, ours, reconciling, streams, writing

log = structlog.get_logger(__name__)

_BEAT = 1.0
# Counting the files of a large destination takes a moment, and nobody watches that number by the second.
_COUNT_EVERY = 10.0
# The time between two counts is at least so many times what the last one took.
_COUNT_SHARE = 20
# After a write that failed, the object waits this long: a conflict or a refusal must not become a loop.
_AFTER_FAILURE = 10.0


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written last for one object, and when it may be written again: at all, and when nobody waits for it."""

    judged: judging.Judged | None = None
    generation: int = 0
    try_at: float = 0.0
    calm_at: float = 0.0

    def is_news(self, judged: judging.Judged, generation: int) -> bool:
        """Whether somebody waits for this: a person changed the object, or what most look at moved."""
        return self.judged is None or (self.judged.ready, self.generation) != (judged.ready, generation)


class Reporter:
    """One thread of the leading watch daemon of the home cluster."""

    def __init__(
        self,
        services: streams.Services,
        *,
        database: db.Database,
        objects: ours.OurObjects,
        followed: namespaces.Namespaces,
        reconciler: reconciling.Reconciler,
        running: streams.Streams,
        publisher: publishing.Publisher,
    ) -> None:
        self._settings: Settings = services.settings
        self._cluster: client.Cluster = services.cluster
        self._writer: writing.Writer = services.writer
        self._stop = services.stop
        self._database = database
        self._objects = objects
        self._namespaces = followed
        self._reconciler = reconciler
        self._streams = running
        self._publisher = publisher
        self._written: dict[tuple[str, str], _Written] = {}
        self._states: dict[str, states.DestinationState] = {}
        self._repos: dict[str, states.RepoState] = {}
        # Destination -> its files.
        self._tallies: dict[int, judging.Tally] = {}
        # Destination -> the objects that it cannot write.
        self._unwritable: Mapping[int, Sequence[states.Unwritable]] = {}
        # Rule -> files that it holds, and its version in SQL.
        self._held: Mapping[str, int] = {}
        self._versions: Mapping[str, int] = {}
        self._count_at = 0.0

    def run(self) -> None:
        """Report at each beat, until told to stop."""
        while not self._stop.wait(_BEAT):
            outcome = self._reconciler.outcome
            if outcome is None:
                continue
            try:
                self._read_states()
            except errors.TemporaryError as error:
                log.debug("status_not_read", error=error.message)
                continue
            for kind, ref, judged in self._judge(outcome):
                try:
                    self._report(kind, ref, judged, generations=outcome.generations)
                except Exception as error:  # noqa: BLE001 - no status is worth a change that is not mirrored.
                    log.warning("status_failed", kind=kind, name=str(ref), error=type(error).__name__)

    def _read_states(self) -> None:
        with self._database.read() as connection:
            self._states = states.of_destinations(connection, cluster=self._settings.cluster)
            self._repos = states.of_repo_configs(connection)
        if time.monotonic() >= self._count_at:
            self._count()

    def _count(self) -> None:
        started = time.monotonic()
        # Where counting takes the database too long, the rest of the status does not wait for it.
        self._count_at = started + _COUNT_EVERY
        with self._database.read() as connection:
            by_id = {state.destination_id: state for state in self._states.values()}
            counts = states.file_counts(connection, list(by_id))
            unsettled = states.in_seed(connection, list(by_id))
            dead = states.unwritable(connection, list(by_id))
            self._versions = rules.versions(connection, cluster=self._settings.cluster)
        now = time.monotonic()
        self._count_at = now + max(_COUNT_EVERY, _COUNT_SHARE * (now - started))
        marks = self._writer.routes.marks
        tallies = {
            id_: judging.tally(found, place_id=by_id[id_].place_id, marks=marks.get(id_, {}))
            for id_, found in counts.items()
        }
        self._unwritable = {id_: judging.selected(found, marks=marks.get(id_, {})) for id_, found in dead.items()}
        # After a change of rules each file gets its new mark with the seed: until that is in Git, no file is left over
        # because of its mark, and the last figure is the better one.
        kept = {id_: tally.retained for id_, tally in self._tallies.items() if id_ in unsettled}
        self._tallies = {id_: replace(tally, retained=kept.get(id_, tally.retained)) for id_, tally in tallies.items()}
        held = Counter[str]()
        for tally in tallies.values():
            held.update(tally.held)
        self._held = held

    def _judge(self, outcome: reconciling.Outcome) -> Iterator[tuple[str, events.Ref, judging.Judged]]:
        compilation = outcome.compilation
        for (kind, ref), error in outcome.unreadable.items():
            yield kind, ref, judging.unreadable(error)
        for ref, repo in compilation.repo_configs.items():
            yield "GitRepoConfig", ref, judging.repo_config(repo, state=self._repo_state(ref))
        for ref, destination in compilation.destinations.items():
            yield "GitDestination", ref, self._judge_destination(ref, destination)
        refusals, unknown = self._streams.refusals(), self._namespaces.problem
        for key, rule in compilation.rules.items():
            name = str(key)
            state = judging.RuleState(self._held.get(name, 0), self._versions.get(name), refusals, unknown)
            yield key.kind, key.ref, judging.rule(rule, namespace=key.ref.namespace, state=state)

    def _repo_state(self, ref: events.Ref) -> states.RepoState | None:
        raw = self._objects.snapshot_of("GitRepoConfig", ref)
        return self._repos.get(raw["metadata"].get("uid", "")) if raw else None

    def _judge_destination(self, ref: events.Ref, verdict: compiling.DestinationVerdict) -> judging.Judged:
        raw = self._objects.snapshot_of("GitDestination", ref)
        state = self._states.get(raw["metadata"].get("uid", "")) if raw else None
        seeding = state is not None and any(
            run.destination_id == state.destination_id for run in list(self._writer.book.runs.values())
        )
        files = self._tallies.get(state.destination_id, judging.NO_FILES) if state else judging.NO_FILES
        return judging.destination(
            ref,
            verdict,
            state=state,
            seeding=seeding,
            files=files,
            unwritable=self._unwritable.get(state.destination_id, ()) if state else (),
            outage=self._publisher.outage or "",
        )

    def _report(self, kind: str, ref: events.Ref, judged: judging.Judged, *, generations: Mapping[str, int]) -> None:
        raw = self._objects.snapshot_of(kind, ref)
        uid = str(raw["metadata"].get("uid", "")) if raw else ""
        # The object of now may be newer than the verdict, and nobody may take the one for the other.
        generation = generations.get(uid)
        if raw is None or generation is None:
            return
        key, now = (kind, uid), time.monotonic()
        before = self._written.get(key, _Written())
        if (before.judged, before.generation) == (judged, generation):
            return
        if now < (before.try_at if before.is_news(judged, generation) else before.calm_at):
            return
        if self._write(kind, raw, judged, generation=generation):
            self._written[key] = _Written(judged, generation, calm_at=now + self._settings.status_interval)
        else:
            self._written[key] = replace(before, try_at=now + _AFTER_FAILURE, calm_at=now + _AFTER_FAILURE)

    def _write(self, kind: str, raw: ours.Raw, judged: judging.Judged, *, generation: int) -> bool:
        """Write one status; False when that failed."""
        old = (raw.get("status") or {}).get("conditions") or []
        conditions = status.merge_conditions(old, judged.conditions, generation=generation, now=datetime.now(UTC))
        wanted = {**judged.fields, "observedGeneration": generation, "conditions": conditions}
        try:
            self._objects.put(kind, status.patch_status(self._cluster, our_kinds.OUR_TYPES[kind], raw, status=wanted))
        except errors.ReverserError as error:
            log.debug("status_not_written", kind=kind, name=raw["metadata"]["name"], error=error.message)
            return False
        return True
