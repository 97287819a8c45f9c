"""`make bench`: figures of the whole path and of its parts, on real servers, as tables and as JSON under `build/`.

    make bench                                  everything, at the sizes that the README quotes
    make bench ARGS='seed --objects 5000'       one part
    make bench ARGS='latency --files 100 10000'
    make bench ARGS='faults --each 10'          half an hour, and no part of everything; nor is `outages`, of minutes

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
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bench import faults, latency, ledger, parts, queues, seed, worker
from tests import lanes

RESULTS = Path("build/bench.json")


def main() -> int:
    """Run what was asked for; 0 when it could be measured."""
    arguments = _parser().parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if lanes.find_kube() is None and arguments.part in {"all", "seed", "latency", "faults", "outages"}:
        print("set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd", file=sys.stderr)
        return 1
    results: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
    }
    if arguments.part in {"all", "parts"}:
        results["parts"] = parts.run()
    if arguments.part in {"all", "ledger"}:
        results["ledger"] = ledger.run()
    if arguments.part in {"all", "queues"}:
        results["queues"] = queues.run()
    if arguments.part in {"all", "worker"}:
        results["worker"] = worker.run(arguments.destinations)
    if arguments.part in {"all", "seed"}:
        results["seed"] = seed.run(arguments.objects)
    if arguments.part in {"all", "latency"}:
        results["latency"] = latency.run(arguments.files, changes=arguments.changes)
    if arguments.part == "faults":
        results["faults"] = faults.workers(arguments.each, arguments.freeze, per_second=arguments.per_second)
    if arguments.part == "outages":
        results["outages"] = faults.outages(per_second=arguments.per_second)
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
        choices=["all", "seed", "latency", "parts", "ledger", "queues", "worker", "faults", "outages"],
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[5_000, 20_000], help="sizes of the seed")
    parser.add_argument("--files", type=int, nargs="+", default=[100, 10_000], help="files in the folder")
    parser.add_argument("--changes", type=int, default=50, help="changes timed per folder size")
    parser.add_argument("--destinations", type=int, default=1_000, help="destinations of the one shared worker")
    parser.add_argument("--each", type=int, default=10, help="times that a worker gets each of the three signals")
    parser.add_argument("--per-second", type=float, default=100.0, help="changes, with faults and outages")
    parser.add_argument("--freeze", type=float, default=60.0, help="seconds that a worker is stopped")
    return parser


if __name__ == "__main__":
    sys.exit(main())
