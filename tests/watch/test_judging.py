"""The status of our objects, from verdicts and from SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app import errors
from app.events import Ref
from app.models import seeds, states
from app.rules import compiling
from app.watch import judging, routing

SHOP = Ref("shop", "prod")
FINE = compiling.DestinationVerdict(ready=True, reason="Ready", message="writes to clusters/prod on main")
REFUSED = compiling.DestinationVerdict(ready=False, reason="Conflict", message="choose another baseFolder")


def state(**changes: Any) -> states.DestinationState:
    """How the drains of a destination went, well by default."""
    values: dict[str, Any] = {
        "destination_id": 1,
        "place_id": 7,
        "last_error": None,
        "last_error_reason": None,
        "stalled": False,
        "not_before": None,
        "last_sha": "a" * 40,
        "last_pushed_at": datetime(2026, 1, 1, tzinfo=UTC),
        "branch_exists": True,
        "pending": 0,
    }
    return states.DestinationState(**values | changes)


def judged(found: states.DestinationState | None, *, seeding: bool = False, verdict: Any = FINE) -> dict[str, str]:
    """The conditions of a destination as `status reason`, by type, with its syncStatus."""
    result = judging.destination(SHOP, verdict, state=found, seeding=seeding, retained=2)
    return {one.type: f"{one.status} {one.reason}" for one in result.conditions} | {
        "sync": str(result.fields["syncStatus"])
    }


@pytest.mark.parametrize(
    ("found", "ready", "stalled", "sync"),
    [
        (state(), "True Ready", "False Ready", "idle"),
        (state(pending=3), "True Ready", "False Pending", "syncing"),
        (state(pending=3, last_sha=None), "Unknown Pending", "False Pending", "syncing"),
        (
            state(last_error="no", last_error_reason="HostUnreachable"),
            "False HostUnreachable",
            "False HostUnreachable",
            "error",
        ),
        (
            state(last_error="no", last_error_reason="PushRefused", stalled=True),
            "False PushRefused",
            "True PushRefused",
            "error",
        ),
        (None, "Unknown Recording", "False Recording", "syncing"),
    ],
)
def test_a_destination_says_how_it_stands(
    found: states.DestinationState | None, ready: str, stalled: str, sync: str
) -> None:
    """Ready, Stalled and syncStatus follow from what the drains recorded."""
    told = judged(found)
    assert (told["Ready"], told["Stalled"], told["sync"]) == (ready, stalled, sync)


REPO = compiling.RepoVerdict(ready=True, reason="Ready", message="https://git.example.com/shop.git")


@pytest.mark.parametrize(
    ("found", "fields"),
    [
        (None, {}),
        (states.RepoState("creds", None, None), {"connectionSecret": "Unknown", "connectionCheck": "Unknown"}),
        (
            states.RepoState("creds", "Connected", 3),
            {"connectionSecret": "Found", "connectionCheck": "Connected", "remoteBranchCount": 3},
        ),
        (
            states.RepoState("creds", "SecretNotFound", None),
            {"connectionSecret": "SecretNotFound", "connectionCheck": "SecretNotFound"},
        ),
        (
            states.RepoState(None, "HostUnreachable", None),
            {"connectionSecret": "Anonymous", "connectionCheck": "HostUnreachable"},
        ),
    ],
)
def test_a_repository_says_how_the_last_connection_ended(
    found: states.RepoState | None, fields: dict[str, Any]
) -> None:
    """The Secret, the connection and the branches of a GitRepoConfig are what its workers saw last."""
    assert judging.repo_config(REPO, state=found).fields == fields


def test_a_refused_destination_is_stalled() -> None:
    """What the compiler refused is said with its reason, whatever was pushed before."""
    told = judged(state(), verdict=REFUSED)
    assert (told["Ready"], told["Stalled"], told["sync"]) == ("False Conflict", "True Conflict", "error")


def test_the_next_try_stands_in_the_message() -> None:
    """An error that passes says when it is tried again, once, also where it said in how many seconds."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    for error in ("no answer", "no answer; will try again in 30 s"):
        found = state(last_error=error, last_error_reason="Temporary", not_before=moment)
        result = judging.destination(SHOP, FINE, state=found, seeding=False, retained=0)
        assert result.conditions[0].message == "no answer; next try at 2026-01-02T00:00:00Z"


def test_what_no_rule_selects_is_counted() -> None:
    """Files of former places and of scopes that are no longer selected are retained."""
    scope = routing.WantedScope(seeds.ScopeKey("", "configmaps", "shop"), "v1", sweepable=True)
    counts = [(7, "", "configmaps", "shop", 5), (7, "", "configmaps", "web", 3), (7, "apps", "deployments", "shop", 2),
              (6, "", "configmaps", "shop", 1)]  # fmt: skip
    assert judging.retained(counts, place_id=7, scopes=[scope]) == 6


def test_a_rule_names_the_types_that_cannot_be_read() -> None:
    """A type that RBAC forbids is a problem of each rule that selects it, and does not hide the others."""
    verdict = compiling.RuleVerdict(ready=False, reason="NotServed", message="no type")
    told = judging.rule(verdict, refusals={}, namespace="shop")
    assert told.ready == "False"
    assert "destination" not in told.fields


def test_an_object_that_cannot_be_read_says_why() -> None:
    """An unusable spec is a stalled object with the reason."""
    told = judging.unreadable(errors.PermanentError("spec.rules must be a list", reason="InvalidSpec"))
    assert [(one.type, one.status) for one in told.conditions] == [
        ("Ready", "False"),
        ("Reconciling", "False"),
        ("Stalled", "True"),
    ]
