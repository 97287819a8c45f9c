"""Which promise of docs/design.md is held by which test, on which API server: `python -m tests.promises` prints it.

A test says so itself, with `@pytest.mark.promise("P3")`. `tests/test_house.py` fails for a promise that no test holds
on both API servers. Folders that run the whole product, or the daemon, are looked at; its parts have more tests.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("tests/system", "tests/watch")

# Promise -> test -> the API servers that it runs on.
Held = Mapping[str, Mapping[str, set[str]]]


class Collector:
    """A plugin of pytest that reads the markers of what was collected."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note each promise with the test and its server."""
        for item in session.items:
            server = getattr(item, "callspec", None) and item.callspec.params.get("server")
            test = item.nodeid.split("[")[0]
            for mark in item.iter_markers("promise"):
                for name in mark.args:
                    self.held[name][test].add(server or "none")


def promised() -> list[str]:
    """The names of all promises, in order."""
    page = (ROOT / "docs" / "design.md").read_text()
    return re.findall(r"^(P\d+) ", page, flags=re.MULTILINE)


def main() -> int:
    """Print a line for each promise and test: promise, test, servers, with tabs between."""
    collector = Collector()
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main(["--collect-only", "-q", *FOLDERS], plugins=[collector])
    for name in sorted(collector.held, key=lambda name: int(name[1:])):
        for test, servers in collector.held[name].items():
            print(name, test, ",".join(sorted(servers)), sep="\t")  # noqa: T201 - a program's output
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
