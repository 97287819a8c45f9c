"""Rules follow the types that a cluster serves, for each change of what defines them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.kube import client, manifests
from app.settings import Settings
from app.watch import ours, reconciling
from tests.contract import manifests as defined
from tests.servers.api import SANDBOX, make
from tests.waiting import wait_until
from tests.watch.desk import Desk
from tests.watch.reconciler import WIDE, Triggers, our_objects, outcome, running

GROUP = "example.com"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[client.Cluster]:
    """A sandbox: what a real API server says is defined, it serves a moment later, and a look for it may come early."""
    with make(SANDBOX, tmp_path) as server:
        found = client.connect(Settings(kubeconfig=str(server.kubeconfig())))
        yield found
        found.close()


@pytest.fixture
def triggers(desk: Desk, cluster: client.Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Triggers]:
    """A rule on a type that is not there; nobody looks for it but when something changed, and then once."""
    monkeypatch.setattr(reconciling, "_LOOK_AGAIN", ())
    desk.settings = replace(desk.settings, discovery_interval=3600.0, type_grace=0.2)
    found = Triggers(desk, cluster, our_objects({"resources": [f"things.{GROUP}"], "scope": "Namespaced"}))
    threads = [threading.Thread(target=found.follow_trigger, args=(one,), daemon=True) for one in ours.TRIGGERS]
    for thread in threads:
        thread.start()
    yield found
    desk.stop.set()
    found.close()
    for thread in threads:
        thread.join(20)


def definition(*versions: str) -> manifests.Manifest:
    """The definition of the type with these versions."""
    content = defined.definition(GROUP)
    (first,) = content["spec"]["versions"]
    content["spec"]["versions"] = [{**first, "name": name, "storage": name == "v1"} for name in versions]
    return manifests.Manifest("here", content)


def test_each_change_of_a_definition_is_followed_for_itself(
    desk: Desk, cluster: client.Cluster, triggers: Triggers
) -> None:
    """A type that comes, gets another version and goes is looked for at each of these changes."""
    with running(desk, triggers, cluster) as reconciler:

        def versions() -> list[str]:
            rule = outcome(reconciler)[WIDE].rule
            return [scope.type.version for scope in rule.scopes] if rule else []

        wait_until(lambda: outcome(reconciler)[WIDE].reason == "NotServed", what="nothing to mirror")
        sender = manifests.Sender(cluster)
        sender.apply(definition("v1"))
        wait_until(lambda: versions() == ["v1"], what="the type")
        sender.apply(definition("v1", "v2"))
        wait_until(lambda: versions() == ["v2"], what="its other version")
        sender.delete(definition("v1", "v2"))
        wait_until(lambda: not versions(), what="its end")
