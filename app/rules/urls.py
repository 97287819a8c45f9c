"""Repository URLs: what may be connected to, and when two of them mean one repository.

Two destinations that write one folder of one branch must be found whatever way their URLs are spelt, so every URL
gets a key. `compiling.py` asks here; `app/git` connects with what is returned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from app import errors

Transport = Literal["https", "ssh", "file"]

MAX_URL = 2000
_DEFAULT_PORTS = {"https": 443, "ssh": 22}
_HINT = "write https://HOST/PATH or ssh://USER@HOST/PATH"

_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]*")
# An allow-list: a path travels to a remote shell over SSH, so nothing that a shell reads may stand in it.
_PATH = re.compile(r"[\w.~/%+@,:=-]+")
_SCP = re.compile(r"(?:(?P<user>[^@/:]+)@)?(?P<host>[^@/:\[\]]+|\[[^\]]+\]):(?P<path>[^/].*|/.*)")


@dataclass(frozen=True, slots=True)
class RepoUrl:
    """A checked URL. Two URLs with one `key` mean one repository; `host` is lower case, empty for a local one."""

    url: str
    key: str
    host: str
    transport: Transport

    def __str__(self) -> str:
        """The URL; it never holds a credential."""
        return self.url


def normalise(url: str, *, allow_local: bool) -> RepoUrl:
    """Check a URL and derive its key.

    Raises PermanentError(InvalidUrl) that says what to do; what may be a credential is never in the message.
    """
    if not url:
        raise _invalid(f"repoUrl is empty: {_HINT}")
    if len(url) > MAX_URL or not url.isprintable() or " " in url or url.startswith("-"):
        raise _invalid(f"repoUrl holds characters that no repository URL has, or is too long: {_HINT}")
    scheme, separator, _ = url.partition("://")
    if not separator:
        return _scp(url)
    match scheme.lower():
        case "https":
            return _https(url)
        case "ssh":
            return _ssh(url)
        case "file" if allow_local:
            return _local(url)
        case "file":
            raise _invalid("repoUrl is local (file://), which this installation does not allow: use https:// or ssh://")
        case _:
            raise _invalid(f"repoUrl is of a kind that is not supported: {_HINT}")


def _https(url: str) -> RepoUrl:
    user, host, port, path = _split(url, "https")
    if user is not None:
        raise _invalid("repoUrl holds a user name or token: remove it and use secretRef")
    return RepoUrl(url=url, key=_key(host, port, path), host=host, transport="https")


def _ssh(url: str) -> RepoUrl:
    user, host, port, path = _split(url, "ssh")
    if user is not None and ":" in user:
        raise _invalid("repoUrl holds a password: remove it and use secretRef")
    _check_user(user)
    home = path.startswith("/~")
    key = _key(host, port, _home_path(user, path.removeprefix("/~/")) if home else path)
    return RepoUrl(url=url, key=key, host=host, transport="ssh")


def _scp(url: str) -> RepoUrl:
    """`git@host:group/repo.git`, whose path is relative to the user's home on the server."""
    found = _SCP.fullmatch(url)
    # `ext::command`, `user:token@host` and Windows drives look like this form too.
    if found is None or found["path"].startswith((":", "\\")) or "@" in found["path"] or len(found["host"]) == 1:
        raise _invalid(f"repoUrl is no repository URL: {_HINT}")
    user, host, path = found["user"], _check_host(found["host"]), found["path"]
    _check_user(user)
    _check_path(path)
    full = path if path.startswith("/") else _home_path(user, path.removeprefix("~/"))
    return RepoUrl(url=url, key=_key(host, None, full), host=host, transport="ssh")


def _local(url: str) -> RepoUrl:
    path = url[len("file://") :]
    if not path.startswith("/"):
        raise _invalid("a local repoUrl needs an absolute path: write file:///PATH")
    _check_path(path)
    # `a` and `a.git` are two folders of a file system, so the ending stays.
    return RepoUrl(url=url, key="file:///" + "/".join(_segments(path)), host="", transport="file")


def _split(url: str, scheme: Transport) -> tuple[str | None, str, int | None, str]:
    """User information, host, port other than the default, path; each checked."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The library's own words may quote what is a credential.
        raise _invalid(f"repoUrl has no usable host or port: {_HINT}") from None
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise _invalid("repoUrl has a query or a fragment: remove it")
    user, at, location = parts.netloc.rpartition("@")
    # `urlsplit` reads int("") and more; what is left of the port must be digits.
    host = _check_host(re.sub(r":[0-9]*$", "", location))
    _check_path(parts.path)
    if port == 0 or not _segments(parts.path):
        raise _invalid(f"repoUrl names no repository: {_HINT}")
    return (user if at else None), host, (None if port == _DEFAULT_PORTS[scheme] else port), parts.path


def _key(host: str, port: int | None, path: str) -> str:
    """Host, port and path without the scheme: one server shows one repository by HTTPS and by SSH alike."""
    segments = _segments(path)
    segments[-1] = segments[-1].removesuffix(".git") or segments[-1]
    return "/".join([host if port is None else f"{host}:{port}", *segments])


def _home_path(user: str | None, path: str) -> str:
    """A path in a home folder. `git` is the user of hosting services, where home and root are one."""
    return path if user in (None, "git") else f"~{user}/{path}"


def _segments(path: str) -> list[str]:
    return [segment for segment in unquote(path).split("/") if segment not in ("", ".")]


def _check_host(host: str) -> str:
    lowered = host.lower().removesuffix(".")
    if not _HOST.fullmatch(lowered):
        raise _invalid(f"repoUrl has no usable host: {_HINT}")
    return lowered


def _check_user(user: str | None) -> None:
    if user is not None and not _USER.fullmatch(user):
        raise _invalid(f"repoUrl has no usable user name: {_HINT}")


def _check_path(path: str) -> None:
    segments = _segments(path)
    if not segments or not _PATH.fullmatch(path) or not unquote(path).isprintable():
        raise _invalid(
            "repoUrl has a path that no repository has: use letters, digits and - _ . ~ + / , percent-encode others"
        )
    if ".." in segments or segments[0].startswith("-"):
        raise _invalid("repoUrl has a path with .. or a leading dash: write the plain path")


def _invalid(message: str) -> errors.PermanentError:
    return errors.PermanentError(message, reason="InvalidUrl")
