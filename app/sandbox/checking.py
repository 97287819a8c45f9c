"""What a write is held to before its type is asked: name and namespace, what the client has seen, and what is ending.

The answers are those of kube-apiserver 1.36, word for word where clients read them.
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

from app.sandbox import kinds, places, problems, requests, storing

Object = dict[str, Any]

# Letters and digits that make no words, as the real server chooses them for generated names.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_RANDOM = 5
_LONGEST_BASE = 63 - _RANDOM
# Of the built-in types these, as on the real server.
_CONDITIONAL = {"customresourcedefinitions", "leases", "poddisruptionbudgets"}
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def named(kind: kinds.Kind, target: requests.Target, new: Object) -> Object:
    """The object with the name and namespace of its path. Raises Refused (400) where it says another one."""
    found = new.get("metadata") or {}
    if not isinstance(found, dict):
        raise problems.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: json: cannot unmarshal into '
            f"Go struct field {kind.kind}.metadata of type v1.ObjectMeta"
        )
    metadata = dict(found)
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


def check_home(store: storing.Store, kind: kinds.Kind, metadata: Object) -> None:
    """Refuse to create what would be deleted at once, or has no namespace. Raises Refused (403, 404)."""
    if kind.definition:
        definition = store.get(storing.Place(*places.type_of(kinds.DEFINITIONS), "", kind.definition))
        if definition and places.is_terminating(definition):
            raise _terminating(kind, metadata, "create not allowed while custom resource definition is terminating")
    if not kind.namespaced:
        return
    name = metadata["namespace"]
    namespace = store.get(storing.Place(*places.type_of(kinds.NAMESPACES), "", name))
    if namespace is None:
        raise problems.not_found(kinds.NAMESPACES, name)
    if places.is_terminating(namespace):
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {name} is being terminated",
            "field": "metadata.namespace",
        }
        why = f"unable to create new content in namespace {name} because it is being terminated"
        raise _terminating(kind, metadata, why, cause)


def is_conditional(kind: kinds.Kind, target: requests.Target) -> bool:
    """Whether this type is never updated without the resourceVersion that the client has seen."""
    return not target.subresource and bool(kind.definition or kind.resource in _CONDITIONAL)


def check_seen(kind: kinds.Kind, before: Object, new: Object, *, conditional: bool) -> None:
    """Hold a change to the object that the client has seen. Raises Refused (409, 422)."""
    name, uid = before["metadata"]["name"], before["metadata"]["uid"]
    if new.get("uid") not in (None, "", uid):
        key = f"/registry/{kind.resource}/{places.key_of(before).removeprefix('/')}"
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


def check_uid(kind: kinds.Kind, before: Object, new: Object) -> None:
    """A patch cannot change the uid; an update with another one is for another object. Raises Refused (422)."""
    metadata = before["metadata"]
    asked = (new.get("metadata") or {}).get("uid", metadata["uid"])
    if asked != metadata["uid"]:
        causes = problems.Causes()
        causes.wrong("metadata.uid", asked, "field is immutable")
        raise problems.invalid(kind, metadata["name"], causes.found)


def check_finalizers(kind: kinds.Kind, before: Object, new: Object) -> None:
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


def _terminating(kind: kinds.Kind, metadata: Object, why: str, cause: dict[str, str] | None = None) -> problems.Refused:
    name = metadata.get("name", "")
    details = {"name": name, "group": kind.group, "kind": kind.resource, "causes": [cause] if cause else None}
    return problems.Refused(
        code=403,
        reason="Forbidden",
        message=f"{kind.qualified} {problems.quoted(name)} is forbidden: {why}",
        details={key: value for key, value in details.items() if value},
    )


def _generated(base: str) -> str:
    return base[:_LONGEST_BASE] + "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM))
