"""`reverser explain`: what a destination mirrors, and for each way in which an object is not in Git the sentence.

The database is written by a real drain into a real repository; nothing of it needs a broker.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app import errors, settings
from app.cli import main, naming, overviews, surveying, weighing
from app.events import Ref
from app.kube import client, crds, kinds, manifests, paths
from app.models import destinations, leases, ledger, rules, seeds
from app.rules import compiling, types
from tests.cli.installation import Installation
from tests.cli.shop import CONFIG_MAP, FINALIZED, PATH, PLACE, SHOP, Shop, connect
from tests.drain.world import World
from tests.servers.api import EACH, KUBE_ONLY, SANDBOX_ONLY, ApiServer, make
from tests.servers.sandbox import SandboxServer
from tests.waiting import wait_until


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with our kinds and the namespace shop."""
    with make(request.param, tmp_path_factory.mktemp("server")) as one:
        with contextlib.closing(connect(one)) as cluster:
            crds.apply(cluster, allow_local=True)
            for found in manifests.read(SHOP, source="here"):
                manifests.Sender(cluster).apply(found)
        yield one


@pytest.fixture
def shop(server: ApiServer, tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A destination without rules."""
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path, sqlite_url, ruled=False)
    one = Shop(server, world, database_url=sqlite_url)
    yield one
    one.clean()
    world.close()


def test_an_object_in_git(shop: Shop) -> None:
    """Path, branch, commit, time and rule of an object that is in Git, by any name of its type; the broker is away."""
    shop.rule()
    shop.config_map()
    shop.mirror()
    found = shop.answer()
    sha = shop.world.log()[0]
    expected = {"in_git": True, "reason": "InGit", "path": PATH, "branch": "main", "commit": sha, "notes": []}
    assert {key: found[key] for key in expected} == expected
    assert found["rule"] == "WatchRule shop/all"
    assert f"Reverser wrote it to Git: {PATH} on main, with commit {sha[:10]} of " in found["sentence"]
    for word in ("ConfigMap/app-config", "configmaps/app-config"):
        assert shop.answer(word) == found
    text = shop.ask("cm/app-config").stdout
    assert text.startswith("configmaps/app-config in namespace shop, for shop/prod:\n  Reverser wrote it to Git: ")


def test_no_such_destination(shop: Shop) -> None:
    """A destination that is not there is said, with those that are; exit code 1."""
    done = CliRunner().invoke(main.main, ["explain", "shop/dev"], env=shop.environment)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: there is no GitDestination shop/dev; there are: shop/prod\n"
    assert CliRunner().invoke(main.main, ["explain", "shop"], env=shop.environment).exit_code == 2


def test_a_destination_that_is_not_ready(shop: Shop) -> None:
    """Nothing gets into Git through a destination that is not ready: its own reason is the answer."""
    shop.rule()
    shop.config_map()
    shop.apply(PLACE.format(url=shop.world.repository.as_uri()).replace("branch: main", "branch: other"))
    found = shop.answer()
    assert found["reason"] == "BranchNotAllowed"
    assert found["sentence"].startswith("The destination is not ready: ")
    assert "is not ready (BranchNotAllowed)" in shop.ask().stdout


def test_a_type_that_is_not_served(shop: Shop) -> None:
    """A type that the cluster does not serve is said, with the nearest one that it serves."""
    done = shop.ask("configmapps/app-config")
    said = "Error: the cluster has no type 'configmapps': do you mean configmaps?\n"
    assert (done.exit_code, done.stderr) == (1, said)


def test_no_rule(shop: Shop) -> None:
    """Without rules, and with rules of other types alone, the answer is what to make."""
    shop.config_map()
    assert shop.answer()["reason"] == "NoRule"
    shop.rule("{resources: [services]}")
    found = shop.answer()
    assert (found["reason"], found["in_git"]) == ("NotSelected", False)
    assert found["sentence"].startswith("No rule of shop/prod selects configmaps")


def test_no_rule_for_a_type_without_namespaces(shop: Shop) -> None:
    """Nobody is sent into a WatchRule, which cannot select it: the advice is the kind of rule that can."""
    advice = "make a ClusterWatchRule whose destinationRef names it"
    assert shop.answer("ns/shop")["sentence"] == f"No rule feeds shop/prod: {advice}"
    shop.rule()
    advice = "it is cluster-scoped, so select it in a ClusterWatchRule with scope Cluster"
    assert shop.answer("ns/shop")["sentence"] == f"No rule of shop/prod selects namespaces: {advice}"


def test_a_type_with_a_problem(shop: Shop) -> None:
    """A rule that names a type which it cannot have says why: a Secret, another scope, another version."""
    shop.rule("{resources: [secrets, configmaps, namespaces]}")
    assert shop.answer("secret/login")["reason"] == "EncryptionRequired"
    assert shop.answer("ns/shop")["reason"] == "OtherScope"
    shop.rule("{resources: [configmaps], apiVersions: [v2]}")
    found = shop.answer()
    assert (found["reason"], "served as v1 only" in found["sentence"]) == ("OtherVersionOnly", True)


@pytest.mark.parametrize("resources", ["", "configmaps", "secrets", "'*'"])
def test_a_secret(shop: Shop, resources: str) -> None:
    """Whatever the rules say of Secrets, the answer is that none is mirrored; nobody is told to add them to a rule."""
    if resources:
        shop.rule(f"{{resources: [{resources}]}}")
    found = shop.answer("secret/login")
    assert (found["reason"], found["notes"]) == ("EncryptionRequired", [])
    assert found["sentence"].startswith("A Secret is not mirrored, whatever the rules say: ")


def test_a_type_that_may_not_be_read(shop: Shop) -> None:
    """What the watch daemon says in the rule's status, that the type is forbidden, is the answer."""
    shop.rule()
    shop.config_map()
    problem = {"resource": "configmaps", "reason": "Unreadable", "message": "list configmaps: forbidden"}
    say(shop, "WatchRule", "all", {"problems": [problem]})
    found = shop.answer()
    assert (found["reason"], found["sentence"]) == ("Unreadable", "WatchRule shop/all: list configmaps: forbidden")
    assert "configmaps: list configmaps: forbidden (Unreadable)" in " ".join(shop.ask().stdout.split())


def say(shop: Shop, kind: str, name: str, status: dict[str, Any]) -> None:
    """Write a status as the watch daemon does."""
    path = paths.single(kinds.OUR_TYPES[kind], Ref("shop", name), subresource="status")
    body = json.dumps({"status": status}).encode()
    with contextlib.closing(connect(shop.server)) as cluster:
        cluster.request("PATCH", path, body=body, content_type=client.MERGE_PATCH)


def test_a_local_repository_of_another_installation(shop: Shop) -> None:
    """Where the settings of the watch daemon are not known, what it said of a file:// repository is believed."""
    elsewhere = {"REVERSER_ALLOW_LOCAL_REPOS": ""}
    assert "shop/prod is ready: " in shop.ask(**elsewhere).stdout
    for status, expected in (("True", "shop/prod is ready: "), ("False", "shop/prod is not ready (InvalidUrl): ")):
        ready = {
            "type": "Ready",
            "status": status,
            "reason": "x",
            "message": "",
            "lastTransitionTime": "2026-01-31T12:00:00Z",
        }
        say(shop, "GitRepoConfig", "repo", {"conditions": [ready]})
        assert expected in shop.ask(**elsewhere).stdout


def test_what_the_wildcard_leaves_out(shop: Shop) -> None:
    """A type, and an object, that `*` leaves out is explained with the reason, and how to include it."""
    shop.rule("{resources: ['*']}")
    found = shop.answer("leases/leader")
    assert found["reason"] == "LeftOut"
    assert "* leaves out leases.coordination.k8s.io: " in found["sentence"]
    assert "Naming leases.coordination.k8s.io in resources includes it" in found["sentence"]
    shop.config_map("kube-root-ca.crt")
    found = shop.answer("cm/kube-root-ca.crt")
    assert found["reason"] == "LeftOut"
    assert found["sentence"].startswith("WatchRule shop/all: * leaves it out: kube-root-ca.crt is written into every ")


def test_what_the_wildcard_leaves_out_for_its_version(shop: Shop) -> None:
    """A type that is not served in the entry's `apiVersions` is explained by them, and by no table of ours."""
    shop.rule("{resources: ['*'], apiVersions: [v1]}")
    found = shop.answer("watchrules/all")
    assert found["reason"] == "LeftOut"
    assert found["sentence"] == (
        "WatchRule shop/all leaves it out: watchrules.configbutler.ai is served in none of its apiVersions. "
        "Without them, * takes it"
    )
    shop.config_map()
    assert shop.answer("cm/app-config")["reason"] != "LeftOut"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("labelSelector: {matchLabels: {app: web}}", "app"),
        ("names: [web-*]", "names"),
        ("excludeNames: [app-*]", "excludeNames"),
    ],
)
def test_what_a_filter_refuses(shop: Shop, item: str, said: str) -> None:
    """A selector or a name that refuses the object is named; of several rules, the one that nearly takes it."""
    shop.rule("{resources: [services]}", name="a")
    shop.rule(f"{{resources: [configmaps], {item}}}")
    shop.config_map()
    found = shop.answer()
    assert (found["reason"], found["in_git"]) == ("NotSelected", False)
    assert found["sentence"].startswith("WatchRule shop/all leaves it out: ")
    assert said in found["sentence"]


def test_the_namespace_of_another_rule(shop: Shop) -> None:
    """A WatchRule selects its own namespace, which is the answer for an object of another one."""
    shop.rule()
    shop.config_map(namespace="default")
    found = shop.answer("cm/app-config", "-n", "default")
    assert (found["reason"], found["namespace"]) == ("OtherNamespace", "default")
    assert found["sentence"] == "WatchRule shop/all selects configmaps of its own namespace shop only"


def test_operations_that_are_not_selected(shop: Shop) -> None:
    """A rule without CREATE writes an object with its next change, and one of DELETE alone never."""
    shop.config_map()
    shop.rule("{resources: [configmaps], operations: [UPDATE]}")
    found = shop.answer()
    assert found["reason"] == "OperationNotSelected"
    assert found["sentence"].endswith("does not select CREATE: the object gets into Git with its next change")
    shop.rule("{resources: [configmaps], operations: [DELETE]}")
    assert shop.answer()["sentence"] == "WatchRule shop/all selects DELETE alone, which writes no file"


def test_an_object_that_is_gone(shop: Shop) -> None:
    """An object that does not exist: which commit removed its file, or that there was none."""
    shop.rule()
    assert shop.answer()["sentence"] == "It does not exist in the cluster: check name and namespace"
    shop.mirror()
    shop.mirror(None, version=2)
    found = shop.answer()
    last = shop.world.log()[-1]
    assert (found["reason"], found["in_git"], found["commit"]) == ("Gone", False, None)
    assert f"It does not exist in the cluster; commit {last[:10]} of " in found["sentence"]


def test_a_file_that_is_kept(shop: Shop) -> None:
    """A file whose object no rule selects any more: why, whose content it has, and what becomes of it."""
    shop.rule()
    shop.config_map()
    shop.mirror()
    content = f"Its content is that of commit {shop.world.log()[0][:10]}"
    shop.rule("{resources: [configmaps], names: [other]}")
    found = shop.answer()
    assert found["in_git"] is True
    (note,) = found["notes"]
    assert note.startswith("It is not followed any more: WatchRule shop/all leaves it out: its name matches none of ")
    assert note.endswith(f". {content}; it goes when its object is deleted")
    shop.rule("{resources: [services]}")
    why = "WatchRule shop/all does not select configmaps"
    until = "until a rule with DELETE selects configmaps again"
    assert shop.answer()["notes"] == [
        f"It is not followed any more: {why}. {content}; it stays when its object is deleted, {until}"
    ]
    shop.delete(CONFIG_MAP.format(name="app-config", namespace="shop"))
    gone = "Its object is gone, and it was not followed any more"
    assert shop.answer()["notes"] == [f"{gone}: {why}. {content}; it stays, {until}"]


@pytest.mark.parametrize(
    ("same", "why"), [(True, "the object had left the selection"), (False, "the object of that name was deleted then")]
)
def test_a_file_that_was_removed(shop: Shop, *, same: bool, why: str) -> None:
    """Of an object that exists and has no file any more: which commit removed it, under which rule, and why."""
    shop.rule("{resources: [configmaps], labelSelector: {matchLabels: {app: web}}}")
    shop.config_map()
    uid = shop.uid("app-config") if same else "another"
    for version, value in enumerate(["1", None], start=1):
        shop.world.change(shop.prod, "app-config", value, version=version, uid=uid)
        shop.world.drain(shop.prod)
    (note,) = shop.answer()["notes"]
    assert note.startswith(f"Commit {shop.world.log()[-1][:10]} of ")
    assert note.endswith(f" UTC removed its file, under WatchRule shop/all: {why}")


_KEPT = "no rule removes it: the last one that selected it had no DELETE, or looks elsewhere now"


def test_a_file_whose_object_is_gone(shop: Shop) -> None:
    """A file whose object does not exist any more: the rule that removes it, or that none does; also while it ends."""
    shop.rule("{resources: [configmaps], operations: [CREATE, UPDATE]}")
    shop.mirror()
    gone = "It does not exist any more in the cluster, and its file is there still"
    assert shop.answer()["notes"] == [f"{gone}: {_KEPT}"]
    shop.rule()
    assert shop.answer()["notes"] == [f"{gone}: WatchRule shop/all removes it when the change is seen"]
    shop.apply(FINALIZED)
    shop.delete(FINALIZED)
    assert shop.answer()["notes"][0].startswith("It is being deleted in the cluster, and its file is there still: ")
    shop.apply(FINALIZED.replace("[a/b]", "[]"))


def test_an_object_that_is_being_deleted(shop: Shop) -> None:
    """An object that is on its way out is as good as gone."""
    shop.rule()
    shop.apply(FINALIZED)
    shop.delete(FINALIZED)
    found = shop.answer()
    assert found["reason"] == "Gone"
    assert found["sentence"].startswith("It is being deleted in the cluster, since 20")
    shop.apply(FINALIZED.replace("[a/b]", "[]"))


def test_a_file_that_was_there_before(shop: Shop, tmp_path: Path) -> None:
    """A file that somebody else had committed, and that is right as it is, was taken over: no commit of ours has it."""
    shop.rule()
    shop.config_map()
    shop.mirror()
    text = shop.world.git("show", f"main:{PATH}")
    shop.world.somebody_pushes(tmp_path, PATH.replace("app-config", "theirs"), text.replace("app-config", "theirs"))
    shop.world.change(shop.prod, "theirs", "1", version=2)
    shop.world.drain(shop.prod)
    shop.config_map("theirs")
    found = shop.answer("cm/theirs")
    assert (found["in_git"], found["commit"], found["rule"]) == (True, None, None)
    assert found["sentence"].startswith("Reverser took its file over: clusters/prod/")
    assert found["sentence"].endswith("theirs.yaml on main, which stood there before")


def test_a_file_of_a_former_place(shop: Shop) -> None:
    """What a destination left behind when it moved is said."""
    shop.rule()
    shop.config_map()
    shop.mirror()
    shop.world.destination(folder="clusters/other")
    found = shop.answer()
    assert (found["in_git"], found["reason"]) == (False, "NotSeen")
    assert found["notes"] == [f"A file of a former place is kept: {PATH} on main"]


@pytest.mark.parametrize("state", [ledger.SUPERSEDED, ledger.STALE, ledger.HELD, ledger.UNCHANGED])
def test_what_became_of_the_last_event(shop: Shop, state: str) -> None:
    """An object whose last Event wrote nothing is told what became of it, with the reason."""
    shop.rule()
    shop.config_map()
    entry = shop.world.event(shop.prod, "app-config", "1", version=1)
    shop.world.write(replace(entry, state=state, reason="as the test says"))
    found = shop.answer()
    assert found["reason"] == state.capitalize()
    assert found["sentence"].startswith("Event 1 (UPDATE, seen at ")
    assert found["sentence"].endswith(": as the test says")


def test_an_object_on_its_way(shop: Shop) -> None:
    """An Event that pends is named, before the first file and after it, with what the destination waits for."""
    shop.rule()
    shop.config_map()
    number = shop.world.change(shop.prod, "app-config", "1", version=1)
    found = shop.answer()
    assert (found["reason"], found["in_git"]) == ("Pending", False)
    assert found["sentence"].startswith(f"It is on its way: Event {number} (UPDATE, seen at ")
    shop.world.drain(shop.prod)
    number = shop.world.change(shop.prod, "app-config", "2", version=2)
    found = shop.answer()
    assert found["reason"] == "InGit"
    assert found["notes"][0].startswith(f"A newer state is on its way: Event {number} ")
    assert "1 change on the way" in shop.ask().stdout
    with shop.world.database.write() as connection:
        error = errors.TemporaryError("the host is away", reason="HostUnreachable")
        destinations.put_off(connection, shop.prod.id, seconds=60.0, error=error)
    assert shop.answer()["notes"][0].endswith("pends; the destination waits: the host is away")
    assert "  error     the host is away" in shop.ask().stdout


@pytest.mark.parametrize("begin", [seeds.start, seeds.queue])
def test_an_object_that_is_being_seeded(shop: Shop, begin: Callable[..., object]) -> None:
    """While its type is being listed, or waits for that, an object that was not seen yet is on its way."""
    shop.rule()
    shop.config_map()
    assert shop.answer()["reason"] == "NotSeen"
    with shop.world.database.write() as connection:
        scope = seeds.ScopeKey("", "configmaps", "shop"), "v1", True
        begin(
            connection, destination_id=shop.prod.id, place_id=shop.prod.place_id, cause="rules changed", scopes=[scope]
        )
    found = shop.answer()
    assert (found["reason"], found["sentence"]) == (
        "Seeding", "It is on its way: configmaps is being listed for a seed (rules changed)"
    )  # fmt: skip


def test_a_row_that_is_dead(shop: Shop) -> None:
    """An object that could not be written says the reason of its dead row."""
    shop.rule()
    shop.config_map()
    entry = shop.world.event(shop.prod, "app-config", "1", version=1)
    shop.world.write(replace(entry, state=ledger.DEAD, reason="it holds text that is no Unicode"))
    found = shop.answer()
    assert found["reason"] == "Dead"
    assert found["sentence"].startswith("It could not be written: it holds text that is no Unicode")


def test_what_a_destination_mirrors(shop: Shop) -> None:
    """Place, rules with types, filters, ignored fields, problems, what `*` leaves out, and the number of files."""
    shop.rule(
        "{resources: [configmaps, secrets], names: [app-*], operations: [CREATE, UPDATE], ignoreFields: [/data/x]}"
    )
    shop.rule("{resources: ['*'], apiGroups: [coordination.k8s.io, policy]}", name="wide")
    shop.mirror()
    found = shop.answer("--output", "json")
    assert (found["ready"], found["branch"], found["base_folder"]) == (True, "main", "clusters/prod")
    assert (found["files"], found["pending"], found["retained"]) == (1, 0, 0)
    narrow, wide = found["rules"]
    (selected,) = narrow["selected"]
    assert (selected["types"], selected["namespace"], selected["wildcard"]) == (["configmaps"], "shop", False)
    assert selected["operations"] == ["CREATE", "UPDATE"]
    assert (selected["narrowed"], selected["ignored"]) == ({"names": ["app-*"]}, {"ignoreFields": ["/data/x"]})
    assert [one["reason"] for one in narrow["refused"]] == ["EncryptionRequired"]
    assert wide["selected"][0]["types"] == ["poddisruptionbudgets.policy"]
    assert any(note.startswith("* leaves out leases.coordination.k8s.io: ") for note in wide["left_out"])


def test_what_is_kept_is_counted_and_named(shop: Shop) -> None:
    """Of files that no rule selects any more `explain` names the first, `status` and `doctor` say how many."""
    for number in range(12):
        shop.world.change(shop.prod, f"map-{number:02}", "1", version=number + 1)
    shop.world.drain(shop.prod)
    shop.rule("{resources: [services]}")
    found = shop.answer("--output", "json")
    assert (found["files"], found["retained"], len(found["kept"])) == (12, 12, 10)
    lines = shop.ask().stdout.splitlines()
    assert "  kept      clusters/prod/v1/configmaps/shop/map-09.yaml" in lines
    assert "  kept      and 2 more" in lines
    done = CliRunner().invoke(main.main, ["status", "--output", "json"], env=shop.environment)
    assert [one["retained"] for one in json.loads(done.stdout)] == [12]
    table = CliRunner().invoke(main.main, ["status"], env=shop.environment).stdout.splitlines()
    assert dict(zip(*(line.split("\t") for line in table), strict=True))["RETAINED"] == "12"
    done = CliRunner().invoke(main.main, ["doctor"], env=shop.environment)
    assert "destination shop/prod: 12 files are kept, which no rule selects any more: `reverser explain" in done.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_terminal(shop: Shop, columns: int) -> None:
    """No line is wider than the terminal, but for a word that is wider by itself; labels stand in one column.

    Of the many types that `*` reaches the first are named.
    """
    shop.rule("{resources: ['*']}")
    shop.rule("{resources: [configmaps], names: [app-config]}", name="narrow")
    shop.mirror()
    lines = [line for words in ((), ("cm/nobody",)) for line in at_terminal(shop, *words, columns=columns)]
    assert all(len(line) <= columns or " " not in line.strip() for line in lines)
    assert max(len(line) for line in lines) > columns * 3 // 4
    assert any(line.startswith("  selects   ") for line in lines)
    assert any(line.startswith("  left out  ") for line in lines)
    assert " more in namespace shop (by *); `| cat` shows them" in " ".join(" ".join(lines).split())


def at_terminal(shop: Shop, *words: str, columns: int) -> list[str]:
    """The lines that `explain` writes to a terminal."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-P", "-m", "app.cli.main", "explain", "shop/prod", *words]
    environment = {**os.environ, **shop.environment, "COLUMNS": str(columns)}
    with subprocess.Popen(command, stdout=terminal, env=environment) as process, os.fdopen(controller, "rb") as screen:
        os.close(terminal)
        said = b""
        # At the end of what a terminal holds, Linux gives an error.
        with contextlib.suppress(OSError):
            while more := screen.read1():
                said += more
    assert process.returncode == 0
    return said.decode().splitlines()


def test_nothing_is_wrapped_in_a_pipe(shop: Shop) -> None:
    """For `grep` each fact is one line, whole, whatever COLUMNS says."""
    shop.rule("{resources: ['*']}")
    lines = shop.ask(COLUMNS="60").stdout.splitlines()
    (selects,) = (line for line in lines if line.startswith("  selects   "))
    assert selects.endswith(" in namespace shop (by *)")
    assert len(selects) > 120
    assert not any(line.startswith(" " * 12) for line in lines)


def test_nothing_of_a_cluster_steers_the_terminal(shop: Shop) -> None:
    """A name or a message with control characters is printed as text."""
    done = shop.ask("cm/a\x1b[31mb")
    assert ("\x1b" in done.output, "a\\x1b[31mb" in done.stdout) == (False, True)


LAMPS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.shop.example}
spec:
  group: shop.example
  names: {plural: lamps, singular: lamp, kind: Lamp, listKind: LampList}
  scope: Namespaced
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
    - {name: v1beta1, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
---
apiVersion: shop.example/v1
kind: Lamp
metadata: {name: desk, namespace: shop}
"""


def test_the_version_is_that_of_the_destination(shop: Shop) -> None:
    """An object is one object whatever version the cluster prefers: it is explained and rendered as the rule has it."""
    shop.apply(LAMPS)
    shop.rule("{resources: [lamps], apiVersions: [v1beta1]}")
    assert shop.answer("lamp/desk")["reason"] == "NotSeen"
    words = ["render", "lamp/desk", "-n", "shop", "--rule", "shop/all"]
    done = CliRunner().invoke(main.main, words, env=shop.environment)
    assert done.stdout.startswith("# clusters/prod/shop.example/v1beta1/lamps/shop/desk.yaml\n"), done.output
    assert done.stderr == ""
    words = ["render", "-f", "-", "--rule", "shop/all"]
    done = CliRunner().invoke(main.main, words, input=LAMPS.partition("---\n")[2], env=shop.environment)
    assert "WatchRule shop/all mirrors lamps.shop.example as v1beta1, and this is v1" in done.stderr


VIEWER = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: explains}
rules: [{apiGroups: [configbutler.ai], resources: ["*"], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: explains}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: explains}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
"""
WIDE = """\
apiVersion: configbutler.ai/v1alpha1
kind: ClusterWatchRule
metadata: {name: blue}
spec:
  destinationRef: {name: prod, namespace: shop}
  rules: [{scope: Namespaced, resources: [configmaps], namespaceSelector: {matchLabels: {team: blue}}}]
"""


def test_a_rule_over_namespaces(shop: Shop) -> None:
    """What a namespaceSelector selects now is named, and an object outside of it is told which part refuses it."""
    shop.apply(WIDE)
    shop.config_map()
    shop.config_map(namespace="default")
    (rule,) = shop.answer("--output", "json")["rules"]
    assert rule["selected"][0]["namespaces"] == ["shop"]
    assert "selects   configmaps in 1 namespace (shop)" in shop.ask().stdout
    assert shop.answer()["reason"] == "NotSeen"
    found = shop.answer("cm/app-config", "-n", "default")
    assert found["reason"] == "NotSelected"
    assert "namespaceSelector" in found["sentence"]
    excluding = "blue}}, excludeNamespaces: [shop]"
    for nowhere in ("green}}", excluding):
        shop.apply(WIDE.replace("blue}}", nowhere))
        assert "selects   configmaps in 0 namespaces (none is selected now)" in shop.ask().stdout
    assert "  only      excludeNamespaces: [shop]" in shop.ask().stdout


def test_a_rule_over_namespaces_without_a_cluster(shop: Shop, tmp_path: Path) -> None:
    """While the cluster does not answer, a rule in force is ready, and selects in the namespaces that it had."""
    shop.apply(WIDE)
    with contextlib.closing(connect(shop.server)) as cluster:
        survey = surveying.of_cluster(cluster, allow_local=True, page_size=500)
    (rule,) = survey.compilation.compiled()
    seen = rules.RuleSeen(
        rule=rule.rule_name,
        uid=rule.uid,
        destination_id=shop.prod.id,
        place_id=shop.prod.place_id,
        spec=rule.spec,
    )
    with shop.world.database.write() as connection:
        rules.save(connection, cluster="home", rules=[seen])
    (found,) = shop.answer("--output", "json", KUBECONFIG=str(tmp_path / "away"))["rules"]
    assert (found["ready"], found["selected"][0]["namespaces"]) == (True, ["shop"])


@KUBE_ONLY
def test_an_account_that_may_not_see_everything(shop: Shop) -> None:
    """What the account that asks may not read is said, with the right that is missing; the rest is explained."""
    shop.apply(WIDE)
    shop.rule()
    shop.config_map()
    reader = {"KUBECONFIG": str(shop.server.kubeconfig("reader"))}
    done = shop.ask(**reader)
    assert "Live rules and objects are not known: " in done.stderr
    assert "forbidden: a Role or ClusterRole needs the rule" in done.stderr
    shop.apply(VIEWER)
    done = wait_until(lambda: allowed(shop.ask("cm/app-config", **reader)))
    assert "This account does not see what a namespaceSelector selects: list namespaces: forbidden" in done.stderr
    assert "whether it selects the object is not known: get configmaps shop/app-config: forbidden" in " ".join(
        done.stdout.split()
    )


def allowed(done: Result) -> Result | None:
    """The answer, once the account may list our kinds."""
    return done if "This account" in done.stderr else None


def test_a_database_of_another_cluster(shop: Shop) -> None:
    """A cluster that is not the one that the database is about is refused: the two would explain each other wrongly."""
    with shop.world.database.write() as connection:
        leases.take_lead(connection, cluster="home", cluster_uid="another", owner="me", seconds=60.0)
    done = shop.ask()
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"Error: the cluster at {shop.server.url} is not the cluster that the database is about" in done.stderr


def test_a_rule_that_cannot_be_read(shop: Shop) -> None:
    """A rule that cannot be used at all, which an older schema let through, is shown with its reason."""
    survey = surveying.Survey(
        compilation=compiling.Compilation({}, {}, {}),
        types=naming.Types(()),
        raws={("WatchRule", Ref("shop", "odd")): {"spec": {"destinationRef": {"name": "prod"}}}},
        unreadable={("WatchRule", Ref("shop", "odd")): errors.PermanentError("spec.rules must be a list")},
    )
    view = surveying.View(survey, shop.world.database, settings.Settings(), ())
    (rule,) = overviews.overview(view, overviews.find(view, Ref("shop", "prod"))).rules
    assert (rule.rule, rule.ready, rule.message) == ("WatchRule shop/odd", False, "spec.rules must be a list")
    config_maps = types.ResourceType("", "v1", "configmaps", "ConfigMap", True, frozenset({"list", "watch"}), True)
    (weighed,) = weighing.Scale(survey, Ref("shop", "prod")).weigh_type(config_maps, "shop")
    assert weighed.sentence == "WatchRule shop/odd is not ready: spec.rules must be a list"


def test_without_a_database(shop: Shop, tmp_path: Path) -> None:
    """Where no database answers, that is said, and the cluster says what the rules select."""
    shop.rule()
    shop.config_map()
    away = {"REVERSER_DATABASE_URL": f"sqlite:///{tmp_path}/nowhere.db"}
    done = shop.ask("cm/app-config", "--output", "json", **away)
    assert done.exit_code == 0
    assert "What is in Git is not known: nothing ran here yet" in done.stderr
    found = json.loads(done.stdout)
    assert (found["in_git"], found["reason"]) == (None, "Selected")
    assert "1 file" not in shop.ask(**away).stdout


def test_without_a_cluster(shop: Shop, tmp_path: Path) -> None:
    """Where the cluster does not answer, that is said, and the rules in force in the database are explained."""
    shop.rule("{resources: [configmaps, services], names: [app-*]}")
    shop.mirror()
    with shop.world.database.write() as connection:
        rules.save(connection, cluster="home", rules=[recorded(shop)])
    away = tmp_path / "away"
    away.write_text(shop.server.kubeconfig().read_text().replace(shop.server.url, "https://127.0.0.1:9"))
    assert "what the database knows has no type 'deploy'" in shop.ask("deploy/web", KUBECONFIG=str(away)).stderr
    found = shop.answer(KUBECONFIG=str(away))
    assert found["path"] == PATH
    assert found["notes"] == ["How it stands in the cluster is not known: the cluster does not answer"]
    assert shop.answer("svc/app", KUBECONFIG=str(away))["reason"] == "Unknown"
    away.unlink()
    done = shop.ask(KUBECONFIG=str(away))
    assert done.stderr.startswith("Live rules and objects are not known: the kubeconfig ")
    assert done.stderr.endswith("What follows is what the database has in force.\n")
    assert "only      names: [app-*]" in done.stdout
    # What the cluster serves beside is not known there.
    assert "cannot" not in done.stdout


def recorded(shop: Shop) -> rules.RuleSeen:
    """What the watch daemon recorded of the rule."""
    item = {"operations": [], "apiGroups": ["", "apps"], "apiVersions": ["v1", "v2"]}
    scopes = [
        {
            "group": "",
            "version": "v1",
            "resource": plural,
            "kind": kind,
            "namespace": "shop",
            "operations": ["CREATE", "DELETE", "UPDATE"],
            "wildcard": False,
        }
        for plural, kind in (("configmaps", "ConfigMap"), ("services", "Service"))
    ]
    item |= {"resources": ["configmaps", "services"], "names": ["app-*"]}
    spec = {"rules": [{**item, "scope": "Namespaced"}], "scopes": scopes}
    return rules.RuleSeen(
        rule="WatchRule shop/all", uid="u", destination_id=shop.prod.id, place_id=shop.prod.place_id, spec=spec
    )


def test_without_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither answers, both are said, in one sentence each; exit code 1."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main.main, ["explain", "shop/prod"], env={"KUBECONFIG": ""})
    assert (done.exit_code, done.stdout) == (1, "")
    assert "What is in Git is not known" in done.stderr
    assert "which cluster? Start `reverser up`" in done.stderr


def test_render_as_a_rule_has_it(shop: Shop) -> None:
    """`render --rule` gives the path below the destination's folder, without what rules ignore, live or of a file."""
    shop.rule("{resources: [configmaps], names: [app-*], ignoreFields: [/data/value]}")
    shop.config_map()
    words = ["render", "cm/app-config", "-n", "shop", "--rule", "shop/all", "--why"]
    done = CliRunner().invoke(main.main, words, env=shop.environment)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"# {PATH}\n")
    assert "# removed /data/value: " in done.stdout
    assert "value:" not in done.stdout.replace("/data/value: ", "")
    assert done.stderr == ""
    text = CONFIG_MAP.format(name="other", namespace="shop")
    done = CliRunner().invoke(main.main, ["render", "-f", "-", "--rule", "shop/all"], input=text, env=shop.environment)
    assert done.exit_code == 0
    assert done.stdout.startswith("# clusters/prod/v1/configmaps/shop/other.yaml\n")
    assert done.stderr.startswith(
        "configmaps/other in namespace shop is not selected: WatchRule shop/all leaves it out: "
    )


def test_render_by_a_rule_that_is_not_there(shop: Shop) -> None:
    """A rule that is not there, or not ready, is said."""
    shop.rule("{resources: [nonsense]}")
    for rule, said in (("shop/nobody", "there is no WatchRule shop/nobody; there are: "), ("shop/all", "is not ready")):
        words = ["render", "-f", "-", "--rule", rule]
        done = CliRunner().invoke(main.main, words, input=SHOP, env=shop.environment)
        assert (done.exit_code, done.stdout) == (1, "")
        assert said in done.stderr


@SANDBOX_ONLY
@pytest.mark.timeout(240)
def test_beside_a_running_up(tmp_path: Path, server: ApiServer) -> None:
    """Beside `up` no variable is needed; the same holds after it ended, with its sandbox alone, and without that."""
    place = Installation(tmp_path / "data")
    try:
        assert place.up().returncode == 0
        asked = ("explain", "shop/prod", "deploy/web", "--output", "json")
        found = wait_until(lambda: in_git(place.run(*asked).stdout), timeout=60)
        assert found["path"] == "clusters/prod/apps/v1/deployments/shop/web.yaml"
        assert found["notes"] == []
        file = place.git("show", f"main:{found['path']}")
        rendered = place.run("render", "deploy/web", "-n", "shop", "--rule", "shop/prod-apps")
        assert rendered.stdout == f"# {found['path']}\n{file}"
        overview = json.loads(place.run("explain", "shop/prod", "--output", "json").stdout)
        assert (overview["files"], overview["retained"], len(overview["rules"])) == (3, 0, 1)
        place.run("down")
        with SandboxServer(place.folder.path):
            assert in_git(place.run(*asked).stdout) == found
        rested = place.run(*asked)
        assert in_git(rested.stdout) == {
            **found, "notes": ["How it stands in the cluster is not known: the cluster does not answer"]
        }  # fmt: skip
        assert "Live rules and objects are not known" in rested.stderr
    finally:
        place.end()


def in_git(text: str) -> dict[str, Any]:
    """The answer, once the object is in Git; empty before."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return found if found.get("in_git") else {}
