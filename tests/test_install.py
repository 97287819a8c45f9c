"""What `make` does before everything else: Makefile and requirements/install.py, in a small checkout of their own.

Its packages are two wheels made here, so nothing is fetched; the makes, the environments and the pips are real.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
INSTALLING = "Installing into .venv"
FIRST_WORDS = "Cannot install what Reverser needs: "

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "reverser"
version = "0"
"""

# Builds what setuptools builds of an editable project: a way to the code, and a command. This one says where it stands.
BACKEND = """
import pathlib, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "reverser-0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("reverser.pth", str(pathlib.Path.cwd()))
        wheel.writestr("reverser-0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: reverser\\nVersion: 0\\n")
        wheel.writestr("reverser-0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
        wheel.writestr("reverser-0.dist-info/entry_points.txt", "[console_scripts]\\nreverser = where:main\\n")
        wheel.writestr("reverser-0.dist-info/RECORD", "")
    return name
"""
CODE = """
import importlib.util, pathlib, sys

def main():
    tools = importlib.util.find_spec("devtool") is not None
    print(f"reverser of {pathlib.Path(__file__).parent}, Python {sys.executable}, tools {tools}")
"""


class Checkout:
    """A clone with nothing in it but what installs."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.wheels = wheels

    def make(self, target: str = "up", **environment: str) -> str:
        """What make says; it ends well."""
        ended = self.run(target, **environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def run(self, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "PYTHON"))}
        told = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PATH": self.path()} | environment
        return subprocess.run(
            ["make", *target.split()], cwd=self.folder, env=ours | told, capture_output=True, text=True, check=False
        )

    def path(self) -> str:
        """A PATH on which `python3` is the one that runs this test, outside of any environment."""
        programs = self.wheels / "bin"
        programs.mkdir(exist_ok=True)
        if not (programs / "python3").exists():
            (programs / "python3").symlink_to(Path(sys.base_prefix, "bin", "python3").resolve())
        return f"{programs}{os.pathsep}{os.environ['PATH']}"

    def needs(self, name: str, *packages: str) -> None:
        """Write a lock file."""
        lines = [f"{package}==1 --hash=sha256:{self.hash_of(package)}\n" for package in packages]
        (self.folder / "requirements" / f"{name}.txt").write_text("".join(lines))

    def hash_of(self, package: str) -> str:
        wheel = self.wheels / f"{package}-1-py3-none-any.whl"
        return sha256(wheel.read_bytes()).hexdigest() if wheel.exists() else "0" * 64


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry: a folder with the package of the run set, the one that only the dev set holds, and another one."""
    folder = tmp_path_factory.mktemp("wheels")
    for package in ("runtool", "devtool", "othertool"):
        with zipfile.ZipFile(folder / f"{package}-1-py3-none-any.whl", "w") as wheel:
            about = f"{package}-1.dist-info"
            wheel.writestr(f"{package}.py", "")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
    return folder


def new_checkout(folder: Path, wheels: Path) -> Checkout:
    """A checkout in which nothing is installed."""
    (folder / "requirements").mkdir(parents=True)
    for name in ("Makefile", "requirements/install.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "where.py").write_text(CODE)
    one = Checkout(folder, wheels)
    one.needs("run", "runtool")
    one.needs("dev", "runtool", "devtool")
    return one


@pytest.fixture
def checkout(tmp_path: Path, wheels: Path) -> Checkout:
    """A fresh clone, in a folder with a space in its name."""
    return new_checkout(tmp_path / "a clone", wheels)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Checkout:
    """A clone in which `make up` was run; making an environment takes seconds, so tests share it."""
    one = new_checkout(tmp_path_factory.mktemp("filled") / "a clone", wheels)
    assert INSTALLING in one.make()
    return one


@pytest.fixture
def pulled(filled: Checkout) -> Iterator[Checkout]:
    """The same after a pull that brought a package that is not installed."""
    filled.needs("run", "runtool", "othertool")
    yield filled
    filled.needs("run", "runtool")


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    """The module of the installer."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "requirements" / "install.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_target_installs_what_it_needs_once(filled: Checkout) -> None:
    """`make up` installs what runs, without the tools of the tests; what is installed is not installed again."""
    assert INSTALLING not in (again := filled.make())
    assert f"reverser of {filled.folder}" in again
    assert "tools False" in again
    assert INSTALLING in filled.make("dev-packages")
    assert INSTALLING not in (with_tools := filled.make())
    assert "tools True" in with_tools


def test_a_lock_file_that_changed_is_installed(filled: Checkout) -> None:
    """After a pull that changed what is pinned, the next make installs it."""
    with (filled.folder / "requirements" / "run.txt").open("a") as lock:
        lock.write("# one line more\n")
    assert INSTALLING in filled.make("run-packages")


def test_a_moved_checkout_is_installed_anew(filled: Checkout, tmp_path: Path) -> None:
    """A checkout that was moved runs its own code, not what stands where it was."""
    shutil.copytree(filled.folder, tmp_path / "moved", symlinks=True)
    moved = Checkout(tmp_path / "moved", filled.wheels)
    said = moved.make()
    assert f".venv was made in {filled.folder}" in said
    assert f"reverser of {moved.folder}, Python {moved.folder}" in said


@pytest.mark.parametrize("loss", ["another version", "its Python is gone", "it has no pip"])
def test_an_environment_that_cannot_be_used_is_replaced(checkout: Checkout, loss: str) -> None:
    """A .venv that is another Python's, or broken, is made anew, and make says why."""
    venv = checkout.folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    note = {"folder": str(checkout.folder), "python": "cpython-310 on linux-x86_64", "sets": {}}
    if loss == "another version":
        (venv / "installed.json").write_text(json.dumps(note))
    if loss == "its Python is gone":
        (venv / "bin" / "python").unlink()
        (venv / "bin" / "python").symlink_to("/usr/bin/no-such-python")
    said = checkout.make()
    reasons = {"another version": "belongs to cpython-310", "its Python is gone": "lost its Python"}
    assert reasons.get(loss, "has no pip that works") in said
    assert f"Python {venv}" in said


def test_what_is_no_environment_of_ours_stays(checkout: Checkout) -> None:
    """A folder .venv that holds something else is not removed."""
    (checkout.folder / ".venv").mkdir()
    (checkout.folder / ".venv" / "thesis.txt").write_text("years")
    assert "is no virtual environment: move it away" in checkout.run("up").stderr
    assert (checkout.folder / ".venv" / "thesis.txt").read_text() == "years"


def test_a_registry_that_is_away_is_said_last(pulled: Checkout) -> None:
    """After the words of pip, ours say what to set."""
    away = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    ended = pulled.run("up", **away)
    assert ended.returncode != 0
    assert f"{FIRST_WORDS}the package registry did not answer" in ended.stderr
    assert "PIP_INDEX_URL" in ended.stderr.partition(FIRST_WORDS)[2]


def test_a_package_that_was_exchanged_is_refused(pulled: Checkout) -> None:
    """A package whose hash is not the pinned one is not installed, and make does not go on without it."""
    (pulled.folder / "requirements" / "run.txt").write_text(f"othertool==1 --hash=sha256:{'0' * 64}\n")
    ended = pulled.run("up")
    assert f"{FIRST_WORDS}a package is not the one that is pinned" in ended.stderr
    assert "reverser of" not in ended.stdout


@pytest.mark.parametrize("version", ["Python 3.10.14", "Python 3.14.0"])
def test_a_python_that_does_not_fit_is_named(checkout: Checkout, tmp_path: Path, version: str) -> None:
    """Where no Python fits, the one that is there is named with its version, and the way to name another."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        (programs / name).write_text(f'#!/bin/sh\n[ "$1" = -V ] && echo {version}\n')
        (programs / name).chmod(0o755)
    ended = checkout.run("up", PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert ended.returncode != 0
    assert f"needs Python 3.11 to 3.13, and python3 is {version}" in ended.stderr
    assert "make PYTHON=" in ended.stderr


def test_a_python_that_fits_is_found(checkout: Checkout, tmp_path: Path) -> None:
    """Where `python3` is too old and another name is a Python that fits, that one is taken."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("python3", "python3.13"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    (programs / "python3.12").symlink_to(Path(sys.base_prefix, "bin", "python3").resolve())
    (checkout.folder / "requirements" / "install.py").write_text("import sys\nprint(sys.executable, sys.argv[1])")
    told = checkout.make("run-packages", PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert told == f"{programs / 'python3.12'} run\n"


def test_a_python_that_is_missing_is_said(checkout: Checkout) -> None:
    """A Python that was named and is not there is said to be missing."""
    assert "python3.99 is not on the PATH" in checkout.run("up PYTHON=python3.99").stderr


def test_a_python_without_venv_is_said(checkout: Checkout, tmp_path: Path) -> None:
    """Debian's python3 comes without venv: the package to install is named, and nothing half-made stays."""
    (tmp_path / "venv.py").write_text("raise ImportError('No module named ensurepip')")
    assert "apt-get install python3-venv" in checkout.run("up", PYTHONPATH=str(tmp_path)).stderr
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("OSError: [Errno 122] Disk quota exceeded", "the disk is full"),
        ("ERROR: Failed building wheel for httptools", "no ready-made build"),
        ("ERROR: Could not find a version that satisfies it\nERROR: No matching distribution found for x", "registry"),
        ("AssertionError", "stands above"),
    ],
)
def test_words_of_pip_are_explained(installer: ModuleType, words: str, cause: str) -> None:
    """What pip says about a failure becomes one sentence about what to do."""
    assert cause in installer.explain(words)
