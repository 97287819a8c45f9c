"""Many blobs into a cache as one pack, written from memory.

Storing each by itself makes a file each, and creating files is what a seed would spend its time on (measured: 0.1 to
0.8 ms a file, against 0.03 ms in a pack). The formats are those of Git's own documentation, `gitformat-pack(5)`:
version 2 of the pack, whole objects only, and version 2 of its index.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.git.names import BlobId

_BLOB = 3
_INDEX_MAGIC = b"\xfftOc"
_VERSION = 2
# The small offsets of an index have 31 bits; a drain writes a few megabytes.
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Packed:
    oid: bytes
    crc: int
    offset: int


def blob_id(data: bytes) -> BlobId:
    """The id that Git gives to this content."""
    return BlobId(hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest())


def write(folder: Path, blobs: Mapping[BlobId, bytes]) -> None:
    """Write `blobs` as a pack and its index into `folder`, `objects/pack` of a repository. Raises OSError.

    The index comes last and by a rename: Git and libgit2 look for indexes, so half a pack is never seen.
    """
    body, packed = _pack(blobs)
    checksum = _sha1(body)
    name = f"pack-{checksum.hex()}"
    folder.mkdir(parents=True, exist_ok=True)
    _place(folder / f"{name}.pack", body + checksum)
    _place(folder / f"{name}.idx", _index(packed, checksum))


def _pack(blobs: Mapping[BlobId, bytes]) -> tuple[bytes, list[_Packed]]:
    out = bytearray(struct.pack(">4sII", b"PACK", _VERSION, len(blobs)))
    packed = []
    for oid, data in blobs.items():
        entry = _header(len(data)) + zlib.compress(data)
        packed.append(_Packed(bytes.fromhex(oid), zlib.crc32(entry), len(out)))
        out += entry
    if len(out) > _LARGEST:
        raise OSError(f"a pack of {len(out)} bytes is too large for one drain")
    return bytes(out), packed


def _header(size: int) -> bytes:
    """Type and size: four bits of the size in the first byte, seven in each other one, the lowest first."""
    first, rest = _BLOB << 4 | size & 0x0F, size >> 4
    out = bytearray()
    while rest:
        out.append(first | 0x80)
        first, rest = rest & 0x7F, rest >> 7
    out.append(first)
    return bytes(out)


def _index(packed: Iterable[_Packed], checksum: bytes) -> bytes:
    ordered = sorted(packed, key=lambda one: one.oid)
    counts = [0] * 256
    for one in ordered:
        counts[one.oid[0]] += 1
    fanout, total = [], 0
    for count in counts:
        total += count
        fanout.append(total)
    many = len(ordered)
    out = b"".join([
        struct.pack(f">4sI{256}I", _INDEX_MAGIC, _VERSION, *fanout),
        *(one.oid for one in ordered),
        struct.pack(f">{many}I", *(one.crc for one in ordered)),
        struct.pack(f">{many}I", *(one.offset for one in ordered)),
        checksum,
    ])  # fmt: skip
    return out + _sha1(out)


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _place(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"tmp_{path.name}")
    fresh.write_bytes(data)
    fresh.chmod(0o444)
    fresh.replace(path)
