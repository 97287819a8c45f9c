"""What is stored of a body, and why a body is refused, in the words of kube-apiserver."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sandbox import admitting, decoding, kinds
from tests.unit.sandbox import samples

SELECTOR = {"matchLabels": {"a": "b"}}
POD = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
DESTINATION = {"repoRef": {"name": "repo"}, "branch": "main", "baseFolder": "clusters/prod"}
RULES_SKIPPED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the "
    "existing errors to complete validation"
)


@pytest.mark.parametrize(
    ("resource", "parts", "message"),
    [
        (
            "configmaps",
            {"metadata": {"name": "A_b"}},
            (
                'metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of lower case '
                "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
                "'example.com', regex used for validation is "
                "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ),
        ),
        ("configmaps", {"metadata": {"name": ""}}, "metadata.name: Required value: name or generateName is required"),
        ("namespaces", {"metadata": {"name": "a.b"}}, 'metadata.name: Invalid value: "a.b": must not contain dots'),
        ("services", {"metadata": {"name": "x"}, "spec": {}}, "spec.ports: Required value"),
        ("roles", {"metadata": {"name": ".."}}, "metadata.name: Invalid value: \"..\": may not be '..'"),
        ("roles", {"metadata": {"name": "a/b"}}, "metadata.name: Invalid value: \"a/b\": may not contain '/'"),
        (
            "configmaps",
            {"data": {"a": "1"}, "binaryData": {"a": "eA=="}},
            'data[a]: Invalid value: "a": duplicate of key present in binaryData',
        ),
        (
            "jobs",
            {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}},
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
        ),
        (
            "ingresses",
            {},
            "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
        ),
        (
            "deployments",
            {"spec": {"selector": SELECTOR, "template": {**POD, "metadata": {"labels": {"a": "c"}}}}},
            'spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not match template `labels`',
        ),
    ],
)
def test_a_built_in_is_refused_with_the_servers_words(resource: str, parts: dict[str, Any], message: str) -> None:
    """What a real server refuses is refused here, with the same message."""
    refused = samples.refusal(resource, samples.written(resource, **parts))
    assert refused.code == 422
    assert refused.status["message"].partition(" is invalid: ")[2] == message
    assert refused.status["details"]["causes"][0]["field"] == message.partition(":")[0]


def test_all_causes_stand_in_one_answer() -> None:
    """Whoever sends an object with several mistakes reads all of them at once."""
    refused = samples.refusal("deployments", samples.written("deployments", spec={}))
    assert str(refused) == (
        'Deployment.apps "x" is invalid: [spec.selector: Required value, spec.template.metadata.labels: Invalid value: '
        "null: `selector` does not match template `labels`, spec.template.spec.containers: Required value]"
    )


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({}, ["spec.repoRef: Required value", "spec.branch: Required value", "spec.baseFolder: Required value"]),
        (None, ["spec: Required value"]),
        ([], ['spec: Invalid value: "array": spec in body must be of type object: "array"']),
        (
            DESTINATION | {"baseFolder": 5},
            ['spec.baseFolder: Invalid value: "integer": spec.baseFolder in body must be of type string: "integer"'],
        ),
    ],
)
def test_a_custom_resource_is_held_to_its_schema(spec: Any, causes: list[str]) -> None:
    """Types and required fields of a definition are checked, and the answer says that its CEL rules were not."""
    refused = samples.refusal("gitdestinations", samples.written("gitdestinations", spec=spec))
    found = [f"{one['field']}: {one['message']}" for one in refused.status["details"]["causes"]]
    assert sorted(found) == sorted([*causes, RULES_SKIPPED])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "port",
            True,
            'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
        ),
        ("list", ["abcd"], "spec.list[0]: Too long: may not be more than 3 bytes"),
        ("list", ["a", "b", "c"], "spec.list: Too many: 3: must have at most 2 items"),
        ("map", {"k": 0}, "spec.map.k: Invalid value: 0: spec.map.k in body should be greater than or equal to 1"),
        ("map", {"k": 6}, "spec.map.k: Invalid value: 6: spec.map.k in body should be less than or equal to 5"),
        ("set", ["a", "a"], 'spec.set[1]: Duplicate value: "a"'),
        ("keyed", [{"type": "a"}, {"type": "a"}], 'spec.keyed[1]: Duplicate value: {"type":"a"}'),
        ("embedded", {"kind": "K"}, "spec.embedded.apiVersion: Required value"),
        ("time", "now", 'spec.time: Invalid value: "now": spec.time in body must be of type date-time: "now"'),
        ("word", "A", "spec.word: Invalid value: \"A\": spec.word in body should match '^[a-z]+$'"),
        ("word", "a\n", "spec.word: Invalid value: \"a\\n\": spec.word in body should match '^[a-z]+$'"),
        ("choice", "c", 'spec.choice: Unsupported value: "c": supported values: "a", "b"'),
        ("even", 3, "spec.even: Invalid value: 3: spec.even in body should be a multiple of 2"),
        ("few", {}, "spec.few: Invalid value: 0: spec.few in body should have at least 1 properties"),
        ("count", 1.5, 'spec.count: Invalid value: "number": spec.count in body must be of type integer: "number"'),
        ("count", True, 'spec.count: Invalid value: "boolean": spec.count in body must be of type integer: "boolean"'),
    ],
)
def test_each_keyword_of_a_schema_has_the_servers_words(field: str, value: Any, message: str) -> None:
    """A value that a schema refuses is refused with the message of the real server."""
    assert str(samples.refusal("foos", samples.written("foos", spec={field: value}))) == (
        f'Foo.example.com "x" is invalid: {message}'
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "http"),
        ("port", 80),
        ("maybe", None),
        ("free", {"any": {"thing": None}}),
        ("embedded", {"apiVersion": "v1", "kind": "K", "else": 1}),
        ("time", "2026-11-23T16:18:41Z"),
        ("set", ["a", "b"]),
    ],
)
def test_a_legal_value_is_kept_as_it_is(field: str, value: Any) -> None:
    """What the schema allows is stored as it was written, null and unknown fields included."""
    stored = samples.admit("foos", samples.written("foos", spec={field: value}), strict="Strict")
    assert stored["spec"][field] == value


def test_defaults_of_a_schema_are_filled_in_at_any_depth() -> None:
    """A default is completed by the defaults below it; what was written stays."""
    assert samples.admit("foos", samples.written("foos", spec={}))["spec"] == {"count": 2, "deep": {"in": "dd"}}
    assert samples.admit("foos", samples.written("foos", spec={"count": None}))["spec"]["count"] == 2
    assert samples.admit("foos", samples.written("foos", spec={"deep": {"in": "x"}}))["spec"]["deep"] == {"in": "x"}


def test_unknown_fields_are_dropped_told_or_refused() -> None:
    """A misspelt field warns by default, fails when the client asks for it, and is never stored."""
    new = samples.written("gitdestinations", spec=DESTINATION | {"brunch": 1}, foo=1, metadata={"bar": 1})
    for how, warned in (("", True), ("Warn", True), ("Ignore", False)):
        admitted = admitting.admit(
            samples.registry(),
            samples.kind("gitdestinations"),
            new,
            old=None,
            subresource="",
            field_validation=how,
        )
        assert admitted.object["spec"] == DESTINATION
        assert admitted.warnings == (
            ('unknown field "metadata.bar"', 'unknown field "spec.brunch"', 'unknown field "foo"') if warned else ()
        )
    refused = samples.refusal("gitdestinations", new, strict="Strict")
    assert refused.code == 400
    assert 'strict decoding error: unknown field "metadata.bar", unknown field "spec.brunch"' in str(refused)


@pytest.mark.parametrize(
    ("resource", "parts", "message"),
    [
        ("configmaps", {"data": {"a": 1}}, "number into Go struct field ConfigMap.data of type string"),
        ("deployments", {"spec": []}, "array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        (
            "deployments",
            {"spec": {"replicas": "x"}},
            "string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "gitdestinations",
            {"metadata": {"labels": {"a": 1}}},
            "number into Go struct field ObjectMeta.labels of type string",
        ),
    ],
)
def test_a_value_of_another_type_is_told_as_go_tells_it(resource: str, parts: dict[str, Any], message: str) -> None:
    """A body that Go could not decode is a bad request, with Go's words."""
    refused = samples.refusal(resource, samples.written(resource, **parts))
    assert refused.code == 400
    assert str(refused).endswith(f": json: cannot unmarshal {message}")


def test_status_and_spec_are_written_by_different_requests() -> None:
    """The main resource never changes status, and the status subresource changes nothing else."""
    stored = samples.admit("foos", samples.written("foos", spec={}, status={"n": 9}))
    assert "status" not in stored
    with_status = samples.admit(
        "foos",
        samples.written("foos", spec={"count": 5}, status={"n": 1}, metadata={"labels": {"a": "b"}}),
        old=stored,
        subresource="status",
    )
    assert with_status == stored | {"status": {"n": 1}}
    changed = samples.admit("foos", samples.written("foos", spec={"count": 5}, status={"n": 2}), old=with_status)
    assert (changed["status"], changed["spec"]["count"]) == ({"n": 1}, 5)


def test_generation_counts_changes_of_what_is_wanted() -> None:
    """Labels and status leave the generation alone; a change of the spec raises it by one."""
    stored = samples.admit("foos", samples.written("foos", spec={}))
    labelled = samples.admit("foos", samples.written("foos", spec={}, metadata={"labels": {"a": "b"}}), old=stored)
    changed = samples.admit("foos", samples.written("foos", spec={"count": 3}), old=labelled)
    assert [one["metadata"]["generation"] for one in (stored, labelled, changed)] == [1, 1, 2]
    assert "generation" not in samples.admit("configmaps", samples.written("configmaps"))["metadata"]


def test_a_deployment_has_the_servers_defaults() -> None:
    """A short Deployment is stored with all that a real server adds."""
    stored = samples.admit("deployments", samples.written("deployments", spec={"selector": SELECTOR, "template": POD}))
    assert stored["spec"] == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "selector": SELECTOR,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "image": "i:1",
                        "imagePullPolicy": "IfNotPresent",
                        "resources": {},
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File",
                    }
                ],
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30,
            },
        },
    }


def test_a_secret_keeps_what_was_written_as_text() -> None:
    """`stringData` becomes `data`, and is not stored itself."""
    stored = samples.admit("secrets", samples.written("secrets", stringData={"a": "b"}, data={"z": "eA=="}))
    assert (stored["data"], stored["type"], "stringData" in stored) == ({"a": "Yg==", "z": "eA=="}, "Opaque", False)


def test_a_service_keeps_its_address() -> None:
    """The address of a Service survives an update that does not name it, and may not be changed."""
    spec = {"ports": [{"port": 80}]}
    stored = samples.admit("services", samples.written("services", spec=spec))
    again = samples.admit("services", samples.written("services", spec={"ports": [{"port": 81}]}), old=stored)
    assert again["spec"]["clusterIP"] == stored["spec"]["clusterIP"]
    refused = samples.refusal(
        "services", samples.written("services", spec=spec | {"clusterIP": "10.96.9.9"}), old=stored
    )
    assert 'spec.clusterIPs[0]: Invalid value: ["10.96.9.9"]: may not change once set' in str(refused)


@pytest.mark.parametrize(
    ("resource", "before", "after", "message"),
    [
        (
            "configmaps",
            {"immutable": True, "data": {"a": "b"}},
            {"immutable": True},
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        ("secrets", {}, {"type": "foo"}, 'type: Invalid value: "foo": field is immutable'),
        (
            "clusterrolebindings",
            {"roleRef": {"kind": "ClusterRole", "name": "a"}},
            {"roleRef": {"kind": "ClusterRole", "name": "b"}},
            "cannot change roleRef",
        ),
        (
            "statefulsets",
            {"spec": {"serviceName": "a", "selector": SELECTOR, "template": POD}},
            {"spec": {"serviceName": "b", "selector": SELECTOR, "template": POD}},
            (
                "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                "'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
                "'minReadySeconds' are forbidden"
            ),
        ),
    ],
)
def test_what_never_changes_is_held(resource: str, before: dict[str, Any], after: dict[str, Any], message: str) -> None:
    """A field that a real server freezes at creation is frozen here."""
    stored = samples.admit(resource, samples.written(resource, **before))
    assert message in str(samples.refusal(resource, samples.written(resource, **after), old=stored))


def test_a_definition_is_established_as_it_is_admitted() -> None:
    """A type is served with the answer to the request that made it; the names of another type are refused to it."""
    stored = samples.admit("customresourcedefinitions", samples.definition())
    assert stored["status"]["acceptedNames"] == {
        "plural": "foos",
        "kind": "Foo",
        "singular": "foo",
        "listKind": "FooList",
    }
    assert stored["status"]["storedVersions"] == ["v1"]
    assert kinds.established(stored)
    other = samples.definition(names={"plural": "bars", "singular": "foo", "kind": "Bar"})
    other["metadata"]["name"] = "bars.example.com"
    refused = samples.admit("customresourcedefinitions", other)
    assert not kinds.established(refused)
    assert refused["status"]["conditions"][0]["reason"] == "SingularConflict"


def test_scale_reads_and_writes_where_the_definition_says() -> None:
    """`kubectl scale` works for any type that names its paths."""
    stored = samples.admit("foos", samples.written("foos", spec={"count": 4}))
    assert admitting.scale_of(samples.kind("foos"), stored)["spec"] == {"replicas": 4}
    assert admitting.scaled(samples.kind("foos"), stored, {"spec": {"replicas": 7}})["spec"]["count"] == 7
    deployment = samples.admit(
        "deployments", samples.written("deployments", spec={"selector": SELECTOR, "template": POD})
    )
    assert admitting.scale_of(samples.kind("deployments"), deployment)["status"] == {"replicas": 0, "selector": "a=b"}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (1, "1"),
        ("0.5Gi", "512Mi"),
        (1.5, "1500m"),
        ("1024Ki", "1Mi"),
        ("1000m", "1"),
        ("1e3", "1e3"),
        ("0.1", "100m"),
        ("1000k", "1M"),
        ("-1", "-1"),
        ("0", "0"),
    ],
)
def test_a_quantity_has_one_form(written: Any, stored: str) -> None:
    """Amounts of memory and processors are stored as Kubernetes writes them."""
    assert decoding.canonical_quantity(written) == stored


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*samples.FIELDS, "unknown", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
            lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
            max_leaves=6,
        ),
    )
)
def test_admission_is_idempotent(spec: dict[str, Any]) -> None:
    """Whatever is admitted is admitted again as it is: pruning and defaults have nothing more to do."""
    try:
        once = samples.admit("foos", samples.written("foos", spec=spec))
    except samples.problems.Refused:
        return
    assert samples.admit("foos", once, old=once, strict="Strict") == once
