"""A worker process for tests: the real worker with a drainer that writes down what it was asked.

Run as a program with a JSON object of settings. The drainer appends one line per drain to `drains` and follows
`behaviour.json` beside it: per destination `sleep` (seconds), `hold` (until that is gone), `raise` (an error's name),
`rings`, or `done` (by uid of a destination, up to which number nothing is left).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path

import celery

from app import errors
from app.drain import draining
from app.events import Ref
from app.settings import Settings
from app.worker import main


class RecordingDrainer:
    """Writes a line when a drain begins and one when it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def drain(self, destination: Ref, *, deadline: float | None = None) -> draining.Outcome:  # noqa: ARG002
        # What the message is about is no business of a drainer: only its task tells which one it is.
        last = celery.current_task.request.kwargs["last"]
        behaviour = self._behaviour().get(str(destination), {})
        self._write("begin", destination, last)
        while self._behaviour().get(str(destination), {}).get("hold"):
            time.sleep(0.05)
        time.sleep(behaviour.get("sleep", 0))
        if "raise" in behaviour:
            raise getattr(errors, behaviour["raise"], ValueError)("canary-4711")
        self._write("end", destination, last)
        rings = tuple(Ref.parse(text) for text in behaviour.get("rings", []))
        return draining.Outcome(
            destination=destination,
            commits=1,
            rows=2,
            branch="main",
            head="a1b2c3d4e5",
            note="",
            rings=rings,
            done=tuple(behaviour.get("done", {}).items()),
        )

    def close(self) -> None:
        """Nothing is open."""

    def _behaviour(self) -> dict[str, dict]:
        path = self._folder / "behaviour.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _write(self, what: str, destination: Ref, last: int) -> None:
        line = json.dumps([what, str(destination), last, os.getpid(), time.monotonic()]) + "\n"
        with (self._folder / "drains").open("a") as file:
            file.write(line)


def run(options: dict) -> int:
    """Start the worker that `options` describe; returns its exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    settings = Settings(
        broker_url=options["broker_url"],
        database_url=options["database_url"],
        node=options["node"],
        drain_deadline=options.get("drain_deadline", 60.0),
    )
    return main.run(
        settings,
        destinations=options.get("destinations", []),
        slots=options.get("slots", 4),
        dedicated=options.get("dedicated", False),
        make_drainer=lambda _settings, _database: RecordingDrainer(Path(options["folder"])),
    )


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
