"""Cluster, record and Git beside each other, file by file, for `reverser verify`. Nothing is changed by it.

Every selected object is read and written as a drain would write it, the tip of the branch is fetched into a folder
that is gone afterwards, and the inventory says what Reverser believes. Neighbours: `verify.py` is the command,
`surveying.py` compiles the rules, `weighing.py` asks them.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from app import db, errors, settings
from app.cli import rendering, surveying, weighing
from app.drain import credentials
from app.events import Operation
from app.git import cache as caches
from app.git import commits as git_commits
from app.git import objects, trees
from app.git import remote as remotes
from app.kube import client, listing
from app.models import destinations, inventory, ledger
from app.rules import matching, sanitising, selecting
from app.rules import paths as files
from app.rules import rendering as yaml

# What may be said of a path.
MISSING = "the object is in the cluster, and Git has no file"
DIFFERS = "the file is not what the object is written as"
UNRECORDED = "the file is right, and the record does not know it"
GONE = "the object is gone, and its file is there"
KEPT = "the file is kept: no rule selects its object, or removes it"
LOST = "the record says that the file is there, and Git has none"
UNWRITABLE = "the object cannot be written"


@dataclass(frozen=True, slots=True)
class Difference:
    """One path where the three do not agree. `pending` says that a change of its object is on its way."""

    path: str
    what: str
    pending: bool

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be done about it."""
        return not self.pending and self.what != KEPT


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared. `commit` is the tip that was looked at, None where there is no branch."""

    destination: str
    branch: str
    commit: str | None
    objects: int
    files: int
    pending: int
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs but what is on its way, and what is kept on purpose."""
        return not any(one.is_wrong for one in self.differences)


def verify(
    view: surveying.View, database: db.Database, cluster: client.Cluster, destination: destinations.Destination
) -> Verified:
    """Compare them. Raises as the cluster, the database and the Git host answer."""
    scale = weighing.Scale(view.survey, destination.ref)
    read = _Read(destination.base_folder)
    for scope in selecting.scopes_of(view.survey.compilation, destination.ref):
        if scope.type.key != matching.SECRETS:
            pages = listing.list_pages(cluster, scope.type, scope.namespace, page_size=view.settings.page_size)
            for item in (item for page in pages for item in page.items):
                content = {"apiVersion": scope.type.api_version, "kind": scope.type.kind, **item}
                read.take(rendering.Subject("the cluster", scope.type, content), scale)
    # Git before the record: what is pushed in between is in the record, and missed here for a moment only.
    with _tip(view.settings, destination) as (commit, tree):
        with database.read() as connection:
            recorded = {one.path: one for one in inventory.present(connection, destination.place_id)}
            rows = ledger.pending(
                connection, destination.id, place_id=destination.place_id, limit=2 * view.settings.max_pending
            )
        there = {path: _blob(tree, path) for path in {*read.written, *recorded}}
    pending = {path for row in rows if (path := _path(row, destination.base_folder))}
    judge = _Judge(read, recorded, scale, destination)
    found = [(path, what) for path, blob in there.items() if (what := judge.of(path, blob))]
    found += [(path, UNWRITABLE) for path in read.unwritable]
    return Verified(
        destination=str(destination.ref),
        branch=destination.branch,
        commit=commit,
        objects=len(read.written) + len(read.unwritable),
        files=sum(blob is not None for blob in there.values()),
        pending=len(rows),
        differences=tuple(Difference(path, what, path in pending) for path, what in sorted(found)),
    )


class _Read:
    """What the cluster has: path -> blob of what the rules have written, and the paths of all that is there."""

    def __init__(self, base_folder: str) -> None:
        self.written: dict[str, str] = {}
        # Written with the next change only: rules that do not select CREATE.
        self.later: set[str] = set()
        self.unwritable: list[str] = []
        self.present: set[str] = set()
        self._base_folder = base_folder

    def take(self, subject: rendering.Subject, scale: weighing.Scale) -> None:
        """One object; one that is being deleted is as good as gone."""
        if subject.content["metadata"].get("deletionTimestamp"):
            return
        path = files.object_path(self._base_folder, subject.identifier)
        self.present.add(path)
        selection = scale.selection(subject)
        if selection is None or selection.rules.keys().isdisjoint({Operation.CREATE, Operation.UPDATE}):
            return
        if Operation.CREATE not in selection.rules:
            self.later.add(path)
        try:
            clean = sanitising.sanitise(subject.content, selection.ignored)
            self.written[path] = objects.blob_id(yaml.render(orjson.loads(sanitising.body(clean))))
        except (errors.PermanentError, ValueError):
            self.unwritable.append(path)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says what is wrong with a path, or nothing."""

    read: _Read
    recorded: Mapping[str, inventory.Item]
    scale: weighing.Scale
    destination: destinations.Destination

    def of(self, path: str, blob: str | None) -> str:
        """The difference, empty where there is none. `blob` is what Git has, None for nothing."""
        item = self.recorded.get(path)
        if path not in self.read.written:
            return LOST if blob is None else self._left(path)
        if blob is None:
            return "" if path in self.read.later and item is None else MISSING
        if blob != self.read.written[path]:
            return DIFFERS
        return "" if item is not None and item.blob_id == blob else UNRECORDED

    def _left(self, path: str) -> str:
        item = self.recorded[path]
        if path in self.read.present or not self.destination.pruning.on_sweep:
            return KEPT
        return GONE if self.scale.matcher.remover(item.identifier, self.destination.ref, noted=item.remover) else KEPT


@contextlib.contextmanager
def _tip(
    options: settings.Settings, destination: destinations.Destination
) -> Iterator[tuple[str | None, trees.TreeEditor]]:
    """The tip of the branch and its tree; without a branch, nothing and the empty tree."""
    with (
        tempfile.TemporaryDirectory(prefix="reverser-verify-") as scratch,
        contextlib.closing(remotes.Helpers(Path(scratch))) as helpers,
        caches.open_cache(Path(scratch), destination.url_key) as cache,
    ):
        remote = remotes.Remote(
            url=destination.url,
            transport=destination.transport,
            credentials=credentials.CredentialSource(options).of(destination),
            timeout=options.git_timeout,
        )
        tip = helpers.fetch(remote, cache, branch=destination.branch, until=None).tip
        yield tip, trees.TreeEditor(cache, git_commits.tree_of(cache, tip) if tip else None)


def _blob(tree: trees.TreeEditor, path: str) -> str | None:
    try:
        found = tree.get(path)
    except errors.PermanentError:
        # The path leads through something that is no folder.
        return ""
    return found.id if found else None


def _path(row: ledger.Pending, base_folder: str) -> str | None:
    with contextlib.suppress(errors.PermanentError):
        return None if row.operation is Operation.SEED_SYNC else files.object_path(base_folder, row.identifier)
    return None
