"""Real workers in processes of their own, on a broker and a SQLite of the test's own; on Redis and on RabbitMQ."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from app import db, publishing
from app.events import Ref
from app.models import destinations
from app.settings import Settings
from tests.servers import processes
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Bench:
    """One broker, one database, any number of workers; what their drainers did is read back from a file."""

    def __init__(self, folder: Path, *, broker_url: str, database_url: str) -> None:
        self.folder, self.database_url = folder, database_url
        self.settings = Settings(broker_url=broker_url, database_url=database_url)
        self.database = db.Database(database_url)
        self.publisher = publishing.Publisher(self.settings)
        self.workers: list[subprocess.Popen[bytes]] = []

    def add(self, text: str) -> Ref:
        """A destination appears."""
        ref = Ref.parse(text)
        row = {"uid": uuid.uuid4().hex, "cluster": "home", "namespace": ref.namespace, "name": ref.name}
        row |= {"ready": True, "reason": "", "message": "", "failed_drains": 0}
        with self.database.write() as connection:
            connection.execute(insert(destinations.GitDestinationRow.__table__).values(**row))
        return ref

    def remove(self, ref: Ref) -> None:
        """A destination is gone."""
        table = destinations.GitDestinationRow.__table__
        with self.database.write() as connection:
            connection.execute(delete(table).where(table.c.namespace == ref.namespace, table.c.name == ref.name))

    def delete(self, ref: Ref) -> None:
        """A destination is deleted; nothing pends for it."""
        table = destinations.GitDestinationRow.__table__
        named = (table.c.namespace == ref.namespace, table.c.name == ref.name)
        with self.database.write() as connection:
            connection.execute(update(table).where(*named).values(deleted_at=datetime.now(UTC)))

    def behave(self, **by_destination: dict[str, Any]) -> None:
        """Tell the drainers how to treat destinations; `shop_prod` stands for shop/prod."""
        content = {name.replace("_", "/"): what for name, what in by_destination.items()}
        temporary = self.folder / "behaviour.new"
        temporary.write_text(json.dumps(content))
        temporary.replace(self.folder / "behaviour.json")

    def worker(self, node: str = "one", **options: Any) -> subprocess.Popen[bytes]:
        """Start a worker."""
        whole = {"broker_url": self.settings.broker_url, "database_url": self.database_url, "node": node}
        whole |= {"folder": str(self.folder)} | options
        with self.log(node).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.serve", json.dumps(whole)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers.append(process)
        return process

    def log(self, node: str = "one") -> Path:
        """What a worker says."""
        return self.folder / f"{node}.log"

    def drains(self, what: str = "end") -> list[tuple[str, int, int]]:
        """Destination, number and process id of each drain that began or ended, in order."""
        path = self.folder / "drains"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(destination, last, pid) for kind, destination, last, pid, _ in lines if kind == what]

    def spans(self, destination: str) -> list[tuple[str, float]]:
        """Begin and end of a destination's drains with their times, in order."""
        lines = [json.loads(line) for line in (self.folder / "drains").read_text().splitlines()]
        return [(line[0], line[4]) for line in lines if line[1] == destination]

    def serves(self, node: str) -> set[str] | None:
        """What a worker's row says that it serves; None without a row."""
        with self.database.read() as connection:
            rows = connection.exec_driver_sql("SELECT name, serves FROM worker_node").all()
        found = {row.name: set(json.loads(row.serves)) for row in rows}
        return found.get(node)

    def wait_serves(self, node: str, *wanted: str, timeout: float = 60.0) -> None:
        """Wait until a worker listens to exactly these destinations."""
        wait_until(lambda: self.serves(node) == set(wanted), timeout, what=f"{node} serves {wanted}")

    def wait_drained(self, count: int, timeout: float = 40.0) -> None:
        """Wait for a number of finished drains."""
        wait_until(lambda: len(self.drains()) >= count, timeout, what=f"{count} drains")

    def close(self) -> None:
        """End everything."""
        self.publisher.close()
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
                worker.wait(processes.GRACE)
        self.database.close()


# For what one kind of broker has alone. Two nodes cannot be told apart by a fixture's name: hence the parameter.
ON_REDIS = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
ON_RABBITMQ = pytest.mark.parametrize(
    "broker_url", [pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)], indirect=True
)


@pytest.fixture
def bench(tmp_path: Path, broker_url: str, sqlite_url: str) -> Iterator[Bench]:
    """A bench of this test's own, once on each broker."""
    with contextlib.closing(Bench(tmp_path, broker_url=broker_url, database_url=sqlite_url)) as bench:
        yield bench
