"""The objects in files and on standard input, for the commands that take `-f`: `apply`, `delete` and `render`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from app import errors
from app.kube import manifests

_SUFFIXES = {".yaml", ".yml", ".json"}
_STDIN = "-"


def read(names: Sequence[str]) -> list[manifests.Manifest]:
    """All objects of all files, folders and, for `-`, of standard input.

    Raises PermanentError for one that cannot be read, and where there is none at all: nothing was done then.
    """
    found = [one for text, source in _texts(names) for one in manifests.read(text, source=source)]
    if not found:
        raise errors.PermanentError(
            f"there is no object in {', '.join('standard input' if name == _STDIN else name for name in names)}"
        )
    return found


def _texts(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name == _STDIN:
            yield sys.stdin.read(), "standard input"
            continue
        path = Path(name)
        files = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES) if path.is_dir() else [path]
        for file in files:
            try:
                yield file.read_text(encoding="utf-8"), str(file)
            except UnicodeDecodeError as error:
                raise errors.PermanentError(f"{file} is no text in UTF-8") from error
