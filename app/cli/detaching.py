"""`reverser up --detach`: starts the supervisor (`up.py`) in a session of its own, and waits until all is ready."""

from __future__ import annotations

import subprocess
import time

from app import errors
from app.cli import down, installation, logs, preparing, processes, terminal, updata

# The detached supervisor decides that something is not ready; this is for one that hangs itself.
_MARGIN = 45.0


def run(plan: installation.Installation, wishes: preparing.Wishes, *, flower_port: int | None, timeout: float) -> None:
    """Start the supervisor in a session of its own and repeat what it says until everything is ready.

    Raises PermanentError when it does not come up in time; it is stopped then, and also by Ctrl-C.
    """
    plan.folder.make()
    log = plan.folder.log_of("supervisor")
    processes.rotate(log)
    tail = logs.Tail(log)
    words = ["up", "--data-dir", str(plan.folder.path), "--kubeconfig", plan.options.kubeconfig]
    # A port that nobody gave is chosen by the supervisor: until it starts, another process may take it.
    words += ["--flower-port", str(flower_port)] if flower_port else []
    words += ["--ready-within", str(timeout)]
    words += ["--apply-crds"] if wishes.apply_crds else []
    words += [] if wishes.demo else ["--no-demo"]
    with log.open("ab") as output:
        supervisor = subprocess.Popen(  # noqa: S603 - our own command, no shell
            installation.own_command(*words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _follow(supervisor, plan.folder, tail, deadline=time.monotonic() + timeout + _MARGIN)
    except BaseException as error:
        supervisor.terminate()
        _wait(supervisor)
        if not isinstance(error, KeyboardInterrupt):
            raise
        terminal.say("Stopped.")


def _wait(supervisor: subprocess.Popen[bytes]) -> None:
    """It stops its children in order; one that hangs is killed, and the kernel ends its children."""
    try:
        supervisor.wait(down.STOP_WITHIN)
    except subprocess.TimeoutExpired:
        supervisor.kill()


def _follow(
    supervisor: subprocess.Popen[bytes], folder: updata.DataFolder, tail: logs.Tail, *, deadline: float
) -> None:
    while True:
        ended = supervisor.poll() is not None
        ready = not ended and (up := folder.read_up()) is not None and up.pids.get("supervisor") == supervisor.pid
        for line in tail.lines():
            terminal.say(line)
        if ready:
            return
        if ended:
            raise errors.PermanentError("`reverser up` did not come up; its processes are stopped")
        if time.monotonic() > deadline:
            raise errors.PermanentError(f"`reverser up` hangs and is stopped; its logs are in {folder.logs}")
        time.sleep(0.05)
