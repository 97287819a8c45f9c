"""What stands in a bare repository, read by the git program: what we push is judged by Git itself."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.git import servers

_FILE = re.compile(r"\+\+\+ b/(?P<path>.+)")


@dataclass(frozen=True)
class Repository:
    """A bare repository on this machine, and the URL by which Reverser reaches it."""

    path: Path
    url: str

    @classmethod
    def local(cls, path: Path) -> Repository:
        """A new one, reached by file://."""
        return cls(servers.create_repository(path), path.as_uri())

    def git(self, *words: str) -> str:
        """Run git in it."""
        return servers.git(*words, cwd=self.path)

    def tip(self, branch: str = "main") -> str:
        """Where a branch points; empty while it does not exist. Cheap enough to be asked all the time."""
        try:
            return (self.path / "refs/heads" / branch).read_text().strip()
        except FileNotFoundError:
            return servers.tip(self.path, branch) or ""

    def commits(self, branch: str = "main") -> list[str]:
        """The commits of a branch, the oldest first."""
        return self.git("rev-list", "--reverse", branch).split() if self.tip(branch) else []

    def read(self, path: str, branch: str = "main") -> str:
        """One file of a branch; empty where it is not there."""
        if not self.tip(branch):
            return ""
        command = ["git", "show", f"{branch}:{path}"]
        done = subprocess.run(command, cwd=self.path, env=servers.ENVIRONMENT, capture_output=True, check=False)
        return done.stdout.decode()

    def tree(self, branch: str = "main") -> dict[str, bytes]:
        """All files of a branch with their bytes."""
        if not self.tip(branch):
            return {}
        rows = [row.split("\t") for row in self.git("ls-tree", "-r", "-z", branch).split("\0") if row]
        return dict(zip([path for _, path in rows], self.contents([row.split()[2] for row, _ in rows]), strict=True))

    def every_object(self) -> bytes:
        """The bytes of all objects, reachable or not."""
        command = ["git", "cat-file", "--batch-all-objects", "--batch"]
        return subprocess.run(command, cwd=self.path, env=servers.ENVIRONMENT, capture_output=True, check=True).stdout

    def numbers(self, key: str, branch: str = "main") -> dict[str, list[int]]:
        """By file, the numbers that `git log -p` shows for a key of the data, the oldest first."""
        found: dict[str, list[int]] = defaultdict(list)
        for _, path, number in self.arrivals(key, branch):
            found[path].append(number)
        return found

    def arrivals(self, key: str, branch: str = "main") -> Iterator[tuple[str, str, int]]:
        """Commit, file and number of each change of a key of the data, the oldest first."""
        added = re.compile(rf'\+  {key}: "(\d+)"')
        sha = path = ""
        for line in self.git("log", "--reverse", "-p", "--format=commit %H", branch).splitlines():
            if line.startswith("commit "):
                sha = line.removeprefix("commit ")
            elif file := _FILE.fullmatch(line):
                path = file["path"]
            elif number := added.fullmatch(line):
                yield sha, path, int(number[1])

    def contents(self, ids: Sequence[str]) -> list[bytes]:
        """The bytes of some blobs, by their ids."""
        done = subprocess.run(
            ["git", "cat-file", "--batch"],
            cwd=self.path,
            env=servers.ENVIRONMENT,
            input="\n".join(ids).encode(),
            capture_output=True,
            check=True,
        )
        blobs, rest = [], done.stdout
        for _ in ids:
            head, _, rest = rest.partition(b"\n")
            size = int(head.split()[2])
            blobs.append(rest[:size])
            rest = rest[size + 1 :]
        return blobs
