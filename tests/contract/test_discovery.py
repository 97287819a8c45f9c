"""What a server says about itself: versions, groups, types, schemas; what kubectl and client libraries start from."""

from __future__ import annotations

import pytest

from tests.contract.client import Client, Object

V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
# The API server gives a namespace's deletion to a controller, one at a time.
NO_COLLECTION = [verb for verb in ALL_VERBS if verb != "deletecollection"]
STATUS_VERBS = ["get", "patch", "update"]

# Path of the group and version, plural, kind, singular, namespaced, short names, categories.
TYPES = [
    ("/api/v1", "configmaps", "ConfigMap", "configmap", True, ["cm"], []),
    ("/api/v1", "secrets", "Secret", "secret", True, [], []),
    ("/api/v1", "services", "Service", "service", True, ["svc"], ["all"]),
    ("/api/v1", "namespaces", "Namespace", "namespace", False, ["ns"], []),
    ("/apis/apps/v1", "deployments", "Deployment", "deployment", True, ["deploy"], ["all"]),
    ("/apis/apps/v1", "statefulsets", "StatefulSet", "statefulset", True, ["sts"], ["all"]),
    ("/apis/rbac.authorization.k8s.io/v1", "roles", "Role", "role", True, [], []),
    ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", "rolebinding", True, [], []),
    ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", "clusterrole", False, [], []),
    (
        "/apis/rbac.authorization.k8s.io/v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        "clusterrolebinding",
        False,
        [],
        [],
    ),
    (
        "/apis/apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "customresourcedefinition",
        False,
        ["crd", "crds"],
        ["api-extensions"],
    ),
    ("/apis/contract.example.com/v1", "widgets", "Widget", "widget", True, ["wd"], ["contract"]),
    ("/apis/contract.example.com/v1beta1", "widgets", "Widget", "widget", True, ["wd"], ["contract"]),
]
by_type = pytest.mark.parametrize(
    ("path", "plural", "kind", "singular", "namespaced", "short", "categories"),
    TYPES,
    ids=[f"{path.rpartition('/')[2]}-{plural}" for path, plural, *_ in TYPES],
)


def verbs_of(plural: str) -> list[str]:
    """What can be done with the objects of a type."""
    return NO_COLLECTION if plural == "namespaces" else ALL_VERBS


def test_the_version_is_named(client: Client) -> None:
    """`/version` names a Kubernetes version in the fields that clients compare."""
    found = client.get("/version")
    assert found["gitVersion"].startswith(f"v{found['major']}.{found['minor']}")
    assert {"gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"} <= set(found)


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_a_server_says_that_it_is_well(client: Client, path: str) -> None:
    """A probe answers `ok`."""
    answer = client.call("GET", path)
    assert (answer.code, answer.body) == (200, b"ok")


def test_the_core_versions(client: Client) -> None:
    """`/api` names the versions of the core group."""
    found = client.get("/api")
    assert (found["kind"], found["versions"]) == ("APIVersions", ["v1"])


def test_the_groups(client: Client) -> None:
    """`/apis` names each group with its versions, the preferred one first."""
    found = client.get("/apis")
    assert (found["kind"], found["apiVersion"]) == ("APIGroupList", "v1")
    groups = {group["name"]: group for group in found["groups"]}
    assert {"apps", "rbac.authorization.k8s.io", "apiextensions.k8s.io"} <= set(groups)
    ours = groups["contract.example.com"]
    assert [version["version"] for version in ours["versions"]] == ["v1", "v1beta1"]
    assert ours["preferredVersion"] == {"groupVersion": "contract.example.com/v1", "version": "v1"}


@pytest.mark.parametrize("group", ["apps", "contract.example.com"])
def test_one_group(client: Client, group: str) -> None:
    """`/apis/GROUP` says the same about one group as `/apis`."""
    found = client.get(f"/apis/{group}")
    assert (found.pop("kind"), found.pop("apiVersion")) == ("APIGroup", "v1")
    assert found in client.get("/apis")["groups"]


@by_type
def test_a_type_is_listed(
    client: Client,
    path: str,
    *,
    plural: str,
    kind: str,
    singular: str,
    namespaced: bool,
    short: list[str],
    categories: list[str],
) -> None:
    """The list of a group's version says how each type is called and what can be done with it."""
    found = client.get(path)
    assert found["kind"] == "APIResourceList"
    assert found["groupVersion"] == path.removeprefix("/apis/").removeprefix("/api/")
    [resource] = [resource for resource in found["resources"] if resource["name"] == plural]
    assert (resource["kind"], resource["singularName"], resource["namespaced"]) == (kind, singular, namespaced)
    assert (resource.get("shortNames", []), resource.get("categories", [])) == (short, categories)
    assert sorted(resource["verbs"]) == verbs_of(plural)


@by_type
def test_a_type_is_in_the_aggregated_document(
    client: Client,
    path: str,
    *,
    plural: str,
    kind: str,
    singular: str,
    namespaced: bool,
    short: list[str],
    categories: list[str],
) -> None:
    """One document of all groups says the same as the lists, for clients that ask for it."""
    root, _, version = path.rpartition("/")
    answer = client.call("GET", "/api" if root == "/api" else "/apis", accept=V2)
    assert answer.headers["Content-Type"].startswith(V2)
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    resource = discovered(answer.json, root.removeprefix("/apis/").removeprefix("/api"), version)[plural]
    # Group and version of a kind are empty where they are those of the resource.
    assert resource["responseKind"]["kind"] == kind
    assert (resource["scope"], resource["singularResource"]) == ("Namespaced" if namespaced else "Cluster", singular)
    assert (resource.get("shortNames", []), resource.get("categories", [])) == (short, categories)
    assert sorted(resource["verbs"]) == verbs_of(plural)


def discovered(document: Object, group: str, version: str) -> dict[str, Object]:
    """The resources of one version of an aggregated document."""
    [versions] = [item["versions"] for item in document["items"] if item["metadata"].get("name", "") == group]
    [found] = [item["resources"] for item in versions if item["version"] == version]
    return {resource["resource"]: resource for resource in found}


def test_subresources_are_listed(client: Client) -> None:
    """Status and scale stand beside their type in both forms, the scale with the kind that it speaks."""
    listed = {resource["name"]: resource for resource in client.get("/apis/apps/v1")["resources"]}
    assert sorted(listed["deployments/status"]["verbs"]) == STATUS_VERBS
    scale = listed["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    document = client.call("GET", "/apis", accept=V2).json
    for group in ("apps", "contract.example.com"):
        plural = "deployments" if group == "apps" else "widgets"
        under = {one["subresource"]: one for one in discovered(document, group, "v1")[plural]["subresources"]}
        assert set(under) == {"scale", "status"}
        assert under["scale"]["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


@pytest.mark.parametrize(
    "path", ["/apis/missing.example.com", "/apis/missing.example.com/v1", "/apis/apps/v9", "/api/v2"]
)
def test_an_unknown_group_is_not_found(client: Client, path: str) -> None:
    """A group or version that is not served is a plain 404."""
    assert client.call("GET", path).code == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [("api/v1", "ConfigMap"), ("apis/apps/v1", "Deployment"), ("apis/contract.example.com/v1", "Widget")],
)
def test_schemas_are_described(client: Client, path: str, kind: str) -> None:
    """`/openapi/v3` leads to a document per version, whose schemas name their kinds and explain their fields."""
    address = client.get("/openapi/v3")["paths"][path]["serverRelativeURL"]
    document = client.get(address)
    assert document["openapi"].startswith("3.")
    group, _, version = path.removeprefix("apis/").removeprefix("api/").rpartition("/")
    wanted = {"group": group, "version": version, "kind": kind}
    key = "x-kubernetes-group-version-kind"
    [schema] = [one for one in document["components"]["schemas"].values() if one.get(key) == [wanted]]
    assert schema["description"]
    assert {"apiVersion", "kind", "metadata"} <= set(schema["properties"])
    assert f"/{path}/namespaces/{{namespace}}/{kind.lower()}s/{{name}}" in document["paths"]


def test_the_schema_of_a_custom_type_is_its_own(client: Client) -> None:
    """The schema of a custom type has the fields, the rules and the words of its definition."""
    address = client.get("/openapi/v3")["paths"]["apis/contract.example.com/v1"]["serverRelativeURL"]
    schema = client.get(address)["components"]["schemas"]["com.example.contract.v1.Widget"]
    spec = schema["properties"]["spec"]
    assert spec["description"] == "What the widget should be."
    assert (spec["required"], spec["properties"]["size"]["enum"]) == (["size"], ["small", "large"])


def test_a_person_may_ask_what_is_allowed(client: Client, place: str) -> None:
    """An administrator who asks whether something is allowed is told so."""
    attributes = {"namespace": place, "verb": "create", "resource": "configmaps"}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    found = client.create(path, {**review, "spec": {"resourceAttributes": attributes}})
    assert found["kind"] == "SelfSubjectAccessReview"
    assert found["status"]["allowed"] is True
