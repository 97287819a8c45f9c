"""Our four kinds as frozen values, read from raw objects; `compiling.py` works on these alone.

Reading is tolerant: the CRD schema has checked most of it, and what is merely wrong (an unusable URL, a missing
branch) becomes a verdict of the compiler, with a message in the object's status. Only an object of the wrong shape
is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from app import errors
from app.events import Ref
from app.rules import filters, ignoring, labels, pruning

GROUP = "configbutler.ai"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Scope = Literal["Cluster", "Namespaced"]
AccessMode = Literal["SameNamespace", "AllNamespaces"]

OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "*"})

# What a glob over names may hold: `/` and `%` stand in no name, and a namespace is a DNS label. The API takes a control
# character in the name of a Role, and `?` matches it.
_NAME_GLOB = re.compile(rf"[^/%{ignoring.CONTROL}]{{1,253}}")
# As in the schema: each is asked about every object.
_MOST_GLOBS = 100
_NAMESPACE_GLOB = re.compile(r"[-a-z0-9*?\[\]!]{1,253}")

# The units of Go's time.ParseDuration, in seconds.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


@dataclass(frozen=True, slots=True)
class Meta:
    """What every object of ours has; `ref.namespace` is empty for a cluster kind."""

    ref: Ref
    uid: str
    generation: int
    created_at: str
    resource_version: str
    deleting: bool

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """Read `metadata`. Raises PermanentError for an object without a name."""
        raw = _Reader(obj, "object").mapping("metadata")
        name = raw.text("name")
        if not name:
            raise errors.PermanentError("an object without metadata.name cannot be read", reason="InvalidSpec")
        generation = raw.value("generation")
        return cls(
            ref=Ref(raw.text("namespace"), name),
            uid=raw.text("uid"),
            generation=generation if type(generation) is int else 0,
            created_at=raw.text("creationTimestamp"),
            resource_version=raw.text("resourceVersion"),
            deleting=bool(raw.value("deletionTimestamp")),
        )


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may refer to a GitRepoConfig from outside of its namespace."""

    mode: AccessMode = "SameNamespace"
    allow_cluster_rules: bool = True


@dataclass(frozen=True, slots=True)
class GitRepoConfig:
    """A repository and how to write to it. `push_interval` is in seconds; None leaves the default."""

    meta: Meta
    repo_url: str
    allowed_branches: tuple[str, ...]
    secret_name: str | None
    push_interval: float | None
    max_commits: int | None
    access: AccessPolicy

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """Read a raw object. Raises PermanentError(InvalidSpec) that names the field."""
        spec = _Reader(obj, "object").mapping("spec")
        push = spec.mapping("push")
        interval = push.text("interval")
        return cls(
            meta=Meta.from_object(obj),
            repo_url=spec.text("repoUrl"),
            allowed_branches=spec.texts("allowedBranches"),
            secret_name=spec.mapping("secretRef").text("name") or None,
            push_interval=parse_duration(interval) if interval else None,
            max_commits=push.positive("maxCommits"),
            access=_access_policy(spec.mapping("accessPolicy")),
        )


@dataclass(frozen=True, slots=True)
class GitDestination:
    """A branch and a folder of a repository: the deployment target."""

    meta: Meta
    repo_ref: Ref
    branch: str
    base_folder: str
    pruning: pruning.Pruning = pruning.DEFAULT

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """Read a raw object. Raises PermanentError(InvalidSpec) that names the field."""
        meta, spec = Meta.from_object(obj), _Reader(obj, "object").mapping("spec")
        return cls(
            meta=meta,
            repo_ref=_reference(spec, "repoRef", default_namespace=meta.ref.namespace),
            branch=spec.text("branch"),
            base_folder=spec.text("baseFolder"),
            pruning=pruning.Pruning(
                policy=pruning.Policy.read(spec.text("prune")),
                max_ratio=spec.ratio("maxPruneRatio", default=pruning.DEFAULT.max_ratio),
            ),
        )


@dataclass(frozen=True, slots=True)
class RuleItem:
    """One entry of `spec.rules`; empty operations, groups and versions mean all, as `*` does.

    A `namespace_selector` that requires nothing reads as None: it selects every namespace.
    """

    operations: tuple[str, ...]
    api_groups: tuple[str, ...]
    api_versions: tuple[str, ...]
    resources: tuple[str, ...]
    scope: Scope
    label_selector: labels.LabelSelector = labels.EVERYTHING
    names: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    namespace_selector: labels.LabelSelector | None = None
    exclude_namespaces: tuple[str, ...] = ()
    ignored: ignoring.Ignored = ignoring.NOTHING

    @property
    def filter(self) -> filters.Filter:
        """What narrows the entry beyond types."""
        return filters.Filter(
            labels=self.label_selector,
            names=self.names,
            exclude_names=self.exclude_names,
            namespaces=self.namespace_selector,
            exclude_namespaces=self.exclude_namespaces,
        )

    def to_json(self) -> dict[str, Any]:
        """The entry as a manifest spells it, for the table of compiled rules; what narrows it only when set."""
        return {
            "operations": list(self.operations),
            "apiGroups": list(self.api_groups),
            "apiVersions": list(self.api_versions),
            "resources": list(self.resources),
            "scope": self.scope,
            **self.filter.to_json(),
            **self.ignored.to_json(),
        }


@dataclass(frozen=True, slots=True)
class WatchRule:
    """Selects resources of its own namespace for one destination."""

    meta: Meta
    destination_ref: Ref
    items: tuple[RuleItem, ...]

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """Read a raw object. Raises PermanentError(InvalidSpec) that names the field."""
        meta, spec = Meta.from_object(obj), _Reader(obj, "object").mapping("spec")
        return cls(
            meta=meta,
            destination_ref=_reference(spec, "destinationRef", default_namespace=meta.ref.namespace),
            items=tuple(_item(raw, scope="Namespaced", wide=False) for raw in spec.mappings("rules")),
        )


@dataclass(frozen=True, slots=True)
class ClusterWatchRule:
    """Selects cluster-scoped resources, or namespaced ones of all namespaces, for one destination."""

    meta: Meta
    destination_ref: Ref
    items: tuple[RuleItem, ...]

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """Read a raw object. Raises PermanentError(InvalidSpec) that names the field."""
        meta, spec = Meta.from_object(obj), _Reader(obj, "object").mapping("spec")
        return cls(
            meta=meta,
            destination_ref=_reference(spec, "destinationRef", default_namespace=""),
            items=tuple(_item(raw, scope=_scope(raw), wide=True) for raw in spec.mappings("rules")),
        )


AnyRule = WatchRule | ClusterWatchRule


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as `1m30s`, `5s`, `500ms`. Raises PermanentError(InvalidSpec)."""
    parts = list(_DURATION_PART.finditer(text))
    if text != "0" and (not parts or "".join(part.group() for part in parts) != text):
        raise errors.PermanentError(
            f"{text[:40]!r} is no duration: write it like 5s, 500ms or 1m30s", reason="InvalidSpec"
        )
    return sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)


def _access_policy(raw: _Reader) -> AccessPolicy:
    # An unknown mode comes from a newer schema: the narrower reading is the safe one.
    wide = raw.mapping("namespacedRules").text("mode") == "AllNamespaces"
    return AccessPolicy(
        mode="AllNamespaces" if wide else "SameNamespace",
        allow_cluster_rules=raw.value("allowClusterRules") is not False,
    )


def _reference(spec: _Reader, field: str, *, default_namespace: str) -> Ref:
    raw = spec.mapping(field)
    name, namespace = raw.text("name"), raw.text("namespace") or default_namespace
    if not name or not namespace:
        missing = "namespace" if name else "name"
        raise errors.PermanentError(f"spec.{field}.{missing} is missing: set it", reason="InvalidSpec")
    return Ref(namespace, name)


def _item(raw: _Reader, *, scope: Scope, wide: bool) -> RuleItem:
    """One entry. `wide` says that the rule is for all namespaces, so that an entry may choose among them."""
    operations = raw.texts("operations")
    unknown = [operation for operation in operations if operation not in OPERATIONS]
    if unknown:
        raise raw.refused("operations", f"holds {unknown[0][:40]!r}: use CREATE, UPDATE, DELETE or *")
    resources = raw.texts("resources")
    if not resources:
        raise raw.refused("resources", "is empty: name at least one resource, or *")
    for field in ("namespaceSelector", "excludeNamespaces"):
        if raw.value(field) and not (wide and scope == "Namespaced"):
            raise raw.refused(field, "narrows a ClusterWatchRule with scope Namespaced, and nothing else: remove it")
    item = RuleItem(
        operations=operations,
        api_groups=raw.texts("apiGroups"),
        api_versions=raw.texts("apiVersions"),
        resources=resources,
        scope=scope,
        label_selector=_selector(raw, "labelSelector"),
        names=_globs(raw, "names", _NAME_GLOB),
        exclude_names=_globs(raw, "excludeNames", _NAME_GLOB),
        namespace_selector=_selector(raw, "namespaceSelector") or None,
        exclude_namespaces=_globs(raw, "excludeNamespaces", _NAMESPACE_GLOB),
        ignored=_ignored(raw),
    )
    if field := item.filter.emptied_by:
        raise raw.refused(field, "leaves nothing of what the entry selects: narrow it, or remove the entry")
    return item


def _globs(raw: _Reader, field: str, allowed: re.Pattern[str]) -> tuple[str, ...]:
    globs = raw.texts(field)
    if len(globs) > _MOST_GLOBS:
        raise raw.refused(field, f"has {len(globs)} entries, and may have {_MOST_GLOBS}: use a glob or labels")
    wrong = next((glob for glob in globs if not allowed.fullmatch(glob)), None)
    if wrong is not None:
        raise raw.refused(field, f"holds {wrong[:80]!r}, which matches no name: write a name, or a glob like web-*")
    for glob in globs:
        if problem := filters.problem(glob):
            raise raw.refused(field, f"holds {glob[:80]!r}: {problem}")
    return globs


def _selector(raw: _Reader, field: str) -> labels.LabelSelector:
    selector = raw.mapping(field)
    equal = selector.mapping("matchLabels")
    found = [(f"matchLabels.{key}", labels.Requirement(key, labels.IN, (equal.text(key),))) for key in equal.fields()]
    for index, one in enumerate(selector.mappings("matchExpressions")):
        requirement = labels.Requirement(one.text("key"), one.text("operator"), one.texts("values"))
        found.append((f"matchExpressions[{index}]", requirement))
    for place, requirement in found:
        if problem := requirement.problem():
            raise selector.refused(place, f"cannot be used: {problem}")
    # What a server does not know of a selector it drops: `{team: blue}` would arrive empty, and select everything.
    if raw.value(field) is not None and not found:
        raise raw.refused(field, "asks for no label: write matchLabels or matchExpressions, or leave it out")
    return labels.LabelSelector(tuple(requirement for _, requirement in found))


def _ignored(raw: _Reader) -> ignoring.Ignored:
    pointers, managers = raw.texts("ignoreFields"), raw.texts("ignoreManagers")
    try:
        ignoring.check(pointers, managers)
    except errors.PermanentError as error:
        raise errors.PermanentError(f"{raw.where}.{error.message}", reason=error.reason) from error
    return ignoring.Ignored(pointers, managers)


def _scope(raw: _Reader) -> Scope:
    scope = raw.text("scope")
    if scope == "Cluster":
        return "Cluster"
    if scope == "Namespaced":
        return "Namespaced"
    raise errors.PermanentError(f"{raw.where}.scope must be Cluster or Namespaced", reason="InvalidSpec")


class _Reader:
    """Typed access to a raw mapping; an absent or null field reads as empty, a wrong type is refused by name."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise errors.PermanentError(f"{where} is not a mapping", reason="InvalidSpec")
        self._raw = raw
        self.where = where

    def value(self, field: str) -> object:
        return self._raw.get(field)

    def fields(self) -> list[str]:
        return sorted(self._raw)

    def text(self, field: str) -> str:
        value = self._raw.get(field)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(field, "a string")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        values = self._list(field)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(field, "a list of strings")
        return tuple(values)

    def positive(self, field: str) -> int | None:
        value = self._raw.get(field)
        if value is None:
            return None
        if type(value) is not int or value < 1:
            raise self._wrong(field, "a whole number of at least 1")
        return value

    def ratio(self, field: str, *, default: float) -> float:
        value = self._raw.get(field, default)
        if type(value) not in {int, float} or not 0 <= value <= 1:
            raise self._wrong(field, "a number from 0 to 1")
        return float(value)

    def mapping(self, field: str) -> _Reader:
        value = self._raw.get(field)
        return _Reader({} if value is None else value, self._path(field))

    def mappings(self, field: str) -> list[_Reader]:
        return [_Reader(value, f"{self._path(field)}[{index}]") for index, value in enumerate(self._list(field))]

    def _list(self, field: str) -> list[Any]:
        value = self._raw.get(field)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            raise self._wrong(field, "a list")
        return list(value)

    def _path(self, field: str) -> str:
        return field if self.where == "object" else f"{self.where}.{field}"

    def refused(self, field: str, why: str) -> errors.PermanentError:
        return errors.PermanentError(f"{self._path(field)} {why}", reason="InvalidSpec")

    def _wrong(self, field: str, wanted: str) -> errors.PermanentError:
        return self.refused(field, f"must be {wanted}")
