"""Whether the parts of `reverser up` do their work, asked where it shows: in the database and over HTTP.

A process that runs is not yet one that works. Every probe answers within a few seconds, with False for anything
that goes wrong. `installation.py` hands them to the supervisor.
"""

from __future__ import annotations

import http.client
import socket

from app import db, errors
from app.models import leases, nodes

HTTP_TIMEOUT = 1.0
_LONGEST_NAME = 1_000


def watch_leads(database: db.Database, *, cluster: str, node: str) -> bool:
    """Whether the watch daemon of this name leads its cluster."""
    try:
        with database.read() as connection:
            leader = leases.leader(connection, cluster=cluster)
    except errors.ReverserError:
        return False
    return bool(leader) and node in str(leader)


def worker_lives(database: db.Database, *, node: str) -> bool:
    """Whether the worker of this name has a young heartbeat."""
    try:
        with database.read() as connection:
            return any(node in one.name for one in nodes.live(connection))
    except errors.ReverserError:
        return False


def flower_answers(*, port: int, node: str) -> bool:
    """Whether the Flower on this port of the loopback is the process of this name, and not that of another `up`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT)
    try:
        connection.request("GET", "/node")
        response = connection.getresponse()
        return response.status == http.client.OK and response.read(_LONGEST_NAME).decode(errors="replace") == node
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback now; 0 is never free."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
        return port != 0


def free_port(preferred: int) -> int:
    """The preferred port of the loopback when it is free, else any free one."""
    if is_port_free(preferred):
        return preferred
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
