"""What a run leaves behind: a file under `build/`, which says when, of which commit and by which command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"


def origin(module: str) -> dict[str, str]:
    """Date, commit and command of this run of a module."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip(),
        "command": " ".join([f"python -m {module}", *sys.argv[1:]]),
    }


def write(name: str, document: Mapping[str, Any]) -> None:
    """Write a result as JSON, in place of the one before."""
    BUILD.mkdir(exist_ok=True)
    (BUILD / f"{name}.json").write_text(json.dumps(document, indent=1))
