"""Compile our four kinds into verdicts, places and compiled rules: the pure heart of the watch daemon.

`compile_all` decides everything that can be known without I/O; `app/watch` writes it to SQL and to the objects'
status. Every refusal has a reason for the condition and a message that says what to do. What happens to single
objects afterwards is in `selecting.py`.

References across namespaces are refused with one message, whether the other object exists or not: who may not use
an object learns nothing about it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from app import errors
from app.events import Operation, Ref
from app.rules import branches, filters, ignoring, kinds, matching, noise, paths, urls
from app.rules.types import ResourceType

RuleKind = Literal["WatchRule", "ClusterWatchRule"]

READY = "Ready"

_NAMESPACES_UNKNOWN = (
    "the labels of the Namespaces are not known, and namespaceSelector asks for them: wait until they are read; where "
    "they may not be, a ClusterRole of the watch daemon's account needs the rule "
    '{apiGroups: [""], resources: ["namespaces"], verbs: ["list", "watch"]}'
)
_NO_ITEMS = "the rule has no items: add one to spec.rules"


@dataclass(frozen=True, slots=True)
class RepoVerdict:
    """What became of a GitRepoConfig; `url` is set when it is ready."""

    ready: bool
    reason: str
    message: str
    url: urls.RepoUrl | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a destination writes."""

    url: urls.RepoUrl
    branch: str
    base_folder: str
    repo_config: Ref


@dataclass(frozen=True, slots=True)
class DestinationVerdict:
    """What became of a GitDestination; `place` is set when it is ready."""

    ready: bool
    reason: str
    message: str
    place: Place | None = None


@dataclass(frozen=True, slots=True, order=True)
class RuleKey:
    """Names one rule; a ClusterWatchRule's `ref` has no namespace."""

    kind: RuleKind
    ref: Ref

    def __str__(self) -> str:
        """`WatchRule shop/prod-apps` or `ClusterWatchRule cluster-a`."""
        return f"{self.kind} {self.ref}" if self.ref.namespace else f"{self.kind} {self.ref.name}"


@dataclass(frozen=True, slots=True)
class Scope:
    """One type in one namespace that a rule selects.

    `namespace` is empty for a cluster-scoped type, and for all namespaces of a namespaced one. `wildcard` says that
    only `*` reached the type, so that single objects of it are left out. `members` are the namespaces that a
    namespaceSelector lets through now; None without one.
    """

    type: ResourceType
    namespace: str
    operations: frozenset[Operation]
    wildcard: bool
    filter: filters.Filter = filters.EVERYTHING
    ignored: ignoring.Ignored = ignoring.NOTHING
    members: frozenset[str] | None = None

    def covers(self, namespace: str) -> bool:
        """Whether it selects objects of this namespace at all."""
        return self.namespace in ("", namespace) and self.filter.covers(namespace, self.members)

    def selects(self) -> dict[str, Any]:
        """Everything that decides what it selects, as specs say it and as marks are made of it.

        Who belongs to a namespaceSelector is not in it: that is the cluster's word and not the rule's.
        """
        return {
            "group": self.type.group,
            "version": self.type.version,
            "resource": self.type.resource,
            "namespace": self.namespace,
            "operations": sorted(operation.value for operation in self.operations),
            "wildcard": self.wildcard,
            # Only what is set, so that a plain rule reads as it did before there was any of it.
            **({"noise": noise.EDITION} if self.wildcard else {}),
            **({"filter": narrowed} if (narrowed := self.filter.to_json()) else {}),
        }


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its destination and place resolved. `spec` is what the table `compiled_rule` keeps, JSON-able."""

    kind: RuleKind
    ref: Ref
    uid: str
    generation: int
    destination: Ref
    place: Place
    scopes: tuple[Scope, ...]
    spec: dict[str, Any]

    @property
    def rule_name(self) -> str:
        """`WatchRule shop/prod-apps` or `ClusterWatchRule cluster-a`; rules are ordered by it."""
        return str(RuleKey(self.kind, self.ref))


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What became of a rule: what it could not resolve, what `*` left out; `rule` is set when it is ready.

    `other_versions` are the types that `*` takes in none of the rule's `apiVersions`.
    """

    ready: bool
    reason: str
    message: str
    problems: tuple[matching.Problem, ...] = ()
    notes: tuple[str, ...] = ()
    other_versions: frozenset[ResourceType] = frozenset()
    rule: CompiledRule | None = None


@dataclass(frozen=True, slots=True)
class Compilation:
    """A verdict for every object of ours that is not on its way out."""

    repo_configs: dict[Ref, RepoVerdict]
    destinations: dict[Ref, DestinationVerdict]
    rules: dict[RuleKey, RuleVerdict]

    def compiled(self) -> list[CompiledRule]:
        """The rules that are ready, by name."""
        rules = [verdict.rule for verdict in self.rules.values() if verdict.rule is not None]
        return sorted(rules, key=lambda rule: rule.rule_name)


@dataclass(frozen=True, slots=True)
class _Sources:
    """What rules are judged against."""

    configs: Mapping[Ref, kinds.GitRepoConfig]
    destinations: Mapping[Ref, kinds.GitDestination]
    verdicts: Mapping[Ref, DestinationVerdict]
    types: Sequence[ResourceType]
    failed_groups: Collection[str]
    # Namespace -> its labels; None when nobody knows them.
    namespaces: Mapping[str, Mapping[str, str]] | None
    # What `members_of` found, for as long as nobody does.
    members: Mapping[str, frozenset[str]]


@dataclass
class _Folders:
    """The folders that are taken on one branch, so that an overlap is found without comparing all with all."""

    taken: dict[tuple[str, ...], Ref] = field(default_factory=dict)
    parents: dict[tuple[str, ...], Ref] = field(default_factory=dict)

    def claim(self, folder: str, owner: Ref) -> Ref | None:
        """Take a folder, or return who has it, a folder above it, or one inside of it."""
        segments = paths.segments(folder)
        prefixes = [segments[:length] for length in range(1, len(segments) + 1)]
        holder = next((self.taken[prefix] for prefix in prefixes if prefix in self.taken), self.parents.get(segments))
        if holder is None:
            self.taken[segments] = owner
            self.parents |= {prefix: owner for prefix in prefixes[:-1] if prefix not in self.parents}
        return holder


@dataclass
class _Versions:
    """The version of each type in each destination: the one of the first rule by name.

    A destination holds one version of a type, because an object is one object whatever version it is read in.
    """

    taken: dict[tuple[Ref, tuple[str, str]], tuple[ResourceType, RuleKey]] = field(default_factory=dict)

    def settle(self, rule: kinds.AnyRule, resolution: matching.Resolution) -> matching.Resolution:
        """Take the versions of one rule item, and leave out the types that the destination has in another one."""
        conflicts = {type_: problem for type_ in resolution.selected if (problem := self._claim(rule, type_))}
        return replace(
            resolution,
            selected=tuple(type_ for type_ in resolution.selected if type_ not in conflicts),
            problems=(*resolution.problems, *conflicts.values()),
        )

    def _claim(self, rule: kinds.AnyRule, type_: ResourceType) -> matching.Problem | None:
        held, holder = self.taken.setdefault((rule.destination_ref, type_.key), (type_, _key(rule)))
        if held.version == type_.version:
            return None
        # What rules another namespace has is not for everyone's eyes.
        name = str(holder) if holder.ref.namespace == rule.meta.ref.namespace else "another rule"
        message = (
            f"{type_} is mirrored to {rule.destination_ref} as {held.version} by {name}, and a destination holds one "
            f"version of a type: select {held.version}, or another destination for {type_.version}"
        )
        return matching.Problem(str(type_), "VersionConflict", message)


def compile_all(
    *,
    repo_configs: Sequence[kinds.GitRepoConfig],
    destinations: Sequence[kinds.GitDestination],
    watch_rules: Sequence[kinds.WatchRule],
    cluster_rules: Sequence[kinds.ClusterWatchRule],
    types: Sequence[ResourceType],
    allow_local: bool,
    failed_groups: Collection[str] = (),
    namespaces: Mapping[str, Mapping[str, str]] | None = None,
    members: Mapping[str, frozenset[str]] | None = None,
) -> Compilation:
    """Compile everything there is. Never raises: what is wrong becomes a verdict.

    `types` is what the cluster serves, and `failed_groups` are the groups that could not say what they serve.
    `namespaces` are the labels of each Namespace; None says that they are not known, and is never read as none: a rule
    that asks for them goes on with the `members` that it had (`members_of`), or is not ready.
    Objects with a deletionTimestamp are treated as gone: deletion is what their owner wants.
    """
    configs = {config.meta.ref: config for config in repo_configs if not config.meta.deleting}
    targets = {target.meta.ref: target for target in destinations if not target.meta.deleting}
    repo_verdicts = {ref: _judge_repo(config, allow_local=allow_local) for ref, config in configs.items()}
    verdicts = {
        ref: _judge_destination(target, configs=configs, verdicts=repo_verdicts) for ref, target in targets.items()
    }
    verdicts |= _conflicts(targets, verdicts)
    sources = _Sources(
        configs=configs,
        destinations=targets,
        verdicts=verdicts,
        types=types,
        failed_groups=failed_groups,
        namespaces=namespaces,
        members=members or {},
    )
    every: list[kinds.AnyRule] = [*watch_rules, *cluster_rules]
    candidates = {_key(rule): rule for rule in every if not rule.meta.deleting}
    versions = _Versions()
    return Compilation(
        repo_configs=repo_verdicts,
        destinations=verdicts,
        rules={key: _judge_rule(candidates[key], sources, versions) for key in sorted(candidates, key=str)},
    )


def members_of(specs: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Who belonged to each namespaceSelector when these specs were compiled, for `compile_all`."""
    return {_chooser(one): frozenset(one["members"]) for spec in specs for one in spec.get("namespaces", ())}


def _judge_repo(config: kinds.GitRepoConfig, *, allow_local: bool) -> RepoVerdict:
    try:
        url = urls.normalise(config.repo_url, allow_local=allow_local)
    except errors.PermanentError as error:
        return RepoVerdict(ready=False, reason=error.reason, message=error.message)
    return RepoVerdict(ready=True, reason=READY, message=f"writes to {url}", url=url)


def _judge_destination(
    target: kinds.GitDestination,
    *,
    configs: Mapping[Ref, kinds.GitRepoConfig],
    verdicts: Mapping[Ref, RepoVerdict],
) -> DestinationVerdict:
    try:
        place = _place(target, configs=configs, verdicts=verdicts)
    except errors.PermanentError as error:
        return DestinationVerdict(ready=False, reason=error.reason, message=error.message)
    message = f"writes to {place.base_folder} on {place.branch} of {place.url}"
    return DestinationVerdict(ready=True, reason=READY, message=message, place=place)


def _place(
    target: kinds.GitDestination,
    *,
    configs: Mapping[Ref, kinds.GitRepoConfig],
    verdicts: Mapping[Ref, RepoVerdict],
) -> Place:
    url = reachable(
        target.repo_ref, branch=target.branch, namespace=target.meta.ref.namespace, configs=configs, verdicts=verdicts
    )
    paths.check_base_folder(target.base_folder)
    return Place(url, target.branch, target.base_folder, target.repo_ref)


def reachable(
    repo_config: Ref,
    *,
    branch: str,
    namespace: str,
    configs: Mapping[Ref, kinds.GitRepoConfig],
    verdicts: Mapping[Ref, RepoVerdict],
) -> urls.RepoUrl:
    """The repository of a GitRepoConfig, on a branch of which a destination of a namespace may write.

    Raises PermanentError, with what to do, where it may not.
    """
    config = configs.get(repo_config)
    if repo_config.namespace != namespace and (config is None or not _open_to_all(config)):
        raise _denied("GitRepoConfig", repo_config)
    if config is None:
        raise errors.PermanentError(
            f"unknown GitRepoConfig {repo_config}: create it, or correct repoRef", reason="RepoConfigNotFound"
        )
    branches.check(branch)
    branches.check_allowed(branch, config.allowed_branches)
    verdict = verdicts[repo_config]
    if verdict.url is None:
        raise errors.PermanentError(
            f"GitRepoConfig {repo_config} is not ready: {verdict.message}", reason=verdict.reason
        )
    return verdict.url


def _conflicts(
    targets: Mapping[Ref, kinds.GitDestination], verdicts: Mapping[Ref, DestinationVerdict]
) -> dict[Ref, DestinationVerdict]:
    """Verdicts for the destinations whose folder another one holds: the earliest wins, then the name."""
    branches_seen: dict[tuple[str, str], _Folders] = {}
    lost: dict[Ref, DestinationVerdict] = {}
    # An object without a creation time has not been stored yet: it comes last.
    for ref in sorted(targets, key=lambda ref: (targets[ref].meta.created_at or "~", ref)):
        place = verdicts[ref].place
        if place is None:
            continue
        folders = branches_seen.setdefault((place.url.key, place.branch), _Folders())
        holder = folders.claim(place.base_folder, ref)
        if holder is not None:
            lost[ref] = _conflict(ref, place=place, holder=holder)
    return lost


def _conflict(ref: Ref, *, place: Place, holder: Ref) -> DestinationVerdict:
    # Who else uses a repository is not for the eyes of another namespace.
    name = f"GitDestination {holder}" if holder.namespace == ref.namespace else "an older GitDestination"
    message = (
        f"{place.base_folder} on {place.branch} overlaps the folder of {name}: choose another baseFolder or branch"
    )
    return DestinationVerdict(ready=False, reason="Conflict", message=message)


def _judge_rule(rule: kinds.AnyRule, sources: _Sources, versions: _Versions) -> RuleVerdict:
    try:
        place = _place_of_rule(rule, sources)
        members = [_members(item, sources) for item in rule.items]
    except errors.PermanentError as error:
        return RuleVerdict(ready=False, reason=error.reason, message=error.message)
    resolutions = [versions.settle(rule, _resolved(rule, item, sources)) for item in rule.items]
    problems = tuple(dict.fromkeys(problem for resolution in resolutions for problem in resolution.problems))
    notes = tuple(dict.fromkeys(note for resolution in resolutions for note in resolution.notes))
    scopes = _scopes(rule, resolutions, members)
    if not scopes:
        reason = problems[0].reason if problems else "NotServed"
        left_out = f"{'; '.join(notes)}: name what is wanted in resources" if notes else ""
        message = "; ".join(problem.message for problem in problems) or left_out or _NO_ITEMS
        return RuleVerdict(ready=False, reason=reason, message=message, problems=problems, notes=notes)
    return RuleVerdict(
        ready=True,
        reason=READY,
        message=_ready_message(rule, scopes, problems),
        problems=problems,
        notes=notes,
        other_versions=frozenset(itertools.chain(*(resolution.other_versions for resolution in resolutions))),
        rule=_compiled(rule, place=place, scopes=scopes),
    )


def _resolved(rule: kinds.AnyRule, item: kinds.RuleItem, sources: _Sources) -> matching.Resolution:
    namespace = rule.meta.ref.namespace
    return matching.resolve(item, sources.types, namespace=namespace, failed_groups=sources.failed_groups)


def _place_of_rule(rule: kinds.AnyRule, sources: _Sources) -> Place:
    """The place of a rule's destination. Raises PermanentError where the rule may not feed it, or it has none."""
    wanted = rule.destination_ref
    target = sources.destinations.get(wanted)
    config = sources.configs.get(target.repo_ref) if target else None
    if isinstance(rule, kinds.ClusterWatchRule):
        if config is not None and not config.access.allow_cluster_rules:
            raise errors.PermanentError(
                f"the GitRepoConfig of GitDestination {wanted} does not admit cluster rules: "
                "its owner has to set accessPolicy.allowClusterRules",
                reason="AccessDenied",
            )
    elif wanted.namespace != rule.meta.ref.namespace and (config is None or not _open_to_all(config)):
        raise _denied("GitDestination", wanted)
    if target is None:
        raise errors.PermanentError(
            f"unknown destination {wanted}: create the GitDestination, or correct destinationRef",
            reason="DestinationNotFound",
        )
    verdict = sources.verdicts[wanted]
    if verdict.place is None:
        raise errors.PermanentError(f"GitDestination {wanted} is not ready: {verdict.message}", reason="NotReady")
    return verdict.place


def _members(item: kinds.RuleItem, sources: _Sources) -> frozenset[str] | None:
    """The namespaces that an item's namespaceSelector lets through; None without one. Raises PermanentError."""
    wanted = item.filter
    if wanted.namespaces is None:
        return None
    if sources.namespaces is None:
        remembered = sources.members.get(_chooser(wanted.to_json()))
        if remembered is None:
            raise errors.PermanentError(_NAMESPACES_UNKNOWN, reason="NamespacesUnknown")
        return remembered
    selected = {name for name, labels in sources.namespaces.items() if wanted.namespaces.matches(labels)}
    return frozenset(name for name in selected if wanted.covers(name, selected))


def _open_to_all(config: kinds.GitRepoConfig) -> bool:
    return config.access.mode == "AllNamespaces"


def _denied(kind: str, ref: Ref) -> errors.PermanentError:
    """The one answer to a reference across namespaces that is not allowed: it does not say what exists."""
    return errors.PermanentError(
        f"{kind} {ref} is in another namespace and cannot be used from here: the owner of its GitRepoConfig has to set "
        "accessPolicy.namespacedRules.mode to AllNamespaces",
        reason="AccessDenied",
    )


def _scopes(
    rule: kinds.AnyRule, resolutions: Iterable[matching.Resolution], members: Iterable[frozenset[str] | None]
) -> tuple[Scope, ...]:
    """The scopes of all items, the operations of equal ones joined, in a stable order."""
    namespace = rule.meta.ref.namespace if isinstance(rule, kinds.WatchRule) else ""
    joined: dict[Scope, frozenset[Operation]] = {}
    for item, resolution, selected in zip(rule.items, resolutions, members, strict=True):
        for type_ in resolution.selected:
            wildcard = type_.key in resolution.by_wildcard
            bare = Scope(type_, namespace, frozenset(), wildcard, item.filter, item.ignored, selected)
            joined[bare] = joined.get(bare, frozenset()) | matching.operations_of(item)
    scopes = [replace(bare, operations=operations) for bare, operations in joined.items()]
    return tuple(sorted(scopes, key=_order))


def _order(scope: Scope) -> tuple[Any, ...]:
    # `repr` of equal values is equal, and nobody reads meaning into the order of filters.
    return *scope.type.key, scope.type.version, scope.wildcard, repr((scope.filter, scope.ignored))


def _compiled(rule: kinds.AnyRule, *, place: Place, scopes: tuple[Scope, ...]) -> CompiledRule:
    return CompiledRule(
        kind=_key(rule).kind,
        ref=rule.meta.ref,
        uid=rule.meta.uid,
        generation=rule.meta.generation,
        destination=rule.destination_ref,
        place=place,
        scopes=scopes,
        spec={
            "destination": str(rule.destination_ref),
            "repository": place.url.url,
            "branch": place.branch,
            "baseFolder": place.base_folder,
            "rules": [item.to_json() for item in rule.items],
            "scopes": [{**scope.selects(), "kind": scope.type.kind, **scope.ignored.to_json()} for scope in scopes],
            **({"namespaces": members} if (members := _members_json(scopes)) else {}),
        },
    )


def _members_json(scopes: Iterable[Scope]) -> list[dict[str, Any]]:
    """Who belongs to each namespaceSelector, once and not with each type: that may be thousands."""
    chosen = {
        (scope.filter.namespaces, scope.filter.exclude_namespaces): scope
        for scope in scopes
        if scope.members is not None
    }
    return [
        {**_by_namespace(scope.filter.to_json()), "members": sorted(scope.members or ())} for scope in chosen.values()
    ]


def _by_namespace(said: Mapping[str, Any]) -> dict[str, Any]:
    return {field: said[field] for field in filters.BY_NAMESPACE if field in said}


def _chooser(said: Mapping[str, Any]) -> str:
    """Names a namespaceSelector, with the namespaces that are excluded from it."""
    return json.dumps(_by_namespace(said), sort_keys=True)


def _ready_message(rule: kinds.AnyRule, scopes: Sequence[Scope], problems: Sequence[matching.Problem]) -> str:
    count = len({scope.type for scope in scopes})
    message = f"feeds {rule.destination_ref} with {count} {'type' if count == 1 else 'types'}"
    empty = dict.fromkeys(_chosen_by(scope.filter) for scope in scopes if scope.members == frozenset())
    if empty:
        message += f"; no namespace is selected by {', nor by '.join(empty)} now"
    return f"{message}; not with: {'; '.join(problem.message for problem in problems)}" if problems else message


def _chosen_by(wanted: filters.Filter) -> str:
    """What chooses namespaces, in words: the selector alone may well select some that are excluded from it."""
    return f"namespaceSelector {wanted.namespaces}{' with its excludeNamespaces' if wanted.exclude_namespaces else ''}"


def _key(rule: kinds.AnyRule) -> RuleKey:
    return RuleKey("WatchRule" if isinstance(rule, kinds.WatchRule) else "ClusterWatchRule", rule.meta.ref)
