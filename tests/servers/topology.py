"""The definitions of `deploy/rabbitmq` in a virtual host of a test's own, with a user of its own for each role."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import rabbitmq

FOLDER = Path(__file__).parents[2] / "deploy" / "rabbitmq"
ROLES = ("watch", "worker", "flower")
PASSWORD = "topology-canary"


@dataclass(frozen=True, slots=True)
class Topology:
    """What was imported, where, and where the broker's log stood before."""

    vhost: rabbitmq.Vhost
    log_from: int

    def user(self, role: str) -> str:
        """The user of a role."""
        return f"{self.vhost.name}-{role}"

    def url(self, role: str) -> str:
        """The broker URL of a role."""
        return f"amqp://{self.user(role)}:{PASSWORD}@127.0.0.1:{self.vhost.server.port}/{self.vhost.name}"

    def refusals(self) -> list[str]:
        """What the broker's log says that it refused in this virtual host."""
        said = self.vhost.server.log.read_text()[self.log_from :]
        return re.findall(rf"operation .* in vhost '{self.vhost.name}' refused .*", said)


@contextmanager
def imported(vhost: rabbitmq.Vhost, change: Callable[[Any], None] = lambda _definitions: None) -> Iterator[Topology]:
    """Make the users of all roles and import the definitions, once `change` was made to them."""
    topology = Topology(vhost, log_from=len(vhost.server.log.read_text()))
    definitions, permissions = _read("definitions.json", vhost), _read("permissions.json", vhost)
    change(definitions)
    vhost.server.ask("POST", "definitions", body=definitions)
    for role in ROLES:
        vhost.server.ask("PUT", "users", topology.user(role), body={"password": PASSWORD, "tags": "management"})
    try:
        vhost.server.ask("POST", "definitions", body=permissions)
        yield topology
    finally:
        for role in ROLES:
            vhost.server.ask("DELETE", "users", topology.user(role))


def _read(name: str, vhost: rabbitmq.Vhost) -> Any:
    """A file, changed as the page says to do for a second installation on one broker."""
    return json.loads((FOLDER / name).read_text().replace('"reverser', f'"{vhost.name}'))
