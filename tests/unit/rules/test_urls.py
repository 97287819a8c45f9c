"""Repository URLs: one key for one repository, and nothing else is connected to."""

from __future__ import annotations

import pytest

from app import errors
from app.rules import urls


def _key(url: str) -> str:
    return urls.normalise(url, allow_local=True).key


@pytest.mark.parametrize(
    "same",
    [
        [
            "https://GitHub.com/acme/Shop.git",
            "https://github.com:443/acme/Shop",
            "https://github.com./acme/Shop.git/",
            "https://github.com//acme/./Shop",
            "https://github.com/acme/%53hop",
            "HTTPS://github.com/acme/Shop",
            "git@github.com:acme/Shop.git",
            "github.com:acme/Shop",
            "ssh://git@github.com:22/acme/Shop.git",
            "ssh://github.com/acme/Shop",
        ],
        ["bob@host:notes.git", "ssh://bob@host/~/notes", "bob@host:~/notes"],
        ["git@host:/srv/git/a.git", "ssh://other@host/srv/git/a"],
        ["file:///srv/git/a", "file:///srv//git/a/"],
        ["ssh://git@[::1]:2222/a", "ssh://git@[::1]:2222/a.git"],
    ],
)
def test_spellings_of_one_repository_share_a_key(same: list[str]) -> None:
    """Host case, default port, `.git`, slashes, scp form and transport make no second repository."""
    assert len({_key(url) for url in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://host/a", "https://host/b"),
        ("https://host/a", "https://host/A"),
        ("https://host/a", "https://host:8443/a"),
        ("bob@host:notes", "eve@host:notes"),
        ("file:///a", "file:///a.git"),
        ("https://host/.git", "https://host/a"),
    ],
)
def test_different_repositories_have_different_keys(one: str, other: str) -> None:
    """Two repositories are never taken for one."""
    assert _key(one) != _key(other)


def test_the_url_to_connect_with_stays_as_it_was_written() -> None:
    """A home-relative path means something else than an absolute one: the URL is not rewritten."""
    url = urls.normalise("git@Host:a/b.git", allow_local=False)
    assert (str(url), url.url, url.host, url.transport) == ("git@Host:a/b.git", "git@Host:a/b.git", "host", "ssh")
    assert urls.normalise("https://h/a", allow_local=False).transport == "https"
    assert urls.normalise("file:///a", allow_local=True).host == ""


REFUSED = [
    "",
    "ext::sh -c whoami",
    "ext::sh",
    "-uwhatever",
    "--upload-pack=x",
    "git://host/a",
    "http://host/a",
    "ftp://host/a",
    "/srv/git/a.git",
    "../a",
    "C:\\git\\a",
    "c:/git/a",
    "github.com/acme/shop",
    "https://",
    "https://host",
    "https://host/",
    "https:///a",
    "https://host:0/a",
    "https://host:99999/a",
    "https://host:x/a",
    "https://ho st/a",
    "https://[::1/a",
    "https://-host/a",
    "https://host/a?x=1",
    "https://host/a#x",
    "https://host/a?",
    "https://host/../a",
    "https://host/%2e%2e/a",
    "https://host/a%0ab",
    "https://host/a;id",
    "https://host/a\nb",
    "https://host/" + "a" * 2000,
    "ssh://host/-oProxyCommand=x",
    "ssh://-oProxyCommand=x/a",
    "ssh://-x@host/a",
    "ssh://host/a'b",
    "ssh://host/$(id)",
    "git@host:-x",
    "-x@host:a",
    "git@host:a`id`",
    "host:",
    "user:tok@host:a",
    "file://host/a",
    "file:///",
    "file:///a/../b",
]


@pytest.mark.parametrize("url", REFUSED)
def test_everything_else_is_refused_and_says_what_to_do(url: str) -> None:
    """No URL runs a program, leaves its folder or goes over an open line."""
    with pytest.raises(errors.PermanentError) as caught:
        urls.normalise(url, allow_local=True)
    assert caught.value.reason == "InvalidUrl"
    assert "repoUrl" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cr3t@host/a",
        "https://s3cr3t@host/a",
        "https://s3cr3t:@host/a",
        "ssh://git:s3cr3t@host/a",
        "http://user:s3cr3t@host/a",
        "https://user:s3cr3t@[::1/a",
        "s3cr3t:s3cr3t@host:a",
    ],
)
def test_a_credential_is_refused_and_never_echoed(url: str) -> None:
    """A token in a URL is not in the message, and not in what a traceback would show."""
    with pytest.raises(errors.PermanentError) as caught:
        urls.normalise(url, allow_local=False)
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in str(caught.value.__cause__)


def test_credentials_are_pointed_to_the_secret() -> None:
    """The message of a URL with a password names the field to use instead."""
    for url in ("https://user:token@host/a", "ssh://git:token@host/a"):
        with pytest.raises(errors.PermanentError, match="use secretRef"):
            urls.normalise(url, allow_local=False)


def test_a_local_repository_needs_the_installation_to_allow_it() -> None:
    """file:// would read any path of the host."""
    with pytest.raises(errors.PermanentError, match="does not allow"):
        urls.normalise("file:///srv/a", allow_local=False)
    assert urls.normalise("file:///srv/a", allow_local=True).transport == "file"
