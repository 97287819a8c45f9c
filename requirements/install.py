"""Puts what `make` needs into .venv, and says what is wrong where that fails: `install.py run`, `dev` or `mutation`.

`run` is what Reverser needs to run; `dev` is that and what the tests and the checks need; `mutation` is that and what
changes the code to see whether the tests notice. A note in .venv says what is there, for which Python and in which
folder, so that a changed lock file, another Python and a moved checkout are seen.
Standard library only, and nothing of `app`: it runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NOTE = VENV / "installed.json"
LOCKS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("run", "dev", "mutation")}
# What each takes on the disk with Python 3.11 when it is used, in MB.
SIZES = {"run": 270, "dev": 450, "mutation": 480}
# Obeys pip's settings, but nobody's PYTHONPATH; a pip that asks for a password would wait for ever behind a pipe.
PIP = (str(PYTHON), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input")
# The lock file names the packages of packages too. Python compiles the modules that are used when they are, which are
# few: compiling all of them would be a third of the time and of the disk. Where it may not keep what it compiled
# (PYTHONDONTWRITEBYTECODE, as in many container images), each process would take a second longer.
COMPILE = "--compile" if sys.dont_write_bytecode else "--no-compile"
INSTALL = ("install", "--no-deps", COMPILE, "--progress-bar=off")

# A program inside .venv that makes it anew has to be one that outlives it. Python's own `venv` asks the same name.
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)

NO_VENV = f"""{BASE_PYTHON} has no `venv`.
Install it (on Debian and Ubuntu: apt-get install python3-venv), then make again."""

NO_REGISTRY = """the package registry did not answer, or does not have these packages.
Behind a proxy, `export HTTPS_PROXY=http://HOST:PORT`; with a mirror, `export PIP_INDEX_URL=https://HOST/simple`; where
a certificate is not trusted, `export PIP_CERT=FILE`. Then make again: what was done stays."""

NO_WHEEL = """a package has no ready-made build for this machine, and could not be built from source.
Ready-made ones exist for Linux (glibc) and macOS, x86-64 and ARM, and Python 3.11 to 3.13."""

WRONG_HASH = """a package is not the one that is pinned here: its hash differs.
Something between this machine and the registry gives out other files: a mirror, or a proxy that changes them."""

NOT_OURS = "you may not write {place}: was it made by another user? Give it back with chown, or use another clone."

# What pip says where it fails, in the order in which to look: a full disk also breaks downloads.
FULL_DISK = re.compile(r"No space left|Errno 28|Disk quota")
CAUSES = (
    (re.compile(r"ensurepip is\s+not\s+available|No module named .?(venv|ensurepip)"), NO_VENV),
    (re.compile(r"DO NOT MATCH THE HASHES"), WRONG_HASH),
    (re.compile(r"Failed building|subprocess-exited-with-error|metadata-generation-failed"), NO_WHEEL),
    (
        re.compile(r"No matching distribution|Retrying|retries|timed out|Connection|HTTP error|SSLError|URL"),
        NO_REGISTRY,
    ),
)
# What leaves no room for a program to say that there is none, in bytes.
NO_ROOM = 30_000_000
# What pip says while all goes well, and before its last try; the rest is worth reading when something does not.
PROGRESS = re.compile(
    r"\s*(WARNING: Retrying \(Retry\(total=[1-9]|Collecting|Downloading|Using cached|Ignoring|Installing|Looking in"
    r"|Requirement already|Obtaining|Preparing|Checking|Building|Created|Stored|Attempting|Found|Uninstalling"
    r"|Successfully|Getting|-?$)"
)
WORTH_READING = 12


class InstallError(Exception):
    """The packages cannot be installed; the text says why and what to do."""


def main(name: str) -> int:
    """Install one of the sets unless it is there. The exit code is for make."""
    try:
        with one_at_a_time():
            if not is_installed(name):
                install(name)
    except InstallError as problem:
        return fail(str(problem))
    except OSError as error:
        return fail(f"{error.filename or VENV}: {error.strerror}.")
    except KeyboardInterrupt:
        return fail("stopped; the next make goes on with it.")
    return 0


def fail(why: str) -> int:
    """Say why nothing can run, as the last words."""
    print(f"\nCannot install what Reverser needs: {why}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for another make that installs here: two pips in one folder break each other."""
    # An open file that exists always; where the file system has no locks, nobody waits.
    with LOCKS["run"].open("rb") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_installed(name: str) -> bool:
    """Whether .venv holds this set as the lock file says, for this Python and in this folder."""
    return PYTHON.exists() and read_note()["sets"].get(name) == digest(name) and why_unusable() is None


def install(name: str) -> None:
    """Make .venv where there is none that can be used, and let pip fill it. Raises InstallError."""
    print(f"Installing into .venv, for Python {sys.version.split()[0]}: {SIZES[name]} MB on the disk ...", flush=True)
    make_place()
    pip("--require-hashes", "--requirement", str(LOCKS[name]))
    pip("--no-build-isolation", "--editable", str(ROOT))
    # A larger set holds the smaller ones, at the same versions.
    names = list(LOCKS)
    write_note({one: digest(one) for one in names[: names.index(name) + 1]})


def make_place() -> None:
    """Keep a .venv that can be used; make one where there is none that can. Raises InstallError."""
    place = VENV if VENV.exists() else ROOT
    if not os.access(place, os.W_OK):
        raise InstallError(NOT_OURS.format(place=place))
    if VENV.is_symlink() or VENV.exists():
        why = why_unusable()
        if why is None:
            return
        print(f"{why}: making it anew.", flush=True)
        remove_venv()
    make_venv()
    write_note({})


def why_unusable() -> str | None:
    """Why the .venv that is there cannot be used; None when it can. One without a note is taken if its pip works."""
    if not PYTHON.exists():
        return ".venv lost its Python"
    if not NOTE.exists():
        ran = subprocess.run([*PIP, "--version"], capture_output=True, check=False)
        return ".venv has no pip that works" if ran.returncode else None
    note = read_note()
    if note["python"] != python_kind():
        return f".venv belongs to {note['python']}, and this is {python_kind()}"
    # The commands in .venv/bin, and the way from there to the code, are absolute paths.
    return None if note["folder"] == str(ROOT) else f".venv was made in {note['folder']}, and this is {ROOT}"


def python_kind() -> str:
    """What compiled packages depend on: `cpython-311 on linux-x86_64`."""
    return f"{sys.implementation.cache_tag} on {sysconfig.get_platform()}"


def remove_venv() -> None:
    """Remove .venv, if it is one."""
    if VENV.is_symlink():
        VENV.unlink()
    elif (VENV / "pyvenv.cfg").exists():
        shutil.rmtree(VENV)
    else:
        raise InstallError(f"{VENV} is no virtual environment: move it away, then make again.")


def make_venv() -> None:
    """Make an empty .venv with pip. Raises InstallError."""
    made = subprocess.run([BASE_PYTHON, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode:
        # Before the room is looked at again.
        why = explain(made.stdout + made.stderr)
        shutil.rmtree(VENV, ignore_errors=True)
        raise InstallError(why)


def pip(*words: str) -> None:
    """Let pip install, with one line at a terminal that says how far it is. Raises InstallError."""
    command = [*PIP, *INSTALL, *words]
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT
    ) as running:
        for line in running.stdout or ():
            lines.append(line.rstrip())
            show(line)
    show("")
    if running.returncode:
        raise InstallError(explain("\n".join(line for line in lines if not PROGRESS.match(line))))


def show(line: str) -> None:
    """Write over the line at the terminal what pip is at; nothing where nobody looks."""
    if not sys.stdout.isatty():
        return
    words = line.split()
    if line.startswith("Collecting"):
        text = f"Fetching {words[1]}"
    elif line.startswith("Installing"):
        text = f"Unpacking {len(words) - 3} packages"
    elif "Retrying" in line:
        text = "The registry does not answer; trying again"
    elif words:
        return
    else:
        text = ""
    print(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)


def explain(said: str) -> str:
    """Why pip or venv failed, and what to do; first, its own last words."""
    print("\n".join(said.splitlines()[-WORTH_READING:]), file=sys.stderr)
    free = {place: shutil.disk_usage(place).free for place in (str(ROOT), tempfile.gettempdir())}
    if FULL_DISK.search(said) or min(free.values()) < NO_ROOM:
        places = ", ".join(f"{amount // 1_000_000} MB in {place}" for place, amount in free.items())
        return f"the disk is full.\nFree are {places}. Make room for {SIZES['dev']} MB, then make again."
    return next((cause for sign, cause in CAUSES if sign.search(said)), "the reason stands above.")


def digest(name: str) -> str:
    """What this set is made from, as a short name."""
    return sha256(LOCKS[name].read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()


def read_note() -> dict[str, Any]:
    """What is noted about .venv; a note that cannot be read is none."""
    try:
        return dict(json.loads(NOTE.read_text()))
    except (OSError, ValueError):
        return {"folder": "a place that is not known", "python": "a Python that is not known", "sets": {}}


def write_note(sets: dict[str, str]) -> None:
    """Note what .venv is and holds; all of it or nothing."""
    note = {"folder": str(ROOT), "python": python_kind(), "sets": sets}
    half = NOTE.with_suffix(".half")
    half.write_text(json.dumps(note, indent=2) + "\n")
    half.replace(NOTE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
