"""A destination in a cluster and in a database, and what a user of `reverser explain` asks of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from click.testing import CliRunner, Result

from app import settings
from app.cli import main
from app.kube import client, manifests
from tests.drain.world import World
from tests.servers.api import ApiServer

SHOP = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: blue}}\n"
PLACE = """\
apiVersion: configbutler.ai/v1alpha1
kind: GitRepoConfig
metadata: {{name: repo, namespace: shop}}
spec: {{repoUrl: "{url}", allowedBranches: [main]}}
---
apiVersion: configbutler.ai/v1alpha1
kind: GitDestination
metadata: {{name: prod, namespace: shop}}
spec: {{repoRef: {{name: repo}}, branch: main, baseFolder: clusters/prod}}
"""
RULE = """\
apiVersion: configbutler.ai/v1alpha1
kind: WatchRule
metadata: {{name: {name}, namespace: shop}}
spec:
  destinationRef: {{name: prod}}
  rules: [{item}]
"""
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
data: {{value: "1"}}
"""
# Stays while it is being deleted.
FINALIZED = CONFIG_MAP.format(name="app-config", namespace="shop").replace("labels:", "finalizers: [a/b], labels:")
PATH = "clusters/prod/v1/configmaps/shop/app-config.yaml"


class Shop:
    """A destination in a cluster and in a database, and what a user asks of it."""

    def __init__(self, server: ApiServer, world: World, *, database_url: str) -> None:
        self.server, self.world = server, world
        self.prod = world.destination()
        self.environment = {
            "KUBECONFIG": str(server.kubeconfig()),
            "REVERSER_DATABASE_URL": database_url,
            "REVERSER_ALLOW_LOCAL_REPOS": "true",
            # Nobody listens there.
            "REVERSER_BROKER_URL": "redis+socket:///nowhere/redis.sock",
        }
        self._made: list[manifests.Manifest] = []
        self.apply(PLACE.format(url=world.repository.as_uri()))

    def apply(self, text: str) -> None:
        """Make objects in the cluster."""
        with self._sender() as sender:
            for one in manifests.read(text, source="here"):
                sender.apply(one)
                self._made.append(one)

    def delete(self, text: str) -> None:
        """Delete objects of the cluster."""
        with self._sender() as sender:
            for one in manifests.read(text, source="here"):
                sender.delete(one)

    def rule(self, item: str = "{resources: [configmaps]}", *, name: str = "all") -> None:
        """A WatchRule of shop with one item."""
        self.apply(RULE.format(name=name, item=item))

    def config_map(self, name: str = "app-config", *, namespace: str = "shop") -> None:
        """A ConfigMap with a label `app` of its name."""
        self.apply(CONFIG_MAP.format(name=name, namespace=namespace))

    def uid(self, name: str) -> str:
        """That of a ConfigMap."""
        with contextlib.closing(connect(self.server)) as cluster:
            return str(cluster.get_json(f"/api/v1/namespaces/shop/configmaps/{name}")["metadata"]["uid"])

    def mirror(self, value: str | None = "1", *, version: int = 1) -> None:
        """An Event of the ConfigMap, drained."""
        self.world.change(self.prod, "app-config", value, version=version)
        self.world.drain(self.prod)

    def ask(self, *words: str, **env: str) -> Result:
        """`reverser explain shop/prod` as a user types it."""
        command = ["explain", "shop/prod", *words]
        return CliRunner().invoke(main.main, command, env={"COLUMNS": "100", **self.environment, **env})

    def answer(self, *words: str, **env: str) -> dict[str, Any]:
        """The same as JSON."""
        done = self.ask(*(words or ("cm/app-config",)), "--output", "json", **env)
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def clean(self) -> None:
        """Leave the cluster as it was."""
        with self._sender() as sender:
            for one in reversed(self._made):
                sender.delete(one)

    @contextlib.contextmanager
    def _sender(self) -> Iterator[manifests.Sender]:
        with contextlib.closing(connect(self.server)) as cluster:
            yield manifests.Sender(cluster)


def connect(server: ApiServer) -> client.Cluster:
    """The server as its administrator sees it."""
    return client.connect(settings.Settings(kubeconfig=str(server.kubeconfig())))
