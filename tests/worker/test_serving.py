"""Live workers: which queues they serve, how often a task runs, how they come and go."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time

import pytest

from app import celeryconfig, events, publishing, queues
from app.events import Message, Ref
from app.watch import ringing
from tests.servers.redis import RedisServer
from tests.waiting import PATIENCE, wait_until
from tests.worker.conftest import ON_REDIS, Bench

POOLS = pytest.mark.parametrize("dedicated", [False, True], ids=["threads", "prefork"])


def send(bench: Bench, task: str, destination: Ref, number: int) -> None:
    """Send a task by name to a bare queue name, as any Celery client would."""
    app = queues.make_app(bench.settings)
    kwargs = Message(destination=destination, first=number, last=number).to_json()
    with app.connection_for_write() as connection:
        producer = app.amqp.Producer(connection)
        app.send_task(task, kwargs=kwargs, queue=str(events.queue_name(destination)), producer=producer)


@POOLS
def test_each_task_runs_once_per_message(bench: Bench, *, dedicated: bool) -> None:
    """Each task drains its destination exactly once for a message on a bare queue name."""
    prod = bench.add("shop/prod")
    bench.worker(dedicated=dedicated)
    bench.wait_serves("one", "shop/prod")
    sent = 0
    for task in (events.TASK_APPLY_EVENTS, events.TASK_APPLY_SEED, events.TASK_SWEEP_ORPHANS):
        for number in range(sent + 1, sent + 4):
            send(bench, task, prod, number)
        bench.publisher.ring(prod, sent + 4, sent + 4)
        sent += 4
        bench.wait_drained(sent)
        assert sorted(last for _, last, _ in bench.drains()) == list(range(1, sent + 1)), task
        assert queues.queue_depths(bench.settings, [prod]) == {prod: 0}, task


def test_a_new_destination_is_served_within_two_seconds(bench: Bench) -> None:
    """A worker that started with nothing to serve takes a new destination's first message within 2 s."""
    bench.worker()
    bench.wait_serves("one")
    new = bench.add("shop/new")
    begun = time.monotonic()
    bench.publisher.ring(new, 1, 1)
    bench.wait_drained(1)
    assert time.monotonic() - begun < 2.0


@ON_REDIS
def test_a_removed_destination_is_given_up(bench: Bench) -> None:
    """A destination that is gone leaves the worker's queues without a restart; the others go on."""
    prod, dev = bench.add("shop/prod"), bench.add("shop/dev")
    bench.worker()
    bench.wait_serves("one", "shop/prod", "shop/dev")
    bench.remove(dev)
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    bench.wait_drained(1)


def test_one_message_per_queue_is_in_flight(bench: Bench) -> None:
    """In a shared worker the messages of one destination run one after the other, those of others beside them."""
    prod, dev = bench.add("shop/prod"), bench.add("shop/dev")
    bench.behave(shop_prod={"sleep": 0.3})
    bench.worker(slots=4)
    bench.wait_serves("one", "shop/prod", "shop/dev")
    for number in range(1, 5):
        bench.publisher.ring(prod, number, number)
    wait_until(lambda: bench.drains("begin"))
    bench.publisher.ring(dev, 9, 9)
    bench.wait_drained(5)
    assert [what for what, _ in bench.spans("shop/prod")] == ["begin", "end"] * 4
    ended = bench.spans("shop/prod")[-1][1]
    assert bench.spans("shop/dev")[-1][1] < ended


def test_two_workers_share_and_one_takes_over(bench: Bench) -> None:
    """Each destination has exactly one worker; when one signs off the other serves all of them within 3 s."""
    names = [f"shop/d{number}" for number in range(12)]
    for name in names:
        bench.add(name)
    first, _second = bench.worker("one"), bench.worker("two")

    def shared() -> bool:
        one, two = bench.serves("one") or set(), bench.serves("two") or set()
        return bool(one and two and not one & two and one | two == set(names))

    wait_until(shared, 60)
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0
    assert bench.serves("one") is None
    bench.wait_serves("two", *names, timeout=3)


def test_a_dedicated_worker_wins_over_the_pool(bench: Bench) -> None:
    """A worker for named destinations takes them from the pool, and the pool has them back when it goes."""
    bench.add("team-a/prod")
    bench.add("shop/prod")
    bench.worker("pool")
    bench.wait_serves("pool", "shop/prod", "team-a/prod")
    dedicated = bench.worker("own", dedicated=True, destinations=["team-*/prod"])
    bench.wait_serves("own", "team-a/prod")
    bench.wait_serves("pool", "shop/prod")
    dedicated.send_signal(signal.SIGTERM)
    assert dedicated.wait(PATIENCE) == 0
    bench.wait_serves("pool", "shop/prod", "team-a/prod")


def test_a_pool_that_grows_takes_no_more_of_a_queue(bench: Bench) -> None:
    """Whoever grows the pool by remote control gets no two messages of one queue at a time."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"sleep": 0.4})
    bench.worker(dedicated=True)
    bench.wait_serves("one", "shop/prod")
    control = queues.make_app(bench.settings).control
    (answer,) = control.broadcast("pool_grow", arguments={"n": 3}, destination=["reverser@one"], reply=True, timeout=10)
    assert answer == {"reverser@one": {"ok": "pool will grow"}}
    # Enough of them that the new children are there before the last.
    for number in range(1, 16):
        bench.publisher.ring(prod, number, number)
    bench.wait_drained(15)
    assert [what for what, _ in bench.spans("shop/prod")] == ["begin", "end"] * 15


@ON_REDIS
def test_a_drain_is_not_repeated_while_it_goes_on(bench: Bench) -> None:
    """Redis gives a message back when its worker is gone for certain, and not after as long as a drain may take."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"hold": True})
    worker = bench.worker(drain_deadline=1.0)
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    wait_until(lambda: bench.drains("begin"))
    threading.Event().wait(2.5)
    look_for_lost(bench, drain_deadline=1.0)
    assert queues.queue_depths(bench.settings, [prod]) == {prod: 0}
    worker.kill()
    threading.Event().wait(3.5)
    look_for_lost(bench, drain_deadline=1.0)
    assert queues.queue_depths(bench.settings, [prod]) == {prod: 1}


def look_for_lost(bench: Bench, *, drain_deadline: float) -> None:
    """What each worker does now and then: give back messages of workers that took too long."""
    settings = dataclasses.replace(bench.settings, drain_deadline=drain_deadline)
    with queues.make_app(settings).connection_for_read() as connection:
        connection.default_channel.qos.restore_visible(interval=1)


def test_a_child_that_hangs_is_replaced(bench: Bench) -> None:
    """A drain that does not end, in C for example, costs a dedicated worker its child, and the queue half a minute."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"hold": True})
    worker = bench.worker(dedicated=True, drain_deadline=1.0)
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    bench.publisher.ring(prod, 2, 2)
    wait_until(lambda: len(bench.drains("begin")) >= 2, 60, what="the drain after the one that hangs")
    bench.behave()
    wait_until(lambda: [last for _, last, _ in bench.drains()] == [2], what="its end")
    first, second = (pid for _, _, pid in bench.drains("begin"))
    assert first != second
    assert worker.poll() is None


@POOLS
def test_sigterm_finishes_the_message_in_flight(bench: Bench, *, dedicated: bool) -> None:
    """SIGTERM lets the drain under way end and acknowledges its message; the next one waits for the next worker."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"sleep": 1.0})
    worker = bench.worker(dedicated=dedicated)
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    bench.publisher.ring(prod, 2, 2)
    wait_until(lambda: bench.drains("begin"))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
    assert [last for _, last, _ in bench.drains()] == [1]
    assert queues.queue_depths(bench.settings, [prod]) == {prod: 1}
    bench.behave()
    bench.worker("two")
    bench.wait_drained(2)
    assert [last for _, last, _ in bench.drains()] == [1, 2]


@ON_REDIS
def test_a_broker_that_comes_back_is_used_again(bench: Bench, redis_server: RedisServer) -> None:
    """A worker and a publisher outlive a broker that is killed and started again."""
    prod = bench.add("shop/prod")
    worker = bench.worker()
    bench.wait_serves("one", "shop/prod")
    redis_server.kill9()
    bench.publisher.ring(prod, 1, 1)
    wait_until(lambda: bench.publisher.dropped == 1)
    redis_server.start()

    def drained() -> bool:
        bench.publisher.ring(prod, 2, 2)
        return bool(bench.drains())

    wait_until(drained, 20)
    assert worker.poll() is None


@ON_REDIS
def test_a_worker_starts_before_its_broker(bench: Bench, redis_server: RedisServer) -> None:
    """A worker that finds no broker waits for it, and claims no destination until then."""
    prod = bench.add("shop/prod")
    redis_server.kill9()
    worker = bench.worker()
    wait_until(lambda: "Connection" in bench.log().read_text() or "connect" in bench.log().read_text(), 20)
    assert bench.serves("one") is None
    redis_server.start()
    bench.wait_serves("one", "shop/prod", timeout=30)
    bench.publisher.ring(prod, 1, 1)
    bench.wait_drained(1)
    assert worker.poll() is None


@ON_REDIS
def test_a_broker_that_lost_its_data_routes_again(bench: Bench, redis_server: RedisServer) -> None:
    """After the broker's data is gone while connections live, a later ring arrives without any restart."""
    prod = bench.add("shop/prod")
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    bench.wait_drained(1)
    client = redis_server.client()
    client.flushall()
    client.close()

    def drained() -> bool:
        bench.publisher.ring(prod, 2, 2)
        return len(bench.drains()) > 1

    wait_until(drained, publishing.DECLARED_FOR + 5)


def test_the_queue_of_a_deleted_destination_goes_and_stays_away(bench: Bench, request: pytest.FixtureRequest) -> None:
    """A deleted destination leaves neither queue nor binding; its worker goes on, and a new one of its name works."""
    prod, gone = bench.add("shop/prod"), bench.add("shop/gone")

    def known() -> set[str]:
        """The queues of destinations that the broker knows of, by themselves or by a binding."""
        if celeryconfig.is_amqp(bench.settings.broker_url):
            vhost = request.getfixturevalue("rabbitmq_vhost")
            return {name for name in vhost.queues() | {one[2] for one in vhost.bindings()} if name.startswith("dest.")}
        client = request.getfixturevalue("redis_server").client()
        keys = set(client.keys("dest.*")) | {
            member.rpartition(b"\x16")[2] for member in client.smembers("_kombu.binding.dest")
        }
        client.close()
        return {key.decode() for key in keys}

    worker = bench.worker()
    bench.wait_serves("one", "shop/prod", "shop/gone")
    for ref in (prod, gone):
        bench.publisher.ring(ref, 1, 1)
    bench.wait_drained(2)
    assert known() == {"dest.shop.prod", "dest.shop.gone"}
    bench.delete(gone)
    leftovers = ringing.Leftovers(bench.settings, database=bench.database)

    def cleared(now: float) -> bool:
        leftovers.clear(now=now)
        return known() == {"dest.shop.prod"}

    wait_until(lambda: cleared(0), what="the deleted destination's queue")
    # A message that was still on its way declares the queue again.
    send(bench, events.TASK_APPLY_EVENTS, gone, 2)
    assert not cleared(1)
    assert cleared(ringing.AGAIN_AFTER)
    bench.publisher.ring(prod, 2, 2)
    bench.wait_drained(3)
    assert known() == {"dest.shop.prod"}
    assert worker.poll() is None
    assert "Connection to broker lost" not in bench.log().read_text()
    bench.remove(gone)
    bench.add("shop/gone")
    leftovers.clear(now=ringing.AGAIN_AFTER)
    bench.wait_serves("one", "shop/prod", "shop/gone")

    def drained() -> bool:
        bench.publisher.ring(gone, 3, 3)
        return len(bench.drains()) > 3

    wait_until(drained, what="a ring for the new one")


@ON_REDIS
def test_waiting_destinations_are_rung(bench: Bench) -> None:
    """The destinations that a drain names as waiting for its branch get a ring of their own."""
    prod = bench.add("shop/prod")
    bench.add("shop/dev")
    bench.behave(shop_prod={"rings": ["shop/dev"]})
    bench.worker()
    bench.wait_serves("one", "shop/prod", "shop/dev")
    bench.publisher.ring(prod, 1, 1)
    bench.wait_drained(2)
    assert [name for name, _, _ in bench.drains()] == ["shop/prod", "shop/dev"]


def test_a_killed_worker_is_replaced(bench: Bench) -> None:
    """After kill -9 another worker serves the destination within the time that a heartbeat may be late."""
    prod = bench.add("shop/prod")
    first = bench.worker("one")
    bench.wait_serves("one", "shop/prod")
    first.kill()
    first.wait(5)
    bench.worker("two")
    bench.wait_serves("two", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    bench.wait_drained(1)


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_started_again_finds_its_queues(bench: Bench, with_signal: int) -> None:
    """A worker that ended or was killed, and is started again by the same name, takes what came meanwhile."""
    prod, dev = bench.add("shop/prod"), bench.add("shop/dev")
    first = bench.worker()
    bench.wait_serves("one", "shop/prod", "shop/dev")
    first.send_signal(with_signal)
    first.wait(PATIENCE)
    for ref in (prod, dev):
        bench.publisher.ring(ref, 1, 1)
    wait_until(lambda: bench.publisher.published == 2, what="the rings")
    bench.worker()
    bench.wait_drained(2)
    bench.wait_serves("one", "shop/prod", "shop/dev")
    assert sorted(name for name, _, _ in bench.drains()) == ["shop/dev", "shop/prod"]


def test_the_message_of_a_killed_child_is_drained_again(bench: Bench) -> None:
    """When the child of a dedicated worker is killed in a drain, its message runs again in the next child."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"hold": True})
    worker = bench.worker(dedicated=True)
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    wait_until(lambda: bench.drains("begin"), what="the first drain")
    [(_, _, child)] = bench.drains("begin")
    os.kill(child, signal.SIGKILL)
    bench.behave()
    bench.wait_drained(1)
    assert [last for _, last, pid in bench.drains() if pid != child] == [1]
    assert worker.poll() is None
    wait_until(lambda: queues.queue_depths(bench.settings, [prod]) == {prod: 0}, what="an empty queue")


def test_a_drain_that_fails_is_acknowledged(bench: Bench) -> None:
    """A drain that raises is not repeated through the queue, and an unexpected exception shows its type alone."""
    prod = bench.add("shop/prod")
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    for done, error in enumerate(("StalledError", "TemporaryError", "ValueError")):
        said = len(bench.log().read_text())
        bench.behave(shop_prod={"raise": error})
        bench.publisher.ring(prod, 2 * done + 1, 2 * done + 1)
        wait_until(lambda done=done: len(bench.drains("begin")) == 2 * done + 1, what=error)  # type: ignore[misc]
        bench.behave()
        bench.publisher.ring(prod, 2 * done + 2, 2 * done + 2)
        bench.wait_drained(done + 1)
        assert [last for _, last, _ in bench.drains("begin")] == list(range(1, 2 * done + 3)), error
    # The messages of our own errors are for operators; what an unexpected one says may be anything.
    unexpected = wait_until(lambda: text if "ValueError" in (text := bench.log().read_text()[said:]) else "")
    assert "canary-4711" not in unexpected
