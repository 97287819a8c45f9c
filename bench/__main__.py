"""`make bench`: figures of the whole path and of its parts, on real servers, as tables and as JSON under `build/`.

    make bench                                  everything, at the sizes that the README quotes
    make bench ARGS='seed --objects 5000'       one part
    make bench ARGS='latency --files 100 10000'
    make bench ARGS='faults --each 10'          half an hour, and no part of everything; nor are `outages`, `failover`,
                                                `restart`, `away` and `large`, of minutes each

All but `parts`, `ledger`, `queues` and `worker` need KUBEBUILDER_ASSETS (a folder with etcd and kube-apiserver);
these start what this machine has and leave out the rest. Figures are of this machine, on this day: quote medians and
ratios, not times.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bench import faults, latency, ledger, parts, queues, recovery, seed, worker
from tests import lanes

RESULTS = Path("build/bench.json")

# Each part by its name; those of BREAKING take minutes each, and `all` leaves them out.
MEASURING: dict[str, Callable[[argparse.Namespace], object]] = {
    "parts": lambda _: parts.run(),
    "ledger": lambda _: ledger.run(),
    "queues": lambda _: queues.run(),
    "worker": lambda asked: worker.run(asked.destinations),
    "seed": lambda asked: seed.run(asked.objects),
    "latency": lambda asked: latency.run(asked.files, changes=asked.changes),
}
BREAKING: dict[str, Callable[[argparse.Namespace], object]] = {
    "faults": lambda asked: faults.workers(asked.each, asked.freeze, per_second=asked.per_second),
    "outages": lambda asked: faults.outages(per_second=asked.per_second),
    "failover": lambda asked: recovery.failover(asked.each),
    "restart": lambda asked: recovery.restart(asked.files[-1]),
    "away": lambda asked: recovery.away(asked.minutes, per_second=asked.per_second, max_pending=asked.max_pending),
    "large": lambda asked: recovery.large(asked.definitions, asked.namespaces, asked.objects[-1]),
}
NEEDS_KUBE = {"all", "seed", "latency", *BREAKING}


def main() -> int:
    """Run what was asked for; 0 when it could be measured."""
    arguments = _parser().parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if lanes.find_kube() is None and arguments.part in NEEDS_KUBE:
        print("set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd", file=sys.stderr)
        return 1
    results: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
    }
    every = MEASURING | BREAKING
    for name in MEASURING if arguments.part == "all" else [arguments.part]:
        results[name] = every[name](arguments)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {RESULTS}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "part",
        nargs="?",
        default="all",
        choices=["all", *MEASURING, *BREAKING],
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[5_000, 20_000], help="sizes of the seed")
    parser.add_argument("--files", type=int, nargs="+", default=[100, 10_000], help="files in the folder")
    parser.add_argument("--changes", type=int, default=50, help="changes timed per folder size")
    parser.add_argument("--destinations", type=int, default=1_000, help="destinations of the one shared worker")
    parser.add_argument("--each", type=int, default=10, help="times that each fault happens")
    parser.add_argument("--per-second", type=float, default=100.0, help="changes, with faults, outages and away")
    parser.add_argument("--minutes", type=float, default=10.0, help="for which the Git host is away")
    parser.add_argument("--max-pending", type=int, default=5_000, help="REVERSER_MAX_PENDING while it is away")
    parser.add_argument("--definitions", type=int, default=300, help="CRDs of the large cluster")
    parser.add_argument("--namespaces", type=int, default=100, help="namespaces of the large cluster")
    parser.add_argument("--freeze", type=float, default=60.0, help="seconds that a worker is stopped")
    return parser


if __name__ == "__main__":
    sys.exit(main())
