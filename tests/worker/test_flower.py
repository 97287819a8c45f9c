"""A live Flower on a live worker: what it shows, and whom it refuses."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app import events, queues
from app.cli import probing
from app.events import Ref
from tests.servers import processes
from tests.servers.redis import RedisServer
from tests.waiting import wait_until
from tests.worker.conftest import ON_REDIS, ROOT, Bench

PROGRAM = """
import json, sys
from app.settings import Settings
from app.worker import flower
options = json.loads(sys.argv[1])
settings = Settings(broker_url=options["broker_url"], flower_login=options["login"], node="flower-of-this-test")
flower.run(settings, port=options["port"])
"""
LOGIN = "admin:hunter2"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A Flower process, asked over HTTP."""

    def __init__(self, bench: Bench, login: str, *, broker_url: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        broker_url = broker_url or bench.settings.broker_url
        options = json.dumps({"broker_url": broker_url, "login": login, "port": self.port})
        with bench.log("flower").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, options], cwd=ROOT, stdout=log, stderr=log)
        wait_until(lambda: self.ask("/healthcheck")[0] == 200, 60, what="Flower")

    def ask(self, path: str, *, method: str = "GET", login: str = "", **headers: str) -> tuple[int, str]:
        """Status and text of a request; 0 while nobody listens."""
        request = urllib.request.Request(self.url + path, method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


@pytest.fixture
def site(bench: Bench) -> Iterator[Site]:
    """A Flower with a login."""
    site = Site(bench, LOGIN)
    yield site
    processes.end(site.process)


def test_flower_shows_destination_and_result(bench: Bench, site: Site) -> None:
    """A task's line in Flower has the destination as kwargs and what was done as result, for those who log in."""
    bench.add("shop/prod")
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(Ref("shop", "prod"), 1, 5)

    def shown() -> list[dict[str, Any]]:
        status, text = site.ask("/api/tasks?kwargs=", login=LOGIN)
        assert status == 200
        return [task for task in json.loads(text).values() if task["state"] == "SUCCESS"]

    (task,) = wait_until(shown, 20)
    assert "'dest': 'shop/prod'" in task["kwargs"]
    assert "1 commit, 2 rows, main a1b2c3d" in task["result"]


def test_what_a_worker_did_last_is_shown(bench: Bench, site: Site) -> None:
    """A worker that ends tells what it had not told yet: no task that is done stays under way for ever."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"sleep": 1.0})
    worker = bench.worker()
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    wait_until(lambda: bench.drains("begin"))
    worker.terminate()
    assert worker.wait(60) == 0

    def states() -> set[str]:
        return {task["state"] for task in json.loads(site.ask("/api/tasks", login=LOGIN)[1]).values()}

    wait_until(lambda: states() == {"SUCCESS"}, what="a task that succeeded")


def test_a_message_whose_rows_are_done_makes_no_task(bench: Bench, site: Site) -> None:
    """One that an earlier drain of the same destination covers is taken off and shown; any other is drained."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"done": {"uid-1": 5}})
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    bench.wait_drained(1)
    for uid, number in (("uid-1", 5), ("uid-1", 6), ("uid-2", 4), ("uid-1", 3)):
        bench.publisher.publish(events.messages_for([event(prod, uid, number)]))
    bench.publisher.ring(prod, 2, 2)
    bench.wait_drained(4)
    assert [last for _, last, _ in bench.drains()] == [1, 6, 4, 2]
    assert queues.queue_depths(bench.settings, [prod]) == {prod: 0}

    def results() -> list[str]:
        tasks = json.loads(site.ask("/api/tasks", login=LOGIN)[1]).values()
        return sorted(task["result"] for task in tasks if task["state"] == "SUCCESS")

    wait_until(lambda: len(results()) == 6, what="six messages that are done")
    assert results().count("'done by an earlier task'") == 2


@ON_REDIS
def test_messages_whose_rows_are_done_are_taken_off_together(
    bench: Bench, site: Site, redis_server: RedisServer
) -> None:
    """They cost no delivery each: a busy worker would not come to its other queues. All are shown, none is lost."""
    prod = bench.add("shop/prod")
    bench.behave(shop_prod={"done": {"uid-1": 250}, "hold": True})
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    bench.publisher.ring(prod, 1, 1)
    wait_until(lambda: bench.drains("begin"))
    for number in range(2, 251):
        bench.publisher.publish(events.messages_for([event(prod, "uid-1", number)]))
    wait_until(lambda: queues.queue_depths(bench.settings, [prod]) == {prod: 249}, 30)
    with redis_server.client() as client:
        client.lpush(events.queue_name(prod), b"no message at all")
        for number in (7, 251):
            bench.publisher.publish(events.messages_for([event(prod, "uid-1", number)]))
        before = client.info("commandstats")["cmdstat_brpop"]["calls"]
        bench.behave(shop_prod={"done": {"uid-1": 251}})
        bench.wait_drained(2)
        # Some end because their second is over.
        assert client.info("commandstats")["cmdstat_brpop"]["calls"] - before < 30
    assert [last for _, last, _ in bench.drains()] == [1, 251]
    assert queues.queue_depths(bench.settings, [prod]) == {prod: 0}

    def done() -> int:
        tasks = json.loads(site.ask("/api/tasks?limit=1000", login=LOGIN)[1]).values()
        return [task["state"] for task in tasks].count("SUCCESS")

    wait_until(lambda: done() == 252, what="252 messages that are done")


def event(destination: Ref, uid: str, number: int) -> events.Event:
    """A numbered Event of a destination."""
    return events.Event.create(
        cluster="home", source_epoch=1, operation=events.Operation.UPDATE,
        identifier=events.Identifier("", "v1", "configmaps", "shop", "app", "ConfigMap", f"uid-{number}"),
        resource_version=str(number), observed_at=datetime.now(UTC), destination=destination, destination_uid=uid,
        repo_config=destination, branch="main", base_folder="prod", place_generation=1, rule="shop/rule",
    ).numbered(number)  # fmt: skip


@ON_REDIS
def test_flower_refuses_strangers(site: Site) -> None:
    """Without the login nothing is shown, and with it another site still cannot post."""
    assert site.ask("/tasks")[0] == 401
    assert site.ask("/tasks", login="admin:wrong")[0] == 401
    assert site.ask("/tasks", login=LOGIN)[0] == 200
    shutdown = "/api/worker/shutdown/reverser@one"
    assert site.ask(shutdown, method="POST")[0] == 401
    status, _ = site.ask(shutdown, method="POST", login=LOGIN, Origin="http://evil.example")
    assert status == 403
    assert site.ask(shutdown, method="POST", login=LOGIN, Sec_Fetch_Site="cross-site")[0] == 403


@ON_REDIS
def test_flower_without_a_login_has_no_remote_control(bench: Bench) -> None:
    """On loopback without a login nobody can change anything through Flower, and SIGTERM ends it cleanly."""
    site = Site(bench, "")
    assert site.ask("/tasks")[0] == 200
    assert site.ask("/api/worker/shutdown/reverser@one", method="POST")[0] == 401
    site.process.terminate()
    assert site.process.wait(10) == 0


@ON_REDIS
def test_it_says_which_process_it_is(bench: Bench) -> None:
    """Of two that want one port, whoever asks can tell which one has it, without a login."""
    site = Site(bench, LOGIN)
    try:
        assert site.ask("/node") == (200, "flower-of-this-test")
        assert probing.flower_answers(port=site.port, node="flower-of-this-test")
        assert not probing.flower_answers(port=site.port, node="another")
    finally:
        processes.end(site.process)
