"""Install our four kinds: `deploy/crds/*.yaml`, applied by the server and waited for until they are served.

The files refuse `file://` repositories. Where the installation allows them (`allow_local_repos`), the same files are
applied with that one rule widened, so that there is a single schema to read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml

from app import errors, events
from app.kube import client, discovery, kinds, paths
from app.rules import types

# `deploy` stands beside `app`, in a checkout and in a wheel alike.
FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "crds"

# The same characters as in the files' own rules, and no way out of the folder that is named.
_LOCAL_URL = (
    r"self.repoUrl.matches(r'^file:///[A-Za-z0-9_.~/%+@,:=-]+$')"
    r" && !self.repoUrl.matches(r'(?i)(/|%2f)(\.|%2e)(\.|%2e)(/|%2f|$)')"
)
_CRD = types.ResourceType(
    group="apiextensions.k8s.io",
    version="v1",
    resource="customresourcedefinitions",
    kind="CustomResourceDefinition",
    namespaced=False,
    verbs=frozenset({"get", "patch"}),
    preferred=True,
)
# A new type is served after 1 to 3 seconds.
_SERVED_DEADLINE = 30.0
_POLL = 0.1


def manifests(*, allow_local: bool) -> str:
    """The four CRDs as one YAML text, as `kubectl apply -f -` takes it."""
    if not allow_local:
        return "---\n".join(path.read_text(encoding="utf-8") for path in _files())
    return yaml.safe_dump_all(_read(allow_local=True), sort_keys=False)


def apply(cluster: client.Cluster, *, allow_local: bool) -> None:
    """Apply the CRDs (server-side apply) and wait until the cluster serves them.

    Needs `get` and `patch` on customresourcedefinitions. Raises Forbidden, PermanentError, and TemporaryError when
    they are not served within 30 s.
    """
    definitions = _read(allow_local=allow_local)
    for definition in definitions:
        cluster.request(
            "PATCH",
            paths.single(_CRD, _ref(definition)),
            query={"fieldManager": client.FIELD_MANAGER, "force": "true"},
            body=orjson.dumps(definition),
            content_type=client.APPLY_PATCH,
        )
    _wait_until_served(cluster, [_ref(definition) for definition in definitions])


def _wait_until_served(cluster: client.Cluster, definitions: Sequence[events.Ref]) -> None:
    deadline = time.monotonic() + _SERVED_DEADLINE
    while not _served(cluster, definitions):
        if time.monotonic() > deadline:
            raise errors.TemporaryError(
                f"the cluster does not serve our kinds {_SERVED_DEADLINE:g} s after they were applied: look at the "
                f"conditions of {definitions[0].name}"
            )
        time.sleep(_POLL)


def _served(cluster: client.Cluster, definitions: Sequence[events.Ref]) -> bool:
    established = all(_established(cluster.get_json(paths.single(_CRD, ref))) for ref in definitions)
    return established and discovery.discover(cluster).ours_served == set(kinds.OUR_TYPES)


def _established(definition: dict[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def _ref(definition: dict[str, Any]) -> events.Ref:
    return events.Ref("", definition["metadata"]["name"])


def _files() -> list[Path]:
    files = sorted(FOLDER.glob("*.yaml"))
    if len(files) != len(kinds.OUR_TYPES):
        raise errors.PermanentError(f"this installation is damaged: the CRDs are not in {FOLDER}; install it again")
    return files


def _read(*, allow_local: bool) -> list[dict[str, Any]]:
    definitions = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in _files()]
    if allow_local:
        for definition in definitions:
            _admit_local(definition)
    return definitions


def _admit_local(definition: dict[str, Any]) -> None:
    """Widen every rule on `spec.repoUrl` to a local repository as well."""
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for validation in schema["properties"]["spec"].get("x-kubernetes-validations", ()):
        if "self.repoUrl" in validation["rule"]:
            validation["rule"] = f"({_LOCAL_URL}) || ({validation['rule']})"
