"""`make mutate`: changes the code that selects and sanitises, one place at a time, and sees whether a test fails.

    make mutate                              all modules of `[tool.mutmut]` in pyproject.toml
    make mutate ARGS='app.rules.labels*'     only mutants whose name fits

mutmut writes what it changes into its working folder, so it works on a copy in build/mutation. What survives is printed
with its difference and listed in build/mutation.txt; docs/reference/mutations.md says why each of those may.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "build" / "mutation"
REPORT = ROOT / "build" / "mutation.txt"
MUTMUT = (sys.executable, "-m", "mutmut")
# A mutant that runs into the time limit was noticed: its tests hang where the code as it is does not.
NOTICED = {"killed", "timeout", "caught by type check", "segfault", "suspicious"}


def main(wanted: list[str]) -> int:
    """Run and report; 0 however many survive, because a person has to look at each."""
    copy()
    subprocess.run([*MUTMUT, "run", *wanted], cwd=COPY, check=True)
    found = results()
    counts = Counter(found.values())
    noticed = sum(count for state, count in counts.items() if state in NOTICED)
    survivors = [name for name, state in found.items() if state not in NOTICED]
    lines = [f"{noticed} of {len(found)} mutants noticed, {noticed / len(found):.1%}: {dict(counts)}"]
    lines += [difference(name) for name in survivors]
    REPORT.write_text("\n\n".join(lines) + "\n")
    print("\n" + REPORT.read_text())
    return 0


def copy() -> None:
    """Copy what is tracked and what is new, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    shutil.rmtree(COPY, ignore_errors=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def results() -> dict[str, str]:
    """What became of each mutant that ran, by name."""
    pairs = (line.strip().rpartition(": ") for line in answer("results", "--all", "true").splitlines() if ": " in line)
    return {name: state for name, _, state in pairs if state != "not checked"}


def difference(name: str) -> str:
    """What a mutant changed."""
    return f"{name}\n{answer('show', name).strip()}"


def answer(*words: str) -> str:
    """What mutmut prints."""
    return subprocess.run([*MUTMUT, *words], cwd=COPY, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
