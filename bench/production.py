"""Separate processes beside a kube-apiserver, as in production, for parts of the bench that break them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from app import settings
from app.kube import client, crds
from tests.git.servers import free_port
from tests.servers import processes
from tests.servers.kube import KubeServer
from tests.system.cluster import Api
from tests.system.installation import Separate


@contextmanager
def beside_a_cluster(broker_url: str, database_url: str, **chosen: object) -> Iterator[tuple[Separate, Api]]:
    """An installation that is not started, with these settings, and its cluster; both end with the block."""
    with tempfile.TemporaryDirectory(prefix="reverser-bench-", dir=processes.MEMORY) as name:
        folder = Path(name)
        server = KubeServer(folder / "kube")
        options = replace(
            settings.Settings(),
            database_url=database_url,
            broker_url=broker_url,
            kubeconfig=str(server.start()),
            work_dir=folder / "work",
            allow_local_repos=True,
            log_format="json",
            **chosen,  # type: ignore[arg-type]
        )
        lane = Separate(folder, options, flower_port=free_port())
        try:
            crds.apply(client.connect(options), allow_local=True)
            yield lane, Api(server)
        finally:
            lane.stop()
            server.stop()
