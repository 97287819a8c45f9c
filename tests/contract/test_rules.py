"""What built-in types refuse: the mistakes that people make most, with the words of the real API server."""

from __future__ import annotations

import copy

import pytest

from tests.contract import manifests
from tests.contract.client import MERGE, Client, Object
from tests.contract.manifests import (
    CLUSTER_ROLE_BINDINGS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    RBAC,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    Type,
)

# Type, path of the field in a good object, the value that it gets (None takes it away), and what is said about it.
MISTAKES: list[tuple[Type, str, object, str]] = [
    (DEPLOYMENTS, "spec", None, "spec.selector: Required value"),
    (DEPLOYMENTS, "spec.selector", None, "spec.selector: Required value"),
    (
        DEPLOYMENTS,
        "spec.template.metadata.labels",
        {"app": "other"},
        'spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`',
    ),
    (DEPLOYMENTS, "spec.template.spec.containers", [], "spec.template.spec.containers: Required value"),
    (
        DEPLOYMENTS,
        "spec.template.spec.containers.0.image",
        None,
        "spec.template.spec.containers[0].image: Required value",
    ),
    (
        DEPLOYMENTS,
        "spec.template.spec.containers.0.name",
        "Web",
        'spec.template.spec.containers[0].name: Invalid value: "Web"',
    ),
    (DEPLOYMENTS, "spec.replicas", -1, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    (
        DEPLOYMENTS,
        "spec.strategy",
        {"type": "Sometimes"},
        'supported values: "Recreate", "RollingUpdate"',
    ),
    (
        DEPLOYMENTS,
        "spec.template.spec.containers.0.ports",
        [{"containerPort": 70000}],
        "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535",
    ),
    (STATEFUL_SETS, "spec.selector", None, "spec.selector: Required value"),
    (SERVICES, "spec.ports", None, "spec.ports: Required value"),
    (SERVICES, "spec.ports.0.port", 0, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
    (SERVICES, "spec.ports.0.protocol", "ICMP", 'spec.ports[0].protocol: Unsupported value: "ICMP"'),
    (SERVICES, "spec.type", "Local", 'spec.type: Unsupported value: "Local"'),
    (SERVICES, "spec.ports", [{"port": 80}, {"port": 81}], "spec.ports[0].name: Required value"),
    (CONFIG_MAPS, "data", {"a b": "x"}, 'data[a b]: Invalid value: "a b"'),
    (CONFIG_MAPS, "data", {"bytes": "x"}, 'Invalid value: "bytes": duplicate of key present in'),
    (SECRETS, "data", {"..": ""}, 'data[..]: Invalid value: ".."'),
    (ROLES, "rules.0.verbs", [], "rules[0].verbs: Required value: verbs must contain at least one value"),
    (ROLES, "rules.0.apiGroups", [], "rules[0].apiGroups: Required value"),
    (ROLES, "rules.0.resources", [], "rules[0].resources: Required value"),
    (ROLE_BINDINGS, "roleRef.name", "", "roleRef.name: Required value"),
    (ROLE_BINDINGS, "roleRef.kind", "Rule", 'roleRef.kind: Unsupported value: "Rule"'),
    (CLUSTER_ROLE_BINDINGS, "roleRef.kind", "Role", 'roleRef.kind: Unsupported value: "Role"'),
]


def changed(found: Object, path: str, value: object) -> Object:
    """A copy of an object with one field changed, or taken away."""
    copied = copy.deepcopy(found)
    at: object = copied
    *way, last = path.split(".")
    for name in way:
        at = at[int(name)] if isinstance(at, list) else at[name]  # type: ignore[index]
    assert isinstance(at, dict)
    if value is None:
        at.pop(last, None)
    else:
        at[last] = value
    return copied


def sample_of(type_: Type) -> Object:
    """The fields of a good object."""
    return next(fields for one, fields in manifests.samples() if one is type_)


@pytest.mark.parametrize(
    ("type_", "path", "value", "message"),
    MISTAKES,
    ids=[f"{type_.resource}-{path}-{value}" for type_, path, value, _ in MISTAKES],
)
def test_a_mistake(client: Client, place: str, type_: Type, path: str, *, value: object, message: str) -> None:
    """Each mistake is refused with the field and the reason, and nothing is created."""
    sample = sample_of(type_)
    name = manifests.unique("one")
    status = client.call("POST", type_.all(place), changed(type_.new(name, **sample), path, value))
    assert message in status.refused(422, "Invalid")["message"]
    assert name not in client.names(type_.all(place))


def test_a_secret_is_base64(client: Client, place: str) -> None:
    """Data of a Secret that is no base64 is a 400."""
    answer = client.call("POST", SECRETS.all(place), SECRETS.new("one", data={"key": "not base64!"}))
    assert "illegal base64 data" in answer.refused(400, "BadRequest")["message"]


# Type, what is changed with a merge patch, and what is said about it.
FROZEN: list[tuple[Type, Object, str]] = [
    (ROLE_BINDINGS, {"roleRef": {"name": "edit"}}, "roleRef: Invalid value: "),
    (SERVICES, {"spec": {"clusterIP": "10.96.0.250"}}, "may not change once set"),
    (STATEFUL_SETS, {"spec": {"serviceName": "other"}}, "spec: Forbidden: updates to statefulset spec for fields"),
    (SECRETS, {"type": "example.com/other"}, "type: Invalid value: "),
]


@pytest.mark.parametrize(("type_", "change", "message"), FROZEN, ids=[one.resource for one, _, _ in FROZEN])
def test_a_field_that_stays(client: Client, place: str, type_: Type, change: Object, *, message: str) -> None:
    """A field that is fixed for an object's life cannot be changed."""
    sample = sample_of(type_)
    made = client.create(type_.all(place), type_.new("one", **sample))
    answer = client.call("PATCH", type_.one(place, "one"), change, kind=MERGE)
    assert message in answer.refused(422, "Invalid")["message"]
    assert client.get(type_.one(place, "one")) == made


def test_an_address_stays(client: Client, place: str) -> None:
    """A Service that is replaced by one without an address keeps its own, as `kubectl replace` needs it."""
    manifest = SERVICES.new("web", spec={"ports": [{"port": 80}]})
    made = client.create(SERVICES.all(place), manifest)
    kept = client.update(SERVICES.one(place, "web"), changed(manifest, "spec.ports", [{"port": 81}]))
    assert kept["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert kept["spec"]["ports"][0]["port"] == 81


def test_a_service_without_an_address(client: Client, place: str) -> None:
    """A headless Service has None for an address, and an external one has none at all."""
    headless = SERVICES.new("headless", spec={"clusterIP": "None", "ports": [{"port": 80}]})
    assert client.create(SERVICES.all(place), headless)["spec"]["clusterIPs"] == ["None"]
    external = SERVICES.new("external", spec={"type": "ExternalName", "externalName": "example.com"})
    assert "clusterIP" not in client.create(SERVICES.all(place), external)["spec"]


def test_a_binding_names_its_group(client: Client, place: str) -> None:
    """The API groups of a binding's role and subjects are filled in."""
    subjects = [{"kind": "User", "name": "alice"}, {"kind": "ServiceAccount", "name": "robot", "namespace": place}]
    made = client.create(
        ROLE_BINDINGS.all(place), ROLE_BINDINGS.new("one", roleRef={"kind": "Role", "name": "r"}, subjects=subjects)
    )
    assert made["roleRef"] == {"apiGroup": RBAC, "kind": "Role", "name": "r"}
    assert made["subjects"][0] == {"apiGroup": RBAC, "kind": "User", "name": "alice"}
    assert made["subjects"][1] == {"kind": "ServiceAccount", "name": "robot", "namespace": place}
