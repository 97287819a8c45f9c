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
    found, bad = read_each(names)
    if bad:
        raise bad[0]
    return found


def read_each(names: Sequence[str]) -> tuple[list[manifests.Manifest], list[errors.PermanentError]]:
    """As `read`, with what can be read and what cannot. Raises PermanentError where there is neither."""
    found: list[manifests.Manifest] = []
    bad: list[errors.PermanentError] = []
    for file in _files(names):
        for one in _read(file):
            if isinstance(one, errors.PermanentError):
                bad.append(one)
            else:
                found.append(one)
    if not found and not bad:
        raise errors.PermanentError(
            f"there is no object in {', '.join('standard input' if name == _STDIN else name for name in names)}"
        )
    return found, bad


def _files(names: Sequence[str]) -> Iterator[Path | None]:
    """Each file; None is standard input."""
    for name in names:
        path = Path(name)
        if name == _STDIN:
            yield None
        elif path.is_dir():
            yield from sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES)
        else:
            yield path


def _read(file: Path | None) -> Iterator[manifests.Manifest | errors.PermanentError]:
    source = "standard input" if file is None else str(file)
    try:
        text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        yield errors.PermanentError(f"{source} is no text in UTF-8")
    except OSError as error:
        yield errors.PermanentError(f"{source}: {error.strerror}")
    else:
        yield from manifests.read_each(text, source=source)
