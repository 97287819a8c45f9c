"""`reverser doctor` beside what really runs: nothing to complain of, on each API server."""

from __future__ import annotations

import json

from tests.system.cluster import Api, Destination, repo_config
from tests.system.installation import Embedded
from tests.system.repository import Repository


def test_what_runs_is_well(own: Embedded, api: Api, repository: Repository) -> None:
    """In the folder of a running `up` the doctor needs no variable, finds every check OK, and ends with 0."""
    own.start()
    namespace = api.namespace()
    api.create("configmaps", namespace, "settings", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["configmaps"])
    own.wait_seeded(destination.ref)
    done = own.typed("doctor", "--output", "json")
    found = json.loads(done.stdout)
    assert [one for one in found if one["level"] != "OK"] == []
    assert done.returncode == 0
    checks = {"settings", "database", "broker", "watch", "workers", "cluster", "kinds", "objects", "rights", "disk"}
    assert {one["check"] for one in found} == {*checks, "destination"}
    (prod,) = [one for one in found if one["subject"] == f"destination {destination.ref}"]
    assert "the last push" in prod["found"]
