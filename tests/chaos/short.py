"""`python -m tests.chaos.short`: fresh short histories, until one does not end well or so many did.

It prints how many there were, and what the last one complains of; 1 where one did not end well.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
from pathlib import Path

import hypothesis
import structlog
from hypothesis.stateful import run_state_machine_as_test

from app import db
from tests.chaos import miniature, test_machine
from tests.servers import processes


def main() -> int:
    """Play them, make none of them small."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.short", description=__doc__)
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(dir=processes.MEMORY) as folder:
        template = Path(folder, "template.db")
        db.upgrade(f"sqlite:///{template}")
        test_machine.Machine.beginning = miniature.Beginning(Path(folder), template)
        return _play(options.histories, options.seed)


def _play(histories: int, seed: int) -> int:
    played = changes = 0

    class Counted(test_machine.Machine):
        """Says how many there were."""

        def teardown(self) -> None:
            nonlocal played, changes
            played += 1
            changes += self.site.player.journal.changes
            super().teardown()

    settings = hypothesis.settings(
        max_examples=histories, stateful_step_count=test_machine.STEPS, deadline=None, database=None,
        phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck), print_blob=False,
    )  # fmt: skip
    complaint = ""
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Counted), settings=settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer.
        complaint = str(error).partition("\n")[0] or type(error).__name__
    print(f"seed {seed}: {played} histories, {changes} changes{', the last one: ' + complaint if complaint else ''}")
    return int(bool(complaint))


if __name__ == "__main__":
    raise SystemExit(main())
