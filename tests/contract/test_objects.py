"""Create, read, list, update and delete: of each type, and what stands in an object's metadata."""

from __future__ import annotations

import datetime as dt
import re
from urllib.parse import quote

import pytest

from tests.contract import manifests
from tests.contract.client import Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES, Type

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SAMPLES = [*manifests.samples(), *manifests.more_samples(), (manifests.WIDGETS, {"spec": {"size": "small"}})]
MADE_BY_UPDATE = [
    SERVICES,
    manifests.ROLES,
    manifests.ROLE_BINDINGS,
    manifests.CLUSTER_ROLES,
    manifests.CLUSTER_ROLE_BINDINGS,
]
by_type = pytest.mark.parametrize(("type_", "fields"), SAMPLES, ids=[type_.qualified for type_, _ in SAMPLES])


@by_type
def test_an_object_lives_and_ends(client: Client, place: str, type_: Type, fields: Object) -> None:
    """Of each type, an object can be created, read, listed, changed and deleted."""
    name = manifests.unique("one")
    made = client.create(type_.all(place), type_.new(name, **fields))
    assert (made["apiVersion"], made["kind"]) == (type_.api_version, type_.kind)
    assert client.get(type_.one(place, name)) == made
    changed = client.update(type_.one(place, name), {**made, "metadata": {**made["metadata"], "labels": {"a": "b"}}})
    assert changed["metadata"]["labels"]["a"] == "b"
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    listed = [item for item in client.items(type_.all(place)) if item["metadata"]["name"] == name]
    # The objects of a list of a built-in type do not say what they are; those of a custom type do.
    assert [{**changed, **item} for item in listed] == [changed]
    assert all("kind" not in item for item in listed) or type_ is manifests.WIDGETS
    client.delete(type_.one(place, name), propagationPolicy="Background")
    # What has finalizers from the start waits for a controller.
    if type_ is not manifests.NAMESPACES and "finalizers" not in made["metadata"]:
        gone = client.call("GET", type_.one(place, name)).refused(404, "NotFound")
        assert gone["message"] == f'{type_.qualified} "{name}" not found'


@by_type
def test_what_the_server_adds(client: Client, place: str, type_: Type, fields: Object) -> None:
    """A new object has a uid, a time in whole seconds of UTC, a version, and its namespace if it has one."""
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    made = client.create(type_.all(place), type_.new(manifests.unique("one"), **fields))
    metadata = made["metadata"]
    assert UUID.fullmatch(metadata["uid"])
    assert metadata["resourceVersion"].isdigit()
    created = dt.datetime.strptime(metadata["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
    assert before <= created <= dt.datetime.now(dt.UTC)
    assert metadata.get("namespace") == (place if type_.namespaced else None)


@by_type
def test_what_a_user_wrote_stays(client: Client, place: str, type_: Type, fields: Object) -> None:
    """Every field that was written is there as it was written, beside what the server adds."""
    made = client.create(type_.all(place), type_.new(manifests.unique("one"), **fields))
    assert contains(made, fields)


def contains(whole: object, part: object) -> bool:
    """Whether all of `part` stands in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(contains(whole.get(key), value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and all(map(contains, whole, part)) and len(whole) == len(part)
    return whole == part


def test_a_deployment_gets_its_defaults(client: Client, place: str) -> None:
    """A Deployment says how many, how it rolls out and how its pods run, where its author did not."""
    spec = manifests.deployment(client, place, "web")["spec"]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["strategy"]) == (1, rolling)
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    pod = spec["template"]["spec"]
    assert {key: value for key, value in pod.items() if key != "containers"} == {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    assert pod["containers"] == [
        {
            "name": "web",
            "image": "nginx:1.27",
            "resources": {},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
        }
    ]


def test_a_service_gets_its_defaults(client: Client, place: str) -> None:
    """A Service gets an address in the cluster, a type, and names for its ports' protocol and target."""
    ports = {"spec": {"ports": [{"port": 80}]}}
    spec = client.create(SERVICES.all(place), SERVICES.new("web", **ports))["spec"]
    assert spec["ports"] == [{"protocol": "TCP", "port": 80, "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"], spec["internalTrafficPolicy"]) == ("ClusterIP", "None", "Cluster")
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", spec["clusterIP"])
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    other = client.create(SERVICES.all(place), SERVICES.new("other", **ports))["spec"]
    assert other["clusterIP"] != spec["clusterIP"]


def test_a_secret_is_kept_as_bytes(client: Client, place: str) -> None:
    """What is written as text into a Secret is kept in base64, and its type is Opaque."""
    made = client.create(SECRETS.all(place), SECRETS.new("git", stringData={"user": "alice"}, data={"key": "AAEC"}))
    assert (made["type"], made["data"]) == ("Opaque", {"user": "YWxpY2U=", "key": "AAEC"})
    assert "stringData" not in made


def test_a_name_is_taken_once(client: Client, place: str) -> None:
    """A second object of a name is refused, and the first one stays."""
    first = manifests.config_map(client, place, "one", data={"key": "first"})
    again = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one"))
    status = again.refused(409, "AlreadyExists")
    assert status["message"] == 'configmaps "one" already exists'
    assert status["details"] == {"name": "one", "kind": "configmaps"}
    assert client.get(CONFIG_MAPS.one(place, "one")) == first


def test_a_name_is_only_taken_in_its_namespace(client: Client, place: str) -> None:
    """The same name in two namespaces is two objects."""
    other = manifests.namespace(client)
    uids = {manifests.config_map(client, each, "one")["metadata"]["uid"] for each in (place, other)}
    assert len(uids) == 2


def test_a_generated_name(client: Client, place: str) -> None:
    """`generateName` is a prefix to which the server adds five letters and digits; a given name wins."""
    manifest = {"metadata": {"generateName": "web-"}}
    names = [client.create(CONFIG_MAPS.all(place), manifest)["metadata"]["name"] for _ in range(3)]
    assert all(re.fullmatch(r"web-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in names)
    assert len(set(names)) == 3
    both = client.create(CONFIG_MAPS.all(place), {"metadata": {"generateName": "web-", "name": "own"}})
    assert (both["metadata"]["name"], both["metadata"]["generateName"]) == ("own", "web-")


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "dash-", "two words", "x" * 254, "dot..dot"])
def test_a_name_is_a_domain_name(client: Client, place: str, name: str) -> None:
    """A name that is no DNS subdomain is refused with the field and the value."""
    status = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new(name)).refused(422, "Invalid")
    assert status["message"].startswith(f'ConfigMap "{name}" is invalid: metadata.name: Invalid value: ')
    [cause] = status["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "metadata.name")
    assert status["details"] == {"name": name, "kind": "ConfigMap", "causes": [cause]}


@pytest.mark.parametrize("name", [".git", "a:b", "a b", "a\nb", "a\n", "a\x00b", "caf\u00e9", "\u202ea", "x" * 253])
def test_a_role_may_have_any_name(client: Client, place: str, name: str) -> None:
    """Roles are named by segments of a path: with every character but a slash and a percent sign."""
    made = client.create(manifests.ROLES.all(place), manifests.ROLES.new(name, rules=[]))
    path = manifests.ROLES.one(place, quote(name, safe=""))
    assert made["metadata"]["name"] == client.get(path)["metadata"]["name"] == name
    client.delete(path)
    assert client.names(manifests.ROLES.all(place)) == []


@pytest.mark.parametrize("name", ["a.b", "x" * 64])
def test_a_service_is_a_domain_label(client: Client, place: str, name: str) -> None:
    """The name of a Service is stricter: it becomes a host name."""
    manifest = SERVICES.new(name, spec={"ports": [{"port": 80}]})
    client.call("POST", SERVICES.all(place), manifest).refused(422, "Invalid")


def test_an_object_needs_a_name(client: Client, place: str) -> None:
    """An object without a name is refused."""
    status = client.call("POST", CONFIG_MAPS.all(place), {"data": {}}).refused(422, "Invalid")
    assert status["message"] == (
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    )


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"a b": "c"}},
        {"labels": {"a": "b c"}},
        {"labels": {"a": "x" * 64}},
        {"annotations": {"a b": "c"}},
        {"annotations": {"a": "x" * 262_145}},
        {"finalizers": ["without-a-domain"]},
    ],
    ids=["label-name", "label-value", "label-length", "annotation-name", "annotation-length", "finalizer"],
)
def test_metadata_has_rules(client: Client, place: str, metadata: Object) -> None:
    """Labels, annotations and finalizers that Kubernetes does not allow are refused."""
    answer = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", metadata=metadata))
    answer.refused(422, "Invalid")


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"kind": "Secret"}, 400, "BadRequest"),
        ({"apiVersion": "v2"}, 400, "BadRequest"),
        ({"apiVersion": "apps/v1"}, 400, "BadRequest"),
        ({"metadata": {"name": "one", "namespace": "other"}}, 400, "BadRequest"),
        ({"metadata": {"name": "one", "resourceVersion": "5"}}, 500, ""),
    ],
    ids=["kind", "version", "group", "namespace", "resourceVersion"],
)
def test_a_body_fits_its_path(client: Client, place: str, change: Object, code: int, *, reason: str) -> None:
    """An object of another kind, version or namespace than its path is refused."""
    body = {**CONFIG_MAPS.new("one"), **change}
    client.call("POST", CONFIG_MAPS.all(place), body).refused(code, reason)


def test_a_body_may_leave_out_what_the_path_says(client: Client, place: str) -> None:
    """apiVersion, kind and namespace may be left out of a built-in type's object."""
    made = client.create(CONFIG_MAPS.all(place), {"metadata": {"name": "one"}})
    assert (made["apiVersion"], made["kind"], made["metadata"]["namespace"]) == ("v1", "ConfigMap", place)


def test_yaml_is_understood(client: Client, place: str) -> None:
    """An object may be written as YAML."""
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {key: value}\n"
    made = client.call("POST", CONFIG_MAPS.all(place), text, kind="application/yaml").done(201)
    assert made["data"] == {"key": "value"}


def test_a_list_says_what_it_is(client: Client, place: str) -> None:
    """A list has a kind of its own, a resourceVersion, and its objects by namespace and name."""
    for name in ("b", "a", "c"):
        manifests.config_map(client, place, name)
    found = client.get(CONFIG_MAPS.all(place))
    assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMapList")
    assert found["metadata"]["resourceVersion"].isdigit()
    assert [item["metadata"]["name"] for item in found["items"]] == ["a", "b", "c"]


def test_an_empty_list_has_no_items(client: Client, place: str) -> None:
    """A list of nothing has an empty array, not a null."""
    assert client.get(DEPLOYMENTS.all(place))["items"] == []


def test_a_list_of_all_namespaces(client: Client, place: str) -> None:
    """Without a namespace in the path, the objects of all namespaces are listed, in order."""
    other = manifests.namespace(client)
    for each in (place, other):
        manifests.config_map(client, each, "one")
    found = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in client.items(CONFIG_MAPS.all())]
    assert {(place, "one"), (other, "one")} <= set(found)
    assert found == sorted(found)


def test_an_update_needs_its_object(client: Client, place: str) -> None:
    """An update of an object that is not there is a 404; it does not create one."""
    status = client.call("PUT", CONFIG_MAPS.one(place, "one"), CONFIG_MAPS.new("one")).refused(404, "NotFound")
    assert status["details"] == {"name": "one", "kind": "configmaps"}
    assert client.names(CONFIG_MAPS.all(place)) == []


@pytest.mark.parametrize("type_", MADE_BY_UPDATE, ids=lambda type_: type_.resource)
def test_an_update_makes_its_object(client: Client, place: str, type_: Type) -> None:
    """Of some types, an update makes the object that is not there; so `kubectl replace` does for roles."""
    fields = next(fields for one, fields in SAMPLES if one is type_)
    name = manifests.unique("one")
    made = client.call("PUT", type_.one(place, name), type_.new(name, metadata={"resourceVersion": "5"}, **fields))
    assert client.get(type_.one(place, name)) == made.done(201)


def test_an_update_keeps_the_name(client: Client, place: str) -> None:
    """An object of another name than the path's is refused."""
    made = manifests.config_map(client, place, "one")
    other = {**made, "metadata": {**made["metadata"], "name": "two"}}
    status = client.call("PUT", CONFIG_MAPS.one(place, "one"), other).refused(400, "BadRequest")
    assert status["message"] == "the name of the object (two) does not match the name on the URL (one)"


@pytest.mark.parametrize("field", ["creationTimestamp", "generation", "selfLink"])
def test_some_metadata_is_the_servers(client: Client, place: str, field: str) -> None:
    """What the server says about an object cannot be changed by a client; the attempt is passed over."""
    made = manifests.config_map(client, place, "one")
    wrong: Object = {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7, "selfLink": "/nowhere"}
    changed = client.update(
        CONFIG_MAPS.one(place, "one"), {**made, "metadata": {**made["metadata"], field: wrong[field]}}
    )
    assert changed["metadata"].get(field) == made["metadata"].get(field)


def test_an_immutable_config_map(client: Client, place: str) -> None:
    """The data of an immutable ConfigMap stays as it is; its labels do not."""
    manifests.config_map(client, place, "one", data={"key": "value"}, immutable=True)
    path = CONFIG_MAPS.one(place, "one")
    status = client.call("PUT", path, CONFIG_MAPS.new("one", data={"key": "other"}, immutable=True))
    assert "field is immutable when `immutable` is set" in status.refused(422, "Invalid")["message"]
    assert client.merge(path, {"metadata": {"labels": {"a": "b"}}})["metadata"]["labels"] == {"a": "b"}


def test_the_selector_of_a_deployment_is_immutable(client: Client, place: str) -> None:
    """A Deployment keeps its selector: its pods would be lost otherwise."""
    manifests.deployment(client, place, "web")
    labels = {"app": "other"}
    change = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    answer = client.call("PATCH", DEPLOYMENTS.one(place, "web"), change, kind="application/merge-patch+json")
    assert "spec.selector: Invalid value" in answer.refused(422, "Invalid")["message"]


def test_a_null_is_nothing(client: Client, place: str) -> None:
    """A null in an object is a field that was left out."""
    made = client.create(CONFIG_MAPS.all(place), {**CONFIG_MAPS.new("one"), "data": None, "binaryData": {}})
    assert {"data", "binaryData"} & set(made) == set()
