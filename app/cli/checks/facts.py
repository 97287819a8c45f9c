"""What the database says of this installation, read once for all checks: in one transaction, but for one long count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app import db, settings
from app.cli import counting
from app.events import Ref
from app.models import destinations as stored
from app.models import health, leases, nodes, rules
from app.watch import routing


@dataclass(frozen=True)
class Facts:
    """Processes, destinations and rules as they stand in SQL."""

    # The watch daemon that leads, and the uid of the cluster that was met first; empty where there is none.
    leader: str
    cluster_uid: str
    # What the publisher of that watch daemon drops at the moment, by reason.
    drops: Mapping[str, int]
    workers: list[nodes.NodeRow]
    # The destinations that need a worker.
    queues: list[Ref]
    destinations: list[health.DestinationHealth]
    # By id, the destinations that have a place.
    placed: Mapping[int, stored.Destination]
    # What each keeps although no rule selects it, and what it wants of a person, as its status says; empty where
    # nobody knows.
    standings: Mapping[Ref, counting.Standing]
    # Group, resource and namespace (empty for all) of the streams that compiled rules need.
    streams: list[tuple[str, str, str]]


def read(database: db.Database, options: settings.Settings) -> Facts:
    """Read them. Raises TemporaryError."""
    cluster = options.cluster
    standings = counting.standings(database, cluster=cluster)
    with database.read() as connection:
        return Facts(
            leader=leases.leader(connection, cluster=cluster) or "",
            cluster_uid=leases.recorded_uid(connection, cluster=cluster),
            drops=leases.dropped(connection, cluster=cluster),
            workers=nodes.live(connection),
            queues=stored.queue_refs(connection),
            destinations=health.of_destinations(connection, cluster=cluster),
            placed={one.id: one for one in stored.live(connection, cluster=cluster)},
            standings=standings,
            streams=_streams(rules.in_force(connection, cluster=cluster)),
        )


def _streams(in_force: Iterable[Any]) -> list[tuple[str, str, str]]:
    """As the watch daemon plans them: a type of two namespaces is followed in all of them."""
    namespaces: dict[tuple[str, str], set[str]] = {}
    for scope in (scope for rule in in_force for scope in rule.spec["scopes"]):
        namespaces.setdefault((scope["group"], scope["resource"]), set()).add(scope["namespace"])
    return [(*key, routing.stream_namespace(found)) for key, found in sorted(namespaces.items())]
