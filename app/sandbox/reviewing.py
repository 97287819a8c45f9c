"""The reviews that a client asks for about itself: in the sandbox, everybody with the token may do everything."""

from __future__ import annotations

from typing import Any

from app.sandbox import bodies, identity, kinds, requests

_NAMES = ("SelfSubjectAccessReview", "SelfSubjectReview", "SelfSubjectRulesReview")
# These are answered, never stored.
KINDS = frozenset(kind for kind in kinds.BUILT_IN if kind.kind in _NAMES)
# kubectl asks in this format, and reads an answer in JSON. What it asks does not change the answer.
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_EVERYTHING = ["*"]


def review(kind: kinds.Kind, call: requests.Call) -> dict[str, Any]:
    """The answer to a review. Raises Refused (400)."""
    head: dict[str, Any] = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {}}
    if kind.kind == "SelfSubjectReview":
        return {**head, "status": {"userInfo": {"username": identity.USER, "groups": list(identity.GROUPS)}}}
    head["spec"] = _spec(kind, call)
    if kind.kind == "SelfSubjectAccessReview":
        return {**head, "status": {"allowed": True}}
    rules = {
        "resourceRules": [{"verbs": _EVERYTHING, "apiGroups": _EVERYTHING, "resources": _EVERYTHING}],
        "nonResourceRules": [{"verbs": _EVERYTHING, "nonResourceURLs": _EVERYTHING}],
        "incomplete": False,
    }
    return {**head, "status": rules}


def _spec(kind: kinds.Kind, call: requests.Call) -> Any:
    if call.content_type == _PROTOBUF:
        return {}
    return bodies.decode(call.body, content_type=call.content_type, wanted=kind.kind).get("spec") or {}
