"""`make remedies`: takes one remedy at a time out of the code, and sees whether the tests notice.

    make remedies                     each of them
    make remedies ARGS='trailers'     those whose name holds this

What a remedy is for happens in a crash or a race, so a test may be green without it. Each is taken out of a copy in
build/remedies; there the tests of the rooms run until three fail, and fresh short histories until one goes wrong. The
table that this prints stands in docs/reference/robustness.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass

import mutation

COPY = mutation.ROOT / "build" / "remedies"
TESTS = ["tests/git", "tests/models", "tests/drain", "tests/watch", "tests/chaos/test_told.py"]
FAILURES, HISTORIES = 3, 200


@dataclass(frozen=True)
class Remedy:
    """A piece of code, and what stands there without it; the piece is there once."""

    name: str
    path: str
    piece: str
    without: str


REMEDIES = (
    Remedy(
        "fencing of workers", "app/models/leases.py",
        "    if token != lease.token:", "    if token is None:",
    ),
    Remedy(
        "fencing of leaders", "app/models/leases.py",
        "    if token != lead.token:", "    if token is None:",
    ),
    Remedy(
        "read-back", "app/git/local.py",
        "        if tip is None or not self._contains(tip, commit):", "        if False:",
    ),
    Remedy(
        "cursor in the transaction of its Events", "app/watch/writing.py",
        '        failpoints.reach("before_events")\n',
        "        with self.database.write() as connection:\n            self._move_cursors(connection, batch)\n"
        '        failpoints.reach("before_events")\n',
    ),
    Remedy(
        "sweeper", "app/watch/ringing.py",
        "        rung = [one for one in waiting if one.due and self._watched[one.destination_id].ring_at <= now]",
        "        rung: list[states.Waiting] = []",
    ),
    Remedy(
        "trailers", "app/drain/pushing.py",
        "        if lease.state != leases.UNKNOWN:\n            found =", "        if False:\n            found =",
    ),
    Remedy(
        "a listing that broke off starts again", "app/watch/causing.py",
        "        if not listing.given:", "        if listing:",
    ),
    Remedy(
        "only complete scopes are swept", "app/drain/sweeping.py",
        "    return scope.outcome == seeds.COMPLETE and scope.listed == scope.written", "    return True",
    ),
    Remedy(
        "SEED_SYNC only when all rows are written", "app/watch/writing.py",
        "        if not seeds.ready(connection, run.id):", "        if False:",
    ),
    Remedy(
        "what lived while it was listed", "app/watch/batching.py",
        "        self.book.note(subject)\n", "",
    ),
    Remedy(
        "record of a predecessor", "app/drain/building.py",
        "                verdict = self._behind_predecessor(row, path, item) or verdict", "                pass",
    ),
    Remedy(
        "new epoch after a restore", "app/watch/causing.py",
        "            if lost is None:", "            if True:",
    ),
)  # fmt: skip


def main(wanted: str) -> int:
    """Run them, and print a row of the table for each; 1 where a remedy was not missed."""
    missed = True
    print("| without | tests that fail | short histories until one goes wrong |\n|---|---|---|")
    for remedy in REMEDIES:
        if wanted in remedy.name:
            tests, histories = noticed(remedy)
            missed &= bool(tests or histories)
            print(f"| {remedy.name} | {tests or 'none'} | {histories or f'none of {HISTORIES}'} |", flush=True)
    return int(not missed)


def noticed(remedy: Remedy) -> tuple[str, str]:
    """Which tests fail without a remedy, and which of the short histories is the first to; empty for none."""
    mutation.copy(COPY)
    file = COPY / remedy.path
    file.write_text(taken_out(remedy, file.read_text()))
    python = {**os.environ, "PYTHONPATH": str(COPY)}
    command = [sys.executable, "-m", "pytest", "-q", "-n2", "--lanes=", "-p", "no:cacheprovider", "-rf", "--no-header"]
    suite = subprocess.run(
        [*command, f"--maxfail={FAILURES}", *TESTS], cwd=COPY, env=python, capture_output=True, text=True, check=False
    )
    failed = sorted(set(re.findall(r"^FAILED \S+::(\w+)", suite.stdout, re.MULTILINE)))
    short = [sys.executable, "-m", "tests.chaos.short", "--histories", str(HISTORIES)]
    played = subprocess.run(short, cwd=COPY, env=python, capture_output=True, text=True, check=False)
    count = re.search(r"(\d+) histories", played.stdout)
    assert count is not None, played.stderr
    return ", ".join(f"`{name}`" for name in failed[:FAILURES]), count[1] if played.returncode else ""


def taken_out(remedy: Remedy, code: str) -> str:
    """The code without a remedy. Raises ValueError where it is not what it was when this was written."""
    if code.count(remedy.piece) != 1:
        raise ValueError(f"{remedy.path} has {code.count(remedy.piece)} times what makes {remedy.name!r}")
    return code.replace(remedy.piece, remedy.without)


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
