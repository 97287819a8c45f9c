"""The readers that Python has: PyYAML for YAML 1.1, in C and in Python, and ruamel.yaml for YAML 1.2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ruamel.yaml
import yaml

from tests.readers.reading import Reader, Unreadable

ERRORS = (yaml.YAMLError, ruamel.yaml.YAMLError, UnicodeDecodeError, ValueError)


def _reader(load: Callable[[bytes], Any]) -> Reader:
    def read(files: Sequence[bytes]) -> list[Any]:
        return [_one(load, data) for data in files]

    return read


def _one(load: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return load(data)
    except ERRORS as error:
        return Unreadable(str(error))


# `pure`, because the C part of ruamel.yaml is libyaml once more, which knows YAML 1.1 only.
READERS: dict[str, Reader] = {
    "PyYAML in C": _reader(lambda data: yaml.load(data, Loader=yaml.CSafeLoader)),
    "PyYAML": _reader(lambda data: yaml.load(data, Loader=yaml.SafeLoader)),
    "ruamel.yaml": _reader(lambda data: ruamel.yaml.YAML(typ="safe", pure=True).load(data)),
}
