"""`reverser apply` and `reverser delete` as a user types them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main, updata
from tests.servers.api import EACH, ApiServer, make

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: app-config}
data: {colour: green}
"""
SHOP = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for these tests."""
    with make(request.param, tmp_path_factory.mktemp("server")) as one:
        yield one


def reverser(server: ApiServer, *words: str, text: str = "") -> Result:
    """Run a command in this process, with the cluster in KUBECONFIG."""
    return CliRunner().invoke(main.main, list(words), env={"KUBECONFIG": str(server.kubeconfig())}, input=text)


def test_output_is_like_that_of_kubectl(server: ApiServer, tmp_path: Path) -> None:
    """A folder of files is applied, namespaces first, with one line for each object; delete says what is gone."""
    (tmp_path / "1.yaml").write_text(CONFIG_MAP.replace("app-config", "app-config, namespace: shop"))
    (tmp_path / "2.yml").write_text(SHOP)
    (tmp_path / "notes.txt").write_text("no manifest")
    applied = reverser(server, "apply", "-f", str(tmp_path))
    assert (applied.exit_code, applied.output) == (0, "namespace/shop applied\nconfigmap/app-config applied\n")
    for said in ("deleted", "is gone already"):
        result = reverser(server, "delete", "-f", str(tmp_path / "1.yaml"))
        assert (result.exit_code, result.output) == (0, f"configmap/app-config {said}\n")


def test_standard_input_and_a_namespace(server: ApiServer) -> None:
    """`-f -` reads standard input; -n says where an object goes that names no namespace, else it is `default`."""
    assert reverser(server, "apply", "-f", "-", text=CONFIG_MAP).exit_code == 0
    assert reverser(server, "delete", "-n", "default", "-f", "-", text=CONFIG_MAP).output.endswith("deleted\n")


def test_one_refusal_keeps_nobody_else_back(server: ApiServer, tmp_path: Path) -> None:
    """What the cluster refuses is named with file, line, object and the cluster's words; the others are sent."""
    path = tmp_path / "a.yaml"
    path.write_text(f"{CONFIG_MAP.replace('app-config', 'Bad Name')}---\n{CONFIG_MAP}")
    result = reverser(server, "apply", "-f", str(path))
    assert result.exit_code == 1
    assert result.stdout == "configmap/app-config applied\n"
    first, last = result.stderr.splitlines()
    assert first.startswith(f'Error: {path}, line 1: configmap/Bad Name: ConfigMap "Bad Name" is invalid')
    assert last == "Error: 1 of 2 objects failed"


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


def test_the_cluster_of_the_running_up_is_taken(tmp_path: Path, server: ApiServer) -> None:
    """Beside a running `up` no variable is needed; a cluster that does not answer is named by its address."""
    up = updata.Up(
        kubeconfig=str(server.kubeconfig()),
        repository="/r",
        repository_url="file:///r",
        database_url="sqlite:///d",
        broker_url="b",
        flower_url="f",
        pids={},
    )
    updata.DataFolder.at(tmp_path).write_up(up)
    words = ["apply", "--data-dir", str(tmp_path), "-f", "-"]
    assert CliRunner().invoke(main.main, words, input=CONFIG_MAP).output == "configmap/app-config applied\n"
    away = tmp_path / "away"
    away.write_text(server.kubeconfig().read_text().replace(server.url, "https://127.0.0.1:9"))
    result = CliRunner().invoke(main.main, [*words, "--kubeconfig", str(away)], input=CONFIG_MAP)
    assert result.exit_code == 1
    assert result.stderr == "Error: the cluster at https://127.0.0.1:9 does not answer: is it running?\n"
