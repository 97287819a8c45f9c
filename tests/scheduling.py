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
_ON_KUBE = re.compile(r"\[(?:.*-)?(kube(?:-redis)?)(?:-.*)?\]$")


class ByFileAndServer(LoadFileScheduling):  # type: ignore[misc]
    """Hands out the tests of one file and one API server as one piece."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return f"{file} on {_lane(nodeid)}" if on_kube(nodeid) else file


def rank(path: Path, nodeid: str) -> tuple[str, int]:
    """Where a test stands in the order; the path of its file begins at the root of the repository."""
    folder = path.parts[1]
    # One lane after the other: an installation of a whole session is not exchanged for another with each file.
    return _lane(nodeid), FIRST.index(folder) if folder in FIRST else len(FIRST)


def on_kube(nodeid: str) -> bool:
    """Whether a test runs on a real API server."""
    return _lane(nodeid) != ""


def _lane(nodeid: str) -> str:
    found = _ON_KUBE.search(nodeid)
    return found[1] if found else ""
