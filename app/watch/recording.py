"""Write what was compiled into SQL and read it back as a routing: the first half of a cause.

`causing.py` calls `record` inside its transaction and decides afterwards which seeds that starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app import events
from app.models import base, destinations, leases, rules, seeds
from app.rules import compiling, kinds, selecting
from app.watch import routing


@dataclass(frozen=True)
class Seen:
    """Our objects as they stand, and what they compiled to.

    `present` holds the uids of all our objects, readable or not: only what is not in it is gone.
    """

    repo_configs: Mapping[events.Ref, kinds.GitRepoConfig]
    destinations: Mapping[events.Ref, kinds.GitDestination]
    compilation: compiling.Compilation
    present: frozenset[str]


@dataclass(frozen=True)
class Recorded:
    """The routing that follows, and the ids of destinations whose rules changed."""

    routes: routing.Routing
    changed: frozenset[int]


def record(connection: base.Connection, seen: Seen, *, cluster: str) -> Recorded:
    """Save repositories, destinations, places and rules; retire what is gone."""
    configs = {ref: _save_config(connection, seen, ref) for ref in seen.repo_configs}
    targets: dict[events.Ref, routing.Target] = {}
    for ref, verdict in seen.compilation.destinations.items():
        destination = seen.destinations[ref]
        destination_id = destinations.save_destination(
            connection,
            uid=destination.meta.uid,
            ref=ref,
            cluster=cluster,
            ready=verdict.ready,
            reason=verdict.reason,
            message=verdict.message,
        )
        if verdict.place is None:
            # An open seed of a destination that cannot be written would hold up retention for as long.
            seeds.supersede(connection, destination_id)
        else:
            targets[ref] = _save_place(
                connection, destination, verdict.place, destination_id=destination_id, configs=configs
            )
    compiled = [rule for rule in seen.compilation.compiled() if rule.destination in targets]
    changed = rules.save(connection, cluster=cluster, rules=[_rule_seen(rule, targets) for rule in compiled])
    for gone in destinations.retire_destinations(connection, cluster=cluster, keep=set(seen.present)):
        seeds.supersede(connection, gone)
    destinations.retire_repo_configs(connection, keep=set(seen.present))
    return Recorded(_routing(seen.compilation, compiled, targets), frozenset(changed))


def _save_config(connection: base.Connection, seen: Seen, ref: events.Ref) -> int:
    config, verdict = seen.repo_configs[ref], seen.compilation.repo_configs[ref]
    url = verdict.url
    return destinations.save_repo_config(
        connection,
        destinations.RepoConfigSeen(
            uid=config.meta.uid,
            ref=ref,
            url=url.url if url else "",
            url_key=url.key if url else "",
            transport=url.transport if url else "https",
            host=url.host if url else "",
            secret_name=config.secret_name,
            push_interval=config.push_interval,
            max_commits=config.max_commits,
            ready=verdict.ready,
            reason=verdict.reason,
            message=verdict.message,
        ),
    )


def _save_place(
    connection: base.Connection,
    destination: kinds.GitDestination,
    place: compiling.Place,
    *,
    destination_id: int,
    configs: Mapping[events.Ref, int],
) -> routing.Target:
    branch_id = leases.ensure_branch(connection, url_key=place.url.key, branch=place.branch)
    place_id, generation, _raised = destinations.save_place(
        connection,
        destination_id,
        destinations.PlaceSeen(
            repo_config_id=configs[place.repo_config],
            branch_id=branch_id,
            url_key=place.url.key,
            branch=place.branch,
            base_folder=place.base_folder,
        ),
    )
    return routing.Target(
        id=destination_id,
        uid=destination.meta.uid,
        ref=destination.meta.ref,
        repo_config=place.repo_config,
        place_id=place_id,
        place_generation=generation,
        branch=place.branch,
        base_folder=place.base_folder,
    )


def _rule_seen(rule: compiling.CompiledRule, targets: Mapping[events.Ref, routing.Target]) -> rules.RuleSeen:
    target = targets[rule.destination]
    return rules.RuleSeen(
        rule=rule.rule_name, uid=rule.uid, destination_id=target.id, place_id=target.place_id, spec=rule.spec
    )


def _routing(
    compilation: compiling.Compilation,
    compiled: list[compiling.CompiledRule],
    targets: Mapping[events.Ref, routing.Target],
) -> routing.Routing:
    scopes = {target.id: selecting.scopes_of(compilation, ref) for ref, target in targets.items()}
    return routing.Routing(
        matcher=selecting.Matcher(compiled),
        targets=dict(targets),
        scopes={id_: routing.wanted_scopes(found) for id_, found in scopes.items()},
        streams=routing.plan_streams(scope for found in scopes.values() for scope in found),
    )
