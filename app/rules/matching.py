"""Which types a rule selects (DESIGN section 7).

The field comments of the CRDs are the law: empty means all, `*` means all, a resource is a plural or `plural.group`,
in any case. What a rule names and cannot have is a Problem for its status; what `*` leaves out (`noise.py`) is a note.
`compiling.py` calls `resolve` per rule item.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.events import Operation
from app.rules import noise
from app.rules.kinds import RuleItem
from app.rules.types import ResourceType

ANY = "*"
SECRETS = ("", "secrets")
# What Kubernetes calls the group that has no name.
CORE = "core"
_CORE_IS = 'the core group is written ""'
_CORE_IN_GROUPS = f"{_CORE_IS} in apiGroups"

WATCHED = frozenset({Operation.CREATE, Operation.UPDATE, Operation.DELETE})

# A status is read by people, and has a place in etcd.
_MOST_NAMED = 10

Reason = Literal[
    "NotServed",
    "CannotWatch",
    "Subresource",
    "EncryptionRequired",
    "OtherVersionOnly",
    "OtherScope",
    "VersionConflict",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A resource, group or version that a rule names and does not get; `message` says what to do."""

    resource: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What one rule item selects.

    `by_wildcard` holds the keys of those selected types that only `*` reached; `notes` say what `*` left out.
    `other_versions` are the types that `*` reaches in none of the item's versions.
    """

    selected: tuple[ResourceType, ...]
    problems: tuple[Problem, ...]
    by_wildcard: frozenset[tuple[str, str]]
    notes: tuple[str, ...]
    other_versions: tuple[ResourceType, ...]


def resolve(
    item: RuleItem, types: Sequence[ResourceType], *, namespace: str = "", failed_groups: Collection[str] = ()
) -> Resolution:
    """Resolve one rule item against every served version of every type, one version per type.

    `namespace` is that of the rule: what `*` leaves out elsewhere is no news in it. Empty means all of them.
    `failed_groups` are registered and do not answer: what they serve is not known, or is what they served before.
    """
    served = _by_key(types)
    named: dict[tuple[str, str], ResourceType] = {}
    problems: list[Problem] = []
    for pattern in dict.fromkeys(item.resources):
        if pattern != ANY:
            chosen, wrong = _resolve_named(item, pattern, served, failed=failed_groups)
            named |= {type_.key: type_ for type_ in chosen}
            problems += wrong
    wild, notes = _resolve_wildcard(item, served) if ANY in item.resources else ({}, {})
    if ANY in item.resources and not wild and not notes:
        problems.append(Problem(ANY, "NotServed", _nothing_served(item, failed_groups)))
    found = wild | named
    if found:
        problems += _strays(item, served, found, failed=failed_groups)
    selected = tuple(found[key] for key in sorted(found))
    by_wildcard = frozenset(wild.keys() - named.keys())
    other_versions = _in_other_versions(item, served) if ANY in item.resources else ()
    return Resolution(
        selected=selected,
        problems=tuple(problems),
        by_wildcard=by_wildcard,
        notes=(
            *(note for key, note in notes.items() if key not in named),
            *_notes_on_versions(item, other_versions),
            *_notes_on_objects([type_ for type_ in selected if type_.key in by_wildcard], namespace),
        ),
        other_versions=other_versions,
    )


def operations_of(item: RuleItem) -> frozenset[Operation]:
    """The operations that an item selects; empty and `*` mean all."""
    if not item.operations or ANY in item.operations:
        return WATCHED
    return frozenset(operation for operation in WATCHED if operation.value in item.operations)


def _by_key(types: Iterable[ResourceType]) -> dict[tuple[str, str], list[ResourceType]]:
    """Every served version by type, the preferred one first."""
    served: dict[tuple[str, str], list[ResourceType]] = {}
    for type_ in sorted(types, key=lambda type_: not type_.preferred):
        served.setdefault(type_.key, []).append(type_)
    return served


def _resolve_wildcard(
    item: RuleItem, served: Mapping[tuple[str, str], Sequence[ResourceType]]
) -> tuple[dict[tuple[str, str], ResourceType], dict[tuple[str, str], str]]:
    """What `*` reaches, and a note for each type that it leaves out.

    What cannot be watched is left out without a word: nobody asked for it by name.
    """
    found: dict[tuple[str, str], ResourceType] = {}
    notes: dict[tuple[str, str], str] = {}
    for key, versions in served.items():
        type_ = _version(item, versions)
        if type_ is None or not _reaches(item, type_):
            continue
        reason = noise.excluded_type(*key)
        if reason is None:
            found[key] = type_
        else:
            notes[key] = f"* leaves out {type_}: {reason}"
    return found, notes


def _reaches(item: RuleItem, type_: ResourceType) -> bool:
    """Whether `*` reaches a type, in whatever version."""
    return _group_matches(item, type_.group) and _scope_matches(item, type_) and type_.watchable


def _in_other_versions(
    item: RuleItem, served: Mapping[tuple[str, str], Sequence[ResourceType]]
) -> tuple[ResourceType, ...]:
    """What `*` would reach in another version."""
    return tuple(
        versions[0]
        for key, versions in served.items()
        if _version(item, versions) is None and _reaches(item, versions[0]) and noise.excluded_type(*key) is None
    )


def _notes_on_versions(item: RuleItem, left_out: Sequence[ResourceType]) -> Iterator[str]:
    """One note, whatever their number: with `apiVersions: [v1]`, a cluster of many CRDs has hundreds of them."""
    if not left_out:
        return
    types = f"{len(left_out)} types that are" if len(left_out) > 1 else "1 type that is"
    named = ", ".join(map(str, left_out[:_MOST_NAMED]))
    more = f", and {len(left_out) - _MOST_NAMED} more" if len(left_out) > _MOST_NAMED else ""
    yield (
        f"* leaves out {types} not served as {' or '.join(item.api_versions)} (empty apiVersions take each type in the "
        f"version that the cluster prefers): {named}{more}"
    )


def _notes_on_objects(types: Sequence[ResourceType], namespace: str) -> list[str]:
    """What `*` leaves out of the types that it reaches, object by object; one reason of several types is said once."""
    of_reason: dict[str, list[str]] = {}
    for type_ in types:
        for reason in noise.object_reasons(*type_.key, namespace=namespace):
            of_reason.setdefault(reason, []).append(str(type_))
    owned = ["* leaves out every object that a controller owns: it is made from its owner"] if types else []
    return owned + [f"* leaves out single {', '.join(names)}: {reason}" for reason, names in of_reason.items()]


def _resolve_named(
    item: RuleItem,
    pattern: str,
    served: Mapping[tuple[str, str], Sequence[ResourceType]],
    *,
    failed: Collection[str],
) -> tuple[list[ResourceType], list[Problem]]:
    """The types that one pattern names. A type that fits goes on even if another of the same plural does not."""
    if "/" in pattern and _turned(pattern) not in served:
        message = f"{pattern} is a subresource: a watch never shows one, remove it from the rule"
        return [], [Problem(pattern, "Subresource", message)]
    plural, _, group = pattern.lower().partition(".")
    candidates = [
        versions
        for key, versions in served.items()
        if key[1].lower() == plural and group in ("", key[0].lower()) and _group_matches(item, key[0])
    ]
    if not candidates:
        return [], [Problem(pattern, "NotServed", _not_served(item, pattern, served, failed=failed))]
    chosen: list[ResourceType] = []
    problems: list[Problem] = []
    for versions in candidates:
        problem = _obstacle(item, pattern, versions)
        if problem is not None:
            problems.append(problem)
        else:
            chosen += [type_ for type_ in [_version(item, versions)] if type_]
    # The same plural in another scope or group is no news when the rule got the one it meant.
    return chosen, [problem for problem in problems if not chosen or problem.reason == "EncryptionRequired"]


def _obstacle(item: RuleItem, pattern: str, versions: Sequence[ResourceType]) -> Problem | None:
    type_ = _version(item, versions)
    if type_ is None:
        there = ", ".join(version.version for version in versions)
        return Problem(
            pattern,
            "OtherVersionOnly",
            f"{versions[0]} is served as {there} only: correct apiVersions, or leave it empty",
        )
    if not _scope_matches(item, type_):
        return Problem(pattern, "OtherScope", _other_scope(type_))
    if not type_.watchable:
        message = f"{type_} does not support list and watch: it cannot be mirrored, remove it from the rule"
        return Problem(pattern, "CannotWatch", message)
    if type_.key == SECRETS:
        message = "Secrets are mirrored only encrypted, and no encryption is configured: remove secrets from the rule"
        return Problem(pattern, "EncryptionRequired", message)
    return None


def _strays(
    item: RuleItem,
    served: Mapping[tuple[str, str], Sequence[ResourceType]],
    found: Iterable[tuple[str, str]],
    *,
    failed: Collection[str],
) -> Iterator[Problem]:
    """Groups that the cluster has not, and versions that nothing has of what was found beside them.

    An entry that finds nothing has said so of each resource, with all of its groups and versions.
    """
    groups = {group: group for group, _ in served}
    versions = {version.version for key in found for version in served[key]}
    for group in _missing(item.api_groups, groups):
        yield Problem(group, "NotServed", _no_group(item, group, groups, failed=failed))
    for version in _missing(item.api_versions, versions):
        message = f"nothing that is selected beside it is served as {version}: correct apiVersions"
        yield Problem(version, "OtherVersionOnly", message)


def _missing(said: Sequence[str], there: Container[str]) -> list[str]:
    """The words that name nothing; beside a `*`, they need not."""
    return [] if ANY in said else [word for word in dict.fromkeys(said) if word not in there]


def _no_group(item: RuleItem, group: str, groups: Mapping[str, str], *, failed: Collection[str]) -> str:
    if group in failed:
        return _silence([group])
    if group.lower() == CORE:
        return f"{group} is no API group of this cluster: {_core(item, group)}"
    meant = _guess(group, groups, words=len(item.api_groups))
    advice = _slip_of_group(group) or f"{meant}correct apiGroups, or install its CRD"
    return f"{group} is no API group of this cluster: {advice}"


def _nothing_served(item: RuleItem, failed: Collection[str]) -> str:
    groups = ", ".join(_group_name(group) for group in item.api_groups) or "any group"
    silent = _silent(item, failed)
    advice = _misspelt_group(item) or (_silence(silent) if silent else "check apiGroups and apiVersions")
    return f"no {item.scope} type of {groups} can be watched in this cluster: {advice}"


# What a guess may cost: people name few types and slip in few letters, and a rule of thousands holds nobody up.
_MOST_GUESSES = 10
_LONGEST_SLIP = 5


def _not_served(
    item: RuleItem,
    pattern: str,
    served: Mapping[tuple[str, str], Sequence[ResourceType]],
    *,
    failed: Collection[str],
) -> str:
    where = "this cluster"
    if item.api_groups and ANY not in item.api_groups:
        where = f"{', '.join(_group_name(group) for group in item.api_groups)} of this cluster"
    advice = _misspelt(pattern) or _misspelt_group(item) or _missed(item, pattern, served, failed=failed)
    return f"{pattern} is not served in {where}: {advice}"


def _missed(
    item: RuleItem,
    pattern: str,
    served: Mapping[tuple[str, str], Sequence[ResourceType]],
    *,
    failed: Collection[str],
) -> str:
    """What to do about a word that may well name a type."""
    _, _, group = pattern.lower().partition(".")
    silent = _silent(item, failed, group=group)
    if silent and (group or (item.api_groups and set(item.api_groups) <= set(silent))):
        return _silence(silent)
    called: dict[str, ResourceType] = {}
    for type_ in (versions[0] for key, versions in served.items() if _group_matches(item, key[0])):
        # The kind in small letters is the singular.
        called |= {type_.kind.lower(): type_, type_.resource: type_, str(type_): type_}
    meant = _guess(pattern, called, words=len(item.resources)) or _guess_group(item, served)
    wait = f"; or wait: {_silence(silent)}" if silent else ""
    return f"{meant}check plural and apiGroups, or install its CRD{wait}"


def _misspelt(pattern: str) -> str:
    """What to write in place of a word that cannot name a type in any cluster; empty for any other."""
    if "/" in pattern:
        return f"write {'.'.join(reversed(_turned(pattern)))}"
    plural, _, group = pattern.partition(".")
    if plural == ANY and group and not _is_glob(group):
        return f'write resources: ["*"] with apiGroups: [{group}], in an item of its own'
    if _is_glob(pattern):
        return "no patterns are taken here: name each plural, or all with *"
    return f"the core group has no name: write {plural}" if group.lower() == CORE else ""


def _is_glob(word: str) -> bool:
    return any(letter in word for letter in "*?[")


def _turned(pattern: str) -> tuple[str, ...]:
    """Group and plural, if the pattern is written with the group first."""
    return tuple(pattern.lower().split("/"))


def _misspelt_group(item: RuleItem) -> str:
    """The same of the groups, where none of the others may be the one that is meant."""
    if not {"", ANY}.isdisjoint(item.api_groups):
        return ""
    return next(filter(None, map(_slip_of_group, item.api_groups)), "")


def _slip_of_group(group: str) -> str:
    if "/" in group:
        name, version, *_ = group.split("/")
        return f"a group has no version: write apiGroups: [{name}] with apiVersions: [{version}]"
    if _is_glob(group):
        return "no patterns are taken in apiGroups: name each group, or all with *"
    return _CORE_IN_GROUPS if group.lower() == CORE else ""


def _guess_group(item: RuleItem, served: Iterable[tuple[str, str]]) -> str:
    """What a slip in the first group that the cluster has not means."""
    groups = {group: group for group, _ in served}
    missing = _missing(item.api_groups, groups)
    return _guess(missing[0], groups, words=len(item.api_groups)) if missing else ""


def _core(item: RuleItem, group: str) -> str:
    return f"{_CORE_IS}, which stands beside it: remove {group}" if "" in item.api_groups else _CORE_IN_GROUPS


def _silent(item: RuleItem, failed: Collection[str], *, group: str = "") -> list[str]:
    """The groups that may serve what an entry asks for, and do not answer; of those of this name, if there is one."""
    return [one for one in sorted(failed) if group in ("", one.lower()) and _group_matches(item, one)]


def _silence(groups: Iterable[str]) -> str:
    names = ", ".join(_group_name(group) for group in groups)
    return f"the API server of {names} does not answer, and is asked again until it does (`kubectl get apiservices`)"


def _guess(word: str, called: Mapping[str, object], *, words: int) -> str:
    """What a slip means, to stand before other advice; empty where nothing is near, or one of too many words."""
    near = _nearest(word.lower(), tuple(called)) if words <= _MOST_GUESSES else ""
    return f"do you mean {called[near]}? Else " if near else ""


@functools.lru_cache
def _nearest(word: str, names: tuple[str, ...]) -> str:
    """Kept: rules are compiled again and again, and comparing a word takes long. A slip spares the first letter."""
    alike = [name for name in names if name[:1] == word[:1] and abs(len(name) - len(word)) <= _LONGEST_SLIP]
    return next(iter(difflib.get_close_matches(word, alike, n=1, cutoff=0.7)), "")


def _other_scope(type_: ResourceType) -> str:
    if type_.namespaced:
        return f"{type_} is namespaced: use scope Namespaced, or a WatchRule in its namespace"
    return f"{type_} is cluster-scoped: select it in a ClusterWatchRule with scope Cluster"


def _group_matches(item: RuleItem, group: str) -> bool:
    return not item.api_groups or ANY in item.api_groups or group in item.api_groups


def _group_name(group: str) -> str:
    return group or 'the core group ""'


def _scope_matches(item: RuleItem, type_: ResourceType) -> bool:
    return type_.namespaced == (item.scope == "Namespaced")


def _version(item: RuleItem, versions: Sequence[ResourceType]) -> ResourceType | None:
    """The preferred version among those that the item allows, else the first that it names."""
    if not item.api_versions or ANY in item.api_versions:
        return versions[0]
    allowed = {type_.version: type_ for type_ in versions if type_.version in item.api_versions}
    if versions[0].version in allowed:
        return versions[0]
    return next((allowed[version] for version in item.api_versions if version in allowed), None)
