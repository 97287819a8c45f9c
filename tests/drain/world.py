"""A small world for tests of the drain.

A migrated database, a bare repository, destinations, and a short way to write Events as a watch daemon would.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from app import db, events, settings
from app.drain import draining
from app.events import Operation, Ref
from app.models import commits, destinations, leases, ledger, places, rules, seeds
from app.rules import pruning, sanitising

# What one rule of each destination selects.
EVERYTHING = {
    "group": "", "version": "v1", "resource": "configmaps", "namespace": "",
    "operations": ["CREATE", "UPDATE", "DELETE"],
}  # fmt: skip


CONFIG_MAPS = seeds.ScopeKey("", "configmaps", "shop")


class World:
    """Everything a drain needs, and ways to look at what it did."""

    def __init__(self, tmp_path: Path, database_url: str, *, ruled: bool = True, **options: object) -> None:
        self.repository = tmp_path / "repository.git"
        run_git("init", "--quiet", "--bare", "--initial-branch=main", str(self.repository))
        self.options = settings.Settings(
            database_url=database_url,
            work_dir=tmp_path / "work",
            allow_local_repos=True,
            node="worker-1",
            **options,  # type: ignore[arg-type]
        )
        self.database = db.Database(database_url)
        self.drainer = draining.Drainer(self.options, self.database)
        # Whether each destination has a rule in force; a test that compiles its own says no.
        self._ruled = ruled
        self._rules: dict[str, rules.RuleSeen] = {}

    def close(self) -> None:
        self.drainer.close()
        self.database.close()

    def destination(
        self,
        name: str = "prod",
        *,
        branch: str = "main",
        folder: str = "clusters/prod",
        pruned: pruning.Pruning = pruning.DEFAULT,
        **config: object,
    ) -> destinations.Destination:
        """A ready destination on the repository; call it again with another branch or folder to move it."""
        seen = self.repo_config(**config)
        with self.database.write() as connection:
            config_id = destinations.save_repo_config(connection, seen)
            branch_id = leases.ensure_branch(connection, url_key=seen.url_key, branch=branch)
            found = destinations.save_destination(
                connection,
                uid=f"uid-{name}",
                ref=Ref("shop", name),
                cluster="home",
                ready=True,
                reason="Ready",
                message="",
                pruned=pruned,
            )
            place = places.Seen(config_id, branch_id, seen.url_key, branch, folder)
            places.save(connection, found, place)
            result = destinations.by_id(connection, found)
            assert result is not None
            if self._ruled:
                rule = f"WatchRule shop/{name}"
                self._rules[name] = rules.RuleSeen(rule, rule, found, result.place_id, {"scopes": [EVERYTHING]})
                rules.save(connection, cluster="home", rules=list(self._rules.values()))
        return result

    def repo_config(self, **config: object) -> destinations.RepoConfigSeen:
        """The repository as its config says it."""
        uri = self.repository.as_uri()
        seen = destinations.RepoConfigSeen(
            uid="config-uid", ref=Ref("shop", "repo"), url=uri, url_key=uri, transport="file", host="",
            secret_name=None, push_interval=None, max_commits=None, ready=True, reason="Ready", message="",
        )  # fmt: skip
        return replace(seen, **config)  # type: ignore[arg-type]

    def event(
        self,
        destination: destinations.Destination,
        name: str,
        value: str | None,
        *,
        version: int,
        operation: Operation = Operation.UPDATE,
        uid: str = "",
        seed: str | None = None,
        namespace: str = "shop",
        epoch: int = 1,
    ) -> ledger.Entry:
        """One Event of a ConfigMap; `value` None makes a DELETE."""
        body = None
        if value is None:
            operation = Operation.DELETE
        else:
            body = sanitising.body(configmap(name, value, namespace))
        event = events.Event.create(
            cluster="home", source_epoch=epoch, operation=operation, destination=destination.ref,
            identifier=_identifier(namespace, name, uid or f"uid-{name}"),
            resource_version=str(version), observed_at=datetime.now(UTC), destination_uid=destination.uid,
            repo_config=destination.repo_config, branch=destination.branch, base_folder=destination.base_folder,
            place_generation=destination.place_generation, rule="WatchRule shop/all",
            user_info=events.UserInfo("kubectl", "managedFields"),
            content_hash=sanitising.content_hash(body) if body else None, seed=seed,
        )  # fmt: skip
        return ledger.Entry(destination.id, destination.place_id, event, body)

    def write(self, *entries: ledger.Entry) -> list[int]:
        """Append entries in one batch; their numbers."""
        counts: dict[int, int] = {}
        for entry in entries:
            counts[entry.destination_id] = counts.get(entry.destination_id, 0) + 1
        with self.database.write() as connection:
            numbers = ledger.take_numbers(connection, counts)
            return [entry.event.sequence for entry in ledger.append(connection, entries, numbers)]

    def change(
        self, destination: destinations.Destination, name: str, value: str | None, *, version: int, **more: object
    ) -> int:
        """Append one Event; its number."""
        return self.write(self.event(destination, name, value, version=version, **more))[0]  # type: ignore[arg-type]

    def seed(
        self,
        destination: destinations.Destination,
        objects: Iterable[tuple[str, str, int]],
        *,
        list_version: int,
        complete: bool = True,
        allow_prune: int = 0,
        resource: str = "configmaps",
        served: str = "v1",
    ) -> str:
        """A whole seed of ConfigMaps (name, value, version), closed by SEED_SYNC; its run id.

        `served` is the version of the type; of another resource than ConfigMaps it finds none.
        """
        key = seeds.ScopeKey("", resource, "shop")
        run = self.begin_seed(destination, key, served=served, allow_prune=allow_prune)
        entries = [
            _served(served, self.event(destination, name, value, version=version, seed=run))
            for name, value, version in objects
        ]
        if entries:
            self.write(*entries)
        self.close_seed(destination, run, key, listed=len(entries), list_version=list_version, complete=complete)
        return run

    def begin_seed(
        self,
        destination: destinations.Destination,
        key: seeds.ScopeKey = CONFIG_MAPS,
        *,
        served: str = "v1",
        allow_prune: int = 0,
    ) -> str:
        """A seed whose rows a test writes itself, and closes with `close_seed`; its run id."""
        with self.database.write() as connection:
            return seeds.start(
                connection, destination_id=destination.id, place_id=destination.place_id, cause="test",
                scopes=[(key, served, True)], allow_prune=allow_prune,
            )  # fmt: skip

    def close_seed(
        self,
        destination: destinations.Destination,
        run: str,
        key: seeds.ScopeKey = CONFIG_MAPS,
        *,
        listed: int,
        list_version: int,
        complete: bool = True,
    ) -> None:
        """Write the SEED_SYNC of a seed whose rows are in the ledger."""
        with self.database.write() as connection:
            numbers = ledger.take_numbers(connection, {destination.id: 1})
            seeds.add_written(connection, run, key, listed)
            if complete:
                seeds.complete(connection, run, key, listed=listed, resource_version=str(list_version))
            else:
                seeds.fail(connection, run, key, reason="Forbidden")
            sync = events.Event.create(
                cluster="home", source_epoch=1, operation=Operation.SEED_SYNC, identifier=None, resource_version="",
                observed_at=datetime.now(UTC), destination=destination.ref, destination_uid=destination.uid,
                repo_config=destination.repo_config, branch=destination.branch, base_folder=destination.base_folder,
                place_generation=destination.place_generation, rule="seed", seed=run,
            )  # fmt: skip
            ledger.append(connection, [ledger.Entry(destination.id, destination.place_id, sync, None)], numbers)
            seeds.finish(connection, run, state=seeds.SYNCED)

    def drain(self, destination: destinations.Destination) -> draining.Outcome:
        """Drain everything, without waiting for a former `not_before`."""
        with self.database.write() as connection:
            destinations.put_off(connection, destination.id, seconds=-1.0)
        return self.drainer.drain(destination.ref)

    def is_due(self, destination: destinations.Destination) -> bool:
        """Whether a destination may be drained now."""
        with self.database.read() as connection:
            found = destinations.by_id(connection, destination.id)
        assert found is not None
        return found.due

    def states(self, destination: destinations.Destination) -> list[str]:
        """The states of a destination's rows, in order."""
        with self.database.read() as connection:
            row = ledger.EventRow
            return list(
                connection.scalars(select(row.state).where(row.destination_id == destination.id).order_by(row.sequence))
            )

    def reason(self, destination: destinations.Destination, sequence: int) -> str | None:
        """Why a row ended as it did."""
        with self.database.read() as connection:
            row = ledger.EventRow
            return connection.scalar(
                select(row.state_reason).where(row.destination_id == destination.id, row.sequence == sequence)
            )

    def error(self, destination: destinations.Destination) -> tuple[str | None, str | None]:
        """(reason, message) of the destination's last error."""
        row = destinations.GitDestinationRow
        with self.database.read() as connection:
            return tuple(  # type: ignore[return-value]
                connection.execute(select(row.last_error_reason, row.last_error).where(row.id == destination.id)).one()
            )

    def recorded(self) -> list[str]:
        """The recorded commits, in order."""
        with self.database.read() as connection:
            return list(connection.scalars(select(commits.CommitRow.sha).order_by(commits.CommitRow.id)))

    def git(self, *arguments: str) -> str:
        """Run git on the bare repository."""
        return run_git("-C", str(self.repository), *arguments)

    def log(self, branch: str = "main") -> list[str]:
        """Commits of a branch, oldest first."""
        return self.git("rev-list", "--reverse", branch).split()

    def files(self, branch: str = "main") -> dict[str, str]:
        """Path -> `data.value` of the ConfigMaps on a branch; the raw text of other files."""
        found = {}
        for path in self.git("ls-tree", "-r", "--name-only", "-z", branch).split("\0")[:-1]:
            text = self.git("show", f"{branch}:{path}")
            value = [line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("  value: ")]
            found[path] = value[0] if value else text
        return found

    def somebody_pushes(
        self, tmp_path: Path, path: str, text: str, *, branch: str = "main", force: bool = False, replaces: str = ""
    ) -> str:
        """Another person commits a file, in place of another one, and pushes it; the sha."""
        clone = tmp_path / f"clone-{len(list(tmp_path.iterdir()))}"
        run_git("clone", "--quiet", "--branch", branch, str(self.repository), str(clone))
        if replaces:
            (clone / replaces).unlink()
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text)
        run_git("-C", str(clone), "add", "-A")
        run_git("-C", str(clone), "commit", "--quiet", "-m", "somebody else")
        run_git("-C", str(clone), "push", "--quiet", *(["--force"] if force else []), "origin", f"HEAD:{branch}")
        return run_git("-C", str(clone), "rev-parse", "HEAD").strip()


def _served(version: str, entry: ledger.Entry) -> ledger.Entry:
    """The Event of an object as this version of its type has it."""
    what = entry.event.identifier
    assert what is not None
    return replace(entry, event=replace(entry.event, identifier=replace(what, version=version)))


def _identifier(namespace: str, name: str, uid: str) -> events.Identifier:
    return events.Identifier("", "v1", "configmaps", namespace, name, "ConfigMap", uid)


def configmap(name: str, value: str, namespace: str = "shop") -> dict[str, object]:
    """A sanitised ConfigMap."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


def path_of(name: str, folder: str = "clusters/prod") -> str:
    """Where a ConfigMap of these tests stands."""
    return f"{folder}/v1/configmaps/shop/{name}.yaml"


def run_git(*arguments: str) -> str:
    """Run git; its output."""
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout
