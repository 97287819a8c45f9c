"""Write what was compiled into SQL and read it back as a routing: the first half of a cause.

`causing.py` calls `record` inside its transaction and decides afterwards which seeds that starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app import events
from app.models import base, destinations, leases, places, rules, seeds, wishes
from app.rules import compiling, kinds, pruning, selecting
from app.watch import routing

NOT_ALLOWED = "the destination is not allowed to write to its place any more"
DISPLACED = "the destination was deleted, and another one has its folder now"


@dataclass(frozen=True)
class Seen:
    """Our objects as they stand, and what they compiled to.

    `present` holds the uids of all our objects, readable or not: only what is not in it is gone.
    """

    repo_configs: Mapping[events.Ref, kinds.GitRepoConfig]
    destinations: Mapping[events.Ref, kinds.GitDestination]
    compilation: compiling.Compilation
    present: frozenset[str]


# What a row was written from, and what writing it gave: a config's id, or a destination's target.
_Saved = Mapping[tuple[str, events.Ref], tuple[object, Any]]


@dataclass(frozen=True)
class Recorded:
    """The routing that follows, and what need not be written again."""

    routes: routing.Routing
    saved: _Saved = field(default_factory=dict)

    @property
    def config_ids(self) -> Mapping[events.Ref, int]:
        """The ids of the repository configs."""
        return {ref: saved[1] for (kind, ref), saved in self.saved.items() if kind == "config"}


NOTHING = Recorded(routing.NOTHING)


def record(connection: base.Connection, seen: Seen, *, cluster: str, before: Recorded = NOTHING) -> Recorded:
    """Save repositories, destinations, places and rules; retire what is gone.

    `before` is what this leader committed last: with thousands of destinations, only the few that changed are written.
    """
    saved: dict[tuple[str, events.Ref], tuple[object, Any]] = {}

    def save(kind: str, ref: events.Ref, mark: object, write: Callable[[], Any]) -> Any:
        known = before.saved.get((kind, ref))
        value = known[1] if known is not None and known[0] == mark else write()
        saved[kind, ref] = mark, value
        return value

    destinations.lock_all(connection, cluster=cluster)
    # What is gone goes first: its folder may be another one's in the same breath.
    for gone in destinations.retire_destinations(connection, cluster=cluster, keep=set(seen.present)):
        seeds.supersede(connection, gone)
    configs: dict[events.Ref, int] = {}
    for ref in seen.repo_configs:
        row = _config_row(seen, ref)
        configs[ref] = save("config", ref, row, partial(destinations.save_repo_config, connection, row))
    targets: dict[events.Ref, routing.Target] = {}
    for ref, verdict in seen.compilation.destinations.items():
        uid = seen.destinations[ref].meta.uid
        place = verdict.place
        pruned = seen.destinations[ref].pruning
        mark = uid, verdict, pruned, configs[place.repo_config] if place else None
        write = partial(
            _save_destination, connection, uid, ref, verdict, pruned=pruned, cluster=cluster, configs=configs
        )
        target = save("destination", ref, mark, write)
        if target is not None:
            targets[ref] = target
    compiled = [rule for rule in seen.compilation.compiled() if rule.destination in targets]
    found = [_rule_seen(rule, targets) for rule in compiled]
    rules.save(connection, cluster=cluster, rules=found, present=seen.present)
    destinations.retire_repo_configs(connection, keep=set(seen.present))
    return Recorded(_routing(seen.compilation, compiled, targets), saved)


def _config_row(seen: Seen, ref: events.Ref) -> destinations.RepoConfigSeen:
    config, verdict = seen.repo_configs[ref], seen.compilation.repo_configs[ref]
    url = verdict.url
    return destinations.RepoConfigSeen(
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
    )


def _save_destination(
    connection: base.Connection,
    uid: str,
    ref: events.Ref,
    verdict: compiling.DestinationVerdict,
    *,
    pruned: pruning.Pruning,
    cluster: str,
    configs: Mapping[events.Ref, int],
) -> routing.Target | None:
    before = destinations.pruning_of(connection, uid)
    destination_id = destinations.save_destination(
        connection,
        uid=uid,
        ref=ref,
        cluster=cluster,
        ready=verdict.ready,
        reason=verdict.reason,
        message=verdict.message,
        pruned=pruned,
    )
    if before is not None and before != pruned:
        # What stays and what waits for a person is said by a listing.
        wishes.ask(connection, destination_id, cause="spec.prune changed")
    place = verdict.place
    if place is None:
        places.clear(connection, destination_id, reason=NOT_ALLOWED)
        return None
    branch_id = leases.ensure_branch(connection, url_key=place.url.key, branch=place.branch)
    place_id, generation, raised = places.save(
        connection,
        destination_id,
        places.Seen(
            repo_config_id=configs[place.repo_config],
            branch_id=branch_id,
            url_key=place.url.key,
            branch=place.branch,
            base_folder=place.base_folder,
        ),
    )
    for former in places.displaced(connection, place_id) if raised else ():
        places.give_up(connection, former, reason=DISPLACED)
    return routing.Target(
        id=destination_id,
        uid=uid,
        ref=ref,
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
    # Asked with its own rules only, because each question looks at all rules that it is given.
    own: dict[events.Ref, dict[compiling.RuleKey, compiling.RuleVerdict]] = {}
    for key, verdict in compilation.rules.items():
        if verdict.rule is not None:
            own.setdefault(verdict.rule.destination, {})[key] = verdict
    scopes = {
        target.id: selecting.scopes_of(compiling.Compilation({}, {}, own.get(ref, {})), ref)
        for ref, target in targets.items()
    }
    marks = {id_: routing.marks(found) for id_, found in scopes.items()}
    return routing.Routing(
        matcher=selecting.Matcher(compiled),
        targets=dict(targets),
        scopes={id_: routing.wanted_scopes(found) for id_, found in scopes.items()},
        streams=routing.plan_streams(scope for found in scopes.values() for scope in found),
        marks=marks,
        holdings=routing.holdings(marks, targets.values()),
    )
