"""The servers of the contract, each started once for all files of a test process: a start takes seconds."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.contract import manifests
from tests.contract.client import Client
from tests.servers import api


@dataclass(frozen=True, slots=True)
class Pair:
    """A server and its administrator's client."""

    server: api.ApiServer
    client: Client


class Servers:
    """Starts each server when it is first asked for, with the contract's own type, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, Pair] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, name: str) -> Pair:
        """The server of this name, running."""
        if name not in self._started:
            self._started[name] = self._start(name)
        return self._started[name]

    def _start(self, name: str) -> Pair:
        server = self._stack.enter_context(api.make(name, self._folder / name))
        client = self._stack.enter_context(closing(Client(server.kubeconfig())))
        manifests.define(client, manifests.widgets())
        return Pair(server, client)
