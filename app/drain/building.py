"""Rows into commits: render, blobs, trees along the changed paths, one commit per unit, all in the local cache.

Nothing here touches the remote or the database's rows; the result is a `planning.Plan`. A row that cannot be
rendered, or whose path holds something foreign, ends dead with its reason and the others go on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import orjson
import structlog

from app import db, errors, failpoints, settings
from app.drain import deciding, planning, sweeping
from app.events import Operation
from app.git import cache as caches
from app.git import commits as git_commits
from app.git import objects, trees
from app.git.names import BlobId, Sha
from app.models import base, commits, destinations, inventory, ledger, places
from app.rules import commits as texts
from app.rules import foreign, paths, rendering

log = structlog.get_logger()

# Why a row that removes a file ends without a change.
CHANGED_IN_GIT, GONE_FROM_GIT = "the file was changed in Git: remove it there", "the file is gone from Git already"

# Bodies in memory at a time: a statement has to end within seconds, on a slow network too, and a body has up to 5 MB.
ROWS_PER_READ = 200
BYTES_PER_READ = 8_000_000
# RBAC names have no limit in Kubernetes; an index of PostgreSQL takes 2,704 bytes, and three names stand in one.
MAX_NAME_BYTES = 1_000
# A file larger than this is not read to find out whose it is.
ADOPTION_BYTES = 2_000_000


@dataclass(slots=True)
class Timings:
    """Seconds spent, for the bench and the log."""

    render: float = 0.0
    trees: float = 0.0


class Builder:
    """Builds one plan on one parent."""

    def __init__(
        self,
        *,
        cache: caches.Cache,
        base: Sha | None,
        destination: destinations.Destination,
        database: db.Database,
        options: settings.Settings,
    ) -> None:
        self._cache = cache
        self._destination = destination
        self._database = database
        self._options = options
        self._editor = trees.TreeEditor(cache, None if base is None else git_commits.tree_of(cache, base))
        self._items: dict[str, inventory.Item] = {}
        self.plan = planning.Plan(base=base)
        self.timings = Timings()

    def build(self, rows: Sequence[ledger.Pending], *, max_commits: int) -> planning.Plan:
        """Plan the first rows of `rows`, up to `max_commits` commits. Rows without an entry in `ends` stay pending."""
        started = time.perf_counter()
        with self._database.read() as connection:
            self._items = inventory.by_paths(connection, self._destination.place_id, list(self._paths(rows)))
        bodies = _Bodies(self._database, self._destination.id, rows)
        for unit in planning.units(rows, seed_rows=self._options.seed_commit_rows):
            if len(self.plan.commits) >= max_commits:
                break
            if unit.kind == "sweep":
                self._sweep(unit.rows[0])
            else:
                self._apply(unit, bodies)
        self._cache.store()
        self.timings.trees = time.perf_counter() - started - self.timings.render
        return self.plan

    def _paths(self, rows: Iterable[ledger.Pending]) -> Iterable[str]:
        return {path for row in rows if (path := self._path(row)) is not None}

    def _path(self, row: ledger.Pending) -> str | None:
        return path_of(row, self._destination.base_folder)

    def _apply(self, unit: planning.Unit, bodies: _Bodies) -> None:
        changes: dict[str, commits.Change] = {}
        changed: list[ledger.Pending] = []
        first, size = unit.rows[0], 0
        for row in unit.rows:
            body = bodies.of(row)
            made = self._apply_row(row, body)
            if made is not None:
                changes[made.path] = made
                changed.append(row)
                size += len(body or b"")
            if size > self._options.seed_commit_bytes:
                self._commit(unit, changes, changed, first=first, last=row)
                changes, changed, size, first = {}, [], 0, row
        if changes:
            self._commit(unit, changes, changed, first=first, last=unit.rows[-1])

    def _apply_row(self, row: ledger.Pending, body: bytes | None) -> commits.Change | None:
        """Change the tree as one row says; None when it ends without a change."""
        path = self._path(row)
        if path is None or len(base.escape(row.identifier.name).encode()) > MAX_NAME_BYTES:
            self.plan.end(row, ledger.DEAD, f"the object's name has no path, or more than {MAX_NAME_BYTES} bytes")
            return None
        item = self._items.get(path)
        verdict = deciding.judge(row, item)
        try:
            if verdict is deciding.WRITE and row.seed_run_id is None:
                verdict = self._behind_predecessor(row, path, item) or verdict
            if isinstance(verdict, deciding.End):
                self.plan.end(row, verdict.state, verdict.reason)
                return None
            if isinstance(verdict, deciding.Remove):
                return self._remove_adopted(row, path, body) if row.is_adopted else self._remove(row, path, item)
            return self._write(row, path, item, body)
        except errors.PermanentError as error:
            self.plan.end(row, ledger.DEAD, error.message)
            log.warning("row_dead", destination=str(self._destination.ref), sequence=row.sequence, reason=error.reason)
            return None

    def _behind_predecessor(self, row: ledger.Pending, path: str, item: inventory.Item | None) -> deciding.End | None:
        """The end of a live row that is behind what a predecessor in the folder recorded of what stands at its path.

        A stream may come from further back than the predecessor had come. Its record of the row's own object is ours
        then, as if we had made it: a deletion that comes later removes the file. Another object that has the name by
        now brings rows of its own, if it is selected.
        """
        there = self._editor.get(path)
        blob = None if there is None else there.id
        if (item is not None and item.blob_id == blob) or not self._earlier:
            return None
        with self._database.read() as connection:
            found = inventory.describing(connection, self._earlier, path=path, blob_id=blob)
        for one in found:
            verdict = deciding.judge(row, one)
            if isinstance(verdict, deciding.End):
                self._take_over(row, one)
                return verdict
        return None

    def _take_over(self, row: ledger.Pending, item: inventory.Item) -> None:
        """A predecessor's record is ours, with what selects the row, where it is of the row's own object."""
        if item.identifier.uid == row.identifier.uid:
            marked = replace(item, selection=row.selection, rule=row.rule, remover=row.remover)
            self._keep(replace(marked, seed_run_id=None, orphan=None))

    @functools.cached_property
    def _earlier(self) -> list[int]:
        """Who had the folder before; read once, and only if it matters."""
        with self._database.read() as connection:
            return places.earlier_in_folder(connection, self._destination.place_id)

    def _write(
        self, row: ledger.Pending, path: str, item: inventory.Item | None, body: bytes | None
    ) -> commits.Change | None:
        text = self._render(body)
        blob = objects.blob_id(text)
        there = self._editor.get(path)
        if there is not None and there.id != blob and (item is None or item.removed):
            self._check_adoption(row, path, BlobId(there.id))
        self._note(row, path, blob=blob)
        if there is not None and there.kind == "blob" and there.id == blob:
            self.plan.end(row, ledger.UNCHANGED)
            return None
        self._editor.put(path, self._editor.blob(text))
        failpoints.reach("after_blob")
        return change(row, path, blob)

    def _render(self, body: bytes | None) -> bytes:
        if body is None:
            raise errors.PermanentError("the object of this row is missing in the ledger", reason="BodyMissing")
        started = time.perf_counter()
        try:
            return rendering.render(_object(body))
        except (ValueError, TypeError, RecursionError, UnicodeError) as error:
            # The text of these errors quotes the object.
            raise errors.PermanentError(
                f"the object cannot be written as YAML ({type(error).__name__})", reason="CannotRender"
            ) from None
        finally:
            self.timings.render += time.perf_counter() - started

    def _check_adoption(self, row: ledger.Pending, path: str, blob: BlobId) -> None:
        """Promise P2: a file without an inventory row is ours to write only if it is this very object's."""
        what = row.identifier
        try:
            found = foreign.identity_of(self._editor.read(blob, ADOPTION_BYTES))
        except errors.PermanentError:
            found = None
        if found != (what.api_version, what.kind, what.namespace, what.name):
            raise errors.PermanentError(
                f"{path} holds a file that is not this object's: it is left as it is; move it away in Git",
                reason="ForeignContent",
            )

    def _remove(self, row: ledger.Pending, path: str, item: inventory.Item | None) -> commits.Change | None:
        if item is not None and not row.is_pruned and not self._destination.pruning.policy.removes_deleted:
            # The version of the deletion keeps older rows from writing the object anew.
            kept = replace(
                item, resource_version=row.resource_version, source_epoch=row.source_epoch, orphan=inventory.KEPT
            )
            self._keep(kept)
            self.plan.end(row, ledger.UNCHANGED, f"spec.prune is {self._destination.pruning.policy}: the file stays")
            return None
        there = self._editor.get(path)
        if row.is_pruned and there is not None and (item is None or there.id != item.blob_id):
            self.plan.end(row, ledger.STALE, CHANGED_IN_GIT)
            return None
        self._note(row, path, blob=None)
        if there is None:
            self.plan.end(row, ledger.UNCHANGED, GONE_FROM_GIT)
            return None
        self._editor.remove(path)
        return change(row, path, None)

    def _remove_adopted(self, row: ledger.Pending, path: str, body: bytes | None) -> commits.Change | None:
        """A file without a record, as a person saw it. No tombstone: there is no version of it that could come late."""
        there = self._editor.get(path)
        if there is None or there.id.encode() != body:
            self.plan.end(row, ledger.STALE, GONE_FROM_GIT if there is None else CHANGED_IN_GIT)
            return None
        self._check_adoption(row, path, BlobId(there.id))
        self._editor.remove(path)
        return change(row, path, None)

    def _note(self, row: ledger.Pending, path: str, *, blob: BlobId | None) -> None:
        before = self._items.get(path)
        run = row.seed_run_id or (before.seed_run_id if before else None)
        self._keep(item_of(row, path, blob, seed_run_id=run))

    def _keep(self, item: inventory.Item) -> None:
        """What the inventory will say of a path."""
        self._items[item.path] = self.plan.items[item.path] = item

    def _commit(
        self,
        unit: planning.Unit,
        changes: Mapping[str, commits.Change],
        rows: Sequence[ledger.Pending],
        *,
        first: ledger.Pending,
        last: ledger.Pending,
    ) -> None:
        if unit.kind == "seed":
            subject = texts.seed_subject(len(changes), self._destination.ref)
            author = texts.COMMITTER
            ids = self._ids(first, last)
        elif unit.kind == "prune":
            subject = texts.prune_subject(len(changes), self._destination.ref, rows[0].user)
            author = texts.author(rows[0].user)
            ids = self._ids(first, last)
        else:
            subject = texts.subject(rows[0].operation, rows[0].identifier, rows[0].user)
            author = texts.author(rows[0].user)
            ids = [first.id]
        self._write_commit(
            changes=tuple(changes.values()), subject=subject, author=author,
            first=first.sequence, last=last.sequence, ids=ids,
        )  # fmt: skip
        for row in rows:
            self.plan.end(row, ledger.PUSHED, commit=len(self.plan.commits) - 1)

    def _ids(self, first: ledger.Pending, last: ledger.Pending) -> list[str]:
        with self._database.read() as connection:
            return ledger.ids_between(connection, self._destination.id, first=first.sequence, last=last.sequence)

    def _write_commit(
        self,
        *,
        changes: tuple[commits.Change, ...],
        subject: str,
        author: tuple[str, str],
        first: int,
        last: int,
        ids: Sequence[str],
        body: str = "",
    ) -> None:
        trailers = texts.trailers(
            destination=self._destination.ref,
            ledger=self._destination.ledger_uuid,
            first=first,
            last=last,
            ids=ids,
        )
        message = texts.message(subject, trailers=trailers, body=body)
        sha = git_commits.write_commit(
            self._cache,
            tree=self._editor.write(),
            parent=self.plan.head or self.plan.base,
            author=author,
            committer=texts.COMMITTER,
            message=message,
            time=datetime.now(UTC),
        )
        failpoints.reach("after_commit")
        self.plan.commits.append(
            commits.NewCommit(
                sha=sha, author=f"{author[0]} <{author[1]}>", message=message, first_sequence=first,
                last_sequence=last, changes=changes,
            )
        )  # fmt: skip

    def _sweep(self, row: ledger.Pending) -> None:
        """The end of a seed: remove the orphans that the evidence shows (promises P2, P10, P11)."""
        run = row.seed_run_id or ""
        self.plan.swept.append(run)
        swept = sweeping.find(self._database, destination=self._destination, run=run)
        for item in swept.back:
            self._keep(replace(item, orphan=None))
        for item in swept.kept:
            self._keep(replace(item, orphan=inventory.KEPT))
        if refusal := sweeping.refusal(self._database, destination=self._destination, run=run, swept=swept):
            for orphan in swept.gone:
                self._keep(replace(orphan.item, orphan=inventory.HELD))
            log.warning("sweep_held", destination=str(self._destination.ref), orphans=len(swept.gone))
            self.plan.end(row, ledger.HELD, refusal)
            return
        policy = self._destination.pruning.policy
        stays = [] if policy.removes_orphans else swept.gone
        for orphan in stays:
            self._keep(replace(orphan.item, orphan=inventory.KEPT))
        notes = [f"{len(stays)} orphans stay, because spec.prune is {policy}"] if stays else []
        changes = self._remove_orphans(row, [one for one in swept.orphans if one.moved or policy.removes_orphans])
        if not changes:
            self.plan.end(row, ledger.UNCHANGED, *(notes or ["no orphans"]))
            return
        self._write_commit(
            changes=changes, subject=texts.sweep_subject(len(changes), self._destination.ref),
            author=texts.COMMITTER, first=row.sequence, last=row.sequence, ids=[row.id],
            body=texts.sweep_body([(one.identifier, one.rule) for one in changes]),
        )  # fmt: skip
        reason = "; ".join([f"{len(changes)} orphans removed", *notes])
        self.plan.end(row, ledger.PUSHED, reason, commit=len(self.plan.commits) - 1)

    def _remove_orphans(self, row: ledger.Pending, orphans: Iterable[sweeping.Orphan]) -> tuple[commits.Change, ...]:
        changes = []
        for orphan in orphans:
            self._keep(
                sweeping.tombstone(
                    orphan.item, version=orphan.scope.list_resource_version, epoch=orphan.scope.source_epoch
                )
            )
            if self._remove_orphan(orphan.item.path):
                changes.append(sweeping.change(row, orphan.item, rule=orphan.rule))
        return tuple(changes)

    def _remove_orphan(self, path: str) -> bool:
        try:
            if self._editor.get(path) is None:
                return False
            self._editor.remove(path)
        except errors.PermanentError as error:
            log.warning("orphan_kept", destination=str(self._destination.ref), path=path, reason=error.reason)
            return False
        return True


class _Bodies:
    """The bodies of rows, which are asked for in their order; so many are read at a time."""

    def __init__(self, database: db.Database, destination_id: int, rows: Iterable[ledger.Pending]) -> None:
        self._database, self._destination_id = database, destination_id
        self._unread = [row.sequence for row in rows]
        self._read: dict[int, bytes | None] = {}

    def of(self, row: ledger.Pending) -> bytes | None:
        """The body of a row; None where it has none."""
        if row.sequence not in self._read:
            self._read_on()
        return self._read[row.sequence]

    def _read_on(self) -> None:
        part = self._unread[:ROWS_PER_READ]
        with self._database.read() as connection:
            found = ledger.bodies(connection, self._destination_id, part, most_bytes=BYTES_PER_READ)
        # Behind the last that was found there may be more of them.
        last = max(found, default=part[-1])
        self._read = {sequence: found.get(sequence) for sequence in part if sequence <= last}
        del self._unread[: len(self._read)]


def _object(body: bytes) -> Mapping[str, object]:
    parsed = orjson.loads(body)
    if not isinstance(parsed, dict):
        raise TypeError
    return parsed


def change(row: ledger.Pending, path: str, blob: BlobId | None) -> commits.Change:
    """One row's file in the record of its commit."""
    return commits.Change(
        path=path,
        operation=row.operation.value,
        identifier=row.identifier,
        resource_version=row.resource_version,
        user=row.user,
        rule=row.rule,
        sequence=row.sequence,
        blob_id=blob,
        observed_at=row.observed_at,
    )


def path_of(row: ledger.Pending, base_folder: str) -> str | None:
    """Where a row's object stands; None for the end of a seed, and for an identity that has no path."""
    if row.operation is Operation.SEED_SYNC:
        return None
    try:
        return paths.object_path(base_folder, row.identifier)
    except errors.PermanentError:
        return None


def item_of(row: ledger.Pending, path: str, blob: BlobId | None, *, seed_run_id: str | None) -> inventory.Item:
    """A row's file in the inventory; without a blob, its tombstone."""
    return inventory.Item(
        path=path,
        identifier=row.identifier,
        resource_version=row.resource_version,
        content_hash=row.content_hash,
        blob_id=blob,
        seed_run_id=seed_run_id,
        removed=blob is None,
        source_epoch=row.source_epoch,
        selection=row.selection,
        rule=row.rule,
        remover=row.remover,
    )
