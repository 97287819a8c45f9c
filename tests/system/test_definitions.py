"""Types that come, change and go while Reverser runs: rules follow, and a type that is gone takes no file along.

Types are not asked for within the time that a test waits (`CHOSEN` of `installation.py`), so what follows here does so
because a CRD or an APIService changed. How long that took is printed (`pytest -rP`), from the moment when kubectl
returned: docs/reference/watchrule.md promises 5 s. Asserted is only a deadline that a slow machine keeps as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from app import events
from app.rules import paths, rendering, sanitising
from tests.contract import manifests
from tests.servers.api import KUBE_ONLY
from tests.system.cluster import MERGE, Api, Destination, Object, RefusedError, repo_config
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

pytestmark = pytest.mark.kubectl


@dataclass(frozen=True)
class Things:
    """A type of a group of its own, as `kubectl` installs it, and its objects in one namespace."""

    api: Api
    namespace: str
    group: str

    @property
    def resource(self) -> str:
        """As a rule names it."""
        return f"things.{self.group}"

    @property
    def definition(self) -> str:
        """Where its CustomResourceDefinition stands."""
        return manifests.DEFINITIONS.one("", self.resource)

    def define(self, *served: str, off: tuple[str, ...] = ()) -> float:
        """Install these versions, some of them not served; the first one is stored. When kubectl returned."""
        found = manifests.definition(self.group)
        (first,) = found["spec"]["versions"]
        found["spec"]["versions"] = [
            {**first, "name": name, "served": name in served, "storage": not number}
            for number, name in enumerate(sorted({*served, *off}))
        ]
        self.api.kubectl_works("apply", "-f", "-", stdin=yaml.safe_dump(found))
        return time.monotonic()

    def remove(self) -> float:
        """Remove the definition, and with it all objects. When kubectl returned."""
        self.api.kubectl_works("delete", "crd", self.resource)
        return time.monotonic()

    def put(self, name: str, text: str, *, version: str = "v1") -> None:
        """Create an object, as soon as the type is served; how soon is up to the API server."""
        body = manifests.things(self.group, version).new(name, spec={"text": text})

        def made() -> bool:
            with contextlib.suppress(RefusedError):
                return bool(self.api.request("POST", self._all(version), body))
            return False

        wait_until(made, what=f"{self.resource} takes an object")

    def change(self, name: str, text: str, *, version: str = "v1") -> None:
        """Change an object."""
        self.api.request("PATCH", f"{self._all(version)}/{name}", {"spec": {"text": text}}, kind=MERGE)

    def files(self, *names: str, version: str = "v1", folder: str = "clusters/prod") -> dict[str, bytes]:
        """The files that these objects are."""
        found = {self.path(name, version=version, folder=folder): self._get(name, version) for name in names}
        return {path: rendering.render(sanitising.sanitise(one)) for path, one in found.items()}

    def path(self, name: str, *, version: str = "v1", folder: str = "clusters/prod") -> str:
        """Where the file of an object stands."""
        identifier = events.Identifier(self.group, version, "things", self.namespace, name, "Thing", "uid")
        return paths.object_path(folder, identifier)

    def _get(self, name: str, version: str) -> Object:
        return self.api.request("GET", f"{self._all(version)}/{name}")

    def _all(self, version: str) -> str:
        return manifests.things(self.group, version).all(self.namespace)


@pytest.fixture
def things(api: Api) -> Iterator[Things]:
    """A type that is not installed yet; gone after the test."""
    one = Things(api, api.namespace(), manifests.new_group())
    yield one
    with contextlib.suppress(RefusedError):
        api.request("DELETE", one.definition)


def followed(since: float, what: str) -> None:
    """Print how long it took until Reverser had followed."""
    print(f"{what}: {time.monotonic() - since:.2f} s after kubectl returned")  # noqa: T201 - pytest keeps it for -rP


def selecting(api: Api, things: Things, repository: Repository, *resources: str) -> Destination:
    """A destination for the type and these."""
    config = repo_config(api, things.namespace, "local", repository.url)
    return Destination(api, things.namespace, "prod", repository=config, resources=[things.resource, *resources])


def wait_problem(api: Api, destination: Destination, reason: str) -> str:
    """Wait until the rule has exactly one problem, of this reason; its message."""

    def told() -> str:
        status = api.get("watchrules", destination.namespace, destination.name).get("status") or {}
        found = status.get("problems") or []
        return str(found[0]["message"]) if [one["reason"] for one in found] == [reason] else ""

    return wait_until(told, what=f"the problem {reason}")


def wait_retained(api: Api, destination: Destination, count: int) -> None:
    """Wait until the destination counts so many files that nothing stands behind any more."""

    def counted() -> bool:
        status = api.get("gitdestinations", destination.namespace, destination.name).get("status") or {}
        return status.get("retained") == count

    wait_until(counted, what=f"status.retained is {count}")


def removed(repository: Repository) -> list[str]:
    """Every file that a commit ever removed."""
    return repository.git("log", "--diff-filter=D", "--no-renames", "--name-only", "--format=", "main").split()


def answers(things: Things, version: str = "v1") -> bool:
    """Whether the type can be read."""
    with contextlib.suppress(RefusedError):
        return bool(things.files("one", version=version))
    return False


@contextlib.contextmanager
def frozen(lane: Lane) -> Iterator[None]:
    """The watch daemon sees nothing meanwhile; when it wakes up, the streams that it needs are not there any more."""
    watch = lane.pid("watch")
    os.kill(watch, signal.SIGSTOP)
    try:
        yield
    finally:
        # Its supervisor may have replaced it, because its lease is over.
        with contextlib.suppress(ProcessLookupError):
            os.kill(watch, signal.SIGCONT)


@pytest.mark.promise("P1", "P2")
def test_a_type_is_added_and_removed(shared: Lane, api: Api, things: Things, repository: Repository) -> None:
    """A rule on a type that is not served becomes ready when it is; the deletes that end the type are mirrored."""
    destination = selecting(api, things, repository)
    said = api.wait_for_reason("watchrules", things.namespace, "prod", "NotServed")
    assert said == f"{things.resource} is not served in this cluster: check plural and apiGroups, or install its CRD"

    since = things.define("v1")
    things.put("one", "first")
    wait_until(lambda: repository.tree() == things.files("one"), what="the first object")
    followed(since, "a new type: its first object is in Git")
    api.wait_ready("watchrules", things.namespace, "prod")
    followed(since, "a new type: the rule is ready")
    status = api.get("watchrules", things.namespace, "prod")["status"]
    assert (status["resolvedTypes"], status["problems"]) == ([f"{things.group}/v1/things"], [])
    things.put("two", "second")
    wait_until(lambda: repository.tree() == things.files("one", "two"), what="the second object")

    since = things.remove()
    api.wait_for_reason("watchrules", things.namespace, "prod", "NotServed")
    followed(since, "a removed type: the rule says so")
    wait_until(lambda: repository.tree() == {}, what="the deletes")
    shared.wait_drained(destination.ref)
    rows = shared.rows(
        "SELECT operation, name, state FROM event WHERE namespace = :namespace ORDER BY sequence",
        namespace=things.namespace,
    )
    deleted = sorted((row["name"], row["state"]) for row in rows if row["operation"] == "DELETE")
    assert deleted == [("one", "pushed"), ("two", "pushed")]


@pytest.mark.promise("P1", "P2")
def test_a_type_is_replaced(shared: Lane, api: Api, things: Things, repository: Repository) -> None:
    """A definition that is removed and installed again at once loses its objects; the next one is mirrored soon."""
    things.define("v1")
    things.put("one", "first")
    destination = selecting(api, things, repository)
    wait_until(lambda: repository.tree() == things.files("one"), what="the first object")
    shared.wait_seeded(destination.ref)
    things.remove()
    since = things.define("v1")
    things.put("two", "second")
    wait_until(lambda: repository.tree() == things.files("two"), what="the second object alone")
    followed(since, "a type that was replaced: its first object is in Git")


@pytest.mark.promise("P2")
def test_a_type_gets_another_version(shared: Lane, api: Api, things: Things, repository: Repository) -> None:
    """A destination holds one version of a type: its files move to the preferred one, where its rule names none."""
    things.define("v1")
    things.put("one", "first")
    destination = selecting(api, things, repository)
    pinned = Destination(api, things.namespace, "pinned", repository="local", folder="pinned")
    rules = [{"resources": [things.resource], "apiVersions": ["v1"]}]
    api.merge("watchrules", things.namespace, "pinned", spec={"rules": rules})
    kept = things.files("one", folder="pinned")
    wait_until(lambda: repository.tree() == things.files("one") | kept, what="both destinations")

    since = things.define("v1", "v2")
    wait_until(lambda: answers(things, "v2"), what="v2 is served")
    wanted = things.files("one", version="v2") | kept
    wait_until(lambda: repository.tree() == wanted, what="the file of v2")
    followed(since, "a preferred version: the file has moved")
    shared.wait_drained(destination.ref)
    things.change("one", "changed")
    kept = things.files("one", folder="pinned")
    wanted = things.files("one", version="v2") | kept
    wait_until(lambda: repository.tree() == wanted, what="one change in both")
    assert removed(repository) == [things.path("one")]

    since = things.define("v2", off=("v1",))
    said = wait_problem(api, pinned, "OtherVersionOnly")
    followed(since, "a version that is not served any more: the rule says so")
    assert said == f"{things.resource} is served as v2 only: correct apiVersions, or leave it empty"
    wait_retained(api, pinned, 1)
    things.change("one", "again", version="v2")
    wanted = things.files("one", version="v2") | kept
    wait_until(lambda: repository.tree() == wanted, what="the change in v2 alone")
    assert removed(repository) == [things.path("one")]


@pytest.mark.promise("P3", "P10")
def test_a_type_that_is_not_served_keeps_its_files(
    shared: Lane, api: Api, things: Things, repository: Repository
) -> None:
    """While a type answers 404 its files are kept and counted, whatever becomes of its objects; back, it is listed."""
    things.define("v1")
    things.put("one", "first")
    things.put("two", "second")
    destination = selecting(api, things, repository, "configmaps")
    before = things.files("one", "two")
    wait_until(lambda: repository.tree() == before, what="both objects")
    shared.wait_seeded(destination.ref)

    since = things.define(off=("v1",))
    wait_problem(api, destination, "NotServed")
    followed(since, "a type that answers 404: the rule says so")
    wait_retained(api, destination, 2)
    assert repository.tree() == before
    commits = repository.commits()
    since = things.define("v1")
    wait_until(lambda: len(resolved(api, destination)) == 2, what="the type is back")
    followed(since, "a type that is back: the rule is ready")
    wait_until(lambda: count_seeds(shared, destination) == 2, what="it is listed again")
    shared.wait_seeded(destination.ref)
    assert repository.commits() == commits

    things.define(off=("v1",))
    wait_problem(api, destination, "NotServed")
    things.remove()
    wait_until(lambda: not served(api, things), what="the definition and its objects are gone")
    api.create("configmaps", things.namespace, "marker", data={"key": "value"})
    marker = destination.path("configmaps", "marker")
    wait_until(lambda: repository.read(marker), what="the other type goes on")
    assert repository.tree().keys() == {*before, marker}
    with frozen(shared):
        things.define("v1")
        things.put("one", "first")
    wait_until(lambda: things.path("two") not in repository.tree(), what="the object that is gone")
    shared.wait_seeded(destination.ref)
    assert removed(repository) == [things.path("two")]
    assert repository.tree().items() >= things.files("one").items()


def count_seeds(lane: Lane, destination: Destination) -> int:
    """How many seeds the destination had."""
    query = (
        "SELECT count(*) AS found FROM seed_run r JOIN git_destination d ON d.id = r.destination_id "
        "WHERE d.namespace = :namespace AND d.name = :name"
    )
    (row,) = lane.rows(query, namespace=destination.namespace, name=destination.name)
    return int(row["found"])


def resolved(api: Api, destination: Destination) -> list[str]:
    """The types that the rule of a destination resolved to."""
    status = api.get("watchrules", destination.namespace, destination.name).get("status") or {}
    return list(status.get("resolvedTypes") or ())


def served(api: Api, things: Things) -> bool:
    """Whether the definition is still there."""
    with contextlib.suppress(RefusedError):
        return bool(api.request("GET", things.definition))
    return False


@contextlib.contextmanager
def no_server(api: Api, things: Things, group: str) -> Iterator[None]:
    """Meanwhile, a group is registered with a server that is nowhere."""
    services, name = "/apis/apiregistration.k8s.io/v1/apiservices", f"v1.{group}"
    spec = {
        "group": group,
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": things.namespace, "name": "nobody"},
    }
    try:
        if group == things.group:
            # Without its label, the API server leaves the registration of the group to whoever wrote it.
            metadata = {"labels": {"kube-aggregator.kubernetes.io/automanaged": None}}
            api.request("PATCH", f"{services}/{name}", {"metadata": metadata, "spec": spec}, kind=MERGE)
        else:
            api.request("POST", services, {"metadata": {"name": name}, "spec": spec})
        yield
    finally:
        api.request("DELETE", f"{services}/{name}")


@KUBE_ONLY
@pytest.mark.promise("P3", "P10")
def test_a_type_whose_server_is_away_keeps_its_files(
    shared: Lane, api: Api, things: Things, repository: Repository
) -> None:
    """A group whose APIService has no server is not gone: no file moves, other types go on, and it is resumed."""
    ghosts = manifests.new_group()
    things.define("v1")
    things.put("one", "first")
    destination = selecting(api, things, repository, "configmaps")
    before = things.files("one")
    wait_until(lambda: repository.tree() == before, what="the object")
    shared.wait_seeded(destination.ref)
    commits = repository.commits()

    with no_server(api, things, ghosts), no_server(api, things, things.group):
        wait_until(lambda: not answers(things), what="the type is away")
        # The rule is compiled anew, with what the cluster says by now.
        destination.select(things.resource, f"ghosts.{ghosts}", "configmaps", "limitranges")
        api.create("configmaps", things.namespace, "marker", data={"key": "value"})
        marker = destination.path("configmaps", "marker")
        wait_until(lambda: repository.read(marker), what="the other type goes on")
        said = wait_problem(api, destination, "NotServed")
        assert said.startswith(f"ghosts.{ghosts} is not served in this cluster: the API server of {ghosts} does not")
        assert resolved(api, destination) == [f"{things.group}/v1/things", "v1/configmaps", "v1/limitranges"]
        assert repository.tree().keys() == {*before, marker}
    wait_until(lambda: answers(things), what="the type is back")
    things.change("one", "changed")
    wait_until(lambda: repository.tree().items() >= things.files("one").items(), what="its next change")
    assert len(repository.commits()) == len(commits) + 2
    assert not removed(repository)
