"""An installation to be looked at by `reverser doctor`: a migrated database with rows as the processes write them.

The command runs in this process, with variables as a person sets them. Neighbours: the tests `test_doctor*.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click.testing
import sqlalchemy

from app import db, events, settings
from app.cli import main
from app.models import base, destinations, leases, nodes, places, rules

Finding = Mapping[str, str]


@dataclass(frozen=True)
class Diagnosis:
    """What the command said, with --output json."""

    exit_code: int
    findings: list[Finding]
    text: str

    def of(self, check: str) -> list[Finding]:
        """The findings of one check."""
        return [one for one in self.findings if one["check"] == check]

    def levels(self, check: str) -> list[str]:
        """Their levels, in order."""
        return [one["level"] for one in self.of(check)]

    def worst(self, check: str) -> Finding:
        """The one finding of a check that is not OK."""
        (found,) = [one for one in self.of(check) if one["level"] != "OK"]
        return found


class Patient:
    """Settings as variables, and the rows that watch daemons and workers leave."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options = settings.Settings(**{"work_dir": folder / "work", **options})

    def doctor(self, *words: str, **variables: str) -> Diagnosis:
        """Run `reverser doctor`; `variables` replace those of the settings."""
        done = self.command("--output", "json", *words, **variables)
        return Diagnosis(done.exit_code, json.loads(done.stdout), done.output)

    def command(self, *words: str, **variables: str) -> click.testing.Result:
        """The command as typed; whatever it prints or raises is the test's to judge."""
        environment = {**self.options.to_environment(), **variables}
        folder = str(self.folder / "no-data")
        runner = click.testing.CliRunner()
        return runner.invoke(main.main, ["doctor", "--data-dir", folder, *words], env=environment)

    def watch_leads(self, *, uid: str = "uid-of-cluster", drops: Mapping[str, int] | None = None) -> None:
        """A watch daemon takes the lease of the cluster, and says what it drops."""
        with self.writing() as database, database.write() as connection:
            lead = leases.take_lead(connection, cluster="home", cluster_uid=uid, owner="watch-1", seconds=600)
            assert lead
            assert leases.renew_lead(connection, lead, seconds=600, drops=drops or {})

    def worker_lives(self, *globs: str, name: str = "worker-1") -> None:
        """A worker has a young heartbeat."""
        with self.writing() as database, database.write() as connection:
            keep_alive(connection, name, *globs)

    def destination(
        self,
        name: str,
        *,
        url: str,
        transport: str,
        branch: str = "main",
        secret: str | None = None,
        branch_state: str = leases.UNKNOWN,
    ) -> int:
        """A ready destination `shop/NAME` with a place; its id."""
        seen = destinations.RepoConfigSeen(
            uid=f"config-{name}", ref=events.Ref("shop", name), url=url, url_key=url, transport=transport,  # type: ignore[arg-type]
            host="", secret_name=secret, push_interval=None, max_commits=None, ready=True, reason="Ready", message="",
        )  # fmt: skip
        with self.writing() as database, database.write() as connection:
            config_id = destinations.save_repo_config(connection, seen)
            branch_id = leases.ensure_branch(connection, url_key=url, branch=branch)
            lease = leases.take_branch(connection, branch_id=branch_id, owner="x", seconds=1, destination_id=0)
            if lease:
                leases.release_branch(connection, leases.move_head(connection, lease, head=None, state=branch_state))
            found = self._save(connection, name, ready=True, reason="Ready", message="")
            places.save(connection, found, places.Seen(config_id, branch_id, url, branch, f"clusters/{name}"))
        return found

    def refused_destination(self, name: str, *, reason: str, message: str) -> int:
        """A destination that the watch daemon did not accept; its id."""
        with self.writing() as database, database.write() as connection:
            return self._save(connection, name, ready=False, reason=reason, message=message)

    def rule(self, destination_id: int, *scopes: tuple[str, str, str]) -> None:
        """A compiled rule of (group, resource, namespace)."""
        with self.writing() as database, database.write() as connection:
            place = destinations.by_id(connection, destination_id)
            assert place
            said = {"version": "v1", "kind": "", "operations": ["CREATE", "DELETE", "UPDATE"], "wildcard": False}
            spec = {
                "rules": [{"apiGroups": [group], "resources": [resource]} for group, resource, _ in scopes],
                "scopes": [{"group": g, "resource": r, "namespace": n, **said} for g, r, n in scopes],
            }
            rules.save(
                connection,
                cluster="home",
                rules=[rules.RuleSeen("WatchRule shop/apps", "uid-rule", destination_id, place.place_id, spec)],
            )

    def writing(self) -> Opened:
        """The database as a process opens it."""
        return Opened(self.options.database_url)

    def _save(self, connection: db.Connection, name: str, *, ready: bool, reason: str, message: str) -> int:
        return destinations.save_destination(
            connection,
            uid=f"uid-{name}",
            ref=events.Ref("shop", name),
            cluster="home",
            ready=ready,
            reason=reason,
            message=message,
        )


class Opened:
    """A database for the length of a block: nothing stays open while the doctor looks."""

    def __init__(self, url: str) -> None:
        self._database = db.Database(url)

    def __enter__(self) -> db.Database:
        return self._database

    def __exit__(self, *_: object) -> None:
        self._database.close()


def keep_alive(connection: db.Connection, name: str, *globs: str) -> None:
    """A worker that beats as long as a test lasts, on however busy a machine."""
    nodes.beat(connection, name=name, globs=globs, dedicated=bool(globs), serves=())
    own = nodes.WorkerNode.name == name
    connection.execute(sqlalchemy.update(nodes.WorkerNode).where(own).values(heartbeat=base.now(600)))
