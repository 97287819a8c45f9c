"""The reviews that a client asks for about itself: in the sandbox, everybody with the token may do everything."""

from __future__ import annotations

from typing import Any

from app.sandbox import bodies, identity, kinds, requests

_NAMES = ("SelfSubjectAccessReview", "SelfSubjectReview", "SelfSubjectRulesReview")
# These are answered, never stored.
KINDS = frozenset(kind for kind in kinds.BUILT_IN if kind.kind in _NAMES)
_EVERYTHING = ["*"]


def review(kind: kinds.Kind, call: requests.Call) -> dict[str, Any]:
    """The answer to a review. Raises Refused (400)."""
    head: dict[str, Any] = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {}}
    if kind.kind == "SelfSubjectReview":
        return {**head, "status": {"userInfo": {"username": identity.USER, "groups": list(identity.GROUPS)}}}
    head["spec"] = bodies.decode(call.body, content_type=call.content_type, wanted=kind.kind).get("spec") or {}
    if kind.kind == "SelfSubjectAccessReview":
        return {**head, "status": {"allowed": True}}
    rules = {
        "resourceRules": [{"verbs": _EVERYTHING, "apiGroups": _EVERYTHING, "resources": _EVERYTHING}],
        "nonResourceRules": [{"verbs": _EVERYTHING, "nonResourceURLs": _EVERYTHING}],
        "incomplete": False,
    }
    return {**head, "status": rules}
