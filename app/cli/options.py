"""Options that several commands share, and the settings that a command runs with.

A command in the folder of a running `reverser up` needs no variables: it takes them from the data folder. Variables
that are set win.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from app import errors, events, settings
from app.cli import logs, updata

_Command = TypeVar("_Command", bound=Any)


def examples(*lines: str) -> str:
    """The end of a command's help; the backspace keeps click from joining the lines."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def data_dir(command: _Command) -> _Command:
    """`--data-dir` for commands that take their settings from it."""
    return _folder("The data folder of `reverser up` to take settings from; variables that are set win.")(command)


def mirroring_data_dir(command: _Command) -> _Command:
    """`--data-dir` for `apply` and `delete`, which go to its cluster."""
    return _folder("The data folder whose cluster it is; when this is given, KUBECONFIG is not asked.")(command)


def own_data_dir(command: _Command) -> _Command:
    """`--data-dir` for `up` and `down`."""
    return _folder("The folder that holds everything: database, broker, repository, logs.")(command)


def sandbox_data_dir(command: _Command) -> _Command:
    """`--data-dir` for `sandbox`."""
    return _folder("The folder whose `sandbox` subfolder holds everything: objects, certificate, kubeconfig.")(command)


def _folder(text: str) -> Callable[[_Command], _Command]:
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option("--data-dir", type=kind, default=updata.DEFAULT, show_default=True, help=text)


def output(command: _Command) -> _Command:
    """`--output`: for people or for programs."""
    option = click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or JSON for programs.",
    )
    return option(command)


class _Destination(click.ParamType[events.Ref]):
    """NAMESPACE/NAME."""

    name = "destination"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> events.Ref:
        """Read it; another form is wrong usage."""
        try:
            return events.Ref.parse(value)
        except errors.MessageError:
            self.fail(f"{value!r} is no destination: write NAMESPACE/NAME, for example shop/prod", param, ctx)


def destination(command: _Command) -> _Command:
    """The destination that a command is about, as its first word."""
    return click.argument("destination", type=_Destination(), metavar="NAMESPACE/DESTINATION")(command)


def settings_in(folder: Path) -> settings.Settings:
    """The settings of this process: its environment, completed from a data folder.

    Raises SettingsError.
    """
    own = {name: value for name, value in settings.inherited_environment().items() if value}
    return settings.Settings.from_environment({**updata.DataFolder.at(folder).environment(), **own})


def process_settings(folder: Path) -> settings.Settings:
    """The same for a process that runs on: with its logs set up."""
    options = settings_in(folder)
    logs.configure(options)
    return options
