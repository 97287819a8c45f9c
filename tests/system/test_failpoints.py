"""Every failpoint is one that a running installation comes by: one that nothing reaches would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import failpoints
from tests.system.cluster import Api, Destination, rendered, repo_config
from tests.system.installation import PAGE_SIZE, Embedded
from tests.system.repository import Repository
from tests.waiting import wait_until


def test_every_point_is_passed(
    own: Embedded, api: Api, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed of several pages, and a change on top of somebody else's commit: each point is passed on the way."""
    folder = tmp_path / "failpoints"
    folder.mkdir()
    for point in failpoints.POINTS:
        (folder / point).write_text("sleep 0")
    monkeypatch.setenv("REVERSER_FAILPOINTS", str(folder))
    own.start()
    namespace = api.namespace()
    for number in range(PAGE_SIZE + 1):
        api.create("configmaps", namespace, f"settings-{number}", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    own.wait_seeded(destination.ref)
    wanted = rendered(api.list("configmaps", namespace), folder=destination.folder)
    wait_until(lambda: repository.tree() == wanted, what="Git equals the cluster")
    wait_until(lambda: not left(folder), what="the end of each point")


def left(folder: Path) -> list[str]:
    """The points that nothing has come by."""
    return sorted(one.name for one in folder.iterdir() if not one.name.endswith(".fired"))
