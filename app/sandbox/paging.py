"""Lists: what a scope holds, now or at a revision that the history still has, whole or in pages of one revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.sandbox import kinds, places, problems, requests, selecting, storing, streaming

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list, and the list's metadata."""

    items: Sequence[Object]
    metadata: Object


def page(store: storing.Store, kind: kinds.Kind, call: requests.Call) -> Page:
    """One page of a list. Raises Refused (400, 410, 504)."""
    options = requests.list_options(call.query, watch=False)
    selector = selector_of(kind, call)
    revision = _revision_of(store, options)
    try:
        found = store.objects(places.type_of(kind), namespace=call.target.namespace, at=revision)
    except storing.Forgotten:
        raise _expired(options.token) from None
    start = options.token.start if options.token else ""
    items = [one for one in found if places.key_of(one) > start and selector.matches(one)]
    return _page(items, options, revision=revision or store.revision, counted=selector.everything)


def nothing(store: storing.Store) -> Page:
    """An empty page, which all that there is follows."""
    revision = store.revision
    return Page((), {"resourceVersion": str(revision), "continue": requests.Token(revision, "").text()})


def selector_of(kind: kinds.Kind, call: requests.Call) -> selecting.Selector:
    """What a request is about. Raises Refused (400)."""
    return selecting.parse(kind, labels=call.query.get("labelSelector", ""), fields=call.query.get("fieldSelector", ""))


def _revision_of(store: storing.Store, options: requests.ListOptions) -> int | None:
    """The state to list, None for the present one. Raises Refused (504)."""
    if options.token:
        streaming.check_reached(options.token.revision, store)
        return options.token.revision if options.token.revision > 0 else None
    version = options.resource_version or 0
    streaming.check_reached(version, store)
    # A limit without a match means the very revision, as it did before there was a match.
    exact = options.match == "Exact" or (options.match == "" and options.limit > 0)
    return version if version and exact else None


def _page(items: Sequence[Object], options: requests.ListOptions, *, revision: int, counted: bool) -> Page:
    metadata: Object = {"resourceVersion": str(revision)}
    if not options.limit or len(items) <= options.limit:
        return Page(items, metadata)
    page = items[: options.limit]
    metadata["continue"] = requests.Token(revision, places.key_of(page[-1])).text()
    if counted:
        metadata["remainingItemCount"] = len(items) - options.limit
    return Page(page, metadata)


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
