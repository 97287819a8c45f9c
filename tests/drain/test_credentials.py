"""Where the credentials of a drain come from, and for how long they are good."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from app import errors, settings
from app.drain import credentials
from app.kube import problems
from app.models import destinations
from tests.drain.world import World


class Cluster:
    """Holds one Secret, or fails as it is told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.password = "one"
        self.asked = 0

    def get_json(self, _path: str, **_options: Any) -> dict[str, Any]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return {"data": {key: base64.b64encode(text.encode()).decode() for key, text in self._values().items()}}

    def _values(self) -> dict[str, str]:
        return {"username": "reverser", "password": self.password}


@pytest.fixture
def cluster() -> Cluster:
    """A cluster with a Secret."""
    return Cluster()


@pytest.fixture
def source(cluster: Cluster) -> credentials.CredentialSource:
    """The credentials of a worker beside it."""
    return credentials.CredentialSource(settings.Settings(), cluster)  # type: ignore[arg-type]


@pytest.fixture
def destination(world: World) -> destinations.Destination:
    """A destination whose repository asks for a password."""
    return dataclasses.replace(world.destination(), transport="https", secret_name="git")


AWAY = errors.TemporaryError("the API server does not answer")
GONE = errors.StalledError("the Secret git is not in namespace shop", reason="SecretNotFound")
FORBIDDEN = problems.Forbidden("may not get secrets")


def test_a_secret_is_read_once_for_a_while(
    source: credentials.CredentialSource, cluster: Cluster, destination: destinations.Destination
) -> None:
    """Then anew, so that a changed one is used; and at once where the remote refused what it said."""
    first = source.of(destination)
    assert (source.of(destination), cluster.asked) == (first, 1)
    cluster.password = "two"
    source.forget(destination)
    assert (source.of(destination) != first, cluster.asked) == (True, 2)


def test_git_goes_on_while_kubernetes_is_away(
    source: credentials.CredentialSource,
    cluster: Cluster,
    destination: destinations.Destination,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read is good until Git refuses it; who never read it waits."""
    cluster.error = AWAY
    with pytest.raises(errors.TemporaryError):
        source.of(destination)
    cluster.error = None
    first = source.of(destination)
    monkeypatch.setattr(credentials, "KEEP_SECONDS", -1.0)
    source.forget(destination)
    assert source.of(destination) == first
    cluster.error = AWAY
    assert source.of(destination) == first
    source.forget(destination)
    with pytest.raises(errors.TemporaryError):
        source.of(destination)


@pytest.mark.parametrize("error", [GONE, FORBIDDEN])
def test_a_secret_that_is_gone_or_refused_is_used_no_more(
    source: credentials.CredentialSource,
    cluster: Cluster,
    destination: destinations.Destination,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """A person took it away: what was read of it does not outlive that."""
    monkeypatch.setattr(credentials, "KEEP_SECONDS", -1.0)
    source.of(destination)
    cluster.error = error
    with pytest.raises(type(error)):
        source.of(destination)
