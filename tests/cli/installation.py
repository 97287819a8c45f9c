"""One data folder and the commands on it, as their user types them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.cli import processes, updata


class Installation:
    """A data folder; `kubeconfig` is the cluster that each `up` names, None for the sandbox."""

    def __init__(self, path: Path, kubeconfig: Path | None = None) -> None:
        self.folder = updata.DataFolder.at(path)
        self.kubeconfig = kubeconfig
        self.foreground: subprocess.Popen[str] | None = None

    def command(self, *words: str) -> list[str]:
        """One of our commands for this folder."""
        return [sys.executable, "-P", "-m", "app.cli.main", *words, "--data-dir", str(self.folder.path)]

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with `text` as its standard input."""
        command = self.command(*words)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, input=text)

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`up --detach`, which ends when everything is ready."""
        patient = [] if "--timeout" in words else ["--timeout", "100"]
        return self.run("up", "--detach", *self._cluster(), *patient, *words)

    def start(self, *words: str) -> None:
        """`up` in the foreground; `said` has what it prints."""
        command = self.command("up", *self._cluster(), *words)
        with (self.folder.path.parent / "said").open("w") as said:
            self.foreground = subprocess.Popen(command, stdout=said, stderr=said, text=True)

    def said(self) -> str:
        """What the `up` in the foreground printed so far."""
        return (self.folder.path.parent / "said").read_text()

    def read(self) -> updata.Up:
        """What runs; it is ready."""
        found = self.folder.read_up()
        assert found
        return found

    def identities(self) -> dict[str, processes.Identity]:
        """The processes of the last `up`."""
        return self.folder.read_identities()

    def git(self, *words: str) -> str:
        """Ask the local repository; nothing where the answer is an error."""
        command = ["git", "--git-dir", str(self.folder.repository), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def end(self) -> None:
        """End all of it, whatever a test did to it."""
        left = self.identities()
        self.run("down")
        if self.foreground:
            self.foreground.terminate()
            self.foreground.wait(60)
        for identity in left.values():
            processes.end(identity, grace=1.0)

    def _cluster(self) -> list[str]:
        return ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
