"""Latency of one change on an idle system: from the API server's answer to the remote ref."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench import installation
from bench.seed import swept

# Between two changes, so that each finds the system idle.
PAUSE = 0.2


def run(sizes: Sequence[int], *, changes: int) -> list[dict[str, Any]]:
    """Measure with each number of files in the folder."""
    results = [_measure(size, changes) for size in sizes]
    print("\nLatency of one change, from the API's answer to the remote ref (embedded defaults)")
    for result in results:
        print(
            f"  {result['files']:>6} files  {result['changes']} changes  p50 {result['p50_ms']:.0f} ms  "
            f"p99 {result['p99_ms']:.0f} ms  max {result['max_ms']:.0f} ms"
        )
    return results


def _measure(size: int, changes: int) -> dict[str, Any]:
    with installation.running() as running:
        running.fill("bench", size, installation.configmap, resource="/api/v1/namespaces/{namespace}/configmaps")
        running.mirror("bench", ["configmaps"])
        database = running.database()
        installation.wait(lambda: swept(database), 600)
        database.close()
        times = [_change(running, number, size) for number in range(changes)]
    ordered = sorted(times)
    return {
        "files": size, "changes": changes, "p50_ms": statistics.median(ordered) * 1000,
        "p99_ms": ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))] * 1000, "max_ms": ordered[-1] * 1000,
    }  # fmt: skip


def _change(running: installation.Installation, number: int, size: int) -> float:
    time.sleep(PAUSE)
    before = running.tip()
    path = f"/api/v1/namespaces/bench/configmaps/config-{number % size:05}"
    running.patch(path, {"data": {"n": str(number + 1)}})
    return installation.wait(lambda: running.tip() != before, 30)
