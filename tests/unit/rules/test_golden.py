"""What typical objects look like in Git, as files that a review shows: a change of the format is a change of them.

`golden/NAME.json` is an object, `golden/NAME.yaml` its file. After a change that is meant, write the files anew with
`.venv/bin/python -m tests.unit.rules.test_golden`, and read the difference as a person who gets it in a pull request.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from app.rules import rendering

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "yaml-and-paths.md"
OBJECTS = sorted((Path(__file__).parent / "golden").glob("*.json"))


def _file(path: Path) -> Path:
    return path.with_suffix(".yaml")


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.stem)
def test_typical_objects_look_as_they_did(path: Path) -> None:
    """The file of an object changes when the object does, and not with a new version of Reverser."""
    assert rendering.render(json.loads(path.read_text())).decode() == _file(path).read_bytes().decode()


def test_the_page_shows_what_is_written() -> None:
    """The example of the reference is a file as it is written, byte for byte."""
    shown = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]
    assert rendering.render(yaml.safe_load(shown)).decode() == shown


def _write_anew() -> None:
    for path in OBJECTS:
        _file(path).write_bytes(rendering.render(json.loads(path.read_text())))


if __name__ == "__main__":
    _write_anew()
