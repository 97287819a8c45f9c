"""kubectl: what a person types answers the same on the sandbox and on a real API server.

The table of commands is `commands.py`. Each is run on both servers, in a namespace that holds the same objects; exit
code and both outputs must be equal, but for what no two servers have in common: times, uids, versions, addresses.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import lanes
from tests.contract import commands, manifests
from tests.contract.commands import Command
from tests.contract.servers import Pair, Servers
from tests.servers import api
from tests.waiting import wait_until

pytestmark = pytest.mark.kubectl

DEADLINE = 60.0

# What differs between two servers, and what a comparison puts in its place. The order matters.
DIFFERENT = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "<time>"),
    (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
    (r'(resourceVersion"?: )"\d+"', r'\1"<version>"'),
    (r"(Resource Version: +)\d+", r"\1<version>"),
    (r"\b10\.96\.\d+\.\d+", "<address>"),
    (r"\b(run)-[a-z0-9]{5}\b", r"\1-<random>"),
    (r"\S*/(LIVE|MERGED|kubectl-edit)-\d+(\.\w+)?", r"<\1>"),
    # Ages, also where they stand for a moment at the end of a line.
    (r"\b(\d+[smhd])+(?=\s|$)", "<age>"),
    # Columns are as wide as their widest cell.
    (r"[ \t]+", " "),
    (r"(?m) +$", ""),
    # What a repair loop of the real server says of an address that it gave away itself a moment ago.
    (r"Events:\n(?: .*\n)*? .*ipallocator-repair-controller.*", "Events: <none>"),
)


# What kubectl notes about its own connections, which depends on how busy the machine is.
LOGGED = re.compile(r"[IWE]\d{4} \d\d:\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str


class Kubectl:
    """Runs commands on both servers, each command once on each."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._told: dict[tuple[str, Command], Told] = {}
        for name, text in commands.FILES.items():
            (folder / name).write_text(text)
        self._minor = _minor()

    def told(self, name: str, command: Command) -> Told:
        """What a command says on the server of this name; skips the test where kubectl is too old for it."""
        if self._minor < command.since:
            pytest.skip(f"kubectl 1.{self._minor} does not know this; 1.{command.since} does")
        if (name, command) not in self._told:
            self._told[name, command] = self._run(self._servers.get(name), command)
        return self._told[name, command]

    def _run(self, pair: Pair, command: Command) -> Told:
        place = furnished(pair, command.given)
        for words in filter(None, command.after.split(";")):
            done = self._type(self.line(pair, place, words))
            assert done.returncode == 0, done.stderr
        done = self._type(self.line(pair, place, command.words), editor=command.editor)
        known = {place: "<place>", pair.client.url: "<server>"}
        return Told(done.returncode, normal(done.stdout, known, keep=command.keep), normal(done.stderr, known))

    def _type(self, line: list[str], *, editor: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBE_EDITOR": editor or "false"}
        return subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=DEADLINE, env=environment, cwd=self._folder
        )

    def line(self, pair: Pair, place: str, words: str) -> list[str]:
        """The words of a command as they are run."""
        program = lanes.find_program("kubectl") or lanes.leave_out("kubectl")
        # It keeps what it discovered under the server's address, so that both can use one folder.
        flags = ["--kubeconfig", str(pair.server.kubeconfig()), "--cache-dir", str(self._folder / "cache")]
        # A later --namespace wins, which is how a command names another one.
        return [str(program), *flags, "--namespace", place, *shlex.split(words)]


def _minor() -> int:
    """Which kubectl this is: 32 for 1.32."""
    program = lanes.find_program("kubectl") or lanes.leave_out("kubectl")
    told = subprocess.run([program, "version", "--client", "--output=json"], capture_output=True, check=True, text=True)
    return int(re.sub(r"\D", "", json.loads(told.stdout)["clientVersion"]["minor"]))


def furnished(pair: Pair, given: str) -> str:
    """A new namespace with objects."""
    place = manifests.namespace(pair.client)
    for name in given.split():
        type_, manifest = commands.GIVEN[name]
        pair.client.create(type_.all(place), manifest)
    return place


def normal(text: str, known: dict[str, str], *, keep: str = "") -> str:
    """An output without what differs between any two servers."""
    for found, name in known.items():
        text = text.replace(found, name)
    for pattern, name in DIFFERENT:
        text = re.sub(pattern, name, text)
    return "\n".join(line for line in text.splitlines() if re.search(keep, line) and not LOGGED.match(line))


@pytest.fixture(scope="session")
def kubectl(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """kubectl, with a cache of its own."""
    return Kubectl(servers, tmp_path_factory.mktemp("kubectl"))


def title(command: Command) -> str:
    """A command as its test is called."""
    notes = [f"given {command.given}" if command.given else "", f"after {command.after}" if command.after else ""]
    return " ".join(filter(None, [command.words, *(f"({note})" for note in notes if note)]))


each_command = pytest.mark.parametrize("command", commands.COMMANDS, ids=title)


@each_command
def test_a_command_ends_as_it_should(kubectl: Kubectl, command: Command) -> None:
    """Each command succeeds, or fails, on the sandbox as its user expects."""
    told = kubectl.told(api.SANDBOX, command)
    assert told.code == command.code, told


@pytest.mark.kube
@each_command
def test_a_command_says_the_same(kubectl: Kubectl, command: Command) -> None:
    """Each command says the same on both servers: output, errors and exit code."""
    assert kubectl.told(api.SANDBOX, command) == kubectl.told("kube", command)


STREAMS = {
    "get cm -w": [
        "NAME DATA AGE",
        "settings 2 <age>",
        "settings 3 <age>",
        "late 0 <age>",
        "late 0 <age>",
    ],
    "get cm -w -o name": [
        "configmap/settings",
        "configmap/settings",
        "configmap/late",
        "configmap/late",
    ],
    "get cm settings -w": ["NAME DATA AGE", "settings 2 <age>", "settings 3 <age>"],
    "get cm -w -l app=web --output-watch-events": [
        "EVENT NAME DATA AGE",
        "ADDED settings 2 <age>",
        "MODIFIED settings 3 <age>",
    ],
}


@dataclass(frozen=True, slots=True)
class Following:
    """A command that runs until it is ended, and the file of its output."""

    process: subprocess.Popen[bytes]
    output: Path

    def lines(self) -> list[str]:
        """What it has said."""
        return normal(self.output.read_text(), {}).splitlines()


@pytest.fixture
def following(kubectl: Kubectl, pair: Pair, words: str, tmp_path: Path) -> Iterator[tuple[Following, str]]:
    """A command that follows a namespace, and the namespace."""
    place = furnished(pair, "settings")
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(kubectl.line(pair, place, words), stdout=file, stderr=subprocess.STDOUT)
    yield Following(process, output), place
    process.kill()
    process.wait()


@pytest.mark.parametrize("words", STREAMS)
def test_a_command_that_follows(following: tuple[Following, str], pair: Pair, words: str) -> None:
    """`-w` shows what there is and then each change, until it is ended; the stream stays open."""
    found, place = following
    wanted = STREAMS[words]
    wait_until(lambda: any("settings" in line for line in found.lines()), what="what there is")
    paths = manifests.CONFIG_MAPS
    pair.client.merge(paths.one(place, "settings"), {"data": {"more": "x"}})
    manifests.config_map(pair.client, place, "late", labels={"app": "late"})
    pair.client.delete(paths.one(place, "late"))
    wait_until(lambda: len(found.lines()) >= len(wanted), what=f"{wanted} in {found.lines()}")
    assert found.lines() == wanted
    assert found.process.poll() is None
