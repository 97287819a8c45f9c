"""Bodies of requests, JSON, YAML or protobuf, as one JSON object; and documents as bodies of answers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import orjson
import yaml

from app.sandbox import problems, protobuf

JSON = "application/json"
YAML = "application/yaml"
# As the real server names them where it refuses another one.
_READ = (JSON, YAML, protobuf.MEDIA)
_SHOWN = 30
# Values that aliases may make of a short text: more than an object of the largest size has.
_EXPANDED = 400_000
# Where counting stops.
_ENDLESS = 2**63


class _Loader(yaml.CSafeLoader):
    """YAML as far as JSON has it: a date is a text."""


class _Grown(yaml.YAMLError):
    """A few aliases of aliases are more than any machine holds."""


_Loader.yaml_implicit_resolvers = {
    first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


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
        document = _construct(body)
        orjson.dumps(document)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(body, wanted=wanted, what=f"yaml parse error: {type(error).__name__}") from None
    return _object(document, body, wanted=wanted)


def _construct(body: bytes) -> Any:
    """The document of a YAML body. Raises YAMLError, also for one that names itself or grows too large by aliases."""
    loader = _Loader(body)
    try:
        root = loader.get_single_node()
        sizes: dict[int, int] = {}
        if root and _size(root, sizes) > max(_EXPANDED, len(sizes)):
            raise _Grown
        return loader.construct_document(root) if root else None
    finally:
        loader.dispose()


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many values a node is when each alias is what it names; linear in the text, as each is counted once."""
    if id(node) not in sizes:
        # Who comes back here while it is counted holds itself.
        sizes[id(node)] = _ENDLESS
        below = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = itertools.chain.from_iterable(below) if isinstance(node, yaml.MappingNode) else below
        sizes[id(node)] = min(_ENDLESS, 1 + sum(_size(one, sizes) for one in inner))
    return sizes[id(node)]


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
