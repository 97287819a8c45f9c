"""Workers and servers that break under load: how soon everything is served again, and that nothing is lost or repeated.

Separate processes as in production, on a kube-apiserver, PostgreSQL and a broker of their own. At the end the
repositories have to equal the cluster and the ledger the repositories, or this fails. Neighbours:
`tests/system/fleet.py` is what breaks, `tests/system/test_fleet.py` does a little of the same in CI.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import math
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import production, servers
from tests import lanes
from tests.servers import postgres, rabbitmq
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.system import fleet

WORKERS, DESTINATIONS = 3, 30
# A change that takes longer, in seconds, is late: somebody waits for it. An outage is over when of the changes that
# arrive in each second no larger share is late.
LATE, SHARES = 2.0, (0.5, 0.1)
# How long a healthy load runs before the first fault, after the last one, and between outages, in seconds.
CALM = 20.0
# How long an outage lasts that is not over at once, and the distance of two cuts in one, in seconds.
OUTAGE, CUT_EVERY = 60.0, 5.0


@dataclass(frozen=True, slots=True)
class _Outage:
    """A server that did not serve; times are seconds of the epoch."""

    what: str
    began: float
    ended: float


def workers(each: int, freeze: float, *, per_second: float) -> dict[str, Any]:
    """Each worker in turn gets SIGTERM, SIGKILL and SIGSTOP, `each` times; on Redis and on RabbitMQ."""
    _say(per_second, f"each fault {each} times, frozen for {freeze:g} s")
    results = {}
    for name, broker in servers.BROKERS.items():
        with broker() as broker_url, servers.postgresql() as database_url:
            if broker_url and database_url:
                with _fleet(broker_url, database_url, per_second=per_second) as one:
                    _strike(one, each, freeze)
                results[name] = _report(name, one)
    return results


def outages(*, per_second: float) -> dict[str, Any]:
    """RabbitMQ loses its data, then has no memory; PostgreSQL restarts, then cuts every connection again and again."""
    _say(per_second, "servers that break")
    program, programs = rabbitmq.find_server(), lanes.find_postgres()
    if program is None or programs is None:
        print("  left out: it needs RabbitMQ and PostgreSQL")
        return {}
    with RabbitServer(program) as broker, PostgresServer(programs) as database:
        database_url = database.admin_url.render_as_string(hide_password=False)
        with _fleet(broker.url, database_url, per_second=per_second) as one:
            broken = list(_break(broker, database))
        return _report_outages(one, broken)


def _say(per_second: float, what: str) -> None:
    print(f"\n{WORKERS} workers, {DESTINATIONS} destinations, {per_second:g} changes/s: {what}")


@contextlib.contextmanager
def _fleet(broker_url: str, database_url: str, *, per_second: float) -> Iterator[fleet.Fleet]:
    """A fleet under load; checked at the end of the block."""
    with production.beside_a_cluster(broker_url, database_url) as (lane, api):
        one = fleet.Fleet(lane, api, workers=WORKERS, destinations=DESTINATIONS, per_second=per_second)
        with one.running():
            _calm()
            yield one
            _calm()


def _calm() -> None:
    threading.Event().wait(CALM)


def _strike(one: fleet.Fleet, each: int, freeze: float) -> None:
    for number in range(each):
        worker = one.workers[number % len(one.workers)]
        one.end("SIGTERM", worker, signal.SIGTERM)
        one.end("SIGKILL", worker, signal.SIGKILL)
        one.freeze(worker, seconds=freeze)
        print(f"  {number + 1} of {each}", flush=True)


def _break(broker: RabbitServer, database: PostgresServer) -> Iterator[_Outage]:
    def data_lost() -> None:
        broker.lose_data()
        broker.start()

    def memory_full() -> None:
        with broker.memory_alarm():
            threading.Event().wait(OUTAGE)

    def killed() -> None:
        database.kill9()
        database.start()

    def cut() -> None:
        for _ in range(round(OUTAGE / CUT_EVERY)):
            _cut(database)
            threading.Event().wait(CUT_EVERY)

    for what, happen in {
        "RabbitMQ killed, its data deleted": data_lost,
        "the same again": data_lost,
        "RabbitMQ's memory full": memory_full,
        "PostgreSQL killed": killed,
        "its connections cut every 5 s": cut,
    }.items():
        began = time.time()
        happen()
        yield _Outage(what, began, time.time())
        _calm()


def _cut(database: PostgresServer) -> None:
    with postgres.connect(database.admin_url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


def _report(broker: str, one: fleet.Fleet) -> dict[str, Any]:
    print(f"  {broker:<10}{'times':>8}{'destinations':>14}{'median s':>10}{'max s':>8}")
    found: dict[str, Any] = {}
    for what in dict.fromkeys(fault.what for fault in one.faults):
        faults = [fault for fault in one.faults if fault.what == what]
        seconds = sorted(itertools.chain(*map(one.served_again, faults)))
        median, longest = statistics.median(seconds), seconds[-1]
        found[what] = {"times": len(faults), "destinations": len(seconds), "median_s": median, "max_s": longest}
        print(f"  {what:<10}{len(faults):>8}{len(seconds):>14}{median:>10.2f}{longest:>8.2f}")
    return found | _totals(one)


def _report_outages(one: fleet.Fleet, outages: Sequence[_Outage]) -> dict[str, Any]:
    print(f"  {'':<36}{'lasted s':>10}{'longest lag s':>15}   until s after it, of a second's changes are late:")
    print(f"  {'':<61}" + "".join(f"{f'over {share:.0%}':>12}" for share in SHARES))
    found: dict[str, Any] = {}
    following = [outage.began for outage in outages[1:]] + [float("inf")]
    for outage, until in zip(outages, following, strict=True):
        pushed = [each for each in one.arrivals if outage.began <= each.pushed < until]
        figures = {"lasted_s": outage.ended - outage.began, "longest_lag_s": max(each.lag for each in pushed)}
        figures |= {f"over_{share:.0%}_late_until_s": _late_until(pushed, outage.ended, share) for share in SHARES}
        found[outage.what] = figures
        lasted, longest, *until_s = figures.values()
        print(f"  {outage.what:<36}{lasted:>10.1f}{longest:>15.1f}" + "".join(f"{each:>12.0f}" for each in until_s))
    return found | _totals(one)


def _late_until(pushed: Sequence[fleet.Arrival], ended: float, share: float) -> int:
    """The seconds after `ended` up to which a larger share of what was pushed within a second was late."""
    lags: dict[int, list[float]] = collections.defaultdict(list)
    for each in pushed:
        lags[math.ceil(each.pushed - ended)].append(each.lag)
    late = [second for second, those in lags.items() if sum(lag > LATE for lag in those) > share * len(those)]
    return max([0, *late])


def _totals(one: fleet.Fleet) -> dict[str, Any]:
    made = sum(each.seq for each in one.loads)
    lags = sorted(each.lag for each in one.arrivals)
    totals = {
        "changes": made, "numbers_in_git": len(lags), "rows": one.states,
        "lag_p50_s": statistics.median(lags), "lag_p99_s": lags[int(0.99 * len(lags))], "lag_max_s": lags[-1],
    }  # fmt: skip
    print(
        f"  {made:,} changes; lag p50 {totals['lag_p50_s']:.2f} s, p99 {totals['lag_p99_s']:.2f} s; rows {one.states}"
    )
    return totals
