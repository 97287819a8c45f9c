"""An HTTP server on loopback that gives prepared answers: the faults that a healthy API server does not show."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import yaml


@dataclass(frozen=True)
class Answer:
    """One answer. `chunks` are sent with chunked encoding; `cut` ends the connection without the end they promise."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes] | None = None
    cut: bool = False
    # The answer is held back until this is set.
    wait: threading.Event | None = None


def json(document: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; `_` in header names stands for a dash."""
    return Answer(status, orjson.dumps(document), {name.replace("_", "-"): value for name, value in headers.items()})


def stream(*documents: Any, tail: bytes = b"", cut: bool = False) -> Answer:
    """A watch stream of some events, and bytes that follow them."""
    lines = [orjson.dumps(document) + b"\n" for document in documents]
    return Answer(chunks=[*lines, *([tail] if tail else [])], cut=cut)


class FaultServer:
    """Serves `answers` in order, the last one for ever; `requests` are the paths and headers that came."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def kubeconfig(self) -> str:
        """A kubeconfig for this server."""
        return yaml.safe_dump(
            {
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                "users": [{"name": "u", "user": {"token": "canary-token"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self, path: str, headers: Mapping[str, str]) -> Answer:
        self.requests.append((path, headers))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        choose = self._next

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                _give(choose(self.path, dict(self.headers)), self)

            def log_message(self, *_: Any) -> None:
                """Tests are quiet."""

        return Handler


def _give(answer: Answer, handler: BaseHTTPRequestHandler) -> None:
    if answer.wait:
        answer.wait.wait(30)
    chunked = answer.chunks is not None
    promised = len(answer.body) + (10 if answer.cut else 0)
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(promised)}
    handler.send_response(answer.status)
    for name, value in {**answer.headers, **framing}.items():
        handler.send_header(name, value)
    handler.end_headers()
    chunks = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in answer.chunks or ()]
    end = b"0\r\n\r\n" if chunked and not answer.cut else b""
    # Who closed the stream, or gave up waiting, does not read the rest.
    with contextlib.suppress(OSError):
        handler.wfile.write(b"".join([answer.body, *chunks, end]))
    handler.close_connection = answer.cut
