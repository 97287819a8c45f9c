"""A Secret that a rule selects is not mirrored, and no byte of it is anywhere; Flower shows names, never content."""

from __future__ import annotations

import base64
import contextlib
import json
import re

import pytest

from app import celeryconfig
from tests.contract import manifests
from tests.system.cluster import OURS, Api, Destination, RefusedError, manifest, repo_config
from tests.system.installation import Embedded, Lane, Separate
from tests.system.repository import Repository
from tests.waiting import wait_until

CANARY = "canary-of-a-secret-4711"
CONTENT = "canary-of-a-configmap-4712"
EVERY_RULE = "canary-of-a-secret-that-every-rule-wants-4713"
APPLIED = "canary-of-a-manifest-4714"


# Where database and broker write what they are given, so that it is seen that all of it was read.
DATABASES: dict[type[Lane], str] = {Embedded: r"reverser\.db$", Separate: "/pg_wal/"}
BROKERS = {True: r"\.wal$", False: r"appendonly\.aof|appendonlydir"}


def spellings(canary: str) -> set[bytes]:
    """A text as it may stand somewhere: plain, in base64 at each offset, in hexadecimal."""
    plain = canary.encode()
    shifted = (base64.b64encode(b"\0" * offset + plain)[(4 if offset else 0) : -4] for offset in range(3))
    return {plain, plain.hex().encode(), *shifted}


def places(shared: Lane, api: Api, repository: Repository) -> dict[str, bytes]:
    """Everything that leaves the watch process: files, the broker's too, Git, Flower, status, and what commands say."""
    found = {str(path): content for path, content in shared.files()}
    for kept in (DATABASES[type(shared)], BROKERS[celeryconfig.is_amqp(shared.options.broker_url)]):
        assert any(re.search(kept, name) for name in found), kept
    return found | {
        "the repository": repository.every_object(),
        "Flower": json.dumps(shared.tasks()).encode(),
        "the status of our objects": json.dumps([api.list(resource) for resource in OURS]).encode(),
        "reverser status": json.dumps(shared.answer("status")).encode(),
        "reverser audit log": json.dumps(shared.answer("audit", "log")).encode(),
    }


def leaks(found: dict[str, bytes], canary: str) -> list[tuple[str, bytes]]:
    """Where a text stands, and how."""
    return [
        (name, spelling) for name, content in found.items() for spelling in spellings(canary) if spelling in content
    ]


@pytest.mark.promise("P12")
def test_a_secret_that_a_rule_selects(shared: Lane, api: Api, repository: Repository) -> None:
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
    wait_until(lambda: repository.read(path), what="the ConfigMap beside the Secret")

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
    wait_until(lambda: repository.tree() == {}, what="the delete")

    everything = places(shared, api, repository)
    assert not leaks(everything, CANARY)
    assert b"v1/configmaps/after" in everything["Flower"], "the search is able to find something"
    assert all("secrets" not in one["object"] for one in shared.answer("audit", "log"))


# Every way to write a rule that could reach a Secret called `token`.
RULES = (
    {"resources": ["*"]},
    {"resources": ["SECRETS"]},
    {"resources": ["secrets."]},
    {"resources": ["Secrets"], "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]},
    {"resources": ["secrets/*"]},
    {"resources": ["*"], "names": ["token"]},
    {"resources": ["*", "secrets"], "labelSelector": {"matchLabels": {"app": "web"}}},
)


@pytest.mark.promise("P12")
def test_no_rule_reaches_a_secret(shared: Lane, api: Api, repository: Repository) -> None:
    """However a rule is written, Secrets are not mirrored, and no byte of one is anywhere."""
    namespace = api.namespace()
    labels = {"app": "web"}
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    for number, item in enumerate(RULES):
        spec = {"destinationRef": {"name": "prod"}, "rules": [item]}
        api.create("watchrules", namespace, f"rule-{number}", spec=spec)
    spec = {
        "destinationRef": {"name": "prod", "namespace": namespace},
        "rules": [{"resources": ["*", "secrets"], "scope": "Namespaced", "names": ["token"]}],
    }
    api.create("clusterwatchrules", "", f"{namespace}-wide", spec=spec)
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"stringData": {"token": EVERY_RULE}})}
    values = {"token": EVERY_RULE}
    api.create("secrets", namespace, "token", labels=labels, annotations=applied, stringData=values)
    shared.wait_seeded(destination.ref)
    api.merge("secrets", namespace, "token", stringData={"other": f"{EVERY_RULE}-changed"})
    api.create("configmaps", namespace, "token", labels=labels, data={"key": "value"})
    path = destination.path("configmaps", "token")
    wait_until(lambda: repository.read(path), what="the ConfigMap of the same name")
    assert not [name for name in repository.tree() if "/secrets/" in name]
    assert not leaks(places(shared, api, repository), EVERY_RULE)


@pytest.mark.promise("P12")
def test_what_was_applied_before_stays_in_the_cluster(shared: Lane, api: Api, repository: Repository) -> None:
    """The annotation in which `kubectl apply` keeps a manifest stays in the cluster, whatever it holds, of any type."""
    namespace = api.namespace()
    group = manifests.new_group()
    api.request("POST", manifests.DEFINITIONS.all(), manifests.definition(group))
    type_ = manifests.things(group)
    config = repo_config(api, namespace, "local", repository.url)
    resources = ["configmaps", f"things.{group}"]
    destination = Destination(api, namespace, "prod", repository=config, resources=resources)
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"data": {"token": APPLIED}})}
    thing = type_.new("sealed", metadata={"annotations": {**annotations, "kept": "yes"}}, spec={"encryptedData": "x"})

    def made() -> bool:
        with contextlib.suppress(RefusedError):
            return bool(api.request("POST", type_.all(namespace), thing))
        return False

    wait_until(made, what="the new type takes an object")
    api.create("configmaps", namespace, "plain", annotations=annotations, data={"key": "value"})
    path = f"{destination.folder}/{group}/v1/things/{namespace}/sealed.yaml"
    content = wait_until(lambda: repository.read(path), what="the custom resource")
    assert 'kept: "yes"' in content
    assert "encryptedData: x" in content
    api.request("DELETE", manifests.DEFINITIONS.one("", f"things.{group}"))
    wait_until(lambda: not repository.read(path), what="its delete")
    wait_until(lambda: repository.read(destination.path("configmaps", "plain")), what="the ConfigMap")
    assert not leaks(places(shared, api, repository), APPLIED)


@pytest.mark.promise("P12")
def test_flower_shows_summaries(shared: Lane, api: Api, repository: Repository) -> None:
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

    (kwargs, *_) = wait_until(lambda: tasks_of(one), what="the task in Flower")
    assert kwargs.startswith(f"{{'dest': '{one.ref}', 'events': 'CREATE v1/configmaps/settings', 'first': ")
    shown = shared.tasks(f"kwargs:dest={one.ref}")
    assert {task["name"] for task in shown.values()} >= {"reverser.apply_events", "reverser.sweep_orphans"}
    assert all(f"'{one.ref}'" in task["kwargs"] for task in shown.values())
    wait_until(lambda: tasks_of(other), what="the task of the other destination")
    everything = json.dumps(shared.tasks()).encode()
    assert not [spelling for spelling in spellings(CONTENT) if spelling in everything]
