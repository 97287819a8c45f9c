"""A Secret that a rule selects is not mirrored, and no byte of it is anywhere; Flower shows names, never content."""

from __future__ import annotations

import base64
import json

import pytest

from tests.system.cluster import OURS, Api, Destination, manifest, repo_config
from tests.system.installation import Embedded
from tests.system.repository import Repository
from tests.waiting import wait_until

CANARY = "canary-of-a-secret-4711"
CONTENT = "canary-of-a-configmap-4712"


def spellings(canary: str) -> set[bytes]:
    """A text as it may stand somewhere: plain, in base64 at each offset, in hexadecimal."""
    plain = canary.encode()
    shifted = (base64.b64encode(b"\0" * offset + plain)[(4 if offset else 0) : -4] for offset in range(3))
    return {plain, plain.hex().encode(), *shifted}


@pytest.mark.promise("P12")
def test_a_secret_that_a_rule_selects(shared: Embedded, api: Api, repository: Repository) -> None:
    """The status says EncryptionRequired for Secrets alone, ConfigMaps go on, and the Secret's value is nowhere."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["secrets", "configmaps"])
    api.wait_ready("watchrules", namespace, "prod")
    values = {"token": CANARY}
    # `kubectl apply` leaves the values once more, in plain text.
    applied = json.dumps(manifest("secrets", "token", stringData=values))
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": applied}
    found = api.create("secrets", namespace, "token", annotations=annotations, stringData=values)
    assert base64.b64decode(found["data"]["token"]).decode() == CANARY
    api.merge("secrets", namespace, "token", stringData={"other": f"{CANARY}-changed"})
    api.create("configmaps", namespace, "after", data={"key": "value"})
    path = destination.path("configmaps", "after")
    wait_until(lambda: repository.read(path), 20, what="the ConfigMap beside the Secret")

    status = api.get("watchrules", namespace, "prod")["status"]
    assert status["problems"] == [
        {
            "resource": "secrets",
            "reason": "EncryptionRequired",
            "message": "Secrets are mirrored only encrypted, and no encryption is configured: "
            "remove secrets from the rule",
        }
    ]
    assert status["resolvedTypes"] == ["v1/configmaps"]
    api.delete("secrets", namespace, "token")
    api.delete("configmaps", namespace, "after")
    wait_until(lambda: repository.tree() == {}, 20, what="the delete")

    places = {str(found): content for found, content in shared.files()}
    assert any(name.endswith("appendonly.aof") or "appendonlydir" in name for name in places)
    assert any(name.endswith("reverser.db") for name in places)
    places["the repository"] = repository.every_object()
    places["Flower"] = json.dumps(shared.tasks()).encode()
    places["the status of our objects"] = json.dumps([api.list(resource) for resource in OURS]).encode()
    places["reverser status"] = json.dumps(shared.answer("status")).encode()
    places["reverser audit log"] = json.dumps(shared.answer("audit", "log")).encode()
    found = [
        (name, spelling) for name, content in places.items() for spelling in spellings(CANARY) if spelling in content
    ]
    assert not found
    assert b"v1/configmaps/after" in places["Flower"], "the search is able to find something"
    assert all("secrets" not in one["object"] for one in shared.answer("audit", "log"))


@pytest.mark.promise("P12")
def test_flower_shows_summaries(shared: Embedded, api: Api, repository: Repository) -> None:
    """In Flower, `kwargs:dest=...` finds one destination's tasks: they name an object and numbers, never content."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    one, other = (
        Destination(api, namespace, name, repository=config, folder=f"clusters/{name}") for name in ("one", "other")
    )
    for destination in (one, other):
        shared.wait_seeded(destination.ref)
    api.create("configmaps", namespace, "settings", data={"key": CONTENT})

    def tasks_of(destination: Destination) -> list[str]:
        found = shared.tasks(f"kwargs:dest={destination.ref}").values()
        return [
            task["kwargs"]
            for task in found
            if task["name"] == "reverser.apply_events" and task["state"] == "SUCCESS" and "'ring'" not in task["kwargs"]
        ]

    (kwargs, *_) = wait_until(lambda: tasks_of(one), 20, what="the task in Flower")
    assert kwargs.startswith(f"{{'dest': '{one.ref}', 'events': 'CREATE v1/configmaps/settings', 'first': ")
    shown = shared.tasks(f"kwargs:dest={one.ref}")
    assert {task["name"] for task in shown.values()} >= {"reverser.apply_events", "reverser.sweep_orphans"}
    assert all(f"'{one.ref}'" in task["kwargs"] for task in shown.values())
    wait_until(lambda: tasks_of(other), 20, what="the task of the other destination")
    everything = json.dumps(shared.tasks()).encode()
    assert not [spelling for spelling in spellings(CONTENT) if spelling in everything]
