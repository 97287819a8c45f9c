"""`make mutate`: changes the code that selects and sanitises, one place at a time, and sees whether a test fails.

    make mutate                              all modules of `[tool.mutmut]` in pyproject.toml
    make mutate ARGS='app.rules.labels*'     only mutants whose name fits

mutmut writes what it changes into its working folder, so it works on a copy in build/mutation. What survives is printed
with its difference and listed in build/mutation.txt. docs/reference/mutations.md says of each place how many may, and
why; survivors that it does not expect are named at the end.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "build" / "mutation"
REPORT = ROOT / "build" / "mutation.txt"
PAGE = ROOT / "docs" / "reference" / "mutations.md"
TESTS = "tests/unit/rules"
MUTMUT = (sys.executable, "-m", "mutmut")
ALONE = "killed in a process of its own"
NOTICED = {"killed", ALONE}
# mutmut's own limit tells little on a busy machine; what runs into this one hangs where the code as it is does not.
LONGEST_SECONDS = 300


def main(wanted: list[str]) -> int:
    """Run and report; 0 however many survive, because a person has to look at each."""
    copy(COPY)
    subprocess.run([*MUTMUT, "run", *wanted], cwd=COPY, check=True)
    found = results()
    found |= dict.fromkeys(noticed_alone([name for name in found if found[name] not in NOTICED]), ALONE)
    survivors = [name for name, state in found.items() if state not in NOTICED]
    parts = ["\n".join(scores(found)), *map(difference, survivors), "\n".join(unexplained(survivors))]
    REPORT.write_text("\n\n".join(parts).rstrip() + "\n")
    print("\n" + REPORT.read_text())
    return 0


def copy(into: Path) -> None:
    """Copy what is tracked and what is new, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    shutil.rmtree(into, ignore_errors=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)


def results() -> dict[str, str]:
    """What became of each mutant that ran, by name."""
    pairs = (line.strip().rpartition(": ") for line in answer("results", "--all", "true").splitlines() if ": " in line)
    return {name: state for name, _, state in pairs if state != "not checked"}


def noticed_alone(names: list[str]) -> list[str]:
    """The mutants that fail the tests in a process of their own.

    mutmut forks when all modules are imported, so that what runs at import, such as the making of a table, is never
    changed in its processes.
    """
    assert passes(""), "the tests fail without any change"
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [name for name, passed in zip(names, pool.map(passes, names), strict=True) if not passed]


def passes(name: str) -> bool:
    """Whether the tests pass with a mutant; those of its own module come first."""
    own = [f"{TESTS}/test_{name.split('.')[2]}.py"] if name else []
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "--hypothesis-profile=mutation", *own, TESTS]
    env = {**os.environ, "MUTANT_UNDER_TEST": name}
    try:
        subprocess.run(command, cwd=COPY / "mutants", env=env, capture_output=True, check=True, timeout=LONGEST_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def scores(found: dict[str, str]) -> list[str]:
    """The part of the mutants that was noticed: of all, and of each module, as the page has them."""
    every = Counter(name.split(".")[2] for name in found)
    noticed = Counter(name.split(".")[2] for name, state in found.items() if state in NOTICED)
    rows = [
        f"| {module} | {every[module]} | {noticed[module]} | {noticed[module] / every[module]:.1%} |"
        for module in every
    ]
    total = f"{noticed.total()} of {every.total()} mutants noticed, {noticed.total() / every.total():.1%}"
    return [f"{total}: {dict(Counter(found.values()))}", *rows]


def unexplained(survivors: list[str]) -> list[str]:
    """The places with another number of survivors than the page gives a reason for."""
    page = PAGE.read_text()
    places = Counter(map(place, survivors)).items()
    return [f"{PAGE.name} does not explain: {at} {n}" for at, n in places if f"| `{at}` | {n} |" not in page]


def place(name: str) -> str:
    """`module.function` or `module.Class.method` of a mutant."""
    module, _, mangled = name.removeprefix("app.rules.").partition(".")
    function = mangled.rpartition("__mutmut_")[0]
    return f"{module}.{function.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"


def difference(name: str) -> str:
    """What a mutant changed."""
    return f"{name}\n{answer('show', name).strip()}"


def answer(*words: str) -> str:
    """What mutmut prints."""
    return subprocess.run([*MUTMUT, *words], cwd=COPY, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
