"""Publishing and consuming per second, on each broker: our publisher, and a real worker whose drains do nothing.

What is published has to lie on the queues before anybody consumes, so that each is measured alone. Neighbours:
`bench/servers.py` starts the brokers, `tests/worker/conftest.py` has the workers and reads back what they drained.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.events import Message, Ref
from bench import installation, servers
from tests.worker.conftest import Bench

# Below the capacity of the publisher, so that it drops none.
MESSAGES = 900
# As many as a worker starts to consume at once.
DESTINATIONS = 25
ROUNDS = 3
WAIT = 120.0


def run() -> dict[str, Any]:
    """Measure on Redis and on RabbitMQ, where they are."""
    print(f"\nQueues: messages per second over {DESTINATIONS} destinations, drains that do nothing, best of {ROUNDS}")
    results = {}
    for name, broker in servers.BROKERS.items():
        with broker() as url:
            if url:
                results[name] = _measure(url)
                publish, consume = results[name].values()
                print(f"  {name:<10}  publish {publish:>7,.0f}   consume {consume:>7,.0f}")
    return results


@contextlib.contextmanager
def bench_on(broker_url: str) -> Iterator[Bench]:
    """Workers and a publisher on a broker, with a database of their own."""
    with tempfile.TemporaryDirectory(prefix="reverser-bench-") as folder, servers.sqlite() as database_url:
        bench = Bench(Path(folder), broker_url=broker_url, database_url=database_url)
        with contextlib.closing(bench):
            yield bench


def _measure(broker_url: str) -> dict[str, float]:
    with bench_on(broker_url) as bench:
        refs = [bench.add(f"shop/d-{number}") for number in range(DESTINATIONS)]
        rounds = [_round(bench, refs, number) for number in range(ROUNDS)]
    publish, consume = (max(rates) for rates in zip(*rounds, strict=True))
    return {"publish_per_s": publish, "consume_per_s": consume}


def _round(bench: Bench, refs: list[Ref], number: int) -> tuple[float, float]:
    """Messages per second sent, and drained by a worker that starts afterwards."""
    before = len(drains(bench))
    messages = [Message(destination=refs[one % len(refs)], first=one + 1, last=one + 1) for one in range(MESSAGES)]
    sent = bench.publisher.published + MESSAGES
    bench.publisher.publish(messages)
    published = installation.wait(lambda: bench.publisher.published == sent, WAIT)
    worker = bench.worker(f"worker-{number}")
    installation.wait(lambda: len(drains(bench)) == before + 2 * MESSAGES, WAIT)
    worker.terminate()
    worker.wait()
    times = [json.loads(line)[-1] for line in drains(bench)[before:]]
    return MESSAGES / published, MESSAGES / (max(times) - min(times))


def drains(bench: Bench) -> list[bytes]:
    """A line for each begin and each end of a drain."""
    path = bench.folder / "drains"
    return path.read_bytes().splitlines() if path.exists() else []
