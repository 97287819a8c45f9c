"""Rules and destinations that change while everything runs: what is new is seeded, what was written stays."""

from __future__ import annotations

import re

import pytest

from app import events
from tests.servers.api import KUBE_ONLY
from tests.system.cluster import Api, Destination, rendered, repo_config
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import wait_until


@pytest.mark.promise("P4")
def test_a_destination_moves(shared: Lane, api: Api, repository: Repository) -> None:
    """On another branch, then in another folder, all is written anew; old files stay, waiting rows do not."""
    namespace = api.namespace()
    for name in ("one", "two"):
        api.create("configmaps", namespace, name, data={"key": "old"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    first = repository.tree()
    assert len(first) == 2

    api.merge("gitrepoconfigs", namespace, config, spec={"push": {"interval": "1h"}})
    api.wait_ready("gitrepoconfigs", namespace, config)
    api.merge("configmaps", namespace, "one", data={"key": "new"})
    wait_until(lambda: shared.pending(destination.ref) == 1, what="a row that waits for push.interval")
    api.merge("gitdestinations", namespace, "prod", spec={"branch": "next"})
    wait_until(lambda: superseded(shared, destination), what="the waiting row is superseded")
    api.merge("gitrepoconfigs", namespace, config, spec={"push": None})
    objects = api.list("configmaps", namespace)
    moved = {**first, **rendered(objects, folder="clusters/prod")}
    wait_until(lambda: repository.tree("next") == moved, what="the new branch")
    assert repository.tree("main") == first
    shared.wait_drained(destination.ref)

    api.merge("gitdestinations", namespace, "prod", spec={"baseFolder": "clusters/other"})
    both = {**moved, **rendered(objects, folder="clusters/other")}
    wait_until(lambda: repository.tree("next") == both, what="the new folder")
    api.merge("configmaps", namespace, "two", data={"key": "newest"})
    latest = {**both, **rendered(api.list("configmaps", namespace), folder="clusters/other")}
    wait_until(lambda: repository.tree("next") == latest, what="a change in the new folder alone")
    assert repository.tree("main") == first
    generations = shared.rows(
        "SELECT p.generation, p.branch, p.base_folder FROM place p JOIN git_destination d ON d.id = p.destination_id "
        "WHERE d.namespace = :namespace ORDER BY p.generation",
        namespace=namespace,
    )
    assert [tuple(row.values())[1:] for row in generations] == [
        ("main", "clusters/prod"),
        ("next", "clusters/prod"),
        ("next", "clusters/other"),
    ]


@pytest.mark.promise("P2", "P10")
def test_what_a_destination_left_behind_goes_when_a_person_says_so(
    shared: Lane, api: Api, repository: Repository
) -> None:
    """It moves, comes back and is deleted: its files stay, are told of, and go where a person wants that."""
    namespace = api.namespace()
    for name in ("one", "two"):
        api.create("configmaps", namespace, name, data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    at_home = repository.tree()
    api.merge("gitdestinations", namespace, "prod", spec={"baseFolder": "clusters/away"})
    both = rendered(api.list("configmaps", namespace), folder="clusters/away")
    wait_until(lambda: repository.tree() == at_home | both, what="the new folder")
    wait_until(lambda: retained(api, namespace) == 2, what="the old files are counted")
    api.delete("configmaps", namespace, "two")
    home, away = (
        rendered(api.list("configmaps", namespace), folder=folder) for folder in ("clusters/prod", "clusters/away")
    )
    wait_until(lambda: repository.tree() == at_home | away, what="the deletion in the new folder")

    # Back in its folder it has its files again, and goes on with them.
    api.merge("gitdestinations", namespace, "prod", spec={"baseFolder": "clusters/prod"})
    wait_until(lambda: repository.tree() == home | away, what="what was deleted meanwhile is gone")
    shared.wait_drained(destination.ref)
    wait_until(lambda: retained(api, namespace) == 1, what="the file of the other folder is counted")
    assert "1 file in clusters/away on main of" in " ".join(shared.reverser("explain", destination.ref).stdout.split())

    done = shared.reverser("prune", destination.ref, "--retired", "--yes")
    where = f"On main of {repository.url}, where {destination.ref} pointed before:"
    assert done.stdout.splitlines() == [where, *away, "1 file is removed from main."]
    assert repository.tree() == home
    wait_until(lambda: retained(api, namespace) == 0, what="nothing is kept")

    api.delete("watchrules", namespace, "prod")
    api.delete("gitdestinations", namespace, "prod")
    words = f"{destination.ref} was deleted and left 1 file in {destination.folder} on main"
    wait_until(lambda: words in shared.reverser("status").stderr, what="what it left is told of")
    refused = shared.reverser("explain", destination.ref)
    assert f"one was deleted, and left 1 file: see `reverser prune {destination.ref} --retired`" in refused.stderr
    assert repository.tree() == home
    done = shared.reverser("prune", destination.ref, "--retired", "--yes")
    where = f"On main of {repository.url}, where {destination.ref} was, before it was deleted:"
    assert done.stdout.splitlines() == [where, *home, "1 file is removed from main."]
    assert repository.tree() == {}
    assert words not in shared.reverser("status").stderr
    assert (
        f"there is no GitDestination {destination.ref}" in shared.reverser("prune", destination.ref, "--retired").stderr
    )
    queue = events.queue_name(events.Ref.parse(destination.ref))
    wait_until(lambda: queue not in shared.bound(), what="its queue is gone again")


def superseded(shared: Lane, destination: Destination) -> bool:
    """Whether a row of the first place was superseded."""
    return any(
        row["found"]
        for row in shared.rows(
            "SELECT count(*) AS found FROM event e JOIN place p ON p.id = e.place_id "
            "JOIN git_destination d ON d.id = p.destination_id "
            "WHERE d.namespace = :namespace AND p.branch = 'main' AND e.state = 'superseded'",
            namespace=destination.namespace,
        )
    )


@pytest.mark.promise("P10")
def test_a_rule_is_deleted(shared: Lane, api: Api, repository: Repository) -> None:
    """What a deleted rule selected stays in Git and is counted; changes of it make no commit any more."""
    namespace = api.namespace()
    for name in ("one", "two"):
        api.create("configmaps", namespace, name, data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    before = repository.tip()
    spec = {"destinationRef": {"name": "prod"}, "rules": [{"resources": ["limitranges"]}]}
    api.create("watchrules", namespace, "other", spec=spec)
    api.wait_ready("watchrules", namespace, "other")
    api.delete("watchrules", namespace, "prod")
    wait_until(lambda: retained(api, namespace) == 2, what="the files are counted")
    api.delete("configmaps", namespace, "one")
    api.merge("configmaps", namespace, "two", data={"key": "unseen"})
    api.create("limitranges", namespace, "seen", spec={"limits": []})
    wait_until(lambda: repository.tip() != before, what="the change that is still selected")
    shared.wait_drained(destination.ref)
    assert repository.commits() == [before, repository.tip()]
    assert {destination.path("configmaps", "one"), destination.path("configmaps", "two")} < repository.tree().keys()


def retained(api: Api, namespace: str) -> int:
    """Files that no rule stands behind, as the status says."""
    return int(api.get("gitdestinations", namespace, "prod").get("status", {}).get("retained", 0))


def ended_watches(api: Api, resource: str) -> int:
    """How many watch requests of a type the API server has seen the end of."""
    found = re.compile(rf'apiserver_request_total{{[^}}]*resource="{resource}"[^}}]*verb="WATCH"[^}}]*}} (\d+)')
    return sum(int(number) for number in found.findall(api.text("/metrics")))


@KUBE_ONLY
def test_a_second_rule_on_a_running_stream(shared: Lane, api: Api, repository: Repository) -> None:
    """A rule for a type that is watched already is seeded by a listing; the stream goes on, and serves both."""
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    first = Destination(api, namespace, "first", repository=config, folder="clusters/first")
    shared.wait_seeded(first.ref)
    before = ended_watches(api, "configmaps")
    second = Destination(api, namespace, "second", repository=config, folder="clusters/second")
    shared.wait_seeded(second.ref)
    api.merge("configmaps", namespace, "one", data={"key": "changed"})
    objects = api.list("configmaps", namespace)
    wanted = {**rendered(objects, folder="clusters/first"), **rendered(objects, folder="clusters/second")}
    wait_until(lambda: repository.tree() == wanted, what="both folders")
    assert ended_watches(api, "configmaps") == before
    assert [row["cause"] for row in seeds(shared, first)] == ["new destination or place"]
    assert len(seeds(shared, second)) == 1


def seeds(shared: Lane, destination: Destination) -> list[dict[str, object]]:
    """The seeds that a destination had."""
    query = (
        "SELECT r.cause FROM seed_run r JOIN git_destination d ON d.id = r.destination_id "
        "WHERE d.namespace = :namespace AND d.name = :name"
    )
    return [dict(row) for row in shared.rows(query, namespace=destination.namespace, name=destination.name)]
