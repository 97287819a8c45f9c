"""What the API server's refusals mean here: each answer becomes one of the errors of `app/errors.py`.

    StalledError     Forbidden   403, a rule is missing in RBAC; never to be read as "there are no objects"
                     NotServed   404, the type or the object is not there
    TemporaryError   Expired     410, the resourceVersion is too old: list again
                     Conflict    409, somebody else wrote in between
                     Busy        429, the server asks for patience
                     NoAnswer    the server was not reached, or fell silent
    PermanentError   NotSupported  the server is too old for a streaming list

`client.py` calls this at the one place where answers arrive. Messages name the verb and the resource and say what to
do; they never hold a body, because a body may hold an object.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
import urllib3

from app import errors

# What the server is given when it asks for patience without saying how long, and the most that it is granted.
DEFAULT_DELAY = 1.0
LONGEST_DELAY = 300.0


class Forbidden(errors.StalledError):
    """403: RBAC does not allow the call. The type is stopped, not emptied."""

    default_reason = "Forbidden"


class NotServed(errors.StalledError):
    """404: the cluster does not serve this type, or the object does not exist."""

    default_reason = "NotServed"


# The reason of a list of the past.
OUTDATED = "OutdatedAnswer"


class Expired(errors.TemporaryError):
    """410, as an answer or inside a stream: the resourceVersion or the continue token is too old. List again."""

    default_reason = "Expired"


class Conflict(errors.TemporaryError):
    """409: the object is not the one that was read. Read it again."""

    default_reason = "Conflict"


class Busy(errors.TemporaryError):
    """429: too many requests, or a type that is just being installed: it answers so for a moment."""


class NoAnswer(errors.TemporaryError):
    """The server was not reached, or fell silent: nobody knows what became of the request."""

    # What failed, as the HTTP library names it: `NewConnectionError`.
    how = ""


class NotSupported(errors.PermanentError):
    """400 or 422 on a streaming list: use a paged list and a watch instead."""

    default_reason = "NotSupported"


_READ_VERBS = {"GET": "get", "PATCH": "patch", "POST": "create", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request in the words of RBAC, read from its path. `resource` is empty for paths such as `/apis`."""

    verb: str
    path: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""

    @classmethod
    def parse(cls, method: str, path: str, query: Mapping[str, str]) -> Call:
        """Read verb, resource and place from a request, as the API server does."""
        verb = _READ_VERBS.get(method, method.lower())
        group, parts = _split(path)
        if not parts:
            return cls(verb=verb, path=path)
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] != "status":  # noqa: PLR2004 - namespaces/NAME/...
            namespace, parts = parts[1], parts[2:]
        resource, name, subresource = (*parts, "", "")[:3]
        if verb == "get" and not name:
            verb = "watch" if query.get("watch") else "list"
        resource = f"{resource}/{subresource}" if subresource else resource
        return cls(verb=verb, path=path, group=group, resource=resource, namespace=namespace, name=name)

    def __str__(self) -> str:
        """`list deployments.apps in namespace shop`, `get secrets shop/git-creds`, `get /apis`."""
        if not self.resource:
            return f"{self.verb} {self.path}"
        plural, slash, subresource = self.resource.partition("/")
        what = f"{self.verb} {plural}{'.' + self.group if self.group else ''}{slash}{subresource}"
        if self.name:
            return f"{what} {self.namespace + '/' if self.namespace else ''}{self.name}"
        return f"{what} in namespace {self.namespace}" if self.namespace else what

    @property
    def missing_rule(self) -> str:
        """The RBAC rule that would allow this call, as it is written in a Role or ClusterRole."""
        if not self.resource:
            return f'{{nonResourceURLs: ["{self.path}"], verbs: ["{self.verb}"]}}'
        return f'{{apiGroups: ["{self.group}"], resources: ["{self.resource}"], verbs: ["{self.verb}"]}}'


def _split(path: str) -> tuple[str, list[str]]:
    """The API group, and what follows the version."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        return "", parts[2:]
    return (parts[1], parts[3:]) if parts[0] == "apis" and len(parts) > 1 else ("", [])


# Not the server's fault, and worth another try.
_PATIENCE: Mapping[int, type[errors.TemporaryError]] = {408: errors.TemporaryError, 429: Busy}

_ANSWERS: Mapping[int, Callable[[Call], errors.ReverserError]] = {
    401: lambda call: errors.StalledError(
        f"{call}: the cluster does not accept our credentials (401): renew the token or the kubeconfig",
        reason="Unauthorized",
    ),
    403: lambda call: Forbidden(f"{call}: forbidden: a Role or ClusterRole needs the rule {call.missing_rule}"),
    404: lambda call: NotServed(f"{call}: not found: the cluster does not serve it, or it was deleted"),
    409: lambda call: Conflict(f"{call}: somebody else changed it; it is read again"),
    410: lambda call: Expired(f"{call}: the resource version is too old; it is listed again", delay=0.0),
}


def of_answer(call: Call, *, status: int, headers: Mapping[str, str], body: bytes) -> errors.ReverserError:
    """The error that an answer of 300 or above means; `answer` on it is the server's own sentence."""
    error = _of_status(call, status=status, headers=headers, body=body)
    error.answer = _sentence(body)
    return error


def _of_status(call: Call, *, status: int, headers: Mapping[str, str], body: bytes) -> errors.ReverserError:
    if status in _ANSWERS:
        return _ANSWERS[status](call)
    if status in _PATIENCE or status >= 500:  # noqa: PLR2004 - the server's own trouble
        delay = _delay(headers)
        patient = _PATIENCE.get(status, errors.TemporaryError)
        return patient(f"{call}: the cluster answered {status}; next try in {delay:g} s", delay=delay)
    return errors.PermanentError(f"{call}: the cluster answered {status}{_hint(body)}")


def of_failure(call: Call, failure: Exception) -> errors.ReverserError:
    """The error that a connection without an answer means. An untrusted certificate needs a person."""
    if _untrusted(failure):
        return errors.StalledError(
            f"{call}: the certificate of the API server is not trusted: check certificate-authority in the kubeconfig",
            reason="UntrustedCertificate",
        )
    how = type(failure).__name__
    silent = NoAnswer(f"{call}: no answer from the cluster ({how}); it is tried again", delay=DEFAULT_DELAY)
    silent.how = how
    return silent


def incomplete(call: Call | str, what: str) -> errors.TemporaryError:
    """The error for an answer that is not whole. It must never be read as an empty one."""
    return errors.TemporaryError(f"{call}: {what}; it is asked again", delay=DEFAULT_DELAY, reason="IncompleteAnswer")


def outdated(what: str, listed: str, *, seen: str) -> errors.TemporaryError:
    """The error for a list of the past: an API server, or its cache, that lags behind what was seen before."""
    return errors.TemporaryError(
        f"list {what}: it is of resourceVersion {listed}, and {seen} was seen before: the API server lags; it is "
        "listed again",
        delay=DEFAULT_DELAY,
        reason=OUTDATED,
    )


def _untrusted(failure: BaseException | None) -> bool:
    """Whether a certificate was refused: urllib3 hands the reason on as an argument or as the cause."""
    seen = [failure, *getattr(failure, "args", ()), getattr(failure, "__cause__", None)]
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in seen) or (
        isinstance(failure, urllib3.exceptions.SSLError)
        and any("CERTIFICATE_VERIFY_FAILED" in str(one) for one in failure.args)
    )


def _delay(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    # The API server writes whole seconds; a date, which a proxy may write, is not worth a parser.
    return min(float(text), LONGEST_DELAY) if text.isascii() and text.isdigit() else DEFAULT_DELAY


def _hint(body: bytes) -> str:
    """Reason and field names of a Status: `: Invalid (spec.branch)`. Values and messages stay behind."""
    try:
        status = orjson.loads(body)
        reason = str(status["reason"])
        causes = (status.get("details") or {}).get("causes") or ()
        fields = ", ".join(sorted({cause["field"] for cause in causes} - {"", "<nil>"}))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ""
    return f": {reason} ({fields})" if fields else f": {reason}"


def _sentence(body: bytes) -> str:
    """The message of a Status, empty for anything else."""
    try:
        message = orjson.loads(body)["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return message if isinstance(message, str) else ""
