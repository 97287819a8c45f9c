"""A client of the test's own for the API server, and what Git has to hold for it.

Requests go through one connection pool: a thousand changes by kubectl would take minutes. kubectl itself is run where
the promise is about what its user sees. Neighbours: `installation.py` runs Reverser, `repository.py` reads Git.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import urllib3

from app import events
from app.git.credentials import Credentials
from app.rules import paths, rendering, sanitising
from tests import lanes
from tests.servers import api
from tests.waiting import wait_until

Object = dict[str, Any]

GROUP = "configbutler.ai/v1alpha1"
OURS = ("watchrules", "clusterwatchrules", "gitdestinations", "gitrepoconfigs")
JSON, MERGE, APPLY = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"

# Plural -> kind and API version of what the tests write.
KINDS = {
    "configmaps": ("v1", "ConfigMap"),
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "limitranges": ("v1", "LimitRange"),
    "deployments": ("apps/v1", "Deployment"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "roles": ("rbac.authorization.k8s.io/v1", "Role"),
    "gitrepoconfigs": (GROUP, "GitRepoConfig"),
    "gitdestinations": (GROUP, "GitDestination"),
    "watchrules": (GROUP, "WatchRule"),
    "clusterwatchrules": (GROUP, "ClusterWatchRule"),
}

_numbers = itertools.count(1)


class RefusedError(AssertionError):
    """The API server did not accept a request; the text is its message."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One user's requests to one API server. `put`, `merge` and `apply` return the object as it stands then."""

    def __init__(self, server: api.ApiServer) -> None:
        self.server = server
        self.kubeconfig = server.kubeconfig()
        self._headers = {"Authorization": f"Bearer {api.token(self.kubeconfig)}"}
        self._pool = urllib3.PoolManager(ca_certs=str(server.ca), retries=False, timeout=20.0, maxsize=32)

    def request(self, method: str, path: str, content: object = None, *, kind: str = JSON) -> Object:
        """One request. Raises RefusedError."""
        body = None if content is None else json.dumps(content).encode()
        headers = {**self._headers, "Content-Type": kind}
        answer = self._pool.request(method, self.server.url + path, body=body, headers=headers)
        if answer.status >= 300:
            raise RefusedError(f"{method} {path}: {answer.status} {_message(answer.data)}", answer.status)
        found = json.loads(answer.data) if answer.data else {}
        assert isinstance(found, dict)
        return found

    def text(self, path: str) -> str:
        """What a path answers that is no JSON."""
        return self._pool.request("GET", self.server.url + path, headers=self._headers).data.decode()

    def create(self, resource: str, namespace: str, name: str, **fields: Any) -> Object:
        """Create one object; `fields` are its top-level fields; labels, annotations and owners go into its metadata."""
        return self.request("POST", collection(resource, namespace), manifest(resource, name, **fields))

    def merge(self, resource: str, namespace: str, name: str, /, **fields: Any) -> Object:
        """Merge top-level fields into one object."""
        return self.request("PATCH", single(resource, namespace, name), fields, kind=MERGE)

    def apply(self, resource: str, namespace: str, name: str, /, *, manager: str, **fields: Any) -> Object:
        """Server-side apply by one field manager, which takes what others own."""
        path = f"{single(resource, namespace, name)}?{urlencode({'fieldManager': manager, 'force': 'true'})}"
        return self.request("PATCH", path, manifest(resource, name, **fields), kind=APPLY)

    def delete(self, resource: str, namespace: str, name: str) -> None:
        """Delete one object."""
        self.request("DELETE", single(resource, namespace, name))

    def get(self, resource: str, namespace: str, name: str) -> Object:
        """Read one object."""
        return self.request("GET", single(resource, namespace, name))

    def list(self, resource: str, namespace: str = "") -> list[Object]:
        """All objects of a type in a namespace, or in all of them, each with apiVersion and kind."""
        version, kind = KINDS[resource]
        items = self.request("GET", collection(resource, namespace))["items"]
        return [{"apiVersion": version, "kind": kind, **item} for item in items]

    def list_version(self, resource: str, namespace: str) -> str:
        """The resourceVersion at which a type stands now."""
        return str(self.request("GET", collection(resource, namespace))["metadata"]["resourceVersion"])

    def serves_all(self) -> bool:
        """Whether each type that the tests write can be listed: a server whose etcd was replaced fills its caches."""
        with contextlib.suppress(RefusedError):
            return all(self.request("GET", collection(resource, ""))["kind"] for resource in KINDS)
        return False

    def namespace(self, prefix: str = "test") -> str:
        """A new namespace: nothing deletes namespaces here, so each test has its own."""
        name = f"{prefix}-{next(_numbers)}-{uuid.uuid4().hex[:6]}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def remove_ours(self) -> None:
        """Delete everything of our four kinds, rules first, so that the next test starts with nothing selected."""
        for resource in OURS:
            for item in self.list(resource):
                self.delete(resource, item["metadata"].get("namespace", ""), item["metadata"]["name"])

    def kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What a person types; the exit code is for the test to judge."""
        program = lanes.find_program("kubectl") or lanes.leave_out("kubectl")
        # Its cache of the types it has seen would make a new CRD unknown for minutes.
        words = ("--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.kubeconfig.parent / "kubectl"), *words)
        return subprocess.run([program, *words], input=stdin, capture_output=True, text=True, check=False, timeout=60)

    def kubectl_works(self, *words: str, stdin: str = "") -> str:
        """The same for what has to work; its output."""
        done = self.kubectl(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def condition(self, resource: str, namespace: str, name: str, type_: str = "Ready") -> Mapping[str, Any]:
        """One condition of an object of ours, as its present generation has it; empty before it was judged."""
        found = self.get(resource, namespace, name)
        generation = found["metadata"]["generation"]
        conditions = (found.get("status") or {}).get("conditions") or []
        fitting = (one for one in conditions if one["type"] == type_ and one["observedGeneration"] == generation)
        return next(fitting, {})

    def wait_for_reason(self, resource: str, namespace: str, name: str, reason: str) -> str:
        """Wait until Ready is False for this reason; the message."""

        def told() -> str:
            found = self.condition(resource, namespace, name)
            return str(found["message"]) if (found.get("status"), found.get("reason")) == ("False", reason) else ""

        try:
            # A host that was slow to start is tried again after half a minute.
            return wait_until(told, timeout=75)
        except AssertionError as error:
            raise AssertionError(f"{name}: {self.condition(resource, namespace, name)}, not {reason}") from error

    def wait_ready(self, resource: str, namespace: str, name: str) -> None:
        """Wait until an object of ours works."""

        def ready() -> bool:
            return self.condition(resource, namespace, name).get("status") == "True"

        try:
            wait_until(ready)
        except AssertionError as error:
            raise AssertionError(f"{name}: {self.condition(resource, namespace, name)}") from error


def _message(answer: bytes) -> str:
    """What a refusal says. A group that is not served is no Status, but a line of text."""
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(answer).get("message"))
    return answer.decode()


def collection(resource: str, namespace: str) -> str:
    """The path of a type's objects in a namespace; everywhere, or of cluster scope, without one."""
    version = KINDS[resource][0]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{resource}" if namespace else f"{root}/{resource}"


def single(resource: str, namespace: str, name: str) -> str:
    """The path of one object."""
    return f"{collection(resource, namespace)}/{name}"


def manifest(resource: str, name: str, **fields: Any) -> Object:
    """One object as a user writes it."""
    version, kind = KINDS[resource]
    metadata = {key: fields.pop(key) for key in ("labels", "annotations", "ownerReferences") if key in fields}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, **fields}


def deployment(image: str = "nginx:1.25") -> Object:
    """The spec of a small Deployment."""
    labels = {"app": "web"}
    containers = [{"name": "web", "image": image}]
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    }


def git_secret(api: Api, namespace: str, name: str, credentials: Credentials) -> str:
    """Create the Secret that a GitRepoConfig names; its name."""
    keys = {
        "username": credentials.username,
        "password": credentials.password,
        "ssh-privatekey": credentials.ssh_private_key,
        "known_hosts": credentials.known_hosts,
        "ca.crt": credentials.ca_certificate,
    }
    api.create("secrets", namespace, name, stringData={key: value for key, value in keys.items() if value})
    return name


def repo_config(api: Api, namespace: str, name: str, url: str, *, secret: str = "", **more: object) -> str:
    """Create a GitRepoConfig, with `more` in its spec; its name."""
    credentials = {"secretRef": {"name": secret}} if secret else {}
    spec = {"repoUrl": url, "allowedBranches": ["*"], **credentials, **more}
    api.create("gitrepoconfigs", namespace, name, spec=spec)
    return name


class Destination:
    """A GitDestination with a WatchRule of its name that selects `resources`, on a GitRepoConfig of the namespace."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        *,
        repository: str,
        branch: str = "main",
        folder: str = "clusters/prod",
        resources: Sequence[str] = ("configmaps",),
    ) -> None:
        self.api, self.namespace, self.name, self.branch, self.folder = api, namespace, name, branch, folder
        place = {"repoRef": {"name": repository}, "branch": branch, "baseFolder": folder}
        api.create("gitdestinations", namespace, name, spec=place)
        rules = [{"resources": list(resources)}]
        api.create("watchrules", namespace, name, spec={"destinationRef": {"name": name}, "rules": rules})

    @property
    def ref(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def path(self, resource: str, name: str) -> str:
        """Where the file of one object of the namespace stands."""
        return path_of(self.folder, resource, self.namespace, name)

    def select(self, *resources: str) -> None:
        """Give the rule another selection, and wait until it is in force."""
        self.api.merge("watchrules", self.namespace, self.name, spec={"rules": [{"resources": list(resources)}]})
        self.api.wait_ready("watchrules", self.namespace, self.name)


def path_of(folder: str, resource: str, namespace: str, name: str) -> str:
    """Where the file of an object stands."""
    version, kind = KINDS[resource]
    group, _, version = version.rpartition("/")
    return paths.object_path(folder, events.Identifier(group, version, resource, namespace, name, kind, "uid"))


def rendered(objects: Iterable[Object], *, folder: str) -> dict[str, bytes]:
    """The files that these objects are (promise P1)."""
    plurals = {kind: resource for resource, (_, kind) in KINDS.items()}

    def files() -> Iterator[tuple[str, bytes]]:
        for one in objects:
            metadata = one["metadata"]
            path = path_of(folder, plurals[one["kind"]], metadata.get("namespace", ""), metadata["name"])
            yield path, rendering.render(sanitising.sanitise(one))

    return dict(files())
