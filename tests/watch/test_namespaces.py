"""The labels of namespaces, followed on each API server: what is known, what is not, and what nobody asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson
import pytest

from app import errors, events
from app.kube import client, paths, watching
from app.rules import labels
from app.settings import Settings
from app.watch import following, namespaces
from tests.kube import objects
from tests.servers.api import EACH, KUBE_ONLY, SANDBOX_ONLY, ApiServer, make
from tests.servers.sandbox import SandboxServer
from tests.waiting import wait_until

NOBODY: namespaces.Selectors = frozenset()
TEAM_A = frozenset({labels.LabelSelector((labels.Requirement("team", labels.IN, ("a",)),))})


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for all tests."""
    with make(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(server: ApiServer) -> Iterator[client.Cluster]:
    """The API server as its administrator sees it."""
    cluster = client.connect(Settings(kubeconfig=str(server.kubeconfig())))
    yield cluster
    cluster.close()


@contextlib.contextmanager
def running(kubeconfig: Path) -> Iterator[namespaces.Namespaces]:
    """A follower with its thread."""
    settings = Settings(kubeconfig=str(kubeconfig), watch_timeout=60.0)
    stop, cluster = threading.Event(), client.connect(settings)
    followed = namespaces.Namespaces(settings, cluster, changed=threading.Event(), stop=stop)
    thread = threading.Thread(target=followed.run)
    thread.start()
    try:
        yield followed
    finally:
        stop.set()
        followed.close()
        thread.join(20)
        cluster.close()
        assert not thread.is_alive(), "it ends at once, wherever it is"


@pytest.fixture
def followed(server: ApiServer) -> Iterator[namespaces.Namespaces]:
    """A follower that nobody wants anything of yet."""
    with running(server.kubeconfig()) as followed:
        yield followed


def known(followed: namespaces.Namespaces, name: str) -> Callable[[], Mapping[str, str] | None]:
    """The labels of one namespace, once they are known."""
    return lambda: (followed.labels or {}).get(name)


def team(labels: Mapping[str, str] | None) -> str:
    """The label that these tests change."""
    return (labels or {}).get("team", "")


def relabel(cluster: client.Cluster, name: str, **labels: str | None) -> None:
    """Change labels of a namespace."""
    objects.patch(cluster, objects.NAMESPACES, events.Ref("", name), {"metadata": {"labels": labels}})


def end(cluster: client.Cluster, name: str) -> None:
    """Delete a namespace as its controller would in the end."""
    ref = events.Ref("", name)
    objects.delete(cluster, objects.NAMESPACES, ref)
    with contextlib.suppress(errors.ReverserError):
        raw = cluster.get_json(paths.single(objects.NAMESPACES, ref))
        body = orjson.dumps({**raw, "spec": {"finalizers": []}})
        cluster.request("PUT", f"{paths.single(objects.NAMESPACES, ref)}/finalize", body=body)


def test_nobody_is_asked_before_a_rule_needs_it(followed: namespaces.Namespaces) -> None:
    """Without a rule that selects namespaces nothing is known and nothing has to be waited for."""
    assert followed.want(NOBODY)
    assert followed.labels is None


def test_labels_are_known_and_followed(followed: namespaces.Namespaces, cluster: client.Cluster) -> None:
    """What is there is listed, what changes is seen, and what is gone is not known any more."""
    place = objects.namespace(cluster)
    followed.want(TEAM_A)
    wait_until(known(followed, place))
    assert followed.want(TEAM_A)
    followed._changed.clear()
    relabel(cluster, place, team="a")
    wait_until(lambda: team(known(followed, place)()) == "a")
    assert followed._changed.wait(10)
    followed._changed.clear()
    end(cluster, place)
    wait_until(lambda: known(followed, place)() is None)
    assert followed._changed.wait(10)


def test_a_list_that_is_read_again_is_compared() -> None:
    """After a watch that broke off, what selectors answer decides as well; what is known is the list all the same."""
    followed = namespaces.Namespaces(Settings(), None, changed=threading.Event(), stop=threading.Event())  # type: ignore[arg-type]
    assert not followed.want(TEAM_A)
    news = []
    for labels_of_one in ({"team": "a"}, {"team": "a", "noise": "b"}, {"team": "b"}, {"noise": "b"}):
        followed._changed.clear()
        followed._replace({"one": labels_of_one, "another": {}})
        assert followed.labels == {"one": labels_of_one, "another": {}}
        news.append(followed._changed.is_set())
    assert news == [True, False, True, False]


@pytest.mark.parametrize(
    "metadata", [{"annotations": {"a": "b"}}, {"labels": {"noise": "b"}}, {"labels": {"team": "b"}}]
)
def test_what_no_selector_answers_otherwise_to_is_no_news(
    followed: namespaces.Namespaces, cluster: client.Cluster, metadata: Mapping[str, Mapping[str, str]]
) -> None:
    """An annotation, a label that nobody asks for, or one that selects nobody: nothing is compiled again."""
    place = objects.namespace(cluster)
    followed.want(TEAM_A)
    wait_until(known(followed, place))
    followed._changed.clear()
    seen, take = threading.Event(), followed._take

    def taken(change: watching.Change) -> None:
        take(change)
        if change.object["metadata"]["name"] == place:
            seen.set()

    followed._take = taken  # type: ignore[method-assign]
    objects.patch(cluster, objects.NAMESPACES, events.Ref("", place), {"metadata": metadata})
    assert seen.wait(10)
    assert not followed._changed.is_set()


def test_what_nobody_wants_is_forgotten_and_known_again(
    followed: namespaces.Namespaces, cluster: client.Cluster
) -> None:
    """When the last such rule goes, the stream ends; for the next one, the labels are those of then."""
    place = objects.namespace(cluster)
    followed.want(TEAM_A)
    wait_until(known(followed, place))
    followed.want(NOBODY)
    assert followed.labels is None
    wait_until(lambda: not followed._follower._connections)
    relabel(cluster, place, team="b")
    followed.want(TEAM_A)
    wait_until(lambda: team(known(followed, place)()) == "b")


@KUBE_ONLY
def test_a_refusal_is_said_with_the_rule_to_add(server: ApiServer) -> None:
    """Who may not list namespaces gets no empty list: nothing is known, and the status gets what to grant."""
    with running(server.kubeconfig("bob")) as followed:
        assert not followed.want(TEAM_A)
        assert followed._changed.wait(10)
        assert followed.want(TEAM_A)
        assert followed.labels is None
        assert 'resources: ["namespaces"]' in followed.problem


@SANDBOX_ONLY
def test_known_labels_stay_through_a_refusal(
    server: SandboxServer, cluster: client.Cluster, followed: namespaces.Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that is taken away later changes no membership: the last labels count, and the status says why."""
    monkeypatch.setattr(following, "REFUSED_WAIT", 0.05)
    place = objects.namespace(cluster)
    relabel(cluster, place, team="a")
    followed.want(TEAM_A)
    wait_until(lambda: team(known(followed, place)()) == "a")
    server.fault("answer", status=403, path="/namespaces\\?", verb="", times=0)
    server.fault("drop", path="/namespaces\\?")
    wait_until(lambda: followed.problem, what="the refusal")
    assert team(known(followed, place)()) == "a"
    relabel(cluster, place, team="b")
    server.clear_faults()
    wait_until(lambda: team(known(followed, place)()) == "b")
    wait_until(lambda: not followed.problem, what="an end of the refusal")


@SANDBOX_ONLY
def test_a_refusal_to_watch_is_said_once(
    server: SandboxServer, followed: namespaces.Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may list namespaces and not watch them has the labels of each list, and a status that goes not to and fro."""
    monkeypatch.setattr(following, "REFUSED_WAIT", 0.05)
    said: list[str] = []
    replace = followed._replace

    def replaced(found: dict[str, namespaces.Labels]) -> None:
        replace(found)
        said.append(followed.problem)

    server.fault("answer", status=403, path="/namespaces\\?", verb="watch", times=0)
    followed.want(TEAM_A)
    wait_until(lambda: followed.problem, what="the refusal")
    followed._replace = replaced  # type: ignore[method-assign]
    wait_until(lambda: said, what="the next list")
    followed._changed.clear()
    wait_until(lambda: len(said) > 3, what="more lists")
    assert all(said)
    assert not followed._changed.is_set()
    server.clear_faults()
    wait_until(lambda: not followed.problem, what="an end of the refusal")
    assert followed._changed.wait(10)


@SANDBOX_ONLY
def test_a_cluster_that_does_not_answer_holds_nobody_up_for_ever(
    server: SandboxServer, followed: namespaces.Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few seconds of failures the other rules go on without it; the next answer is taken all the same."""
    monkeypatch.setattr(namespaces, "PATIENCE", 0.5)
    server.fault("answer", status=500, path="/namespaces\\?", verb="list", times=0)
    assert not followed.want(TEAM_A)
    wait_until(lambda: followed.want(TEAM_A), what="an end of the patience")
    assert followed.labels is None
    server.clear_faults()
    wait_until(lambda: followed.labels, what="the labels")
