"""Which worker serves which destination: rendezvous hashing over the live workers. Pure.

Every worker computes the same answer from the same rows, without talking to another. When one comes or goes, only its
own destinations move. Two workers that see different rows for a second may both serve a queue: the branch lease holds.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Sequence

from app.events import Ref
from app.models import nodes


def assigned(me: str, live: Sequence[nodes.NodeRow], destinations: Iterable[Ref]) -> frozenset[Ref]:
    """The destinations that worker `me` serves. A dedicated worker that matches wins over the pool."""
    return frozenset(destination for destination in destinations if server_of(destination, live) == me)


def server_of(destination: Ref, live: Sequence[nodes.NodeRow]) -> str | None:
    """The name of the worker that serves a destination, or None when nobody may."""
    willing = [node for node in live if _matches(node, destination)]
    candidates = [node for node in willing if node.dedicated] or willing
    return max((node.name for node in candidates), key=lambda name: (_weight(name, destination), name), default=None)


def _matches(node: nodes.NodeRow, destination: Ref) -> bool:
    """Whether a node's patterns name the destination; no pattern at all means every one."""
    text = str(destination)
    return not node.globs or any(fnmatch.fnmatchcase(text, glob) for glob in node.globs)


def _weight(name: str, destination: Ref) -> int:
    return int.from_bytes(hashlib.blake2b(f"{name}\0{destination}".encode(), digest_size=8).digest())
