"""Everything that goes wrong with Git, as errors by consequence (`app/errors.py`).

libgit2 gives text and little else, so the text is read here and nowhere else. Helper processes map where the error
enters and send it over the pipe in wire form; `cache.py` maps what the disk says. Neighbours: all of `app/git`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from typing import Any

from app import errors

# The longest time until a host that cannot be reached is asked again, and how long one is left alone that asks for it.
HOST_DELAY = 30.0
RATE_DELAY = 60.0
# What a server or hook says is shown in a status: enough for a reason, too little for a flood.
MAX_WORDS = 1_000


class PushRefusedError(errors.StalledError):
    """The server took the pack and refused the ref: a hook, a protected branch, a policy."""

    default_reason = "PushRefused"


class ForeignContentError(errors.PermanentError):
    """A link, tree or submodule stands where a file of ours belongs, or where one of its folders does."""

    default_reason = "ForeignContent"


class CacheDamagedError(errors.TemporaryError):
    """The object cache cannot be read; it is rebuilt when it is opened next."""

    default_reason = "CacheDamaged"


_TEMPORARY: tuple[type[errors.TemporaryError], ...] = (
    errors.TemporaryError,
    errors.RemoteMovedError,
    errors.UnknownOutcomeError,
    CacheDamagedError,
)
_LASTING: tuple[type[errors.StalledError | errors.PermanentError], ...] = (
    errors.StalledError,
    errors.PermanentError,
    PushRefusedError,
    ForeignContentError,
)

# First match wins. Text of libgit2 1.9, its HTTP and SSH transports, and of the servers behind them.
_STALLED: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile("known.hosts", re.IGNORECASE),
        "KnownHostsInvalid",
        "known_hosts in the Secret cannot be read: write it with `ssh-keyscan HOST` and compare the fingerprints",
    ),
    (
        re.compile("public key from private key|private key file", re.IGNORECASE),
        "AuthenticationFailed",
        "the private key in the Secret cannot be read: the passphrase is wrong, or it is no OpenSSH or PEM key",
    ),
    (
        re.compile(
            "repository not found|not found.*repository|could not read from remote repository|status code: 404"
            "|does not appear to be a git repository|could not find repository|no such file or directory"
            "|project you were looking for could not be found",
            re.IGNORECASE,
        ),
        "RepositoryNotFound",
        "the host has no such repository, or hides it from this account: check repoUrl and the Secret's access",
    ),
    (
        re.compile(
            "status code: 40[13]|authentication|credential|unauthorized|username/publickey|permission denied"
            "|no auth|too many redirects or auth|access denied",
            re.IGNORECASE,
        ),
        "AuthenticationFailed",
        "the host refused the credentials: check the Secret that secretRef names",
    ),
    (
        re.compile("certificate|ssl error: 0x.*verify|self.signed|common name|hostname", re.IGNORECASE),
        "CertificateRefused",
        "the host's TLS certificate is not trusted: put its CA into the Secret as ca.crt, or renew the certificate",
    ),
    (
        re.compile("redirect", re.IGNORECASE),
        "RepositoryMoved",
        "the host answers with a redirect: write the new address into repoUrl",
    ),
)
_DAMAGE = re.compile(
    "object not found|no match for id|corrupt|inflate|zlib|bad object|hash mismatch|odb:|invalid object|loose object",
    re.IGNORECASE,
)
_DISK_FULL = re.compile(r"no space left|disk quota|quota exceeded", re.IGNORECASE)
_READ_ONLY = re.compile(r"read-only file system", re.IGNORECASE)
_RATE = re.compile(r"status code: 429|too many requests|rate limit", re.IGNORECASE)
_SERVER = re.compile(r"status code: 5\d\d", re.IGNORECASE)


def network_error(error: BaseException, *, host: str, secrets: Iterable[str] = ()) -> errors.ReverserError:
    """What a failed conversation with `host` means for us. `host` has no user part; `secrets` are blotted out."""
    if isinstance(error, errors.ReverserError):
        return error
    words = redact(str(error) or type(error).__name__, secrets)
    if (local := _disk_error(words)) is not None:
        return local
    if _RATE.search(words):
        return errors.TemporaryError(
            f"{host} limits the rate of requests ({words}); will try again in {RATE_DELAY:.0f} s",
            delay=RATE_DELAY,
            reason="RateLimited",
        )
    if not _SERVER.search(words):
        for pattern, reason, advice in _STALLED:
            if pattern.search(words):
                return errors.StalledError(f"{host}: {advice} ({words})", reason=reason)
    return errors.TemporaryError(
        f"{host} cannot be reached ({words})",
        delay=HOST_DELAY,
        reason="HostUnreachable",
    )


def cache_error(error: BaseException) -> errors.ReverserError:
    """What a failed read or write of an object cache means."""
    if isinstance(error, errors.ReverserError):
        return error
    words = str(error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}:
        words = error.strerror or words
        if error.errno == errno.EACCES:
            return errors.StalledError(f"the work directory cannot be written: {words}", reason="WorkDirUnusable")
    local = _disk_error(words)
    return local or CacheDamagedError(f"the object cache is damaged ({words[:200]}); it is rebuilt at the next try")


def is_damage(words: str) -> bool:
    """Whether a message of libgit2 speaks of objects that are missing or broken on our side."""
    return bool(_DAMAGE.search(words))


def _disk_error(words: str) -> errors.ReverserError | None:
    if _DISK_FULL.search(words):
        return errors.TemporaryError(
            "the disk of the work directory is full: free some space, or delete caches while no worker runs",
            delay=HOST_DELAY,
            reason="DiskFull",
        )
    if _READ_ONLY.search(words):
        return errors.StalledError("the work directory is read-only: mount it writable", reason="WorkDirUnusable")
    return None


def refused(words: str, *, branch: str, secrets: Iterable[str] = ()) -> PushRefusedError:
    """The server's own words for why it refused the ref of `branch`."""
    shown = redact(words, secrets) or "it gave no reason"
    return PushRefusedError(f"the host refused the push to {branch}: {shown}")


def redact(words: str, secrets: Iterable[str] = ()) -> str:
    """`words` as one bounded line without control characters, user parts of URLs or any of `secrets`."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        words = words.replace(secret, "***")
    words = re.sub(r"://[^/\s@]*@", "://***@", words)
    words = re.sub(r"[^\S\n]*[\r\n]+\s*", " | ", words.strip())
    words = "".join(letter if letter.isprintable() else "�" for letter in words)
    return words if len(words) <= MAX_WORDS else words[:MAX_WORDS] + "…"


def to_wire(error: errors.ReverserError) -> dict[str, Any]:
    """The wire form of an error that leaves a helper."""
    wire: dict[str, Any] = {"class": type(error).__name__, "message": error.message, "reason": error.reason}
    if isinstance(error, errors.TemporaryError):
        wire["delay"] = error.delay
    return wire


def from_wire(wire: Mapping[str, Any]) -> errors.ReverserError:
    """The error that a helper sent."""
    for temporary in _TEMPORARY:
        if temporary.__name__ == wire["class"]:
            return temporary(wire["message"], delay=wire["delay"], reason=wire["reason"])
    for lasting in _LASTING:
        if lasting.__name__ == wire["class"]:
            return lasting(wire["message"], reason=wire["reason"])
    return errors.TemporaryError(f"{wire['class']}: {wire['message']}")
