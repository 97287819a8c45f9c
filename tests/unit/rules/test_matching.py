"""Matching by the field comments of the CRDs: what a rule names, what `*` reaches, what it leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.events import Operation
from app.rules import kinds, matching, noise
from app.rules.types import ResourceType

WATCH = frozenset({"get", "list", "watch"})


def _type(text: str, *, namespaced: bool = True, preferred: bool = True, verbs: frozenset[str] = WATCH) -> ResourceType:
    """A type from `group/version/resource`; the core group is empty."""
    group, version, resource = text.split("/")
    return ResourceType(group, version, resource, resource.title(), namespaced, verbs, preferred)


TYPES = (
    _type("/v1/configmaps"),
    _type("/v1/services"),
    _type("/v1/secrets"),
    _type("/v1/pods"),
    _type("/v1/events"),
    _type("/v1/endpoints"),
    _type("/v1/bindings", verbs=frozenset({"create"})),
    _type("/v1/nodes", namespaced=False),
    _type("events.k8s.io/v1/events"),
    _type("apps/v1/deployments"),
    _type("apps/v1/replicasets"),
    _type("apps/v1/controllerrevisions"),
    _type("autoscaling/v1/horizontalpodautoscalers", preferred=False),
    _type("autoscaling/v2/horizontalpodautoscalers"),
    _type("coordination.k8s.io/v1/leases"),
    _type("discovery.k8s.io/v1/endpointslices"),
    _type("flowcontrol.apiserver.k8s.io/v1/flowschemas", namespaced=False),
    _type("metrics.k8s.io/v1beta1/nodes", namespaced=False, verbs=frozenset({"list"})),
    _type("serving.knative.dev/v1/services"),
    _type("configbutler.ai/v1alpha1/watchrules"),
)


def _item(*resources: str, **fields: Any) -> kinds.RuleItem:
    defaults: dict[str, Any] = {"operations": (), "api_groups": (), "api_versions": (), "scope": "Namespaced"}
    return kinds.RuleItem(resources=resources, **{**defaults, **fields})


def _selected(item: kinds.RuleItem) -> list[str]:
    return [f"{type_.api_version}/{type_.resource}" for type_ in matching.resolve(item, TYPES).selected]


def _reasons(item: kinds.RuleItem) -> list[tuple[str, str]]:
    return [(problem.resource, problem.reason) for problem in matching.resolve(item, TYPES).problems]


@pytest.mark.parametrize(
    ("item", "selected"),
    [
        (_item("configmaps"), ["v1/configmaps"]),
        (_item("ConfigMaps"), ["v1/configmaps"]),
        (_item("services"), ["v1/services", "serving.knative.dev/v1/services"]),
        (_item("services", api_groups=("",)), ["v1/services"]),
        (_item("services.serving.knative.dev"), ["serving.knative.dev/v1/services"]),
        (_item("Deployments.Apps"), ["apps/v1/deployments"]),
        (_item("deployments", "deployments.apps"), ["apps/v1/deployments"]),
        (_item("horizontalpodautoscalers"), ["autoscaling/v2/horizontalpodautoscalers"]),
        (_item("horizontalpodautoscalers", api_versions=("v1",)), ["autoscaling/v1/horizontalpodautoscalers"]),
        (_item("horizontalpodautoscalers", api_versions=("v1", "v2")), ["autoscaling/v2/horizontalpodautoscalers"]),
        (_item("horizontalpodautoscalers", api_versions=("*",)), ["autoscaling/v2/horizontalpodautoscalers"]),
        (_item("nodes", scope="Cluster"), ["v1/nodes"]),
        (_item("pods", api_groups=("*",)), ["v1/pods"]),
    ],
)
def test_a_pattern_selects_what_it_names(item: kinds.RuleItem, selected: list[str]) -> None:
    """Plural or plural.group, in any case; the preferred version unless the rule names versions."""
    assert _selected(item) == selected
    assert _reasons(item) == []


def test_named_versions_are_taken_in_the_order_of_the_rule() -> None:
    """Where the preferred version is not allowed, the rule's own order decides."""
    types = [_type("g/v3/as"), _type("g/v1/as", preferred=False), _type("g/v2/as", preferred=False)]
    for versions, chosen in ((("v2", "v1"), "v2"), (("v1", "v2"), "v1"), (("v9", "v2"), "v2")):
        resolution = matching.resolve(_item("as", api_versions=versions), types)
        assert [type_.version for type_ in resolution.selected] == [chosen]


INSTALL = "check plural and apiGroups, or install its CRD"
NOT_WATCHED = "can be watched in this cluster: check apiGroups and apiVersions"


@pytest.mark.parametrize(
    ("item", "reason", "said"),
    [
        (_item("gadgets"), "NotServed", f"gadgets is not served in this cluster: {INSTALL}"),
        (
            _item("configmaps", api_groups=("apps", "batch")),
            "NotServed",
            f"configmaps is not served in apps, batch of this cluster: {INSTALL}",
        ),
        (
            _item("deployments", api_groups=("",)),
            "NotServed",
            f'deployments is not served in the core group "" of this cluster: {INSTALL}',
        ),
        (_item("gadgets", api_groups=("x", "*")), "NotServed", f"gadgets is not served in this cluster: {INSTALL}"),
        (_item("gadgets.apps"), "NotServed", f"gadgets.apps is not served in this cluster: {INSTALL}"),
        (
            _item("pods/log"),
            "Subresource",
            "pods/log is a subresource: a watch never shows one, remove it from the rule",
        ),
        (
            _item("deployments/apps"),
            "Subresource",
            "deployments/apps is a subresource: a watch never shows one, remove it from the rule",
        ),
        (_item("*/scale"), "Subresource", "*/scale is a subresource: a watch never shows one, remove it from the rule"),
        (
            _item("bindings"),
            "CannotWatch",
            "bindings does not support list and watch: it cannot be mirrored, remove it from the rule",
        ),
        (
            _item("HorizontalPodAutoscalers", api_versions=("v9",)),
            "OtherVersionOnly",
            "horizontalpodautoscalers.autoscaling is served as v2, v1 only: correct apiVersions, or leave it empty",
        ),
        (
            _item("nodes", api_groups=("",)),
            "OtherScope",
            "nodes is cluster-scoped: select it in a ClusterWatchRule with scope Cluster",
        ),
        (
            _item("configmaps", scope="Cluster"),
            "OtherScope",
            "configmaps is namespaced: use scope Namespaced, or a WatchRule in its namespace",
        ),
        (
            _item("secrets"),
            "EncryptionRequired",
            "Secrets are mirrored only encrypted, and no encryption is configured: remove secrets from the rule",
        ),
        (_item("*", api_groups=("x", "y")), "NotServed", f"no Namespaced type of x, y {NOT_WATCHED}"),
        (
            _item("*", api_versions=("v9",), scope="Cluster"),
            "NotServed",
            f"no Cluster type of any group {NOT_WATCHED}",
        ),
    ],
)
def test_what_a_rule_names_and_cannot_have_is_a_problem(
    item: kinds.RuleItem, reason: matching.Reason, said: str
) -> None:
    """Each has its reason, and a message that says what to do."""
    resolution = matching.resolve(item, TYPES)
    assert not resolution.selected
    assert resolution.problems == (matching.Problem(item.resources[0], reason, said),)


@pytest.mark.parametrize("word", ["Deployment", "deploy", "deployment.apps", "deploymnets"])
def test_a_singular_or_a_slip_is_told_the_plural(word: str) -> None:
    """A resource is a plural: what is near to one that is served, in the groups of the entry, is asked for."""
    (problem,) = matching.resolve(_item(word), TYPES).problems
    assert problem.message == (
        f"{word} is not served in this cluster: do you mean deployments.apps? Else check plural and apiGroups, "
        "or install its CRD"
    )
    (problem,) = matching.resolve(_item(word, api_groups=("apps",)), TYPES).problems
    assert "do you mean deployments.apps? Else" in problem.message
    (problem,) = matching.resolve(_item(word, api_groups=("",)), TYPES).problems
    assert "do you mean" not in problem.message


def test_a_rule_of_very_many_slips_is_told_without_guesses() -> None:
    """A guess takes long: a rule that names thousands of types holds nobody up."""
    words = [f"deploymnets{number}" for number in range(11)]
    problems = matching.resolve(_item(*words), TYPES).problems
    assert [one.resource for one in problems] == words
    assert not any("do you mean" in one.message for one in problems)
    assert all("do you mean" in one.message for one in matching.resolve(_item(*words[:10]), TYPES).problems)


@pytest.mark.parametrize("word", ["Mouse", "MICE.exmaple.com"])
def test_a_plural_that_is_not_like_its_singular_is_told_too(word: str) -> None:
    """The kind and the plural with its group are known as well."""
    mice = ResourceType("example.com", "v1", "mice", "Mouse", True, WATCH, True)
    (problem,) = matching.resolve(_item(word), [*TYPES, mice]).problems
    assert "do you mean mice.example.com? Else" in problem.message


def test_a_problem_with_one_type_leaves_the_others() -> None:
    """EncryptionRequired holds for secrets alone; the rule's other types go on."""
    item = _item("secrets", "configmaps", "pods/log", "gadgets")
    assert _selected(item) == ["v1/configmaps"]
    assert _reasons(item) == [
        ("secrets", "EncryptionRequired"),
        ("pods/log", "Subresource"),
        ("gadgets", "NotServed"),
    ]


NO_GROUP = "is no API group of this cluster: {}correct apiGroups, or install its CRD"
NO_VERSION = "nothing that is selected beside it is served as {}: correct apiVersions"


@pytest.mark.parametrize(
    ("item", "strays"),
    [
        (_item("*", api_groups=("apps", "")), []),
        (
            _item("*", api_groups=("apps", "discovery")),
            [("discovery", "NotServed", f"discovery {NO_GROUP.format('')}")],
        ),
        (
            _item("configmaps", api_groups=("autoscalling", "", "Apps")),
            [
                ("autoscalling", "NotServed", f"autoscalling {NO_GROUP.format('do you mean autoscaling? Else ')}"),
                ("Apps", "NotServed", f"Apps {NO_GROUP.format('do you mean apps? Else ')}"),
            ],
        ),
        (_item("configmaps", api_groups=("*", "batchh")), []),
        (_item("configmaps", "horizontalpodautoscalers", api_versions=("v1", "v2", "*", "v9")), []),
        (_item("configmaps", "horizontalpodautoscalers", api_versions=("v1", "v2")), []),
        (_item("horizontalpodautoscalers", api_versions=("v2", "v1")), []),
        (
            _item("configmaps", api_versions=("v9", "v1", "v9")),
            [("v9", "OtherVersionOnly", NO_VERSION.format("v9"))],
        ),
        (
            _item("*", "secrets", api_groups=("", "configbutler.ai"), api_versions=("v1alpha", "v1")),
            [
                ("secrets", "EncryptionRequired", matching.resolve(_item("secrets"), TYPES).problems[0].message),
                ("v1alpha", "OtherVersionOnly", NO_VERSION.format("v1alpha")),
            ],
        ),
    ],
)
def test_a_slip_beside_a_group_or_version_that_is_there_is_said(
    item: kinds.RuleItem, strays: list[tuple[str, str, str]]
) -> None:
    """What the entry selects goes on; groups and versions that are nowhere are problems, as resources are."""
    resolution = matching.resolve(item, TYPES)
    assert [(one.resource, one.reason, one.message) for one in resolution.problems] == strays
    assert resolution.selected


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (_item("configmaps", api_groups=("core",)), 'the core group is written "" in apiGroups'),
        (_item("configmaps", api_groups=("Core", "apps")), 'the core group is written "" in apiGroups'),
        (_item("*", api_groups=("core",)), 'the core group is written "" in apiGroups'),
        (_item("pods.core"), "the core group has no name: write pods"),
        (_item("*.apps"), 'write resources: ["*"] with apiGroups: [apps], in an item of its own'),
        (
            _item("*.networking.k8s.io"),
            'write resources: ["*"] with apiGroups: [networking.k8s.io], in an item of its own',
        ),
        (_item("GadgetX"), INSTALL),
        (_item("Apps/deployments"), "write deployments.apps"),
        (
            _item("deployments", api_groups=("apps/v1",)),
            "a group has no version: write apiGroups: [apps] with apiVersions: [v1]",
        ),
        (
            _item("deployments", api_groups=("apps/v1/deployments",)),
            "a group has no version: write apiGroups: [apps] with apiVersions: [v1]",
        ),
        (
            _item("deployments", api_groups=("batch", "app*")),
            "no patterns are taken in apiGroups: name each group, or all with *",
        ),
        (_item("deployments", api_groups=("appz",)), f"do you mean apps? Else {INSTALL}"),
        (_item("gadgets", api_groups=("apps", "appz")), f"do you mean apps? Else {INSTALL}"),
        (_item("gadgets", api_groups=("apps",)), INSTALL),
        (_item("*.apps*"), "no patterns are taken here: name each plural, or all with *"),
        (_item("deploy*"), "no patterns are taken here: name each plural, or all with *"),
        (_item("deployment?"), "no patterns are taken here: name each plural, or all with *"),
        (_item("deployment[s]", api_groups=("core",)), "no patterns are taken here: name each plural, or all with *"),
        (_item("gadgets", api_groups=("core", "")), INSTALL),
        (_item("gadgets", api_groups=("core", "*")), INSTALL),
    ],
)
def test_what_can_name_no_type_is_told_how_it_is_written(item: kinds.RuleItem, said: str) -> None:
    """Kubernetes calls a group `core` that has no name, and other rules take globs: no CRD would help."""
    (problem,) = matching.resolve(item, TYPES).problems
    assert (problem.resource, problem.reason) == (item.resources[0], "NotServed")
    assert problem.message.endswith(f"this cluster: {said}")


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (("core", ""), 'the core group is written "", which stands beside it: remove core'),
        (("core", "apps"), 'the core group is written "" in apiGroups'),
    ],
)
def test_core_beside_a_group_that_is_there_is_told_how_it_is_written(groups: tuple[str, ...], said: str) -> None:
    """What the other groups have is selected all the same."""
    resolution = matching.resolve(_item("configmaps", "deployments", api_groups=groups), TYPES)
    assert resolution.problems[-1] == matching.Problem(
        "core", "NotServed", f"core is no API group of this cluster: {said}"
    )
    assert resolution.selected


DEPLOY = f"do you mean deployments.apps? Else {INSTALL}"


def _silent(groups: str) -> str:
    return f"the API server of {groups} does not answer, and is asked again until it does (`kubectl get apiservices`)"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            _item("Gadgets.Example.com"),
            f"Gadgets.Example.com is not served in this cluster: {_silent('example.com')}",
        ),
        (
            _item("gadgets", api_groups=("example.com", "odd.org")),
            f"gadgets is not served in example.com, odd.org of this cluster: {_silent('example.com, odd.org')}",
        ),
        (
            _item("gadgets", api_groups=("example.com", "apps")),
            f"gadgets is not served in example.com, apps of this cluster: {INSTALL}; or wait: {_silent('example.com')}",
        ),
        (
            _item("deploy"),
            f"deploy is not served in this cluster: {DEPLOY}; or wait: {_silent('example.com, odd.org')}",
        ),
        (
            _item("*", api_groups=("example.com",)),
            f"no Namespaced type of example.com can be watched in this cluster: {_silent('example.com')}",
        ),
        (_item("gadgets.apps"), f"gadgets.apps is not served in this cluster: {INSTALL}"),
        (
            _item("gadgets", api_groups=("apps",)),
            f"gadgets is not served in apps of this cluster: {INSTALL}",
        ),
        (
            _item("*", api_groups=("nowhere.org",)),
            f"no Namespaced type of nowhere.org {NOT_WATCHED}",
        ),
    ],
)
def test_a_group_that_does_not_answer_is_not_told_to_be_installed(item: kinds.RuleItem, said: str) -> None:
    """While the server of a group is away, nobody knows what it serves: whoever asks for it is told to wait."""
    (problem,) = matching.resolve(item, TYPES, failed_groups={"odd.org", "example.com"}).problems
    assert (problem.reason, problem.message) == ("NotServed", said)


def test_a_group_that_does_not_answer_is_said_beside_others() -> None:
    """What the other groups have goes on; a group whose types are known from before is no problem."""
    item = _item("*", api_groups=("apps", "example.com"))
    resolution = matching.resolve(item, TYPES, failed_groups={"apps", "example.com"})
    assert resolution.problems == (matching.Problem("example.com", "NotServed", _silent("example.com")),)
    assert {type_.group for type_ in resolution.selected} == {"apps"}


def test_secrets_that_are_not_had_are_said_beside_those_of_another_group() -> None:
    """Whoever names `secrets` means the core ones too, whatever else has that plural."""
    resolution = matching.resolve(_item("secrets"), [*TYPES, _type("example.com/v1/secrets")])
    assert [str(type_) for type_ in resolution.selected] == ["secrets.example.com"]
    assert [(problem.resource, problem.reason) for problem in resolution.problems] == [
        ("secrets", "EncryptionRequired")
    ]


def test_a_plural_of_another_group_is_no_problem() -> None:
    """`nodes` means the nodes that can be watched, and metrics are not reported for it."""
    assert _reasons(_item("nodes", scope="Cluster")) == []


def test_the_wildcard_leaves_out_what_controllers_generate_and_says_so() -> None:
    """`*` reaches what people write, our own kinds included; each type that it leaves out has a note."""
    resolution = matching.resolve(_item("*"), TYPES)
    assert _selected(_item("*")) == [
        "v1/configmaps",
        "v1/services",
        "apps/v1/deployments",
        "apps/v1/replicasets",
        "autoscaling/v2/horizontalpodautoscalers",
        "configbutler.ai/v1alpha1/watchrules",
        "serving.knative.dev/v1/services",
    ]
    assert resolution.by_wildcard == {type_.key for type_ in resolution.selected}
    assert resolution.problems == ()
    for left_out in (
        "secrets",
        "pods",
        "events",
        "events.events.k8s.io",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "leases.coordination.k8s.io",
        "controllerrevisions.apps",
    ):
        assert any(note.startswith(f"* leaves out {left_out}:") for note in resolution.notes), left_out
    assert resolution.notes[:3] == (
        "* leaves out secrets: Secrets would be mirrored only encrypted, and there is no encryption yet",
        "* leaves out pods: made by controllers from workloads",
        "* leaves out events: a log of the cluster, not intent",
    )
    assert [note for note in resolution.notes if "leaves out single" in note or "every object" in note] == [
        "* leaves out every object that a controller owns: it is made from its owner",
        *(f"* leaves out single configmaps: {reason}" for reason in noise.object_reasons("", "configmaps")),
        *(f"* leaves out single services: {reason}" for reason in noise.object_reasons("", "services")),
    ]


def test_one_reason_of_several_types_is_said_once() -> None:
    """The notes stay short: types that are left out alike share a note."""
    group = "flowcontrol.apiserver.k8s.io"
    types = [_type(f"{group}/v1/{name}", namespaced=False) for name in ("prioritylevelconfigurations", "flowschemas")]
    resolution = matching.resolve(_item("*", scope="Cluster"), types)
    both = f"flowschemas.{group}, prioritylevelconfigurations.{group}"
    assert resolution.notes == (
        "* leaves out every object that a controller owns: it is made from its owner",
        f"* leaves out single {both}: the API server keeps its defaults up to date",
    )
    assert matching.resolve(_item("flowschemas", scope="Cluster"), types).notes == ()


ADVICE = "(empty apiVersions take each type in the version that the cluster prefers)"


@pytest.mark.parametrize(
    ("item", "note"),
    [
        (_item("*"), ""),
        (_item("*", api_versions=("v1", "*")), ""),
        (_item("configmaps", api_versions=("v1",)), ""),
        (_item("*", api_versions=("v1", "v1alpha1")), ""),
        (_item("*", api_versions=("v1",), api_groups=("apps",)), ""),
        # Nobody misses what cannot be watched, is not of the scope, or is left out in every version.
        (_item("*", api_versions=("v2",), api_groups=("metrics.k8s.io", "coordination.k8s.io"), scope="Cluster"), ""),
        (_item("*", api_versions=("v2",), api_groups=("autoscaling", "coordination.k8s.io")), ""),
        (
            _item("*", api_versions=("v1",)),
            f"* leaves out 1 type that is not served as v1 {ADVICE}: watchrules.configbutler.ai",
        ),
        (
            _item("*", api_versions=("v2", "v9"), api_groups=("autoscaling", "apps")),
            f"* leaves out 2 types that are not served as v2 or v9 {ADVICE}: deployments.apps, replicasets.apps",
        ),
        (
            _item("*", api_versions=("v9",), scope="Cluster", api_groups=("",)),
            f"* leaves out 1 type that is not served as v9 {ADVICE}: nodes",
        ),
    ],
)
def test_what_the_wildcard_leaves_out_for_its_version_is_one_note(item: kinds.RuleItem, note: str) -> None:
    """With `apiVersions`, `*` takes less: how many types that are, which, and how to have them."""
    resolution = matching.resolve(item, TYPES)
    assert [one for one in resolution.notes if "served as" in one] == ([note] if note else [])
    assert ", ".join(map(str, resolution.other_versions)) == note.rpartition(": ")[2]


@pytest.mark.parametrize(("count", "end"), [(10, "things09.example.com"), (12, "things09.example.com, and 2 more")])
def test_of_many_types_that_are_left_out_for_their_version_ten_are_named(count: int, end: str) -> None:
    """A status stays readable in a cluster of hundreds of CRDs."""
    types = [_type(f"example.com/v2/things{number:02}") for number in range(count)]
    resolution = matching.resolve(_item("*", api_versions=("v1",)), types)
    (note,) = (one for one in resolution.notes if "served as" in one)
    assert ": things00.example.com, things01.example.com, " in note
    assert note.endswith(f", {end}")
    assert len(resolution.other_versions) == count


# The namespaced types of a cluster of which `*` leaves out something.
SHOWN = """
/v1/configmaps /v1/endpoints /v1/events /v1/pods /v1/secrets /v1/serviceaccounts apps/v1/controllerrevisions
events.k8s.io/v1/events rbac.authorization.k8s.io/v1/rolebindings rbac.authorization.k8s.io/v1/roles
storage.k8s.io/v1/csistoragecapacities coordination.k8s.io/v1/leases discovery.k8s.io/v1/endpointslices
configbutler.ai/v1alpha1/gitdestinations configbutler.ai/v1alpha1/gitrepoconfigs configbutler.ai/v1alpha1/watchrules
"""


def test_the_reference_shows_all_that_is_left_out() -> None:
    """Who compares a status with the page finds line by line what stands in it."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "watchrule.md").read_text()
    (block,) = [one for one in page.split("```yaml\n") if "* leaves out" in one.partition("```")[0]]
    shown = yaml.safe_load(block.partition("```")[0])["excluded"]
    types = [_type(text) for text in SHOWN.split()]
    assert tuple(shown) == matching.resolve(_item("*", api_versions=("v1",)), types, namespace="shop").notes


def test_naming_a_type_beside_the_wildcard_includes_it() -> None:
    """What is named is not left out, nor are single objects of it, and no note says otherwise."""
    resolution = matching.resolve(_item("*", "pods", "configmaps"), TYPES)
    assert ("", "pods") in {type_.key for type_ in resolution.selected}
    assert not {("", "pods"), ("", "configmaps")} & resolution.by_wildcard
    assert not any("leaves out pods:" in note or "kube-root" in note for note in resolution.notes)


def test_a_wildcard_that_reaches_only_what_it_leaves_out_is_no_problem() -> None:
    """The note says it; the group is served."""
    resolution = matching.resolve(_item("*", api_groups=("coordination.k8s.io",)), TYPES)
    assert (resolution.selected, resolution.problems, len(resolution.notes)) == ((), (), 1)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ((), {"CREATE", "UPDATE", "DELETE"}),
        (("*",), {"CREATE", "UPDATE", "DELETE"}),
        (("CREATE", "*"), {"CREATE", "UPDATE", "DELETE"}),
        (("DELETE",), {"DELETE"}),
        (("CREATE", "UPDATE"), {"CREATE", "UPDATE"}),
    ],
)
def test_empty_operations_mean_all(operations: tuple[str, ...], expected: set[str]) -> None:
    """Empty and `*` mean all; otherwise exactly what is listed."""
    assert matching.operations_of(_item("x", operations=operations)) == {Operation(name) for name in expected}


def _naive(item: kinds.RuleItem, types: tuple[ResourceType, ...]) -> set[tuple[str, str, str]]:
    """The rule read word by word, one type after the other, as a reference."""
    chosen = set()
    for group, resource in {type_.key for type_ in types}:
        if item.api_groups and "*" not in item.api_groups and group not in item.api_groups:
            continue
        names = {resource, f"{resource}.{group}"}
        named = any(pattern.lower() in names for pattern in item.resources)
        generated = (group, resource) in noise.TYPES
        if (group, resource) == ("", "secrets") or not (named or ("*" in item.resources and not generated)):
            continue
        versions = [type_ for type_ in types if type_.key == (group, resource)]
        if item.api_versions and "*" not in item.api_versions:
            versions = [type_ for type_ in versions if type_.version in item.api_versions]
        versions.sort(
            key=lambda type_: (not type_.preferred, item.api_versions and item.api_versions.index(type_.version))
        )
        if versions and versions[0].watchable and versions[0].namespaced == (item.scope == "Namespaced"):
            chosen.add((group, resource, versions[0].version))
    return chosen


_parts = {
    "api_groups": st.lists(st.sampled_from(["", "apps", "autoscaling", "*", "metrics.k8s.io"]), max_size=2),
    "api_versions": st.lists(st.sampled_from(["v1", "v2", "v1beta1"]), max_size=2, unique=True),
    "scope": st.sampled_from(["Cluster", "Namespaced"]),
}
_patterns = st.sampled_from(
    ["*", "configmaps", "PODS", "services", "deployments.apps", "secrets", "nodes", "horizontalpodautoscalers", "a/b"]
)


@given(st.lists(_patterns, min_size=1, max_size=4), st.fixed_dictionaries(_parts))
def test_resolving_equals_reading_the_rule_word_by_word(resources: list[str], fields: dict[str, Any]) -> None:
    """Whatever a rule says, it selects what a naive reading selects, one version per type."""
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    item = _item(*resources, **fields)
    selected = matching.resolve(item, TYPES).selected
    assert {(*type_.key, type_.version) for type_ in selected} == _naive(item, TYPES)
    assert len({type_.key for type_ in selected}) == len(selected)
