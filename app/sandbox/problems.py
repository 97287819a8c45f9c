"""Refusals in the words of Kubernetes: an HTTP code and a `Status` document that clients already know how to read.

Texts, reasons and details are those of kube-apiserver 1.36 (k8s.io/apimachinery, api/errors and util/validation/field),
because clients and tests compare them. Everything in this room that says no raises `Refused`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

BAD_REQUEST = 400


class Named(Protocol):
    """What a refusal has to know of a type (`kinds.Kind`)."""

    @property
    def group(self) -> str:
        """The API group, "" for core."""

    @property
    def resource(self) -> str:
        """The plural name."""

    @property
    def kind(self) -> str:
        """The kind's name."""

    @property
    def qualified(self) -> str:
        """The resource with its group, as messages write it."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with one field of an object."""

    reason: str
    message: str
    field: str


class Refused(Exception):  # noqa: N818 - an answer to a client, not an error of ours.
    """A request that is answered with a failure. `status` is the body; it may end a stream as well."""

    def __init__(
        self,
        *,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers or {}
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
        }
        if reason:
            self.status["reason"] = reason
        if details is not None:
            self.status["details"] = details
        self.status["code"] = code


@dataclass(slots=True)
class Causes:
    """Collects what is wrong, so that one answer names everything."""

    found: list[Cause] = field(default_factory=list)

    def required(self, path: str, detail: str = "") -> None:
        """A field that has to be there is missing."""
        self._add("FieldValueRequired", path, "Required value" + (f": {detail}" if detail else ""))

    def wrong(self, path: str, value: Any, detail: str) -> None:
        """A field has a value that cannot be."""
        self._add("FieldValueInvalid", path, f"Invalid value: {shown(value)}: {detail}")

    def wrong_type(self, path: str, value: Any, detail: str) -> None:
        """A field has a value of another type than its schema says."""
        self._add("FieldValueTypeInvalid", path, f"Invalid value: {shown(value)}: {detail}")

    def unsupported(self, path: str, value: Any, supported: Iterable[str]) -> None:
        """A field has a value that is none of those allowed."""
        allowed = ", ".join(quoted(one) for one in supported)
        self._add("FieldValueNotSupported", path, f"Unsupported value: {shown(value)}: supported values: {allowed}")

    def duplicate(self, path: str, value: Any) -> None:
        """A list holds a second item of the same key."""
        self._add("FieldValueDuplicate", path, f"Duplicate value: {shown(value)}")

    def forbidden(self, path: str, detail: str) -> None:
        """A field may not be set, or not be changed."""
        self._add("FieldValueForbidden", path, f"Forbidden: {detail}")

    def too_long(self, path: str, limit: int, *, unit: str = "bytes") -> None:
        """A text has more characters than allowed."""
        self._add("FieldValueTooLong", path, f"Too long: may not be more than {limit} {unit}")

    def too_many(self, path: str, found: int, limit: int) -> None:
        """A list or a map has more items than allowed."""
        self._add("FieldValueTooMany", path, f"Too many: {found}: must have at most {limit} items")

    def _add(self, reason: str, path: str, message: str) -> None:
        self.found.append(Cause(reason, message, path))


def quoted(text: str) -> str:
    """A text in double quotes; as Go's %q for all but control characters."""
    return orjson.dumps(text).decode()


def shown(value: Any) -> str:
    """A value as a message about a field shows it: texts quoted, all else as JSON."""
    return quoted(value) if isinstance(value, str) else orjson.dumps(value).decode()


def not_served() -> Refused:
    """404: no type of that name."""
    return Refused(code=404, reason="NotFound", message="the server could not find the requested resource", details={})


def not_found(kind: Named, name: str) -> Refused:
    """404: no object of that name."""
    return _about(kind, name, code=404, reason="NotFound", message=f"{kind.qualified} {quoted(name)} not found")


def already_exists(kind: Named, name: str) -> Refused:
    """409: an object of that name is there."""
    message = f"{kind.qualified} {quoted(name)} already exists"
    return _about(kind, name, code=409, reason="AlreadyExists", message=message)


def conflict(kind: Named, name: str, why: str) -> Refused:
    """409: the object is not the one that the client has seen."""
    message = f"Operation cannot be fulfilled on {kind.qualified} {quoted(name)}: {why}"
    return _about(kind, name, code=409, reason="Conflict", message=message)


def apply_conflict(causes: Sequence[Cause]) -> Refused:
    """409: a server-side apply sets fields that belong to others. Causes are in the order of their managers."""
    many = "s" if len(causes) > 1 else ""
    return Refused(
        code=409,
        reason="Conflict",
        message=f"Apply failed with {len(causes)} conflict{many}: {_conflicts(causes)}",
        details={"causes": _causes(causes)},
    )


def _conflicts(causes: Sequence[Cause]) -> str:
    """A single field on one line; more as a list for each of their managers."""
    if len(causes) == 1:
        return f"{causes[0].message}: {causes[0].field}"
    lines = []
    for message in dict.fromkeys(cause.message for cause in causes):
        lines.append(f"{message.replace('conflict', 'conflicts', 1)}:")
        lines += [f"- {cause.field}" for cause in causes if cause.message == message]
    return "\n".join(lines)


def untyped(message: str) -> Refused:
    """500: what is applied does not fit the schema. It is the client's fault, and the real server says 500."""
    return Refused(code=500, reason="", message=message)


def invalid(kind: Named, name: str, causes: Sequence[Cause]) -> Refused:
    """422: the object cannot be stored as it is; every cause is named."""
    return _invalid(group=kind.group, kind=kind.kind, name=name, causes=causes)


def invalid_options(options: str, causes: Sequence[Cause]) -> Refused:
    """422: the query of a request says what cannot be (`options` is for example "CreateOptions")."""
    return _invalid(group="meta.k8s.io", kind=options, name="", causes=causes)


def _invalid(*, group: str, kind: str, name: str, causes: Sequence[Cause]) -> Refused:
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    summary = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: dict[str, Any] = {"name": name, "group": group, "kind": kind}
    return Refused(
        code=422,
        reason="Invalid",
        message=f"{kind}{f'.{group}' if group else ''} {quoted(name)} is invalid: {summary}",
        details={key: value for key, value in details.items() if value} | {"causes": _causes(causes)},
    )


def _causes(causes: Sequence[Cause]) -> list[dict[str, str]]:
    return [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]


def invalid_patch(shown: str, why: str) -> Refused:
    """422: what the patch makes is no object of the type. The real server shows the whole object, and so do we."""
    causes = Causes()
    causes.wrong("patch", shown, why)
    return _invalid(group="", kind="", name="", causes=causes.found)


def rejected() -> Refused:
    """422 without a reason, as the real server answers a JSON patch that cannot be applied."""
    message = "the server rejected our request due to an error in our request"
    return Refused(code=422, reason="Invalid", message=message, details={})


def bad_request(message: str) -> Refused:
    """400: the request cannot be understood."""
    return Refused(code=BAD_REQUEST, reason="BadRequest", message=message)


def expired(message: str) -> Refused:
    """410: the resourceVersion or the page token is older than the history."""
    return Refused(code=410, reason="Expired", message=message)


def method_not_allowed() -> Refused:
    """405: the type has no such verb."""
    message = "the server does not allow this method on the requested resource"
    return Refused(code=405, reason="MethodNotAllowed", message=message, details={})


def not_acceptable(available: Sequence[str] = ("application/json", "application/json;stream=watch")) -> Refused:
    """406: none of the formats that the client accepts."""
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(available)}"
    return Refused(code=406, reason="NotAcceptable", message=message, details={})


def unsupported_media_type(allowed: Sequence[str]) -> Refused:
    """415: a body in a format that is not read here."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(allowed)}"
    return Refused(code=415, reason="UnsupportedMediaType", message=message)


def too_large(message: str) -> Refused:
    """413: the body is too large."""
    return Refused(code=413, reason="RequestEntityTooLarge", message=message, details={})


def forbidden(message: str) -> Refused:
    """403: not allowed."""
    return Refused(code=403, reason="Forbidden", message=message, details={})


def too_many(seconds: int) -> Refused:
    """429: come back after so many seconds."""
    return Refused(
        code=429,
        reason="TooManyRequests",
        message="too many requests, please try again later",
        details={"retryAfterSeconds": seconds},
        headers={"Retry-After": str(seconds)},
    )


def internal(message: str) -> Refused:
    """500: something broke here."""
    return Refused(
        code=500,
        reason="InternalError",
        message=f"Internal error occurred: {message}",
        details={"causes": [{"message": message}]},
    )


def _about(kind: Named, name: str, *, code: int, reason: str, message: str) -> Refused:
    details = {"name": name, "group": kind.group, "kind": kind.resource}
    return Refused(
        code=code, reason=reason, message=message, details={key: value for key, value in details.items() if value}
    )
