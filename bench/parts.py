"""Single steps in one process: sanitise and hash, sanitise and YAML, matching, the ledger, trees."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from app.rules import rendering, sanitising

SECONDS = 1.0


def run() -> dict[str, Any]:
    """Operations per second, best of three."""
    live = _live_deployment()
    clean = orjson.loads(sanitising.body(sanitising.sanitise(live)))
    results = {
        "sanitise_and_hash_per_s": _rate(lambda: sanitising.content_hash(sanitising.body(sanitising.sanitise(live)))),
        "render_per_s": _rate(lambda: rendering.render(clean)),
        "sanitise_and_render_per_s": _rate(lambda: rendering.render(sanitising.sanitise(live))),
    }
    print("\nSteps in one process, typical Deployment, per second and core")
    for name, value in results.items():
        print(f"  {name:<28} {value:>9.0f}")
    return results


def _rate(step: Callable[[], object]) -> float:
    return max(_once(step) for _ in range(3))


def _once(step: Callable[[], object]) -> float:
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        for _ in range(100):
            step()
        count += 100
    return count / elapsed


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
