"""A migrated database with destinations, and short ways to write into it what watch daemons and workers write.

`blocked` tells when a PostgreSQL session waits for a lock: what tests of two transactions have instead of sleeps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import select, text

from app import db, events
from app.events import Operation, Ref
from app.models import destinations, leases, ledger, places
from tests.waiting import wait_until

T = TypeVar("T")

CLUSTER = "home"


class Records:
    """One database and what tests do to it."""

    def __init__(self, url: str, *, statement_timeout: float = 3.0) -> None:
        self.url = url
        self.database = db.Database(url, statement_timeout=statement_timeout)
        self._threads = ThreadPoolExecutor()

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def close(self) -> None:
        self._threads.shutdown()
        self.database.close()

    def repo_config(self, name: str = "repo", *, host: str = "git.example.com", path: str = "") -> int:
        """A ready repository config, of the repository of its name unless a path is given; its id."""
        key = f"{host}/{path or name}"
        seen = destinations.RepoConfigSeen(
            uid=f"uid-{name}", ref=Ref("shop", name), url=f"https://{key}", url_key=key,
            transport="https", host=host, secret_name=None, push_interval=None, max_commits=None,
            ready=True, reason="Ready", message="",
        )  # fmt: skip
        with self.database.write() as connection:
            return destinations.save_repo_config(connection, seen)

    def destination(
        self,
        name: str = "prod",
        *,
        repo: str = "repo",
        host: str = "git.example.com",
        branch: str = "main",
        folder: str = "clusters/prod",
        uid: str = "",
    ) -> destinations.Destination:
        """A ready destination; call it again with another repository, branch or folder to move it."""
        config_id = self.repo_config(repo, host=host)
        with self.database.write() as connection:
            url_key = f"{host}/{repo}"
            branch_id = leases.ensure_branch(connection, url_key=url_key, branch=branch)
            found = destinations.save_destination(
                connection,
                uid=uid or f"uid-{name}",
                ref=Ref("shop", name),
                cluster=CLUSTER,
                ready=True,
                reason="Ready",
                message="",
            )
            places.save(connection, found, places.Seen(config_id, branch_id, url_key, branch, folder))
            result = destinations.by_id(connection, found)
        assert result is not None
        return result

    def append(self, *entries: ledger.Entry) -> list[int]:
        """Write a batch; the numbers of the rows that were new."""
        with self.database.write() as connection:
            return append(connection, *entries)

    def states(self, destination: destinations.Destination) -> list[tuple[int, str]]:
        """(number, state) of all rows of a destination, in order."""
        row = ledger.EventRow
        query = select(row.sequence, row.state).where(row.destination_id == destination.id).order_by(row.sequence)
        with self.database.read() as connection:
            return [(one.sequence, one.state) for one in connection.execute(query)]

    def bodies(self, destination: destinations.Destination) -> list[int]:
        """The numbers that have a body."""
        row = ledger.EventBody
        query = select(row.sequence).where(row.destination_id == destination.id).order_by(row.sequence)
        with self.database.read() as connection:
            return list(connection.scalars(query))

    def age(self, table: str, column: str, *, seconds: float) -> None:
        """Set a moment of all rows of a table that many seconds into the past."""
        now = (
            "strftime('%Y-%m-%d %H:%M:%f000', 'now', :sqlite)"
            if self.is_sqlite
            else "now() + make_interval(secs => :pg)"
        )
        with self.database.write() as connection:
            values = {"sqlite": f"{-seconds} seconds"} if self.is_sqlite else {"pg": -seconds}
            connection.execute(text(f"UPDATE {table} SET {column} = {now} WHERE {column} IS NOT NULL"), values)

    def blocked(self) -> int:
        """How many sessions of this PostgreSQL database wait for a lock."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with self.database.read() as connection:
            return int(connection.execute(text(query)).scalar_one())

    def blocked_call(self, call: Callable[[], T]) -> Future[T]:
        """Start a call that has to wait for a lock which the caller holds; returns once it waits."""
        future = self._threads.submit(call)
        wait_until(lambda: future.done() or self.blocked(), what="a session that waits for a lock")
        assert not future.done(), "the call did not have to wait"
        return future


def append(connection: db.Connection, *entries: ledger.Entry) -> list[int]:
    """Take numbers and write a batch in a transaction; the numbers of the rows that were new."""
    numbers = ledger.take_numbers(connection, Counter(entry.destination_id for entry in entries))
    return [entry.event.sequence for entry in ledger.append(connection, entries, numbers)]


def identifier(name: str, *, uid: str = "", namespace: str = "shop") -> events.Identifier:
    """A ConfigMap."""
    return events.Identifier("", "v1", "configmaps", namespace, name, "ConfigMap", uid or f"uid-{name}")


def entry(
    destination: destinations.Destination,
    name: str = "app-config",
    *,
    version: int = 1,
    operation: Operation = Operation.UPDATE,
    uid: str = "",
    content_hash: str | None = "hash",
    state: str = ledger.PENDING,
    seed: str | None = None,
) -> ledger.Entry:
    """One Event of a ConfigMap on its way into the ledger; a DELETE has no body."""
    deleted = operation is Operation.DELETE
    event = events.Event.create(
        cluster=CLUSTER, source_epoch=1, operation=operation, identifier=identifier(name, uid=uid),
        resource_version=str(version), observed_at=datetime.now(UTC), destination=destination.ref,
        destination_uid=destination.uid, repo_config=destination.repo_config, branch=destination.branch,
        base_folder=destination.base_folder, place_generation=destination.place_generation,
        rule="WatchRule shop/all", user_info=events.UserInfo("kubectl-edit", "managedFields"),
        content_hash=None if deleted else content_hash, seed=seed,
    )  # fmt: skip
    body = None if deleted else json.dumps({"name": name, "version": version}).encode()
    return ledger.Entry(destination.id, destination.place_id, event, body, state, None if state == "pending" else "why")
