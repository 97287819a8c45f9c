"""One object's round trip: created, mirrored, deleted, applied from the mirrored file, and mirrored again.

A stand-in does what only a controller manager would: it takes away finalizers, for nothing else is left to wait for.
"""

from __future__ import annotations

import subprocess
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from app import events
from app.rules import ignoring, paths, rendering, sanitising
from tests import lanes
from tests.contract.client import APPLY, JSON, MERGE, Client
from tests.contract.manifests import Type
from tests.roundtrip import travels
from tests.roundtrip.controllers import Write
from tests.roundtrip.travels import Kind, Object, Served
from tests.servers.api import ApiServer
from tests.servers.kube import KubeServer
from tests.servers.sandbox import SandboxServer
from tests.waiting import wait_until

FOLDER = "clusters/prod"
BOTH_FAMILIES = "--service-cluster-ip-range=10.96.0.0/24,fd00:10:96::/112"
# How long kubectl may take, for hundreds of files on a machine that does other things too.
DEADLINE = 240.0


@dataclass(frozen=True, slots=True)
class Trip:
    """What one object left on its way."""

    manifest: Object
    live: Object
    path: str
    first: bytes
    second: bytes
    # The same by `kubectl apply --server-side`, which leaves another record of who owns what.
    by_server: bytes


def serve(name: str, folder: Path) -> ApiServer:
    """An API server that has addresses of both families, not started yet."""
    return KubeServer(folder, flags=(BOTH_FAMILIES,)) if name == "kube" else SandboxServer(folder)


class Travelling:
    """Round trips on one API server; each kind travels once, whoever asks."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.client = Client(server.kubeconfig())
        self.folder = folder
        self._kubeconfig = server.kubeconfig()
        self._manifests = travels.by_kind()
        self._trips: dict[Kind, tuple[Trip, ...]] = {}
        self.served: Mapping[Kind, Served] = {}

    def __enter__(self) -> Self:
        self.prepare()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def prepare(self) -> None:
        """Make what the manifests lean on, as far as this server serves it, and read what it serves."""
        known = travels.served(self.client)
        for manifest in travels.given():
            if travels.kind_of(manifest) in known:
                self.create(manifest, known)
        wanted = {kind for kind in self._manifests if travels.is_custom(kind)}
        wait_until(lambda: wanted <= travels.served(self.client).keys(), what="the custom types are served")
        self.served = travels.served(self.client)

    def serves(self, *resources: str) -> bool:
        """Whether the server serves all of these types by now; reads anew what it serves."""
        self.served = travels.served(self.client)
        return set(resources) <= {one.type_.resource for one in self.served.values()}

    def trips(self, kind: Kind) -> tuple[Trip, ...]:
        """What the objects of a kind left on their way."""
        if kind not in self._trips:
            self._trips[kind] = self._travel(self._manifests[kind])
        return self._trips[kind]

    def type_of(self, kind: Kind) -> Type:
        """A type as this server serves it."""
        return self.served[kind].type_

    def create(self, manifest: Object, known: Mapping[Kind, Served] | None = None) -> None:
        """Create an object as a program does, which leaves no trace of `kubectl apply`; no field may be unknown."""
        type_ = (known or self.served)[travels.kind_of(manifest)].type_
        place = manifest["metadata"].get("namespace", "")
        # Keys in order and no spaces, as Go writes them: the server keeps the text of raw fields.
        content = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
        self.client.call("POST", type_.all(place), content, fieldValidation="Strict").done()

    def read(self, manifest: Object) -> Object:
        """An object as it stands."""
        return self.client.get(self._one(manifest))

    def write(self, manifest: Object, write: Write) -> None:
        """Do what a controller does to an object."""
        one = f"{self._one(manifest)}/{write.subresource}".rstrip("/")
        force = True if write.kind == APPLY else None
        self.client.call(
            write.method,
            one,
            write.content,
            kind=write.kind if write.method == "PATCH" else JSON,
            fieldManager=write.manager,
            force=force,
        ).done()

    def remove(self, manifest: Object) -> None:
        """Delete an object, and wait until it is gone."""
        one = self._one(manifest)
        self.client.call("DELETE", one, gracePeriodSeconds=0).done()
        wait_until(lambda: self._is_gone(one), what=f"{one} is gone")

    def apply(self, files: Mapping[str, bytes], *flags: str) -> None:
        """`kubectl apply` on mirrored files."""
        self.write_files(files)
        self.kubectl("apply", *flags, *(f"--filename={path}" for path in files))

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Put files where kubectl finds them."""
        for path, content in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)

    def again(self, manifests: Sequence[Object], files: Mapping[str, bytes], *flags: str) -> list[bytes]:
        """Objects made anew from their files, as they are mirrored then; nothing is left of them."""
        self.apply(files, *flags)
        found = [mirrored(self.read(manifest)) for manifest in manifests]
        for manifest in manifests:
            self.remove(manifest)
        return found

    def kubectl(self, *words: str) -> str:
        """What a person types in the folder of files; it has to work."""
        program = lanes.find_program("kubectl") or lanes.leave_out("kubectl")
        flags = ["--kubeconfig", str(self._kubeconfig), "--cache-dir", str(self.folder / ".kubectl")]
        line = [str(program), *flags, *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=DEADLINE, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def path_of(self, obj: Object) -> str:
        """Where an object's file stands."""
        kind, metadata = travels.kind_of(obj), obj["metadata"]
        group, _, version = kind.api_version.rpartition("/")
        resource, place = self.type_of(kind).resource, metadata.get("namespace", "")
        known = events.Identifier(group, version, resource, place, metadata["name"], kind.kind, "uid")
        return paths.object_path(FOLDER, known)

    def _travel(self, manifests: Sequence[Object]) -> tuple[Trip, ...]:
        for manifest in manifests:
            self.create(manifest)
        lives = [self.read(manifest) for manifest in manifests]
        files = {self.path_of(live): mirrored(live) for live in lives}
        for manifest in manifests:
            self.remove(manifest)
        again = zip(self.again(manifests, files), self.again(manifests, files, "--server-side"), strict=True)
        return tuple(
            Trip(manifest, live, path, first, second, by_server)
            for manifest, live, (path, first), (second, by_server) in zip(
                manifests, lives, files.items(), again, strict=True
            )
        )

    def _one(self, manifest: Object) -> str:
        metadata = manifest["metadata"]
        name = urllib.parse.quote(metadata["name"], safe=":")
        return self.type_of(travels.kind_of(manifest)).one(metadata.get("namespace", ""), name)

    def _is_gone(self, one: str) -> bool:
        """Whether there is nothing any more; whoever still holds it lets it go."""
        answer = self.client.call("GET", one)
        if answer.code == 404:
            return True
        metadata = answer.done()["metadata"]
        if metadata.get("deletionTimestamp"):
            self._let_go(one, answer.json)
        return False

    def _let_go(self, one: str, obj: Object) -> None:
        if obj["kind"] == "Namespace":
            self.client.call("PUT", f"{one}/finalize", {**obj, "spec": {"finalizers": []}})
        # The server itself ends a definition, after the objects of its kind.
        elif obj["kind"] != "CustomResourceDefinition" and obj["metadata"].get("finalizers"):
            self.client.call("PATCH", one, {"metadata": {"finalizers": None}}, kind=MERGE)


def mirrored(live: Object, ignored: ignoring.Ignored = ignoring.NOTHING) -> bytes:
    """The file of an object (promise P1)."""
    return rendering.render(sanitising.sanitise(live, ignored))
