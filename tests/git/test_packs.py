"""A pack written from memory is one that Git itself accepts."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygit2.enums import ObjectType

from app.git import cache as caches
from app.git import objects, packs, trees
from app.git.names import BlobId
from tests.git import servers
from tests.git.building import commit


def test_git_verifies_the_pack_and_reads_every_blob(tmp_path: Path) -> None:
    """Sizes around each length of the header, content that compresses and that does not: index and pack are right."""
    servers.git("init", "--quiet", "--bare", str(tmp_path / "repo.git"), cwd=tmp_path)
    folder = tmp_path / "repo.git/objects/pack"
    sizes = [0, 1, 15, 16, 17, 2047, 2048, 2049, 262_143, 262_144, 300_000]
    contents = [bytes((index * 7 + size) % 251 for index in range(size)) for size in sizes]
    blobs = {objects.blob_id(data): data for data in contents}
    packs.write(folder, {oid: (ObjectType.BLOB, data) for oid, data in blobs.items()})
    index = next(folder.glob("*.idx"))
    listed = servers.git("verify-pack", "-v", str(index), cwd=tmp_path)
    assert sum(" blob " in line for line in listed.splitlines()) == len(blobs)
    for oid, data in blobs.items():
        shown = subprocess.run(
            ["git", "cat-file", "blob", oid], cwd=tmp_path / "repo.git", check=True, capture_output=True
        )
        assert shown.stdout == data
    assert servers.git("fsck", "--strict", "--no-dangling", cwd=tmp_path / "repo.git") == ""


@given(st.binary(max_size=3_000))
def test_the_id_is_that_of_git(data: bytes) -> None:
    """The id of a blob is computed as libgit2 computes it."""
    assert objects.blob_id(data) == str(pygit2.hash(data))


def test_many_blobs_of_one_write_are_one_pack(cache: caches.Cache) -> None:
    """A seed makes one file in the cache, not one per object, and its tree holds every file."""
    editor = trees.TreeEditor(cache, None)
    for number in range(500):
        editor.put(f"folder/{number}.yaml", editor.blob(f"n: {number}\n".encode()))
    root = editor.write()
    cache.store()
    assert len(list((cache.path / "objects/pack").glob("*.pack"))) == 1
    again = trees.TreeEditor(cache, root)
    for number in (0, 250, 499):
        found = again.get(f"folder/{number}.yaml")
        assert found is not None
        assert again.read(BlobId(found.id), 100) == f"n: {number}\n".encode()


def test_what_is_not_stored_is_seen_by_its_maker_alone(cache: caches.Cache) -> None:
    """New objects can be built on at once, and are on disk only when all of them are."""
    oid = cache.keep(ObjectType.BLOB, b"new")
    assert (cache.read(oid), cache.size(oid), cache.has(oid)) == ((ObjectType.BLOB, b"new"), 3, False)
    cache.store()
    assert (cache.read(oid), cache.size(oid), cache.has(oid)) == ((ObjectType.BLOB, b"new"), 3, True)
    assert caches.Cache(cache.path).has(oid)


def test_memory_is_bounded(cache: caches.Cache) -> None:
    """A plan that makes more than fits is stored in parts."""
    oids = [cache.keep(ObjectType.BLOB, bytes([number]) * 6_000_000) for number in range(4)]
    assert [cache.has(oid) for oid in oids] == [True, True, True, False]


def test_many_small_packs_become_one(cache: caches.Cache) -> None:
    """One pack per drain would soon be too many to look through: opening the cache merges ours, and loses nothing."""
    shas, parent = [], None
    for number in range(20):
        parent = commit(cache, {f"f/{number % 3}": str(number)}, parent)
        shas.append(parent)
    folder = cache.path / "objects" / "pack"
    before = {str(oid) for oid in cache.repository}
    packs.merge(folder)
    assert (len(list(folder.glob("*.pack"))), len(list(folder.glob("*.idx")))) == (1, 1)
    cache.reload()
    assert {str(oid) for oid in cache.repository} == before > set(shas)
    index = next(folder.glob("*.idx"))
    assert servers.git("verify-pack", str(index), cwd=cache.path) == ""
    assert servers.git("fsck", "--strict", "--no-dangling", shas[-1], cwd=cache.path) == ""


def test_large_packs_and_those_of_others_are_not_merged(cache: caches.Cache) -> None:
    """A fetched pack has objects that build on each other, and a large one would be written again and again."""
    folder = cache.path / "objects" / "pack"
    for number in range(20):
        commit(cache, {"a": str(number)})
    for index in itertools.islice(folder.glob("*.idx"), 3):
        for path in (index, index.with_suffix(".pack")):
            path.rename(path.with_name(path.name.replace("own-", "pack-")))
    large = bytes(range(256)) * 4_000
    scrambled = b"".join(objects.blob_id(large[:n]).encode() for n in range(30_000))
    cache.keep(ObjectType.BLOB, scrambled * 2)
    cache.store()
    kept = {path for path in folder.iterdir() if path.name.startswith("pack-")}
    kept |= {path for path in folder.glob("*.pack") if path.stat().st_size > 1_000_000}
    assert len(kept) == 7
    packs.merge(folder)
    assert kept < set(folder.iterdir())
    assert len(list(folder.glob("*.pack"))) == 5


@pytest.mark.parametrize("suffix", ["pack", "idx"])
def test_a_damaged_pack_is_not_merged_for_ever(work_dir: Path, suffix: str) -> None:
    """Many small packs of which a power cut took one: the cache is opened all the same, rebuilt where it has to be."""
    with caches.open_cache(work_dir, "one") as cache:
        for number in range(20):
            commit(cache, {"a": str(number)})
        next((cache.path / "objects" / "pack").glob(f"*.{suffix}")).unlink()
        victim = next((cache.path / "objects" / "pack").glob(f"*.{suffix}"))
        victim.chmod(0o600)
        victim.write_bytes(b"")
    for _ in range(2):
        with caches.open_cache(work_dir, "one") as cache:
            assert cache.has(commit(cache, {"a": "new"}))


def test_a_pack_that_holds_all_others_stays(cache: caches.Cache) -> None:
    """Merged, it is the same pack again: it is not taken away with those that it replaces."""
    blobs = {objects.blob_id(bytes([number])): (ObjectType.BLOB, bytes([number])) for number in range(20)}
    folder = cache.path / "objects" / "pack"
    for oid, blob in blobs.items():
        packs.write(folder, {oid: blob})
    packs.merge(folder)
    assert len(list(folder.glob("*.pack"))) == 1
    for oid, blob in blobs.items():
        packs.write(folder, {oid: blob})
    packs.merge(folder)
    packs.merge(folder)
    cache.reload()
    assert {str(oid) for oid in cache.repository} == set(blobs)
