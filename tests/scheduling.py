"""Which of several test processes runs what: a file stays together, once for each API server it runs on.

Module fixtures are made once so, and a session's API server is not exchanged back and forth within a file. Files go out
in the order of collection, which `tests/conftest.py` begins with those that take longest.
"""

from __future__ import annotations

import re
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

# The folders whose files take long, in the order of their starts; what is not named comes after them.
FIRST = ("system", "roundtrip", "worker", "cli", "watch", "drain")
_ON_KUBE = re.compile(r"\[(?:.*-)?kube(?:-.*)?\]$")


class ByFileAndServer(LoadFileScheduling):  # type: ignore[misc]
    """Hands out the tests of one file and one API server as one piece."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return f"{file} on kube" if on_kube(nodeid) else file


def rank(path: Path, nodeid: str) -> tuple[bool, int]:
    """Where a test stands in the order; the path of its file begins at the root of the repository."""
    folder = path.parts[1]
    return on_kube(nodeid), FIRST.index(folder) if folder in FIRST else len(FIRST)


def untraced(nodeid: str) -> bool:
    """Whether coverage leaves a test out, and the processes that it starts."""
    return on_kube(nodeid) or nodeid.startswith("tests/system/")


def on_kube(nodeid: str) -> bool:
    """Whether a test runs on a real API server."""
    return _ON_KUBE.search(nodeid) is not None
