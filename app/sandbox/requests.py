"""Reading a request: which type and object its path names, which verb it is, and what its query asks for.

The checks of queries and their messages are those of kube-apiserver (meta/v1 and meta/internalversion validation).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import unquote

import orjson

from app.sandbox import bodies, problems

_T = TypeVar("_T")
Verb = Literal["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
Form = Literal["object", "table", "metadata"]

APPLY_PATCH = "application/apply-patch+yaml"
# The largest body that kube-apiserver reads.
LARGEST_BODY = 3 * 1024 * 1024
_LONGEST_MANAGER = 128

# What holds an object until the garbage collector has seen to its dependents.
_POLICIES = {"Foreground": "foregroundDeletion", "Background": "", "Orphan": "orphan"}
DEPENDENTS = frozenset(filter(None, _POLICIES.values()))
_CONTINUE = "meta.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. `name` and `namespace` are "" where it names none."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Accept:
    """The format that a client wants its answer in."""

    media: str = bodies.JSON
    form: Form = "object"
    # "v2" or "v2beta1" where discovery is wanted as one document.
    discovery: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read."""

    verb: Verb
    target: Target
    query: Mapping[str, str]
    accept: Accept
    content_type: str
    manager: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list or watch asks for. `resource_version` is None where the query has none; 0 means any."""

    resource_version: int | None
    match: str
    limit: int
    token: Token | None
    timeout: float | None
    bookmarks: bool
    initial_events: bool | None


@dataclass(frozen=True, slots=True)
class Token:
    """A position within a paged list; `revision` -1 goes on with the present state."""

    revision: int
    start: str

    def text(self) -> str:
        """As it stands in `metadata.continue`."""
        document = {"v": _CONTINUE, "rv": self.revision, "start": f"{self.start}\0"}
        return base64.urlsafe_b64encode(orjson.dumps(document)).decode().rstrip("=")


def now() -> str:
    """The present second, as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What a write asks for beside its body."""

    dry_run: bool
    manager: str
    force: bool
    field_validation: str
    # The second in which it came: whatever it writes carries this one.
    at: str = field(default_factory=now)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a delete asks for. Preconditions are None where there are none."""

    dry_run: bool
    uid: str | None
    resource_version: str | None
    # The finalizer that a propagation policy puts on the object, "" for none.
    dependents: str


def target_of(path: str) -> Target:
    """Read a path as it stands in the request, still quoted. Raises Refused (404)."""
    root, *parts = [unquote(part) for part in path.strip("/").split("/")]
    if root == "apis" and len(parts) > 2:  # noqa: PLR2004 - group, version, resource
        group, version, *rest = parts
    elif root == "api" and len(parts) > 1:
        group, (version, *rest) = "", parts
    else:
        raise problems.not_served()
    namespace = ""
    # `namespaces/NAME` and `namespaces/NAME/status` are the namespace itself.
    if rest[0] == "namespaces" and len(rest) > 2 and (len(rest) > 3 or rest[2] not in {"status", "finalize"}):  # noqa: PLR2004
        _, namespace, *rest = rest
    if len(rest) > 3:  # noqa: PLR2004 - resource, name, subresource
        raise problems.not_served()
    return Target(group, version, rest[0], namespace, *rest[1:])


def verb_of(method: str, *, named: bool, query: Mapping[str, str]) -> Verb:
    """The verb of a request. Raises Refused (405)."""
    match method, named:
        case "GET", True:
            return "get"
        case "GET", False:
            return "watch" if _flag(query.get("watch", "")) else "list"
        case "POST", False:
            return "create"
        case "PUT", True:
            return "update"
        case "PATCH", True:
            return "patch"
        case "DELETE", _:
            return "delete" if named else "deletecollection"
    raise problems.method_not_allowed()


def accept_of(header: str) -> Accept:
    """The first format that we can give. Raises Refused (406)."""
    for clause in (header or "*/*").split(","):
        media, _, rest = clause.partition(";")
        parameters = dict(_parameter(part) for part in rest.split(";") if "=" in part)
        found = _format(media.strip().lower(), parameters)
        if found:
            return found
    raise problems.not_acceptable((bodies.JSON, bodies.YAML))


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip()


def _format(media: str, parameters: Mapping[str, str]) -> Accept | None:
    if media not in {"*/*", "application/*", bodies.JSON, bodies.YAML}:
        return None
    media = media.replace("application/*", bodies.JSON).replace("*/*", bodies.JSON)
    match parameters.get("as"), parameters.get("g"), parameters.get("v"):
        case None, _, _:
            return Accept(media)
        case "Table", "meta.k8s.io", "v1":
            return Accept(media, form="table")
        case "PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1":
            return Accept(media, form="metadata")
        case "APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2" | "v2beta1" as version:
            return Accept(media, discovery=version)
    return None


def list_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Read and check the query of a list or watch. Raises Refused (400, 422)."""
    text = query.get("resourceVersion", "")
    initial = query.get("sendInitialEvents")
    _check_match(query.get("resourceVersionMatch", ""), text, watch=watch, initial=initial)
    token = _token(query["continue"]) if query.get("continue") else None
    if token and text not in {"", "0"}:
        raise problems.bad_request("specifying resource version is not allowed when using continue")
    timeout = _whole(query.get("timeoutSeconds", ""))
    return ListOptions(
        resource_version=_resource_version(text, watch=watch),
        match=query.get("resourceVersionMatch", ""),
        limit=max(0, _whole(query.get("limit", "")) or 0),
        token=token,
        timeout=float(timeout) if timeout else None,
        bookmarks=_flag(query.get("allowWatchBookmarks", "")),
        initial_events=None if initial is None else _flag(initial),
    )


def read_version(query: Mapping[str, str]) -> int:
    """The oldest state that a get may show; 0 means any. Raises Refused."""
    return _resource_version(query.get("resourceVersion", ""), watch=False) or 0


def _check_match(match: str, version: str, *, watch: bool, initial: str | None) -> None:
    causes = problems.Causes()
    if watch:
        if initial is not None and match != "NotOlderThan":
            causes.forbidden(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        elif match and initial is None:
            causes.forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
    else:
        _check_list_match(causes, match, version)
        if initial is not None:
            causes.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if causes.found:
        raise problems.invalid_options("ListOptions", causes.found)


def _check_list_match(causes: problems.Causes, match: str, version: str) -> None:
    field = "resourceVersionMatch"
    if match and not version:
        causes.forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    elif match not in {"", "Exact", "NotOlderThan"}:
        causes.unsupported(field, match, ("Exact", "NotOlderThan", ""))
    elif match == "Exact" and version == "0":
        causes.forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def _resource_version(text: str, *, watch: bool) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,19}", text):
        return int(text)
    shown = problems.quoted(text)
    wrong = f"resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: invalid syntax"
    if watch:
        # The real server answers so, without a reason.
        raise problems.Refused(code=500, reason="", message=wrong)
    raise problems.bad_request(f"invalid resource version: {wrong}")


def _token(text: str) -> Token:
    try:
        document: Any = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if document["v"] != _CONTINUE or not document["start"].endswith("\0"):
            raise problems.bad_request("continue key is not valid: server does not recognize this encoded version")
        return Token(int(document["rv"]), document["start"].removesuffix("\0"))
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise problems.bad_request(f"invalid continue token: continue key is not valid: {error}") from error


def write_options(call: Call, *, kind: Literal["CreateOptions", "UpdateOptions", "PatchOptions"]) -> WriteOptions:
    """Read and check the query of a write. Raises Refused (422)."""
    causes = problems.Causes()
    applies = call.content_type == APPLY_PATCH
    manager = call.query.get("fieldManager", "")
    if kind == "PatchOptions" and applies and not manager:
        causes.required("fieldManager", "is required for apply patch")
    if kind == "PatchOptions" and "force" in call.query and not applies:
        causes.forbidden("force", "may not be specified for non-apply patch")
    _check_manager(manager, causes)
    validation = call.query.get("fieldValidation") or "Warn"
    if validation not in {"Ignore", "Warn", "Strict"}:
        causes.unsupported("fieldValidation", validation, ("Ignore", "Warn", "Strict"))
    dry_run = _dry_run(call.query.get("dryRun", ""), causes)
    if causes.found:
        raise problems.invalid_options(kind, causes.found)
    return WriteOptions(
        dry_run=dry_run,
        manager=manager or call.manager,
        force=_flag(call.query.get("force", "")),
        field_validation=validation,
    )


def _check_manager(manager: str, causes: problems.Causes) -> None:
    if len(manager) > _LONGEST_MANAGER:
        causes.too_long("fieldManager", _LONGEST_MANAGER)
    if not manager.isprintable():
        causes.wrong("fieldManager", manager, "should only contain printable characters")


def delete_options(call: Call) -> DeleteOptions:
    """Read the options of a delete, which stand in its body or in its query. Raises Refused (400, 422)."""
    document: Any = {}
    if call.body.strip():
        document = bodies.decode(call.body, content_type=call.content_type, wanted="DeleteOptions")
    conditions = _typed(document, "preconditions", dict) or {}
    asked = _typed(document, "dryRun", list) or [call.query.get("dryRun", "")]
    policy = _typed(document, "propagationPolicy", str) or call.query.get("propagationPolicy") or "Background"
    causes = problems.Causes()
    if policy not in _POLICIES:
        causes.unsupported("propagationPolicy", policy, [*_POLICIES, "nil"])
    dry_run = _dry_run(str(asked[0]), causes)
    if causes.found:
        raise problems.invalid_options("DeleteOptions", causes.found)
    return DeleteOptions(
        dry_run=dry_run,
        uid=_typed(conditions, "uid", str),
        resource_version=_typed(conditions, "resourceVersion", str),
        dependents=_POLICIES[policy],
    )


def _typed(document: Mapping[str, Any], field: str, kind: type[_T]) -> _T | None:
    """A field of the options of a delete. Raises Refused (400) for a value of another type."""
    value = document.get(field)
    if value is None or isinstance(value, kind):
        return value
    raise problems.bad_request(
        f"json: cannot unmarshal {type(value).__name__} into Go struct field DeleteOptions.{field} of type "
        f"{kind.__name__}"
    )


def _dry_run(text: str, causes: problems.Causes) -> bool:
    if text not in {"", "All"}:
        causes.unsupported("dryRun", [text], ("All",))
    return text == "All"


def manager_of(user_agent: str) -> str:
    """The name of a writer that gives none: the first word of its user agent, as the real server takes it."""
    return "".join(filter(str.isprintable, user_agent.partition("/")[0]))[:_LONGEST_MANAGER]


def _flag(text: str) -> bool:
    return text.lower() in {"1", "t", "true"}


def _whole(text: str) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    raise problems.bad_request(f"strconv.ParseInt: parsing {problems.quoted(text)}: invalid syntax")
