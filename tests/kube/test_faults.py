"""Answers of a broken, slow or hostile API server: each becomes the right error, and none reads as "nothing there"."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from app import errors
from app.kube import client, discovery, listing, problems, watching
from tests.kube import faults as fault
from tests.kube import objects

CANARY = "canary-4711"


def list_of(*names: str, version: str = "10", token: str = "") -> dict[str, Any]:
    """A list of ConfigMaps as a server writes it."""
    items = [{"metadata": {"name": name, "resourceVersion": "5"}} for name in names]
    metadata = {"resourceVersion": version, **({"continue": token} if token else {})}
    return {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items}


def added(name: str, version: str = "7") -> dict[str, Any]:
    """An ADDED event."""
    return {"type": "ADDED", "object": {"kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version}}}


def error(code: int, reason: str = "") -> dict[str, Any]:
    """An ERROR event."""
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": reason, "message": CANARY}}


def read_list(cluster: client.Cluster) -> list[dict[str, Any]]:
    """All objects of a list."""
    pages = listing.list_pages(cluster, objects.CONFIG_MAPS, "shop", page_size=2)
    return [item for page in pages for item in page.items]


def read_stream(cluster: client.Cluster, *, initial: bool = False) -> list[watching.Change]:
    """All changes of a stream."""
    stop = threading.Event()
    if initial:
        stream = watching.stream_list(cluster, objects.CONFIG_MAPS, "shop", timeout=5, stop=stop)
    else:
        stream = watching.watch(cluster, objects.CONFIG_MAPS, "shop", resource_version="1", timeout=5, stop=stop)
    with stream:
        return list(stream)


@pytest.mark.parametrize(
    ("status", "error_type", "reason"),
    [
        (301, errors.PermanentError, "Invalid"),
        (400, errors.PermanentError, "Invalid"),
        (401, errors.StalledError, "Unauthorized"),
        (403, problems.Forbidden, "Forbidden"),
        (404, problems.NotServed, "NotServed"),
        (408, errors.TemporaryError, "Temporary"),
        (409, problems.Conflict, "Conflict"),
        (410, problems.Expired, "Expired"),
        (422, errors.PermanentError, "Invalid"),
        (429, problems.Busy, "Temporary"),
        (500, errors.TemporaryError, "Temporary"),
        (503, errors.TemporaryError, "Temporary"),
    ],
)
def test_each_status_has_its_consequence(
    faults: fault.FaultServer, faulty: client.Cluster, status: int, error_type: type[errors.ReverserError], reason: str
) -> None:
    """An answer that is no success is the error of its consequence, names verb and resource, and shows no body."""
    faults.answers = [fault.json({"kind": "Status", "message": CANARY, "details": {"name": CANARY}}, status)]
    for call in (read_list, read_stream):
        with pytest.raises(error_type) as caught:
            call(faulty)
        assert type(caught.value) is error_type
        assert caught.value.reason == reason
        assert CANARY not in str(caught.value)
        assert caught.value.answer == CANARY
        assert "configmaps in namespace shop" in str(caught.value)


def test_a_refused_field_is_named_without_its_value(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """The reason and the fields of a refusal are shown; values and messages are not."""
    causes = [{"field": "spec.branch", "message": CANARY}, {"field": "<nil>", "message": CANARY}]
    faults.answers = [fault.json({"reason": "Invalid", "message": CANARY, "details": {"causes": causes}}, 422)]
    with pytest.raises(errors.PermanentError, match=r"422: Invalid \(spec\.branch\)$"):
        faulty.uid()


@pytest.mark.parametrize(("header", "delay"), [("7", 7.0), ("99999", 300.0), ("", 1.0), ("Fri, 31 Dec 1999", 1.0)])
def test_the_server_says_how_long_to_wait(
    faults: fault.FaultServer, faulty: client.Cluster, header: str, delay: float
) -> None:
    """Retry-After is the delay of the error, within five minutes."""
    faults.answers = [fault.json({}, 429, Retry_After=header)]
    with pytest.raises(errors.TemporaryError) as caught:
        faulty.uid()
    assert caught.value.delay == delay


def test_a_redirect_gets_no_token(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A redirect is refused: nothing is sent to where it points."""
    other = fault.FaultServer()
    other.answers = [fault.json({"metadata": {"uid": "x"}})]
    try:
        faults.answers = [fault.json({}, 302, Location=f"{other.url}/api/v1/namespaces/kube-system")]
        with pytest.raises(errors.PermanentError):
            faulty.uid()
        assert other.requests == []
    finally:
        other.stop()


def test_a_refused_token_is_renewed_once(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A 401 leads to exactly one more try."""
    faults.answers = [fault.json({}, 401)]
    with pytest.raises(errors.StalledError):
        faulty.uid()
    assert len(faults.requests) == 2
    faults.answers = [fault.json({}, 401), fault.json({"metadata": {"uid": "x"}})]
    assert faulty.uid() == "x"


def test_a_server_that_is_gone_is_temporary(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """No connection is a TemporaryError."""
    faults.stop()
    with pytest.raises(errors.TemporaryError, match="no answer"):
        faulty.uid()


@pytest.mark.parametrize(
    "answer",
    [
        fault.Answer(body=b"", headers={}),
        fault.Answer(body=b'{"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": [', cut=False),
        fault.Answer(body=b'{"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": []}', cut=True),
        fault.Answer(
            chunks=[b'{"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": []}'], cut=True
        ),
        fault.json([]),
        fault.json({}),
        fault.json({"kind": "Status", "metadata": {"resourceVersion": "1"}, "items": []}),
        fault.json({"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}}),
        fault.json({"kind": "ConfigMapList", "metadata": {}, "items": []}),
        fault.json({"kind": "ConfigMapList", "metadata": None, "items": []}),
        fault.json({"kind": "ConfigMapList", "metadata": {"resourceVersion": ""}, "items": []}),
        fault.json({"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": {}}),
        fault.json({"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": ["x"]}),
        fault.json({"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": [{}]}),
    ],
)
def test_a_damaged_list_is_never_an_empty_one(
    faults: fault.FaultServer, faulty: client.Cluster, answer: fault.Answer
) -> None:
    """Half a list, no list and a list without a version are TemporaryErrors: an orphan sweep must not see them."""
    faults.answers = [answer]
    with pytest.raises(errors.TemporaryError):
        read_list(faulty)


def test_an_empty_list_of_an_aggregated_server_is_empty(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A server written in Go may write an empty list as null."""
    faults.answers = [fault.json({**list_of(), "items": None})]
    assert read_list(faulty) == []


def test_an_empty_page_is_not_the_end(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A server may leave a page empty, the first one as well, and go on with the next."""
    faults.answers = [fault.json(list_of(token="t")), fault.json(list_of("a", token="u")), fault.json(list_of())]
    assert [item["metadata"]["name"] for item in read_list(faulty)] == ["a"]


def test_pages_of_two_versions_are_no_list(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A list whose pages stand at different versions has expired."""
    faults.answers = [fault.json(list_of("a", token="t")), fault.json(list_of("b", version="11"))]
    with pytest.raises(problems.Expired):
        read_list(faulty)


def test_an_error_on_a_later_page_ends_the_list(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A list of which a later page is refused raises; it does not end early."""
    faults.answers = [fault.json(list_of("a", token="t")), fault.json({}, 410)]
    with pytest.raises(problems.Expired):
        read_list(faulty)
    assert "continue=t" in faults.requests[-1][0]


@pytest.mark.parametrize(
    ("answer", "error_type"),
    [
        (fault.stream(added("a"), error(410, "Expired")), problems.Expired),
        (fault.stream(added("a"), error(500, "InternalError")), errors.TemporaryError),
        (fault.stream(added("a"), tail=b'{"type": "ADDED", "obj'), errors.TemporaryError),
        (fault.stream(added("a"), tail=b'{"type": "ADDED", "obj\n'), errors.TemporaryError),
        (fault.stream(added("a"), cut=True), errors.TemporaryError),
        (fault.stream(added("a"), {"type": "SURPRISE", "object": {}}), errors.TemporaryError),
        (fault.stream(added("a"), {"type": "ADDED"}), errors.TemporaryError),
        (fault.stream(added("a"), {"type": "ADDED", "object": {"metadata": {"name": "x"}}}), errors.TemporaryError),
        (fault.stream(added("a"), []), errors.TemporaryError),
    ],
)
def test_a_damaged_stream_raises_after_what_was_whole(
    faults: fault.FaultServer,
    faulty: client.Cluster,
    answer: fault.Answer,
    error_type: type[errors.ReverserError],
) -> None:
    """Whole events are handed out, then the damage is an error; a damaged event is never skipped."""
    faults.answers = [answer]
    stream = watching.watch(
        faulty, objects.CONFIG_MAPS, "shop", resource_version="1", timeout=5, stop=threading.Event()
    )
    changes = iter(stream)
    assert next(changes).object["metadata"]["name"] == "a"
    with pytest.raises(error_type) as caught:
        next(changes)
    assert type(caught.value) is error_type
    assert CANARY not in str(caught.value)


def test_lines_may_be_cut_anywhere(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """An event that arrives in many pieces, and many events in one piece, are read the same."""
    [whole] = [b"".join(fault.stream(added("ä"), added("b"), added("c")).chunks or ())]
    faults.answers = [fault.Answer(chunks=[whole[i : i + 3] for i in range(0, len(whole), 3)])]
    assert [change.object["metadata"]["name"] for change in read_stream(faulty)] == ["ä", "b", "c"]
    faults.answers = [fault.Answer(chunks=[whole])]
    assert [change.object["metadata"]["name"] for change in read_stream(faulty)] == ["ä", "b", "c"]


@pytest.mark.parametrize("status", [400, 422])
def test_an_old_server_cannot_stream_lists(faults: fault.FaultServer, faulty: client.Cluster, status: int) -> None:
    """400 and 422 on a streaming list send the caller to a paged list."""
    faults.answers = [fault.json({"reason": "Invalid"}, status)]
    with pytest.raises(problems.NotSupported):
        read_stream(faulty, initial=True)


def test_a_streaming_list_without_its_end_proves_nothing(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A server that ignores the request and ends the stream without SYNCED has not listed anything."""
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
    faults.answers = [fault.stream(added("a"), bookmark)]
    with pytest.raises(problems.NotSupported):
        read_stream(faulty, initial=True)
    faults.answers = [fault.stream(added("a"), cut=True)]
    with pytest.raises(errors.TemporaryError):
        read_stream(faulty, initial=True)


def test_an_event_without_end_is_not_collected(
    faults: fault.FaultServer, faulty: client.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that never ends is given up before it fills the memory."""
    monkeypatch.setattr(watching, "_LONGEST_LINE", 100)
    faults.answers = [fault.Answer(chunks=[b"x" * 60, b"x" * 60, b"\n"])]
    with pytest.raises(errors.TemporaryError, match="no end"):
        read_stream(faulty)


def test_a_cluster_without_identity_is_not_known(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A namespace without a uid is a damaged answer, and the text of a cluster shows no credentials."""
    faults.answers = [fault.json({"metadata": {}})]
    with pytest.raises(errors.TemporaryError, match="uid"):
        faulty.uid()
    assert repr(faulty) == f"<Cluster home at {faults.url}>"


def test_a_stream_that_goes_silent_is_given_up(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A read that takes longer than the timeout is a TemporaryError."""
    hold = threading.Event()
    faults.answers = [fault.Answer(body=b"{}", wait=hold)]
    try:
        with pytest.raises(errors.TemporaryError, match="ReadTimeoutError"):
            faulty.request("GET", "/api", timeout=0.2)
    finally:
        hold.set()


def test_a_damaged_discovery_is_no_small_one(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A discovery document that is not whole raises: types must not seem to be gone."""
    for document in ({}, {"kind": "APIGroupDiscoveryList"}, {"kind": "APIGroupDiscoveryList", "items": [{}]}):
        faults.answers = [fault.json(document)]
        with pytest.raises(errors.TemporaryError):
            discovery.discover(faulty)
