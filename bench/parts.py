"""Single steps in one process: sanitise and hash, sanitise and YAML, matching against a thousand rules.

Each figure is printed with what is aimed at, on one core of the machine that it runs on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import orjson

from app.events import Identifier, Ref
from app.rules import compiling, filters, labels, matching, rendering, sanitising, selecting, types, urls

SECONDS = 1.0
RULES = 1_000


@dataclass(frozen=True, slots=True)
class _Figure:
    """One measured step. `aim` is the least rate per second or the most microseconds, None where there is none."""

    name: str
    value: float
    aim: float | None
    unit: str

    def line(self) -> str:
        wanted = f"aim {'>=' if self.unit == 'per_s' else '<='} {self.aim:,.0f}" if self.aim else ""
        digits = 0 if self.unit == "per_s" else 1
        return f"  {f'{self.name}_{self.unit}':<34} {self.value:>10,.{digits}f}  {wanted}".rstrip()


def run() -> dict[str, Any]:
    """Operations per second and microseconds per question, best of three."""
    live = _live_deployment()
    clean = orjson.loads(sanitising.body(sanitising.sanitise(live)))
    hashed = _rate(lambda: sanitising.content_hash(sanitising.body(sanitising.sanitise(live))))
    figures = [
        _Figure("sanitise_and_hash", hashed, 15_000, "per_s"),
        _Figure("render", _rate(lambda: rendering.render(clean)), None, "per_s"),
        _Figure("sanitise_and_render", _rate(lambda: rendering.render(sanitising.sanitise(live))), 8_000, "per_s"),
        *(_Figure(name, 1e6 / _rate(step), 20, "us") for name, step in _matching()),
    ]
    print(f"\nSteps in one process and core: a typical Deployment, and one object against {RULES:,} rules")
    print("\n".join(figure.line() for figure in figures))
    return {f"{figure.name}_{figure.unit}": figure.value for figure in figures}


def _rate(step: Callable[[], object]) -> float:
    return max(_once(step) for _ in range(3))


def _once(step: Callable[[], object]) -> float:
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        for _ in range(100):
            step()
        count += 100
    return count / elapsed


def _matching() -> list[tuple[str, Callable[[], object]]]:
    """One question of a matcher after the other, each about another object, so that no single answer is all."""
    numbers = range(RULES)
    plain = [_rule(n, f"ns-{n}") for n in numbers]
    labelled = [_rule(n, "shop", filters.Filter(_labels(("app", f"a-{n}")))) for n in numbers]
    mixed = [_mixed_rule(n) for n in numbers]
    return [
        ("match_1000_namespaces", _question(plain, [_object(n, f"ns-{n}") for n in numbers])),
        ("match_1000_labels", _question(labelled, [_object(n, "shop") for n in numbers])),
        ("match_1000_mixed", _question(mixed, [_object(n, "shop") for n in numbers])),
    ]


def _question(
    rules: Sequence[compiling.CompiledRule], objects: Sequence[tuple[Identifier, dict[str, Any]]]
) -> Callable[[], object]:
    matcher = selecting.Matcher(rules)
    if not all(matcher.match(*one) for one in objects):
        raise RuntimeError("an object that no rule selects measures nothing")
    following = cycle(objects)
    return lambda: matcher.match(*next(following))


def _mixed_rule(number: int) -> compiling.CompiledRule:
    """A quarter each: an exact name and a glob, `In` with more, a namespaceSelector, and excluded names."""
    match number % 4:
        case 0:
            return _rule(number, "shop", filters.Filter(names=(f"web-{number}", f"api-{number}-*")))
        case 1:
            return _rule(number, "shop", filters.Filter(_labels(("app", f"a-{number}", f"b-{number}"), ("tier",))))
        case 2:
            # Half of them select the namespace in question.
            members = frozenset({"shop"} if number // 4 % 2 else {"elsewhere"})
            return _rule(number, "", filters.Filter(namespaces=_labels(("team", f"t-{number}"))), members)
        case _:
            return _rule(number, "", filters.Filter(_labels(("app", f"a-{number}")), exclude_names=("tmp-*",)))


_DEPLOYMENTS = types.ResourceType(
    "apps", "v1", "deployments", "Deployment", True, frozenset({"list", "watch"}), True
)  # fmt: skip
_PLACE = compiling.Place(
    urls.normalise("https://example.com/shop.git", allow_local=False), "main", "prod", Ref("shop", "repo")
)


def _rule(
    number: int, namespace: str, wanted: filters.Filter = filters.EVERYTHING, members: frozenset[str] | None = None
) -> compiling.CompiledRule:
    scope = compiling.Scope(_DEPLOYMENTS, namespace, matching.WATCHED, wildcard=False, filter=wanted, members=members)
    return compiling.CompiledRule(
        kind="WatchRule" if namespace else "ClusterWatchRule",
        ref=Ref(namespace, f"rule-{number}"),
        uid="",
        generation=1,
        destination=Ref("shop", "prod"),
        place=_PLACE,
        scopes=(scope,),
        spec={},
    )


def _labels(*requirements: tuple[str, *tuple[str, ...]]) -> labels.LabelSelector:
    """From keys with the values that they may have; one without values has to be there."""
    return labels.LabelSelector(
        tuple(
            labels.Requirement(key, labels.IN if values else labels.EXISTS, tuple(values))
            for key, *values in requirements
        )
    )


def _object(number: int, namespace: str) -> tuple[Identifier, dict[str, Any]]:
    """One Deployment as a watch brings it, as far as matching looks at it."""
    name = f"web-{number}"
    found = {
        "app": f"a-{number}",
        "tier": "front",
        "app.kubernetes.io/name": "web",
        "app.kubernetes.io/part-of": "shop",
    }
    metadata = {"name": name, "namespace": namespace, "labels": found}
    return Identifier("apps", "v1", "deployments", namespace, name, "Deployment", "uid"), {"metadata": metadata}


def _live_deployment() -> dict[str, Any]:
    """A Deployment as an API server returns it, with managedFields and status."""
    labels = {"app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "shop", "tier": "front"}
    container = {
        "name": "web", "image": "registry.example.com/shop/web:1.27.3", "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
        "env": [{"name": f"SETTING_{number}", "value": f"value {number}"} for number in range(8)],
        "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "volumeMounts": [{"mountPath": "/etc/web", "name": "config", "readOnly": True}],
    }  # fmt: skip
    pod = {
        "containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
        "schedulerName": "default-scheduler", "securityContext": {"runAsNonRoot": True},
        "terminationGracePeriodSeconds": 30, "volumes": [{"name": "config", "configMap": {"name": "web"}}],
    }  # fmt: skip
    fields = {f"f:field{number}": {"f:inner": {}} for number in range(30)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "5a1f", "resourceVersion": "4711", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels,
            "annotations": {"deployment.kubernetes.io/revision": "3"},
            "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": fields}] * 3,
        },
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 10, "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
        "status": {"replicas": 3, "readyReplicas": 3, "conditions": [{"type": "Available", "status": "True"}]},
    }  # fmt: skip
