"""The page of the reference that says which types make the round trip: `python -m tests.roundtrip` writes it anew."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.roundtrip import travels
from tests.roundtrip.counting import Count
from tests.roundtrip.travelling import Travelling
from tests.roundtrip.travels import Kind

PATH = Path(__file__).parents[2] / "docs" / "reference" / "types.md"
# The first lines, which say when and with what the rest was found.
DATED = 4

_ABOUT = """
Each object is created, mirrored, deleted, made anew by `kubectl apply` from its file, and mirrored again. The manifests
are in `tests/roundtrip/manifests`. The columns, as sums over the objects of a type:

- **written**: fields of the manifests; **lost**: those that the server keeps and the files do not say, but for the
  fields listed below.
- **by the server**: fields that the server left out or wrote in its own way: `0.5Gi` becomes `512Mi`, `""` goes.
- **defaults**: fields of the files that nobody wrote: defaults that the API documents.
- **removed**: fields, or whole parts, that are not mirrored because they are the server's.
- **again**: whether the second mirroring is the first, byte for byte, by `kubectl apply` and by `kubectl apply
  --server-side`.
"""
_COLUMNS = ("type", "objects", "written", "lost", "by the server", "defaults", "removed", "bytes", "again")
# What is in the files, or rightly is not, and kubectl makes something else of.
_KUBECTL = {
    "a key with the value `null` in a custom resource": "the file says it; client-side `kubectl apply` leaves it out, "
    "`kubectl apply --server-side` brings it back",
    "the character U+0085 in a text": "the file says it; client-side `kubectl apply` brings it back, of "
    "`kubectl apply --server-side` the server makes a space",
    "`spec.taints` of a living Node": "the file leaves out the taints of the node's state; `kubectl apply` replaces "
    "the whole list, and the controller that wrote them writes them again",
}


def of(travelling: Travelling) -> str:
    """The page, as this server has it."""
    return "".join(f"{line}\n" for line in _lines(travelling))


def _lines(travelling: Travelling) -> Iterator[str]:
    server = travelling.client.get("/version")["gitVersion"]
    kubectl = json.loads(travelling.kubectl("version", "--client", "--output=json"))["clientVersion"]["gitVersion"]
    counts = {kind: Count.of(travelling.trips(kind)) for kind in travels.by_kind()}
    yield "# The round trip of each type"
    yield ""
    today = dt.datetime.now(dt.UTC).date()
    yield f"Found on {today} with kube-apiserver {server} and kubectl {kubectl}, by `python -m tests.roundtrip`."
    yield _ABOUT
    custom = sum(map(travels.is_custom, counts))
    yield f"{len(counts) - custom} built-in types, and {custom} custom one:"
    yield ""
    yield from _table(_COLUMNS, (_cells(kind, count) for kind, count in counts.items()))
    yield "\n## Types that are not mirrored\n"
    yield from _table(("type", "reason"), travels.REASONS.items())
    yield "\n## Fields that do not come back\n"
    never = [(f"`{field}` of {kind}", reason) for (kind, field), reason in travels.NEVER_SAID.items()]
    yield from _table(("field", "reason"), [*never, *_KUBECTL.items()])


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(map(str, row))} |"


def _cells(kind: Kind, count: Count) -> Sequence[object]:
    changed = (count.written, count.lost, count.rewritten, count.added, count.removed)
    return kind, count.objects, *changed, count.size, "equal" if count.equal else "**different**"
