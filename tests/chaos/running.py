"""One seed: its history is played to a whole installation while its faults happen; then everything is checked."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos import checking, faults, histories, playing
from tests.chaos.faults import Fault
from tests.chaos.stages import Stage
from tests.system.cluster import repo_config
from tests.waiting import wait_until

# Steps in a second, and how many are played before the first fault.
PACE, AHEAD = 15.0, 60
# How long a fault may wait for somebody to come by its point, how long until its end is felt everywhere, until all is
# at rest, and how long the rest has to last, in seconds.
FIRING, RECOVERY, REST, QUIET = 20.0, 120.0, 120.0, 2.0
# How often somebody is made to come by, in seconds.
PROMPT = 4.0
# Destinations that nothing is done to, whose object says when everything works again: with two workers, both have one.
PULSES, PULSE = 3, "pulse"


@dataclass(frozen=True, slots=True)
class Met:
    """A fault that happened; `recovery` are the seconds from its end until later changes were in Git everywhere."""

    fault: Fault
    fired: bool
    recovery: float | None


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    lane: str
    met: list[Met] = field(default_factory=list)
    steps: int = 0
    changes: int = 0
    commits: int = 0
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    played: list[str] = field(default_factory=list)

    @property
    def fired(self) -> list[Met]:
        """The faults that happened."""
        return [one for one in self.met if one.fired]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"met": [{**asdict(one), "fault": str(one.fault)} for one in self.met]}


def run(
    stage: Stage, *, seed: int, lane: str, found: Sequence[Fault], steps: Sequence[histories.Step] | None = None
) -> Outcome:
    """Play the history of a seed, or just these steps of it, on an installation while these faults happen.

    What does not hold is in the outcome.
    """
    began = time.monotonic()
    outcome = Outcome(seed, lane)
    config = stage.config()
    player = playing.Player(stage.api, stage.repository.url, before=stage.secret, **config)
    pulse = _Pulse(stage, config)
    try:
        with _playing(player, histories.history(seed) if steps is None else steps) as wait_for:
            wait_for(AHEAD if steps is None else min(AHEAD, len(steps)))
            for fault in found:
                outcome.met.append(_meet(stage, pulse, player, fault))
        outcome.complaints = [str(one) for one in _rest(stage, player, pulse)]
    except AssertionError as error:
        outcome.complaints.append(f"record: {error}")
    outcome.steps = len(player.journal.played)
    outcome.changes = player.journal.changes + pulse.beats
    outcome.commits = len(stage.rows('SELECT id FROM "commit"'))
    outcome.played = [step.text() for step in player.journal.played]
    outcome.counts = {kind: sum(one.startswith(f"{kind}:") for one in outcome.complaints) for kind in checking.KINDS}
    outcome.seconds = time.monotonic() - began
    return outcome


@contextlib.contextmanager
def _playing(player: playing.Player, steps: Iterable[histories.Step]) -> Iterator[Callable[[int], object]]:
    """Steps are played until the end of the block, or their own; gives a way to wait until so many were."""
    stop, failed = threading.Event(), []
    played = 0

    def play() -> None:
        nonlocal played
        due = time.monotonic()
        try:
            for step in steps:
                if stop.wait(max(0.0, due - time.monotonic())):
                    return
                due = max(due + 1 / PACE, time.monotonic() - 1.0)
                player.play(step)
                played += 1
        except BaseException as error:  # noqa: BLE001 - told by the thread that asserts
            failed.append(error)

    thread = threading.Thread(target=play, name="history")
    thread.start()
    try:
        yield lambda count: wait_until(lambda: failed or played >= count, RECOVERY, what=f"{count} steps")
    finally:
        stop.set()
        thread.join()
    assert not failed, f"the history ended: {failed[0]!r}"


def _meet(stage: Stage, pulse: _Pulse, player: playing.Player, fault: Fault) -> Met:
    if fault.point == faults.AT_ONCE:
        stage.meet(fault)
    elif not _meet_at_point(stage, pulse, player, fault):
        return Met(fault, fired=False, recovery=None)
    cleared = time.monotonic()
    pulse.wait(RECOVERY, what=str(fault))
    return Met(fault, fired=True, recovery=time.monotonic() - cleared)


def _meet_at_point(stage: Stage, pulse: _Pulse, player: playing.Player, fault: Fault) -> bool:
    """Arm a point, wait until somebody comes by, and undo it; whether somebody did."""
    folder = stage.points("worker" if fault.who == "helper" else fault.who)
    # A helper is met while its worker waits for it.
    (folder / fault.point).write_text("sleep 0.5" if fault.who == "helper" else fault.how)
    ends = time.monotonic() + FIRING
    prompted = 0.0
    while not (fired := list(folder.glob(f"{fault.point}.*.fired"))):
        if time.monotonic() > ends:
            with contextlib.suppress(FileNotFoundError):
                (folder / fault.point).unlink()
                return False
        if time.monotonic() > prompted:
            prompted = time.monotonic() + PROMPT
            pulse.beat()
            if fault.point in faults.OF_LISTINGS:
                for ref in player.destinations():
                    stage.lane.reverser("seed", ref)
        threading.Event().wait(0.02)
    pid = int(fired[0].name.split(".")[1])
    fired[0].unlink()
    if fault.who == "helper":
        stage.meet(fault)
    else:
        stage.undo(fault, pid)
    return True


class _Pulse:
    """Destinations of their own, each with one object whose number rises: when it is in Git, everything works."""

    def __init__(self, stage: Stage, config: dict[str, Any]) -> None:
        self._api, self._repository = stage.api, stage.repository
        self._namespace = self._api.namespace("pulse")
        self.beats = 0
        stage.secret(self._namespace)
        repo_config(self._api, self._namespace, "repository", self._repository.url, **config)
        self._api.create("configmaps", self._namespace, "pulse", data={"beat": "0"})
        for number in range(PULSES):
            place = {"repoRef": {"name": "repository"}, "branch": PULSE, "baseFolder": f"pulse-{number}"}
            self._api.create("gitdestinations", self._namespace, f"pulse-{number}", spec=place)
            spec = {"destinationRef": {"name": f"pulse-{number}"}, "rules": [{"resources": ["configmaps"]}]}
            self._api.create("watchrules", self._namespace, f"pulse-{number}", spec=spec)

    def beat(self) -> None:
        """Change the object."""
        self.beats += 1
        self._api.merge("configmaps", self._namespace, "pulse", data={"beat": str(self.beats)})

    def wait(self, timeout: float, *, what: str) -> None:
        """Change the object, and wait until each destination has it."""
        self.beat()
        line = f'beat: "{self.beats}"'
        paths = [f"pulse-{number}/v1/configmaps/{self._namespace}/pulse.yaml" for number in range(PULSES)]
        wait_until(
            lambda: all(line in self._repository.read(path, PULSE) for path in paths),
            timeout,
            what=f"changes are in Git after {what}",
        )


def _rest(stage: Stage, player: playing.Player, pulse: _Pulse) -> list[checking.Complaint]:
    """What does not hold once everything had the time to end, and nothing changes any more."""
    pulse.wait(RECOVERY, what="everything")
    return settled(scene_of(stage, player))


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
        alive=stage.alive(),
        beside=frozenset({PULSE}),
    )


def settled(scene: checking.Scene) -> list[checking.Complaint]:
    """What does not hold, once there was time for it; nothing where all holds, and goes on to."""
    ends = time.monotonic() + REST
    while (complaints := checking.check(scene)) and time.monotonic() < ends:
        threading.Event().wait(1.0)
    if not complaints:
        threading.Event().wait(QUIET)
        complaints = checking.check(scene)
    return complaints


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
