"""The rules of the house that a linter cannot hold. `.importlinter` holds the layers; this file the rest."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from app import models, settings
from app.cli import main
from app.models import base
from tests import promises

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
LONGEST_FILE = 600

# Which rooms may import a library; a room is the first name below `app`.
DOORS = {
    "kubernetes": {"kube"},
    "pygit2": {"git"},
    "sqlalchemy": {"models", "db"},
    "alembic": {"db"},
    "psycopg": {"db"},
    "celery": {"broker", "celeryconfig", "queues", "tasks", "worker"},
    "kombu": {"broker", "celeryconfig", "queues", "tasks", "worker"},
    "billiard": {"broker", "celeryconfig", "queues", "tasks", "worker"},
    "amqp": {"broker", "celeryconfig", "publishing", "queues", "tasks", "worker"},
}

# Names of the operating system's environment, wherever they are reached.
ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}

# The address of a package registry, or a home folder of somebody's machine, has no business in a file of ours.
FOREIGN_PLACES = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|proxy\.golang\.org|(?<![\w.-])/(?:root|work|home|Users)/[a-z.]"
)
MAY_NAME_FOREIGN_PLACES = {"tests/test_house.py": "holds the pattern"}


def sources(folder: str = "app") -> list[Path]:
    """The Python files below a folder of the repository."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def each_source(folder: str = "app") -> pytest.MarkDecorator:
    """One test case per file, named by its path."""
    paths = sources(folder)
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(ROOT)) for path in paths])


def tree(path: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse(path.read_text(), filename=str(path))


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module


def room(path: Path) -> str:
    """The room of a file in `app`."""
    return path.relative_to(ROOT / "app").parts[0].removesuffix(".py")


def tracked() -> list[Path]:
    """The text files of the repository that Git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@each_source()
def test_only_settings_reads_the_environment(path: Path) -> None:
    """Every setting is declared in one place: no other file reads an environment variable."""
    if path == ROOT / "app" / "settings.py":
        return
    reached = [
        node.lineno
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.ImportFrom) and ENVIRONMENT & {alias.name for alias in node.names})
    ]
    assert not reached, f"lines {reached}: ask app/settings.py"


@each_source()
def test_libraries_enter_by_their_door(path: Path) -> None:
    """A library that has a door is imported there alone, so that its errors and types are mapped once."""
    wrong = [
        module
        for node in ast.walk(tree(path))
        for module in imported(node)
        if room(path) not in DOORS.get(module.partition(".")[0], {room(path)})
    ]
    assert not wrong


@each_source()
def test_no_import_hides_in_a_function(path: Path) -> None:
    """What a file needs is seen at its top: no import stands inside a function, a class or a condition."""
    top = tree(path)
    hidden = [
        node.lineno for node in ast.walk(top) if isinstance(node, ast.Import | ast.ImportFrom) and node not in top.body
    ]
    assert not hidden, f"lines {hidden}"


@each_source()
def test_no_file_is_too_long_to_read(path: Path) -> None:
    """A file can be read in one go."""
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@each_source()
def test_init_files_are_empty_and_others_introduce_themselves(path: Path) -> None:
    """An `__init__.py` is empty, so that importing a room costs nothing; every other file says why it exists."""
    if path.name == "__init__.py":
        assert path.read_text() == ""
    else:
        assert ast.get_docstring(tree(path))


@each_source()
def test_every_task_has_an_explicit_name(path: Path) -> None:
    """A task's name is wire format: it never follows from where its function happens to stand."""
    for node in ast.walk(tree(path)):
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ():
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
            if name in {"task", "shared_task"}:
                keywords = {keyword.arg for keyword in getattr(decorator, "keywords", ())}
                assert "name" in keywords, f"line {decorator.lineno}: a task without name="


@each_source("migrations")
def test_migrations_stand_alone(path: Path) -> None:
    """A migration means the same for ever: it imports nothing of `app`, which changes."""
    modules = {module.partition(".")[0] for node in ast.walk(tree(path)) for module in imported(node)}
    assert "app" not in modules


def test_every_setting_is_documented() -> None:
    """Whoever runs Reverser finds each setting, with its default, in the reference."""
    page = (REFERENCE / "settings.md").read_text()
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| [^|]* \| `?([^|`]*?)`? \|", page, flags=re.MULTILINE))
    default = settings.Settings()
    declared = {
        settings.variable_of(one.name): getattr(default, one.name)
        for one in dataclasses.fields(settings.Settings)
        if "of_tests" not in one.metadata
    }
    assert set(documented) == set(declared)
    for variable, value in declared.items():
        if variable != "REVERSER_NODE":
            assert documented[variable] == shown(value), variable


def shown(value: object) -> str:
    """A default as the reference writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "(empty)"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of the console, with its full name, outermost first."""
    pending: list[tuple[str, click.Command]] = [("reverser", main.main)]
    while pending:
        path, command = pending.pop()
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            found = ((name, command.get_command(context, name)) for name in command.list_commands(context))
            pending += [(f"{path} {name}", child) for name, child in found if child]


def test_every_command_explains_itself() -> None:
    """`--help` explains each command and each of its options."""
    for path, command in commands():
        assert command.help, path
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{path} {parameter.opts}"


def test_every_command_is_documented() -> None:
    """The reference names each command of the console."""
    page = (REFERENCE / "cli.md").read_text()
    assert [path for path, _ in commands() if path not in page] == []


def test_every_table_is_documented() -> None:
    """People type SQL against our tables: the reference names each of them."""
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")
    page = (REFERENCE / "tables.md").read_text()
    tables = set(base.Base.metadata.tables)
    assert tables
    assert {name for name in tables if f"`{name}`" not in page} == set()


def test_tracked_files_name_no_foreign_place() -> None:
    """A clone works anywhere: no file names a package registry or a folder of one person's machine."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if str(path.relative_to(ROOT)) not in MAY_NAME_FOREIGN_PLACES
        for match in FOREIGN_PLACES.finditer(path.read_text(errors="replace"))
    ]
    assert not found


def test_requirements_are_pinned_with_hashes() -> None:
    """An installation is the same everywhere: each dependency we declare, and all of theirs, by version and hash."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    run = project["dependencies"] + extras["build"]
    declared = {"run.txt": run, "dev.txt": run + extras["dev"]}
    for file, dependencies in declared.items():
        blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements" / file).read_text())
        assert all(re.match(r"[a-z0-9.\-\[\]]+==", block) and "--hash=sha256:" in block for block in blocks)
        pinned = {re.split(r"==|\[", block)[0] for block in blocks}
        wanted = {re.split(r"[^A-Za-z0-9._-]", name)[0].lower() for name in dependencies}
        assert wanted - pinned == set()


def test_every_promise_is_held_on_both_api_servers() -> None:
    """Each promise of the design has a test that runs on the sandbox and on a real kube-apiserver."""
    command = [sys.executable, "-m", "tests.promises"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    held = {name for name, _test, servers in rows if set(servers.split(",")) >= {"sandbox", "kube"}}
    assert held == set(promises.promised())
