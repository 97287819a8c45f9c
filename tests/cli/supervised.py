"""A supervisor of small real processes, run by `test_supervising.py` as a process of its own.

Usage: supervised.py FOLDER. FOLDER/plan.json holds `ground` and `services` (each name, code, grace, probe),
`ready_within`, and `prepare`, seconds for which the preparation blocks. A service is ready, and well, while
FOLDER/NAME.ready exists, unless `probe` is off. What is said goes to standard output, identities to FOLDER/pids.json;
FOLDER/up counts the calls of `when_ready`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from app import errors
from app.cli import processes, supervising


def _service(folder: Path, plan: dict[str, Any]) -> supervising.Service:
    name = plan["name"]
    mark = folder / f"{name}.ready"

    def probe() -> bool:
        return not plan.get("probe", True) or mark.exists()

    return supervising.Service(
        program=processes.Program(
            name=name,
            command=(sys.executable, "-c", plan["code"], str(folder), name),
            environment=dict(os.environ),
            log=folder / f"{name}.log",
            instance_variable="INSTANCE",
            grace=plan.get("grace", 5.0),
        ),
        is_ready=lambda _node: probe(),
        is_well=probe,
    )


def main(folder: Path) -> int:
    """Run until asked to stop; 1 with the message on standard output when it cannot come up."""
    plan = json.loads((folder / "plan.json").read_text())

    def noted(identities: Any) -> None:
        content = {name: dataclasses.asdict(one) for name, one in identities.items()}
        temporary = folder / "pids.new"
        temporary.write_text(json.dumps(content))
        temporary.replace(folder / "pids.json")

    def when_ready() -> None:
        with (folder / "up").open("a") as file:
            file.write("ready\n")

    def prepare() -> None:
        (folder / "preparing").touch()
        threading.Event().wait(plan.get("prepare", 0.0))

    supervisor = supervising.Supervisor(
        ground=[_service(folder, one) for one in plan["ground"]],
        services=[_service(folder, one) for one in plan["services"]],
        prepare=prepare,
        say=click.echo,
        noted=noted,
        when_ready=when_ready,
        ready_within=plan.get("ready_within"),
    )
    try:
        supervisor.run()
    except errors.ReverserError as error:
        click.echo(error.message)
        return 1
    return 0


if __name__ == "__main__":
    # Whoever runs the tests with nohup has it ignored, and a supervisor that is started so leaves it ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.exit(main(Path(sys.argv[1])))
