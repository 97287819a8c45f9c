"""Logs: both formats, what is held back, and what `up` reads from them."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app import errors
from app.cli import logs
from app.settings import Settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is global: each test leaves it as it was."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    levels = {name: logging.getLogger(name).level for name in logs._HELD_BACK}
    yield
    root.handlers[:], root.level, threading.excepthook = handlers, level, hook
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _stream(log_format: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Settings(log_format=log_format, log_level=level), stream=stream)
    return stream


def test_json_is_one_object_a_line() -> None:
    """For machines each event is one JSON object with its fields, its level and a time in UTC."""
    stream = _stream("auto")
    structlog.get_logger().warning("push_refused", destination="shop/prod", rows=3)
    found = json.loads(stream.getvalue())
    assert found.pop("timestamp").endswith("Z")
    assert found == {"event": "push_refused", "level": "warning", "destination": "shop/prod", "rows": 3}


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_one_event_is_one_line(log_format: str) -> None:
    """A value from a cluster with a line break or a terminal sequence cannot forge another line."""
    stream = _stream(log_format)
    structlog.get_logger().info("drained", name="a\nb\x1b[2J")
    logging.getLogger("celery").info("task %s", "x\ny")
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_warnings_read_back(log_format: str) -> None:
    """`up` finds the warnings in a child's log whatever its format, and nothing else."""
    stream = _stream(log_format)
    structlog.get_logger().info("drained", rows=1)
    structlog.get_logger().warning("push_refused", destination="shop/prod")
    logging.getLogger("celery").error("broker away")
    found = [logs.warning_in(line) for line in stream.getvalue().splitlines()]
    assert found[0] is None
    assert found[1] == "push_refused destination=shop/prod"
    assert found[2]
    assert found[2].startswith("broker away")
    assert logs.warning_in('{"event": "a\\nb", "level": "error"}') == "a b"
    assert logs.warning_in("Error: Flower cannot listen") == "Flower cannot listen"
    assert logs.warning_in("[]") is None
    assert logs.warning_in("{broken") is None


def test_libraries_do_not_print_bodies() -> None:
    """Even at debug level the libraries that write requests and messages stay at what they may say."""
    stream = _stream("json", "debug")
    for name in ("kubernetes.client.rest", "urllib3.connectionpool", "sqlalchemy.engine", "kombu", "amqp"):
        logging.getLogger(name).info("canary-4711")
    logging.getLogger("celery.worker").debug("canary-4711")
    assert "canary" not in stream.getvalue()
    structlog.get_logger().debug("seen")
    assert "seen" in stream.getvalue()


def test_long_values_are_cut_and_tracebacks_have_no_locals() -> None:
    """What is long is somebody's data; a traceback shows code, not the values it worked on."""
    stream = _stream("console")
    secret = "canary-" + "4711"
    structlog.get_logger().info("seen", body="x" * 10_000)
    try:
        secret.index("nowhere")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "(10000 characters)" in stream.getvalue()
    assert "ValueError: substring not found" in stream.getvalue()
    assert "canary-4711" not in stream.getvalue()
    assert max(map(len, stream.getvalue().splitlines())) < 2_200


def test_level_and_format_are_checked() -> None:
    """A misspelt level or format names the variable."""
    with pytest.raises(errors.SettingsError, match="REVERSER_LOG_LEVEL"):
        logs.configure(Settings(log_level="loud"))
    with pytest.raises(errors.SettingsError, match="REVERSER_LOG_FORMAT"):
        logs.configure(Settings(log_format="xml"))


def test_tail_follows_a_log(tmp_path: Path) -> None:
    """Only whole lines, only new ones, and from the beginning of a new file after the old one was put aside."""
    path = tmp_path / "worker.log"
    path.write_text("old\n")
    tail = logs.Tail(path)
    assert list(tail.lines()) == []
    with path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert list(tail.lines()) == ["one"]
        file.write("o\n")
    assert list(tail.lines()) == ["two"]
    path.rename(tmp_path / "worker.log.1")
    assert list(tail.lines()) == []
    path.write_text("new\n")
    assert list(tail.lines()) == ["new"]


def test_last_lines(tmp_path: Path) -> None:
    """The end of a log, or nothing where there is none."""
    path = tmp_path / "worker.log"
    assert logs.last_lines(path, count=2) == []
    path.write_text("".join(f"{number}\n" for number in range(10_000)))
    assert logs.last_lines(path, count=2) == ["9998", "9999"]


def test_a_thread_that_dies_is_told_without_a_value() -> None:
    """An error that nobody caught in a thread is one line with its type and place; its text may quote an object."""
    stream = _stream("json")

    def work() -> None:
        raise ValueError("password: hunter2")

    thread = threading.Thread(target=work, name="renewer")
    thread.start()
    thread.join()
    found = json.loads(stream.getvalue())
    assert (found["event"], found["thread"], found["error"]) == ("thread_died", "renewer", "ValueError")
    assert "test_logs.py" in found["at"]
    assert "hunter2" not in stream.getvalue()
