"""A writer with everything around it that needs no cluster: rules, destinations, changes and pages made by hand.

The writer's work is done in the test's own thread, one batch at a time, so that a test decides what comes when.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy

from app import db, errors, events
from app.kube import watching
from app.models import cursors, leases, seeds
from app.rules import compiling, kinds, types
from app.settings import Settings
from app.watch import causing, figures, inbox, recording, routing, writing

CONFIG_MAPS = types.ResourceType("", "v1", "configmaps", "ConfigMap", True, frozenset({"list", "watch"}), True)
ROLES = types.ResourceType(
    "rbac.authorization.k8s.io", "v1", "roles", "Role", True, frozenset({"list", "watch"}), True
)  # fmt: skip
SHOP = events.Ref("shop", "prod")


class Pile:
    """Stands where the publisher stands, and keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[events.Message] = []
        self.rings: list[events.Ref] = []

    def publish(self, messages: Iterable[events.Message]) -> None:
        self.messages += messages

    def ring(self, destination: events.Ref, _first: int, _last: int) -> None:
        self.rings.append(destination)


class FaultyDatabase(db.Database):
    """A database whose next write fails as a test says: before the commit, or after it, when the answer is lost."""

    before: list[Exception]
    after: list[Exception]

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.before, self.after = [], []

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlalchemy.Connection]:
        with super().write() as connection:
            yield connection
            if self.before:
                raise self.before.pop(0)
        if self.after:
            raise self.after.pop(0)


class Desk:
    """One writer on one database, and shorthand for what reaches it."""

    def __init__(self, url: str, *, owner: str = "one", batch_rows: int = 1_000) -> None:
        self.database = FaultyDatabase(url)
        self.settings = Settings(database_url=url, node=owner, batch_rows=batch_rows)
        self.stop = threading.Event()
        # Namespace -> labels, as far as they are known.
        self.namespaces: Mapping[str, Mapping[str, str]] | None = None
        self.published = Pile()
        self.lead = self.take_lead(owner)
        self.writer = writing.Writer(
            self.settings,
            database=self.database,
            lead=self.lead,
            publisher=self.published,  # type: ignore[arg-type]
            stop=self.stop,
            counted=figures.Figures(),
        )
        self.writer.call = lambda function: function()  # type: ignore[method-assign]
        self.causes = causing.Causes(self.writer)

    def take_lead(self, owner: str) -> leases.Lead:
        """Lead, whoever led before."""
        with self.database.write() as connection:
            connection.execute(sqlalchemy.text("UPDATE watch_lease SET until = '2000-01-01 00:00:00'"))
            lead = leases.take_lead(connection, cluster="home", cluster_uid="uid", owner=owner, seconds=60)
        assert lead is not None
        return lead

    def close(self) -> None:
        self.database.close()

    def adopt(
        self,
        *rules: kinds.WatchRule | kinds.ClusterWatchRule,
        folder: str = "clusters/prod",
        branch: str = "main",
        allowed: str = "*",
        uid: str = "uid-prod",
        url: str = "https://example.com/x.git",
        config_uid: str = "uid-repo",
        prune: str = "Always",
        served: Sequence[types.ResourceType] = (CONFIG_MAPS, ROLES),
    ) -> routing.Routing:
        """Compile these rules for the destination shop/prod, and follow them."""
        repo = _object("repo", repoUrl=url, allowedBranches=[allowed])
        repo["metadata"]["uid"] = config_uid
        config = kinds.GitRepoConfig.from_object(repo)
        prod = _object("prod", repoRef={"name": "repo"}, branch=branch, baseFolder=folder, prune=prune)
        prod["metadata"]["uid"] = uid
        target = kinds.GitDestination.from_object(prod)
        compilation = compiling.compile_all(
            repo_configs=[config],
            destinations=[target],
            watch_rules=[rule for rule in rules if isinstance(rule, kinds.WatchRule)],
            cluster_rules=[rule for rule in rules if isinstance(rule, kinds.ClusterWatchRule)],
            types=served,
            allow_local=False,
            namespaces=self.namespaces,
        )
        return self.causes.adopt(
            recording.Seen({config.meta.ref: config}, {SHOP: target}, compilation, frozenset({config_uid, uid}))
        )

    def start(self, *rules: kinds.WatchRule | kinds.ClusterWatchRule, version: str = "100") -> None:
        """Adopt rules and start their streams, from this resourceVersion where they have no cursor."""
        routes = self.adopt(*rules)
        resumed = self.causes.resume(routes.streams)
        for key in routes.streams:
            if key not in resumed:
                self.causes.begin_stream(key, resource_version=version, cause="no resume point")

    def key(self, type_: types.ResourceType = CONFIG_MAPS) -> routing.StreamKey:
        """The stream of a type."""
        return next(key for key in self.writer.routes.streams if key.resource == type_.resource)

    def live(self, kind: watching.Kind, obj: dict[str, Any], *, type_: types.ResourceType = CONFIG_MAPS) -> None:
        """One line of a stream."""
        change = watching.Change(kind, obj, obj["metadata"]["resourceVersion"])
        item = inbox.Live(self.key(type_), type_, change, 1, datetime.now(UTC))
        assert self.writer.inbox.put_live(item, stop=self.stop)

    def begin(self, type_: types.ResourceType = CONFIG_MAPS) -> inbox.Listing:
        """Begin the listing that waits."""
        found = self.causes.begin_listing(self.key(type_), type_)
        assert found is not None
        return found

    def page(self, begun: inbox.Listing, objects: Sequence[dict[str, Any]], *, ended_at: str = "") -> None:
        """One page of a listing; the last one says at which resourceVersion it ended."""
        begun.given += len(objects)
        assert self.writer.inbox.put_page(inbox.Page(begun, list(objects), datetime.now(UTC), ended_at), stop=self.stop)

    def write(self) -> None:
        """Write batches until nothing is left."""
        waiting = self.writer.inbox
        while waiting._live or waiting._pages or any(run.ended for run in self.writer.book.runs.values()):
            self.writer._write_next()

    def seed(self, *objects: dict[str, Any], version: str = "150") -> None:
        """List everything that waits; configmaps hold these objects, other types are empty."""
        for key, type_ in self.writer.routes.streams.items():
            begun = self.causes.begin_listing(key, type_)
            if begun is not None:
                self.page(begun, objects if type_ == CONFIG_MAPS else (), ended_at=version)
        self.write()

    def rows(self) -> list[tuple[str, str, str]]:
        """(operation, name, state) of every row of shop/prod, in order."""
        return [(row.operation, row.name, row.state) for row in self.events()]

    def events(self) -> list[Any]:
        """Every row of the ledger, in order."""
        with self.database.read() as connection:
            query = "SELECT * FROM event ORDER BY destination_id, sequence"
            return list(connection.execute(sqlalchemy.text(query)))

    def cursor(self, type_: types.ResourceType = CONFIG_MAPS) -> str:
        """The stored resume point of a type."""
        with self.database.read() as connection:
            found = [one for one in cursors.load(connection, cluster="home") if one.resource == type_.resource]
        return found[0].resource_version if found else ""

    def runs(self) -> list[tuple[str, str]]:
        """(cause, state) of every seed, oldest first."""
        with self.database.read() as connection:
            query = "SELECT cause, state FROM seed_run ORDER BY started_at, state DESC"
            return [(row.cause, row.state) for row in connection.execute(sqlalchemy.text(query))]

    def open_scopes(self) -> set[tuple[str, str]]:
        """(resource, namespace) of what open seeds hold."""
        with self.database.read() as connection:
            found = seeds.open_runs(connection, self.writer.known)
        return {(scope.key.resource, scope.key.namespace) for run in found for scope in run.scopes}


def watch_rule(
    *resources: str, namespace: str = "shop", operations: Sequence[str] = ("*",), name: str = "rule", **item: Any
) -> kinds.WatchRule:
    """A WatchRule for shop/prod, open to its own namespace; `item` narrows it."""
    return kinds.WatchRule.from_object(
        _object(
            name,
            namespace=namespace,
            destinationRef={"name": "prod", "namespace": "shop"},
            rules=[{"resources": list(resources), "operations": list(operations), **item}],
        )
    )


def cluster_rule(*resources: str, **item: Any) -> kinds.ClusterWatchRule:
    """A ClusterWatchRule for shop/prod over all namespaces; `item` narrows it."""
    return kinds.ClusterWatchRule.from_object(
        _object(
            "wide",
            namespace="",
            destinationRef={"name": "prod", "namespace": "shop"},
            rules=[{"resources": list(resources), "scope": "Namespaced", **item}],
        )
    )


def labelled(obj: dict[str, Any], **labels: str) -> dict[str, Any]:
    """An object with these labels."""
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def config_map(name: str, at: int, /, *, uid: str = "", namespace: str = "shop", **data: str) -> dict[str, Any]:
    """A ConfigMap as the API delivers it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(at),
            "managedFields": [{"manager": "kubectl", "time": "2026-01-01T00:00:00Z"}],
        },
        "data": data or {"version": str(at)},
    }


def away() -> errors.TemporaryError:
    """What the database door raises while the database is away."""
    return errors.TemporaryError("the database is not available", delay=0.0)


def _object(name: str, *, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1}
    return {"metadata": metadata, "spec": spec}
