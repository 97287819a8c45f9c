"""What comes back, how soon, and what it costs: leaders and holders that die and freeze, restarts, a Git host away.

Separate processes on a kube-apiserver, PostgreSQL and Redis. Each part ends with Git equal to the cluster and the
record equal to Git, or fails. Neighbours: `faults.py` has many destinations and a full machine.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import installation, production, servers
from tests.git.servers import HttpsGitServer
from tests.system import checking, fleet
from tests.system.cluster import Api, Destination, git_secret, repo_config
from tests.system.installation import Separate
from tests.system.load import Load, running
from tests.system.repository import Repository
from tests.waiting import wait_until

WATCHERS, WORKERS, DESTINATIONS, PER_SECOND = ("watch", "watch-2"), 2, 4, 20.0
# Longer than the lease of the leader, and of a branch, in seconds.
FREEZE_LEADER, FREEZE_HOLDER = 12.0, 8.0
# How long a standby takes until it is one, and how long nobody may have anything to push, in seconds.
STANDBY, QUIET = 5.0, 10.0
WRITERS = 8


def failover(each: int) -> dict[str, Any]:
    """The leader and an active worker are killed and frozen, `each` times; on Redis."""
    print(
        f"\n{len(WATCHERS)} watch daemons, {WORKERS} workers, {DESTINATIONS} destinations, {PER_SECOND:g} changes/s: "
        f"each {each} times"
    )
    with _production() as (lane, api):
        one = fleet.Fleet(lane, api, workers=WORKERS, destinations=DESTINATIONS, per_second=PER_SECOND)
        with one.running():
            for name in WATCHERS[1:]:
                lane.add(name)
            for number in range(each):
                threading.Event().wait(STANDBY)
                one.end_leader()
                one.end("worker SIGKILL", one.workers[number % WORKERS], signal.SIGKILL)
                one.freeze_leader(seconds=FREEZE_LEADER)
                one.freeze(one.workers[number % WORKERS], seconds=FREEZE_HOLDER)
                print(f"  {number + 1} of {each}", flush=True)
        return _told(one)


def _told(one: fleet.Fleet) -> dict[str, Any]:
    """Seconds from each fault to the first pushed commit, and until all destinations that it met are served again."""
    print(f"  {'':<16}{'times':>8}{'first commit s':>16}{'longest':>9}{'all served s':>14}{'longest':>9}")
    found: dict[str, Any] = {}
    for what in dict.fromkeys(fault.what for fault in one.faults):
        served = [one.served_again(fault) for fault in one.faults if fault.what == what]
        first, last = [seconds[0] for seconds in served], [seconds[-1] for seconds in served]
        found[what] = {
            "times": len(served),
            "first_commit_median_s": statistics.median(first), "first_commit_max_s": max(first),
            "all_served_median_s": statistics.median(last), "all_served_max_s": max(last),
        }  # fmt: skip
        print(f"  {what:<16}" + "".join(f"{value:>{width}.{digits}f}" for value, width, digits in zip(
            found[what].values(), (8, 16, 9, 14, 9), (0, 2, 2, 2, 2), strict=True)))  # fmt: skip
    made, lags = sum(each.seq for each in one.loads), sorted(each.lag for each in one.arrivals)
    print(f"  {made:,} changes, {len(lags):,} numbers in Git; rows {one.states}")
    return found | {"changes": made, "numbers_in_git": len(lags), "rows": one.states}


def restart(objects: int) -> dict[str, Any]:
    """Everything restarts on an unchanged cluster, with its cursors and without: no commit, and how soon it lives."""
    print(f"\nRestart of everything on an unchanged cluster of {objects:,} objects")
    with _production() as (lane, api):
        namespace = api.namespace("bench")
        _fill(api, namespace, objects)
        repository = Repository.local(lane.folder / "repository.git")
        config = repo_config(api, namespace, "local", repository.url)
        destination = Destination(api, namespace, "prod", repository=config)
        lane.start()
        wait_until(lambda: lane.seeded(destination.ref), 600, what="the seed")
        before, found = repository.commits(), {}
        for what, cursors in {"with its cursors": True, "without, as after they expired": False}.items():
            lane.stop()
            if not cursors:
                _forget_cursors(lane)
            began = time.time()
            for name in ("watch", "worker"):
                lane.add(name)
            wait_until(lambda began=began: _is_live(lane, began), 600, what="live")  # type: ignore[misc]
            found[what] = {"streams_follow_s": time.time() - began}
            if not cursors:
                wait_until(lambda began=began: _swept_since(lane, began), 600, what="the seed")  # type: ignore[misc]
                found[what]["seeded_s"] = time.time() - began
            threading.Event().wait(QUIET)
            commits = len(repository.commits()) - len(before)
            found[what]["commits"] = commits
            print(f"  {what:<34}" + ", ".join(f"{name} {value:.1f}" for name, value in found[what].items()))
            if commits:
                raise SystemExit("a restart made commits")
        return found


def _forget_cursors(lane: Separate) -> None:
    database = installation.db.Database(lane.options.database_url)
    with contextlib.closing(database), database.write() as connection:
        connection.exec_driver_sql("DELETE FROM watch_cursor")


def _is_live(lane: Separate, began: float) -> bool:
    """Whether each stream of the present leader follows."""
    rows = lane.rows("SELECT state, extract(epoch FROM since) AS since FROM watch_stream")
    return bool(rows) and all(row["state"] == "follows" and float(row["since"]) > began for row in rows)


def _swept_since(lane: Separate, began: float) -> bool:
    query = "SELECT state FROM seed_run WHERE started_at > to_timestamp(:began)"
    states = [row["state"] for row in lane.rows(query, began=began)]
    return bool(states) and set(states) == {"swept"}


def away(minutes: float, *, per_second: float, max_pending: int) -> dict[str, Any]:
    """The host of two of three destinations answers nothing for some minutes, and more pends than may."""
    print(f"\nA Git host away for {minutes:g} minutes, {per_second:g} changes/s over 3 destinations, one elsewhere")
    with _production(max_pending=max_pending) as (lane, api), _host(lane.folder) as host:
        destinations, repositories, loads = [], [], []
        for is_away in (True, True, False):
            namespace = api.namespace("away")
            if is_away:
                repository = Repository(host.repository(namespace), host.url(namespace))
                secret = git_secret(api, namespace, "robot", host.credentials)
                config = repo_config(api, namespace, "far", repository.url, secret=secret)
            else:
                repository = Repository.local(lane.folder / "near.git")
                config = repo_config(api, namespace, "near", repository.url)
            destinations.append(Destination(api, namespace, "prod", repository=config))
            repositories.append(repository)
            loads.append(Load(api, namespace, objects=fleet.OBJECTS, per_second=per_second / 3))
        lane.start()
        memory = _Memory(lane, ("watch", "worker"))
        with running(*loads):
            for destination in destinations:
                wait_until(lambda ref=destination.ref: lane.seeded(ref) or lane.pending(ref) == 0, 120, what="a seed")  # type: ignore[misc]
            threading.Event().wait(QUIET)
            memory.look("before")
            host.hang.set()
            ends, pending, near = time.monotonic() + 60 * minutes, 0, 0.0
            while time.monotonic() < ends:
                threading.Event().wait(QUIET)
                memory.look("while it was away")
                pending = max(pending, *(lane.pending(one.ref) for one in destinations))
                near = max(near, _lag_of(lane, destinations[2].ref))
            host.hang.clear()
            host.go_on.set()
            began = time.monotonic()
            wait_until(lambda: all(lane.pending(one.ref) < per_second * 5 for one in destinations), 900, what="drained")
            drained = time.monotonic() - began
            memory.look("after")
        for destination, repository in zip(destinations, repositories, strict=True):
            checking.check_mirrored(lane, api, destination, repository, timeout=300)
            checking.check_order(repository, objects=fleet.OBJECTS)
        states = checking.check_ledger(lane, repositories)
        found = {
            "pending_at_most": pending, "lag_of_the_other_s": near, "drained_s": drained, "rows": states,
            "memory_mb": memory.found,
        }  # fmt: skip
        print(f"  {pending:,} rows pended of one at most; {states.get('superseded', 0):,} were superseded")
        print(f"  drained {drained:.0f} s after it answered again; the other's oldest row was {near:.1f} s old at most")
        for name, values in memory.found.items():
            print(f"  {name} MB: " + ", ".join(f"{when} {value:.0f}" for when, value in values.items()))
        return found


@contextlib.contextmanager
def _host(folder: Path) -> Iterator[HttpsGitServer]:
    (folder / "https").mkdir()
    host = HttpsGitServer(folder / "https")
    try:
        yield host
    finally:
        host.stop()


def _lag_of(lane: Separate, ref: str) -> float:
    rows = lane.rows("SELECT lag_seconds FROM destination_lag WHERE destination = :ref", ref=ref)
    return max((float(row["lag_seconds"] or 0.0) for row in rows), default=0.0)


class _Memory:
    """Resident memory of processes, the most of each time."""

    def __init__(self, lane: Separate, names: Sequence[str]) -> None:
        self._lane, self._names = lane, names
        self.found: dict[str, dict[str, float]] = {name: {} for name in names}

    def look(self, when: str) -> None:
        """Note what they hold now."""
        for name in self._names:
            held = installation.memory_of(self._lane.pid(name))
            self.found[name][when] = max(held, self.found[name].get(when, 0.0))


def large(definitions: int, namespaces: int, objects: int) -> dict[str, Any]:
    """Many types, namespaces and objects for one watch daemon: memory, threads, connections, seconds to live."""
    print(f"\n{definitions} CRDs, {namespaces} namespaces, {objects:,} objects")
    with _production() as (lane, api):
        names = [api.namespace("large") for _ in range(namespaces)]
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda number: _define(api, number), range(definitions)))
            wait_until(lambda: _served(api) == definitions, 300, what="the kinds are served")
            list(pool.map(lambda number: _thing(api, names, number, definitions), range(objects)))
        repository = Repository.local(lane.folder / "repository.git")
        config = repo_config(api, names[0], "local", repository.url, accessPolicy={
            "namespacedRules": {"mode": "AllNamespaces"}, "allowClusterRules": True,
        })  # fmt: skip
        api.create("gitdestinations", names[0], "prod", spec={
            "repoRef": {"name": config}, "branch": "main", "baseFolder": "clusters/large",
        })  # fmt: skip
        rule = {
            "destinationRef": {"name": "prod", "namespace": names[0]},
            "rules": [{"apiGroups": [_GROUP], "resources": ["*"], "scope": "Namespaced"}],
        }
        api.create("clusterwatchrules", "", "all", spec=rule)
        began = time.time()
        lane.start()
        ref = f"{names[0]}/prod"
        wait_until(lambda: _is_live(lane, began), 600, what="live")
        followed = time.time() - began
        wait_until(lambda: lane.seeded(ref), 900, what="the seed")
        seeded = time.time() - began
        files = len(repository.tree())
        if files != objects:
            raise SystemExit(f"{files} files of {objects} objects")
        pid = lane.pid("watch")
        found = {
            "streams": len(lane.rows("SELECT resource FROM watch_stream")),
            "streams_follow_s": followed, "in_git_s": seeded,
            "memory_mb": installation.memory_of(pid), "peak_memory_mb": installation.peak_memory_of(pid),
            **_counts(pid),
        }  # fmt: skip
        print("  " + ", ".join(f"{name} {value:,.1f}" for name, value in found.items()))
        return found


_GROUP = "bench.example.com"


def _define(api: Api, number: int) -> None:
    names = {"plural": f"things{number}", "singular": f"thing{number}", "kind": f"Thing{number}"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{_GROUP}"},
        "spec": {"group": _GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    api.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)


def _served(api: Api) -> int:
    try:
        return len(api.request("GET", f"/apis/{_GROUP}/v1")["resources"])
    except AssertionError:
        return 0


def _thing(api: Api, namespaces: Sequence[str], number: int, definitions: int) -> None:
    kind, namespace = number % definitions, namespaces[number % len(namespaces)]
    body = {
        "apiVersion": f"{_GROUP}/v1",
        "kind": f"Thing{kind}",
        "metadata": {"name": f"thing-{number}"},
        "spec": {"number": number, "text": "some words of an object that is not too small" * 4},
    }
    api.request("POST", f"/apis/{_GROUP}/v1/namespaces/{namespace}/things{kind}", body)


def _counts(pid: int) -> Mapping[str, int]:
    """Threads of a process, and the sockets that it has open."""
    folder = Path(f"/proc/{pid}")
    sockets = 0
    for link in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):
            sockets += str(link.readlink()).startswith("socket:")
    return {"threads": len(list((folder / "task").iterdir())), "connections": sockets}


def _fill(api: Api, namespace: str, count: int) -> None:
    def make(number: int) -> None:
        fields = installation.configmap(namespace, number)
        api.create("configmaps", namespace, fields["metadata"]["name"], data=fields["data"])

    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(make, itertools.islice(itertools.count(), count)):
            pass


@contextlib.contextmanager
def _production(**chosen: object) -> Iterator[tuple[Separate, Api]]:
    """An installation on Redis and PostgreSQL, both of which have to be here."""
    with servers.redis_broker() as broker_url, servers.postgresql() as database_url:
        if not broker_url or not database_url:
            raise SystemExit("it needs Redis and PostgreSQL")
        with production.beside_a_cluster(broker_url, database_url, **chosen) as found:
            yield found
