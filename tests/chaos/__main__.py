"""`make chaos`: whole installations under random histories and faults.

It prints a table and what to repeat, and writes both to `build/chaos-LANE.json`; 1 where something did not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import faults, histories, reports, running, stages
from tests.chaos.faults import Fault
from tests.chaos.histories import Step

PACES = {"short": stages.SHORT, "default": stages.DEFAULT}
# A seed of this many faults takes two minutes.
FAULTS = 12
_FRESH = 1_000_000
# Options that a run is repeated with, beside seed, lane and number of faults.
CHOSEN = ("broker", "leases", "only")


def main() -> int:
    """Run the seeds; 1 where something did not hold."""
    options = _options()
    if options.replay:
        return _replay(options)
    first, last = _seeds(options.seeds)
    ends = time.monotonic() + 60 * options.minutes
    outcomes = []
    seed = first
    while seed <= last or time.monotonic() < ends:
        outcomes.append(_run(seed, options))
        seed += 1
    _report(outcomes, options)
    return int(any(one.complaints for one in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", default="", help="one number, or two with a hyphen; a fresh one without")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on with the next seeds for so long")
    parser.add_argument("--lane", choices=stages.LANES, default=stages.EMBEDDED)
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="rabbitmq", help="of production")
    parser.add_argument("--faults", type=int, default=FAULTS, help="how many happen to one seed")
    parser.add_argument(
        "--leases", choices=list(PACES), default="short", help="how long they last: 2 s, or 8 s and 4 s"
    )
    parser.add_argument("--replay", type=Path, help="play the history and the faults of an outcome.json once more")
    parser.add_argument("--shrink", action="store_true", help="of a history that fails each time, look for its core")
    parser.add_argument("--only", default="", help="only faults whose name holds this, as `worker after_push`")
    options = parser.parse_args()
    if not any(options.only in str(one) for one in faults.every(faults.PRODUCTION)):
        parser.error(f"--only: no fault is called like {options.only!r}, but for example `worker after_push kill`")
    first, last = _seeds(options.seeds)
    if first > last:
        parser.error(f"--seeds: {options.seeds} begins behind its end")
    return options


def _seeds(text: str) -> tuple[int, int]:
    if not text:
        fresh = random.SystemRandom().randrange(_FRESH)
        return fresh, fresh
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _replay(options: argparse.Namespace) -> int:
    """The steps and the faults that an outcome tells of; with --shrink, fewer and fewer of its steps."""
    told = json.loads(options.replay.read_text())
    options.lane = told["lane"]
    for name, value in told["options"].items():
        setattr(options, name, value)
    found = [Fault.parse(text) for text in told["asked"]]

    def fails(steps: Sequence[tuple[int, str]]) -> bool:
        parts = [[Step.parse(text) for number, text in steps if number == part] for part in range(2)]
        return bool(_run(told["seed"], options, found, parts).complaints)

    steps = [(part, text) for part, texts in enumerate(told["played"]) for text in texts]
    if not fails(steps):
        return 0
    if options.shrink:
        core = histories.shrunk(steps, fails)
        print(f"{len(core)} of {len(steps)} steps: {core}")
    return 1


def _run(
    seed: int,
    options: argparse.Namespace,
    found: Sequence[Fault] | None = None,
    played: Sequence[Sequence[Step]] | None = None,
) -> running.Outcome:
    with stages.standing(options.lane, PACES[options.leases], broker=options.broker) as stage:
        if found is None:
            found = faults.of_seed(seed, stage.whom, options.faults, only=options.only)
        chosen = {name: str(getattr(options, name)) for name in CHOSEN}
        outcome = running.Outcome(seed, options.lane, asked=[str(one) for one in found], options=chosen)
        running.run(stage, outcome, found, played or [histories.history(seed), histories.going_on(seed)])
        if outcome.complaints:
            _keep(stage, outcome, again=played is not None)
    _print(outcome)
    return outcome


def _print(outcome: running.Outcome) -> None:
    spread = running.spread(outcome.fired)
    figures = " ".join(f"{name} {value:.1f}" for name, value in spread.items())
    counts = " ".join(f"{name} {value}" for name, value in outcome.counts.items())
    print(
        f"seed {outcome.seed} {outcome.lane}: {len(outcome.fired)} of {len(outcome.met)} faults fired, "
        f"{outcome.changes:,} changes, {outcome.commits:,} commits; {counts}; recovery s {figures}; "
        f"{outcome.seconds:.0f} s",
        flush=True,
    )
    for one in outcome.complaints[:20]:
        print(f"  {one}")
    if outcome.complaints:
        chosen = " ".join(f"--{name}={shlex.quote(value)}" for name, value in outcome.options.items() if value)
        again = f"make chaos SEEDS={outcome.seed} LANE={outcome.lane} FAULTS={len(outcome.asked)} ARGS={chosen!r}"
        print(f"  again: {again}; what there is to look at: {_folder(outcome).relative_to(reports.ROOT)}/")


def _keep(stage: stages.Stage, outcome: running.Outcome, *, again: bool) -> None:
    """Copy what there is to look at: logs, the repository, the history. What was played once more is kept beside."""
    target = _folder(outcome) / ("again" if again else "")
    target.mkdir(parents=True, exist_ok=True)
    (target / "outcome.json").write_text(json.dumps(outcome.document(), indent=1))
    stage.keep(target)


def _folder(outcome: running.Outcome) -> Path:
    return reports.BUILD / f"chaos-{outcome.lane}-{outcome.seed}"


def _report(outcomes: list[running.Outcome], options: argparse.Namespace) -> None:
    met = [one for outcome in outcomes for one in outcome.met]
    fired = [one for one in met if one.fired]
    print(f"\n{'fault':<32}{'fired':>7}{'recovery s, median':>20}{'longest':>9}")
    for fault in sorted({one.fault for one in met}):
        those = [one for one in fired if one.fault == fault]
        spread = running.spread(those)
        figures = f"{spread['p50']:>20.1f}{spread['max']:>9.1f}" if spread else ""
        print(f"{fault!s:<32}{len(those):>7}{figures}")
    counts = {kind: sum(one.counts[kind] for one in outcomes) for kind in outcomes[0].counts}
    spread = running.spread(fired)
    total = {
        **reports.origin("tests.chaos"),
        "lane": options.lane,
        "seeds": [one.seed for one in outcomes],
        "faults": len(fired),
        "changes": sum(one.changes for one in outcomes),
        "commits": sum(one.commits for one in outcomes),
        "recovery_s": spread,
        **counts,
    }
    print("\n" + ", ".join(f"{name} {value}" for name, value in total.items()))
    reports.write(f"chaos-{options.lane}", {"total": total, "outcomes": [one.document() for one in outcomes]})


if __name__ == "__main__":
    sys.exit(main())
