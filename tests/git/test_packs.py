"""A pack written from memory is one that Git itself accepts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from app.git import cache as caches
from app.git import packs, trees
from tests.git import servers


def test_git_verifies_the_pack_and_reads_every_blob(tmp_path: Path) -> None:
    """Sizes around each length of the header, content that compresses and that does not: index and pack are right."""
    servers.git("init", "--quiet", "--bare", str(tmp_path / "repo.git"), cwd=tmp_path)
    folder = tmp_path / "repo.git/objects/pack"
    sizes = [0, 1, 15, 16, 17, 2047, 2048, 2049, 262_143, 262_144, 300_000]
    contents = [bytes((index * 7 + size) % 251 for index in range(size)) for size in sizes]
    blobs = {packs.blob_id(data): data for data in contents}
    packs.write(folder, blobs)
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
    assert packs.blob_id(data) == str(trees.pygit2.hash(data))


def test_many_blobs_of_one_write_are_one_pack(cache: caches.Cache) -> None:
    """A seed makes one file in the cache, not one per object, and its tree holds every file."""
    editor = trees.TreeEditor(cache, None)
    for number in range(500):
        editor.put(f"folder/{number}.yaml", editor.blob(f"n: {number}\n".encode()))
    root = editor.write()
    assert len(list((cache.path / "objects/pack").glob("*.pack"))) == 1
    again = trees.TreeEditor(cache, root)
    for number in (0, 250, 499):
        found = again.get(f"folder/{number}.yaml")
        assert found is not None
        assert again.read(packs.BlobId(found.id), 100) == f"n: {number}\n".encode()
