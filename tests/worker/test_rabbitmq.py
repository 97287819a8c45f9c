"""Order and loss on a live RabbitMQ: every hand-over of a queue, and what would break it.

What holds on each broker stands in `test_serving.py`. A test's own consumer plays the standby where two workers would
never listen to one queue for long enough.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from app import events, queues
from app.events import Ref
from app.watch import ringing
from tests import lanes
from tests.servers import proxy, rabbitmq
from tests.waiting import PATIENCE, wait_until
from tests.worker.conftest import ON_RABBITMQ, Bench

PROD = Ref("shop", "prod")
QUEUE = events.queue_name(PROD)


class Standby:
    """A second consumer of shop/prod's queue: when the broker made it the active one."""

    def __init__(self, bench: Bench, connection: kombu.Connection) -> None:
        self.began: list[float] = []
        self.numbers: list[int] = []
        self._connection = connection
        queue = queues.queue_for(PROD, broker_url=bench.settings.broker_url)
        consumer = kombu.Consumer(connection, [queue], on_message=self._take)
        consumer.qos(prefetch_count=1)
        consumer.consume()

    def has_one(self) -> bool:
        """Whether a message came by now."""
        with contextlib.suppress(TimeoutError):
            self._connection.drain_events(timeout=0.02)
        return bool(self.began)

    def _take(self, message: kombu.Message) -> None:
        self.began.append(time.monotonic())
        self.numbers.append(message.decode()[1]["last"])


@contextlib.contextmanager
def standby(bench: Bench) -> Iterator[Standby]:
    """Listen beside the worker."""
    with kombu.Connection(bench.settings.broker_url) as connection:
        yield Standby(bench, connection)


@ON_RABBITMQ
def test_a_standby_waits_for_the_message_in_flight(bench: Bench) -> None:
    """After SIGTERM the next consumer gets the next message only when the drain under way has ended."""
    bench.add("shop/prod")
    bench.behave(shop_prod={"sleep": 1.0})
    worker = bench.worker()
    bench.wait_serves("one", "shop/prod")
    with standby(bench) as second:
        bench.publisher.ring(PROD, 1, 1)
        bench.publisher.ring(PROD, 2, 2)
        wait_until(lambda: bench.drains("begin"), what="the first drain")
        worker.send_signal(signal.SIGTERM)
        wait_until(second.has_one, what="the standby's message")
    assert worker.wait(PATIENCE) == 0
    assert [last for _, last, _ in bench.drains("begin")] == [1]
    assert bench.spans("shop/prod")[-1][1] < second.began[0]


@ON_RABBITMQ
@pytest.mark.parametrize("dedicated", [False, True], ids=["threads-ctrl-c-twice", "prefork-sigquit"])
def test_a_standby_waits_for_the_end_of_a_worker(bench: Bench, *, dedicated: bool) -> None:
    """A worker that is told to end at once ends its drain with itself, and only then is the same message another's."""
    bench.add("shop/prod")
    bench.behave(shop_prod={"hold": True})
    worker = bench.worker(dedicated=dedicated)
    bench.wait_serves("one", "shop/prod")
    with standby(bench) as second:
        bench.publisher.ring(PROD, 1, 1)
        bench.publisher.ring(PROD, 2, 2)
        wait_until(lambda: bench.drains("begin"), what="the first drain")
        if not dedicated:
            worker.send_signal(signal.SIGINT)
            wait_until(lambda: "is asked to end" in bench.log().read_text(), what="the first Ctrl-C")
        worker.send_signal(signal.SIGQUIT if dedicated else signal.SIGINT)
        wait_until(second.has_one, what="the standby's message")
        bench.behave()
        assert second.numbers == [1]
        assert worker.wait(PATIENCE) == 1
    assert bench.drains() == []


@ON_RABBITMQ
def test_sigterm_finishes_what_waits_for_the_only_child(bench: Bench) -> None:
    """A dedicated worker that took a message of each of its queues drains them all, and then leaves."""
    several = [bench.add(f"shop/{name}") for name in ("one", "other", "third")]
    bench.behave(shop_one={"sleep": 1.0}, shop_other={"sleep": 1.0}, shop_third={"sleep": 1.0})
    worker = bench.worker(dedicated=True)
    bench.wait_serves("one", *map(str, several))
    for number, destination in enumerate(several):
        bench.publisher.ring(destination, number, number)
    wait_until(lambda: bench.log().read_text().count("received") == len(several), what="a message of each")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
    assert len(bench.drains()) == len(several)
    assert "in flight" not in bench.log().read_text()
    assert queues.queue_depths(bench.settings, several) == dict.fromkeys(several, 0)


@ON_RABBITMQ
def test_a_queue_that_moves_keeps_its_order(bench: Bench, rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """A queue taken away from a busy worker, and given back: each message is drained once, in order, one at a time."""
    bench.add("shop/prod")
    bench.behave(shop_prod={"sleep": 0.05})
    bench.worker("pool")
    bench.wait_serves("pool", "shop/prod")
    numbers = itertools.count(1)

    def ring() -> int:
        number = next(numbers)
        bench.publisher.ring(PROD, number, number)
        return number

    for _ in range(20):
        ring()
    wait_until(lambda: bench.drains("begin"), what="the first drain")
    own = bench.worker("own", dedicated=True, destinations=["shop/*"])
    wait_until(lambda: ring() and len({pid for _, _, pid in bench.drains()}) == 2, what="a drain of the other worker")
    own.send_signal(signal.SIGTERM)
    assert own.wait(PATIENCE) == 0
    count = ring()
    bench.wait_drained(count)
    assert [last for _, last, _ in bench.drains()] == list(range(1, count + 1))
    assert [what for what, _ in bench.spans("shop/prod")] == ["begin", "end"] * count
    assert queues.DEAD_QUEUE not in rabbitmq_vhost.queues()


@ON_RABBITMQ
def test_a_killed_workers_message_goes_to_the_next(bench: Bench) -> None:
    """After kill -9 the message in flight is delivered again, before those behind it."""
    bench.add("shop/prod")
    bench.behave(shop_prod={"sleep": 60})
    first = bench.worker("one")
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(PROD, 1, 1)
    bench.publisher.ring(PROD, 2, 2)
    wait_until(lambda: bench.drains("begin"), what="the first drain")
    first.kill()
    first.wait(5)
    bench.behave()
    bench.worker("two")
    bench.wait_drained(2)
    assert [last for _, last, _ in bench.drains()] == [1, 2]


@ON_RABBITMQ
def test_a_broker_that_comes_and_goes_ends_no_drain(bench: Bench, rabbitmq_node: rabbitmq.RabbitServer) -> None:
    """A dedicated worker whose connections are cut goes on with its drain, and with the next message after it."""
    bench.add("shop/prod")
    bench.behave(shop_prod={"hold": True})
    with proxy.Proxy(("127.0.0.1", rabbitmq_node.port)) as before:
        url = bench.settings.broker_url.replace(f":{rabbitmq_node.port}/", f":{before.port}/")
        bench.worker(dedicated=True, broker_url=url)
        bench.wait_serves("one", "shop/prod")
        bench.publisher.ring(PROD, 1, 1)
        wait_until(lambda: bench.drains("begin"), what="the first drain")
        for _ in range(2):
            assert before.cut()
            wait_until(before.open_links, what="a new connection")
        bench.behave()
        bench.wait_drained(1)
        assert bench.drains()[0] == bench.drains("begin")[0]
        bench.publisher.ring(PROD, 2, 2)
        wait_until(lambda: 2 in [last for _, last, _ in bench.drains()], what="the next message")


@ON_RABBITMQ
def test_remote_control_with_bare_names(bench: Bench, rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """A bare name by remote control is declared like ours or refused; nothing else is left on the broker."""
    bench.publisher.ring(Ref("shop", "other"), 1, 1)
    wait_until(lambda: bench.publisher.published == 1)
    worker = bench.worker()
    bench.wait_serves("one")
    app = queues.make_app(bench.settings)
    for name in ("celery", "dest.shop.other"):
        app.control.add_consumer(name, destination=["reverser@one"], reply=True, timeout=10)
    bench.add("shop/prod")
    bench.wait_serves("one", "shop/prod")
    assert worker.poll() is None
    # Error 540 is for a quorum queue on a channel whose first one was none.
    assert "Connection to broker lost" not in bench.log().read_text()
    ours = {("dest", name, name) for name in ("dest.shop.other", "dest.shop.prod")}
    celerys = {"celeryev", "celery.pidbox", "reply.celery.pidbox"}
    assert {one for one in rabbitmq_vhost.bindings() if one[0] not in celerys} == ours
    assert {one for one in rabbitmq_vhost.queues() if "pidbox" not in one} == {name for _, name, _ in ours}


@ON_RABBITMQ
def test_a_worker_that_wakes_does_not_bring_a_deleted_queue_back(bench: Bench, rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """A worker that was frozen while its destination was deleted does not declare that one's queue on waking."""
    prod = bench.add("shop/prod")
    worker = bench.worker()
    bench.wait_serves("one", "shop/prod")
    worker.send_signal(signal.SIGSTOP)
    bench.delete(prod)
    leftovers = ringing.Leftovers(bench.settings, database=bench.database)

    def cleared() -> bool:
        leftovers.clear(now=0)
        return QUEUE not in rabbitmq_vhost.queues()

    wait_until(cleared, what="the deleted destination's queue")
    bench.add("shop/other")
    worker.send_signal(signal.SIGCONT)
    bench.wait_serves("one", "shop/other")
    assert QUEUE not in rabbitmq_vhost.queues()


@ON_RABBITMQ
def test_a_queue_that_cannot_be_used_stops_no_other(bench: Bench) -> None:
    """A queue that was declared otherwise is told and tried again; worker and publisher go on with the others."""
    bad, prod = bench.add("shop/bad"), bench.add("shop/prod")
    with kombu.Connection(bench.settings.broker_url) as connection:
        connection.default_channel.queue_declare("dest.shop.bad", durable=True, auto_delete=False)
        worker = bench.worker()
        bench.wait_serves("one", "shop/prod")
        bench.publisher.ring(bad, 1, 1)
        bench.publisher.ring(prod, 1, 1)
        bench.wait_drained(1)
        wait_until(lambda: "dest.shop.bad" in bench.log().read_text(), what="a line about the queue")
        connection.default_channel.queue_delete("dest.shop.bad")
    bench.wait_serves("one", "shop/bad", "shop/prod")
    assert bench.publisher.drops == {"refused": 1}
    assert worker.poll() is None
    assert "Connection to broker lost" not in bench.log().read_text()


NOT_BAD = r"^(?!dest\.shop\.bad$)"


@ON_RABBITMQ
def test_a_queue_that_may_not_be_read_stops_no_other(bench: Bench, rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """A queue that is refused when it is listened to costs a connection once, is not claimed, and is tried again."""
    prod, _bad, _other = bench.add("shop/prod"), bench.add("shop/bad"), bench.add("shop/other")
    with rabbitmq_vhost.user() as user:
        user.may(read=NOT_BAD)
        worker = bench.worker(broker_url=user.url)
        bench.wait_serves("one", "shop/other", "shop/prod", timeout=20)
        bench.publisher.ring(prod, 1, 1)
        bench.wait_drained(1)
        wait_until(lambda: bench.log().read_text().count("cannot be used") > 1, what="a second try")
        user.may()
        bench.wait_serves("one", "shop/bad", "shop/other", "shop/prod", timeout=20)
        assert worker.poll() is None
        # Each try of a queue that is known to be refused is on a channel of its own.
        assert bench.log().read_text().count("Connection to broker lost") == 1


@ON_RABBITMQ
def test_a_queue_that_is_refused_on_a_new_connection_stops_no_other(
    bench: Bench, rabbitmq_vhost: rabbitmq.Vhost
) -> None:
    """A worker that connects again without its right to one of its queues goes on with the others."""
    prod, _bad = bench.add("shop/prod"), bench.add("shop/bad")
    with rabbitmq_vhost.user() as user:
        worker = bench.worker(broker_url=user.url)
        bench.wait_serves("one", "shop/bad", "shop/prod")
        user.may(configure=NOT_BAD)
        rabbitmq_vhost.cut()
        bench.wait_serves("one", "shop/prod", timeout=20)
        bench.publisher.ring(prod, 1, 1)
        bench.wait_drained(1)
        assert worker.poll() is None
        user.may()
        bench.wait_serves("one", "shop/bad", "shop/prod", timeout=20)


@ON_RABBITMQ
def test_a_memory_alarm_stops_neither_worker_nor_publisher(bench: Bench, rabbitmq_node: rabbitmq.RabbitServer) -> None:
    """Under a memory alarm a worker drains what waits, a publisher drops and says why, and both recover alone."""
    # More than the events of their tasks fit into the buffers of a connection that the broker does not read.
    several, count = [bench.add(f"shop/d{number}") for number in range(8)], 5_000
    bench.add("shop/prod")
    bench.behave(**{f"shop_{ref.name}": {"hold": True} for ref in several})
    bench.worker(slots=8)
    bench.wait_serves("one", "shop/prod", *map(str, several))
    for number in range(count):
        bench.publisher.ring(several[number % 8], number, number)
        wait_until(lambda number=number: number - bench.publisher.published < 500)
    wait_until(lambda: bench.publisher.published == count and bench.drains("begin"), what="the first drain")
    with rabbitmq_node.memory_alarm():
        bench.publisher.ring(PROD, 9_999, 9_999)
        wait_until(lambda: bench.publisher.drops == {"broker_blocked": 1}, what="the blocked publisher")
        bench.behave()
        bench.wait_drained(count, timeout=50)

    def again() -> bool:
        bench.publisher.ring(PROD, 10_000, 10_000)
        return 10_000 in [last for _, last, _ in bench.drains()]

    wait_until(again, what="the ring after the alarm")
    assert set(bench.publisher.drops) == {"broker_blocked"}


@ON_RABBITMQ
def test_what_is_not_routed_is_counted(bench: Bench, rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """A message that no queue gets, and one whose exchange is gone, are counted; the next one arrives."""
    queue = queues.queue_for(PROD, broker_url=bench.settings.broker_url)
    bench.publisher.ring(PROD, 1, 1)
    wait_until(lambda: bench.publisher.published == 1)
    with kombu.Connection(bench.settings.broker_url) as connection:
        losses = (queue(connection).delete, lambda: queue.exchange(connection).delete())
        for count, lose in enumerate(losses, start=1):
            lose()
            bench.publisher.ring(PROD, 2, 2)
            wait_until(lambda count=count: bench.publisher.drops == {"unroutable": count})
            bench.publisher.ring(PROD, 3, 3)
            wait_until(lambda count=count: bench.publisher.published == 1 + count)
    assert queues.queue_depths(bench.settings, [PROD]) == {PROD: 2}
    assert ("dest", QUEUE, QUEUE) in rabbitmq_vhost.bindings()


@pytest.fixture
def impatient_node() -> Iterator[rabbitmq.RabbitServer]:
    """A node of this test's own, which waits a second for an acknowledgement, and looks often."""
    program = rabbitmq.find_server() or lanes.leave_out("rabbitmq")
    with rabbitmq.RabbitServer(program, config="consumer_timeout = 1000") as server:
        server.shell("rabbitmqctl eval 'application:set_env(rabbit, channel_tick_interval, 500).'")
        yield server


@pytest.mark.rabbitmq
def test_a_broker_that_waits_no_longer_ends_no_worker(
    tmp_path: Path, sqlite_url: str, impatient_node: rabbitmq.RabbitServer
) -> None:
    """`consumer_timeout` closes the channel under a long drain: the worker connects again and serves all its queues."""
    with contextlib.closing(Bench(tmp_path, broker_url=impatient_node.url, database_url=sqlite_url)) as bench:
        prod, test = bench.add("shop/prod"), bench.add("shop/test")
        bench.behave(shop_prod={"hold": True})
        worker = bench.worker()
        bench.wait_serves("one", "shop/prod", "shop/test")
        bench.publisher.ring(prod, 1, 1)
        wait_until(lambda: "re-establish" in bench.log().read_text(), 40, what="the loss of the channel")
        bench.behave()
        bench.publisher.ring(test, 2, 2)
        bench.publisher.ring(prod, 3, 3)
        wait_until(lambda: {last for _, last, _ in bench.drains()} == {1, 2, 3}, 40, what="all messages are drained")
        assert worker.poll() is None


@pytest.fixture
def small_node() -> Iterator[rabbitmq.RabbitServer]:
    """A node of this test's own, which takes small messages only."""
    program = rabbitmq.find_server() or lanes.leave_out("rabbitmq")
    with rabbitmq.RabbitServer(program, config="max_message_size = 50000") as server:
        yield server


@pytest.mark.rabbitmq
def test_a_broker_that_lost_everything(tmp_path: Path, sqlite_url: str, small_node: rabbitmq.RabbitServer) -> None:
    """A broker that was killed and lost its data is used again by publisher and worker, without help."""
    with contextlib.closing(Bench(tmp_path, broker_url=small_node.url, database_url=sqlite_url)) as bench:
        bench.add("shop/prod")
        worker = bench.worker()
        bench.wait_serves("one", "shop/prod")
        bench.publisher.bury({"reason": "x" * 60_000})
        wait_until(lambda: bench.publisher.drops == {"too_large": 1}, what="the message that is too large")
        bench.publisher.ring(PROD, 1, 1)
        bench.wait_drained(1)
        small_node.lose_data()
        bench.publisher.ring(PROD, 2, 2)
        wait_until(lambda: bench.publisher.drops == {"too_large": 1, "broker_away": 1}, what="the broker that is away")
        small_node.start()

        def drained() -> bool:
            bench.publisher.ring(PROD, 3, 3)
            return len(bench.drains()) > 1

        wait_until(drained, what="a ring after the loss")
        assert worker.poll() is None
