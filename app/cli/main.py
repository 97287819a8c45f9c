"""The command `reverser`: what commands there are, and how an error reads.

Commands are loaded when they are called: `--help` answers at once, and the supervisor does not carry the libraries
of a worker. Each command stands in the module that `_COMMANDS` names.
"""

from __future__ import annotations

import importlib
import signal
from importlib import metadata

import click

from app import errors

# Where each command stands and what it does, in the order of the help, which loads none of them.
_COMMANDS = {
    "up": ("app.cli.up:up", "Run all of Reverser on this machine."),
    "down": ("app.cli.down:down", "Stop what `reverser up` runs."),
    "status": ("app.cli.status:status", "Show each destination."),
    "apply": ("app.cli.apply:apply", "Make objects in the cluster as files say."),
    "delete": ("app.cli.apply:delete", "Delete the objects that files name."),
    "render": ("app.cli.render:render", "Print objects as they would be committed."),
    "explain": ("app.cli.explain:explain", "Say what a destination mirrors, and why an object is there or not."),
    "seed": ("app.cli.seed:seed", "List everything that a destination selects anew."),
    "prune": ("app.cli.prune:prune", "Remove files that no rule selects any more."),
    "adopt": ("app.cli.adopt:adopt", "Remove files without a record, whose objects are gone."),
    "verify": ("app.cli.verify:verify", "Compare cluster, Git and record of a destination."),
    "audit": ("app.cli.audit:audit", "Ask the record of pushed changes."),
    "doctor": ("app.cli.doctor:doctor", "Look at everything, and say what to do about what is wrong."),
    "watch": ("app.cli.watch:watch", "Follow one cluster."),
    "worker": ("app.cli.worker:worker", "Turn pending changes into commits and push them."),
    "flower": ("app.cli.flower:flower", "Show queues, workers and tasks in a browser."),
    "sandbox": ("app.cli.sandbox:sandbox", "Serve a small Kubernetes API for trying things."),
    "migrate": ("app.cli.migrate:migrate", "Bring the database to this version."),
    "crds": ("app.cli.crds:crds", "Print the CustomResourceDefinitions of Reverser."),
}


class Commands(click.Group):
    """A group that knows its commands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Load the command, the last thing that Ctrl-C may end without a word (`entry.py`)."""
        found = super().resolve_command(ctx, args)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return found

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what we know how to say is said in one sentence, with exit code 1."""
        try:
            return super().invoke(ctx)
        except errors.ReverserError as error:
            raise click.ClickException(error.message) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from error


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  reverser up --kubeconfig ~/.kube/config --apply-crds",
)
@click.version_option(metadata.version("reverser"), prog_name="reverser")
def main() -> None:
    """Reverse GitOps: the live state of Kubernetes clusters as Git commits and SQL records.

    Exit codes: 0 done, 1 an error that is said in one sentence, 2 wrong usage.
    """


if __name__ == "__main__":
    main(prog_name="reverser")
