"""Doing the steps of a history to an API server, which may be in trouble itself, and keeping a journal of them.

The player is the only one who writes into its namespaces, so it knows what is there without asking. What it is about
to do stands in the journal before the API server hears of it: the checker may rely on nothing else having happened.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import urllib3

from tests.chaos import histories
from tests.chaos.histories import CONFIG_MAPS, TOYS, Step
from tests.system.cluster import JSON, MERGE, Api, RefusedError, repo_config

Object = dict[str, Any]

# How long the API server may be away, in seconds, and how soon it is asked again.
PATIENCE, PAUSE = 90.0, 0.1
FINALIZER = "chaos.example.com/held"
SEQ = "seq"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_OURS = "/apis/configbutler.ai/v1alpha1/namespaces"
# A server that is not well answers so: it starts, is too busy, or does not know the type yet.
_UNWELL = frozenset({403, 429, 500, 502, 503, 504})
_NOT_FOUND, _CONFLICT = 404, 409
# What a second try hears where the first one was done, and its answer lost: the last finalizer of an object is gone.
_DONE_BEFORE = frozenset({("POST", _CONFLICT), ("DELETE", _NOT_FOUND), ("PATCH", _NOT_FOUND)})


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An object, whatever its uid."""

    resource: str
    namespace: str
    name: str


@dataclass
class Journal:
    """What was done, or may have been: everything that may be found in Git has a reason here."""

    # Of each object the numbers that it was given, in order. No two of all objects are the same.
    written: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    # When an object went, and when it got another label, which may mean the same to a rule: its number of that time.
    ended: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    labelled: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    # Of destinations that nothing happens to, and that no listing serves twice, the object that they select: each of
    # its numbers has to come.
    steady: dict[str, Key] = field(default_factory=dict)
    # Of each destination the places that it had, and whether a rule of it ever asked for a label.
    places: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    choosy: set[str] = field(default_factory=set)

    @property
    def changes(self) -> int:
        """Changes of objects that mean something to Git."""
        return sum(map(len, [*self.written.values(), *self.ended.values()]))

    def ends(self, key: Key) -> None:
        """An object is about to go."""
        self.ended[key].append(self._last(key))

    def relabels(self, key: Key) -> None:
        """An object is about to get another label."""
        self.labelled[key].append(self._last(key))

    def _last(self, key: Key) -> int:
        return self.written[key][-1]


@dataclass
class _Present:
    """An object that is there."""

    team: str
    lingers: bool = False


class Player:
    """One history's share of a cluster: namespaces, a custom type, and destinations on one repository."""

    def __init__(
        self,
        api: Api,
        repository_url: str,
        *,
        before: Callable[[str], None] = lambda _: None,
        group: str = "",
        **config: Any,
    ) -> None:
        """`config` goes into the spec of the GitRepoConfigs; `before` is called for each new namespace.

        `group` is that of the custom type, which nobody else has; without one it is made up.
        """
        self.api = api
        self.group = group or f"chaos-{uuid.uuid4().hex[:8]}.example.com"
        self.journal = Journal()
        self.namespaces = [api.namespace("chaos") for _ in range(histories.NAMESPACES)]
        for namespace in self.namespaces:
            before(namespace)
            repo_config(api, namespace, "repository", repository_url, **config)
        # Whose destinations and objects are looked at: those of a `_Pulse`, too.
        self.looked_at = list(self.namespaces)
        self._seq = 0
        self._objects: dict[int, _Present] = {}
        self._placed: set[int] = set()
        self._ruled: set[int] = set()
        self._is_defined = False

    def destinations(self) -> list[str]:
        """Every destination that there may be, as `namespace/name`."""
        return [self.ref(number) for number in range(histories.DESTINATIONS)]

    def ref(self, number: int) -> str:
        """A destination, as `namespace/name`."""
        return f"{self._namespace_of(number)}/dest-{number}"

    def play(self, step: Step) -> bool:
        """Do one step; whether there was something to do. Raises AssertionError where the API server stays away."""
        happened: bool = getattr(self, f"_{step.deed}")(step.slot, step.choice)
        return happened

    # Objects.

    def _write(self, slot: int, _choice: int) -> bool:
        slot %= histories.OBJECTS
        if histories.slot(slot).resource == TOYS and not self._is_defined:
            return False
        if slot in self._objects:
            self._merge(slot, self._content(slot))
        else:
            self._create(slot)
        return True

    def _label(self, slot: int, choice: int) -> bool:
        slot %= histories.OBJECTS
        team = histories.TEAMS[choice % len(histories.TEAMS)]
        if slot not in self._objects or self._objects[slot].team == team:
            return False
        self.journal.relabels(self._key(slot))
        self._merge(slot, {"metadata": {"labels": {"team": team or None}}, **self._content(slot)})
        self._objects[slot].team = team
        return True

    def _noise(self, slot: int, choice: int) -> bool:
        """Nothing of it is for Git: a status, or what kubectl remembers."""
        slot %= histories.OBJECTS
        if slot not in self._objects:
            return False
        if histories.slot(slot).resource == TOYS:
            self.insist("PATCH", f"{self._path(slot)}/status", {"status": {"found": choice}}, kind=MERGE)
        else:
            remembered = {"kubectl.kubernetes.io/last-applied-configuration": f"{choice}"}
            self._merge(slot, {"metadata": {"annotations": remembered}})
        return True

    def _delete(self, slot: int, _choice: int) -> bool:
        slot %= histories.OBJECTS
        if slot not in self._objects or self._objects[slot].lingers:
            return False
        self.journal.ends(self._key(slot))
        self.insist("DELETE", self._path(slot))
        del self._objects[slot]
        return True

    def _replace(self, slot: int, choice: int) -> bool:
        if not self._delete(slot, choice):
            return False
        self._create(slot % histories.OBJECTS)
        return True

    def _linger(self, slot: int, _choice: int) -> bool:
        slot %= histories.OBJECTS
        if slot not in self._objects or self._objects[slot].lingers:
            return False
        # A finalizer is content, too.
        self._merge(slot, {"metadata": {"finalizers": [FINALIZER]}, **self._content(slot)})
        self.journal.ends(self._key(slot))
        self.insist("DELETE", self._path(slot))
        self._objects[slot].lingers = True
        return True

    def _release(self, slot: int, _choice: int) -> bool:
        """Of all that linger, one: few do."""
        lingering = [number for number, found in self._objects.items() if found.lingers]
        if not lingering:
            return False
        slot = lingering[slot % len(lingering)]
        self.insist("PATCH", self._path(slot), {"metadata": {"finalizers": None}}, kind=MERGE)
        del self._objects[slot]
        return True

    def _create(self, slot: int) -> None:
        what = histories.slot(slot)
        manifest = {"metadata": {"name": what.name}, **self._content(slot)}
        if what.resource == TOYS:
            manifest |= {"apiVersion": f"{self.group}/v1", "kind": "Toy"}
        self.insist("POST", self._collection(slot), manifest)
        self._objects[slot] = _Present(team="")

    def _merge(self, slot: int, change: Object) -> None:
        self.insist("PATCH", self._path(slot), change, kind=MERGE)

    def _content(self, slot: int) -> Object:
        """Content that no object had before, and a line in the journal for it."""
        self._seq += 1
        self.journal.written[self._key(slot)].append(self._seq)
        where = "spec" if histories.slot(slot).resource == TOYS else "data"
        return {where: {SEQ: str(self._seq)}}

    # Destinations and rules.

    def _place(self, slot: int, choice: int) -> bool:
        number = slot % histories.DESTINATIONS
        if number in self._placed:
            return False
        spec = {"repoRef": {"name": "repository"}, **self._chosen_place(number, choice)}
        self.insist("POST", self._ours(number, "gitdestinations"), self._our("GitDestination", number, spec))
        self._placed.add(number)
        return True

    def _displace(self, slot: int, _choice: int) -> bool:
        number = slot % histories.DESTINATIONS
        if number not in self._placed:
            return False
        self.insist("DELETE", f"{self._ours(number, 'gitdestinations')}/dest-{number}")
        self._placed.remove(number)
        return True

    def _move(self, slot: int, choice: int) -> bool:
        number = slot % histories.DESTINATIONS
        if number not in self._placed:
            return False
        path = f"{self._ours(number, 'gitdestinations')}/dest-{number}"
        self.insist("PATCH", path, {"spec": self._chosen_place(number, choice)}, kind=MERGE)
        return True

    def _rule(self, slot: int, choice: int) -> bool:
        number = slot % histories.DESTINATIONS
        spec = {"destinationRef": {"name": f"dest-{number}"}, "rules": self._selected(number, choice)}
        if number in self._ruled:
            self.insist("PATCH", f"{self._ours(number, 'watchrules')}/dest-{number}", {"spec": spec}, kind=MERGE)
        else:
            self.insist("POST", self._ours(number, "watchrules"), self._our("WatchRule", number, spec))
        self._ruled.add(number)
        return True

    def _unrule(self, slot: int, _choice: int) -> bool:
        number = slot % histories.DESTINATIONS
        if number not in self._ruled:
            return False
        self.insist("DELETE", f"{self._ours(number, 'watchrules')}/dest-{number}")
        self._ruled.remove(number)
        return True

    def _chosen_place(self, number: int, choice: int) -> Object:
        branch = histories.BRANCHES[choice % len(histories.BRANCHES)]
        folder = f"dest-{number}/{histories.FOLDERS[choice // 2 % len(histories.FOLDERS)]}"
        self.journal.places[self.ref(number)].add((branch, folder))
        return {"branch": branch, "baseFolder": folder}

    def _selected(self, number: int, choice: int) -> list[Object]:
        resources, team = histories.SELECTIONS[choice % len(histories.SELECTIONS)]
        if team:
            self.journal.choosy.add(self.ref(number))
        labels = {"labelSelector": {"matchLabels": {"team": team}}} if team else {}
        return [
            {"apiGroups": [self.group if resource == TOYS else ""], "resources": [resource], **labels}
            for resource in resources
        ]

    # The custom type.

    def _define(self, _slot: int, _choice: int) -> bool:
        if self._is_defined:
            return False
        self.insist("POST", _DEFINITIONS, self._definition())
        # It is served a little later than it is there.
        self._until(lambda: self.insist("GET", f"/apis/{self.group}/v1/{TOYS}") is not None)
        self._is_defined = True
        return True

    def _undefine(self, _slot: int, _choice: int) -> bool:
        """Toys that a finalizer holds would hold up the end of their type."""
        if not self._is_defined:
            return False
        toys = [number for number in self._objects if histories.slot(number).resource == TOYS]
        for number in toys:
            if self._objects[number].lingers:
                self.insist("PATCH", self._path(number), {"metadata": {"finalizers": None}}, kind=MERGE)
            else:
                self.journal.ends(self._key(number))
            del self._objects[number]
        path = f"{_DEFINITIONS}/{TOYS}.{self.group}"
        self.insist("DELETE", path)
        self._until(lambda: self.insist("GET", path) is None)
        self._is_defined = False
        return True

    def _definition(self) -> Object:
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
        names = {"plural": TOYS, "singular": "toy", "kind": "Toy"}
        spec = {"group": self.group, "scope": "Namespaced", "names": names, "versions": [version]}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{TOYS}.{self.group}"},
            "spec": spec,
        }

    # What is there now, as the API server says it.

    def objects(self) -> list[Object]:
        """Every object of the history that is there, with apiVersion and kind."""
        return [
            {"apiVersion": version, "kind": kind, **item}
            for namespace in self.looked_at
            for version, kind, path in (
                ("v1", "ConfigMap", f"/api/v1/namespaces/{namespace}/{CONFIG_MAPS}"),
                (f"{self.group}/v1", "Toy", f"/apis/{self.group}/v1/namespaces/{namespace}/{TOYS}"),
            )
            for item in self._items(path)
        ]

    def ours(self, resource: str) -> list[Object]:
        """The GitDestinations or WatchRules of the history."""
        return [item for namespace in self.looked_at for item in self._items(f"{_OURS}/{namespace}/{resource}")]

    def served(self) -> frozenset[tuple[str, str]]:
        """Group and plural of the types of the history that are served."""
        return frozenset({("", CONFIG_MAPS), *([(self.group, TOYS)] if self._is_defined else [])})

    def _items(self, path: str) -> Iterator[Object]:
        found = self.insist("GET", path)
        yield from found.get("items", ()) if found else ()

    # Paths and requests.

    def _namespace_of(self, number: int) -> str:
        return self.namespaces[number % len(self.namespaces)]

    def _ours(self, number: int, resource: str) -> str:
        return f"{_OURS}/{self._namespace_of(number)}/{resource}"

    def _our(self, kind: str, number: int, spec: Object) -> Object:
        return {
            "apiVersion": "configbutler.ai/v1alpha1",
            "kind": kind,
            "metadata": {"name": f"dest-{number}"},
            "spec": spec,
        }

    def _key(self, slot: int) -> Key:
        what = histories.slot(slot)
        return Key(what.resource, self.namespaces[what.namespace], what.name)

    def _collection(self, slot: int) -> str:
        what = histories.slot(slot)
        root = "/api/v1" if what.resource == CONFIG_MAPS else f"/apis/{self.group}/v1"
        return f"{root}/namespaces/{self.namespaces[what.namespace]}/{what.resource}"

    def _path(self, slot: int) -> str:
        return f"{self._collection(slot)}/{histories.slot(slot).name}"

    def insist(self, method: str, path: str, content: Object | None = None, *, kind: str = JSON) -> Object | None:
        """Ask until the API server has done it. None for what is gone, where that is an answer."""
        found: Object | None = None
        tries = 0

        def done() -> bool:
            nonlocal found, tries
            tries += 1
            try:
                found = self.api.request(method, path, content, kind=kind)
            except urllib3.exceptions.HTTPError:
                return False
            except RefusedError as error:
                if tries > 1 and (method, error.status) in _DONE_BEFORE:
                    return True
                if method == "GET" and error.status == _NOT_FOUND:
                    return True
                if error.status in _UNWELL or (method, error.status) == ("POST", _NOT_FOUND):
                    return False
                raise
            return True

        self._until(done)
        return found

    def _until(self, done: Callable[[], bool]) -> None:
        ends = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < ends, "the API server does not do what it is asked"
            time.sleep(PAUSE)
