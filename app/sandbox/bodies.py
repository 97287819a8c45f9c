"""Bodies of requests, JSON, YAML or protobuf, as one JSON object; and documents as bodies of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import yaml

from app.kube import documents
from app.sandbox import problems, protobuf

JSON = "application/json"
YAML = "application/yaml"
# As the real server names them where it refuses another one.
_READ = (JSON, YAML, protobuf.MEDIA)
_SHOWN = 30


def decode(body: bytes, *, content_type: str, wanted: str) -> dict[str, Any]:
    """The object in a body; `wanted` is the kind that it should be. Raises Refused (400, 415)."""
    match content_type:
        case "" | "*/*" | "application/json":
            return from_json(body, wanted=wanted)
        case "application/yaml":
            return from_yaml(body, wanted=wanted)
        case protobuf.MEDIA:
            return protobuf.decode(body, wanted=wanted)
    raise problems.unsupported_media_type(_READ)


def from_json(body: bytes, *, wanted: str) -> dict[str, Any]:
    """The object in a JSON body. Raises Refused (400)."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        found = "unexpected end of JSON input" if _is_cut(error, body) else str(error)
        raise _unreadable(body, wanted=wanted, what=f"json parse error: {found}") from None
    return _object(document, body, wanted=wanted)


def from_yaml(body: bytes, *, wanted: str) -> dict[str, Any]:
    """The object in a YAML body, which may be JSON. Raises Refused (400)."""
    try:
        # The first of them, as the real server does.
        document = next((one for one, _ in documents.read(body)), None)
        orjson.dumps(document)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(body, wanted=wanted, what=f"yaml parse error: {type(error).__name__}") from None
    return _object(document, body, wanted=wanted)


def duplicates(body: bytes, *, content_type: str) -> list[str]:
    """The paths of keys that stand twice in a JSON object of a body that was decoded; the last of them counts."""
    if content_type in {YAML, protobuf.MEDIA}:
        return []
    return list(_repeated(json.loads(body, object_pairs_hook=_Pairs), ""))


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, with each of its keys."""


def _repeated(found: Any, path: str) -> Iterator[str]:
    if isinstance(found, _Pairs):
        names = [name for name, _ in found]
        for index, (name, value) in enumerate(found):
            below = f"{path}.{name}" if path else name
            if name in names[:index]:
                yield below
            yield from _repeated(value, below)
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from _repeated(value, f"{path}[{index}]")


def encode(document: Any, media: str) -> bytes:
    """A document as the body of an answer, with a line break at its end as the real server writes it."""
    if media == YAML:
        return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=True, allow_unicode=True).encode()
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _object(document: Any, body: bytes, *, wanted: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _unreadable(body, wanted=wanted, what="json parse error: json: cannot unmarshal into an object")
    return document


def _is_cut(error: orjson.JSONDecodeError, body: bytes) -> bool:
    return error.pos >= len(body.rstrip())


def _unreadable(body: bytes, *, wanted: str, what: str) -> problems.Refused:
    start = body[:_SHOWN].decode(errors="replace")
    shown = "<empty>" if not body else f"{start} ..." if len(body) > _SHOWN else start
    return problems.bad_request(
        f"the object provided is unrecognized (must be of type {wanted}): couldn't get version/kind; {what} ({shown})"
    )
