"""Settings: every default is pinned, every variable is read, and a mistake is named."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from app import errors
from app.settings import Settings, inherited_environment, variable_of

DEFAULTS = {
    "database_url": "sqlite:///reverser-data/reverser.db",
    "broker_url": "redis://127.0.0.1:6379/0",
    "rabbitmq_api": "",
    "work_dir": Path("reverser-data/work"),
    "cluster": "home",
    "kubeconfig": "",
    "credentials_dir": "",
    "failpoints": "",
    "allow_local_repos": False,
    "branch_lease": 4.0,
    "watch_lease": 8.0,
    "drain_deadline": 60.0,
    "git_timeout": 30.0,
    "max_commits": 100,
    "seed_commit_rows": 10_000,
    "seed_commit_bytes": 32_000_000,
    "max_pending": 100_000,
    "batch_rows": 1_000,
    "sweep_interval": 1.0,
    "ring_longest": 60.0,
    "discovery_interval": 30.0,
    "type_grace": 60.0,
    "seed_interval": 86_400.0,
    "keep_rows": 30.0,
    "keep_problems": 90.0,
    "watch_timeout": 60.0,
    "kube_connect_timeout": 5.0,
    "kube_read_timeout": 30.0,
    "page_size": 500,
    "status_interval": 5.0,
    "worker_slots": 4,
    "flower_login": "",
    "statement_timeout": 3.0,
    "log_format": "auto",
    "log_level": "info",
}


def test_every_default_is_pinned() -> None:
    """A default changes here too, on purpose, or not at all; the node is made of this process."""
    settings = dataclasses.asdict(Settings.from_environment({}))
    node = settings.pop("node")
    assert settings == DEFAULTS
    assert node.endswith(f"-{os.getpid()}")


def test_statements_end_before_the_leases_they_work_under() -> None:
    """A stuck transaction dies before its holder's lease does."""
    settings = Settings()
    assert settings.statement_timeout < settings.branch_lease < settings.watch_lease < settings.drain_deadline


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Settings)])
def test_every_setting_is_read_from_its_variable(name: str) -> None:
    """REVERSER_ and the name in capitals; KUBECONFIG keeps the name that everybody knows."""
    assert variable_of(name) == ("KUBECONFIG" if name == "kubeconfig" else f"REVERSER_{name.upper()}")
    default = DEFAULTS.get(name, "")
    text, value = {
        bool: ("yes", True),
        float: ("2.5", 2.5),
        int: ("7", 7),
        str: ("text", "text"),
    }.get(type(default), ("/srv/x", Path("/srv/x")))
    assert getattr(Settings.from_environment({variable_of(name): text}), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REVERSER_BRANCH_LEASE", "soon"),
        ("REVERSER_BRANCH_LEASE", "0"),
        ("REVERSER_BRANCH_LEASE", "-1"),
        ("REVERSER_BRANCH_LEASE", "inf"),
        ("REVERSER_BRANCH_LEASE", "nan"),
        ("REVERSER_PAGE_SIZE", "1.5"),
        ("REVERSER_PAGE_SIZE", "0"),
        ("REVERSER_ALLOW_LOCAL_REPOS", "perhaps"),
        ("REVERSER_BRANCH_LEESE", "4"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_variable(variable: str, text: str) -> None:
    """A process with a misspelt or senseless setting does not start."""
    with pytest.raises(errors.SettingsError, match=variable):
        Settings.from_environment({variable: text})


def test_an_empty_variable_is_an_absent_one() -> None:
    """Manifests set variables to nothing; that means the default."""
    assert Settings.from_environment({"REVERSER_CLUSTER": "", "UNRELATED": "x"}).cluster == "home"


def test_a_child_process_gets_the_same_settings() -> None:
    """What is handed on reads back the same; the node is the child's own, and a login is in no repr."""
    settings = Settings(cluster="west", allow_local_repos=True, work_dir=Path("/srv/x"), flower_login="me:s3cr3t")
    handed_on = settings.to_environment()
    assert "REVERSER_NODE" not in handed_on
    assert dataclasses.replace(Settings.from_environment(handed_on), node=settings.node) == settings
    assert "s3cr3t" not in repr(settings)


def test_the_environment_of_the_process_is_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the process's own environment is read."""
    for variable in [name for name in os.environ if name.startswith("REVERSER_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("REVERSER_ALLOW_LOCAL_REPOS", "True")
    monkeypatch.setenv("REVERSER_CLUSTER", "west")
    settings = Settings.from_environment()
    assert (settings.cluster, settings.allow_local_repos) == ("west", True)
    assert inherited_environment() == dict(os.environ)
