"""One seed: its history is played to a whole installation while its faults happen; then everything is checked."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tests.chaos import checking, faults, playing
from tests.chaos.faults import Fault
from tests.chaos.histories import Step
from tests.chaos.stages import Stage
from tests.system import load
from tests.system.cluster import MERGE, Destination, repo_config
from tests.waiting import wait_until

# Steps in a second, and how many are played before the first fault.
PACE, AHEAD = 15.0, 60
# How long a fault may wait for somebody to come by its point, how long until its end is felt everywhere, until all is
# at rest, and how long the rest has to last, in seconds.
FIRING, RECOVERY, REST, QUIET = 20.0, 120.0, 120.0, 2.0
# Seconds between two changes of the pulse.
BEAT = 0.3
# Of a seed's faults so many have to happen: a run in which nothing breaks shows nothing.
ENOUGH = 0.75
# Destinations that nothing is done to, whose object says when everything works again.
PULSES, PULSE = 3, "pulse"


@dataclass(frozen=True, slots=True)
class Met:
    """A fault, and whether it happened.

    `recovery` are the seconds from its end until a change that was made then was in Git, for each pulse: from the
    signal that ended a process, from when a frozen one was woken, from when a server ran again.
    """

    fault: Fault
    fired: bool
    recovery: float | None


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    lane: str
    # How it is repeated: the faults, and the options of the command.
    asked: list[str]
    options: dict[str, str]
    met: list[Met] = field(default_factory=list)
    steps: int = 0
    changes: int = 0
    commits: int = 0
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    # The steps that did something, of each history.
    played: list[list[str]] = field(default_factory=lambda: [[], []])

    @property
    def fired(self) -> list[Met]:
        """The faults that happened."""
        return [one for one in self.met if one.fired]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"met": [{**asdict(one), "fault": str(one.fault)} for one in self.met]}


def run(stage: Stage, outcome: Outcome, found: Sequence[Fault], histories: Sequence[Iterable[Step]]) -> None:
    """Play two histories on an installation, one after the other, while these faults happen to it, in turns.

    All steps of the second one are to objects: what was selected when all rested, and is no more, has to be gone.
    What happened and what does not hold is in the outcome then, even where this ends before its time.
    """
    began = time.monotonic()
    config = stage.config()
    player = playing.Player(stage.api, stage.repository.url, before=stage.secret, **config)
    try:
        pulse = _Pulse(stage, player, config)
        selected: frozenset[tuple[str, str]] = frozenset()
        for number, steps in enumerate(histories):
            with _playing(player, steps, outcome.played[number]), pulse.beating():
                for fault in found[number :: len(histories)]:
                    outcome.met.append(_meet(stage, pulse, player, fault))
            pulse.wait(RECOVERY, what="everything")
            scene = replace(scene_of(stage, player), selected_before=selected)
            outcome.complaints += map(str, settled(scene))
            selected = checking.selected(scene)
        if len(outcome.fired) < ENOUGH * len(outcome.met):
            outcome.complaints.append(f"record: of {len(outcome.met)} faults, {len(outcome.fired)} happened")
    except Exception as error:  # noqa: BLE001 - whatever it is, the next seed has its turn, and this one is looked at
        outcome.complaints.append(f"record: {error!r}")
    outcome.steps = sum(map(len, outcome.played))
    outcome.changes = player.journal.changes
    with contextlib.suppress(Exception):
        outcome.commits = len(stage.rows('SELECT id FROM "commit"'))
    outcome.counts = {kind: sum(one.startswith(f"{kind}:") for one in outcome.complaints) for kind in checking.KINDS}
    outcome.seconds = time.monotonic() - began


@contextlib.contextmanager
def _playing(player: playing.Player, steps: Iterable[Step], played: list[str]) -> Iterator[None]:
    """Steps are played until the end of the block, or their own, some before it begins; what did something is noted."""
    count, ended = 0, threading.Event()

    def play(stop: threading.Event) -> None:
        nonlocal count
        try:
            for step, _ in zip(steps, load.ticks(PACE, stop), strict=False):
                if player.play(step):
                    played.append(step.text())
                count += 1
        finally:
            ended.set()

    with load.beside(play):
        wait_until(lambda: count >= AHEAD or ended.is_set(), RECOVERY, what="the first steps")
        yield


def _meet(stage: Stage, pulse: _Pulse, player: playing.Player, fault: Fault) -> Met:
    ended = _meet_at_point(stage, player, fault) if fault.at_point else stage.meet(fault)
    if ended is None:
        return Met(fault, fired=False, recovery=None)
    pulse.wait(RECOVERY, what=str(fault))
    return Met(fault, fired=True, recovery=time.time() - ended)


def _meet_at_point(stage: Stage, player: playing.Player, fault: Fault) -> float | None:
    """Arm a point, wait until somebody comes by, and undo it; when it ended, or None where nobody came."""
    who: faults.Who = "worker" if fault.who == "helper" else fault.who
    folder, wanted = stage.points(who), stage.pid(who)
    # A helper is met while its worker waits for it.
    (folder / fault.point).write_text("sleep 0.5" if fault.who == "helper" else fault.how)
    if fault.point in faults.OF_LISTINGS:
        threading.Thread(target=_seed, args=(stage, player), name="seeds").start()
    ends = time.monotonic() + FIRING
    while not (fired := list(folder.glob(f"{fault.point}.*.fired"))):
        if time.monotonic() > ends:
            with contextlib.suppress(FileNotFoundError):
                (folder / fault.point).unlink()
                return None
        threading.Event().wait(0.02)
    pid, met = int(fired[0].name.split(".")[1]), fired[0].stat().st_ctime
    fired[0].unlink()
    if fault.who == "helper":
        return stage.meet(fault, worker=pid)
    # Of two processes that pass a point, the other one may have come by; it has to come back as well.
    actual = fault if pid == wanted else replace(fault, who=stage.who_else(fault.who))
    ended = stage.undo(actual, pid, met)
    return ended if actual == fault else None


def _seed(stage: Stage, player: playing.Player) -> None:
    """Thread: have everything listed, as a person does; there may be nobody to do it at the moment."""
    for ref in player.destinations():
        with contextlib.suppress(Exception):
            stage.lane.reverser("seed", ref)


class _Pulse:
    """Destinations of their own, each with one object whose number rises: when it is in Git, everything works."""

    def __init__(self, stage: Stage, player: playing.Player, config: dict[str, Any]) -> None:
        self._player, self._repository = player, stage.repository
        api = stage.api
        namespace = api.namespace(PULSE)
        player.looked_at.append(namespace)
        self._key = playing.Key("configmaps", namespace, PULSE)
        self._number, self._lock = 1, threading.Lock()
        player.journal.written[self._key].append(self._number)
        stage.secret(namespace)
        repo_config(api, namespace, "repository", self._repository.url, **config)
        api.create("configmaps", namespace, PULSE, data={playing.SEQ: str(self._number)})
        for folder in (f"{PULSE}-{number}" for number in range(PULSES)):
            player.journal.places[f"{namespace}/{folder}"].add((PULSE, folder))
            player.journal.steady[f"{namespace}/{folder}"] = self._key
            Destination(api, namespace, folder, repository="repository", branch=PULSE, folder=folder)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """The object changes until the end of the block, so that there is somebody to come by at each point."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(BEAT):
                self._beat()

        thread = threading.Thread(target=beat, name="pulse")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def wait(self, timeout: float, *, what: str) -> None:
        """Change the object, and wait until each destination has that, or what came later."""
        number = self._beat()
        paths = [f"{PULSE}-{number}/v1/configmaps/{self._key.namespace}/{PULSE}.yaml" for number in range(PULSES)]

        def came() -> bool:
            texts = [self._repository.read(path, PULSE).encode() for path in paths]
            return min(map(checking.number_of, texts)) >= number

        wait_until(came, timeout, what=f"changes are in Git after {what}")

    def _beat(self) -> int:
        with self._lock:
            self._number += 1
            self._player.journal.written[self._key].append(self._number)
            path = f"/api/v1/namespaces/{self._key.namespace}/configmaps/{PULSE}"
            self._player.insist("PATCH", path, {"data": {playing.SEQ: str(self._number)}}, kind=MERGE)
            return self._number


def scene_of(stage: Stage, player: playing.Player) -> checking.Scene:
    """An installation and its cluster, for the checker to look at; nothing may be done to the cluster any more."""
    return checking.Scene(
        repository=stage.repository,
        rows=stage.rows,
        journal=player.journal,
        objects=player.objects(),
        destinations=player.ours("gitdestinations"),
        rules=player.ours("watchrules"),
        served=player.served(),
    )


def settled(scene: checking.Scene) -> list[checking.Complaint]:
    """What does not hold, once there was time for it; nothing where all holds, and goes on to."""
    ends = time.monotonic() + REST
    while True:
        complaints = checking.check(scene)
        if not complaints:
            # It may be that somebody has yet to hear of a rule: a connection that was lost is noticed late.
            threading.Event().wait(QUIET)
            complaints = checking.check(scene)
        if not complaints or time.monotonic() > ends:
            return complaints
        threading.Event().wait(1.0)


def spread(met: Sequence[Met]) -> dict[str, float]:
    """Seconds until everything worked again: median, of 99 in 100, longest."""
    seconds = sorted(one.recovery for one in met if one.recovery is not None)
    if not seconds:
        return {}
    return {
        "p50": statistics.median(seconds),
        "p99": seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))],
        "max": seconds[-1],
    }
