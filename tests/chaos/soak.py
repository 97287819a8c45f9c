"""`make soak`: an installation under steady changes for as long as you like, with a fault each minute.

What grows without an end shows here: memory, file descriptors and threads of every process that lived long enough, as
slopes; and how late changes are in Git. At the end everything is checked as after `make chaos`. It prints a table and
writes it to `build/soak-LANE.json`; 1 where something did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos import checking, faults, playing, reports, running, stages
from tests.system import load
from tests.system.cluster import MERGE, Destination, repo_config

# Changes in a second, over all destinations; objects of each.
PER_SECOND, DESTINATIONS, OBJECTS = 20.0, 5, 20
BRANCHES = ("main", "next")
# Seconds between two faults, and between two looks at the processes.
FAULT_EVERY, LOOK_EVERY = 60.0, 5.0
# A process is warm after so long; the slope of one that lived on for so long means something.
WARM, LONG = 60.0, 240.0
MEASURES = ("memory_mb", "descriptors", "threads")


@dataclass(frozen=True, slots=True)
class Look:
    """A process at a time: seconds since the beginning, and what it has."""

    at: float
    memory_mb: float
    descriptors: int
    threads: int


class Load:
    """Destinations with objects of their own, which change in turns; nothing else happens to them."""

    def __init__(self, stage: stages.Stage, player: playing.Player) -> None:
        self._player = player
        # Namespace and resourceVersion of each change -> when the API server had answered.
        self.wrote: dict[tuple[str, str], float] = {}
        self._namespaces = [self._destination(stage, number) for number in range(DESTINATIONS)]

    def _destination(self, stage: stages.Stage, number: int) -> str:
        api, namespace, name = stage.api, stage.api.namespace("soak"), f"soak-{number}"
        self._player.looked_at.append(namespace)
        stage.secret(namespace)
        repo_config(api, namespace, "repository", stage.repository.url, **stage.config())
        branch = BRANCHES[number % len(BRANCHES)]
        self._player.journal.places[f"{namespace}/{name}"].add((branch, name))
        Destination(api, namespace, name, repository="repository", branch=branch, folder=name)
        for each in range(OBJECTS):
            self._written(namespace, each, 1)
            api.create("configmaps", namespace, f"object-{each}", data={playing.SEQ: "1"})
        return namespace

    def _written(self, namespace: str, each: int, number: int) -> None:
        self._player.journal.written[playing.Key("configmaps", namespace, f"object-{each}")].append(number)

    def run(self, stop: threading.Event) -> None:
        """Thread: change them until told to stop."""
        for number, _ in zip(itertools.count(2), load.ticks(PER_SECOND, stop), strict=False):
            self._change(number)

    def _change(self, number: int) -> None:
        namespace, each = self._namespaces[number % DESTINATIONS], number // DESTINATIONS % OBJECTS
        self._written(namespace, each, number)
        path = f"/api/v1/namespaces/{namespace}/configmaps/object-{each}"
        found = self._player.insist("PATCH", path, {"data": {playing.SEQ: str(number)}}, kind=MERGE)
        assert found is not None
        self.wrote[namespace, found["metadata"]["resourceVersion"]] = time.time()


def main() -> int:
    """Run it; 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--lane", choices=stages.LANES, default=stages.EMBEDDED)
    parser.add_argument("--seed", type=int, default=0, help="with which of the faults it begins")
    options = parser.parse_args()
    with stages.standing(options.lane, stages.DEFAULT) as stage:
        player = playing.Player(stage.api, stage.repository.url, before=stage.secret, **stage.config())
        changes = Load(stage, player)
        with _watched(stage) as looks, load.beside(changes.run):
            fired = list(_faults(stage, options.seed, seconds=60 * options.minutes))
        complaints = running.settled(running.scene_of(stage, player))
        lags = _lags(stage, changes)
    lives = list(_lives(looks))
    total = {
        **reports.origin("tests.chaos.soak"),
        "lane": options.lane,
        "faults": len(fired),
        "changes": len(changes.wrote),
        "commits_of_changes": len(lags),
        "lag_s": {"p50": lags[len(lags) // 2], "p99": lags[int(len(lags) * 0.99)], "max": lags[-1]} if lags else {},
        **{kind: sum(one.kind == kind for one in complaints) for kind in checking.KINDS},
    }
    print("\n" + ", ".join(f"{name} {value}" for name, value in total.items()))
    for one in complaints[:20]:
        print(f"  {one}")
    reports.write(f"soak-{options.lane}", {"total": total, "fired": fired, "lives": lives})
    return int(bool(complaints))


def _faults(stage: stages.Stage, seed: int, *, seconds: float) -> Iterator[str]:
    """A fault each minute, of those that need nobody to come by; what happened."""
    found = [one for one in faults.of_seed(seed, stage.whom, 1_000) if not one.at_point]
    began = time.monotonic()
    for number, fault in enumerate(found, 1):
        time.sleep(max(0.0, began + number * FAULT_EVERY - time.monotonic()))
        if time.monotonic() - began > seconds:
            return
        if stage.meet(fault) is not None:
            yield str(fault)


@contextlib.contextmanager
def _watched(stage: stages.Stage) -> Iterator[dict[tuple[str, int], list[Look]]]:
    """Look at each process now and then, until the end of the block; by name and pid."""
    looks: dict[tuple[str, int], list[Look]] = defaultdict(list)
    stop, began = threading.Event(), time.monotonic()

    def watch() -> None:
        while not stop.wait(LOOK_EVERY):
            # A process may end at any moment.
            with contextlib.suppress(OSError, LookupError, AttributeError):
                for name, pid in stage.pids().items():
                    looks[name, pid].append(_look(pid, time.monotonic() - began))

    thread = threading.Thread(target=watch, name="looks")
    thread.start()
    try:
        yield looks
    finally:
        stop.set()
        thread.join()


def _look(pid: int, at: float) -> Look:
    folder = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    descriptors = sum(1 for _ in (folder / "fd").iterdir())
    return Look(at, int(status["VmRSS"].split()[0]) / 1024, descriptors, int(status["Threads"]))


def _lags(stage: stages.Stage, changes: Load) -> list[float]:
    """Of each change that is a commit: seconds from the API server's answer until it was pushed and recorded."""
    query = """
    SELECT g.namespace, g.resource_version, c.pushed_at FROM commit_change g JOIN "commit" c ON c.id = g.commit_id
    """
    rows = ((row["namespace"], row["resource_version"], row["pushed_at"]) for row in stage.rows(query))
    return sorted(
        checking.moment(pushed).timestamp() - changes.wrote[namespace, version]
        for namespace, version, pushed in rows
        if (namespace, version) in changes.wrote
    )


def _slopes(looks: Sequence[Look]) -> dict[str, float]:
    """What a process gains in an hour."""
    hours = [one.at / 3600 for one in looks]
    return {name: statistics.linear_regression(hours, [getattr(one, name) for one in looks]).slope for name in MEASURES}


def _lives(looks: Mapping[tuple[str, int], Sequence[Look]]) -> Iterator[dict[str, Any]]:
    """The processes that lived for long, as a table and one by one."""
    print(f"{'process':<12}{'minutes':>8}" + "".join(f"{name:>16}{'an hour':>10}" for name in MEASURES))
    for (name, pid), every in sorted(looks.items(), key=lambda item: (item[0][0], item[1][0].at)):
        warm = [one for one in every if one.at - every[0].at >= WARM]
        if not warm or warm[-1].at - warm[0].at < LONG:
            continue
        slopes, first, last = _slopes(warm), asdict(warm[0]), asdict(warm[-1])
        minutes = (last["at"] - every[0].at) / 60
        cells = (f"{f'{first[one]:.0f} to {last[one]:.0f}':>16}{slopes[one]:>+10.1f}" for one in MEASURES)
        print(f"{name:<12}{minutes:>8.1f}{''.join(cells)}")
        yield {"name": name, "pid": pid, "minutes": minutes, "an_hour": slopes, "first": first, "last": last}


if __name__ == "__main__":
    sys.exit(main())
