"""What a rule says of itself: to kubectl in its status, to whoever types SQL in `rule_history`."""

from __future__ import annotations

import json

import pytest

from tests.system.cluster import Api, Destination, repo_config
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

# A pattern of a rule -> the reason why it selects nothing.
PROBLEMS = {
    "secrets": "EncryptionRequired",
    "unicorns": "NotServed",
    "deployments/scale": "Subresource",
    "namespaces": "OtherScope",
    "services": "OtherVersionOnly",
}


@pytest.mark.kubectl
def test_a_rule_says_what_became_of_it(shared: Lane, api: Api, repository: Repository) -> None:
    """`kubectl get wr` shows the types and files that a rule has, what it could not have and why, and its version."""
    namespace = api.namespace()
    for name in ("one", "two"):
        api.create("configmaps", namespace, name, labels={"app": name}, data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    rules = [
        {"resources": ["configmaps", *(one for one in PROBLEMS if one != "services")]},
        {"resources": ["services"], "apiVersions": ["v9"]},
    ]
    api.merge("watchrules", namespace, "prod", spec={"rules": rules})
    shared.wait_seeded(destination.ref)

    def shown() -> dict[str, object]:
        words = ("get", "wr", "prod", "--namespace", namespace, "--output", "json")
        return dict(json.loads(api.kubectl_works(*words)).get("status") or {})

    status = wait_until(lambda: found if (found := shown()).get("objects") == 2 else {}, what="the files are counted")
    assert (status["destination"], status["resolvedTypes"]) == (destination.ref, ["v1/configmaps"])
    problems = {one["resource"]: one for one in status["problems"]}  # type: ignore[attr-defined]
    assert {name: one["reason"] for name, one in problems.items()} == PROBLEMS
    assert all(one["message"] for one in problems.values())
    (ready,) = [one for one in status["conditions"] if one["type"] == "Ready"]  # type: ignore[attr-defined]
    assert (ready["status"], ready["reason"]) == ("True", "Ready")
    assert ready["message"].startswith(f"feeds {destination.ref} with 1 type; not with: ")
    assert all(one["message"] in ready["message"] for one in problems.values())
    head, row = api.kubectl_works("get", "wr", "prod", "--namespace", namespace).splitlines()
    assert head.split() == ["NAME", "DESTINATION", "READY", "REASON", "AGE"]
    assert row.split()[:4] == ["prod", "prod", "True", "Ready"]
    (last,) = [one for one in history(shared, namespace) if one["valid_to"] is None]
    assert status["ruleVersion"] == last["version"]


def test_the_history_of_a_rule(shared: Lane, api: Api, repository: Repository) -> None:
    """Each change of what a rule selects is a version in SQL, with its difference; the last says how it ended."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)

    def change(**spec: object) -> None:
        count = len(history(shared, namespace))
        api.merge("watchrules", namespace, "prod", spec=spec)
        wait_until(lambda: len(history(shared, namespace)) == count + 1, what="a new version")

    change(rules=[{"resources": ["configmaps", "limitranges"]}])
    labels = {"labelSelector": {"matchLabels": {"app": "web"}}, "ignoreFields": ["/data/noise"]}
    change(rules=[{"resources": ["configmaps"], **labels}])
    api.merge("gitdestinations", namespace, "prod", spec={"branch": "other"})
    wait_until(lambda: len(history(shared, namespace)) == 4, what="the version for the other branch")
    api.delete("watchrules", namespace, "prod")
    wait_until(lambda: history(shared, namespace)[-1]["valid_to"], 90, what="the end of the last version")

    found = history(shared, namespace)
    assert [one["version"] for one in found] == [1, 2, 3, 4]
    assert [str(one["difference"]).split(";")[0] for one in found][:2] == [
        "first version",
        "+ v1/limitranges",
    ]
    third = str(found[2]["difference"])
    assert "- v1/limitranges" in third
    assert "app" in third
    assert "/data/noise" in third
    assert found[3]["difference"] == "branch main -> other"
    assert all(one["valid_to"] for one in found)
    assert found[3]["ended"] == "the rule was deleted"


def history(lane: Lane, namespace: str) -> list[dict[str, object]]:
    """The versions of the namespace's rule, the oldest first."""
    query = "SELECT * FROM rule_history WHERE rule = :rule ORDER BY version"
    return [dict(row) for row in lane.rows(query, rule=f"WatchRule {namespace}/prod")]
