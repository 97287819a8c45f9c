"""The seed: objects per second from the first list call to the push read back, split by step, and peak memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import func, select

from app import db, events
from app.git import objects
from app.kube import listing
from app.models import commits, seeds
from app.rules import paths, rendering, sanitising, types
from bench import installation

CONFIG_MAPS = types.ResourceType("", "v1", "configmaps", "ConfigMap", True, frozenset({"list", "watch"}), True)


def run(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Measure each size in an installation of its own."""
    results = [_measure(size) for size in sizes]
    print("\nSeed: from the first list call to the push read back (embedded defaults)")
    for result in results:
        print(f"  {result['objects']:>6} objects  {result['seconds']:6.2f} s  {result['per_second']:7.0f} objects/s")
        print("         seconds by step: " + _line(result["steps"]))
        print("         peak MB: " + _line(result["peak_mb"]))
    if len(results) > 1:
        first, last = results[0], results[-1]
        growth = (last["seconds"] / first["seconds"]) / (last["objects"] / first["objects"])
        print(f"  cost per object, {last['objects']} against {first['objects']}: {growth:.2f} (1.00 is linear)")
    return results


def _line(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _measure(size: int) -> dict[str, Any]:
    with installation.running() as running:
        running.fill("bench", size, installation.configmap, resource="/api/v1/namespaces/{namespace}/configmaps")
        running.mirror("bench", ["configmaps"])
        database = running.database()
        installation.wait(lambda: swept(database), 600)
        seconds = _seconds(database)
        database.close()
        wrong = _expected(running, "bench").items() ^ running.files().items()
        if wrong:
            raise SystemExit(f"{len(wrong)} files are not what the objects render to")
        # A drain says what it did when it is over, a moment after its last commit is recorded.
        installation.wait(lambda: running.worker_figures().get("rows", 0) > size, 60)
        watch, worker = running.watch_figures(), running.worker_figures()
        steps = {
            "list": watch["list_s"], "sanitise": watch["sanitise_s"], "ledger": watch["ledger_s"],
            "publish": watch["publish_s"], "render": worker["render"], "trees": worker["trees"],
            "push": worker["push"], "record": worker["record"],
        }  # fmt: skip
        return {
            "objects": size, "seconds": round(seconds, 2), "per_second": round(size / seconds), "steps": steps,
            "commits": worker["commits"], "peak_mb": running.peak_memory(),
        }  # fmt: skip


def _expected(running: installation.Installation, namespace: str) -> dict[str, str]:
    """Path -> blob id as the objects of the cluster render now."""
    found = {}
    for page in listing.list_pages(running.cluster, CONFIG_MAPS, namespace, page_size=500):
        for obj in page.items:
            name = obj["metadata"]["name"]
            identifier = events.Identifier("", "v1", "configmaps", namespace, name, "ConfigMap", "")
            text = rendering.render(orjson.loads(sanitising.body(sanitising.sanitise(obj))))
            found[str(paths.object_path(f"clusters/{namespace}", identifier))] = str(objects.blob_id(text))
    return found


def swept(database: db.Database) -> bool:
    """Whether the seed is over: listed, pushed, and its orphans swept."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(seeds.SeedRun.state == seeds.SWEPT)) == 1


def _seconds(database: db.Database) -> float:
    """From the seed's first row to the record of its last commit, which follows the read-back of the push."""
    with database.read() as connection:
        started = connection.scalar(select(func.min(seeds.SeedRun.started_at)))
        ended = connection.scalar(select(func.max(commits.CommitRow.pushed_at)))
    assert started is not None
    assert ended is not None
    return float((ended - started).total_seconds())
