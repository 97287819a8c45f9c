"""kubectl, which reads YAML with the library that the whole of Kubernetes uses, and so do Flux and Argo CD.

`kubectl create --dry-run=client` reads files and prints what it read, without sending it; but it asks a server which
types there are. That is the sandbox, with one type that holds anything.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import lanes
from tests.readers.reading import Unreadable
from tests.servers import sandbox

GROUP, KIND = "readers.example.com", "Anything"
API_VERSION = f"{GROUP}/v1"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"anythings.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Cluster",
        "names": {"plural": "anythings", "singular": "anything", "kind": KIND, "listKind": f"{KIND}List"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
DEADLINE = 120.0


def identified(obj: dict[str, Any]) -> dict[str, Any]:
    """The object as one of that type; `items` would make it a list of objects."""
    rest = {key: value for key, value in obj.items() if key != "items"}
    return {**rest, "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "any"}}


class Kubectl:
    """kubectl against a server that knows the type."""

    def __init__(self, server: sandbox.SandboxServer, folder: Path) -> None:
        self._folder = folder
        self._flags = ("--kubeconfig", str(server.kubeconfig()), "--cache-dir", str(folder / "cache"))
        definition = folder / "definition.json"
        definition.write_text(json.dumps(DEFINITION))
        for words in (
            ("create", "-f", str(definition)),
            ("wait", "--for=condition=established", f"crd/anythings.{GROUP}", "--timeout=30s"),
        ):
            done = self._run(*words)
            assert done.returncode == 0, done.stderr

    def __call__(self, files: Sequence[bytes]) -> list[Any]:
        """What it reads in each of these files. It stops at one that it cannot read: then each half is asked."""
        if not files:
            return []
        joined = self._folder / "joined.yaml"
        joined.write_bytes(b"---\n".join(files))
        done = self._run("create", "--dry-run=client", "--validate=false", "--output=json", "--filename", str(joined))
        told = list(_documents(done.stdout))
        if done.returncode == 0 and len(told) == len(files):
            return told
        if len(files) == 1:
            return [Unreadable(done.stderr.strip() or f"it read {len(told)} objects in one file")]
        middle = len(files) // 2
        return self(files[:middle]) + self(files[middle:])

    @property
    def version(self) -> str:
        """Which kubectl this is."""
        version = json.loads(self._run("version", "--client", "--output=json").stdout)["clientVersion"]["gitVersion"]
        return str(version)

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = lanes.find_program("kubectl") or lanes.leave_out("kubectl")
        line = [str(program), *words, *self._flags]
        return subprocess.run(line, capture_output=True, check=False, text=True, timeout=DEADLINE)


def _documents(text: str) -> Iterator[Any]:
    """The JSON documents of an output, one after the other, each with a line end behind it."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        document, end = decoder.raw_decode(text, position)
        yield document
        position = end + 1
