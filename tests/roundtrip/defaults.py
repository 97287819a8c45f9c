"""What the API server fills in where a person writes nothing, as the API reference documents it.

A file keeps defaults: to be left out, each would have to be known for every version of every type. What is in a file
and neither in the manifest nor here is a server's own mark, and fails the round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A value that follows from another field of the object.
DERIVED = object()

# The end of a field's path -> the values that are filled in there.
DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    # Containers, probes, volumes and pods, wherever a template holds them.
    "ontainers[].imagePullPolicy": ("Always", "IfNotPresent"),
    "ontainers[].resources": ({},),
    "ontainers[].terminationMessagePath": ("/dev/termination-log",),
    "ontainers[].terminationMessagePolicy": ("File",),
    "ontainers[].ports[].hostPort": (DERIVED,),
    "ports[].protocol": ("TCP",),
    "Probe.failureThreshold": (3,),
    "Probe.periodSeconds": (10,),
    "Probe.successThreshold": (1,),
    "Probe.timeoutSeconds": (1,),
    "httpGet.scheme": ("HTTP",),
    "fieldRef.apiVersion": ("v1",),
    "volumes[].configMap.defaultMode": (420,),
    "volumes[].hostPath.type": ("",),
    "volumes[].iscsi.iscsiInterface": ("default",),
    "volumeMode": ("Filesystem",),
    "volumeClaimTemplates[].apiVersion": ("v1",),
    "volumeClaimTemplates[].kind": ("PersistentVolumeClaim",),
    "spec.dnsPolicy": ("ClusterFirst",),
    # From the RuntimeClass that the pod names.
    "spec.nodeSelector.runtime": ("kata",),
    "spec.tolerations[].effect": ("NoSchedule",),
    "spec.tolerations[].key": ("runtime",),
    "spec.tolerations[].operator": ("Equal",),
    "spec.tolerations[].value": ("kata",),
    # Of a pod with resources of its own, from its containers.
    "spec.resources.limits.hugepages-2Mi": (DERIVED,),
    "spec.resources.requests.hugepages-2Mi": (DERIVED,),
    "spec.enableServiceLinks": (True,),
    "spec.restartPolicy": ("Always",),
    "spec.schedulerName": ("default-scheduler",),
    "spec.securityContext": ({},),
    "spec.terminationGracePeriodSeconds": (30,),
    # Workloads.
    "spec.progressDeadlineSeconds": (600,),
    "spec.replicas": (1,),
    "spec.revisionHistoryLimit": (10,),
    "spec.backoffLimit": (6, 2147483647),
    "spec.completionMode": ("NonIndexed",),
    "spec.completions": (1,),
    "spec.manualSelector": (False,),
    "spec.parallelism": (1,),
    "spec.podReplacementPolicy": ("TerminatingOrFailed",),
    "spec.suspend": (False,),
    "metadata.labels.hand": (DERIVED,),
    "spec.minReplicas": (1,),
    "spec.metrics[].type": ("Resource",),
    "spec.metrics[].resource.name": ("cpu",),
    "spec.metrics[].resource.target.type": ("Utilization",),
    "spec.metrics[].resource.target.averageUtilization": (80,),
    # Events.
    "deprecatedFirstTimestamp": (None,),
    "deprecatedLastTimestamp": (None,),
    "deprecatedSource": ({},),
    "eventTime": (None,),
    "reportingComponent": ("",),
    "reportingInstance": ("",),
    # Network.
    "spec.allocateLoadBalancerNodePorts": (True,),
    "spec.externalTrafficPolicy": ("Cluster",),
    "spec.internalTrafficPolicy": ("Cluster",),
    "spec.ports[].targetPort": (DERIVED,),
    "spec.sessionAffinity": ("None",),
    "spec.type": ("ClusterIP",),
    "spec.limited.lendablePercent": (0,),
    "spec.limited.nominalConcurrencyShares": (30,),
    # Storage and devices.
    "spec.dataSource.apiGroup": (DERIVED,),
    "spec.dataSource.kind": (DERIVED,),
    "spec.dataSource.name": (DERIVED,),
    "spec.persistentVolumeReclaimPolicy": ("Retain",),
    "reclaimPolicy": ("Delete",),
    "volumeBindingMode": ("Immediate",),
    "allocationMode": ("ExactCount",),
    "exactly.count": (1,),
    # What extends the API.
    "spec.width": (1,),
    "ResourceRules[].scope": ("*",),
    "resourceRules[].scope": ("*",),
    "matchPolicy": ("Equivalent",),
    "namespaceSelector": ({},),
    "objectSelector": ({},),
    "service.port": (443,),
    "webhooks[].failurePolicy": ("Fail",),
    "webhooks[].timeoutSeconds": (10,),
}


def row_of(path: str, value: Any) -> str | None:
    """The row that explains a field that nobody wrote; None where there is none."""
    for end, values in DEFAULTS.items():
        if path.endswith(end) and (values == (DERIVED,) or any(value == one for one in values)):
            return end
    return None
