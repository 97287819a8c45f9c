"""What changes nothing in an object makes no commit, however often it happens; a restart makes none, and no push."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable

import pytest

from app import events, publishing, queues
from tests.git import servers
from tests.system.cluster import MERGE, Api, Destination, deployment, git_secret, rendered, repo_config, single
from tests.system.installation import Embedded, Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

log = logging.getLogger(__name__)

UPDATES = 60
REPEATED = 50


def churn_status(api: Api, namespace: str, number: int) -> None:
    """A controller reports: only the status moves."""
    path = single("deployments", namespace, "web") + "/status"
    status = {"observedGeneration": 1, "replicas": number + 1, "unavailableReplicas": number + 1}
    api.request("PATCH", path, {"status": status}, kind=MERGE)


def churn_managers(api: Api, namespace: str, number: int) -> None:
    """Another field manager applies what stands there already: only managedFields move."""
    api.apply("configmaps", namespace, "settings", manager=f"manager-{number}", data={"key": "value"})


def apply_again(api: Api, namespace: str, _number: int) -> None:
    """The same manifest once more, with server-side apply and as a merge."""
    api.apply("configmaps", namespace, "settings", manager="again", data={"key": "value"})
    api.merge("configmaps", namespace, "settings", data={"key": "value"})


@pytest.mark.promise("P3")
@pytest.mark.parametrize("churn", [churn_status, churn_managers, apply_again], ids=lambda churn: churn.__name__)
def test_updates_without_a_change(
    shared: Lane, api: Api, repository: Repository, churn: Callable[[Api, str, int], None]
) -> None:
    """Updates that change nothing of what Git holds make 0 commits; the one real change after them makes exactly 1."""
    namespace = api.namespace()
    api.create("configmaps", namespace, "settings", data={"key": "value"})
    api.create("deployments", namespace, "web", spec=deployment())
    config = repo_config(api, namespace, "local", repository.url)
    resources = ["configmaps", "deployments"]
    destination = Destination(api, namespace, "prod", repository=config, resources=resources)
    shared.wait_seeded(destination.ref)
    before, events = repository.commits(), count_events(shared, namespace)
    for number in range(UPDATES):
        churn(api, namespace, number)
    api.merge("configmaps", namespace, "settings", data={"real": "change"})
    api.merge("deployments", namespace, "web", spec={"replicas": 2})
    wait_until(lambda: len(repository.commits()) >= len(before) + 2, what="the real changes")
    shared.wait_drained(destination.ref)
    log.info(f"{UPDATES} updates: {len(repository.commits()) - len(before) - 2} commits, then one for each real change")
    assert len(repository.commits()) == len(before) + 2
    assert count_events(shared, namespace) == events + 2
    objects = [one for resource in resources for one in api.list(resource, namespace)]
    assert repository.tree() == rendered(objects, folder=destination.folder)


def count_events(lane: Lane, namespace: str) -> int:
    """Rows of the ledger about objects of a namespace."""
    (row,) = lane.rows("SELECT count(*) AS found FROM event WHERE namespace = :namespace", namespace=namespace)
    return int(row["found"])


@pytest.mark.promise("P7")
def test_messages_that_come_again(shared: Lane, api: Api, repository: Repository) -> None:
    """Messages about rows that are done, in any order and many at a time, make no commit; the next change makes one."""
    namespace = api.namespace()
    api.create("configmaps", namespace, "settings", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    before, ref = repository.commits(), events.Ref(namespace, "prod")
    with contextlib.closing(publishing.Publisher(shared.options)) as publisher:
        for number in reversed(range(REPEATED)):
            publisher.ring(ref, 1, number % 3)
        wait_until(lambda: publisher.published == REPEATED, what="the messages are sent")
    wait_until(lambda: queues.queue_depths(shared.options, [ref]) == {ref: 0}, what="the queue gets empty")
    assert repository.commits() == before
    api.merge("configmaps", namespace, "settings", data={"real": "change"})
    wait_until(lambda: repository.tip() != before[-1], what="the real change")
    shared.wait_drained(destination.ref)
    assert repository.commits() == [*before, repository.tip()]


def pushes(host: servers.HttpsGitServer) -> int:
    """How often somebody pushed."""
    return sum(bool(re.fullmatch(r"POST .*/git-receive-pack", request)) for request in host.requests)


@pytest.mark.promise("P3")
def test_restart_of_everything(own: Embedded, api: Api, https_host: servers.HttpsGitServer) -> None:
    """After `down` and `up` on an unchanged cluster there are 0 commits and 0 pushes; then one change makes one."""
    repository = Repository(https_host.repository("shop"), https_host.url("shop"))
    namespace = api.namespace()
    for number in range(40):
        api.create("configmaps", namespace, f"settings-{number}", data={"key": str(number)})
    robot = git_secret(api, namespace, "robot", https_host.credentials)
    config = repo_config(api, namespace, "https", repository.url, secret=robot)
    destination = Destination(api, namespace, "prod", repository=config)
    own.start()
    own.wait_seeded(destination.ref)
    before, pushed, events = repository.commits(), pushes(https_host), count_events(own, namespace)
    assert pushed >= 1
    own.stop()
    own.start()
    api.wait_ready("watchrules", namespace, "prod")
    api.merge("configmaps", namespace, "settings-7", data={"real": "change"})
    wait_until(lambda: repository.tip() != before[-1], what="the real change")
    own.wait_drained(destination.ref)
    assert repository.commits() == [*before, repository.tip()], "one commit, that of the change"
    assert repository.git("show", "--format=", "--name-only", "main") == destination.path("configmaps", "settings-7")
    assert (pushes(https_host), count_events(own, namespace)) == (pushed + 1, events + 1)
    assert repository.tree() == rendered(api.list("configmaps", namespace), folder=destination.folder)
