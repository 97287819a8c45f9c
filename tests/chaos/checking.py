"""What has to hold when all is at rest again, whatever was broken on the way: Git, SQL and the API, side by side.

It reads them as anybody may: `git` for the repository, SQL for the record, the API server for what there is. What
should be written of an object says `app/rules`; which objects a rule selects is said here once more, for the few forms
of rules that histories use. `test_checking.py` plants each kind of damage and sees that it is found.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from app import events
from app.rules import paths, rendering, sanitising
from tests.chaos.playing import SEQ, Journal, Key
from tests.system.repository import Repository

Object = Mapping[str, Any]
Row = Mapping[str, Any]

# lost: the cluster has it, and Git has not, or has an older state. wrong: Git has, or had, what nobody wrote, or lost
# what nobody removed. repeated: the same change twice, or a commit that changes nothing. record: SQL and Git differ, or
# something is still on its way.
Kind = Literal["lost", "wrong", "repeated", "record"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_NUMBER = re.compile(rb'^ +seq: "(\d+)"$', re.MULTILINE)
assert SEQ.encode() in _NUMBER.pattern


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """One thing that does not hold."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class Scene:
    """Everything that is looked at. `objects` are of the kinds that rules may select, with apiVersion and kind."""

    repository: Repository
    rows: Callable[[str], Sequence[Row]]
    journal: Journal
    objects: Sequence[Object]
    destinations: Sequence[Object]
    rules: Sequence[Object]
    # Group and plural of the types that are served.
    served: frozenset[tuple[str, str]]
    # Branch and path of what was selected at an earlier rest, since which only objects changed.
    selected_before: frozenset[tuple[str, str]] = frozenset()

    def branches(self) -> list[str]:
        """The branches that there are."""
        return self.repository.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").split()


def check(scene: Scene) -> list[Complaint]:
    """Everything that does not hold; nothing where all is well."""
    commits = {branch: list(_commits(scene.repository, branch)) for branch in scene.branches()}
    inventory = _Inventory.read(scene)
    return sorted(
        {
            *_check_trees(scene, inventory),
            *_check_commits(scene, commits),
            *_check_record(scene, commits, inventory),
            *_check_rest(scene),
        }
    )


def selected(scene: Scene) -> frozenset[tuple[str, str]]:
    """Branch and path of each file of an object that a rule selects now."""
    places = (_place(scene, one) for one in scene.destinations)
    return frozenset(
        (place.branch, _path(place.folder, one)) for place in places for one in scene.objects if place.selects(one)
    )


# Trees.


@dataclass(frozen=True)
class _Place:
    """Where a destination writes now, and what it selects there."""

    ref: str
    branch: str
    folder: str
    # Group and plural -> the labels that an object needs, of each rule item.
    selected: Mapping[tuple[str, str], Sequence[Mapping[str, str]]]

    def selects(self, one: Object) -> bool:
        metadata = one["metadata"]
        if "deletionTimestamp" in metadata or metadata["namespace"] != self.ref.partition("/")[0]:
            return False
        labels = metadata.get("labels") or {}
        return any(wanted.items() <= labels.items() for wanted in self.selected.get(_type_of(one), ()))


def _check_trees(scene: Scene, inventory: _Inventory) -> Iterator[Complaint]:
    trees = {branch: scene.repository.tree(branch) for branch in scene.branches()}
    places = [_place(scene, one) for one in scene.destinations]
    live = {_key(one): one for one in scene.objects}
    for place in places:
        tree = trees.get(place.branch, {})
        wanted = {_path(place.folder, one): rendered(one) for one in scene.objects if place.selects(one)}
        for path, content in wanted.items():
            if tree.get(path) != content:
                found = "is not there" if path not in tree else f"has number {number_of(tree[path])}"
                yield Complaint("lost", f"{path} on {place.branch}, of number {number_of(content)}: it {found}")
        for path in sorted(path for path in tree.keys() - wanted.keys() if path.startswith(f"{place.folder}/")):
            if (place.branch, path) in scene.selected_before:
                yield Complaint("wrong", f"{path} on {place.branch} is left of an object that is selected no more")
            elif not inventory.is_left(place.branch, path):
                yield from _explain(scene, place, path, live)
    # A branch begins with the files of another one: which commit may touch which folder is looked at with the record.
    folders = {folder for found in scene.journal.places.values() for _, folder in found}
    for branch, tree in trees.items():
        for path in tree:
            if not any(path.startswith(f"{folder}/") for folder in folders):
                yield Complaint("wrong", f"{path} on {branch}: no destination ever had this folder")


def _explain(scene: Scene, place: _Place, path: str, live: Mapping[Key, Object]) -> Iterator[Complaint]:
    """A file that no present object explains may be kept: its type or its object is not selected any more."""
    location = paths.decode(place.folder, path)
    if location is None:
        yield Complaint("wrong", f"{path} on {place.branch} is the file of no object")
        return
    found = (location.group, location.resource)
    # Without a label every object of the type is selected: what is gone was seen by a listing.
    kept = found not in scene.served or found not in place.selected
    key = Key(location.resource, location.namespace, location.name)
    chosen = all(place.selected.get(found, ())) and key in live and "deletionTimestamp" not in live[key]["metadata"]
    if not kept and not chosen:
        yield Complaint("wrong", f"{path} on {place.branch} is left of an object that is gone")


def _place(scene: Scene, one: Object) -> _Place:
    namespace, name = one["metadata"]["namespace"], one["metadata"]["name"]
    selected: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for rule in scene.rules:
        spec = rule["spec"]
        if (rule["metadata"]["namespace"], spec["destinationRef"]["name"]) != (namespace, name):
            continue
        for item in spec["rules"]:
            labels = item.get("labelSelector", {}).get("matchLabels", {})
            for group in item.get("apiGroups", [""]):
                for resource in item["resources"]:
                    if (group, resource) in scene.served:
                        selected[group, resource].append(labels)
    return _Place(f"{namespace}/{name}", one["spec"]["branch"], one["spec"]["baseFolder"], selected)


def rendered(one: Object) -> bytes:
    """The file of an object (promise P1)."""
    return rendering.render(sanitising.sanitise(one))


def _path(folder: str, one: Object) -> str:
    group, _, version = one["apiVersion"].rpartition("/")
    metadata = one["metadata"]
    what = events.Identifier(
        group, version, _plural(one), metadata["namespace"], metadata["name"], one["kind"], metadata["uid"]
    )
    return paths.object_path(folder, what)


def _plural(one: Object) -> str:
    return f"{one['kind'].lower()}s"


def _type_of(one: Object) -> tuple[str, str]:
    return one["apiVersion"].rpartition("/")[0], _plural(one)


def _key(one: Object) -> Key:
    return Key(_plural(one), one["metadata"]["namespace"], one["metadata"]["name"])


# Commits.


@dataclass(frozen=True)
class _Commit:
    """One commit: path -> blob, empty where the file is removed."""

    sha: str
    subject: str
    changes: Mapping[str, str]


def _commits(repository: Repository, branch: str) -> Iterator[_Commit]:
    """The commits of a branch, the oldest first."""
    log = repository.git(
        "-c", "core.quotePath=false", "log", "--reverse", "--first-parent", "--raw", "--no-abbrev", "--no-renames",
        "--format=commit %H|%s", branch,
    )  # fmt: skip
    for part in log.split("commit ")[1:] if log.startswith("commit ") else ():
        head, *lines = [line for line in part.splitlines() if line]
        sha, subject = head.split("|", 1)
        changes = {}
        for line in lines:
            about, path = line.split("\t", 1)
            *_, blob, status = about.split()
            changes[path] = "" if status == "D" else blob
        yield _Commit(sha, subject, changes)


@dataclass
class _File:
    """One path of one branch while its commits are read."""

    removed: int = 0
    numbers: list[int] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The number that was written last; 0 before the first."""
        return self.numbers[-1] if self.numbers else 0


def _check_commits(scene: Scene, found: Mapping[str, Sequence[_Commit]]) -> Iterator[Complaint]:
    blobs = sorted({blob for commits in found.values() for one in commits for blob in one.changes.values() if blob})
    numbers = dict(zip(blobs, map(number_of, scene.repository.contents(blobs)), strict=True))
    # A branch begins with what another one held, and its commits.
    seen: set[str] = set()
    for branch, commits in found.items():
        files: dict[str, _File] = defaultdict(_File)
        for one in commits:
            if one.sha not in seen and not one.changes:
                yield Complaint("repeated", f"{one.sha[:10]} on {branch} changes nothing")
            for path, blob in one.changes.items():
                where = f"{path} in {one.sha[:10]} on {branch}"
                yield from _check_change(scene, where, path, numbers.get(blob), files[path])
            seen.add(one.sha)
        yield from _check_steady(scene, branch, files)


def _check_change(scene: Scene, where: str, path: str, number: int | None, file: _File) -> Iterator[Complaint]:
    owner = next((one for one in _owners(scene.journal) if path.startswith(f"{one.folder}/")), None)
    location = paths.decode(owner.folder, path) if owner else None
    if owner is None or location is None:
        yield Complaint("wrong", f"{where}: no destination writes it")
        return
    key = Key(location.resource, location.namespace, location.name)
    if number is None:
        file.removed += 1
        ends = [*scene.journal.ended[key], *(scene.journal.labelled[key] if owner.ref in scene.journal.choosy else ())]
        if file.removed > len(ends):
            yield Complaint("wrong", f"{where}: removed {file.removed} times, and the object went {len(ends)} times")
        elif file.last > max(ends):
            yield Complaint("wrong", f"{where}: number {file.last} is removed, and did not go")
        return
    if number not in scene.journal.written[key]:
        yield Complaint("wrong", f"{where}: nobody wrote number {number}")
    if number == file.last:
        yield Complaint("repeated", f"{where}: number {number} once more")
    elif number < file.last:
        yield Complaint("wrong", f"{where}: number {number} after {file.last}")
    file.numbers.append(number)


# A listing that does not come of what the history itself did: a resume point expired, or the API server lagged.
_LISTED_AGAIN = """
SELECT DISTINCT d.namespace || '/' || d.name AS destination FROM seed_run r
JOIN git_destination d ON d.id = r.destination_id
WHERE r.cause NOT IN ('new destination or place', 'rules changed')
"""


def _check_steady(scene: Scene, branch: str, files: Mapping[str, _File]) -> Iterator[Complaint]:
    """From the first number on all are there: a watch gives every one, and only a listing may skip some."""
    listed_again = {row["destination"] for row in scene.rows(_LISTED_AGAIN)}
    for ref, key in scene.journal.steady.items():
        ((at, folder),) = scene.journal.places[ref]
        if at != branch or ref in listed_again:
            continue
        path = f"{folder}/v1/{key.resource}/{key.namespace}/{key.name}.yaml"
        found = files[path].numbers if path in files else []
        missing = sorted({number for number in scene.journal.written[key] if found and number > found[0]} - {*found})
        if missing or not found:
            yield Complaint("lost", f"{path} on {branch}: {len(missing)} numbers never came, the first {missing[:5]}")


@dataclass(frozen=True)
class _Owner:
    ref: str
    folder: str


def _owners(journal: Journal) -> Iterator[_Owner]:
    """Every folder that a destination ever had; two destinations share none."""
    for ref, places in journal.places.items():
        for _, folder in places:
            yield _Owner(ref, folder)


def number_of(content: bytes) -> int:
    """The number of a file's content; 0 where it has none."""
    found = _NUMBER.search(content)
    return int(found[1]) if found else 0


# The record.

_COMMITS = """
SELECT c.id, c.sha, b.branch, d.namespace || '/' || d.name AS destination FROM "commit" c
JOIN repository_branch b ON b.id = c.branch_id JOIN git_destination d ON d.id = c.destination_id ORDER BY c.id
"""
_CHANGES = 'SELECT c.sha, g.path, g.blob_id FROM commit_change g JOIN "commit" c ON c.id = g.commit_id'
_FILES = """
SELECT i.path, i.blob_id, p.branch, d.deleted_at IS NOT NULL AS is_left FROM inventory i
JOIN place p ON p.id = i.place_id JOIN git_destination d ON d.id = p.destination_id
WHERE NOT i.removed AND (d.place_id = p.id OR d.deleted_at IS NOT NULL)
"""
# A row that is pushed stands in its commit.
_MISSED = """
SELECT e.sequence, e.name FROM event e WHERE e.state = 'pushed' AND e.operation <> 'SEED_SYNC' AND NOT EXISTS (
  SELECT 1 FROM commit_change g WHERE g.commit_id = e.commit_id
  AND g.resource = e.resource AND g.namespace = e.namespace AND g.name = e.name)
"""
_HEADS = "SELECT branch, head FROM repository_branch WHERE state = 'present'"
_OPEN = "SELECT state, count(*) AS found FROM event WHERE state IN ('pending', 'dead', 'held') GROUP BY state"
_SEEDS = "SELECT id, state FROM seed_run WHERE state NOT IN ('swept', 'superseded')"
_LEASES = "SELECT branch, owner, until FROM repository_branch WHERE owner <> '' AND until IS NOT NULL"


def _check_record(scene: Scene, found: Mapping[str, Sequence[_Commit]], inventory: _Inventory) -> Iterator[Complaint]:
    recorded: dict[str, list[str]] = defaultdict(list)
    changes: dict[str, dict[str, str]] = defaultdict(dict)
    for row in scene.rows(_CHANGES):
        changes[row["sha"]][row["path"]] = row["blob_id"] or ""
    for row in scene.rows(_COMMITS):
        recorded[row["branch"]].append(row["sha"])
        places = scene.journal.places[row["destination"]]
        for path in changes[row["sha"]]:
            if not any(branch == row["branch"] and path.startswith(f"{folder}/") for branch, folder in places):
                text = f"{path} in {row['sha'][:10]} on {row['branch']}: {row['destination']} never had this place"
                yield Complaint("wrong", text)
    known = {sha for shas in recorded.values() for sha in shas}
    for branch in sorted({*found, *recorded}):
        yield from _check_branch(branch, found.get(branch, ()), recorded[branch], changes, known)
    yield from _check_inventory(scene, inventory)
    for row in scene.rows(_MISSED):
        yield Complaint("record", f"row {row['sequence']} of {row['name']} is pushed, and not in its commit")
    for row in scene.rows(_HEADS):
        if scene.repository.tip(row["branch"]) != row["head"]:
            yield Complaint("record", f"{row['branch']} is recorded at {row['head'][:10]}, and is elsewhere")


def _check_branch(
    branch: str,
    commits: Sequence[_Commit],
    recorded: Sequence[str],
    changes: Mapping[str, Mapping[str, str]],
    known: set[str],
) -> Iterator[Complaint]:
    for sha, times in Counter(recorded).items():
        if times > 1:
            yield Complaint("repeated", f"{sha[:10]} on {branch} is recorded {times} times")
    there = {one.sha for one in commits}
    for sha in set(recorded) - there:
        yield Complaint("record", f"{sha[:10]} is recorded on {branch}, and not there")
    # What a branch began with is recorded where it was made.
    for one in commits:
        if one.sha not in known:
            yield Complaint("record", f"{one.sha[:10]} on {branch} ({one.subject}) is not recorded")
        elif dict(changes.get(one.sha, {})) != dict(one.changes):
            yield Complaint("record", f"{one.sha[:10]} on {branch}: the record of its files differs from Git")
    order = [one.sha for one in commits if one.sha in set(recorded)]
    if set(recorded) <= there and order != list(dict.fromkeys(recorded)):
        yield Complaint("record", f"{branch} is recorded in another order than that of Git")


@dataclass(frozen=True)
class _Inventory:
    """Which blob stands at a path of a branch: as the destinations that there are know it, and as others left it.

    What a deleted destination left, and what a branch began with, is left alone until an object is written there.
    """

    owned: Mapping[tuple[str, str], str]
    left: Mapping[tuple[str, str], frozenset[str]]

    @classmethod
    def read(cls, scene: Scene) -> _Inventory:
        owned: dict[tuple[str, str], str] = {}
        left: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in scene.rows(_FILES):
            where = row["branch"], row["path"]
            if row["is_left"]:
                left[where].add(row["blob_id"])
            else:
                owned[where] = row["blob_id"]
        first = {row["branch"]: row["sha"] for row in reversed(scene.rows(_COMMITS))}
        for branch, sha in first.items():
            if parent := scene.repository.git("rev-list", "--parents", "-1", sha).split()[1:]:
                for path, blob in _blobs(scene.repository, parent[0]).items():
                    left[branch, path].add(blob)
        return cls(owned, {where: frozenset(blobs) for where, blobs in left.items()})

    def is_left(self, branch: str, path: str, blob: str | None = None) -> bool:
        """Whether a file is one that no destination that there is knows, and another one wrote."""
        found = self.left.get((branch, path), frozenset())
        return (branch, path) not in self.owned and bool(found) and (blob is None or blob in found)


def _check_inventory(scene: Scene, inventory: _Inventory) -> Iterator[Complaint]:
    """Of each destination that there is: the files of its folder are those of its inventory, blob by blob."""
    blobs = {branch: _blobs(scene.repository, branch) for branch in scene.branches()}
    for one in scene.destinations:
        branch, folder = one["spec"]["branch"], f"{one['spec']['baseFolder']}/"
        there = {path: blob for path, blob in blobs.get(branch, {}).items() if path.startswith(folder)}
        known = {path for name, path in inventory.owned if name == branch and path.startswith(folder)}
        for path in sorted({*there, *known}):
            blob = there.get(path)
            if blob != inventory.owned.get((branch, path)) and not (blob and inventory.is_left(branch, path, blob)):
                yield Complaint("record", f"{path} on {branch}: inventory and Git differ")


def _blobs(repository: Repository, commit: str) -> dict[str, str]:
    rows = (row.split("\t", 1) for row in repository.git("ls-tree", "-r", "-z", commit).split("\0") if row)
    return {path: about.split()[2] for about, path in rows}


def _check_rest(scene: Scene) -> Iterator[Complaint]:
    for row in scene.rows(_OPEN):
        yield Complaint("record", f"{row['found']} rows are {row['state']}")
    for row in scene.rows(_SEEDS):
        yield Complaint("record", f"seed {row['id'][:8]} is {row['state']}")
    for row in scene.rows(_LEASES):
        if moment(row["until"]) > datetime.now(UTC):
            yield Complaint("record", f"{row['branch']} is held by {row['owner']}, and there is nothing to do")


def moment(value: datetime | str) -> datetime:
    """A time as a database gives it: SQLite as text, in UTC."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value
