"""What `reverser explain` found, in lines for people: at a terminal wrapped at words and without long lists of types.

Neighbours: `overviews.py` and `answering.py` make what is told here.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.cli import answering, overviews, tables

# Longer lines are hard to read, shorter ones break every name.
_WIDEST, _NARROWEST = 120, 40
_LABEL = 12
# Of what `*` reaches, a terminal shows so many types.
_SHOWN = 8


def width() -> int | None:
    """The columns of the terminal; None in a pipe, where a program or `grep` wants whole lines."""
    return None if not sys.stdout.isatty() else min(_WIDEST, max(_NARROWEST, shutil.get_terminal_size().columns))


def tell(said: overviews.Overview | answering.Answer, *, width: int | None) -> Iterator[str]:
    """The lines of an explanation."""
    if isinstance(said, answering.Answer):
        yield from _answer(said, width)
    else:
        yield from _overview(said, width)


def _answer(said: answering.Answer, width: int | None) -> Iterator[str]:
    where = f" in namespace {said.namespace}" if said.namespace else ""
    yield from _wrapped(f"{said.object}{where}, for {said.destination}:", width)
    yield from _wrapped(f"{said.sentence}.", width, indent=2)
    for note in said.notes:
        yield from _wrapped(f"{note}.", width, indent=2)


def _overview(said: overviews.Overview, width: int | None) -> Iterator[str]:
    state = "is ready" if said.ready else f"is not ready ({said.reason})"
    yield from _wrapped(f"{said.destination} {state}: {said.message}", width)
    if said.last_error:
        yield from _labelled("error", said.last_error, width)
    if said.pending is not None:
        yield from _labelled("in Git", _in_git(said), width)
    yield from _some("kept", said.kept, said.retained, width)
    yield from _some("gone", said.gone, said.orphans, width)
    for left in said.left:
        where = f"{left.base_folder} on {left.branch} of {left.repository}"
        yield from _labelled(
            "left", f"{tables.counted(left.files, 'file')} in {where}, where nobody writes any more", width
        )
    if not said.rules:
        yield from _labelled("rules", "none: make a WatchRule whose destinationRef names it", width)
    for rule in said.rules:
        yield ""
        yield from _rule(rule, width)


def _some(label: str, paths: Sequence[str], count: int | None, width: int | None) -> Iterator[str]:
    """The first paths of so many."""
    for path in paths:
        yield from _labelled(label, path, width)
    if count and count > len(paths) > 0:
        yield from _labelled(label, f"and {count - len(paths)} more", width)


def _in_git(said: overviews.Overview) -> str:
    parts = [] if said.files is None else [tables.counted(said.files, "file")]
    if said.retained:
        parts.append(f"{said.retained} of them kept, which no rule selects any more")
    if said.orphans:
        parts.append(f"{said.orphans} of them kept, whose objects are gone")
    if said.last_sha and said.last_pushed_at:
        parts.append(f"last commit {said.last_sha[:10]} at {tables.moment(said.last_pushed_at)} UTC")
    if said.pending:
        parts.append(f"{tables.counted(said.pending, 'change')} on the way")
    return ", ".join(parts) or "nothing yet"


def _rule(rule: overviews.Rule, width: int | None) -> Iterator[str]:
    files = "" if rule.files is None else f" ({tables.counted(rule.files, 'file')})"
    state = "" if rule.ready else f" is not ready ({rule.reason}): {rule.message}"
    yield from _wrapped(f"{rule.rule}{state}{files if rule.ready else ''}", width)
    for selected in rule.selected:
        yield from _labelled("selects", _selected(selected, short=width is not None), width)
        for label, text in _details(selected):
            yield from _labelled(label, text, width)
    for refused in rule.refused if rule.ready else ():
        yield from _labelled("cannot", f"{refused.resource}: {refused.message} ({refused.reason})", width)
    for note in rule.left_out:
        yield from _labelled("left out", note.removeprefix("* leaves out "), width)


def _selected(one: overviews.Selected, *, short: bool) -> str:
    where = f" in namespace {one.namespace}" if one.namespace else " in all namespaces" if one.namespaced else ""
    if one.namespaces is not None:
        names = ", ".join(one.namespaces) or "none is selected now"
        where = f" in {tables.counted(len(one.namespaces), 'namespace')} ({names})"
    every = " (by *)" if one.wildcard else ""
    more = len(one.types) - _SHOWN
    if short and one.wildcard and more > 0:
        return f"{', '.join(one.types[:_SHOWN])} and {more} more{where}{every}; `| cat` shows them"
    return f"{', '.join(one.types)}{where}{every}"


def _details(one: overviews.Selected) -> Iterator[tuple[str, str]]:
    """What narrows a selection, and what is ignored; the usual is not worth a line."""
    if len(one.operations) < len(_ALL):
        yield "only", ", ".join(one.operations)
    for field, value in one.narrowed.items():
        yield "only", f"{field}: {_short(value)}"
    for field, value in one.ignored.items():
        yield "without", f"{field}: {_short(value)}"


_ALL = ("CREATE", "UPDATE", "DELETE")


def _short(value: Any) -> str:
    """A value of a manifest in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_short(one) for one in value) + "]"
    return str(value)


def _labelled(label: str, text: str, width: int | None) -> Iterator[str]:
    """A line that begins with a label, its continuation below the text."""
    yield from _wrapped(text, width, first=f"  {label:<{_LABEL - 2}}", indent=_LABEL)


def _wrapped(text: str, width: int | None, *, first: str | None = None, indent: int = 0) -> Iterable[str]:
    """Text in lines; a word that is longer than a line, such as a path, stays whole, to be copied."""
    hanging = " " * indent
    beginning = hanging if first is None else first
    if width is None:
        return [beginning + tables.printable(text)]
    return textwrap.wrap(
        tables.printable(text),
        width=width,
        initial_indent=beginning,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
