"""The API servers that a test may run on: the sandbox, which is always there, and a real kube-apiserver in its lane.

A folder's `server` fixture takes `EACH` as its parameters, so that each test runs on both. `KUBE_ONLY` is for what only
the real one has: more users than one, CEL rules, flags. `SANDBOX_ONLY` is for tests that need its faults, or for which
any API server will do.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.servers.kube import KubeServer
from tests.servers.sandbox import SandboxServer

ApiServer = SandboxServer | KubeServer

SANDBOX = "sandbox"
KUBE = pytest.param("kube", marks=pytest.mark.kube)
EACH = (SANDBOX, KUBE)

SANDBOX_ONLY = pytest.mark.parametrize("server", [SANDBOX], indirect=True)
KUBE_ONLY = pytest.mark.parametrize("server", [KUBE], indirect=True)


def make(name: str, folder: Path) -> ApiServer:
    """A server of this name, not started yet."""
    return SandboxServer(folder) if name == SANDBOX else KubeServer(folder)


def token(kubeconfig: Path) -> str:
    """The bearer token of a kubeconfig with one user."""
    (user,) = yaml.safe_load(kubeconfig.read_text())["users"]
    return str(user["user"]["token"])
