"""A whole installation in one process and without a clock of its own: what threads and sockets do elsewhere is a call.

Everything that decides is the product: reconciliation, writer, ledger, drains, Git. What stands in for the rest is as
small as it can be: an API server that knows the few requests of a player, streams and listings that move when they are
told to, a broker that loses each message, a clock that stands still. A process that is killed at a point writes nothing
after it; one that is frozen there goes on when the others have taken over and done its work.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy
from sqlalchemy import event

from app import db, errors, events, failpoints
from app.drain import draining, leasing
from app.git import helper, local, problems
from app.git import remote as remotes
from app.kube import watching
from app.models import destinations, leases, places, states, wishes
from app.rules import compiling, types
from app.settings import Settings
from app.watch import causing, figures, inbox, reconciling, recording, ringing, routing, streams, writing
from tests.chaos import apiserver, checking, histories, playing
from tests.git import servers
from tests.system.repository import Repository

Object = dict[str, Any]
T = TypeVar("T")

# What happens to who comes by a point: it ends there; it stands still there while the others take over; it fails, or,
# where it waits for an answer, hears none.
How = Literal["kill", "freeze", "fail"]
# Beside those of the product: a transaction was committed.
COMMITTED = "committed"
Point = failpoints.Point | Literal["committed"]
ANSWERED: tuple[Point, ...] = (COMMITTED, "during_push")
BRANCH_LEASE, WATCH_LEASE = 4.0, 8.0
# Longer than each lease, and than everything that waits.
LEASES_END, ALL_WAITS_END = 10.0, 100.0
WORKERS = 2
DATABASE, REPOSITORY = "reverser.db", "repository.git"
PAGE_SIZE = 2
# More than the changes of any history.
MOST_BATCHES = 1_000
_OUR_KINDS = {"gitrepoconfigs": "GitRepoConfig", "gitdestinations": "GitDestination", "watchrules": "WatchRule"}


class Died(BaseException):
    """A process was killed: nobody in it handles that."""


# What processes stand on.


class Clock:
    """The database's clock, which moves when somebody says so."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    @property
    def seconds(self) -> float:
        """What has passed since some moment."""
        return self._now.timestamp()

    def passes(self, seconds: float) -> None:
        """So much time passes."""
        self._now += timedelta(seconds=seconds)

    def strftime(self, _form: str, _now: str, offset: str) -> str:
        """In place of SQLite's function, in the only form in which `base.now` asks for it."""
        at = self._now + timedelta(seconds=float(offset.removesuffix(" seconds")))
        return at.strftime("%Y-%m-%d %H:%M:%S.%f")


# Statements are the same in each process of each history: to make them anew takes half of the time.
_STATEMENTS: dict[Any, Any] = {}


class Database(db.Database):
    """One process's way to the database; once the process is dead, nothing comes through any more."""

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url)
        self.dead = False

        def connected(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA synchronous=OFF")
            connection.create_function("strftime", 3, clock.strftime)

        for engine in (self._reader, self._writer):
            event.listen(engine, "connect", connected)
        self._reader, self._writer = (
            engine.execution_options(compiled_cache=_STATEMENTS) for engine in (self._reader, self._writer)
        )

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlalchemy.Connection]:
        self._live()
        with super().read() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlalchemy.Connection]:
        self._live()
        with super().write() as connection:
            yield connection
        failpoints.reach(COMMITTED)  # type: ignore[arg-type]

    def _live(self) -> None:
        if self.dead:
            raise Died


class AtHand(remotes.Helpers):
    """What a helper process does, in this one."""

    def _call(self, remote: remotes.Remote, request: dict[str, Any]) -> dict[str, Any]:
        sent = {**request, "url": remote.url, "transport": remote.transport, "timeout": remote.timeout}
        answer = helper._attempt(partial(helper._operate, sent, self._work_dir, remote.credentials), remote.credentials)
        if request["operation"] == "push":
            failpoints.reach("during_push")
        if "error" in answer:
            raise problems.from_wire(answer["error"])
        return dict(answer["result"])


class Hasty(threading.Event):
    """An event that nobody waits for."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        return self.is_set()


class Deaf:
    """A publisher whose broker loses each message."""

    def publish(self, messages: Iterable[events.Message]) -> None:
        for _ in messages:
            failpoints.reach("before_publish")
            failpoints.reach("after_publish")


# The watch daemon.


@dataclass
class Stream:
    """How far a stream has read, and why it begins anew; without a cause it resumes."""

    type: types.ResourceType
    position: str
    epoch: int
    anew: str
    running: bool = False


@dataclass
class Listing:
    """A listing under way, of what was there when it began."""

    begun: inbox.Listing
    objects: list[Object]
    version: str


class Leader:
    """A watch daemon that leads."""

    def __init__(self, site: Site, number: int, lead: leases.Lead, database: Database) -> None:
        self.database = database
        self._cluster = site.cluster
        self._lead = lead
        self._stop = Hasty()
        settings = site.settings(f"watch-{number}")
        self._writer = writing.Writer(
            settings, database=database, lead=lead, publisher=Deaf(), stop=self._stop, counted=figures.Figures(),  # type: ignore[arg-type]
        )  # fmt: skip
        self._writer.call = self._call  # type: ignore[method-assign]
        self._causes = causing.Causes(self._writer)
        self._streams: dict[routing.StreamKey, Stream] = {}
        self._listings: list[Listing] = []
        self._bells = ringing.Bells(settings.ring_longest)
        self._clock = site.clock
        self._started = False

    def renew(self) -> None:
        """Hold the lease on. Raises LeaseLostError, TemporaryError."""
        with self.database.write() as connection:
            renewed = leases.renew_lead(connection, self._lead, seconds=WATCH_LEASE, drops={})
        if not renewed:
            raise errors.LeaseLostError("another one leads")

    def reconcile(self) -> None:
        """Follow our objects, and the types that there are, as they are now."""
        ours = {kind: {_ref(one): one for one in self._cluster.list(resource)} for resource, kind in _OUR_KINDS.items()}
        read = reconciling._read(ours)
        compilation = compiling.compile_all(
            repo_configs=list(read.configs.values()),
            destinations=list(read.destinations.values()),
            watch_rules=read.rules,
            cluster_rules=[],
            types=self._cluster.served(),
            allow_local=True,
        )
        seen = recording.Seen(read.configs, read.destinations, compilation, frozenset(read.generations))
        self._follow(self._causes.adopt(seen))

    def _follow(self, routes: routing.Routing) -> None:
        if self._started and self._streams.keys() == routes.streams.keys():
            return
        self._started = True
        self._streams = {key: stream for key, stream in self._streams.items() if key in routes.streams}
        fresh = [key for key in routes.streams if key not in self._streams]
        resumed, left_off = self._causes.resume(routes.streams), self._causes.left_off(fresh)
        for key in fresh:
            last = resumed.get(key) or left_off.get(key)
            position = (last.resource_version, last.source_epoch) if last else ("", 1)
            self._streams[key] = Stream(routes.streams[key], *position, "" if key in resumed else "no resume point")

    def connect(self) -> None:
        """Each connection broke, and is made anew."""
        for key, stream in self._streams.items():
            self._connect(key, stream)

    def deliver(self, which: int, most: int) -> None:
        """Let one stream read on: connect where it has to, then hand over up to `most` changes."""
        for key, stream in _one(self._streams.items(), which):
            if not self._connect(key, stream):
                return
            news = [
                change
                for change in self._cluster.log[key.resource]
                if int(change.resource_version) > int(stream.position)
                and key.namespace in {"", change.object["metadata"]["namespace"]}
            ]
            for change in news[:most]:
                live = inbox.Live(key, stream.type, copy.deepcopy(change), stream.epoch, datetime.now(UTC))
                self._writer.inbox.put_live(live, stop=self._stop)
                stream.position = change.resource_version
            if len(news) < most:
                self._mark(key, stream)

    def _mark(self, key: routing.StreamKey, stream: Stream) -> None:
        """The server says how far a stream is that has read everything."""
        stream.position = str(self._cluster.version)
        mark = watching.Change("BOOKMARK", {"metadata": {"resourceVersion": stream.position}}, stream.position)
        self._writer.inbox.put_live(
            inbox.Live(key, stream.type, mark, stream.epoch, datetime.now(UTC)), stop=self._stop
        )

    def _connect(self, key: routing.StreamKey, stream: Stream) -> bool:
        if not self._may_read(key.resource):
            stream.running, stream.anew = False, "the type can be read again"
            self._causes.refuse_stream(key, reason="Forbidden" if self._cluster.serves(key.resource) else "NotServed")
            return False
        behind = bool(stream.position) and int(stream.position) > self._cluster.version
        if behind or stream.anew:
            latest, cause = str(self._cluster.version), streams.RESTORED if behind else stream.anew
            lost = stream.epoch if behind else None
            stream.epoch = self._causes.begin_stream(key, resource_version=latest, cause=cause, lost=lost)
            stream.position, stream.anew = latest, ""
        stream.running = True
        return True

    def _may_read(self, resource: str) -> bool:
        return self._cluster.serves(resource) and resource not in self._cluster.forbidden

    def expire(self, which: int) -> None:
        """A stream hears that what it wants to resume from is forgotten."""
        for _, stream in _one(self._streams.items(), which):
            stream.anew = "the resume point expired"

    def list(self, which: int) -> None:
        """Begin a listing that waits, or hand over a page of one that is under way."""
        under_way = {one.begun.key for one in self._listings}
        for key, stream in self._streams.items():
            if stream.running and key not in under_way and self._may_read(key.resource):
                begun = self._causes.begin_listing(key, stream.type)
                if begun is not None:
                    found = self._cluster.list(key.resource, begun.namespace)
                    self._listings.append(Listing(begun, found, str(self._cluster.version)))
        for one in _one(self._listings, which):
            self._hand_over(one)

    def _hand_over(self, one: Listing) -> None:
        if not self._may_read(one.begun.key.resource):
            self._listings.remove(one)
            self._causes.end_listing(one.begun)
            return
        if one.begun.cancelled.is_set():
            self._listings.remove(one)
            return
        page, one.objects = one.objects[:PAGE_SIZE], one.objects[PAGE_SIZE:]
        last = not one.objects
        one.begun.given += len(page)
        found = inbox.Page(one.begun, page, datetime.now(UTC), one.version if last else "")
        while len(self._writer.inbox._pages) >= inbox.PAGE_CAPACITY:
            self.write()
        self._writer.inbox.put_page(found, stop=self._stop)
        if last:
            self._listings.remove(one)
        failpoints.reach("after_list" if last else "mid_page")

    def write(self) -> None:
        """Write one batch of what was handed over."""
        self._writer._write_next()

    def ask(self, ref: events.Ref) -> None:
        """A person asks for a listing of a destination, as `reverser seed` does."""
        with self.database.write() as connection:
            for found in destinations.by_ref(connection, ref):
                wishes.ask(connection, found.id, cause="a person asked")

    def read(self) -> None:
        """Let each stream read everything."""
        for which in range(len(self._streams)):
            self.deliver(which, 1_000)

    def sweep(self) -> None:
        """What is done all the time beside."""
        with self.database.read() as connection:
            wanted = wishes.any_waits(connection, cluster="home", routed=self._causes.scopes)
        if wanted:
            self._causes.seed_wanted()
        with self.database.write() as connection:
            leases.fence_lead(connection, self._lead)
            places.retire_drained(connection, after=ringing.GRACE)

    def rings(self) -> list[events.Ref]:
        """Whom the sweeper rings for at this moment."""
        with self.database.read() as connection:
            waiting = states.waiting(connection, cluster="home")
        return [one.ref for one in self._bells.due(waiting, now=self._clock.seconds)]

    def everything(self) -> None:
        """All of it, until nothing is left to do."""
        _again_later(self.renew)
        self.reconcile()
        for _ in range(3):
            _again_later(self.sweep)
            self.read()
            self.write()
            self.list_all()

    def list_all(self) -> None:
        """Begin what waits for a listing, and write everything that was handed over, to the end."""
        self.list(0)
        while self._listings:
            self.list(0)
        for _ in range(MOST_BATCHES):
            if not self._has_work():
                return
            self.write()
        raise AssertionError("the writer has work for ever")

    def _has_work(self) -> bool:
        waiting = self._writer.inbox
        return bool(waiting._live or waiting._pages or any(run.ended for run in self._writer.book.runs.values()))

    def _call(self, function: Callable[[], T]) -> T:
        """What other threads ask of the writer comes after what they handed over before."""
        answer: Future[T] = Future()
        self._writer.inbox.put_call(inbox.Call(function, answer))
        while not answer.done():
            self._writer._answer_calls()
            if not answer.done():
                self._writer._write_next()
        return answer.result()


def _again_later(work: Callable[[], None]) -> None:
    """What is done all the time, and now and then to no avail."""
    try:
        work()
    except errors.LeaseLostError:
        raise
    except errors.TemporaryError:
        return


class Worker:
    """A worker, or the next one of its name and folder."""

    def __init__(self, site: Site, number: int) -> None:
        self.database = Database(site.url, site.clock)
        self._drainer = draining.Drainer(site.settings(f"worker-{number}"), self.database)

    def drain(self, ref: events.Ref) -> str:
        """What a message does, and what it says of that; while the database is away, nothing."""
        failpoints.reach("before_drain")
        note = ""
        with contextlib.suppress(errors.TemporaryError):
            note = self._drainer.drain(ref).note
        failpoints.reach("before_ack")
        return note


# All of it.


@dataclass
class Trap:
    """What happens to whom comes by a point, after so many came by before."""

    point: Point
    spared: int
    how: How


class Beginning:
    """What each history begins with, made once: an installation at rest, whose processes are gone."""

    def __init__(self, folder: Path, database: Path) -> None:
        """`database` is a migrated one; of several sites of one beginning, only the last one may be used."""
        self._folder, self._kept = folder / "site", folder / "kept"
        servers.create_repository(self._folder / REPOSITORY)
        shutil.copy(database, self._folder / DATABASE)
        url = (self._folder / REPOSITORY).as_uri()
        self._player = playing.Player(apiserver.Cluster(), url, group=apiserver.GROUP)  # type: ignore[arg-type]
        self._clock = Clock()
        site = Site(self._folder, self._player, self._clock)
        with site.stood_in():
            for step in histories.beginning():
                self._player.play(step)
            site.everything()
        site.close()
        shutil.copytree(self._folder, self._kept)

    def site(self) -> Site:
        """A site that nothing happened to since."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._kept, self._folder)
        return Site(self._folder, *copy.deepcopy((self._player, self._clock)))


class Site:
    """One installation; use it within `stood_in`."""

    def __init__(self, folder: Path, player: playing.Player, clock: Clock) -> None:
        """`folder` holds its database and its repository."""
        self.folder, self.player, self.clock = folder, player, clock
        self.cluster: apiserver.Cluster = player.api  # type: ignore[assignment]
        self.url = f"sqlite:///{folder / DATABASE}"
        self.repository = Repository(folder / REPOSITORY, (folder / REPOSITORY).as_uri())
        self.traps: list[Trap] = []
        # Somebody takes so many pushes back before they are read back.
        self.taken_back = 0
        self.met: list[tuple[str, str]] = []
        # What no drain should have met, and was tried again.
        self.unforeseen: list[str] = []
        self._leader: Leader | None = None
        self._leaders = itertools.count()
        self._workers: list[Worker | None] = [None] * WORKERS
        # Who acts, the innermost last: while one is frozen, others act.
        self._acting: list[Leader | Worker] = []
        self._databases: list[Database] = []

    def settings(self, node: str) -> Settings:
        """Of one process."""
        return Settings(
            database_url=self.url, node=node, work_dir=self.folder / node, allow_local_repos=True,
            branch_lease=BRANCH_LEASE, watch_lease=WATCH_LEASE, batch_rows=3,
        )  # fmt: skip

    def close(self) -> None:
        """Close all files."""
        for one in self._databases:
            one.close()

    @contextlib.contextmanager
    def stood_in(self) -> Iterator[None]:
        """What is done in other processes and threads is done here, or not at all, until the end of the block."""
        kept = failpoints.reach, draining.PATIENCE, leasing.HeldBranch._renew, remotes.Helpers, local.LocalHost._move
        local.LocalHost._move = self._moved(kept[-1])  # type: ignore[method-assign]
        failpoints.reach, draining.PATIENCE = self._reach, 0.0
        # A lease lasts while nobody lets time pass, and somebody who is frozen renews nothing.
        leasing.HeldBranch._renew = lambda _self: None  # type: ignore[method-assign]
        remotes.Helpers = AtHand  # type: ignore[misc]
        try:
            yield
        finally:
            (
                failpoints.reach, draining.PATIENCE, leasing.HeldBranch._renew, remotes.Helpers,  # type: ignore[misc]
                local.LocalHost._move,  # type: ignore[method-assign]
            ) = kept  # fmt: skip

    def _moved(self, move: Callable[..., None]) -> Callable[..., None]:
        def moved(host: local.LocalHost, branch: str, *, commit: str, parent: str | None) -> None:
            move(host, branch, commit=commit, parent=parent)
            if self.taken_back:
                self.taken_back -= 1
                reference = host.repository.references[f"refs/heads/{branch}"]
                if parent is None:
                    reference.delete()
                else:
                    reference.set_target(parent)

        return moved

    # What happens.

    def lead(self, work: Callable[[Leader], None]) -> None:
        """Let the leader do something; where nobody leads, one takes over."""
        leader = self._leader or self._elect()
        try:
            with self._acts(leader):
                work(leader)
        except (Died, errors.LeaseLostError, failpoints.Failed):
            # A daemon of which one thread died ends, and so does one that lost its lease.
            leader.database.dead = True
            if self._leader is leader:
                self._leader = None

    def ref(self, number: int) -> events.Ref:
        """A destination that there may be."""
        return events.Ref(*self.player.ref(number).split("/"))

    def drain(self, number: int, ref: events.Ref) -> None:
        """Let a worker drain a destination."""
        worker = self._workers[number]
        if worker is None:
            worker = self._workers[number] = Worker(self, number)
            self._databases.append(worker.database)
        try:
            with self._acts(worker):
                note = worker.drain(ref)
            # What a point raises is foreseen here.
            if note.startswith(("unexpected", "Git failed")) and failpoints.Failed.__name__ not in note:
                self.unforeseen.append(note)
        except (Died, failpoints.Failed):
            worker.database.dead = True
            if self._workers[number] is worker:
                self._workers[number] = None

    def kill_leader(self) -> None:
        """At no point in particular."""
        if self._leader is not None:
            self._leader.database.dead = True
            self._leader = None

    def kill_everybody(self) -> None:
        """At no point in particular."""
        self.kill_leader()
        self._workers = [None] * WORKERS

    def everything(self, *, but: object = None) -> None:
        """Everybody does what there is to do; but who is frozen."""
        self.lead(lambda leader: leader.everything())
        for number in range(WORKERS):
            if self._workers[number] is None or self._workers[number] is not but:
                for ref in self._rung():
                    self.drain(number, ref)

    def _rung(self) -> list[events.Ref]:
        """Whom the sweeper rings for, once what pends newly has had its second."""
        found: list[events.Ref] = []
        self.lead(lambda leader: found.extend(leader.rings()))
        self.clock.passes(ringing.FIRST)
        self.lead(lambda leader: found.extend(leader.rings()))
        return found

    def rest(self) -> None:
        """Until nothing is on its way any more; who waits has waited."""
        self.traps.clear()
        for _ in range(20):
            before = self._state()
            self.clock.passes(ALL_WAITS_END)
            self.everything()
            if self._state() == before:
                return

    def _state(self) -> list[Any]:
        counts = "SELECT state, count(*) AS found FROM {} GROUP BY state"
        return [self.rows(counts.format(table)) for table in ("event", "seed_run")]

    def scene(self) -> checking.Scene:
        """What the checker looks at."""
        player = self.player
        return checking.Scene(
            self.repository, self.rows, player.journal, player.objects(), player.ours("gitdestinations"),
            player.ours("watchrules"), player.served(),
        )  # fmt: skip

    def rows(self, query: str) -> Sequence[Mapping[str, Any]]:
        """What the database says."""
        with contextlib.closing(sqlite3.connect(self.folder / DATABASE)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def _elect(self) -> Leader:
        """A new leader: the lease of the former one ends by itself."""
        number, database = next(self._leaders), Database(self.url, self.clock)
        self._databases.append(database)
        while True:
            with database.write() as connection:
                lead = leases.take_lead(
                    connection, cluster="home", cluster_uid="uid", owner=f"watch-{number}", seconds=WATCH_LEASE
                )
            if lead is not None:
                break
            self.clock.passes(LEASES_END)
        self._leader = Leader(self, number, lead, database)
        self.lead(lambda leader: leader.reconcile())
        return self._leader or self._elect()

    @contextlib.contextmanager
    def _acts(self, who: Leader | Worker) -> Iterator[None]:
        self._acting.append(who)
        try:
            yield
        finally:
            self._acting.pop()

    def _reach(self, point: Point) -> None:
        trap = next((one for one in self.traps if one.point == point), None)
        if trap is None or not self._acting:
            return
        if trap.spared:
            trap.spared -= 1
            return
        self.traps.remove(trap)
        self.met.append((point, trap.how))
        who = self._acting[-1]
        if trap.how == "fail":
            raise errors.UnknownOutcomeError(point, delay=0.0) if point in ANSWERED else failpoints.Failed(point)
        if trap.how == "kill":
            who.database.dead = True
            raise Died(point)
        self._freeze(who)

    def _freeze(self, who: Leader | Worker) -> None:
        """While it stands still, its lease ends, and the others do everything."""
        kept, self.traps = self.traps, []
        self.clock.passes(LEASES_END)
        if who is self._leader:
            self._leader = None
        self.everything(but=who)
        self.traps = kept


def _one(found: Iterable[T], which: int) -> list[T]:
    """One of some, by any number; of none, none."""
    every = list(found)
    return [every[which % len(every)]] if every else []


def _ref(one: Object) -> events.Ref:
    return events.Ref(one["metadata"]["namespace"], one["metadata"]["name"])
