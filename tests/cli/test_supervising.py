"""The supervisor with small real processes: order, restarts, deaths, readiness."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import processes
from tests.waiting import wait_until

SCRIPT = Path(__file__).with_name("supervised.py")

# Says when it starts and when it is asked to end, in a file that all of them share.
POLITE = """
import signal, sys, time
folder, name = sys.argv[1:]
def note(what):
    with open(f"{folder}/events", "a") as file:
        file.write(f"{what} {name} {time.monotonic()}\\n")
def stop(*_):
    note("stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("start")
open(f"{folder}/{name}.ready", "w").close()
while True:
    signal.pause()
"""
# Notes that it was asked, and stays.
STUBBORN = POLITE.replace("    sys.exit(0)\n", "")
DYING = POLITE.replace("while True:", "sys.exit(3)\nwhile True:")
PARENT = """
import signal, subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
with open(f"{sys.argv[1]}/grandchild", "w") as file:
    file.write(str(grandchild.pid))
open("{}/{}.ready".format(*sys.argv[1:]), "w").close()
signal.pause()
"""
WARNING = """
import signal, sys
print('{"event": "push_refused", "level": "warning", "destination": "shop/prod"}', flush=True)
print('{"event": "all_is_well", "level": "info"}', flush=True)
open("{}/{}.ready".format(*sys.argv[1:]), "w").close()
signal.pause()
"""
SILENT = """
import signal
print("waits for something that never comes", flush=True)
signal.pause()
"""


class Run:
    """A supervisor process under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *services: dict[str, Any], broker: str = POLITE, **plan: Any) -> None:
        content = {"ground": [{"name": "redis", "code": broker}], "services": services, **plan}
        (self.folder / "plan.json").write_text(json.dumps(content))
        with (self.folder / "said").open("wb") as said:
            self.process = subprocess.Popen([sys.executable, SCRIPT, self.folder], stdout=said, stderr=said)

    def is_up(self) -> bool:
        return (self.folder / "up").exists()

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def events(self, what: str) -> list[str]:
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1] for line in lines if line.startswith(what)]

    def identities(self) -> dict[str, processes.Identity]:
        content = json.loads((self.folder / "pids.json").read_text())
        return {name: processes.Identity(**value) for name, value in content.items()}

    def send(self, signum: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(signum)

    def wait(self) -> int:
        assert self.process
        return self.process.wait(20)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A supervisor that is gone after the test, whatever the test did."""
    one = Run(tmp_path)
    yield one
    if one.process and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


def polite(name: str) -> dict[str, Any]:
    """A service that notes its start and its end."""
    return {"name": name, "code": POLITE}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_in_order(run: Run, signum: signal.Signals) -> None:
    """The broker is up before the others start; a request to stop ends them in order, and is no error."""
    run.start(polite("watch"), polite("worker"), polite("flower"))
    wait_until(run.is_up)
    run.send(signum)
    assert run.wait() == 0
    assert run.events("stop") == ["watch", "worker", "flower", "redis"]
    starts = run.events("start")
    assert (starts[0], sorted(starts[1:])) == ("redis", ["flower", "watch", "worker"])


def test_a_ground_of_two_is_stopped_last(run: Run) -> None:
    """What the services need is all up before the first of them starts, and outlives the last of them."""
    run.start(polite("watch"), ground=[polite("redis"), polite("sandbox")])
    wait_until(run.is_up)
    run.send(signal.SIGTERM)
    assert run.wait() == 0
    assert run.events("stop") == ["watch", "redis", "sandbox"]
    assert run.events("start")[-1] == "watch"


def test_stop_while_starting(run: Run) -> None:
    """Ctrl-C while the broker is not yet ready stops what runs."""
    run.start(polite("watch"), broker=SILENT)
    wait_until((run.folder / "pids.json").exists)
    broker = run.identities()["redis"]
    run.send(signal.SIGINT)
    assert run.wait() == 0
    assert not processes.is_alive(broker)
    assert not run.is_up()


def test_stop_while_preparing(run: Run) -> None:
    """Ctrl-C while the preparation waits for something ends it at once, and what runs is stopped in order."""
    run.start(polite("watch"), prepare=60.0)
    wait_until((run.folder / "preparing").exists)
    run.send(signal.SIGINT)
    assert run.wait() == 0
    assert run.events("stop") == ["redis"]
    assert run.events("start") == ["redis"]


def test_restarts_with_backoff(run: Run) -> None:
    """A process that keeps dying is started again after 0.5 s, then 1 s, and the terminal says so."""
    run.start({"name": "worker", "code": DYING})
    wait_until(lambda: run.events("start").count("worker") == 3)
    times = [
        float(line.split()[2])
        for line in (run.folder / "events").read_text().splitlines()
        if line.startswith("start worker")
    ]
    first, second = times[1] - times[0], times[2] - times[1]
    # At least so long: how much longer it takes is the machine's.
    assert first > 0.4
    assert second > 0.9
    assert "worker ended with exit code 3; it is started again in 0.5 s" in run.said()
    assert "worker ended with exit code 3; it is started again in 1.0 s" in run.said()


def test_restart_is_announced(run: Run) -> None:
    """A killed process is replaced while the others keep running, and up.json is written again."""
    run.start(polite("watch"), polite("worker"))
    wait_until(run.is_up)
    before = run.identities()
    os.kill(before["worker"].pid, signal.SIGKILL)
    wait_until(lambda: (run.folder / "up").read_text() == "ready\nready\n")
    after = run.identities()
    assert after["worker"] != before["worker"]
    assert (after["watch"], after["redis"]) == (before["watch"], before["redis"])
    assert "worker was killed by SIGKILL" in run.said()


def test_kill_9_leaves_nobody(run: Run) -> None:
    """Within a second after kill -9 of the supervisor none of its children runs."""
    run.start(polite("watch"), {"name": "worker", "code": STUBBORN})
    wait_until(run.is_up)
    children = run.identities()
    run.send(signal.SIGKILL)
    run.wait()
    wait_until(lambda: not any(map(processes.is_alive, children.values())), timeout=1.0)


def test_grandchildren_end_too(run: Run) -> None:
    """What a child started and left behind ends with it."""
    run.start({"name": "worker", "code": PARENT})
    wait_until(run.is_up)
    grandchild = processes.identify(int((run.folder / "grandchild").read_text()))
    assert grandchild
    run.send(signal.SIGTERM)
    assert run.wait() == 0
    wait_until(lambda: not processes.is_alive(grandchild), timeout=2.0)


def test_stubborn_child_is_killed(run: Run) -> None:
    """A child that ignores SIGTERM is killed after its grace, and those after it are still asked politely."""
    run.start({"name": "watch", "code": STUBBORN, "grace": 0.3}, polite("worker"))
    wait_until(run.is_up)
    run.send(signal.SIGTERM)
    assert run.wait() == 0
    assert "watch is killed: it did not end within 0 s" in run.said()
    assert run.events("stop") == ["watch", "worker", "redis"]


def test_second_ctrl_c_does_not_wait(run: Run) -> None:
    """Who presses Ctrl-C is told that it ends; who presses it twice does not wait for the grace."""
    run.start({"name": "watch", "code": STUBBORN, "grace": 60.0})
    wait_until(run.is_up)
    child = run.identities()["watch"]
    run.send(signal.SIGINT)
    wait_until(lambda: run.events("stop") == ["watch"])
    assert "once more to end at once" in run.said()
    run.send(signal.SIGINT)
    assert run.wait() == 0
    assert "watch is killed: you asked twice" in run.said()
    assert not processes.is_alive(child)


def test_not_ready_in_time(run: Run) -> None:
    """Where a time was given, what is not ready then is named with the end of its log, and everything stops."""
    run.start(polite("watch"), {"name": "worker", "code": SILENT}, ready_within=4.0)
    assert run.wait() == 1
    assert "not ready after 4 s: worker" in run.said()
    assert "waits for something that never comes" in run.said()
    assert not any(map(processes.is_alive, run.identities().values()))
    assert not run.is_up()


def test_warnings_are_shown(run: Run) -> None:
    """A warning in a child's log stands on the terminal with the child's name; its other lines do not."""
    run.start({"name": "worker", "code": WARNING})
    wait_until(lambda: "worker: push_refused destination=shop/prod" in run.said())
    assert "all_is_well" not in run.said()


def test_sick_broker_is_replaced(run: Run) -> None:
    """A broker that runs and no longer answers is killed and started again."""
    run.start(polite("watch"))
    wait_until(run.is_up)
    before = run.identities()["redis"]
    (run.folder / "redis.ready").unlink()
    wait_until(lambda: run.identities()["redis"] != before, timeout=15.0)
    assert "redis does not answer: it is replaced" in run.said()
    assert not processes.is_alive(before)
