"""`reverser apply` and `reverser delete` as a user types them."""

from __future__ import annotations

import contextlib
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main, updata
from tests.servers.api import EACH, ApiServer, make
from tests.servers.sandbox import SandboxServer

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: app-config}
data: {colour: green}
"""
AWAY = "https://127.0.0.1:9"
SHOP = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for these tests."""
    with make(request.param, tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> updata.DataFolder:
    """The default data folder of a current folder where nothing ran yet."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return updata.DataFolder.at(updata.DEFAULT)


@pytest.fixture
def elsewhere(server: ApiServer, tmp_path: Path) -> Path:
    """The kubeconfig of another cluster, which nobody can reach."""
    path = tmp_path / "elsewhere"
    path.write_text(server.kubeconfig().read_text().replace(server.url, AWAY))
    return path


@contextlib.contextmanager
def running(folder: updata.DataFolder, kubeconfig: Path) -> Iterator[None]:
    """What an `up` in a folder says of itself while it runs."""
    folder.make()
    folder.write_up(
        updata.Up(
            kubeconfig=str(kubeconfig),
            repository="/r",
            repository_url="file:///r",
            database_url="sqlite:///d",
            broker_url="b",
            flower_url="f",
            pids={},
        )
    )
    with folder.locked() as lock:
        assert lock
        yield


def reverser(server: ApiServer, *words: str, text: str = "") -> Result:
    """Run a command in this process, with the cluster in KUBECONFIG."""
    return CliRunner().invoke(main.main, list(words), env={"KUBECONFIG": str(server.kubeconfig())}, input=text)


def test_output_is_like_that_of_kubectl(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder of files is applied, namespaces first, with one line for each object; delete says what is gone."""
    tmp_path = tmp_path_factory.mktemp("manifests")
    (tmp_path / "1.yaml").write_text(CONFIG_MAP.replace("app-config", "app-config, namespace: shop"))
    (tmp_path / "2.yml").write_text(SHOP)
    (tmp_path / "notes.txt").write_text("no manifest")
    applied = reverser(server, "apply", "-f", str(tmp_path))
    assert (applied.exit_code, applied.stdout) == (0, "namespace/shop applied\nconfigmap/app-config applied\n")
    for said in ("deleted", "is gone already"):
        result = reverser(server, "delete", "-f", str(tmp_path / "1.yaml"))
        assert (result.exit_code, result.stdout) == (0, f"configmap/app-config {said}\n")


DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.shop.example}
spec:
  group: shop.example
  names: {plural: lamps, singular: lamp, kind: Lamp, listKind: LampList}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
LAMP = "apiVersion: shop.example/v1\nkind: Lamp\nmetadata: {name: desk}\n"


def test_a_misspelt_kind_is_not_gone(server: ApiServer) -> None:
    """A kind that the cluster does not serve is an error of delete, unless its definition stands in the same files."""
    typo = reverser(server, "delete", "-f", "-", text=CONFIG_MAP.replace("v1", "apps/v2"))
    assert (typo.exit_code, typo.stdout) == (1, "")
    assert "the cluster serves no ConfigMap of apps/v2: check the spelling" in typo.stderr
    assert reverser(server, "delete", "-f", "-", text=LAMP).exit_code == 1
    done = reverser(server, "delete", "-f", "-", text=f"{DEFINITION}---\n{LAMP}")
    assert done.stdout.splitlines() == [
        "lamp.shop.example/desk is gone already",
        "customresourcedefinition.apiextensions.k8s.io/lamps.shop.example is gone already",
    ]


def test_standard_input_and_a_namespace(server: ApiServer) -> None:
    """`-f -` reads standard input; -n says where an object goes that names no namespace, else it is `default`."""
    assert reverser(server, "apply", "-f", "-", text=CONFIG_MAP).exit_code == 0
    assert reverser(server, "delete", "-n", "default", "-f", "-", text=CONFIG_MAP).stdout.endswith("deleted\n")


def test_one_refusal_keeps_nobody_else_back(server: ApiServer, tmp_path: Path) -> None:
    """What the cluster refuses is named with file, line, object and the cluster's words; the others are sent."""
    path = tmp_path / "a.yaml"
    path.write_text(f"{CONFIG_MAP.replace('app-config', 'Bad Name')}---\n{CONFIG_MAP}")
    result = reverser(server, "apply", "-f", str(path))
    assert result.exit_code == 1
    assert result.stdout == "configmap/app-config applied\n"
    first, last = result.stderr.splitlines()
    assert first.startswith(f'Error: {path}, line 1: configmap/Bad Name: ConfigMap "Bad Name" is invalid')
    assert last == f"Error: 1 of 2 objects failed in the cluster at {server.url}"


@pytest.mark.parametrize("name", ["empty.yaml", "missing.yaml", "binary.yaml"])
def test_files_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    """A file that is empty, missing or no text is named, before anything is sent."""
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    result = CliRunner().invoke(main.main, ["apply", "-f", str(tmp_path / name)])
    assert result.exit_code == 1
    assert name in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_cluster(tmp_path: Path) -> None:
    """Without a running `up` and without a kubeconfig it says what to give."""
    words = ["apply", "-f", "-", "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(main.main, words, input=CONFIG_MAP)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: which cluster? Start `reverser up`")


def test_the_cluster_of_the_running_up_is_taken(here: updata.DataFolder, server: ApiServer) -> None:
    """Beside a running `up` no variable is needed, and KUBECONFIG may name the same cluster; it is said which."""
    with running(here, server.kubeconfig()):
        for variable in ("", str(server.kubeconfig())):
            words = ["apply", "-f", "-"]
            done = CliRunner().invoke(main.main, words, input=CONFIG_MAP, env={"KUBECONFIG": variable})
            assert (done.stdout, done.stderr) == (
                "configmap/app-config applied\n", f"in the cluster at {server.url}\n"
            )  # fmt: skip


def test_a_variable_from_elsewhere_decides_nothing(here: updata.DataFolder, server: ApiServer, elsewhere: Path) -> None:
    """A KUBECONFIG that names another cluster than the running `up` is refused; both are named, and what to type."""
    with running(here, server.kubeconfig()):
        for command in ("apply", "delete"):
            variables = {"KUBECONFIG": str(elsewhere)}
            done = CliRunner().invoke(main.main, [command, "-f", "-"], input=CONFIG_MAP, env=variables)
            assert (done.exit_code, done.stdout) == (1, "")
            assert done.stderr == (
                f"Error: which cluster? KUBECONFIG names that of {elsewhere}, and {here.path} mirrors the cluster of "
                f"{server.kubeconfig()}: add --kubeconfig {elsewhere} for the first, or unset KUBECONFIG for the "
                "second\n"
            )


def test_what_is_typed_wins(here: updata.DataFolder, server: ApiServer, elsewhere: Path, tmp_path: Path) -> None:
    """--kubeconfig wins over all, then a --data-dir, also when its `up` does not run; both win over KUBECONFIG."""
    copy = tmp_path / "copy"
    shutil.copy(server.kubeconfig(), copy)
    other = updata.DataFolder.at(tmp_path / "other")
    other.make()
    other.note_cluster(str(copy))
    with running(here, elsewhere):
        for typed in (["--kubeconfig", str(copy)], ["--data-dir", str(other.path)]):
            words = ["apply", "-f", "-", *typed]
            done = CliRunner().invoke(main.main, words, input=CONFIG_MAP, env={"KUBECONFIG": str(elsewhere)})
            assert done.stderr == f"in the cluster at {server.url}\n"
    nothing = ["apply", "-f", "-", "--data-dir", str(tmp_path / "new")]
    done = CliRunner().invoke(main.main, nothing, input=CONFIG_MAP, env={"KUBECONFIG": str(copy)})
    assert done.stderr.startswith(f"Error: which cluster? Start `reverser up` in {tmp_path / 'new'}, give --kubeconfig")


def test_a_sandbox_is_named_by_its_folder(here: updata.DataFolder, server: ApiServer) -> None:
    """What went to the sandbox of a folder is said so."""
    here.make()
    here.sandbox_kubeconfig.parent.mkdir()
    shutil.copy(server.kubeconfig(), here.sandbox_kubeconfig)
    here.note_cluster(str(here.sandbox_kubeconfig))
    done = CliRunner().invoke(main.main, ["apply", "-f", "-"], input=CONFIG_MAP)
    assert done.stderr == f"in the sandbox of {here.path}\n"


def test_a_cluster_that_is_away(elsewhere: Path) -> None:
    """A cluster that cannot be reached is named by its address, once."""
    words = ["apply", "--kubeconfig", str(elsewhere), "-f", "-"]
    done = CliRunner().invoke(main.main, words, input=f"{CONFIG_MAP}---\n{CONFIG_MAP}")
    assert done.exit_code == 1
    assert done.stderr == f"Error: the cluster at {AWAY} does not answer (NewConnectionError): is it running?\n"


def test_a_cluster_that_answers_nonsense_is_not_away(tmp_path: Path) -> None:
    """What a running server answers is said as it is, and the next object is tried."""
    with SandboxServer(tmp_path / "own") as sandbox:
        sandbox.fault("answer", status=500, path="/api/v1/namespaces/default/configmaps", verb="patch", times=1)
        done = reverser(sandbox, "apply", "-f", "-", text=f"{CONFIG_MAP}---\n{CONFIG_MAP}")
    assert done.stdout == "configmap/app-config applied\n"
    assert "is it running" not in done.stderr
    assert done.stderr.endswith(f"Error: 1 of 2 objects failed in the cluster at {sandbox.url}\n")


def test_a_user_without_a_home(here: updata.DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that nobody gave a home folder is told about its kubeconfig as anybody else is."""
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    words = ["apply", "--kubeconfig", "~/nobody", "-f", "-"]
    done = CliRunner().invoke(main.main, words, input=CONFIG_MAP, env={"HOME": None})
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: the kubeconfig {here.path.parent}/~/nobody cannot be used: check the path")
