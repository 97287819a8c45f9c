"""Deleting: preconditions, finalizers, and what goes with a namespace or a CustomResourceDefinition.

Of the controllers of a cluster the sandbox plays two: a namespace that is deleted takes its content with it, and a
CustomResourceDefinition its custom resources. Both wait for the finalizers of what they take; nobody else deletes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from app.sandbox import kinds, objects, paging, places, problems, requests, storing, streaming

Object = dict[str, Any]

_IMMORTAL = {"default", "kube-system", "kube-public"}
# Of these the real server answers with the object that it deleted, of all others with a Status.
_SHOWN = {"services", "serviceaccounts", "persistentvolumeclaims", "resourcequotas"}
# As long as a garbage collector takes to notice. Seconds.
_COLLECTED_AFTER = 2.0
_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_NAMESPACES = places.type_of(kinds.NAMESPACES)
_DEFINITIONS = places.type_of(kinds.DEFINITIONS)


class Remover:
    """Deletes objects, and finishes what deletions began, also those of an earlier life of the process."""

    def __init__(
        self, found: objects.Objects, *, hub: streaming.Hub, later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        """`later` runs a function after some seconds, or once the present call is done."""
        self._objects = found
        self._store = found.store
        self._hub = hub
        self._later = later
        self._scheduled = False
        self._store.listeners.append(self._notice)
        self._schedule()
        self._collect_later()

    def delete(self, kind: kinds.Kind, call: requests.Call) -> objects.Answer:
        """Delete one object, or mark it where finalizers wait. Raises Refused."""
        options = requests.delete_options(call)
        found = self._objects.current(kind, call.target)
        if kind is kinds.NAMESPACES and call.target.name in _IMMORTAL:
            raise _immortal(kind, call.target.name)
        _check(kind, found, options)
        if places.is_terminating(found):
            return objects.Answer(200, found)
        write = _removal(places.type_of(kind), found, held_by=options.dependents)
        left = (write.object or found) if options.dry_run else self._objects.write([write])[0].last
        if options.dependents and not options.dry_run:
            self._later(_COLLECTED_AFTER, functools.partial(self._collect, write.place, options.dependents))
        shown = write.object is not None or kind.resource in _SHOWN
        return objects.Answer(200, left if shown else _success(kind, found))

    def delete_collection(self, kind: kinds.Kind, call: requests.Call) -> paging.Page:
        """Delete all objects that a request selects, and give them. Raises Refused."""
        options = requests.delete_options(call)
        selector = paging.selector_of(kind, call)
        type_ = places.type_of(kind)
        every = self._store.objects(type_, namespace=call.target.namespace)
        found = [one for one in every if selector.matches(one)]
        if not options.dry_run:
            self._remove((type_, one) for one in found)
        return paging.Page(found, {"resourceVersion": str(self._store.revision)})

    def _collect_later(self) -> None:
        """Take up what an earlier life of the process left to the garbage collector."""
        for kind in self._store.types():
            for found in filter(places.is_terminating, self._store.objects(kind)):
                place = storing.Place(*kind, places.namespace_of(found), found["metadata"]["name"])
                for finalizer in requests.DEPENDENTS.intersection(found["metadata"].get("finalizers") or ()):
                    self._later(_COLLECTED_AFTER, functools.partial(self._collect, place, finalizer))

    def _collect(self, place: storing.Place, finalizer: str) -> None:
        """Play the garbage collector: nothing here has dependents that have to go, or be left, first."""
        found = self._store.get(place)
        held = found["metadata"].get("finalizers") or () if found else ()
        if found and finalizer in held:
            metadata = {**found["metadata"], "finalizers": [one for one in held if one != finalizer]}
            self._leave(place, {**found, "metadata": metadata})

    def _remove(self, found: Iterable[tuple[storing.Type, Object]]) -> None:
        """Delete what is not on its way out, also of a type that is not served any more."""
        writes = [_removal(type_, one) for type_, one in found if not places.is_terminating(one)]
        if writes:
            self._objects.write(writes)

    def _notice(self, changes: Sequence[storing.Change]) -> None:
        if not changes or any(change.after is None or places.is_terminating(change.after) for change in changes):
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._later(0, self._finish)

    def _finish(self) -> None:
        """Take each deleted namespace and definition one step further; what that changes calls again."""
        self._scheduled = False
        for namespace in self._terminating(_NAMESPACES):
            self._finish_namespace(namespace)
        for definition in self._terminating(_DEFINITIONS):
            self._finish_definition(definition)

    def _terminating(self, kind: storing.Type) -> Iterator[Object]:
        return (one for one in self._store.objects(kind) if places.is_terminating(one))

    def _finish_namespace(self, namespace: Object) -> None:
        name = namespace["metadata"]["name"]
        types = list(self._store.types())
        self._remove((type_, one) for type_ in types for one in self._store.objects(type_, namespace=name))
        if any(self._store.objects(type_, namespace=name) for type_ in types):
            return
        bare = {**namespace, "spec": {key: value for key, value in namespace["spec"].items() if key != "finalizers"}}
        if bare != namespace or places.is_done(bare):
            self._leave(storing.Place(*_NAMESPACES, "", name), bare)

    def _finish_definition(self, definition: Object) -> None:
        spec = definition["spec"]
        type_ = storing.Type(spec["group"], spec["names"]["plural"])
        self._remove((type_, one) for one in self._store.objects(type_))
        if self._store.objects(type_):
            return
        metadata = definition["metadata"]
        left = [one for one in metadata.get("finalizers") or () if one != _CLEANUP]
        if left != metadata.get("finalizers"):
            bare = {**definition, "metadata": {**metadata, "finalizers": left}}
            self._leave(storing.Place(*_DEFINITIONS, "", metadata["name"]), bare)
        if not left:
            self._hub.end(type_)

    def _leave(self, place: storing.Place, left: Object) -> None:
        """Write what is left of an object, which is nothing when its last finalizer is gone."""
        self._objects.write([storing.Write(place, None if places.is_done(left) else left)])


def _removal(type_: storing.Type, found: Object, *, held_by: str = "") -> storing.Write:
    """What deleting an object writes: its end, or its mark where something waits."""
    place = storing.Place(*type_, places.namespace_of(found), found["metadata"]["name"])
    marked = _marked(type_, found)
    if held_by:
        finalizers = [*(marked["metadata"].get("finalizers") or ()), held_by]
        marked = {**marked, "metadata": {**marked["metadata"], "finalizers": [*dict.fromkeys(finalizers)]}}
    return storing.Write(place, None if places.is_done(marked) else marked)


def _marked(type_: storing.Type, found: Object) -> Object:
    metadata = {**found["metadata"], "deletionTimestamp": requests.now()}
    if type_ == _NAMESPACES:
        return {**found, "metadata": metadata, "status": {**found.get("status", {}), "phase": "Terminating"}}
    if type_ == _DEFINITIONS:
        metadata["finalizers"] = [*dict.fromkeys([*(metadata.get("finalizers") or ()), _CLEANUP])]
        return {**found, "metadata": metadata, "status": _ending(found.get("status", {}))}
    metadata["deletionGracePeriodSeconds"] = 0
    if metadata.get("generation"):
        metadata["generation"] += 1
    return {**found, "metadata": metadata}


def _ending(status: Object) -> Object:
    condition = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": requests.now(),
        "reason": "InstanceDeletionInProgress",
        "message": "CustomResource deletion is in progress",
    }
    others = [one for one in status.get("conditions") or () if one.get("type") != "Terminating"]
    return {**status, "conditions": [*others, condition]}


def _check(kind: kinds.Kind, found: Object, options: requests.DeleteOptions) -> None:
    """Hold a delete to its preconditions. Raises Refused (409)."""
    metadata = found["metadata"]
    if options.uid is not None and options.uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
    elif options.resource_version is not None and options.resource_version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({metadata['resourceVersion']}). The object might have been modified"
        )
    else:
        return
    # The real server names the kind here, where it names the resource everywhere else.
    raise problems.conflict(dataclasses.replace(kind, resource=kind.kind), metadata["name"], why)


def _success(kind: kinds.Kind, found: Object) -> Object:
    metadata = found["metadata"]
    details = {"name": metadata["name"], "group": kind.group, "kind": kind.resource, "uid": metadata["uid"]}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


def _immortal(kind: kinds.Kind, name: str) -> problems.Refused:
    return problems.Refused(
        code=403,
        reason="Forbidden",
        message=f'namespaces "{name}" is forbidden: this namespace may not be deleted',
        details={"name": name, "kind": kind.resource},
    )
