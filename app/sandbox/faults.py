"""Faults that tests ask for: answers of a server in trouble, broken streams, a lost history, a restored backup.

They come over a port of their own, plain HTTP with JSON, which is open only where `--fault-port` names it:
`POST /faults` adds one, `DELETE /faults` takes all back. Requests meet them in `serving.py`, open streams at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette import applications, routing
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.sandbox import problems, storing, streaming

# The codes that a fault may answer with.
_CODES = {
    403: lambda: problems.forbidden("forbidden by a fault that was asked for"),
    410: lambda: problems.expired("too old resource version: a fault that was asked for"),
    429: lambda: problems.too_many(1),
    500: lambda: problems.internal("a fault that was asked for"),
}
_BAD_REQUEST = 400


class Wrong(Exception):  # noqa: N818 - an answer to a test.
    """A fault that cannot be understood."""


@dataclass(slots=True)
class Fault:
    """A fault of requests: they are answered so, or wait. `left` is None for a fault that stays.

    A list that meets a stale one is that of the resourceVersion `at`; one that meets an empty one begins with a page of
    nothing.
    """

    kind: Literal["answer", "delay", "stale", "empty"]
    path: re.Pattern[str]
    verb: str
    left: int | None
    status: int = 0
    seconds: float = 0.0
    in_stream: bool = False
    at: int = 0

    def meets(self, *, verb: str, path: str) -> bool:
        """Whether a request meets this fault; it is counted. A later page says itself of when it is."""
        if self.kind in {"stale", "empty"} and "continue=" in path:
            return False
        if self.left == 0 or (self.verb and self.verb != verb) or not self.path.search(path):
            return False
        if self.left is not None:
            self.left -= 1
        return True

    def refusal(self) -> problems.Refused:
        """The answer of this fault."""
        return _CODES[self.status]()


@dataclass(slots=True)
class Faults:
    """The faults of one server."""

    store: storing.Store
    hub: streaming.Hub
    found: list[Fault] = field(default_factory=list)

    def meeting(self, *, verb: str, path: str) -> list[Fault]:
        """The faults that a request meets: every delay, and the first of the others."""
        if not self.found:
            return []
        delays = [one for one in self.found if one.kind == "delay" and one.meets(verb=verb, path=path)]
        answers = (one for one in self.found if one.kind != "delay" and one.meets(verb=verb, path=path))
        return [*delays, *[one for one in [next(answers, None)] if one]]

    def add(self, document: dict[str, Any]) -> dict[str, Any]:
        """Do what a document asks for. Raises Wrong."""
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "answer": self._answer,
            "delay": self._delay,
            "stale": self._stale,
            "empty": self._empty,
            "drop": lambda asked: self._streams(asked, streaming.Stream.break_off),
            "cut": lambda asked: self._streams(asked, streaming.Stream.cut_next),
            "compact": self._compact,
            "rewind": self._rewind,
        }
        action = actions.get(document.get("kind", ""))
        if action is None:
            raise Wrong(f"kind has to be one of {', '.join(actions)}")
        try:
            return action(document)
        except (KeyError, TypeError, ValueError, re.error) as error:
            raise Wrong(f"{document['kind']}: {error!r}") from error

    def clear(self) -> None:
        """Take all faults of requests back."""
        self.found.clear()

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        status = int(asked["status"])
        if status not in _CODES:
            raise Wrong(f"status has to be one of {', '.join(map(str, _CODES))}")
        self.found.append(
            Fault("answer", status=status, in_stream=bool(asked.get("in_stream", False)), **_matching(asked))
        )
        return {}

    def _delay(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.found.append(Fault("delay", seconds=float(asked["seconds"]), **_matching(asked)))
        return {}

    def _stale(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.found.append(Fault("stale", at=int(asked["at"]), **_matching(asked | {"verb": "list"})))
        return {}

    def _empty(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.found.append(Fault("empty", **_matching(asked | {"verb": "list"})))
        return {}

    def _streams(self, asked: dict[str, Any], do: Callable[[streaming.Stream], None]) -> dict[str, Any]:
        path = re.compile(asked.get("path", ""))
        met = [stream for stream in self.hub.streams() if path.search(stream.watch.path)]
        for stream in met:
            do(stream)
        return {"streams": len(met)}

    def _compact(self, _asked: dict[str, Any]) -> dict[str, Any]:
        self.store.compact()
        return {"resourceVersion": str(self.store.compacted)}

    def _rewind(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            self.store.rewind(int(asked["to"]))
        except storing.Forgotten:
            raise Wrong(f"rewind: the history reaches from {self.store.compacted} to {self.store.revision}") from None
        return {"resourceVersion": str(self.store.revision)}


def _matching(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": re.compile(asked.get("path", "")),
        "verb": str(asked.get("verb", "")),
        "left": int(asked.get("times", 0)) or None,
    }


def application(faults: Faults) -> applications.Starlette:
    """The fault port as an ASGI application."""

    async def add(request: Request) -> Response:
        try:
            return JSONResponse(faults.add(await request.json()))
        except (Wrong, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=_BAD_REQUEST)

    async def clear(_request: Request) -> Response:
        faults.clear()
        return JSONResponse({})

    return applications.Starlette(
        routes=[
            routing.Route("/faults", add, methods=["POST"]),
            routing.Route("/faults", clear, methods=["DELETE"]),
        ]
    )
