"""The commands as a user types them: help, errors in one sentence, exit codes, tables and JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import db
from app.cli import main, processes, tables, updata
from app.models import leases
from tests.cli.patient import keep_alive

COMMANDS = [
    "up",
    "down",
    "status",
    "apply",
    "delete",
    "render",
    "explain",
    "seed",
    "prune",
    "adopt",
    "verify",
    "audit",
    "doctor",
    "watch",
    "worker",
    "flower",
    "sandbox",
    "migrate",
    "crds",
]


def reverser(*words: str, env: dict[str, str] | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main.main, list(words), env=env)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A file that exists; nobody connects."""
    path = tmp_path / "kubeconfig"
    path.write_text("apiVersion: v1\nkind: Config\n")
    return path


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["audit", "log"]])
def test_help_has_an_example(command: list[str]) -> None:
    """Every command explains itself, each with an example that starts with `reverser`."""
    result = reverser(*command, "--help")
    assert result.exit_code == 0, result.output
    if command != ["audit"]:
        examples = result.output.partition("Example")[2]
        assert "reverser" in examples


def test_help_lists_every_command() -> None:
    """The help of the group names all commands, and there is no other one."""
    text = reverser("--help").output.partition("Commands:")[2].partition("Example")[0]
    assert [line.split()[0] for line in text.splitlines() if line.strip()] == COMMANDS


def test_version() -> None:
    """`--version` says the name and the version."""
    assert reverser("--version").output.startswith("reverser, version 0.")


def test_reference_names_every_command_and_option() -> None:
    """docs/reference/cli.md says each command and each of its options."""
    text = Path("docs/reference/cli.md").read_text()
    for name in COMMANDS:
        command = main.main.get_command(None, name)  # type: ignore[arg-type]
        found = [command, *getattr(command, "commands", {}).values()]
        for one in found:
            shown = [param for param in one.params if not getattr(param, "hidden", False)]
            # An argument has a name in the code alone.
            for option in [word for param in shown for word in param.opts if word.startswith("-")]:
                assert f"`{option}" in text, f"{name} {option}"
        assert f"## reverser {name}" in text


def test_wrong_usage_is_2() -> None:
    """An unknown command or option is wrong usage: exit code 2."""
    assert reverser("fly").exit_code == 2
    assert reverser("status", "--output", "xml").exit_code == 2
    assert reverser("worker", "--destinations", "no-slash").exit_code == 2


def test_misspelt_setting_is_one_sentence(tmp_path: Path) -> None:
    """A variable that is no setting is named in one line on standard error; exit code 1."""
    result = reverser("status", "--data-dir", str(tmp_path), env={"REVERSER_BRANCH_LEESE": "1"})
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: REVERSER_BRANCH_LEESE is no setting of Reverser; see docs/reference/settings.md"
    ]


def test_status_makes_no_database(tmp_path: Path) -> None:
    """Asking where nothing is says so, and leaves nothing behind."""
    result = reverser("status", "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert "there is no database" in result.stderr
    assert not (tmp_path / "data").exists()


def test_status_of_a_database_that_was_not_migrated(tmp_path: Path) -> None:
    """A database without our tables is named with the command to type."""
    (tmp_path / "reverser.db").touch()
    result = reverser("status", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "reverser migrate" in result.stderr


def test_migrate_in_a_data_folder(tmp_path: Path) -> None:
    """`migrate` makes the database of a data folder; `status` and `audit log` read it, empty as it is."""
    assert reverser("migrate", "--data-dir", str(tmp_path)).exit_code == 0
    with contextlib.closing(db.Database(f"sqlite:///{tmp_path}/reverser.db")) as database:
        database.check_schema()
    assert json.loads(reverser("status", "--data-dir", str(tmp_path), "--output", "json").stdout) == []
    assert json.loads(reverser("audit", "log", "--data-dir", str(tmp_path), "--output", "json").stdout) == []
    empty = reverser("status", "--data-dir", str(tmp_path))
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no destination yet" in empty.stderr


def test_status_says_who_is_not_alive(tmp_path: Path) -> None:
    """Where `up` runs without a leading watch daemon or a live worker, status names them; else that nothing runs."""
    words = ["status", "--data-dir", str(tmp_path)]
    assert reverser("migrate", "--data-dir", str(tmp_path)).exit_code == 0
    assert reverser(*words).stderr.splitlines()[-1] == f"Nothing runs in {tmp_path}: start it with `reverser up`."
    folder, database = updata.DataFolder.at(tmp_path), db.Database(f"sqlite:///{tmp_path}/reverser.db")
    with folder.locked():
        missing = reverser(*words).stderr
        assert "No watch daemon leads cluster home: what changes there is not seen." in missing
        assert "No worker is alive: nothing is pushed." in missing
        with database.write() as connection:
            leases.take_lead(connection, cluster="home", cluster_uid="u", owner="me", seconds=60.0)
            keep_alive(connection, "w")
        assert "alive" not in reverser(*words).stderr
        assert "leads" not in reverser(*words).stderr
    database.close()


def test_status_of_what_does_not_run_is_fast(tmp_path: Path) -> None:
    """Where nothing runs, status does not load the library of the broker, which takes as long as all the rest."""
    assert reverser("migrate", "--data-dir", str(tmp_path)).exit_code == 0
    code = (
        "import sys\nfrom app.cli import main\ntry:\n    main.main()\nfinally:\n    assert 'celery' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, "status", "--data-dir", str(tmp_path)], check=False)
    assert done.returncode == 0


def test_crds_print_all_kinds() -> None:
    """`crds` prints the four kinds; only --allow-local admits file:// repositories."""
    strict, local = reverser("crds").stdout, reverser("crds", "--allow-local").stdout
    assert strict.count("kind: CustomResourceDefinition") == local.count("kind: CustomResourceDefinition") == 4
    assert "^file:///" in local
    assert "^file:///" not in strict


def test_dedicated_worker_has_no_slots(tmp_path: Path) -> None:
    """Slots are the shared worker's: together with --destinations they are refused."""
    result = reverser("worker", "--destinations", "a/b", "--slots", "3", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "one slot" in result.stderr


def test_flower_stays_on_loopback(tmp_path: Path) -> None:
    """Flower does not listen to the network without a login."""
    result = reverser("flower", "--address", "0.0.0.0", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "login" in result.stderr.lower()


def test_up_with_a_kubeconfig_that_is_missing(tmp_path: Path) -> None:
    """A kubeconfig that is not there is named."""
    result = reverser("up", "--data-dir", str(tmp_path / "data"), "--kubeconfig", str(tmp_path / "nope"))
    assert result.exit_code == 1
    assert "nope cannot be read" in result.stderr


def test_up_with_a_used_port(tmp_path: Path, kubeconfig: Path) -> None:
    """A port that was given and is taken is refused before anything starts."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = reverser(
            "up", "--data-dir", str(tmp_path / "data"), "--kubeconfig", str(kubeconfig), "--flower-port", str(port)
        )
    assert result.exit_code == 1
    assert f"port {port} is taken" in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["REVERSER_DATABASE_URL", "REVERSER_BROKER_URL", "REVERSER_WORK_DIR"])
def test_up_ignores_no_setting(tmp_path: Path, kubeconfig: Path, name: str) -> None:
    """A setting that `up` would replace by its own is refused, not ignored."""
    words = ["up", "--data-dir", str(tmp_path / "data"), "--kubeconfig", str(kubeconfig)]
    result = reverser(*words, env={name: "x"})
    assert result.exit_code == 1
    assert f"would ignore {name}" in result.stderr


def test_up_in_a_foreign_folder(tmp_path: Path, kubeconfig: Path) -> None:
    """A folder that holds other things is refused, also with --detach."""
    for extra in ([], ["--detach"]):
        result = reverser("up", "--data-dir", str(tmp_path), "--kubeconfig", str(kubeconfig), *extra)
        assert result.exit_code == 1
        assert "holds other files" in result.stderr


def test_down_without_up(tmp_path: Path) -> None:
    """`down` where nothing runs says so, is no error, and makes no folder."""
    result = reverser("down", "--data-dir", str(tmp_path / "data"))
    assert (result.exit_code, result.stdout) == (0, f"Nothing runs in {tmp_path}/data.\n")
    assert not (tmp_path / "data").exists()


def test_down_ends_leftovers_and_nobody_else(tmp_path: Path) -> None:
    """`down` after a kill -9 ends what was recorded; a pid that means another process now is left alone."""
    code = [sys.executable, "-c", "import signal; signal.pause()"]
    left, stranger = subprocess.Popen(code), subprocess.Popen(code)
    try:
        identity = processes.identify(left.pid)
        assert identity
        recorded = {"worker": identity, "watch": processes.Identity(stranger.pid, "another start")}
        updata.DataFolder.at(tmp_path).write_identities(recorded)
        result = reverser("down", "--data-dir", str(tmp_path))
        assert result.stdout == f"Ended worker (pid {left.pid}), left over from a run that was killed.\n"
        assert left.wait(5) == -signal.SIGTERM
        assert stranger.poll() is None
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


def test_second_up_says_what_runs(tmp_path: Path, kubeconfig: Path) -> None:
    """`up` on a running folder says what runs where and exits with 0; asked for another cluster, with 1."""
    folder = updata.DataFolder.at(tmp_path / "data")
    folder.make()
    words = ["up", "--data-dir", str(folder.path)]
    with folder.locked():
        assert "is starting" in reverser(*words).stderr
        up = updata.Up(
            kubeconfig=str(kubeconfig),
            repository="/r",
            repository_url="file:///r",
            database_url="sqlite:///d",
            broker_url="b",
            flower_url="http://127.0.0.1:1",
            pids={"supervisor": 4711},
        )
        folder.write_up(up)
        same = reverser(*words, "--kubeconfig", str(kubeconfig))
        assert same.exit_code == 0
        assert "pid 4711" in same.stdout
        assert "file:///r" in same.stdout
        other = tmp_path / "other"
        other.touch()
        result = reverser(*words, "--kubeconfig", str(other))
        assert result.exit_code == 1
        assert (
            f"runs in {folder.path} already, for the cluster of {kubeconfig}, not for that of {other}" in result.stderr
        )
        assert "--data-dir of its own" in result.stderr
        by_variable = reverser(*words, env={"KUBECONFIG": str(other)})
        assert (by_variable.exit_code, by_variable.stdout) == (1, "")
        moved = reverser(*words, "--flower-port", "4712")
        assert moved.exit_code == 1
        assert "with Flower at http://127.0.0.1:1: to move it, `reverser down` first" in moved.stderr


def test_help_answers_at_once() -> None:
    """The group loads no command's libraries: its help takes less than half a second of processor time."""
    before = os.times()
    subprocess.run([sys.executable, "-P", "-m", "app.cli.main", "--help"], check=True, capture_output=True)
    after = os.times()
    assert after.children_user - before.children_user < 0.5


def test_ctrl_c_while_libraries_load(tmp_path: Path) -> None:
    """Ctrl-C before a command has begun ends the program without a traceback, and the command listens again."""
    code = """
import os, signal, sys
from app.cli import entry, main
main._COMMANDS["slow"] = ("slow:slow", "")
sys.argv = ["reverser", "slow"]
entry.main()
"""
    loading = "import os, signal, sys\nif sys.stdin.read(1) == 'i':\n    os.kill(os.getpid(), signal.SIGINT)\n"
    command = "import click\n@click.command()\ndef slow():\n    signal.raise_signal(signal.SIGINT)\n"
    (tmp_path / "slow.py").write_text(loading + command)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}

    def run(word: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", code]
        return subprocess.run(words, input=word, env=environment, capture_output=True, text=True, check=False)

    while_loading, in_command = run("i"), run("-")
    assert (while_loading.returncode, while_loading.stderr) == (-signal.SIGINT, "")
    assert (in_command.returncode, in_command.stderr.strip()) == (1, "Aborted!")


def test_tables_in_a_pipe_are_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not a terminal gets plain columns, each row in one line whatever a cell holds."""
    tables.show_table(["A", "B"], [("one", "a\nb\x1b[31m")])
    assert capsys.readouterr().out == "A\tB\none\ta\\nb\\x1b[31m\n"


def test_tables_on_a_terminal_keep_words_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns are aligned, whatever the terminal's width; a long last cell makes no other line longer."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    tables.show_table(
        ["FOLDER", "AGE", "MESSAGE"], [("clusters/prod", "3s", ""), ("日本", "", "word " * 30 + "[b]\x07")]
    )
    folder, prod, last = capsys.readouterr().out.splitlines()
    assert (folder, prod) == ("FOLDER          AGE   MESSAGE", "clusters/prod   3s")
    assert last == "日本" + " " * 18 + "word " * 30 + "[b]\\x07"


def test_ages_read_like_kubectl() -> None:
    """Durations are cut to their largest unit."""
    assert [tables.age(seconds) for seconds in (None, -1, 59.9, 60, 7200, 200_000)] == [
        "",
        "0s",
        "59s",
        "1m",
        "2h",
        "2d",
    ]
