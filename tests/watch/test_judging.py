"""The status of our objects, from verdicts and from SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from app import errors
from app.events import Identifier, Ref
from app.models import seeds, states
from app.rules import compiling, urls
from app.watch import judging, routing
from tests.watch.desk import CONFIG_MAPS, ROLES

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


def judge(
    found: states.DestinationState | None,
    verdict: compiling.DestinationVerdict = FINE,
    *,
    seeding: bool = False,
    files: judging.Tally = judging.NO_FILES,
    unwritable: Sequence[states.Unwritable] = (),
    outage: str = "",
) -> judging.Judged:
    """The status of shop/prod."""
    return judging.destination(
        SHOP, verdict, state=found, seeding=seeding, files=files, unwritable=unwritable, outage=outage
    )


def judged(
    found: states.DestinationState | None, *, seeding: bool = False, waiting: int = 0, verdict: Any = FINE
) -> dict[str, str]:
    """The conditions of a destination as `status reason`, by type, with its syncStatus."""
    result = judge(found, verdict, seeding=seeding, files=judging.Tally(2, {}, waiting + 3, waiting))
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


@pytest.mark.parametrize(("pending", "said"), [(3, True), (0, False)])
def test_a_broker_that_takes_nothing_is_named_where_changes_wait(pending: int, *, said: bool) -> None:
    """What pends while publishing fails says so and stays Ready; where nothing pends nobody is told."""
    found = judge(state(pending=pending), outage="broker_blocked")
    assert found.ready == "True"
    assert any("publishing fails (broker_blocked)" in one.message for one in found.conditions) is said


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
        result = judge(found)
        assert result.conditions[0].message == "no answer; next try at 2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("found", "seeding", "stalled"),
    [
        (state(), False, "True PruneHeld"),
        # It waits for a person, however many changes are on their way.
        (state(pending=3), False, "True PruneHeld"),
        # What a seed that goes on finds, nobody knows yet; a push that fails is the nearer trouble.
        (state(), True, "False Seeding"),
        (state(last_error="no", last_error_reason="PushRefused", stalled=True), False, "True PushRefused"),
    ],
)
def test_files_whose_objects_are_gone_wait_for_a_person(
    found: states.DestinationState, *, seeding: bool, stalled: str
) -> None:
    """The condition says how many and what lets them go; changes are mirrored meanwhile."""
    assert judged(found, seeding=seeding, waiting=21)["Stalled"] == stalled
    result = judge(state(), files=judging.Tally(0, {}, 23, 21))
    assert result.fields["orphans"] == 23
    assert [one.status for one in result.conditions if one.type == "Ready"] == ["True"]
    assert any("`reverser seed shop/prod --allow-prune 21`" in one.message for one in result.conditions)


def unwritable(*names: str) -> list[states.Unwritable]:
    """ConfigMaps of shop that cannot be written."""
    return [
        states.Unwritable(Identifier("", "v1", "configmaps", "shop", name, "ConfigMap", f"uid-{name}"), "too long")
        for name in names
    ]


def test_objects_that_cannot_be_written_are_named() -> None:
    """The first few, with the reason; whatever else is mirrored."""
    result = judge(state(pending=3), unwritable=unwritable("a", "b", "c", "d", "e"))
    assert (result.ready, result.fields["unwritable"]) == ("True", 5)
    told = next(one for one in result.conditions if one.type == "Stalled")
    assert (told.status, told.reason) == ("True", "Unwritable")
    assert told.message == (
        "5 objects cannot be written: v1/configmaps/a in shop (too long), v1/configmaps/b in shop (too long), "
        "v1/configmaps/c in shop (too long), and 2 more; "
        "mend what the reason says: the next change of each object is tried again"
    )


def test_what_was_never_pushed_is_not_ready() -> None:
    """However few objects cannot be written, while all others are on their way for the first time."""
    result = judge(state(pending=3, last_sha=None), unwritable=unwritable("a"))
    assert (result.ready, result.fields["unwritable"]) == ("Unknown", 1)
    told = judge(state(pending=3), unwritable=unwritable("a"), outage="broker_blocked").conditions[-1]
    assert (told.reason, "publishing fails (broker_blocked)" in told.message) == ("Unwritable", True)


def test_what_no_rule_selects_any_more_is_nobodys_trouble() -> None:
    """A type that was taken out of the rule, most of all because of it; a seed has none."""
    gone = states.Unwritable(Identifier("apps", "v1", "deployments", "shop", "a", "Deployment", "u"), "too long")
    sweep = states.Unwritable(Identifier("", "", "", "", "", "", ""), "killed")
    found = [*unwritable("a"), gone, sweep]
    assert judging.selected(found, marks=WANTED) == [found[0], sweep]


def test_another_installation_in_the_folder_is_told() -> None:
    """With its commit, and what to do; changes are mirrored meanwhile."""
    result = judge(state(foreign_sha="b" * 40))
    told = next(one for one in result.conditions if one.type == "Stalled")
    assert (result.ready, told.reason) == ("True", "ForeignWriter")
    assert f"commit {'b' * 10}; stop one of the two" in told.message


def test_all_that_a_person_has_to_see_to_is_said() -> None:
    """The files that wait come first: they are more than one object."""
    files = judging.Tally(0, {}, 23, 21)
    told = next(
        one for one in judge(state(), files=files, unwritable=unwritable("a")).conditions if one.type == "Stalled"
    )
    assert told.reason == "PruneHeld"
    assert "--allow-prune 21`; 1 object cannot be written: v1/configmaps/a in shop (too long); " in told.message


def test_where_files_stay_by_their_policy_nobody_has_to_decide() -> None:
    """They are counted, and that is all."""
    assert judged(state())["Stalled"] == "False Ready"


def count(files: int, **changes: Any) -> states.FileCount:
    """Files of the present place, selected as they would be now."""
    values = {"place_id": 7, "group": "", "resource": "configmaps", "namespace": "shop", "selection": "m", "rule": "r"}
    return states.FileCount(**{**values, **changes}, files=files, first="")


WANTED = {seeds.ScopeKey("", "configmaps", "shop"): "m", seeds.ScopeKey("", "services", ""): "w"}


@pytest.mark.parametrize(
    ("counts", "retained", "held"),
    [
        ([count(5), count(2, rule="s")], 0, {"r": 5, "s": 2}),
        ([count(5), count(3, namespace="web")], 3, {"r": 5}),
        ([count(2, resource="deployments", group="apps")], 2, {}),
        ([count(1, place_id=6)], 1, {}),
        ([count(4, selection="before"), count(1)], 4, {"r": 1}),
        ([count(4, selection=None, rule=None)], 0, {}),
        ([count(2, resource="services", selection="w"), count(1, resource="services", namespace="x")], 1, {"r": 2}),
    ],
)
def test_what_no_rule_selects_is_counted(counts: list[states.FileCount], retained: int, held: dict[str, int]) -> None:
    """Files of former places, of what is selected no more, and of rules that were others are retained."""
    told = judging.tally(counts, place_id=7, marks=WANTED)
    assert (told.retained, told.held) == (retained, held)


def test_orphans_of_what_is_selected_are_counted() -> None:
    """A sweep asks for the type of a file, whatever selected it once: else a file is left over, not an orphan."""
    counts = [
        count(5, orphans=2), count(3, orphans=3, waiting=1, rule="s"),
        count(6, orphans=2, waiting=2, selection="before"),
        count(4, orphans=4, waiting=4, namespace="web"), count(7, orphans=7, waiting=7, place_id=6),
    ]  # fmt: skip
    assert judging.tally(counts, place_id=7, marks=WANTED) == judging.Tally(4 + 4 + 7, {"r": 5, "s": 3}, 7, 3)


def ready(*members: str, selects: bool = False) -> compiling.RuleVerdict:
    """A rule on ConfigMaps and Services that feeds shop/prod."""
    place = compiling.Place(urls.normalise("https://example.com/x", allow_local=False), "main", "prod", SHOP)
    scopes = tuple(
        compiling.Scope(type_, "", frozenset(), wildcard=False, members=frozenset(members) if selects else None)
        for type_ in (CONFIG_MAPS, ROLES)
    )
    rule = compiling.CompiledRule("ClusterWatchRule", Ref("", "r"), "u", 1, SHOP, place, scopes, {})
    return compiling.RuleVerdict(ready=True, reason="Ready", message="feeds shop/prod", rule=rule)


def reasons(told: judging.Judged) -> list[tuple[str, str]]:
    """What a rule does not get: (resource, reason)."""
    return [(one["resource"], one["reason"]) for one in told.fields["problems"]]


def test_a_rule_says_what_it_holds() -> None:
    """The status of a rule has its destination, its types, its files and its version in SQL."""
    told = judging.rule(ready(), namespace="", state=judging.RuleState(objects=3, version=2))
    assert told.ready == "True"
    assert {key: told.fields[key] for key in ("destination", "resolvedTypes", "objects", "ruleVersion")} == {
        "destination": "shop/prod",
        "resolvedTypes": ["rbac.authorization.k8s.io/v1/roles", "v1/configmaps"],
        "objects": 3,
        "ruleVersion": 2,
    }


def test_a_rule_names_the_types_that_cannot_be_read() -> None:
    """A type that RBAC forbids is a problem of each rule that selects it, and does not hide the others."""
    roles = routing.StreamKey("rbac.authorization.k8s.io", "v1", "roles", "")
    told = judging.rule(ready(), namespace="", state=judging.RuleState(refusals={roles: "forbidden"}))
    assert (told.ready, reasons(told)) == ("True", [("roles.rbac.authorization.k8s.io", "Unreadable")])
    both = {roles: "forbidden", routing.StreamKey("", "v1", "configmaps", ""): "forbidden"}
    assert judging.rule(ready(), namespace="", state=judging.RuleState(refusals=both)).ready == "False"
    elsewhere = {routing.StreamKey("", "v1", "configmaps", "web"): "forbidden"}
    told = judging.rule(ready(), namespace="shop", state=judging.RuleState(refusals=elsewhere))
    assert reasons(told) == []


def test_a_rule_without_namespaces_to_read_says_so() -> None:
    """Labels of namespaces that may not be read stand in the status of the rules that ask for them, and of no other."""
    state = judging.RuleState(namespaces="list namespaces: forbidden")
    selecting = judging.rule(ready("shop", selects=True), namespace="", state=state)
    assert (selecting.ready, reasons(selecting)) == ("True", [("namespaces", "Unreadable")])
    assert reasons(judging.rule(ready(), namespace="", state=state)) == []
    unknown = compiling.RuleVerdict(ready=False, reason="NamespacesUnknown", message="not known")
    waiting = judging.rule(unknown, namespace="", state=state)
    assert (waiting.ready, reasons(waiting)) == ("False", [("namespaces", "Unreadable")])


def test_a_rule_that_feeds_nothing_says_why() -> None:
    """A rule that is not ready names no destination, no objects and no version."""
    verdict = compiling.RuleVerdict(ready=False, reason="NotServed", message="no type")
    told = judging.rule(verdict, namespace="shop", state=judging.RuleState())
    assert (told.ready, sorted(told.fields)) == ("False", ["excluded", "problems"])


def test_an_object_that_cannot_be_read_says_why() -> None:
    """An unusable spec is a stalled object with the reason."""
    told = judging.unreadable(errors.PermanentError("spec.rules must be a list", reason="InvalidSpec"))
    assert [(one.type, one.status) for one in told.conditions] == [
        ("Ready", "False"),
        ("Reconciling", "False"),
        ("Stalled", "True"),
    ]
