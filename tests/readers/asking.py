"""Asks a reader about everything that Hypothesis makes up, in long lists, and shows what it got wrong, made small.

Hypothesis itself asks about one example at a time, which is right for a function and far too slow for a program. So its
examples are collected here, and so is its shrinking: an object that reads back differently is made smaller for as long
as it still does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import hypothesis
from hypothesis.strategies import SearchStrategy

from app.rules import rendering
from tests.readers.reading import Reader

# How many files a program gets at a time; the last list takes what is left over, so that none is shorter.
LIST = 500
# While an object shrinks, most of those that are asked about differ, and kubectl stops at each.
SHORT_LIST = 8
KEEP = "To keep it as a regression case, add it to tests/unit/rules/cases/found.json."

Same = Callable[[Any, Any], bool]
Example = TypeVar("Example")


def ask(strategy: SearchStrategy[dict[str, Any]], reader: Reader, *, same: Same) -> None:
    """Fail with the smallest object that this reader reads differently, if any example of this run is one."""
    made_up = examples(strategy)
    while len(made_up) >= 2 * LIST:
        compare(made_up[:LIST], reader, same=same)
        del made_up[:LIST]
    compare(made_up, reader, same=same)


def compare(objects: Sequence[dict[str, Any]], reader: Reader, *, same: Same) -> None:
    """Fail with the first of these objects that reads back differently, made small."""
    different = _different(objects, reader, same)
    if different:
        _report(_shrunk(different[0], reader, same))


def examples(strategy: SearchStrategy[Example]) -> list[Example]:
    """As many examples as the profile of this run asks for; the test that wants them has the marker `hypothesis`."""
    collected: list[Example] = []

    @hypothesis.settings(database=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(strategy)
    def collect(example: Example) -> None:
        collected.append(example)

    collect()
    return collected


Difference = tuple[dict[str, Any], Any]


def _different(objects: Sequence[dict[str, Any]], reader: Reader, same: Same) -> list[Difference]:
    """The objects that did not come back, each with what came instead."""
    answers = reader([rendering.render(obj) for obj in objects])
    return [(obj, read) for obj, read in zip(objects, answers, strict=True) if not same(read, obj)]


def _shrunk(found: Difference, reader: Reader, same: Same) -> Difference:
    """The smallest that differs, of those that are reached by leaving out one thing at a time."""
    smaller: Difference | None = found
    while smaller:
        found = smaller
        candidates = sorted(_smaller_objects(found[0]), key=lambda obj: len(json.dumps(obj)))
        lists = (candidates[start : start + SHORT_LIST] for start in range(0, len(candidates), SHORT_LIST))
        smaller = next((different[0] for some in lists if (different := _different(some, reader, same))), None)
    return found


def _smaller_objects(obj: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Without what makes it an object, kubectl would refuse it for another reason."""
    kept = {key: obj[key] for key in ("apiVersion", "kind", "metadata") if key in obj}
    rest = {key: obj[key] for key in obj if key not in kept}
    return ({**smaller, **kept} for smaller in _smaller(rest) if isinstance(smaller, dict))


def _smaller(value: Any) -> Iterator[Any]:
    """Values with one thing less: a text without one of its halves or characters, a collection without an item."""
    if isinstance(value, str):
        middle = len(value) // 2
        halves = (value[:middle], value[middle:]) if middle > 1 else ()
        yield from (*halves, *(value[:index] + value[index + 1 :] for index in range(len(value))))
    elif isinstance(value, list):
        yield from value
        for index, item in enumerate(value):
            yield value[:index] + value[index + 1 :]
            yield from ([*value[:index], smaller, *value[index + 1 :]] for smaller in _smaller(item))
    elif isinstance(value, dict):
        yield from value.values()
        for key, item in value.items():
            rest = {other: value[other] for other in value if other != key}
            yield rest
            yield from ({**rest, key: smaller} for smaller in _smaller(item))
            yield from ({**rest, smaller: item} for smaller in _smaller(key) if smaller not in rest)


def _report(difference: Difference) -> None:
    obj, read = difference
    text = rendering.render(obj).decode()
    raise AssertionError(f"written: {json.dumps(obj)}\nread:    {read!r}\n{KEEP}\nThe file:\n{text}")
