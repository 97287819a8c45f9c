"""Logs: one set-up for our own events and those of the libraries, on standard error, for people or for machines.

Ours are structlog's: a static event name and key=value. Libraries come through the standard library's logging into
the same format. Nothing here prints an object's body: libraries that would do so at debug level are held back,
long values are cut, tracebacks carry no local variables. `warning_in` reads such lines back, for `reverser up`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app import errors
from app.settings import Settings

# These write requests, responses, message bodies or bound parameters at lower levels.
_HELD_BACK = {
    "kubernetes": logging.WARNING,
    "urllib3": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "kombu": logging.WARNING,
    "amqp": logging.WARNING,
    "redis": logging.WARNING,
    "tornado": logging.WARNING,
    "asyncio": logging.WARNING,
    "celery": logging.INFO,
    "flower": logging.INFO,
    # Says so for each worker that starts a little later than Flower.
    "flower.inspector": logging.ERROR,
    "alembic": logging.WARNING,
}
_LEVELS = ("debug", "info", "warning", "error", "critical")
_FORMATS = ("auto", "console", "json")
# Enough for any sentence of ours; what is longer is somebody's data.
_LONGEST_VALUE = 2_000
_LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f]+ *")
# What a command says last when it ends with exit code 1 (`main.py`).
_ERROR = re.compile(r"^Error: (.*)$")
_CONSOLE_WARNING = re.compile(r"^\S+ \[(?:warning|error|critical)\s*\] (.*)$")


def check(settings: Settings) -> None:
    """Raises SettingsError for a level or a format that there is not."""
    if settings.log_level not in _LEVELS:
        raise errors.SettingsError(f"REVERSER_LOG_LEVEL={settings.log_level!r}: write one of {', '.join(_LEVELS)}")
    if settings.log_format not in _FORMATS:
        raise errors.SettingsError(f"REVERSER_LOG_FORMAT={settings.log_format!r}: write one of {', '.join(_FORMATS)}")


def configure(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream`, standard error by default. Raises SettingsError."""
    check(settings)
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _cut,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    _route(target, level=level, formatter=_formatter(settings, target=target, shared=shared))
    threading.excepthook = _tell_of_dead_thread


def _tell_of_dead_thread(end: threading.ExceptHookArgs) -> None:
    """A thread that died of an error nobody caught: its type and place, for its text may quote an object."""
    if end.exc_value is None or isinstance(end.exc_value, SystemExit):
        return
    thread = end.thread.name if end.thread else ""
    structlog.get_logger(__name__).error(
        "thread_died", thread=thread, error=type(end.exc_value).__name__, at=errors.trace(end.exc_value)
    )


def _formatter(settings: Settings, *, target: TextIO, shared: list[Processor]) -> structlog.stdlib.ProcessorFormatter:
    people = settings.log_format == "console" or (settings.log_format == "auto" and target.isatty())
    # sort_keys off: the order in which an event was written is the order in which it reads best.
    renderers: list[Processor] = [structlog.processors.JSONRenderer()]
    if people:
        console = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), sort_keys=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        renderers = [_escape, console]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )


def _route(target: TextIO, *, level: int, formatter: logging.Formatter) -> None:
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name, least in _HELD_BACK.items():
        logging.getLogger(name).setLevel(max(level, least))


def _cut(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str) and len(value) > _LONGEST_VALUE and key != "exception":
            event[key] = f"{value[:_LONGEST_VALUE]}... ({len(value)} characters)"
    return event


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A value with a line break or a terminal sequence must not look like another line, or steer the terminal."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event


def warning_in(line: str) -> str | None:
    """The message of a log line that is a warning or worse, in one line; None for any other line."""
    message = _warning_in(line)
    return None if message is None else _LINE_BREAKS.sub(" ", message)[:_LONGEST_VALUE]


def _warning_in(line: str) -> str | None:
    if not line.startswith("{"):
        found = _CONSOLE_WARNING.match(line) or _ERROR.match(line)
        return found[1] if found else None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("level") not in {"warning", "error", "critical"}:
        return None
    rest = {k: v for k, v in event.items() if k not in {"event", "level", "timestamp", "exception", "logger"}}
    return " ".join(str(part) for part in (event.get("event", ""), *(f"{k}={v}" for k, v in rest.items())))


class Tail:
    """What is written to a log file from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def lines(self) -> Iterator[str]:
        """The whole lines since the last call; a file that was put aside is read from its beginning."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            if file.seek(0, 2) < self._offset:
                self._offset = 0
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                yield line.decode(errors="replace").rstrip()


def last_lines(path: Path, *, count: int) -> list[str]:
    """The end of a log file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 20_000))
        return file.read().decode(errors="replace").splitlines()[-count:]
