"""Orphans: files of ours whose object a complete listing did not find. Evidence first (promises P2, P10, P11).

Only rows of the inventory are looked at, so a file that is not ours cannot be an orphan, and only at the current
place, so another branch or folder cannot be touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app import db, errors
from app.events import Identifier, Operation
from app.models import commits, destinations, inventory, ledger, rules, seeds
from app.rules import filters, paths, selecting, versions


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file whose object a listing did not find, that listing, and the rule under which the file goes.

    The object of a `moved` one is there: it has its file at another path, that of its type's version of now.
    """

    item: inventory.Item
    scope: seeds.Scope
    rule: str
    moved: bool


@dataclass(frozen=True, slots=True)
class Swept:
    """What a seed proves of so many files.

    `back` are those that an earlier one took for orphans, and whose objects are there; `kept` wait for a person, though
    no rule removes them any more.
    """

    files: int = 0
    orphans: Sequence[Orphan] = ()
    back: Sequence[inventory.Item] = ()
    kept: Sequence[inventory.Item] = ()

    @property
    def gone(self) -> list[Orphan]:
        """The orphans whose objects are gone."""
        return [orphan for orphan in self.orphans if not orphan.moved]


def refusal(database: db.Database, *, destination: destinations.Destination, run: str, swept: Swept) -> str:
    """Why a sweep waits for a person, and what lets it pass; empty where it need not, or would remove nothing.

    What waited once does so until somebody decides: while objects come back one by one, the rest of them is no reason
    to go.
    """
    pruning, gone = destination.pruning, len(swept.gone)
    if not pruning.policy.removes_orphans:
        return ""
    with database.read() as connection:
        allowed = seeds.allowed(connection, run)
    waits = gone > allowed and any(orphan.item.orphan == inventory.HELD for orphan in swept.gone)
    if not waits and not pruning.holds(gone, files=swept.files, allowed=allowed):
        return ""
    why = "some of them wait for that already" if waits else f"more than {pruning.max_ratio:g} (spec.maxPruneRatio)"
    return (
        f"a sweep would remove {gone} of {swept.files} files, {why}: if their objects are really gone, let it pass "
        f"with `reverser seed {destination.ref} --allow-prune {gone}`"
    )


def find(database: db.Database, *, destination: destinations.Destination, run: str) -> Swept:
    """What one seed proves, by path. A superseded seed proves nothing."""
    with database.read() as connection:
        if seeds.state_of(connection, run) != seeds.SYNCED:
            return Swept()
        listed = _listed(ledger.seed_identities(connection, destination.id, run), destination.base_folder)
        removers = Removers(rules.specs_of(connection, destination.id))
        files, orphans, back, kept = 0, [], [], []
        for scope in filter(is_complete, seeds.scopes_of(connection, run)):
            key = scope.key
            items = inventory.of_scope(
                connection, destination.place_id, group=key.group, resource=key.resource, namespace=key.namespace
            )
            present = {item.path for item in items}
            files += len(items) if is_evidence(scope) else 0
            for item in items:
                if may_be_newer(item, scope):
                    continue
                if _is_held(item, listed, present):
                    back += [item] if item.orphan else []
                elif is_evidence(scope) and (rule := removers.of(item)):
                    moved = inventory.key_of(item.identifier) in listed
                    orphans.append(Orphan(item, scope, rule, moved))
                elif item.orphan == inventory.HELD:
                    kept.append(item)
    return Swept(files, orphans, back, kept)


def _listed(identities: Iterable[Identifier], base_folder: str) -> dict[inventory.Key, set[str]]:
    """The paths of the listed objects, by object: whatever became of their rows (promise P10)."""
    found: dict[inventory.Key, set[str]] = {}
    for identifier in identities:
        paths_of = found.setdefault(inventory.key_of(identifier), set())
        try:
            paths_of.add(paths.object_path(base_folder, identifier))
        except errors.PermanentError:
            continue
    return found


def _is_held(item: inventory.Item, listed: Mapping[inventory.Key, set[str]], present: set[str]) -> bool:
    """Whether a listed object keeps this file: it stands at the object's path, or is all that is there of it.

    The path changes with the version of the type; the file of the former version goes once the new one stands.
    """
    wanted = listed.get(inventory.key_of(item.identifier))
    return wanted is not None and (item.path in wanted or not wanted & present)


def is_complete(scope: seeds.Scope) -> bool:
    """Whether a scope was listed to its end, and is wholly in the ledger."""
    return scope.outcome == seeds.COMPLETE and scope.listed == scope.written


def is_evidence(scope: seeds.Scope) -> bool:
    """Whether a scope is complete, and a rule on it selects DELETE: nothing less proves an orphan."""
    return is_complete(scope) and scope.sweepable


class Removers:
    """`Matcher.remover`, asked of the specs in force: another rule on the type may make a scope sweepable."""

    def __init__(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        self._scopes: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
        for rule, spec in specs.items():
            for scope in spec["scopes"]:
                self._scopes.setdefault((scope["group"], scope["resource"]), []).append((rule, scope))
        self._deleting: dict[tuple[str, str, str], Mapping[str, bool]] = {}

    def of(self, item: inventory.Item) -> str | None:
        """The rule that removes a file, None where it stays."""
        what = item.identifier
        key = what.group, what.resource, what.namespace
        if key not in self._deleting:
            self._deleting[key] = selecting.merged(
                (rule, Operation.DELETE.value in scope["operations"])
                for rule, scope in self._scopes.get(key[:2], ())
                if _covers(scope, what.namespace)
            )
        return selecting.remover(self._deleting[key], noted=item.remover)


def _covers(scope: Mapping[str, Any], namespace: str) -> bool:
    excluded = filters.Filter(exclude_namespaces=tuple(scope.get("filter", {}).get("excludeNamespaces", ())))
    return scope["namespace"] in {"", namespace} and excluded.covers(namespace, None)


def may_be_newer(item: inventory.Item, scope: seeds.Scope) -> bool:
    """Promise P11: an object created after the listing began is no orphan. What cannot be compared is kept."""
    if item.source_epoch != scope.source_epoch:
        return item.source_epoch > scope.source_epoch
    return versions.newer(item.resource_version, scope.list_resource_version) is not False


def tombstone(item: inventory.Item, *, version: str, epoch: int) -> inventory.Item:
    """The inventory's row of a removed orphan: the listing's version keeps older rows of it from coming back."""
    return replace(
        item, resource_version=version, source_epoch=epoch, blob_id=None, content_hash=None, removed=True, orphan=None
    )


def change(row: ledger.Pending, item: inventory.Item, *, rule: str) -> commits.Change:
    """A removed orphan in the record: it names the SEED_SYNC row, and the rule under which the file went."""
    return commits.Change(
        path=item.path,
        operation=Operation.DELETE.value,
        identifier=item.identifier,
        resource_version=item.resource_version,
        user=None,
        rule=rule,
        sequence=row.sequence,
        blob_id=None,
        observed_at=row.observed_at,
    )
