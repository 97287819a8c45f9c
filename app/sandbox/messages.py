"""The protobuf messages of the built-in types that `kubectl create` makes, for `protobuf.py`.

kubectl sends these in protobuf since 1.32. Numbers and names are those of the generated.proto files of Kubernetes; the
contract tests compare them with a real API server. What is not listed is refused when it comes with a value.
"""

from __future__ import annotations

from collections.abc import Mapping

# Per message, by field number: the JSON name and the type. A capital letter begins the name of a message; `[]` is a
# list, `{}` a map from texts. A mark at the end: `?` a value that may be zero on purpose, `^` a message whose fields
# stand in its parent's place.
_TEXT: Mapping[str, str] = {
    # meta/v1
    "ObjectMeta": (
        "1 name text, 2 generateName text, 3 namespace text, 4 selfLink text, 5 uid text, 6 resourceVersion text, "
        "7 generation int, 8 creationTimestamp Time, 9 deletionTimestamp Time, 10 deletionGracePeriodSeconds int?, "
        "11 labels {}text, 12 annotations {}text, 13 ownerReferences []OwnerReference, 14 finalizers []text, "
        "17 managedFields []ManagedFieldsEntry"
    ),
    "OwnerReference": "1 kind text, 3 name text, 4 uid text, 5 apiVersion text, 6 controller bool?, "
    "7 blockOwnerDeletion bool?",
    "ManagedFieldsEntry": "1 manager text, 2 operation text, 3 apiVersion text, 4 time Time, 6 fieldsType text, "
    "7 fieldsV1 FieldsV1, 8 subresource text",
    "LabelSelector": "1 matchLabels {}text, 2 matchExpressions []LabelSelectorRequirement",
    "LabelSelectorRequirement": "1 key text, 2 operator text, 3 values []text",
    # core/v1
    "ConfigMap": "1 metadata ObjectMeta, 2 data {}text, 3 binaryData {}bytes, 4 immutable bool?",
    "Secret": "1 metadata ObjectMeta, 2 data {}bytes, 3 type text, 4 stringData {}text, 5 immutable bool?",
    "Namespace": "1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus",
    "NamespaceSpec": "1 finalizers []text",
    "NamespaceStatus": "1 phase text",
    "ServiceAccount": "1 metadata ObjectMeta, 2 secrets []ObjectReference, 3 imagePullSecrets []LocalObjectReference, "
    "4 automountServiceAccountToken bool?",
    "ObjectReference": "1 kind text, 2 namespace text, 3 name text, 4 uid text, 5 apiVersion text, "
    "6 resourceVersion text, 7 fieldPath text",
    "LocalObjectReference": "1 name text",
    "ResourceQuota": "1 metadata ObjectMeta, 2 spec ResourceQuotaSpec, 3 status ResourceQuotaStatus",
    "ResourceQuotaSpec": "1 hard {}Quantity, 2 scopes []text",
    "ResourceQuotaStatus": "1 hard {}Quantity, 2 used {}Quantity",
    "Service": "1 metadata ObjectMeta, 2 spec ServiceSpec, 3 status ServiceStatus",
    "ServiceSpec": (
        "1 ports []ServicePort, 2 selector {}text, 3 clusterIP text, 4 type text, 5 externalIPs []text, "
        "7 sessionAffinity text, 8 loadBalancerIP text, 9 loadBalancerSourceRanges []text, 10 externalName text, "
        "11 externalTrafficPolicy text, 12 healthCheckNodePort int, 13 publishNotReadyAddresses bool, "
        "17 ipFamilyPolicy text, 18 clusterIPs []text, 19 ipFamilies []text, 20 allocateLoadBalancerNodePorts bool?, "
        "21 loadBalancerClass text, 22 internalTrafficPolicy text, 23 trafficDistribution text"
    ),
    "ServicePort": "1 name text, 2 protocol text, 3 port int, 4 targetPort IntOrString, 5 nodePort int, "
    "6 appProtocol text",
    "ServiceStatus": "1 loadBalancer LoadBalancerStatus",
    "LoadBalancerStatus": "",
    "PodTemplateSpec": "1 metadata ObjectMeta, 2 spec PodSpec",
    "PodSpec": (
        "2 containers []Container, 3 restartPolicy text, 4 terminationGracePeriodSeconds int?, "
        "5 activeDeadlineSeconds int?, 6 dnsPolicy text, 7 nodeSelector {}text, 8 serviceAccountName text, "
        "9 serviceAccount text, 10 nodeName text, 11 hostNetwork bool, 12 hostPID bool, 13 hostIPC bool, "
        "14 securityContext PodSecurityContext, 15 imagePullSecrets []LocalObjectReference, 16 hostname text, "
        "17 subdomain text, 19 schedulerName text, 20 initContainers []Container, "
        "21 automountServiceAccountToken bool?, 24 priorityClassName text"
    ),
    "PodSecurityContext": "",
    "Container": (
        "1 name text, 2 image text, 3 command []text, 4 args []text, 5 workingDir text, 6 ports []ContainerPort, "
        "7 env []EnvVar, 8 resources ResourceRequirements, 13 terminationMessagePath text, 14 imagePullPolicy text, "
        "16 stdin bool, 17 stdinOnce bool, 18 tty bool, 20 terminationMessagePolicy text, 24 restartPolicy text"
    ),
    "ContainerPort": "1 name text, 2 hostPort int, 3 containerPort int, 4 protocol text, 5 hostIP text",
    "EnvVar": "1 name text, 2 value text",
    "ResourceRequirements": "1 limits {}Quantity, 2 requests {}Quantity",
    # apps/v1
    "Deployment": "1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status DeploymentStatus",
    "DeploymentSpec": (
        "1 replicas int?, 2 selector LabelSelector, 3 template PodTemplateSpec, 4 strategy DeploymentStrategy, "
        "5 minReadySeconds int, 6 revisionHistoryLimit int?, 7 paused bool, 9 progressDeadlineSeconds int?"
    ),
    "DeploymentStrategy": "1 type text, 2 rollingUpdate RollingUpdateDeployment",
    "RollingUpdateDeployment": "1 maxUnavailable IntOrString, 2 maxSurge IntOrString",
    "DeploymentStatus": "1 observedGeneration int, 2 replicas int, 3 updatedReplicas int, 4 availableReplicas int, "
    "5 unavailableReplicas int, 7 readyReplicas int",
    # batch/v1
    "Job": "1 metadata ObjectMeta, 2 spec JobSpec, 3 status JobStatus",
    "JobSpec": (
        "1 parallelism int?, 2 completions int?, 3 activeDeadlineSeconds int?, 4 selector LabelSelector, "
        "5 manualSelector bool?, 6 template PodTemplateSpec, 7 backoffLimit int?, 8 ttlSecondsAfterFinished int?, "
        "9 completionMode text, 10 suspend bool?, 14 podReplacementPolicy text"
    ),
    "JobStatus": "4 active int, 5 succeeded int, 6 failed int, 7 completedIndexes text",
    "CronJob": "1 metadata ObjectMeta, 2 spec CronJobSpec, 3 status CronJobStatus",
    "CronJobSpec": (
        "1 schedule text, 2 startingDeadlineSeconds int?, 3 concurrencyPolicy text, 4 suspend bool?, "
        "5 jobTemplate JobTemplateSpec, 6 successfulJobsHistoryLimit int?, 7 failedJobsHistoryLimit int?, "
        "8 timeZone text"
    ),
    "JobTemplateSpec": "1 metadata ObjectMeta, 2 spec JobSpec",
    "CronJobStatus": "",
    # networking.k8s.io/v1
    "Ingress": "1 metadata ObjectMeta, 2 spec IngressSpec, 3 status IngressStatus",
    "IngressSpec": "1 defaultBackend IngressBackend, 2 tls []IngressTLS, 3 rules []IngressRule, "
    "4 ingressClassName text",
    "IngressBackend": "4 service IngressServiceBackend",
    "IngressServiceBackend": "1 name text, 2 port ServiceBackendPort",
    "ServiceBackendPort": "1 name text, 2 number int",
    "IngressTLS": "1 hosts []text, 2 secretName text",
    "IngressRule": "1 host text, 2 ingressRuleValue IngressRuleValue^",
    "IngressRuleValue": "1 http HTTPIngressRuleValue",
    "HTTPIngressRuleValue": "1 paths []HTTPIngressPath",
    "HTTPIngressPath": "1 path text, 2 backend IngressBackend, 3 pathType text",
    "IngressStatus": "1 loadBalancer LoadBalancerStatus",
    # policy/v1
    "PodDisruptionBudget": "1 metadata ObjectMeta, 2 spec PodDisruptionBudgetSpec, 3 status PodDisruptionBudgetStatus",
    "PodDisruptionBudgetSpec": "1 minAvailable IntOrString, 2 selector LabelSelector, 3 maxUnavailable IntOrString",
    "PodDisruptionBudgetStatus": "1 observedGeneration int, 3 disruptionsAllowed int, 4 currentHealthy int, "
    "5 desiredHealthy int, 6 expectedPods int",
    # rbac.authorization.k8s.io/v1
    "Role": "1 metadata ObjectMeta, 2 rules []PolicyRule",
    "ClusterRole": "1 metadata ObjectMeta, 2 rules []PolicyRule, 3 aggregationRule AggregationRule",
    "AggregationRule": "1 clusterRoleSelectors []LabelSelector",
    "PolicyRule": "1 verbs []text, 2 apiGroups []text, 3 resources []text, 4 resourceNames []text, "
    "5 nonResourceURLs []text",
    "RoleBinding": "1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef",
    "ClusterRoleBinding": "1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef",
    "Subject": "1 kind text, 2 apiGroup text, 3 name text, 4 namespace text",
    "RoleRef": "1 apiGroup text, 2 kind text, 3 name text",
    # runtime: the envelope of every object
    "Unknown": "1 typeMeta TypeMeta, 2 raw bytes, 3 contentEncoding text, 4 contentType text",
    "TypeMeta": "1 apiVersion text, 2 kind text",
}
_MARKS = "?^"


class Field:
    """One field of a message."""

    __slots__ = ("inline", "kept", "listed", "mapped", "name", "type")

    def __init__(self, name: str, type_: str) -> None:
        self.name = name
        self.kept = type_.endswith("?")
        self.inline = type_.endswith("^")
        self.listed = type_.startswith("[]")
        self.mapped = type_.startswith("{}")
        self.type = type_.rstrip(_MARKS).removeprefix("[]").removeprefix("{}")


def _fields(text: str) -> dict[int, Field]:
    words = [entry.split() for entry in text.split(", ") if entry]
    return {int(number): Field(name, type_) for number, name, type_ in words}


MESSAGES: Mapping[str, Mapping[int, Field]] = {name: _fields(text) for name, text in _TEXT.items()}
