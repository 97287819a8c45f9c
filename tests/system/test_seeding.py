"""Seeds that people ask for, on everything that runs."""

from __future__ import annotations

import pytest

from tests.git import servers
from tests.system.cluster import Api, Destination, rendered, repo_config
from tests.system.installation import Lane
from tests.system.repository import Repository


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
