"""What `up` says when everything is ready: it can be typed as it stands."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from app.cli import demo, describing, updata
from app.kube import manifests

UP = updata.Up(
    kubeconfig="/cluster/kubeconfig",
    repository="/data/repository.git",
    repository_url="file:///data/repository.git",
    database_url="sqlite:////data/reverser.db",
    broker_url="redis+socket:///s",
    flower_url="http://127.0.0.1:5555",
    pids={"supervisor": 4711},
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> updata.DataFolder:
    """The default data folder, seen from where `up` was started."""
    monkeypatch.chdir(tmp_path)
    one = updata.DataFolder.at(updata.DEFAULT)
    one.make()
    return one


def documents(text: str) -> list[manifests.Manifest]:
    """What the here-document of a text would hand to `reverser apply`, as a shell reads it."""
    command = text[text.index("reverser apply") : text.index("\nEOF\n") + 5]
    script = f"reverser() {{ printf '%s\\n' \"$*\" >&2; cat; }}\n{command}"
    done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("apply ")
    assert done.stderr.endswith("-f -\n")
    return manifests.read(done.stdout, source="typed")


def test_a_second_up_says_that_it_is_no_start(folder: updata.DataFolder) -> None:
    """The first line tells a start from a look at what runs already."""
    assert describing.describe(folder, UP).startswith(f"Reverser runs in {folder.path} (supervisor: pid 4711).\n")
    assert describing.describe(folder, UP, already=True).startswith(f"Reverser runs in {folder.path} already (")


def test_every_part_is_named(folder: updata.DataFolder) -> None:
    """Cluster, repository, Flower, database and logs each have a line, with what to type where there is something."""
    text = describing.describe(folder, UP)
    for part in (
        "pid 4711",
        "kubeconfig /cluster/kubeconfig",
        "git clone file:///data/repository.git mirror",
        "http://127.0.0.1:5555",
        str(folder.database),
        str(folder.logs),
        "reverser status",
        "reverser down",
    ):
        assert part in text


def test_a_new_mirror_is_offered_whole(folder: updata.DataFolder) -> None:
    """Without a destination, the text has all that makes one, for the local repository."""
    found = {one.kind: one for one in documents(describing.describe(folder, UP))}
    assert list(found) == ["Namespace", "GitRepoConfig", "GitDestination", "WatchRule"]
    assert found["GitRepoConfig"].content["spec"]["repoUrl"] == UP.repository_url
    assert {one.namespace for one in found.values()} - {""} == {found["Namespace"].name}


def test_the_demo_is_offered_a_change(folder: updata.DataFolder) -> None:
    """With the demo, the text says where it goes and has a change of an object that it holds, also for kubectl."""
    folder.demo.write_text("made\n")
    up = updata.Up(**{**UP.__dict__, "kubeconfig": str(folder.sandbox_kubeconfig)})
    text = describing.describe(folder, up)
    (change,) = documents(text)
    made = {(one.kind, one.namespace, one.name): one for one in manifests_of_demo()}
    before = made[change.kind, change.namespace, change.name].content["data"]
    assert change.content["data"].keys() == before.keys()
    assert change.content["data"] != before
    assert f"kubectl --kubeconfig {folder.sandbox_kubeconfig} -n shop patch configmap app-config" in text
    for destination in (one for one in made.values() if one.kind == "GitDestination"):
        spec = destination.content["spec"]
        assert f"{destination.namespace}/{destination.name}" in text
        assert f"branch {spec['branch']}, folder {spec['baseFolder']}" in text


def manifests_of_demo() -> list[manifests.Manifest]:
    """The demo as it stands in the files."""
    return [one for path in demo.FOLDER.glob("*.yaml") for one in manifests.read(path.read_text(), source=path.name)]


def test_commands_find_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command to type names the data folder where it is not the default one of the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = updata.DataFolder.at(tmp_path / "my data")
    folder.make()
    assert f"reverser status --data-dir '{folder.path}'" in describing.describe(folder, UP)
    default = updata.DataFolder.at(updata.DEFAULT)
    default.make()
    assert "reverser status\n" in describing.describe(default, UP)


@pytest.mark.parametrize("name", [updata.DEFAULT, Path("my data")])
def test_what_is_typed_goes_to_this_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Path) -> None:
    """The change to type names the folder always: a shell with a KUBECONFIG of its own changes the same cluster."""
    monkeypatch.chdir(tmp_path)
    folder = updata.DataFolder.at(name)
    folder.make()
    text = describing.describe(folder, UP)
    command = next(line for line in text.splitlines() if line.startswith("reverser apply"))
    _, _, option, place, *_ = shlex.split(command)
    assert (option, updata.DataFolder.at(Path(place))) == ("--data-dir", folder)


def test_reverser_is_put_on_the_path(
    folder: updata.DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `reverser` is not on the PATH, the line that puts it there comes first, relative where that is shorter."""
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "activate").touch()
    monkeypatch.setattr(describing.sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setenv("PATH", os.defpath)
    assert "\n. .venv/bin/activate\nreverser apply" in describing.describe(folder, UP)
    (scripts / "reverser").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(scripts))
    assert "activate" not in describing.describe(folder, UP)
