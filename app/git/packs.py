"""Objects from memory into a cache, as packs.

Storing each by itself makes a file each, and creating files is what a drain would spend its time on (measured: 0.1 to
0.8 ms a file, against 0.03 ms in a pack). The formats are those of Git's own documentation, `gitformat-pack(5)`:
version 2 of the pack, whole objects only, and version 2 of its index.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pygit2.enums import ObjectType

# Ours among those that were fetched, whose objects may build on each other and on other packs.
_PREFIX = "own-"
# How the name of a file begins that is being written.
UNFINISHED = "tmp_"
_INDEX_MAGIC = b"\xfftOc"
_VERSION = 2
_PACK_HEADER = struct.Struct(">4sII")
_INDEX_HEADER = struct.Struct(">4sI256I")
_ID_BYTES = 20
# The small offsets of an index have 31 bits.
_LARGEST = 2**31 - 1
# So many small packs are made one: Git looks through all of them for each object. Small is below so many bytes.
_MANY, _SMALL = 16, 1_000_000
# What is pushed is compressed anew; the ids in trees do not compress at all, and a level of 6 takes five times as long.
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class _Packed:
    """One object as it stands in a pack: its header, and its compressed content."""

    oid: bytes
    data: bytes


def write(folder: Path, objects: Mapping[str, tuple[ObjectType, bytes]]) -> None:
    """Write objects, by id, as a pack and its index into `folder`, `objects/pack` of a repository. Raises OSError."""
    packed = (
        _Packed(bytes.fromhex(oid), _header(kind, len(data)) + zlib.compress(data, _LEVEL))
        for oid, (kind, data) in objects.items()
    )
    _write(folder, list(packed))


def merge(folder: Path) -> None:
    """Make one of many small packs of ours, without looking into their objects.

    Raises OSError, and struct.error for a pack or an index that is damaged.
    """
    found = (index.with_suffix(".pack") for index in folder.glob(f"{_PREFIX}*.idx"))
    small = [path for path in found if path.is_file() and path.stat().st_size < _SMALL]
    if len(small) < _MANY:
        return
    objects = {one.oid: one for path in small for one in _read(path)}
    merged = _write(folder, [objects[oid] for oid in sorted(objects)])
    # One of them may hold all of them already, and is the same pack again.
    for path in set(small) - {merged}:
        # The index first: a pack without one is not looked at.
        path.with_suffix(".idx").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _write(folder: Path, objects: Sequence[_Packed]) -> Path:
    """The index comes last and by a rename: Git and libgit2 look for indexes, so half a pack is never seen."""
    body = b"".join([_PACK_HEADER.pack(b"PACK", _VERSION, len(objects)), *(one.data for one in objects)])
    if len(body) > _LARGEST:
        raise OSError(f"a pack of {len(body)} bytes is too large for one drain")
    checksum = _sha1(body)
    path = folder / f"{_PREFIX}{checksum.hex()}.pack"
    folder.mkdir(parents=True, exist_ok=True)
    _place(path, body + checksum)
    _place(path.with_suffix(".idx"), _index(objects, checksum))
    return path


def _read(path: Path) -> Iterator[_Packed]:
    """The objects of a pack that `_write` made. Raises struct.error for one that is not whole."""
    content, index = path.read_bytes(), path.with_suffix(".idx").read_bytes()
    body = content[:-_ID_BYTES]
    if _sha1(body) != content[-_ID_BYTES:]:
        raise struct.error(f"{path.name} is damaged")
    many = _INDEX_HEADER.unpack_from(index)[-1]
    ids = _INDEX_HEADER.size
    offsets = struct.unpack_from(f">{many}I", index, ids + many * (_ID_BYTES + 4))
    starts = sorted((offset, number) for number, offset in enumerate(offsets))
    ends = [offset for offset, _ in starts[1:]] + [len(body)]
    for (start, number), end in zip(starts, ends, strict=True):
        oid = index[ids + number * _ID_BYTES : ids + (number + 1) * _ID_BYTES]
        yield _Packed(oid, body[start:end])


def _header(kind: ObjectType, size: int) -> bytes:
    """Kind and size: four bits of the size in the first byte, seven in each other one, the lowest first."""
    first, rest = kind << 4 | size & 0x0F, size >> 4
    out = bytearray()
    while rest:
        out.append(first | 0x80)
        first, rest = rest & 0x7F, rest >> 7
    out.append(first)
    return bytes(out)


def _index(objects: Sequence[_Packed], checksum: bytes) -> bytes:
    offset, lines = _PACK_HEADER.size, []
    for one in objects:
        lines.append((one.oid, zlib.crc32(one.data), offset))
        offset += len(one.data)
    lines.sort()
    counts = [0] * 256
    for oid, _, _ in lines:
        counts[oid[0]] += 1
    fanout, total = [], 0
    for count in counts:
        total += count
        fanout.append(total)
    many = len(lines)
    out = b"".join([
        _INDEX_HEADER.pack(_INDEX_MAGIC, _VERSION, *fanout),
        *(oid for oid, _, _ in lines),
        struct.pack(f">{many}I", *(crc for _, crc, _ in lines)),
        struct.pack(f">{many}I", *(start for _, _, start in lines)),
        checksum,
    ])  # fmt: skip
    return out + _sha1(out)


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _place(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{UNFINISHED}{path.name}")
    fresh.write_bytes(data)
    fresh.chmod(0o444)
    fresh.replace(path)
