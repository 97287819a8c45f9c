"""The two lock files against the code: what runs is held to what `make up` installs, which is less than is here."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Imports a module where the packages of the tests and the checks are not there.
WITHOUT = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

ABSENT = set(sys.argv[1].split())
sys.meta_path.insert(0, Absent())
for name in sys.argv[2:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}.") if name == "app" else ():
        importlib.import_module(module.name)
"""


def pinned(name: str) -> set[str]:
    """The packages of a lock file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return set(re.findall(r"^([a-z0-9.-]+)(?:\[[^]]*\])?==", text, flags=re.MULTILINE))


def tools() -> set[str]:
    """The modules that only the dev set brings."""
    own = pinned("dev") - pinned("run")
    packages = metadata.packages_distributions()
    return {module for module, owners in packages.items() if {normal(owner) for owner in owners} <= own}


def normal(name: str) -> str:
    """A package's name as a lock file spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    "names",
    [
        ["app"],
        # Loaded by their names: the transports of both brokers, and what the worker and Flower start with.
        ["kombu.transport.redis", "kombu.transport.pyamqp", "celery.bin.worker", "celery.concurrency.prefork"],
        ["flower.command", "flower.urls", "uvicorn.protocols.http.httptools_impl", "psycopg"],
    ],
    ids=lambda names: names[0],
)
def test_what_runs_needs_no_tool(names: list[str]) -> None:
    """Everything that `make up` starts works with what it installs: no module needs a package of the dev set alone."""
    absent = tools()
    assert {"pytest", "hypothesis", "mypy"} <= absent
    command = [sys.executable, "-c", WITHOUT, " ".join(absent), *names]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
