"""The text of a commit: subject, trailers, author. Pure; `app/git` writes it, `app/drain` reads trailers back.

The trailers are how a worker that died between a push and its record finds its own commit again:

    Reverser-Destination: shop/prod
    Reverser-Event: <ledger uuid>:<first>-<last>:<digest of the Event ids>
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from app import errors
from app.events import Identifier, Operation, Ref, UserInfo

TRAILER_DESTINATION = "Reverser-Destination"
TRAILER_EVENT = "Reverser-Event"

# RFC 2606 reserves `.invalid`: such an address belongs to nobody, and no host takes it for somebody's account.
COMMITTER = ("Reverser", "reverser@reverser.invalid")
USER_DOMAIN = "users.reverser.invalid"
MANAGER_DOMAIN = "managers.reverser.invalid"
MANAGED_FIELDS = "managedFields"

# Long enough for a name of 63 characters with its type and user; hosts fold what is longer anyway.
MAX_SUBJECT = 200
MAX_AUTHOR_NAME = 100
# A sweep may remove thousands of files, which the diff names.
MOST_ORPHANS = 10
# RFC 5321 allows 64 bytes before the @; what is longer is cut and told apart by a digest.
_MAX_LOCAL_PART, _CUT_LOCAL_PART = 64, 40
_DIGEST_DIGITS = 16

# Git takes these off the ends of a name, and an identity of nothing else is empty.
_GIT_CRUD = " .,:;<>\"\\'\t\n\r"
_LEDGER = r"[0-9a-f-]{1,36}"
_EVENT_TRAILER = re.compile(rf"({_LEDGER}):([0-9]{{1,18}})-([0-9]{{1,18}}):([0-9a-f]{{{_DIGEST_DIGITS}}})")
_TRAILER_LINE = re.compile(r"([A-Za-z0-9-]+): (.*)")


@dataclass(frozen=True, slots=True)
class Trailer:
    """What a commit of ours says about itself; it is ours only if all of it is what the ledger knows."""

    destination: Ref
    ledger: str
    first: int
    last: int
    digest: str


def subject(operation: Operation, identifier: Identifier, user: UserInfo | None) -> str:
    """`[UPDATE] v1/configmaps/app-config by manager/kubectl-edit`; without `by` when nobody is known."""
    return one_line(f"[{operation.value}] {identifier}{_by(user)}")


def _by(user: UserInfo | None) -> str:
    if user is None or not user.username:
        return ""
    return f" by {'manager' if user.source == MANAGED_FIELDS else 'user'}/{user.username}"


def seed_subject(count: int, destination: Ref) -> str:
    """The subject of a commit of seeded objects."""
    return one_line(f"[SEED_SYNC] {_counted(count, 'object')} of {destination}")


def sweep_subject(count: int, destination: Ref) -> str:
    """The subject of a commit that removes orphans."""
    return one_line(f"[SEED_SYNC] remove {_counted(count, 'orphan')} of {destination}")


def prune_subject(count: int, destination: Ref, user: UserInfo | None) -> str:
    """The subject of a commit that removes what a person wants gone."""
    return one_line(f"[PRUNE] {_counted(count, 'file')} of {destination}{_by(user)}")


def sweep_body(removed: Sequence[tuple[Identifier, str]]) -> str:
    """Which objects' files a sweep removes, each with the rule under which it goes: a line for each of the first."""
    lines = [escape(f"{_placed(what)}, under {rule}") for what, rule in removed[:MOST_ORPHANS]]
    more = len(removed) - MOST_ORPHANS
    return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)


def message(subject: str, *, trailers: str, body: str = "") -> str:
    """Subject, an optional body, and the trailers as the last paragraph."""
    paragraphs = [one_line(subject), body.strip("\n"), trailers.strip("\n")]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def trailers(*, destination: Ref, ledger: str, first: int, last: int, ids: Sequence[str]) -> str:
    """The trailer block of a commit of the rows `first` to `last`, whose Events have these ids, in order."""
    return f"{TRAILER_DESTINATION}: {destination}\n{TRAILER_EVENT}: {ledger}:{first}-{last}:{digest(ids)}\n"


def parse_trailers(message: str) -> Trailer | None:
    """The trailer of a commit message, or None when it has none of ours, or more than one.

    Only the last paragraph counts: what a body quotes is no trailer. Lines that others added there do not hurt.
    """
    lines = [_TRAILER_LINE.fullmatch(line) for line in message.rstrip().rpartition("\n\n")[2].split("\n")]
    found = [(line[1], line[2].rstrip("\r")) for line in lines if line]
    destinations = [value for key, value in found if key == TRAILER_DESTINATION]
    events = [match for key, value in found if key == TRAILER_EVENT and (match := _EVENT_TRAILER.fullmatch(value))]
    if len(destinations) != 1 or len(events) != 1:
        return None
    try:
        destination = Ref.parse(destinations[0])
    except errors.MessageError:
        return None
    ledger, first, last, ids = events[0].groups()
    return Trailer(destination, ledger, int(first), int(last), ids)


def digest(ids: Sequence[str]) -> str:
    """16 hexadecimal digits over Event ids in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:_DIGEST_DIGITS]


def author(user: UserInfo | None) -> tuple[str, str]:
    """Name and address that are a valid Git identity, whatever the user is called: nothing in it adds a header.

    The address never is one that a user claims: a Git host would show somebody else's face beside the commit.
    """
    if user is None or not user.username:
        return COMMITTER
    shown = "".join(" " if character in "<>" else character for character in escape(user.username))
    name = " ".join(shown.split()).strip(_GIT_CRUD)[:MAX_AUTHOR_NAME].strip(_GIT_CRUD)
    domain = MANAGER_DOMAIN if user.source == MANAGED_FIELDS else USER_DOMAIN
    return name or "unknown", f"{_local_part(user.username)}@{domain}"


def one_line(text: str) -> str:
    """Text fit for a subject: one line, control and format characters escaped, cut with an ellipsis."""
    line = escape(text)
    return line if len(line) <= MAX_SUBJECT else line[: MAX_SUBJECT - 1].rstrip() + "…"


def escape(text: str) -> str:
    r"""Everything that is not printable as Python writes it: a newline as `\n`, a direction override as `\u202e`."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _local_part(username: str) -> str:
    local = quote(username, safe="", errors="surrogatepass").replace("~", "%7E")
    # A dot at an end or before another one makes no valid address; escaped, it still tells two users apart.
    local = re.sub(r"^\.|\.(?=\.|$)", "%2E", local)
    if len(local) <= _MAX_LOCAL_PART:
        return local
    cut = re.sub(r"%[0-9A-F]?$", "", local[:_CUT_LOCAL_PART]).rstrip(".")
    return f"{cut}~{digest([quote(username, safe='', errors='surrogatepass')])}"


def _placed(what: Identifier) -> str:
    return f"{what} in namespace {what.namespace}" if what.namespace else str(what)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
