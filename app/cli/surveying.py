"""What rules and destinations there are and what they compile to, for the commands that explain them.

Compiled by the one compiler that the watch daemon uses, so that an explanation and the behaviour cannot differ: from
the objects in the cluster, or, while it does not answer, from what the database knows of them. Neighbours: `targets.py`
says which cluster, `records.py` which database, `naming.py` what people call a type.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app import db, errors, events, settings
from app.cli import naming, offline, options, records, targets, updata
from app.kube import client, discovery, listing, problems
from app.kube import kinds as our_kinds
from app.kube import namespaces as kube_namespaces
from app.models import base, destinations, leases, rules, tracing
from app.rules import compiling, kinds, types

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything compiled. `raws` are our objects as they were read, `unreadable` those that cannot be used.

    `cluster` is None where this is what the database remembers. `remarks` say what this account may not see.
    """

    compilation: compiling.Compilation
    types: naming.Types
    raws: Mapping[tuple[str, events.Ref], Raw]
    unreadable: Mapping[tuple[str, events.Ref], errors.PermanentError]
    cluster: client.Cluster | None = None
    remarks: tuple[str, ...] = ()

    def rules_of(self, destination: events.Ref) -> list[tuple[compiling.RuleKey, compiling.RuleVerdict]]:
        """The rules that name a destination, by name, the ones that are not ready included."""
        return [
            (key, verdict)
            for key, verdict in sorted(self.compilation.rules.items(), key=lambda pair: str(pair[0]))
            if self.names_destination(key.kind, key.ref) == destination
        ]

    def unreadable_of(self, destination: events.Ref) -> list[tuple[compiling.RuleKey, errors.PermanentError]]:
        """The rules that name a destination and cannot be used at all, and why."""
        kinds: tuple[compiling.RuleKind, ...] = ("WatchRule", "ClusterWatchRule")
        return [
            (compiling.RuleKey(kind, ref), error)
            for kind in kinds
            for (found, ref), error in self.unreadable.items()
            if found == kind and self.names_destination(kind, ref) == destination
        ]

    def names_destination(self, kind: str, ref: events.Ref) -> events.Ref | None:
        """The destination that a rule names, whatever else is wrong with it."""
        spec = self.raws[kind, ref].get("spec")
        wanted = spec.get("destinationRef") if isinstance(spec, Mapping) else None
        if not isinstance(wanted, Mapping):
            return None
        return events.Ref(str(wanted.get("namespace") or ref.namespace), str(wanted.get("name")))


@dataclass(frozen=True, slots=True)
class View:
    """What answered: a survey of the cluster or of the database, and the database. `silent` says what did not."""

    survey: Survey
    database: db.Database | None
    settings: settings.Settings
    silent: tuple[str, ...]


class WrongClusterError(errors.PermanentError):
    """The database is about another cluster."""

    default_reason = "WrongCluster"


@contextlib.contextmanager
def view(data_dir: Path, kubeconfig: str) -> Iterator[View]:
    """Ask the cluster and the database. Raises PermanentError where neither answers, and for two that do not fit."""
    found, silent = options.settings_in(data_dir), []
    with contextlib.ExitStack() as stack:
        database, survey = None, None
        try:
            database = stack.enter_context(records.opened(data_dir))
        except errors.ReverserError as error:
            silent.append(f"What is in Git is not known: {_said(error)}.")
        try:
            cluster = stack.enter_context(_cluster(data_dir, kubeconfig, found))
            survey = _of_same_cluster(cluster, database, found, allow_local=_allows_local(data_dir, found))
        except (WrongClusterError, targets.AmbiguousError):
            raise
        except errors.ReverserError as error:
            if kubeconfig and isinstance(error, errors.SettingsError):
                raise
            silent.append(f"Live rules and objects are not known: {_said(error)}.")
        if survey is None:
            if database is None:
                raise errors.PermanentError(" ".join(silent).removesuffix("."))
            silent.append("What follows is what the database has in force.")
            with database.read() as connection:
                survey = of_database(connection, cluster=found.cluster)
        yield View(survey, database, found, (*silent, *survey.remarks))


def _of_same_cluster(
    cluster: targets.Opened, database: db.Database | None, found: settings.Settings, *, allow_local: bool
) -> Survey:
    """The survey of a cluster, unless it is known to be another one than the database is about."""
    if database is not None:
        with database.read() as connection:
            recorded = leases.recorded_uid(connection, cluster=found.cluster)
        # An account that may not read kube-system cannot tell, and may ask all the same.
        with contextlib.suppress(problems.Forbidden):
            if recorded and cluster.client.uid() != recorded:
                raise WrongClusterError(
                    f"{cluster.where} is not the cluster that the database is about: give the --data-dir, or the "
                    "REVERSER_DATABASE_URL, of this one"
                )
    return of_cluster(cluster.client, allow_local=allow_local, page_size=found.page_size)


def of_cluster(cluster: client.Cluster, *, allow_local: bool, page_size: int) -> Survey:
    """Compile our objects as they stand in a cluster. Raises StalledError, TemporaryError, Forbidden."""
    served = discovery.discover(cluster)
    read = _Read()
    for kind in sorted(served.ours_served):
        for page in listing.list_pages(cluster, our_kinds.OUR_TYPES[kind], "", page_size=page_size):
            read.take(kind, page.items)
    namespaces, remarks = _namespaces(cluster, read, page_size)
    return Survey(
        compilation=read.compile(
            served.types,
            failed_groups=served.failed_groups,
            allow_local=allow_local or _local_is_admitted(read.raws),
            namespaces=namespaces,
        ),
        types=naming.Types.of(served),
        raws=read.raws,
        unreadable=read.unreadable,
        cluster=cluster,
        remarks=remarks,
    )


def of_database(connection: base.Connection, *, cluster: str) -> Survey:
    """What the database has in force; a type of which only files are left has its name, and no rule selects it."""
    found = in_force(connection, cluster=cluster)
    known = {(one.group, one.version, one.resource): one for one in found.types.served}
    for placed in destinations.live(connection, cluster=cluster):
        for group, version, resource, kind, namespaced in tracing.types_of(connection, placed.id):
            held = offline.make_type(group=group, version=version, resource=resource, kind=kind, namespaced=namespaced)
            known.setdefault((group, version, resource), held)
    return replace(found, types=_remembered(tuple(known.values())))


def in_force(connection: base.Connection, *, cluster: str) -> Survey:
    """Compile the rules that are ready, at the places of their destinations, on the types that they resolved to."""
    placed = {one.id: one for one in destinations.live(connection, cluster=cluster)}
    recorded = [row for row in rules.in_force(connection, cluster=cluster) if row.destination_id in placed]
    served = tuple({(one.group, one.version, one.resource): one for row in recorded for one in _types_of(row)}.values())
    read = _Read()
    read.take("GitRepoConfig", _configs(placed.values()))
    read.take("GitDestination", (_destination(one) for one in placed.values()))
    for row in recorded:
        kind, _, name = row.rule.partition(" ")
        read.take(kind, [_rule(name, row, placed[row.destination_id].ref)])
    return Survey(
        # What stands there was admitted once; who belongs to a namespaceSelector stands there, and no labels.
        compilation=read.compile(served, allow_local=True, members=compiling.members_of(row.spec for row in recorded)),
        types=_remembered(served),
        raws=read.raws,
        unreadable=read.unreadable,
    )


def _remembered(known: Sequence[types.ResourceType]) -> naming.Types:
    return naming.Types.remembered(known, where="what the database knows")


@dataclass
class _Read:
    """Our objects, read; one that is on its way out is gone, as for the watch daemon."""

    raws: dict[tuple[str, events.Ref], Raw] = field(default_factory=dict)
    unreadable: dict[tuple[str, events.Ref], errors.PermanentError] = field(default_factory=dict)
    configs: list[kinds.GitRepoConfig] = field(default_factory=list)
    destinations: list[kinds.GitDestination] = field(default_factory=list)
    rules: list[kinds.WatchRule] = field(default_factory=list)
    cluster_rules: list[kinds.ClusterWatchRule] = field(default_factory=list)

    def take(self, kind: str, found: Iterable[Raw]) -> None:
        for raw in found:
            metadata = raw["metadata"]
            if metadata.get("deletionTimestamp"):
                continue
            ref = events.Ref(metadata.get("namespace", ""), metadata["name"])
            self.raws[kind, ref] = raw
            try:
                self._sort(our_kinds.read(raw))
            except errors.PermanentError as error:
                self.unreadable[kind, ref] = error

    def _sort(self, one: our_kinds.OurObject) -> None:
        match one:
            case kinds.GitRepoConfig():
                self.configs.append(one)
            case kinds.GitDestination():
                self.destinations.append(one)
            case kinds.WatchRule():
                self.rules.append(one)
            case kinds.ClusterWatchRule():
                self.cluster_rules.append(one)

    def compile(
        self,
        served: Sequence[types.ResourceType],
        *,
        allow_local: bool,
        failed_groups: Collection[str] = (),
        namespaces: Mapping[str, Mapping[str, str]] | None = None,
        members: Mapping[str, frozenset[str]] | None = None,
    ) -> compiling.Compilation:
        return compiling.compile_all(
            repo_configs=self.configs,
            destinations=self.destinations,
            watch_rules=self.rules,
            cluster_rules=self.cluster_rules,
            types=served,
            allow_local=allow_local,
            failed_groups=failed_groups,
            namespaces=namespaces,
            members=members,
        )


@contextlib.contextmanager
def _cluster(data_dir: Path, kubeconfig: str, found: settings.Settings) -> Iterator[targets.Opened]:
    """The cluster that is typed, else that of the pod in which this runs."""
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(targets.opened(data_dir, kubeconfig))
        except targets.NoClusterError as error:
            try:
                own = stack.enter_context(contextlib.closing(client.connect(found)))
            except errors.SettingsError:
                raise error from None
            opened = targets.Opened(own, f"the cluster at {own.server}")
        yield opened


def _allows_local(data_dir: Path, found: settings.Settings) -> bool:
    """Whether the watch daemon admits file:// repositories: that of an `up`, which may rest now, always does."""
    return found.allow_local_repos or updata.DataFolder.at(data_dir).lock.exists()


def _local_is_admitted(raws: Mapping[tuple[str, events.Ref], Raw]) -> bool:
    """Whether file:// repositories are, by a setting of the watch daemon that is not known here: what it said decides.

    Where it said nothing yet, nobody refused one.
    """
    said = [
        one.get("status")
        for (kind, _), raw in raws.items()
        if kind == "GitRepoConfig" and str((raw.get("spec") or {}).get("repoUrl")).startswith("file:")
        for one in (raw.get("status") or {}).get("conditions") or ()
        if one.get("type") == "Ready"
    ]
    return "True" in said or not said


def _namespaces(
    cluster: client.Cluster, read: _Read, page_size: int
) -> tuple[Mapping[str, Mapping[str, str]] | None, tuple[str, ...]]:
    """The labels of all namespaces, where a rule asks for them; None, and why, where this account may not read them."""
    if all(item.namespace_selector is None for rule in read.cluster_rules for item in rule.items):
        return None, ()
    try:
        return kube_namespaces.list_labels(cluster, page_size=page_size)[0], ()
    except problems.Forbidden as error:
        return None, (f"This account does not see what a namespaceSelector selects: {error.message}.",)


def _said(error: errors.ReverserError) -> str:
    """What happened, without what a process of ours would do next."""
    return error.message.partition(";")[0] if isinstance(error, errors.TemporaryError) else error.message


def _configs(placed: Iterable[destinations.Destination]) -> Iterator[Raw]:
    """The repositories that destinations write to, open to all: who may use them was judged when they were recorded."""
    branches: dict[tuple[events.Ref, str], set[str]] = {}
    for one in placed:
        branches.setdefault((one.repo_config, one.url), set()).add(one.branch)
    for (ref, url), allowed in branches.items():
        access = {"namespacedRules": {"mode": "AllNamespaces"}}
        yield _object(
            "GitRepoConfig", ref, {"repoUrl": url, "allowedBranches": sorted(allowed), "accessPolicy": access}
        )


def _destination(one: destinations.Destination) -> Raw:
    repo = {"name": one.repo_config.name, "namespace": one.repo_config.namespace}
    spec = {"repoRef": repo, "branch": one.branch, "baseFolder": one.base_folder}
    return _object("GitDestination", one.ref, spec)


def _rule(name: str, row: base.AnyRow, destination: events.Ref) -> Raw:
    namespace, _, own = name.rpartition("/")
    target = {"name": destination.name, "namespace": destination.namespace}
    kind = row.rule.partition(" ")[0]
    items = [_known(item, row.spec["scopes"]) for item in row.spec["rules"]]
    return _object(kind, events.Ref(namespace, own), {"destinationRef": target, "rules": items})


def _known(item: Mapping[str, Any], scopes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An item of a recorded rule, without groups and versions of which nothing was found.

    The cluster may have them all the same: of that, the database knows nothing, and nobody is told that it has not.
    """
    kept = {
        field: [one for one in item.get(field, ()) if one in {"*", *(scope[part] for scope in scopes)}]
        for field, part in (("apiGroups", "group"), ("apiVersions", "version"))
    }
    return {**item, **{field: some for field, some in kept.items() if some}}


def _object(kind: str, ref: events.Ref, spec: Mapping[str, Any]) -> Raw:
    metadata = {"name": ref.name, **({"namespace": ref.namespace} if ref.namespace else {})}
    return {"apiVersion": kinds.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _types_of(row: base.AnyRow) -> Iterator[types.ResourceType]:
    """The types that a recorded rule resolved to. Whether one has namespaces follows from the rule, or is known."""
    scopes_said = {item.get("scope") for item in row.spec["rules"]}
    for scope in row.spec["scopes"]:
        built_in = offline.BUILT_IN.get((scope["group"], scope["kind"]))
        namespaced = built_in[1] if built_in else bool(scope["namespace"]) or scopes_said != {"Cluster"}
        yield offline.make_type(
            group=scope["group"],
            version=scope["version"],
            resource=scope["resource"],
            kind=scope["kind"],
            namespaced=namespaced,
        )
