"""The verbs on objects: reading, creating, changing. Lists stand in `paging.py`, deleting in `removing.py`.

What depends on the type is decided in `admitting.py`, what a patch makes of an object in `patching.py`, who owns which
field in `managing.py`, what a write is held to in `checking.py`; here stands what all objects share: uid, times,
resourceVersion, dry runs, and writing. Each call runs without a pause: nothing comes between reading and writing.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.sandbox import (
    admitting,
    bodies,
    checking,
    kinds,
    managing,
    paging,
    patching,
    places,
    problems,
    rendering,
    requests,
    storing,
    streaming,
)

Object = dict[str, Any]

# Fields of metadata that only the server writes.
_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


# An update of one of these that is not there creates it (AllowCreateOnUpdate of the registries in kube-apiserver).
_MADE_BY_UPDATE = frozenset(
    {
        "clusterrolebindings",
        "clusterroles",
        "events",
        "leases",
        "limitranges",
        "rolebindings",
        "roles",
        "services",
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a write answers."""

    code: int
    object: Object
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of one object on its way: what it is, what it shall be, and how the client asked."""

    kind: kinds.Kind
    place: storing.Place
    before: Object
    new: Object
    options: requests.WriteOptions
    # What of the object it is about; a scale is about the object itself.
    subresource: str
    # The subresource of the path by which it came.
    path: str
    # Whether the new object brings its managedFields: a server-side apply decides about them itself.
    applied: bool = False


class Objects:
    """The objects of the cluster, as the verbs of the API see them."""

    def __init__(self, store: storing.Store) -> None:
        self.store = store
        self.registry = self._read_registry()
        store.listeners.insert(0, self._refresh)

    def get(self, kind: kinds.Kind, call: requests.Call) -> Object:
        """One object, or the view of it that a subresource is. Raises Refused."""
        streaming.check_reached(requests.read_version(call.query), self.store)
        found = self.current(kind, call.target)
        return admitting.scale_of(kind, found) if call.target.subresource == kinds.SCALE else found

    def watch(self, kind: kinds.Kind, call: requests.Call, *, path: str) -> streaming.Watch:
        """What a stream is about. Raises Refused; 410 is for the stream itself to say."""
        options = requests.list_options(call.query, watch=True)
        return streaming.Watch(
            path=path,
            kind=places.type_of(kind),
            namespace=call.target.namespace,
            selector=paging.selector_of(kind, call),
            view=rendering.view(self.registry, kind, call=call),
            revision=streaming.start_of(options, self.store),
            timeout=options.timeout,
            bookmarks=options.bookmarks,
            marks_end=bool(options.initial_events and options.bookmarks),
        )

    def create(self, kind: kinds.Kind, call: requests.Call) -> Answer:
        """Create an object. Raises Refused."""
        if call.target.subresource:
            raise problems.not_served()
        options = requests.write_options(call, kind="CreateOptions")
        new, twice = _decode(kind, call, options, wanted=kind.kind)
        return _warned(self._create(kind, call.target, new, options=options), twice)

    def make(self, kind: kinds.Kind, new: Object, *, manager: str) -> None:
        """Create an object of cluster scope that no client asked for. Raises Refused."""
        options = requests.WriteOptions(dry_run=False, manager=manager, force=False, field_validation="Strict")
        self._create(kind, requests.Target(kind.group, kind.version, kind.resource), new, options=options)

    def update(self, kind: kinds.Kind, call: requests.Call) -> Answer:
        """Replace an object, or one subresource of it. Raises Refused."""
        options = requests.write_options(call, kind="UpdateOptions")
        wanted = "Scale" if call.target.subresource == kinds.SCALE else kind.kind
        new, twice = _decode(kind, call, options, wanted=wanted)
        makes = kind.resource in _MADE_BY_UPDATE and not call.target.subresource
        if makes and not self.store.get(places.place_of(kind, call.target)):
            new = checking.named(kind, call.target, new)
            new["metadata"]["resourceVersion"] = ""
            return _warned(self._create(kind, call.target, new, options=options), twice)
        return _warned(self._replace(kind, call.target, new, options=options), twice)

    def patch(self, kind: kinds.Kind, call: requests.Call) -> Answer:
        """Patch an object, or one subresource of it; a server-side apply creates what is not there. Raises Refused."""
        options = requests.write_options(call, kind="PatchOptions")
        if call.content_type == requests.APPLY_PATCH:
            return self._apply(kind, call, options=options)
        before = self.current(kind, call.target)
        scale = call.target.subresource == kinds.SCALE
        seen = admitting.scale_of(kind, before) if scale else rendering.in_version(kind, before)
        new = patching.patched(self.registry, kind, seen, body=call.body, content_type=call.content_type)
        checking.check_uid(kind, before, checking.named(kind, call.target, new))
        return self._replace(kind, call.target, new, options=options)

    def current(self, kind: kinds.Kind, target: requests.Target) -> Object:
        """The object that a path names. Raises Refused (404)."""
        found = self.store.get(places.place_of(kind, target))
        if found is None:
            raise problems.not_found(kind, target.name)
        return found

    def write(self, writes: Sequence[storing.Write]) -> list[storing.Change]:
        """Write objects. Raises Refused for one that is too large."""
        try:
            return self.store.write(writes)
        except storing.TooLarge:
            raise problems.Refused(code=500, reason="", message="etcdserver: request is too large") from None

    def _create(
        self,
        kind: kinds.Kind,
        target: requests.Target,
        new: Object,
        *,
        options: requests.WriteOptions,
        applied: bool = False,
    ) -> Answer:
        new = checking.named(kind, target, new)
        if new["metadata"].get("resourceVersion") not in (None, "", "0"):
            raise problems.Refused(
                code=500, reason="", message="resourceVersion should not be set on objects to be created"
            )
        checking.check_home(self.store, kind, new["metadata"])
        new["metadata"] = _born(new["metadata"], at=options.at, keep_managed=applied)
        admitted = admitting.admit(
            self.registry, kind, new, old=None, subresource="", field_validation=options.field_validation
        )
        made = admitted.object
        place = storing.Place(kind.group, kind.resource, places.namespace_of(made), made["metadata"]["name"])
        if self.store.get(place):
            raise problems.already_exists(kind, place.name)
        if not applied:
            made = self._managed(kind, None, made, options=options, subresource="")
        if not options.dry_run:
            made = self.write([storing.Write(place, made)])[0].last
        return Answer(201, made, admitted.warnings)

    def _replace(
        self,
        kind: kinds.Kind,
        target: requests.Target,
        new: Object,
        *,
        options: requests.WriteOptions,
        applied: bool = False,
    ) -> Answer:
        before = self.current(kind, target)
        new = checking.named(kind, target, new)
        conditional = checking.is_conditional(kind, target) and not applied
        checking.check_seen(kind, before, new["metadata"], conditional=conditional)
        scale = target.subresource == kinds.SCALE
        change = _Change(
            kind=kind,
            place=places.place_of(kind, target),
            before=before,
            new=admitting.scaled(kind, before, new) if scale else new,
            options=options,
            subresource="" if scale else target.subresource,
            path=target.subresource,
            applied=applied,
        )
        answer = self._change(change)
        return dataclasses.replace(answer, object=admitting.scale_of(kind, answer.object)) if scale else answer

    def _change(self, change: _Change) -> Answer:
        kind, before = change.kind, change.before
        new = {**change.new, "metadata": _kept(before["metadata"], change.new["metadata"], managed=change.applied)}
        admitted = admitting.admit(
            self.registry,
            kind,
            new,
            old=rendering.in_version(kind, before),
            subresource=change.subresource,
            field_validation=change.options.field_validation,
        )
        made = admitted.object
        checking.check_finalizers(kind, before["metadata"], made["metadata"])
        if not change.applied:
            seen = _unmanaged(before) if _clears(change.new["metadata"]) else before
            made = self._managed(kind, seen, made, options=change.options, subresource=change.path)
        # What was admitted shares parts with what is stored: a new object, never a changed one.
        version = before["metadata"]["resourceVersion"]
        made = {**made, "metadata": {**made["metadata"], "resourceVersion": version}}
        if not _same(kind, before, made) and not change.options.dry_run:
            made = self._store(change.place, made)
        return Answer(200, made, admitted.warnings)

    def _managed(
        self,
        kind: kinds.Kind,
        before: Object | None,
        made: Object,
        *,
        options: requests.WriteOptions,
        subresource: str,
    ) -> Object:
        fields = managing.updated(
            before,
            made,
            manager=options.manager,
            api_version=kind.api_version,
            subresource=subresource,
            now=options.at,
            schema=self.registry.schema(kind),
        )
        bare = _unmanaged(made)
        return {**bare, "metadata": {**bare["metadata"], "managedFields": fields}} if fields else bare

    def _store(self, place: storing.Place, made: Object) -> Object:
        """Write a changed object; one whose deletion waited for its last finalizer goes now, and is told as it was."""
        if places.is_done(made):
            self.write([storing.Write(place, None)])
            return made
        return self.write([storing.Write(place, made)])[0].last

    def _apply(self, kind: kinds.Kind, call: requests.Call, *, options: requests.WriteOptions) -> Answer:
        config = bodies.from_yaml(call.body, wanted=kind.kind)
        config = checking.named(kind, call.target, config)
        before = self.store.get(places.place_of(kind, call.target))
        if before is None and config["metadata"].get("resourceVersion"):
            raise problems.not_found(kind, call.target.name)
        merged = managing.applied(
            self.registry,
            kind,
            None if before is None else rendering.in_version(kind, before),
            config,
            manager=options.manager,
            force=options.force,
            now=options.at,
            subresource=call.target.subresource,
        )
        if before is None:
            return self._create(kind, call.target, merged, options=options, applied=True)
        return self._replace(kind, call.target, merged, options=options, applied=True)

    def _refresh(self, changes: Sequence[storing.Change]) -> None:
        if not changes or any(change.place[:2] == places.type_of(kinds.DEFINITIONS) for change in changes):
            self.registry = self._read_registry()

    def _read_registry(self) -> kinds.Registry:
        return kinds.Registry.of(self.store.objects(places.type_of(kinds.DEFINITIONS)))


def _decode(
    kind: kinds.Kind, call: requests.Call, options: requests.WriteOptions, *, wanted: str
) -> tuple[Object, tuple[str, ...]]:
    """The object in a body, and what is to be said of keys that stand twice in it. Raises Refused (400, 415)."""
    new = bodies.decode(call.body, content_type=call.content_type, wanted=wanted)
    if options.field_validation == "Ignore":
        return new, ()
    twice = tuple(f'duplicate field "{path}"' for path in bodies.duplicates(call.body, content_type=call.content_type))
    if twice and options.field_validation == "Strict":
        raise problems.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: '
            f"{', '.join(twice)}"
        )
    return new, twice


def _warned(answer: Answer, warnings: tuple[str, ...]) -> Answer:
    return dataclasses.replace(answer, warnings=(*warnings, *answer.warnings)) if warnings else answer


def _born(metadata: Object, *, at: str, keep_managed: bool) -> Object:
    """The metadata of a new object."""
    dropped = {*_SYSTEM, "resourceVersion", "selfLink", *(() if keep_managed else ("managedFields",))}
    kept = {key: value for key, value in metadata.items() if key not in dropped}
    return {**kept, "uid": str(uuid.uuid4()), "creationTimestamp": at}


def _kept(before: Object, new: Object, *, managed: bool) -> Object:
    """The metadata of a changed object: what only the server writes stays as it was."""
    server = (*_SYSTEM, "selfLink", *(() if managed else ("managedFields",)))
    kept = {key: value for key, value in new.items() if key not in server}
    return {**kept, **{key: before[key] for key in server if key in before}}


def _unmanaged(found: Object) -> Object:
    return {**found, "metadata": {key: value for key, value in found["metadata"].items() if key != "managedFields"}}


def _clears(metadata: Object) -> bool:
    """Whether a client asks to forget who owns what: a list of nothing, or of one empty entry."""
    return metadata.get("managedFields") in ([], [{}])


def _same(kind: kinds.Kind, before: Object, made: Object) -> bool:
    return rendering.in_version(kind, before) == made
