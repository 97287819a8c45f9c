"""The table of what is not mirrored: each row with a case where it goes, and one where it stays."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from app.rules import fields, ignoring, sanitising
from tests.unit.rules.live import CASES, live

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "sanitising.md"


def gone(obj: dict[str, Any]) -> list[str]:
    """The places that go, but for the uid and managedFields that each live object has, and for emptied ones."""
    before = copy.deepcopy(obj)
    removed = sanitising.removals(obj)
    assert obj == before
    assert sanitising.sanitise(sanitising.sanitise(obj)) == sanitising.sanitise(obj)
    general = {"/metadata/uid", "/metadata/managedFields"}
    return [one.pointer for one in removed if one.pointer not in general and one.reason != sanitising.NOTHING_LEFT]


@pytest.mark.parametrize("name", CASES)
def test_the_table_line_by_line(name: str) -> None:
    """What the server wrote goes, by group and kind; what somebody decided stays; once is enough."""
    obj, expected = CASES[name]
    assert gone(obj) == expected


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_keeps_what_stands_in_it(name: str) -> None:
    """What was never on a server was written by somebody: no condition is asked of it."""
    obj, _ = CASES[name]
    obj = {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "uid"}}
    of = (obj["apiVersion"].rpartition("/")[0], obj["kind"])
    conditional = {row.reason for row in (*fields.EVERYWHERE, *fields.BY_KIND.get(of, ())) if row.when}
    always = {row.reason for row in (*fields.EVERYWHERE, *fields.BY_KIND.get(of, ())) if not row.when}
    assert not {one.reason for one in sanitising.removals(obj)} & (conditional - always)


def every_row() -> list[tuple[str, fields.Field]]:
    """Each row with the kind it is for; the general ones for a kind of somebody else."""
    general = [("example.com/Order", row) for row in fields.EVERYWHERE]
    return general + [
        (f"{group}/{kind}".strip("/"), row) for (group, kind), rows in fields.BY_KIND.items() for row in rows
    ]


@pytest.mark.parametrize(("of", "row"), every_row(), ids=lambda value: getattr(value, "pointer", value))
def test_every_row_removes_something(of: str, row: fields.Field) -> None:
    """A row without a condition removes what stands there, whatever it is; one with a condition has a case above."""
    if row.when is None:
        obj = live(of)
        put(obj, row.path)
        assert sanitising.Removal(row.pointer.replace("*", "0"), row.reason) in sanitising.removals(obj)
    else:
        pattern = re.compile(re.escape(row.pointer).replace(r"\*", "[0-9]+"))
        places = [
            place for obj, _ in CASES.values() if kind_of(obj) == of or of == "example.com/Order" for place in gone(obj)
        ]
        assert any(pattern.fullmatch(place) for place in places), "no case removes it"


def kind_of(obj: dict[str, Any]) -> str:
    """`group/Kind` of an object."""
    return f"{obj['apiVersion'].rpartition('/')[0]}/{obj['kind']}".strip("/")


def put(obj: Any, path: tuple[str, ...]) -> None:
    """Let something stand at a path."""
    key, rest = path[0], path[1:]
    if not rest:
        obj[key] = "server"
    elif rest[0] == ignoring.EVERY:
        obj[key] = [{}]
        put(obj[key][0], rest[1:])
    else:
        put(obj.setdefault(key, {}), rest)


def test_no_place_stands_twice() -> None:
    """Two rows of one place, without a condition on each, would be a mistake of whoever wrote them."""
    for rows in (fields.EVERYWHERE, *fields.BY_KIND.values()):
        always = [row.pointer for row in rows if row.when is None]
        assert len(always) == len(set(always))
        assert all(row.reason for row in rows)


def documented(of: str, row: fields.Field) -> str:
    """A row as the reference shows it."""
    when = row.when.text if row.when else "always"
    return f"| {of} | `{row.pointer}` | {when} | {row.reason} |"


def test_the_reference_shows_every_row() -> None:
    """A reader can check each row against the API, in the order of the code; no row of the page is an old one."""
    general = [documented("every kind", row) for row in fields.EVERYWHERE]
    wanted = general + [documented(of, row) for of, row in every_row()[len(general) :]]
    shown = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "| `/" in line]
    assert shown == wanted
