"""A type that a cluster serves, as rules see it; `app/kube/discovery.py` makes them, `matching.py` picks from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One served version of one resource. `group` is empty for the core group, `resource` is the plural."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]
    # The version that the server prefers for this resource; exactly one version of a resource is.
    preferred: bool

    @property
    def watchable(self) -> bool:
        """Whether the type can be mirrored: it needs both a list and a watch."""
        return {"list", "watch"} <= self.verbs

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`, as in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """Group and resource: what stays the same whatever version is read."""
        return self.group, self.resource

    def __str__(self) -> str:
        """`configmaps` or `deployments.apps`, as `kubectl` takes it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource
