"""`python -m tests.roundtrip`: make the round trip of every type on a real API server, print its page, and write it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.roundtrip import page
from tests.roundtrip.travelling import Travelling, serve


def main() -> None:
    """Print the page of types, and put it into the reference."""
    with tempfile.TemporaryDirectory(prefix="reverser-roundtrip-") as name:
        folder = Path(name)
        with serve("kube", folder / "server") as server, Travelling(server, folder) as travelling:
            text = page.of(travelling)
    page.PATH.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
