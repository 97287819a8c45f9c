"""One shared worker with a thousand destinations: start and restart, memory, idle CPU, latency of a drain's begin.

Drains do nothing: what is measured is the worker, its queues and its broker. Neighbours: `bench/queues.py` has the
rates of few destinations, `bench/latency.py` the latency of a whole change.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from app.events import Ref
from bench import installation, queues, servers
from tests.worker.conftest import Bench

# How long the worker is watched doing nothing, in seconds.
IDLE = 20.0
WAIT = 300.0
RINGS = 200
NODE = "one"
COLUMNS = {
    "start_s": "start s", "restart_s": "restart s", "memory_mb": "memory MB", "idle_cpu_percent": "idle CPU %",
    "p50_ms": "p50 ms", "p99_ms": "p99 ms",
}  # fmt: skip


def run(destinations: int) -> dict[str, Any]:
    """Measure on Redis and on RabbitMQ, where they are."""
    print(f"\nOne shared worker, {destinations:,} destinations; latency from ring to drain, {RINGS} times")
    print(f"  {'':<10}" + "".join(f"{title:>12}" for title in COLUMNS.values()))
    results = {}
    for name, broker in servers.BROKERS.items():
        with broker() as url:
            if url:
                results[name] = _measure(url, destinations)
                print(f"  {name:<10}" + "".join(f"{results[name][column]:>12,.1f}" for column in COLUMNS))
    return results


def _measure(broker_url: str, destinations: int) -> dict[str, float]:
    with queues.bench_on(broker_url) as bench:
        refs = [bench.add(f"shop/d-{number}") for number in range(destinations)]
        worker, start = _started(bench, refs)
        worker.terminate()
        worker.wait()
        worker, restart = _started(bench, refs)
        cpu = _idle_cpu(worker.pid)
        # Which destinations is chance, but the same for each broker.
        chosen = random.Random(destinations).choices(refs, k=RINGS)  # noqa: S311 - no secret
        times = sorted(_begin(bench, ref, number) for number, ref in enumerate(chosen, start=1))
        return {
            "start_s": start, "restart_s": restart, "memory_mb": installation.peak_memory_of(worker.pid),
            "idle_cpu_percent": cpu, "p50_ms": statistics.median(times) * 1000,
            "p99_ms": times[min(len(times) - 1, round(0.99 * len(times)))] * 1000,
        }  # fmt: skip


def _started(bench: Bench, refs: list[Ref]) -> tuple[subprocess.Popen[bytes], float]:
    """A worker, and the seconds until it listens to all queues."""
    wanted = {str(ref) for ref in refs}
    worker = bench.worker(NODE)
    return worker, installation.wait(lambda: bench.serves(NODE) == wanted, WAIT)


def _idle_cpu(pid: int) -> float:
    """Percent of one core."""
    before = _cpu_seconds(pid)
    time.sleep(IDLE)
    return (_cpu_seconds(pid) - before) / IDLE * 100


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _begin(bench: Bench, ref: Ref, number: int) -> float:
    """Seconds from a ring to the begin of its drain; the next ring finds the worker idle."""
    before = len(queues.drains(bench))
    rung = time.monotonic()
    bench.publisher.ring(ref, number, number)
    installation.wait(lambda: len(queues.drains(bench)) == before + 2, WAIT)
    # The clock is the same for all processes of a machine.
    return float(json.loads(queues.drains(bench)[before])[-1]) - rung
