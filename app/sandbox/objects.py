"""The verbs on objects: reading, paging, creating, changing. Deleting stands in `removing.py`.

What depends on the type is decided in `admitting.py`, what a patch makes of an object in `patching.py`, who owns which
field in `managing.py`; here stands what all objects share: uid, resourceVersion, preconditions, dry runs, and writing.
Each call runs without a pause, so that nothing can come between reading an object and writing it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.sandbox import (
    admitting,
    bodies,
    kinds,
    managing,
    patching,
    problems,
    rendering,
    requests,
    selecting,
    storing,
    streaming,
)

Object = dict[str, Any]

# Letters and digits that make no words, as the real server chooses them for generated names.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_RANDOM = 5
_LONGEST_BASE = 63 - _RANDOM
# Fields of metadata that only the server writes.
_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
# Built-in types that are never updated without the resourceVersion that the client has seen.
_CONDITIONAL = {"customresourcedefinitions", "leases", "poddisruptionbudgets"}
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a write answers."""

    code: int
    object: Object
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list, and the list's metadata."""

    items: Sequence[Object]
    metadata: Object


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of one object on its way: what it is, what it shall be, and how the client asked."""

    kind: kinds.Kind
    place: storing.Place
    before: Object
    new: Object
    options: requests.WriteOptions
    subresource: str
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

    def page(self, kind: kinds.Kind, call: requests.Call) -> Page:
        """One page of a list. Raises Refused."""
        options = requests.list_options(call.query, watch=False)
        selector = _selector(kind, call)
        found = self._listed(kind, call.target.namespace, options)
        start = options.token.start if options.token else ""
        items = [one for one in found if _key(one) > start and selector.matches(one)]
        return self._page(items, options, counted=selector.everything)

    def watch(self, kind: kinds.Kind, call: requests.Call, *, path: str) -> streaming.Watch:
        """What a stream is about. Raises Refused; 410 is for the stream itself to say."""
        options = requests.list_options(call.query, watch=True)
        return streaming.Watch(
            path=path,
            kind=type_of(kind),
            namespace=call.target.namespace,
            selector=_selector(kind, call),
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
        _check_uid(kind, before, new)
        return self._replace(kind, call.target, new, options=options)

    def current(self, kind: kinds.Kind, target: requests.Target) -> Object:
        """The object that a path names. Raises Refused (404)."""
        found = self.store.get(place_of(kind, target))
        if found is None:
            raise problems.not_found(kind, target.name)
        return found

    def write(self, writes: Sequence[storing.Write]) -> list[storing.Change]:
        """Write objects. Raises Refused for one that is too large."""
        try:
            return self.store.write(writes)
        except storing.TooLarge:
            raise problems.Refused(code=500, reason="", message="etcdserver: request is too large") from None

    def _listed(self, kind: kinds.Kind, namespace: str, options: requests.ListOptions) -> Sequence[Object]:
        at = self._revision_of(options)
        try:
            return self.store.objects(type_of(kind), namespace=namespace, at=at)
        except storing.Forgotten:
            raise _expired(options.token) from None

    def _revision_of(self, options: requests.ListOptions) -> int | None:
        """The state to list, None for the present one. Raises Refused (504)."""
        if options.token:
            streaming.check_reached(options.token.revision, self.store)
            return options.token.revision if options.token.revision > 0 else None
        version = options.resource_version or 0
        streaming.check_reached(version, self.store)
        # A limit without a match means the very revision, as it did before there was a match.
        exact = options.match == "Exact" or (options.match == "" and options.limit > 0)
        return version if version and exact else None

    def _page(self, items: Sequence[Object], options: requests.ListOptions, *, counted: bool) -> Page:
        revision = self._revision_of(options) or self.store.revision
        metadata: Object = {"resourceVersion": str(revision)}
        if not options.limit or len(items) <= options.limit:
            return Page(items, metadata)
        page = items[: options.limit]
        metadata["continue"] = requests.Token(revision, _key(page[-1])).text()
        if counted:
            metadata["remainingItemCount"] = len(items) - options.limit
        return Page(page, metadata)

    def _create(
        self,
        kind: kinds.Kind,
        target: requests.Target,
        new: Object,
        *,
        options: requests.WriteOptions,
        applied: bool = False,
    ) -> Answer:
        new = self._named(kind, target, new)
        if new["metadata"].get("resourceVersion") not in {None, "", "0"}:
            raise problems.Refused(
                code=500, reason="", message="resourceVersion should not be set on objects to be created"
            )
        self._check_home(kind, new["metadata"])
        new["metadata"] = _born(new["metadata"], keep_managed=applied)
        admitted = admitting.admit(
            self.registry, kind, new, old=None, subresource="", field_validation=options.field_validation
        )
        made = admitted.object
        place = storing.Place(kind.group, kind.resource, _namespace(made), made["metadata"]["name"])
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
        new = self._named(kind, target, new)
        _check_seen(kind, before, new["metadata"], conditional=_is_conditional(kind, target) and not applied)
        scale = target.subresource == kinds.SCALE
        change = _Change(
            kind=kind,
            place=place_of(kind, target),
            before=before,
            new=admitting.scaled(kind, before, new) if scale else new,
            options=options,
            subresource="" if scale else target.subresource,
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
        _check_finalizers(kind, before["metadata"], made["metadata"])
        if not change.applied:
            seen = _unmanaged(before) if _clears(change.new["metadata"]) else before
            made = self._managed(kind, seen, made, options=change.options, subresource=change.subresource)
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
            now=now(),
            schema=self.registry.schema(kind),
        )
        bare = _unmanaged(made)
        return {**bare, "metadata": {**bare["metadata"], "managedFields": fields}} if fields else bare

    def _store(self, place: storing.Place, made: Object) -> Object:
        """Write a changed object; one whose deletion waited for its last finalizer goes now, and is told as it was."""
        if is_done(made):
            self.write([storing.Write(place, None)])
            return made
        return self.write([storing.Write(place, made)])[0].last

    def _apply(self, kind: kinds.Kind, call: requests.Call, *, options: requests.WriteOptions) -> Answer:
        config = bodies.from_yaml(call.body, wanted=kind.kind)
        config = self._named(kind, call.target, config)
        before = self.store.get(place_of(kind, call.target))
        if before is None and config["metadata"].get("resourceVersion"):
            raise problems.not_found(kind, call.target.name)
        merged = managing.applied(
            self.registry,
            kind,
            None if before is None else rendering.in_version(kind, before),
            config,
            manager=options.manager,
            force=options.force,
            now=now(),
            subresource=call.target.subresource,
        )
        if before is None:
            return self._create(kind, call.target, merged, options=options, applied=True)
        return self._replace(kind, call.target, merged, options=options, applied=True)

    def _named(self, kind: kinds.Kind, target: requests.Target, new: Object) -> Object:
        """The object with the name and namespace of its path. Raises Refused (400) where it says another one."""
        found = new.get("metadata")
        metadata = dict(found) if isinstance(found, dict) else {}
        if target.name and metadata.setdefault("name", target.name) != target.name:
            raise problems.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
            )
        if kind.namespaced:
            if (metadata.get("namespace") or target.namespace) != target.namespace:
                raise problems.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = target.namespace
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = _generated(str(metadata["generateName"]))
        return {**new, "metadata": metadata}

    def _check_home(self, kind: kinds.Kind, metadata: Object) -> None:
        """Refuse to create what would be deleted at once, or has no namespace. Raises Refused (403, 404)."""
        if kind.definition:
            definition = self.store.get(storing.Place(*type_of(kinds.DEFINITIONS), "", kind.definition))
            if definition and is_terminating(definition):
                raise _terminating(kind, metadata, "create not allowed while custom resource definition is terminating")
        if not kind.namespaced:
            return
        name = metadata["namespace"]
        namespace = self.store.get(storing.Place(*type_of(kinds.NAMESPACES), "", name))
        if namespace is None:
            raise problems.not_found(kinds.NAMESPACES, name)
        if is_terminating(namespace):
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {name} is being terminated",
                "field": "metadata.namespace",
            }
            why = f"unable to create new content in namespace {name} because it is being terminated"
            raise _terminating(kind, metadata, why, cause)

    def _refresh(self, changes: Sequence[storing.Change]) -> None:
        if any(change.place[:2] == type_of(kinds.DEFINITIONS) for change in changes):
            self.registry = self._read_registry()

    def _read_registry(self) -> kinds.Registry:
        return kinds.Registry.of(self.store.objects(type_of(kinds.DEFINITIONS)))


def type_of(kind: kinds.Kind) -> storing.Type:
    """What the objects of a type are kept under."""
    return storing.Type(kind.group, kind.resource)


def place_of(kind: kinds.Kind, target: requests.Target) -> storing.Place:
    """Where the object of a path stands."""
    return storing.Place(kind.group, kind.resource, target.namespace, target.name)


def now() -> str:
    """The present second, as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_terminating(found: Object) -> bool:
    """Whether an object waits for its end."""
    return bool(found["metadata"].get("deletionTimestamp"))


def is_done(found: Object) -> bool:
    """Whether an object that waits for its end has nothing left to wait for."""
    waits = found["metadata"].get("finalizers") or (
        found.get("kind") == kinds.NAMESPACES.kind and (found.get("spec") or {}).get("finalizers")
    )
    return is_terminating(found) and not waits


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


def _selector(kind: kinds.Kind, call: requests.Call) -> selecting.Selector:
    return selecting.parse(kind, labels=call.query.get("labelSelector", ""), fields=call.query.get("fieldSelector", ""))


def _key(found: Object) -> str:
    return f"{_namespace(found)}/{found['metadata']['name']}"


def _namespace(found: Object) -> str:
    return str(found["metadata"].get("namespace", ""))


def _generated(base: str) -> str:
    return base[:_LONGEST_BASE] + "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM))


def _born(metadata: Object, *, keep_managed: bool) -> Object:
    """The metadata of a new object."""
    dropped = {*_SYSTEM, "resourceVersion", "selfLink", *(() if keep_managed else ("managedFields",))}
    kept = {key: value for key, value in metadata.items() if key not in dropped}
    return {**kept, "uid": str(uuid.uuid4()), "creationTimestamp": now()}


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


def _is_conditional(kind: kinds.Kind, target: requests.Target) -> bool:
    return not target.subresource and bool(kind.definition or kind.resource in _CONDITIONAL)


def _check_seen(kind: kinds.Kind, before: Object, new: Object, *, conditional: bool) -> None:
    """Hold a change to the object that the client has seen. Raises Refused (409, 422)."""
    name, uid = before["metadata"]["name"], before["metadata"]["uid"]
    if new.get("uid") not in {None, "", uid}:
        key = f"/registry/{kind.resource}/{_key(before).removeprefix('/')}"
        why = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {new['uid']}, UID in object meta: {uid}"
        )
        raise problems.conflict(kind, name, why)
    seen = new.get("resourceVersion") or ""
    if not seen and conditional:
        causes = problems.Causes()
        causes.wrong("metadata.resourceVersion", 0, "must be specified for an update")
        raise problems.invalid(dataclasses.replace(kind, kind=kind.resource), name, causes.found)
    if seen and seen != before["metadata"]["resourceVersion"]:
        raise problems.conflict(kind, name, _MODIFIED)


def _check_uid(kind: kinds.Kind, before: Object, new: Object) -> None:
    """A patch cannot change the uid; an update with another one is for another object. Raises Refused (422)."""
    metadata = before["metadata"]
    asked = (new.get("metadata") or {}).get("uid", metadata["uid"])
    if asked != metadata["uid"]:
        causes = problems.Causes()
        causes.wrong("metadata.uid", asked, "field is immutable")
        raise problems.invalid(kind, metadata["name"], causes.found)


def _check_finalizers(kind: kinds.Kind, before: Object, new: Object) -> None:
    """An object that waits for its end takes no new finalizers. Raises Refused (422)."""
    if not before.get("deletionTimestamp"):
        return
    added = [one for one in new.get("finalizers") or () if one not in (before.get("finalizers") or ())]
    if added:
        causes = problems.Causes()
        shown = ", ".join(problems.quoted(one) for one in sorted(added))
        causes.forbidden(
            "metadata.finalizers",
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}",
        )
        raise problems.invalid(kind, before["name"], causes.found)


def _expired(token: requests.Token | None) -> problems.Refused:
    if token is None:
        return problems.expired("The resourceVersion for the provided list is too old.")
    refused = problems.expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    refused.status["metadata"] = {"continue": requests.Token(-1, token.start).text()}
    return refused


def _terminating(kind: kinds.Kind, metadata: Object, why: str, cause: dict[str, str] | None = None) -> problems.Refused:
    name = metadata.get("name", "")
    details = {"name": name, "group": kind.group, "kind": kind.resource, "causes": [cause] if cause else None}
    return problems.Refused(
        code=403,
        reason="Forbidden",
        message=f"{kind.qualified} {problems.quoted(name)} is forbidden: {why}",
        details={key: value for key, value in details.items() if value},
    )
