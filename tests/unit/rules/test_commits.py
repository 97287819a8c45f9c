"""The text of a commit: readable, safe whatever a user is called, and found again."""

from __future__ import annotations

import re

import pygit2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.events import Identifier, Operation, Ref, UserInfo
from app.rules import commits

CONFIGMAP = Identifier("", "v1", "configmaps", "shop", "app-config", "ConfigMap", "u")
PROD = Ref("shop", "prod")
LEDGER = "123e4567-e89b-12d3-a456-426614174000"
KUBECTL = UserInfo("kubectl-edit", "managedFields")

hostile = st.text() | st.text(alphabet="<>\n\0.,;:'\" a@\\%~\u202e\ud800", max_size=90)


def _trailers() -> str:
    return commits.trailers(destination=PROD, ledger=LEDGER, first=900, last=941, ids=["a", "b"])


def test_a_subject_names_operation_object_and_who() -> None:
    """A user, a manager when only that is known, nobody when nobody is."""
    assert commits.subject(Operation.CREATE, CONFIGMAP, UserInfo("alice", "audit")) == (
        "[CREATE] v1/configmaps/app-config by user/alice"
    )
    assert commits.subject(Operation.UPDATE, CONFIGMAP, KUBECTL) == (
        "[UPDATE] v1/configmaps/app-config by manager/kubectl-edit"
    )
    assert commits.subject(Operation.DELETE, CONFIGMAP, None) == "[DELETE] v1/configmaps/app-config"
    assert commits.subject(Operation.DELETE, CONFIGMAP, UserInfo("", "audit")) == "[DELETE] v1/configmaps/app-config"


def test_seeds_and_sweeps_count_what_they_did() -> None:
    """One commit for many objects says how many."""
    assert commits.seed_subject(1, PROD) == "[SEED_SYNC] 1 object of shop/prod"
    assert commits.seed_subject(12, PROD) == "[SEED_SYNC] 12 objects of shop/prod"
    assert commits.sweep_subject(2, PROD) == "[SEED_SYNC] remove 2 orphans of shop/prod"


def test_a_sweep_names_what_it_removes() -> None:
    """Who reads the log sees object and rule of each file, and of very many how many there are."""
    node = Identifier("", "v1", "nodes", "", "a\nb", "Node", "u")
    assert commits.sweep_body([(CONFIGMAP, "WatchRule shop/all"), (node, "ClusterWatchRule c")]) == (
        "v1/configmaps/app-config in namespace shop, under WatchRule shop/all\n"
        r"v1/nodes/a\nb, under ClusterWatchRule c"
    )
    assert commits.sweep_body([(CONFIGMAP, "r")] * commits.MOST_ORPHANS).count("\n") == commits.MOST_ORPHANS - 1
    assert commits.sweep_body([(CONFIGMAP, "r")] * (commits.MOST_ORPHANS + 2)).endswith(", under r\nand 2 more")


@given(hostile, hostile)
def test_a_subject_is_one_printable_line(name: str, username: str) -> None:
    """No name makes a second line, a trailer of its own or a megabyte."""
    identifier = Identifier("", "v1", "roles", "shop", name * 3, "Role", "u")
    subject = commits.subject(Operation.CREATE, identifier, UserInfo(username, "audit"))
    assert subject.isprintable()
    assert len(subject) <= commits.MAX_SUBJECT


def test_a_cut_subject_says_that_it_was_cut() -> None:
    """An ellipsis stands for the rest; control characters are shown escaped."""
    assert commits.one_line("x" * 500) == "x" * (commits.MAX_SUBJECT - 1) + "…"
    assert commits.one_line("a\nb\u202e") == r"a\nb\u202e"


def test_a_message_ends_with_its_trailers() -> None:
    """Subject, body, trailers, each its own paragraph."""
    digest = commits.digest(["a", "b"])
    expected = f"Reverser-Destination: shop/prod\nReverser-Event: {LEDGER}:900-941:{digest}\n"
    assert commits.message("s", trailers=_trailers()) == f"s\n\n{expected}"
    assert commits.message("s", trailers=_trailers(), body="one\n\ntwo\n") == f"s\n\none\n\ntwo\n\n{expected}"


def test_trailers_read_back() -> None:
    """Everything that identifies a commit of ours comes back, also through a host that adds lines of its own."""
    expected = commits.Trailer(PROD, LEDGER, 900, 941, commits.digest(["a", "b"]))
    message = commits.message("s", trailers=_trailers(), body="b")
    assert commits.parse_trailers(message) == expected
    assert commits.parse_trailers(message + "Signed-off-by: X <x@example.com>\n(picked)\n") == expected
    assert commits.parse_trailers(message.replace("\n", "\r\n").replace("\r\n\r\n", "\n\n")) == expected


@pytest.mark.parametrize(
    "message",
    [
        "",
        "subject only",
        "s\n\n" + _trailers() + "\nanother paragraph\n",
        "s\n\n" + _trailers() + _trailers(),
        "s\n\n" + _trailers().replace("Reverser-Destination: shop/prod\n", ""),
        "s\n\n" + _trailers().replace("shop/prod", "shop"),
        "s\n\n" + _trailers().replace(":900-", ":x-"),
        "s\n\n" + _trailers().replace(LEDGER, "../x"),
        "s\n\n" + _trailers()[:-3],
    ],
)
def test_what_is_not_wholly_ours_is_not_ours(message: str) -> None:
    """A quote in a body, a doubled or a damaged trailer is nobody's."""
    assert commits.parse_trailers(message) is None


@given(hostile)
@example("s\n\n" + _trailers())
def test_a_body_cannot_forge_a_trailer(body: str) -> None:
    """Whatever a body quotes, the last paragraph decides."""
    parsed = commits.parse_trailers(commits.message("s", trailers=_trailers(), body=body))
    assert parsed is not None
    assert (parsed.first, parsed.last) == (900, 941)


def test_the_digest_depends_on_ids_and_their_order() -> None:
    """Two drains of other rows are told apart."""
    digests = {commits.digest(ids) for ids in ([], ["a"], ["a", "b"], ["b", "a"])}
    assert len(digests) == 4
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)


@given(hostile)
@example("a\nb <x@y>")
@example("system:admin")
@example("\0")
@example("<>")
@example(".")
@example("..")
@example("~")
@example("x" * 500)
@example("\ud800" * 30)
def test_every_user_has_a_valid_git_identity(username: str) -> None:
    """Git takes it as it is, no header can be injected, and the address belongs to nobody."""
    name, email = commits.author(UserInfo(username, "audit"))
    signature = pygit2.Signature(name, email, 1, 0)
    assert (signature.name, signature.email) == (name, email)
    assert name.isprintable()
    assert len(name) <= commits.MAX_AUTHOR_NAME
    assert re.fullmatch(
        r"[A-Za-z0-9_%~-]+(\.[A-Za-z0-9_%~-]+)*@(users\.)?reverser\.(users\.)?(reverser\.)?invalid", email
    )
    assert len(email.partition("@")[0]) <= 64


def test_authors_are_people_managers_or_reverser() -> None:
    """A manager is a program and stands in a domain of its own; nobody known is Reverser itself."""
    assert commits.author(UserInfo("alice", "audit")) == ("alice", "alice@users.reverser.invalid")
    assert commits.author(KUBECTL) == ("kubectl-edit", "kubectl-edit@managers.reverser.invalid")
    assert commits.author(None) == commits.COMMITTER
    assert commits.author(UserInfo("", "audit")) == commits.COMMITTER
    assert commits.author(UserInfo("bob@corp.example", "audit")) == (
        "bob@corp.example",
        "bob%40corp.example@users.reverser.invalid",
    )
    assert commits.author(UserInfo("<>", "audit"))[0] == "unknown"


def test_long_names_share_no_address() -> None:
    """An address is cut where mail systems end it, never within an escape, and says by a digest whose it is."""
    names = ["x" * 500, "x" * 501, *("x" * count + "é" * 50 for count in range(6))]
    local_parts = {commits.author(UserInfo(name, "audit"))[1].partition("@")[0] for name in names}
    assert len(local_parts) == len(names)
    for part in local_parts:
        assert len(part) <= 64
        assert re.fullmatch("(x|%[0-9A-F]{2})+~[0-9a-f]{16}", part)


@given(st.lists(hostile, min_size=2, max_size=2, unique=True))
@example(["0", "0."])
@example([".a", "a"])
@example(["a..b", "a.%2Eb"])
def test_two_users_never_share_an_address(usernames: list[str]) -> None:
    """Who did it can be searched by address."""
    addresses = {commits.author(UserInfo(username, "audit"))[1] for username in usernames if username}
    assert len(addresses) == len([username for username in usernames if username])
