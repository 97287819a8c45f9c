"""Writes `app/sandbox/wire.json`: the protobuf messages of the built-in types, read from Kubernetes' own sources.

Each API package of Kubernetes says the same thing twice: `generated.proto` has the numbers and types on the wire, the
tags of the Go structs have the JSON names and whether a field may be left out. The table joins the two by number.
`make wire` runs this on a folder that holds the Go modules; the same folder always gives the same bytes. What
Kubernetes tests itself with comes along: of each type an object with every field set, in protobuf and in JSON.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "app" / "sandbox" / "wire.json"
SAMPLES = ROOT / "tests" / "unit" / "sandbox" / "kubernetes.json"
ORIGIN = "Made by tools/wire_table.py from k8s.io/api, apimachinery and apiextensions-apiserver {}; Apache-2.0."

# A proto package starts with its Go module's name, written with underscores.
MODULES = ("k8s.io/api", "k8s.io/apimachinery", "k8s.io/apiextensions-apiserver")
# What a body may hold: the types that `app/sandbox/kinds.py` serves, what is sent beside them, and the envelope of all.
ROOTS = {
    "k8s.io.api.apps.v1": "DaemonSet Deployment StatefulSet",
    "k8s.io.api.authentication.v1": "SelfSubjectReview",
    "k8s.io.api.authorization.v1": "SelfSubjectAccessReview SelfSubjectRulesReview",
    "k8s.io.api.autoscaling.v1": "Scale",
    "k8s.io.api.autoscaling.v2": "HorizontalPodAutoscaler",
    "k8s.io.api.batch.v1": "CronJob Job",
    "k8s.io.api.coordination.v1": "Lease",
    "k8s.io.api.core.v1": "ConfigMap Event LimitRange Namespace PersistentVolumeClaim ResourceQuota Secret Service "
    "ServiceAccount",
    "k8s.io.api.networking.v1": "Ingress NetworkPolicy",
    "k8s.io.api.policy.v1": "PodDisruptionBudget",
    "k8s.io.api.rbac.v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1": "CustomResourceDefinition",
    "k8s.io.apimachinery.pkg.apis.meta.v1": "DeleteOptions",
    "k8s.io.apimachinery.pkg.runtime": "Unknown",
}
SCALARS = frozenset({"string", "bytes", "bool", "int32", "int64", "double"})

MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
WIRE_FIELD = re.compile(r"^  (?:(optional|repeated) )?(map<string, )?([\w.]+)>? (\w+) = (\d+);", re.MULTILINE)
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
GO_FIELD = re.compile(r"^\t(?:\w+\s+)?(\*?)[\w.\[\]*]+\s+`(.*?)`", re.MULTILINE)
JSON_TAG = re.compile(r'json:"([^"]*)"')
NUMBER_TAG = re.compile(r'protobuf:"\w+,(\d+)')


@dataclass(frozen=True, slots=True)
class Package:
    """One API package: for each message its fields on the wire, and for each struct its fields in Go."""

    # Number: (type as the table writes it, but with full names of messages; name).
    messages: dict[str, dict[int, tuple[str, str]]]
    # Number: (pointer, JSON tag or "").
    structs: dict[str, dict[int, tuple[str, str]]]


class Sources:
    """The packages of one version of Kubernetes, read when they are asked for."""

    def __init__(self, folder: Path, version: str) -> None:
        self._folder = folder
        self._version = version
        self._read: dict[str, Package] = {}

    def package(self, name: str) -> Package:
        """A package by the name that its messages have."""
        if name not in self._read:
            self._read[name] = read(self._place(name), name)
        return self._read[name]

    def samples(self) -> Iterator[tuple[str, Path]]:
        """The group, version and kind of Kubernetes' test objects, and the files of each without their ends."""
        for module in MODULES:
            for path in sorted(self._module(module).glob("**/testdata/HEAD/*.pb")):
                yield path.stem, path.with_suffix("")

    def _place(self, name: str) -> Path:
        for module in MODULES:
            prefix = module.replace("/", ".").replace("-", "_") + "."
            if name.startswith(prefix):
                return self._module(module).joinpath(*name.removeprefix(prefix).split("."))
        sys.exit(f"{name} belongs to no module that is read here")

    def _module(self, module: str) -> Path:
        root = self._folder / f"{module}@{self._version}"
        if not root.is_dir():
            sys.exit(f"{root} is missing: run `go mod download {module}@{self._version}`, then again")
        return root


def read(folder: Path, name: str) -> Package:
    """The messages and structs of one package."""
    proto = re.sub(r"//.*", "", (folder / "generated.proto").read_text())
    messages = {found[1]: dict(wire_fields(name, found[2])) for found in MESSAGE.finditer(proto)}
    go = "".join(path.read_text() for path in sorted(folder.glob("*.go")) if "generated" not in path.name)
    structs = {found[1]: dict(go_fields(found[2])) for found in STRUCT.finditer(go)}
    return Package(messages, structs)


def wire_fields(package: str, body: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """The fields of one message."""
    for label, is_map, type_, name, number in WIRE_FIELD.findall(body):
        full = type_ if type_ in SCALARS else type_[1:] if type_.startswith(".") else f"{package}.{type_}"
        prefix = "map " if is_map else "[]" if label == "repeated" else ""
        yield int(number), (f"{prefix}{full}", name)


def go_fields(body: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """The fields of one struct that are on the wire. A struct that writes its own JSON has no tags for it."""
    for pointer, tags in GO_FIELD.findall(body):
        number, tag = NUMBER_TAG.search(tags), JSON_TAG.search(tags)
        if number:
            yield int(number[1]), (pointer, tag[1] if tag and tag[1] != "-" else "")


def table(sources: Sources, roots: Iterable[str]) -> dict[str, dict[str, str]]:
    """Every message that can be reached, by its short name: the number of a field, and its type and JSON tag."""
    found: dict[str, dict[str, str]] = {}
    waiting = list(roots)
    while waiting:
        full = waiting.pop()
        if short(full) in found:
            continue
        fields = dict(message(sources, full))
        found[short(full)] = {str(number): text for number, (text, _) in sorted(fields.items())}
        waiting += [reached for _, reached in fields.values() if reached]
    return dict(sorted(found.items()))


def message(sources: Sources, full: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """The fields of one message as the table has them, each with the message that it leads to, "" for none."""
    package, _, name = full.rpartition(".")
    found = sources.package(package)
    # Some messages stand for a Go type that is no struct, such as a list, or for one that writes itself: Time.
    struct = found.structs.get(name) or dict.fromkeys(found.messages[name], ("", ""))
    for number, (type_, wire_name) in found.messages[name].items():
        pointer, tag = struct[number]
        kind = re.sub(r"[\w.]+$", lambda last: short(last[0]), type_)
        last = type_.removeprefix("map ").removeprefix("[]")
        yield number, (f"{pointer}{kind} {tag or wire_name}", "" if last in SCALARS else last)


def short(full: str) -> str:
    """k8s.io.api.apps.v1.Deployment as apps.v1.Deployment; without a version, the last two parts."""
    parts = full.split(".")
    kept = 3 if len(parts) > 2 and re.fullmatch(r"v\d\w*", parts[-2]) else 2  # noqa: PLR2004 - group, version, name
    return ".".join(parts[-kept:])


def sample(name: str, path: Path, messages: Iterable[str]) -> dict[str, object] | None:
    """One of Kubernetes' test objects, if its type is one of these."""
    group, version, kind = name.rsplit(".", 2)
    if f"{group.partition('.')[0]}.{version}.{kind}" not in messages:
        return None
    body = base64.b64encode(Path(f"{path}.pb").read_bytes()).decode()
    return {"name": name, "body": body, "object": json.loads(Path(f"{path}.json").read_text())}


def main(folder: str, version: str) -> None:
    """Write the table and the samples from the modules below a folder."""
    roots = {name: f"{package}.{name}" for package, names in ROOTS.items() for name in names.split()}
    sources = Sources(Path(folder), version)
    found = table(sources, roots.values())
    kinds = {short(full) for full in roots.values()}
    samples = [json.dumps(one) for name, path in sources.samples() if (one := sample(name, path, kinds))]
    origin = ORIGIN.format(version)
    listed = ",\n".join(samples)
    SAMPLES.write_text(f'{{"origin": "{origin}", "objects": [\n{listed}\n]}}\n')
    document = {
        "origin": origin,
        "kinds": {name: short(full) for name, full in sorted(roots.items())},
        "messages": found,
    }
    lines = json.dumps(document, indent=1)
    # One line for a message, so that a difference between two versions can be read.
    TABLE.write_text(re.sub(r"\n {3}\s*|\n {2}(?=\})", " ", lines).replace("{ ", "{").replace(" }", "}") + "\n")
    print(f"{TABLE.name}: {len(found)} messages of {version}; {SAMPLES.name}: {len(samples)} objects")


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - itself and two
        sys.exit("usage: wire_table.py FOLDER VERSION; FOLDER holds the Go modules (`go env GOMODCACHE`)")
    main(sys.argv[1], sys.argv[2])
