"""Repositories behind SSH and HTTPS, through libgit2, inside a helper process that is configured for them.

Host keys and certificates are judged by libgit2 and never waved through; nothing is pushed by force, and what a
server says about a refused ref is kept. Neighbours: `helper.py` makes the process ready, `local.py` is the other host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import CredentialType, Option
from pygit2.ffi import ffi
from pygit2.remotes import PushUpdate

from app import errors
from app.git import known_hosts, local, problems, urls
from app.git.credentials import Credentials

# Commits back from the tip, round by round, until the sought commit is found; the last is libgit2's "everything".
_DEPTHS = (16, 256, 4_096, 0x7FFFFFFF)
_NO_OBJECT = "0" * 40
_ADVICE = (
    "compare the fingerprint that `ssh-keyscan -p {port} {host} | ssh-keygen -lf -` shows with the one the host"
    " publishes, then put the key into known_hosts of the Secret"
)


def keep_words_of_servers() -> None:
    """Have libgit2's progress callback hand on bytes as text with replacements.

    pygit2 decodes them strictly: one byte of a hook's message that is no UTF-8, or a character cut in two by a packet,
    would end a push in its middle.
    """

    def progress(words: Any, length: int, payload: Any) -> int:
        callbacks = ffi.from_handle(payload)
        callbacks.sideband_progress(bytes(ffi.buffer(words, length)).decode(errors="replace"))
        return 0

    ffi.def_extern(name="_sideband_progress_cb")(progress)


class NetworkHost:
    """The operations of a helper on one remote repository; the answers are as `remote.py` reads them."""

    def __init__(self, url: str, *, transport: str, credentials: Credentials, timeout: float, scratch: Path) -> None:
        """`scratch` is an empty repository to talk from. Raises StalledError for SSH without known_hosts."""
        self._url, self._host = url, urls.host_of(url)
        self._credentials, self._scratch = credentials, scratch
        _check_scheme(url, transport)
        self._ssh = urls.ssh_host_and_port(url) if transport == "ssh" else None
        if self._ssh and not credentials.known_hosts.strip():
            raise self._host_key_error(known=False)
        # Below the parent's deadline, so that the more precise error arrives first.
        milliseconds = max(int(timeout * 900), 100)
        pygit2.option(Option.SET_SERVER_CONNECT_TIMEOUT, milliseconds)
        pygit2.option(Option.SET_SERVER_TIMEOUT, milliseconds)

    def heads(self) -> dict[str, Any]:
        """All branches and the default one, as the host lists them."""
        with self._talking() as callbacks:
            return _heads(self._remote(pygit2.Repository(str(self._scratch))), callbacks)

    def fetch(self, cache: Path, *, branch: str, until: str | None, whole: bool) -> dict[str, Any]:
        """Bring the branch's tip into the cache, deepening until `until` is found or history ends."""
        tip, heads = self._bring(cache, branch, until=until, whole=whole)
        found = {"branches": len(heads["branches"])}
        if tip is None:
            default = heads["default_branch"]
            default_tip = self._bring(cache, default, until=None)[0] if default else None
            return {**found, "tip": None, "contains_until": False, "default_tip": default_tip}
        contains = until is None or _contains(pygit2.Repository(str(cache)), tip, until)
        return {**found, "tip": tip, "contains_until": contains, "default_tip": None}

    def push(self, cache: Path, *, branch: str, commit: str, parent: str | None) -> dict[str, Any]:
        """Push by raw id, then read the branch back from the host."""
        repository = pygit2.Repository(str(cache))
        self._send(repository, branch=branch, commit=commit, parent=parent)
        try:
            tip, heads = self._bring(cache, branch, until=commit)
        except errors.ReverserError as error:
            raise errors.UnknownOutcomeError(f"the push was taken, but not read back: {error.message}") from error
        if tip is None or not _contains(pygit2.Repository(str(cache)), tip, commit):
            raise errors.RemoteMovedError(f"{branch} on {self._host} was moved away right after the push")
        return {"tip": tip, "branches": len(heads["branches"])}

    def _send(self, repository: pygit2.Repository, *, branch: str, commit: str, parent: str | None) -> None:
        name = f"refs/heads/{branch}"
        callbacks = _Callbacks(self, branch=branch, parent=parent)
        try:
            self._remote(repository).push([f"{commit}:{name}"], callbacks=callbacks)
        except errors.ReverserError:
            raise
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            self._refuse_moved(branch, parent=parent, error=error)
            raise self._push_error(error, callbacks) from error
        if callbacks.refusal is not None:
            self._refuse_moved(branch, parent=parent, error=None)
            words = " ".join([callbacks.refusal, "".join(callbacks.words)]).strip()
            raise problems.refused(words, branch=f"{branch} on {self._host}", secrets=self._credentials.secrets())

    def _push_error(self, error: BaseException, callbacks: _Callbacks) -> errors.ReverserError:
        mapped = self._mapped(error, callbacks)
        if callbacks.negotiated and mapped.reason == "HostUnreachable" and isinstance(mapped, errors.TemporaryError):
            return errors.UnknownOutcomeError(f"the push broke off: {mapped.message}", delay=mapped.delay)
        return mapped

    def _refuse_moved(self, branch: str, *, parent: str | None, error: BaseException | None) -> None:
        """Raise RemoteMovedError when that explains a failed push: the ref is not where it was built on."""
        if error is not None and not re.search(r"non-fastforward|cannot push|fast.forward", str(error)):
            return
        tip = self.heads()["branches"].get(branch)
        if tip != parent:
            raise local.moved(branch, tip=tip, parent=parent) from error

    def _bring(
        self, cache: Path, branch: str, *, until: str | None, whole: bool = False
    ) -> tuple[str | None, dict[str, Any]]:
        """Fetch `branch`; its tip (None: there is none) and the heads of the remote."""
        tip: str | None = None
        heads: dict[str, Any] = {}
        for depth in _DEPTHS[-1:] if whole else _DEPTHS if until else (1,):
            tip, heads = self._fetch_once(cache, branch, until=until, depth=depth)
            repository = pygit2.Repository(str(cache))
            if tip is None or until is None or _contains(repository, tip, until) or not repository.is_shallow:
                break
        return tip, heads

    def _fetch_once(
        self, cache: Path, branch: str, *, until: str | None, depth: int
    ) -> tuple[str | None, dict[str, Any]]:
        """One conversation: list, and fetch what is not here yet."""
        repository = pygit2.Repository(str(cache))
        try:
            with self._talking() as callbacks:
                remote = self._remote(repository)
                heads = _heads(remote, callbacks)
                tip = heads["branches"].get(branch)
                if tip is not None and not (tip in repository and (not until or _contains(repository, tip, until))):
                    if until and until in repository:
                        # Without a ref to offer, libgit2 would have everything sent again.
                        repository.references.create("refs/have/recorded", until, force=True)
                    remote.fetch([f"refs/heads/{branch}"], callbacks=callbacks, depth=depth)
                return tip, heads
        finally:
            # A cache keeps no refs: neither ours nor the tags that came along.
            for name in list(repository.references):
                repository.references.delete(name)

    def _remote(self, repository: pygit2.Repository) -> pygit2.Remote:
        return repository.remotes.create_anonymous(self._url)

    @contextmanager
    def _talking(self) -> Iterator[_Callbacks]:
        callbacks = _Callbacks(self)
        try:
            yield callbacks
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            raise self._mapped(error, callbacks) from error

    def _mapped(self, error: BaseException, callbacks: _Callbacks) -> errors.ReverserError:
        if callbacks.untrusted and self._ssh:
            host, port = self._ssh
            return self._host_key_error(known=known_hosts.names(self._credentials.known_hosts, host=host, port=port))
        if problems.is_damage(str(error)):
            return problems.cache_error(error)
        return problems.network_error(error, host=self._host, secrets=self._credentials.secrets())

    def refuse_stranger(self, host: str) -> None:
        """Raise StalledError for a host that a redirect led to: the credentials are not meant for it."""
        if self._ssh is None and host.lower() != urls.hostname(self._url):
            message = f"{self._host} sends us on to {problems.redact(host)}: write the new address into repoUrl"
            raise errors.StalledError(message, reason="RepositoryMoved")

    def _host_key_error(self, *, known: bool) -> errors.StalledError:
        assert self._ssh is not None
        host, port = self._ssh
        advice = _ADVICE.format(host=host, port=port)
        if known:
            what = f"{host} shows another host key than the one in known_hosts: it was changed, or this is not {host}"
            return errors.StalledError(f"{what}; {advice}", reason="HostKeyMismatch")
        return errors.StalledError(f"known_hosts does not name {host} (port {port}); {advice}", reason="HostKeyUnknown")

    def credential(self, user: str | None, allowed: CredentialType, tries: list[CredentialType]) -> Any:
        """The next credential to offer. Raises StalledError when everything was offered."""
        mine = self._credentials
        name = user or mine.username or "git"
        offers: dict[CredentialType, Any] = {CredentialType.USERNAME: pygit2.Username(name)}
        if mine.ssh_private_key:
            key = pygit2.KeypairFromMemory(name, None, mine.ssh_private_key, mine.ssh_passphrase)
            offers[CredentialType.SSH_MEMORY] = key
        if mine.password and not mine.ssh_private_key:
            offers[CredentialType.USERPASS_PLAINTEXT] = pygit2.UserPass(name, mine.password)
        for kind, offer in offers.items():
            if allowed & kind and kind not in tries:
                tries.append(kind)
                return offer
        what = "refused the credentials" if tries else "asks for credentials, and the Secret has none that fit"
        raise errors.StalledError(
            f"{self._host} {what}: check the Secret that secretRef names", reason="AuthenticationFailed"
        )


class _Callbacks(pygit2.RemoteCallbacks):
    """What libgit2 asks and tells during one conversation."""

    def __init__(self, host: NetworkHost, *, branch: str = "", parent: str | None = None) -> None:
        super().__init__()
        self._host, self._branch, self._parent = host, branch, parent
        self._tries: list[CredentialType] = []
        self.untrusted = False
        self.negotiated = False
        self.refusal: str | None = None
        self.words: list[str] = []

    def credentials(self, _url: str, username_from_url: str | None, allowed_types: CredentialType) -> Any:
        return self._host.credential(username_from_url, allowed_types, self._tries)

    def certificate_check(self, _certificate: None, valid: bool, host: bytes) -> bool:  # noqa: FBT001
        self._host.refuse_stranger(host.decode(errors="replace"))
        self.untrusted = not valid
        return valid

    def push_negotiation(self, updates: list[PushUpdate]) -> None:
        # libgit2 names the remote's old id `src`.
        for update in updates:
            old = str(update.src)
            tip = None if old == _NO_OBJECT else old
            if tip != self._parent:
                raise local.moved(self._branch, tip=tip, parent=self._parent)
        self.negotiated = True

    def push_update_reference(self, _refname: str, message: str | None) -> None:
        if message is not None:
            self.refusal = message

    def sideband_progress(self, string: str) -> None:
        if sum(map(len, self.words)) < problems.MAX_WORDS:
            self.words.append(string)


def _heads(remote: pygit2.Remote, callbacks: pygit2.RemoteCallbacks) -> dict[str, Any]:
    listed = remote.list_heads(callbacks=callbacks)
    branches = {
        head.name.removeprefix("refs/heads/"): str(head.oid)
        for head in listed
        if head.name and head.name.startswith("refs/heads/")
    }
    named = next((head for head in listed if head.name == "HEAD"), None)
    return {"default_branch": _default(named, branches), "branches": branches}


def _default(head: Any, branches: dict[str, str]) -> str | None:
    if head is None:
        return None
    if head.symref_target:
        default = str(head.symref_target).removeprefix("refs/heads/")
        return default if default in branches else None
    # A server that does not say what HEAD points to: a branch at the same commit, the usual names first.
    same = [name for name, tip in branches.items() if tip == str(head.oid)]
    return min(same, key=lambda name: (name not in {"main", "master"}, name), default=None)


def _contains(repository: pygit2.Repository, tip: str, sha: str) -> bool:
    return tip == sha or (tip in repository and sha in repository and repository.descendant_of(tip, sha))


def _check_scheme(url: str, transport: str) -> None:
    """libgit2 chooses the transport by the URL; a wrong one would take credentials elsewhere."""
    fits = url.lower().startswith("https://") if transport == "https" else transport == "ssh" and _is_ssh(url)
    if not fits:
        raise errors.PermanentError(f"{problems.redact(url)} is no {transport} URL", reason="InvalidUrl")


def _is_ssh(url: str) -> bool:
    return url.lower().startswith("ssh://") or (
        "://" not in url and "::" not in url and ":" in url and not url.startswith("-")
    )
