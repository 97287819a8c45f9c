"""Cluster, record and Git beside each other, file by file, for `reverser verify`. Nothing is changed by it.

Every selected object is read and written as a drain would write it, the tip of the branch is fetched into a folder
that is gone afterwards, and the inventory says what Reverser believes. All of that moves while it is read: what differs
is looked at once more, and counts when it is still the same. Neighbours: `verify.py` is the command, `surveying.py`
compiles the rules, `weighing.py` asks them.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from app import db, errors, events, settings
from app.cli import rendering, surveying, weighing
from app.drain import credentials, sweeping
from app.events import Operation
from app.git import cache as caches
from app.git import commits as git_commits
from app.git import objects, problems, trees
from app.git import remote as remotes
from app.git.names import BlobId
from app.kube import client, listing
from app.models import destinations, inventory, ledger, rules, states
from app.rules import foreign, matching, sanitising, selecting, types
from app.rules import paths as files
from app.rules import rendering as yaml
from app.watch import judging, routing

# What may be said of a path.
MISSING = "the object is in the cluster, and Git has no file"
DIFFERS = "the file is not what the object is written as"
FOREIGN = "a file that Reverser did not write stands where the object's belongs: move it away in Git"
UNRECORDED = "the file is right, and the record does not know it"
GONE = "the object is gone or selected no more, and its file is there"
KEPT = "the file is kept: no rule selects its object, or removes it"
STRAY = "a file as Reverser writes them, of which there is no record, and whose object no rule finds"
LOST = "the record says that the file is there, and Git has none"
UNWRITABLE = "the object cannot be written"

# Somebody's tree may be made to look endless.
_FILES_LOOKED_AT = 500_000
# What changed a moment ago is recorded within this, in seconds.
_SETTLES = 2.0


@dataclass(frozen=True, slots=True)
class Difference:
    """One path where the three do not agree. `pending` says that a change of its object is on its way."""

    path: str
    what: str
    pending: bool

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be done about it."""
        return not self.pending and self.what not in {KEPT, STRAY}


@dataclass(frozen=True, slots=True)
class Stray:
    """A file that says by path and content whose it is, and of which there is no record.

    `type_` is the one that the cluster serves, in its preferred version; None where it serves none.
    """

    path: str
    blob: str
    identifier: events.Identifier
    type_: types.ResourceType | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared. `commit` is the tip that was looked at, None where there is no branch.

    While a seed goes on (`seeding`), everything may be on its way.
    """

    destination: str
    branch: str
    commit: str | None
    objects: int
    files: int
    pending: int
    seeding: bool
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs but what is on its way, and what is kept on purpose."""
        return not any(one.is_wrong for one in self.differences)


def verify(
    view: surveying.View, database: db.Database, cluster: client.Cluster, destination: destinations.Destination
) -> Verified:
    """Compare them. Raises as the cluster, the database and the Git host answer."""
    verifier = _Verifier(view, database, cluster, destination)
    first = verifier.look()
    verified = first.verified(destination)
    if verified.is_equal:
        return verified
    time.sleep(_SETTLES)
    second = verifier.look()
    found = {
        path: sighting if sighting == first.found.get(path) else replace(sighting, pending=True)
        for path, sighting in second.found.items()
    }
    return replace(second, found=found).verified(destination)


def strays(
    view: surveying.View, database: db.Database, cluster: client.Cluster, destination: destinations.Destination
) -> Sequence[Stray]:
    """The files without a record of what no rule selects, or that is gone. Raises as `verify` does."""
    return _Verifier(view, database, cluster, destination).look().strays


@dataclass(frozen=True, slots=True)
class _Sighting:
    """What was seen of a path, with the blobs that Git has and that the object is written as."""

    what: str
    blobs: tuple[str | None, str | None]
    pending: bool


@dataclass(frozen=True, slots=True)
class _Look:
    """One comparison: what differs, by path."""

    commit: str | None
    objects: int
    files: int
    pending: int
    seeding: bool
    found: Mapping[str, _Sighting]
    strays: Sequence[Stray] = ()

    def verified(self, destination: destinations.Destination) -> Verified:
        return Verified(
            destination=str(destination.ref),
            branch=destination.branch,
            commit=self.commit,
            objects=self.objects,
            files=self.files,
            pending=self.pending,
            seeding=self.seeding,
            differences=tuple(
                Difference(path, one.what, one.pending or self.seeding) for path, one in sorted(self.found.items())
            ),
        )


class _Verifier:
    """Looks at cluster, Git and record, in this order."""

    def __init__(
        self,
        view: surveying.View,
        database: db.Database,
        cluster: client.Cluster,
        destination: destinations.Destination,
    ) -> None:
        self._settings, self._database, self._cluster, self._destination = view.settings, database, cluster, destination
        self._scopes = selecting.scopes_of(view.survey.compilation, destination.ref)
        self._scale = weighing.Scale(view.survey, destination.ref)
        self._served = {one.key: one for one in view.survey.types.served if one.preferred}

    def look(self) -> _Look:
        """Compare them once."""
        read = self._read_cluster()
        with _tip(self._settings, self._cluster, self._destination) as (commit, tree):
            # After Git: what is pushed in between is missed here, and the second look finds it.
            with self._database.read() as connection:
                place_id = self._destination.place_id
                recorded = {one.path: one for one in inventory.present(connection, place_id)}
                most = 2 * self._settings.max_pending
                rows = ledger.pending(connection, self._destination.id, place_id=place_id, limit=most)
                seeding = bool(states.in_seed(connection, [self._destination.id]))
                removers = sweeping.Removers(rules.specs_of(connection, self._destination.id))
            there = {path: _blob(tree, path) for path in {*read.written, *recorded}}
            found_strays = _strays(tree, self._destination.base_folder, known=there, served=self._served)
            strays = [one for one in found_strays if inventory.key_of(one.identifier) not in read.objects]
        pending = {path for row in rows if (path := _path(row, self._destination.base_folder))}
        judge = _Judge(read, recorded, removers, routing.marks(self._scopes), self._destination)
        found = {
            path: _Sighting(what, (blob, read.blob(path)), path in pending)
            for path, blob in there.items()
            if (what := judge.of(path, blob))
        }
        found |= {path: _Sighting(UNWRITABLE, (None, None), path in pending) for path in read.unwritable}
        return _Look(
            commit=commit,
            objects=len(read.written) + len(read.unwritable),
            files=sum(blob is not None for blob in there.values()),
            pending=len(rows),
            seeding=seeding,
            found=found | {one.path: _Sighting(STRAY, (one.blob, None), one.path in pending) for one in strays},
            strays=strays,
        )

    def _read_cluster(self) -> _Read:
        read = _Read(self._destination.base_folder)
        for scope in self._scopes:
            if scope.type.key == matching.SECRETS:
                continue
            pages = listing.list_pages(self._cluster, scope.type, scope.namespace, page_size=self._settings.page_size)
            for item in (item for page in pages for item in page.items):
                content = {"apiVersion": scope.type.api_version, "kind": scope.type.kind, **item}
                read.take(rendering.Subject("the cluster", scope.type, content), self._scale)
        return read


@dataclass(frozen=True, slots=True)
class _Written:
    """An object as a drain would write it. A rule without CREATE, or without UPDATE, does not always do so."""

    blob: str
    on_create: bool
    on_update: bool


class _Read:
    """What the cluster has: the objects of the types that are selected, and by path how the rules have them written."""

    def __init__(self, base_folder: str) -> None:
        self.written: dict[str, _Written] = {}
        # Object -> whether the rules have it written; those that are not selected are here, too.
        self.objects: dict[inventory.Key, bool] = {}
        self.unwritable: list[str] = []
        self._base_folder = base_folder

    def blob(self, path: str) -> str | None:
        """What the object of a path is written as."""
        return self.written[path].blob if path in self.written else None

    def take(self, subject: rendering.Subject, scale: weighing.Scale) -> None:
        """One object; one that is being deleted is as good as gone."""
        if subject.content["metadata"].get("deletionTimestamp"):
            return
        selection = scale.selection(subject)
        operations = set(selection.rules) if selection else set()
        is_written = not operations <= {Operation.DELETE}
        self.objects[inventory.key_of(subject.identifier)] = is_written
        if selection is None or not is_written:
            return
        try:
            path = files.object_path(self._base_folder, subject.identifier)
            clean = sanitising.sanitise(subject.content, selection.ignored)
            blob = objects.blob_id(yaml.render(orjson.loads(sanitising.body(clean))))
        except (errors.PermanentError, ValueError):
            self.unwritable.append(str(subject))
            return
        self.written[path] = _Written(
            blob, on_create=Operation.CREATE in operations, on_update=Operation.UPDATE in operations
        )


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says what is wrong with a path, or nothing."""

    read: _Read
    recorded: Mapping[str, inventory.Item]
    removers: sweeping.Removers
    marks: routing.Marks
    destination: destinations.Destination

    def of(self, path: str, blob: str | None) -> str:
        """The difference, empty where there is none. `blob` is what Git has, None for nothing."""
        item, written = self.recorded.get(path), self.read.written.get(path)
        if written is None:
            return LOST if blob is None else GONE if self._goes(self.recorded[path]) else KEPT
        if blob is None:
            return MISSING if written.on_create or item is not None else ""
        if blob != written.blob and item is None:
            return FOREIGN
        if blob != written.blob:
            return DIFFERS if written.on_update else ""
        return "" if item is not None and item.blob_id == blob else UNRECORDED

    def _goes(self, item: inventory.Item) -> bool:
        """Whether a file goes at whose path no object is written: by a sweep, or with a change of its object."""
        what, policy = item.identifier, self.destination.pruning.policy
        mark = judging.mark_of(what.group, what.resource, what.namespace, marks=self.marks)
        is_written = self.read.objects.get(inventory.key_of(what))
        if mark is None or not self.removers.of(item):
            return False
        if is_written is None:
            return policy.removes_orphans
        if is_written:
            # The object has its file at the path of another version of its type.
            return True
        # What a change of rules left behind is kept; what the object's own change did, a deletion followed.
        return item.selection == mark and policy.removes_deleted


@contextlib.contextmanager
def _tip(
    options: settings.Settings, cluster: client.Cluster, destination: destinations.Destination
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
            credentials=credentials.CredentialSource(options, cluster).of(destination),
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


def _strays(
    tree: trees.TreeEditor,
    base_folder: str,
    *,
    known: Container[str],
    served: Mapping[tuple[str, str], types.ResourceType],
) -> Iterator[Stray]:
    """What looks like a file of ours and is not known; other files of that folder are nobody's business."""
    with contextlib.suppress(problems.ForeignContentError):
        for path, blob in itertools.islice(tree.files(base_folder, depth=files.MOST_SEGMENTS), _FILES_LOOKED_AT):
            if path not in known and files.may_be_canonical(base_folder, path) and (said := _identity(tree, blob)):
                location = files.decode(base_folder, path, name=said.name)
                what = location.identifier(kind=said.kind) if location else None
                type_ = served.get((what.group, what.resource)) if what else None
                if what and _is_of(said, what, type_):
                    yield Stray(path, blob, what, type_)


def _identity(tree: trees.TreeEditor, blob: BlobId) -> foreign.FileIdentity | None:
    try:
        return foreign.identity_of(tree.read(blob, foreign.MAX_BYTES))
    except errors.PermanentError:
        return None


def _is_of(said: foreign.FileIdentity, what: events.Identifier, type_: types.ResourceType | None) -> bool:
    """Whether a file says what its path says, and the type has such objects."""
    if said != (what.api_version, what.kind, what.namespace, what.name):
        return False
    return type_ is None or (type_.kind, type_.namespaced) == (what.kind, bool(what.namespace))


def _path(row: ledger.Pending, base_folder: str) -> str | None:
    with contextlib.suppress(errors.PermanentError):
        return None if row.operation is Operation.SEED_SYNC else files.object_path(base_folder, row.identifier)
    return None
