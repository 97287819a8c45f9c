"""Any history of objects, labels and rules, against one sentence: only a change of the cluster removes a file.

The writer's batches, the drain's verdicts and the sweep's rule are the real ones; ledger, inventory and Git are dicts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.drain import deciding
from app.kube import watching
from app.models import inventory, ledger, seeds
from app.rules import kinds, selecting, versions
from app.watch import batching, inbox, routing, runs
from tests.watch.desk import CONFIG_MAPS, config_map, labelled, watch_rule
from tests.watch.test_eventing import routes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES, APPS = ("a", "b"), ("web", "api")
RULES: tuple[kinds.WatchRule, ...] = (
    watch_rule("configmaps", labelSelector={"matchLabels": {"app": "web"}}),
    watch_rule("configmaps", labelSelector={"matchLabels": {"app": "api"}}),
    watch_rule("configmaps", labelSelector={"matchLabels": {"app": "web"}}, excludeNames=["b"]),
    watch_rule("configmaps", labelSelector={"matchLabels": {"app": "web"}}, operations=["CREATE", "DELETE"]),
    watch_rule("configmaps", labelSelector={"matchLabels": {"app": "web"}}, operations=["CREATE", "UPDATE"]),
)
# The rule that no change of a known object tells anything, the one that removes nothing, and what stands for what the
# first release wrote.
QUIET, KEEPING, UNTOLD = 3, 4, -1
ROUTES = tuple(routes(rule, CONFIG_MAPS) for rule in RULES)
STREAM = routing.StreamKey("", "v1", "configmaps", "shop")
KEY = seeds.ScopeKey("", "configmaps", "shop")
SCOPES = tuple(routing.WantedScope(KEY, "v1", sweepable=rule != KEEPING) for rule in range(len(RULES)))


def selected(rule: int, name: str, app: str) -> bool:
    """What the rules above say, said again."""
    return app == ("api" if rule == 1 else "web") and not (rule == 2 and name == "b")


@dataclass
class History:
    """A cluster, a destination that follows it, and what should be in Git: each file's rule and uid when last seen."""

    rule: int = 0
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    known: dict[inventory.Key, inventory.Known] = field(default_factory=dict)
    items: dict[str, inventory.Item] = field(default_factory=dict)
    expected: dict[str, tuple[int, str]] = field(default_factory=dict)
    blind: bool = False
    clock: Any = field(default_factory=lambda: itertools.count(100))
    seeds: Any = field(default_factory=lambda: itertools.count(1))

    def put(self, name: str, app: str) -> None:
        """Create an object, or give it another label."""
        at = next(self.clock)
        before = self.objects.get(name)
        uid = before["metadata"]["uid"] if before else f"uid-{at}"
        self.objects[name] = labelled(config_map(name, at, uid=uid, text="same"), app=app)
        self._happened("MODIFIED" if before else "ADDED", self.objects[name])

    def touch(self, name: str) -> None:
        """Change what is not mirrored."""
        if name in self.objects:
            self.put(name, self.objects[name]["metadata"]["labels"]["app"])

    def delete(self, name: str) -> None:
        """Delete an object; its last state says so."""
        gone = self.objects.pop(name, None)
        if gone is not None:
            metadata = {**gone["metadata"], "resourceVersion": str(next(self.clock))}
            self._happened("DELETED", {**gone, "metadata": metadata})

    def choose(self, rule: int) -> None:
        """Change the rule. What it touches is listed later."""
        self.rule = rule

    def restart(self) -> None:
        """Another leader knows what the inventory says."""
        self.known = {
            inventory.key_of(item.identifier): inventory.Known(
                item.identifier.uid, item.content_hash or "", item.selection, item.remover
            )
            for item in self.items.values()
            if not item.removed
        }

    def upgrade(self) -> None:
        """Files of the first release say nothing of rules, and whoever reads them starts anew."""
        self.items = {name: replace(item, selection=None, remover=None) for name, item in self.items.items()}
        self.expected = {name: (UNTOLD, uid) for name, (_, uid) in self.expected.items()}
        self.restart()

    def look_away(self) -> None:
        """Lose the stream: what happens now is seen by a listing only."""
        self.blind = True

    def list(self) -> None:
        """List everything, and sweep."""
        self.blind = False
        at, run = str(next(self.clock)), f"run-{next(self.seeds)}"
        scope = SCOPES[self.rule]
        batch = self._batch(runs.OpenRun(run, 1, "test", {scope: runs.ScopeState()}))
        listing = inbox.Listing(STREAM, CONFIG_MAPS, ((run, scope),), 1)
        batch.add_page(inbox.Page(listing, list(self.objects.values()), NOW, at))
        self._commit(batch)
        named = {row.event.identifier.name for row in batch.entries if row.event.identifier is not None}
        for name, item in self.items.items():
            newer = versions.newer(item.resource_version, at) is not False
            remover = selecting.remover({"WatchRule shop/rule": scope.sweepable}, noted=item.remover)
            if name not in named and not item.removed and not newer and remover is not None:
                self.items[name] = replace(item, removed=True, resource_version=at, selection=None)
        for row in batch.entries:
            self._take_over(row)
        for name in {*self.objects, *self.expected}:
            self._seen(name, listed=True)

    def _happened(self, kind: watching.Kind, obj: dict[str, Any]) -> None:
        if self.blind:
            return
        batch = self._batch()
        change = watching.Change(kind, obj, obj["metadata"]["resourceVersion"])
        batch.add_live(inbox.Live(STREAM, CONFIG_MAPS, change, 1, NOW))
        self._commit(batch)
        self._seen(obj["metadata"]["name"], last=obj if kind == "DELETED" else None)

    def _batch(self, *open_runs: runs.OpenRun) -> batching.Batch:
        book = runs.SeedBook()
        book.runs = {run.id: run for run in open_runs}
        return batching.Batch("home", ROUTES[self.rule], book, {1: batching.Overlay(self.known)})

    def _commit(self, batch: batching.Batch) -> None:
        for overlay in batch.known.values():
            overlay.apply()
        for row in batch.entries:
            if row.state == ledger.PENDING:
                self._drain(row)

    def _drain(self, row: ledger.Entry) -> None:
        event = row.event
        assert event.identifier is not None
        pending = ledger.Pending(
            sequence=0, id=event.id, place_id=7, operation=event.operation, identifier=event.identifier,
            resource_version=event.resource_version, observed_at=NOW, rule=event.rule, user=None,
            content_hash=event.content_hash, seed_run_id=event.seed, source_epoch=1, selection=row.selection,
            remover=row.remover,
        )  # fmt: skip
        name = event.identifier.name
        verdict = deciding.judge(pending, self.items.get(name))
        if isinstance(verdict, deciding.End):
            return
        self.items[name] = inventory.Item(
            name, event.identifier, event.resource_version, event.content_hash, None, event.seed,
            removed=isinstance(verdict, deciding.Remove), selection=row.selection, remover=row.remover,
        )  # fmt: skip

    def _take_over(self, row: ledger.Entry) -> None:
        """The end of a seed: what it listed and did not write says what selects it."""
        assert row.event.identifier is not None
        name, uid = row.event.identifier.name, row.event.identifier.uid
        item = self.items.get(name)
        if row.state != ledger.STALE or row.selection is None or item is None or item.identifier.uid != uid:
            return
        if not item.removed and (row.selection != ledger.LEFT or item.selection is None):
            self.items[name] = replace(item, selection=row.selection, remover=row.remover)

    def _seen(self, name: str, *, listed: bool = False, last: dict[str, Any] | None = None) -> None:
        """The sentence itself: selected stands, gone goes, and what left goes unless the rule is another one.

        A rule without DELETE removes nothing, and nothing goes later that it was the last one to select.
        """
        found, uid = self.objects.get(name), self.uid(name)
        rule, written = self.expected.get(name, (self.rule, uid))
        if found and self._selects(found):
            told = listed or self.rule != QUIET or written != uid
            self.expected[name] = self.rule if told else rule, uid
        elif written == uid:
            if rule == self.rule != KEEPING:
                self.expected.pop(name, None)
        elif last is not None and last["metadata"]["uid"] != written:
            # Which of the two objects came first, the Event does not say: a listing does.
            return
        elif self.rule != KEEPING and (rule != KEEPING or (last is not None and self._selects(last))):
            self.expected.pop(name, None)

    def uid(self, name: str) -> str:
        """Of the object that there is now."""
        return str(self.objects[name]["metadata"]["uid"]) if name in self.objects else ""

    def _selects(self, obj: dict[str, Any]) -> bool:
        return selected(self.rule, obj["metadata"]["name"], obj["metadata"]["labels"]["app"])

    def files(self) -> set[str]:
        """What stands in Git."""
        return {name for name, item in self.items.items() if not item.removed}


# What happens to objects is more frequent than what happens to those who watch.
PUT = st.tuples(st.just("put"), st.sampled_from(NAMES), st.sampled_from(APPS))
STEPS = st.one_of(
    PUT,
    PUT,
    st.tuples(st.sampled_from(["touch", "delete"]), st.sampled_from(NAMES)),
    st.tuples(st.just("choose"), st.integers(0, len(RULES) - 1)),
    st.tuples(st.sampled_from(["look_away", "list", "restart", "upgrade"])),
)


@pytest.mark.promise("P2", "P10")
@given(st.lists(STEPS, min_size=8, max_size=20))
@example([("put", "a", "web"), ("look_away",), ("put", "a", "api"), ("list",), ("put", "a", "web")])
@example([("put", "a", "web"), ("choose", 1), ("touch", "a"), ("list",), ("choose", 0), ("touch", "a")])
@example([("put", "a", "web"), ("choose", 2), ("touch", "a"), ("put", "a", "api")])
@example([("put", "a", "web"), ("choose", QUIET), ("list",), ("put", "a", "api")])
@example([("put", "a", "web"), ("choose", 2), ("put", "b", "web"), ("upgrade",), ("put", "a", "api")])
@example([("put", "a", "web"), ("choose", KEEPING), ("list",), ("choose", 0), ("delete", "a")])
@example([("put", "b", "web"), ("choose", 1), ("look_away",), ("delete", "b"), ("put", "b", "web"), ("list",)])
@example([
    ("put", "b", "web"), ("choose", KEEPING), ("delete", "b"), ("put", "b", "api"),
    ("choose", QUIET), ("put", "b", "web"),
])  # fmt: skip
def test_only_a_change_of_the_cluster_removes_a_file(steps: list[tuple[Any, ...]]) -> None:
    """Whatever happens, seen or listed: what is selected stands, what left is gone, and a rule takes nothing along."""
    history = History()
    for step, *arguments in [*steps, ("list",)]:
        getattr(history, step)(*arguments)
        if not history.blind:
            assert history.files() == set(history.expected)
    (holding,) = ROUTES[history.rule].holding(("", "configmaps", "shop", ""))
    held = {name for name in history.expected if history.items[name].selection == holding.mark}
    assert held == {name for name, (rule, _) in history.expected.items() if rule == history.rule}
    there = {name for name, (_, uid) in history.expected.items() if uid == history.uid(name)}
    assert not any(history.items[name].selection is None for name in there)
