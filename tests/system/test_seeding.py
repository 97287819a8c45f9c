"""Seeds that people ask for, on everything that runs."""

from __future__ import annotations

import pytest

from tests.git import servers
from tests.system.cluster import Api, Destination, rendered, repo_config
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import wait_until


@pytest.mark.promise("P2", "P3")
def test_a_person_asks_for_a_seed(shared: Lane, api: Api, repository: Repository) -> None:
    """What is right makes no commit; what somebody changed in Git is put right; who asked is written down."""
    namespace = api.namespace()
    for name in ("one", "two", "three"):
        api.create("configmaps", namespace, name, data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    wanted, before = repository.tree(), repository.commits()
    assert wanted == rendered(api.list("configmaps", namespace), folder="clusters/prod")

    done = shared.reverser("seed", destination.ref, "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"A seed of {destination.ref} is asked for.",
        f"{destination.ref} is seeded: 3 objects, 3 unchanged.",
    ]
    assert repository.commits() == before

    for path in (*sorted(wanted)[:2], "README.md"):
        servers.commit_file(repository.path, path, "by hand\n")
    verified = shared.reverser("verify", destination.ref)
    assert (verified.returncode, verified.stdout.count("the file is not what the object is written as")) == (1, 2)
    done = shared.reverser("seed", destination.ref, "--wait")
    assert done.stdout.splitlines()[-1] == f"{destination.ref} is seeded: 3 objects, 2 pushed, 1 unchanged."
    verified = shared.reverser("verify", destination.ref)
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "Cluster, Git and record agree.")
    assert repository.tree() == {**wanted, "README.md": b"by hand\n"}
    asked = shared.rows("SELECT verb, outcome FROM command WHERE target = :target", target=destination.ref)
    assert [tuple(row.values()) for row in asked] == [("seed", "started")] * 2


@pytest.mark.promise("P2", "P10")
def test_many_files_go_when_a_person_says_so(shared: Lane, api: Api, repository: Repository) -> None:
    """A seed that finds most objects gone removes none of their files, says how many and asks; then they go."""
    namespace = api.namespace()
    for number in range(25):
        api.create("configmaps", namespace, f"n{number}", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["configmaps", "limitranges"])
    shared.wait_seeded(destination.ref)
    before = repository.tree()
    assert len(before) == 25

    # Nobody sees these deletions.
    destination.select("limitranges")
    wait_until(lambda: api.get("gitdestinations", namespace, "prod")["status"].get("retained") == 25, what="the rule")
    for number in range(24):
        api.delete("configmaps", namespace, f"n{number}")
    destination.select("configmaps", "limitranges")
    wait_until(lambda: _stalled(api, namespace) == "PruneHeld", what="the condition")
    assert repository.tree() == before
    explained = shared.reverser("explain", destination.ref)
    assert "24 of them kept, whose objects are gone" in explained.stdout
    assert explained.stdout.count("  gone      ") == 11
    assert shared.reverser("verify", destination.ref).returncode == 1

    done = shared.reverser("seed", destination.ref, "--wait")
    assert done.returncode == 1
    assert f"let it pass with `reverser seed {destination.ref} --allow-prune 24`" in done.stderr
    assert repository.tree() == before
    # What goes on is mirrored meanwhile.
    api.create("configmaps", namespace, "another", data={"key": "value"})
    wait_until(lambda: len(repository.tree()) == 26, what="another file")

    done = shared.reverser("seed", destination.ref, "--allow-prune", "24", "--wait")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0, f"{destination.ref} is seeded: 2 objects, 2 unchanged, 24 removed.",
    )  # fmt: skip
    assert repository.tree() == rendered(api.list("configmaps", namespace), folder="clusters/prod")
    wait_until(lambda: _stalled(api, namespace) == "Ready", what="nobody has to act")
    assert shared.reverser("verify", destination.ref).returncode == 0


@pytest.mark.promise("P2", "P10")
def test_what_a_rule_left_behind_goes_when_a_person_says_so(shared: Lane, api: Api, repository: Repository) -> None:
    """It is shown first, and goes in one commit with who asked; a rule that selects it again has it written again."""
    namespace = api.namespace()
    for name in ("one", "two"):
        api.create("configmaps", namespace, name, data={"key": "value"})
    api.create("limitranges", namespace, "limits", spec={"limits": []})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["configmaps", "limitranges"])
    shared.wait_seeded(destination.ref)
    before, files = repository.commits(), repository.tree()
    destination.select("limitranges")
    wait_until(lambda: _retained(api, namespace) == 2, what="the files are counted")

    refused = shared.reverser("prune", destination.ref, "--retired")
    assert (refused.returncode, repository.commits()) == (1, before)
    assert refused.stdout.splitlines() == [destination.path("configmaps", name) for name in ("one", "two")]
    done = shared.reverser("prune", destination.ref, "--retired", "--yes")
    assert done.stdout.splitlines()[-1] == "2 files are removed from main."
    assert set(repository.tree()) == {destination.path("limitranges", "limits")}
    assert repository.commits()[:-1] == before
    assert repository.git("log", "-1", "--format=%s").startswith(f"[PRUNE] 2 files of {destination.ref} by user/")
    wait_until(lambda: _retained(api, namespace) == 0, what="nothing is kept")
    assert "keeps no file" in shared.reverser("prune", destination.ref, "--retired").stdout

    destination.select("configmaps", "limitranges")
    wait_until(lambda: repository.tree() == files, what="the files are back")


def _retained(api: Api, namespace: str) -> int:
    status = api.get("gitdestinations", namespace, "prod").get("status") or {}
    return int(status.get("retained", 0))


def _stalled(api: Api, namespace: str) -> str:
    """Why a person has to act, or that nobody has to."""
    status = api.get("gitdestinations", namespace, "prod").get("status") or {}
    return next((str(one["reason"]) for one in status.get("conditions", ()) if one["type"] == "Stalled"), "")
