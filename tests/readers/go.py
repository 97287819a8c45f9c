"""yaml.v3, which most Go programs read YAML with: the program of the folder `yamlv3`, built once for a run.

Its modules come from Go's module cache, or from where Go downloads them; where neither has them, the tests are skipped.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import lanes
from tests.readers.reading import Unreadable

SOURCES = Path(__file__).parent / "yamlv3"
DEADLINE = 300.0


class YamlV3:
    """The built program."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "yamlv3"
        fetched = _go("mod", "download", "gopkg.in/yaml.v3")
        if fetched.returncode:
            pytest.skip(f"the Go modules of tests/readers/yamlv3 cannot be had here: {fetched.stderr.strip()}")
        built = _go("build", "-trimpath", "-o", str(self._program), ".")
        assert built.returncode == 0, built.stderr

    def __call__(self, files: Sequence[bytes]) -> list[Any]:
        """What it reads in each of these files."""
        asked = json.dumps([data.decode() for data in files])
        told = subprocess.run(
            [self._program], input=asked, capture_output=True, check=True, text=True, timeout=DEADLINE
        )
        answers = json.loads(told.stdout)
        return [Unreadable(answer["error"]) if "error" in answer else answer["value"] for answer in answers]

    @property
    def version(self) -> str:
        """Which yaml.v3 this is, and which Go built it."""
        listed = _go("list", "-m", "-f", "{{.Version}}", "gopkg.in/yaml.v3").stdout.strip()
        return f"{listed} ({_go('env', 'GOVERSION').stdout.strip()})"


def _go(*words: str) -> subprocess.CompletedProcess[str]:
    program = lanes.find_program("go") or lanes.leave_out("go")
    # The Go that is here, whatever its environment would download; and the cache of the person who runs the tests.
    environment = {**lanes.ENVIRONMENT, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    return subprocess.run(
        [program, *words], capture_output=True, check=False, text=True, timeout=DEADLINE, env=environment, cwd=SOURCES
    )
