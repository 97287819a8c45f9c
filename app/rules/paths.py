"""Where an object's file stands, and what may be a folder: the one place that makes repository paths (promise P13).

    {baseFolder}/{group}/{version}/{resource}/{namespace}/{name}.yaml

The core group has no group segment, cluster scope no namespace segment. A core path starts with a version (`v1`);
a group that is spelt like a version is encoded, so two objects never share a path.

Kubernetes allows names that are dangerous in a path (RBAC: `.git`, `a:b`, a newline). Lower-case letters, digits and
`-_.` stay as they are; every other byte of the UTF-8 name is written as `%XX`, so names that differ in case or
normal form stay apart on every file system. A name that would be over 200 bytes is cut and ends in `~` and 32
hexadecimal digits of its SHA-256; such a file alone needs the name inside it to be decoded.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple, NewType
from urllib.parse import unquote_to_bytes

from app import errors
from app.events import Identifier

RepoPath = NewType("RepoPath", str)

MAX_FOLDER_BYTES = 200
MAX_FILE_NAME_BYTES = 200
EXTENSION = ".yaml"
# Group, version, resource, namespace, file.
MOST_SEGMENTS = 5

_FOLDER = re.compile(r"([A-Za-z0-9._-]+/)*[A-Za-z0-9._-]+")
# Files that Git reads itself: a folder of that name breaks a checkout or `git fsck`.
_GIT_NAMES = frozenset({".git", ".gitmodules", ".gitattributes", ".gitignore"})

_PLAIN = re.compile(r"[a-z0-9_-][a-z0-9._-]*(?<!\.)")
_PLAIN_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
# Windows opens a device for these, whatever follows the first dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_CORE_VERSION = re.compile(r"v[0-9]+((alpha|beta)[0-9]+)?")
_HASH_DIGITS = 32
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?$")
_HASHED = re.compile(rf".*~[0-9a-f]{{{_HASH_DIGITS}}}")


class Location(NamedTuple):
    """What a canonical path says about its object."""

    group: str
    version: str
    resource: str
    namespace: str
    name: str

    def identifier(self, *, kind: str) -> Identifier:
        """That object, as far as path and kind tell: without a uid."""
        return Identifier(*self, kind=kind, uid="")


def check_base_folder(folder: str) -> None:
    """Refuse a folder that is not plainly inside the repository. Raises PermanentError(InvalidFolder)."""
    if not folder:
        raise _invalid("baseFolder is empty: name a folder, for example clusters/prod")
    if not _FOLDER.fullmatch(folder):
        raise _invalid(
            "baseFolder must be relative and made of letters, digits and . _ - between single slashes, "
            "for example clusters/prod"
        )
    if len(folder) > MAX_FOLDER_BYTES:
        raise _invalid(f"baseFolder is longer than {MAX_FOLDER_BYTES} bytes: choose a shorter one")
    for segment in folder.split("/"):
        if segment in (".", ".."):
            raise _invalid("baseFolder holds . or ..: write the plain path inside the repository")
        if segment.endswith("."):
            raise _invalid("baseFolder holds a segment that ends in a dot: rename it")
        if segment.casefold() in _GIT_NAMES:
            raise _invalid(f"baseFolder holds {segment}, which belongs to Git: choose another name")


def folders_overlap(one: str, other: str) -> bool:
    """Whether one folder is the other or stands inside it; case is folded, as some file systems do."""
    first, second = segments(one), segments(other)
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def segments(folder: str) -> tuple[str, ...]:
    """The segments of a folder with their case folded, for comparing."""
    return tuple(folder.casefold().split("/"))


def object_path(base_folder: str, identifier: Identifier) -> RepoPath:
    """The path of an object's file. Raises PermanentError for an identity that is incomplete."""
    location = Location(
        identifier.group, identifier.version, identifier.resource, identifier.namespace, identifier.name
    )
    return RepoPath(f"{base_folder}/{_encode_location(location)}")


def decode(base_folder: str, path: str, *, name: str = "") -> Location | None:
    """The identity that a path under `base_folder` stands for, or None when it is not canonical.

    `name` is the name found in the file: it is needed for a cut file name, and ignored for every other.
    """
    relative = path.removeprefix(base_folder + "/")
    if relative == path or not relative.endswith(EXTENSION):
        return None
    parts = relative.removesuffix(EXTENSION).split("/")
    if not _CORE_VERSION.fullmatch(parts[0]):
        group, *parts = parts
    else:
        group = ""
    if len(parts) not in (3, 4):
        return None
    cut = _HASHED.fullmatch(parts[-1]) is not None
    decoded = [_decode_segment(part) for part in (group, *parts)]
    location = Location(decoded[0], decoded[1], decoded[2], decoded[3] if len(parts) == 4 else "", decoded[-1])  # noqa: PLR2004
    location = location._replace(name=name) if cut else location
    try:
        return location if _encode_location(location) == relative else None
    except errors.PermanentError:
        return None


def may_be_canonical(base_folder: str, path: str) -> bool:
    """Whether a path is one that `decode` reads, or may be with the name that stands in its file."""
    return decode(base_folder, path) is not None or _HASHED.fullmatch(path.removesuffix(EXTENSION)) is not None


def _encode_location(location: Location) -> str:
    if not (location.version and location.resource and location.name):
        raise errors.PermanentError("an object without version, resource or name has no path", reason="InvalidName")
    if not location.group and not _CORE_VERSION.fullmatch(location.version):
        raise errors.PermanentError(
            f"{location.version[:40]!r} is no version of the core group: the object has no path", reason="InvalidName"
        )
    folders = [_encode_group(location.group)] if location.group else []
    folders += [_encode_segment(location.version), _encode_segment(location.resource)]
    folders += [_encode_segment(location.namespace)] if location.namespace else []
    return "/".join([*folders, _encode_segment(location.name, extension=EXTENSION)])


def _encode_group(group: str) -> str:
    encoded = _encode_segment(group)
    return _escape_first(encoded) if _CORE_VERSION.fullmatch(encoded) else encoded


def _encode_segment(text: str, *, extension: str = "") -> str:
    room = MAX_FILE_NAME_BYTES - len(extension)
    plain = len(text) <= room and _PLAIN.fullmatch(text) is not None and _DEVICE.fullmatch(text) is None
    return (text if plain else _encode_unsafe(text, room)) + extension


def _encode_unsafe(text: str, room: int) -> str:
    # A lone surrogate is no Unicode, but a Python string can hold it: one-to-one means all strings.
    raw = text.encode(errors="surrogatepass")
    encoded = "".join(chr(byte) if byte in _PLAIN_BYTES else f"%{byte:02X}" for byte in raw)
    if encoded.startswith(".") or _DEVICE.fullmatch(encoded):
        encoded = _escape_first(encoded)
    if encoded.endswith("."):
        encoded = encoded[:-1] + "%2E"
    if len(encoded) <= room:
        return encoded
    prefix = _CUT_ESCAPE.sub("", encoded[: room - _HASH_DIGITS - 1])
    return f"{prefix}~{hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]}"


def _escape_first(encoded: str) -> str:
    return f"%{ord(encoded[0]):02X}{encoded[1:]}"


def _decode_segment(segment: str) -> str:
    """The text of a segment; empty, which no segment is, where it is not one of ours."""
    try:
        return unquote_to_bytes(segment).decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return ""


def _invalid(message: str) -> errors.PermanentError:
    return errors.PermanentError(message, reason="InvalidFolder")
