"""The commands of kubectl that the sandbox must answer like a real API server: the table of `test_kubectl.py`.

A command is written as a person types it, in a namespace of its own that holds what `given` names.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.contract import manifests
from tests.contract.client import Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, ROLES, SERVICES, STATEFUL_SETS, WIDGETS, Type

# What a command may find: its type, and the object as it was created.
GIVEN: dict[str, tuple[Type, Object]] = {
    "settings": (
        CONFIG_MAPS,
        CONFIG_MAPS.new("settings", metadata={"labels": {"app": "web"}}, data={"mode": "blue", "level": "1"}),
    ),
    "other": (CONFIG_MAPS, CONFIG_MAPS.new("other", metadata={"labels": {"app": "db"}})),
    "web": (DEPLOYMENTS, DEPLOYMENTS.new("web", spec=manifests.pod_template())),
    "db": (STATEFUL_SETS, STATEFUL_SETS.new("db", spec={"serviceName": "db", **manifests.pod_template()})),
    "service": (SERVICES, SERVICES.new("web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})),
    "role": (
        ROLES,
        ROLES.new("reader", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]),
    ),
    "gear": (WIDGETS, WIDGETS.new("gear", spec={"size": "small", "count": 3})),
}
for _type, _fields in [*manifests.samples(), *manifests.more_samples()]:
    GIVEN[_type.resource] = (_type, _type.new("sample", **_fields))

SETTINGS = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  labels: {app: web}
data:
  mode: green
"""
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: nginx:1.27
          ports:
            - containerPort: 80
"""
GEAR = """\
apiVersion: contract.example.com/v1
kind: Widget
metadata:
  name: gear
spec:
  size: large
  parts:
    - name: a
"""
GENERATED = """\
apiVersion: v1
kind: ConfigMap
metadata:
  generateName: run-
"""
UNICORN = "apiVersion: nowhere.example.com/v1\nkind: Unicorn\nmetadata:\n  name: one\n"

# The files that stand in the folder where the commands are typed.
FILES = {
    "settings.yaml": SETTINGS,
    "web.yaml": WEB,
    "gear.yaml": GEAR,
    "all.yaml": f"{SETTINGS}---\n{WEB}---\n{GEAR}",
    "generated.yaml": GENERATED,
    "wrong-field.yaml": f"{SETTINGS}datum: x\n",
    "wrong-value.yaml": GEAR.replace("large", "huge"),
    "missing-type.yaml": UNICORN,
}


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, what is there before, and what has to come of it."""

    words: str
    given: str = ""
    # Commands that must have worked before, separated by semicolons.
    after: str = ""
    code: int = 0
    # Which lines of the output are compared: all, or those in which this pattern is found.
    keep: str = ""
    editor: str = ""
    # The first kubectl (1.x) that has it. The sandbox describes its types in OpenAPI v3 only, which is read since 1.27.
    since: int = 20


# What both servers serve; the real one has many types more.
_SHARED = (
    r"^NAME|^(configmaps|secrets|services|namespaces|deployments|statefulsets|roles|rolebindings|clusterroles|"
    r"clusterrolebindings|customresourcedefinitions|widgets)\b"
)
_SHARED_NAMES = r"^(configmaps|services|deployments\.apps|statefulsets\.apps|widgets\.contract\.example\.com)$"
_SHARED_VERSIONS = r"^(v1|apps/v1|rbac.authorization.k8s.io/v1|apiextensions.k8s.io/v1|contract.example.com/.*)$"

# What `kubectl explain` says of a built-in type but for the words, which differ with the version of Kubernetes.
_FIELDS = r"^(GROUP|KIND|VERSION|FIELD):|^ *\w+ <"

READING = [
    Command("get configmap settings -o yaml", "settings"),
    Command("get configmap settings -o json", "settings"),
    Command("get configmaps", "settings other"),
    Command("get cm settings -o wide", "settings"),
    Command("get cm -o name", "settings other"),
    Command("get cm --show-labels", "settings other"),
    Command("get cm -L app", "settings other"),
    Command("get cm -l app=web", "settings other"),
    Command("get cm -l 'app in (web,db),app!=db'", "settings other"),
    Command("get cm -l app=nobody", "settings other"),
    Command("get cm --field-selector metadata.name=other", "settings other"),
    Command("get cm --field-selector spec.x=1", code=1),
    Command("get cm --sort-by=.metadata.name --no-headers", "settings other"),
    Command("get cm -o jsonpath='{.items[*].metadata.name}'", "settings other"),
    Command("get cm -o custom-columns=NAME:.metadata.name,MODE:.data.mode", "settings other"),
    Command("get cm settings -o go-template='{{.data.mode}}'", "settings"),
    Command("get cm --chunk-size=1", "settings other"),
    Command(
        "get cm settings --show-managed-fields -o jsonpath='{.metadata.managedFields[*].operation}'",
        "settings",
        since=27,
    ),
    Command("get cm missing", code=1),
    Command("get cm missing --ignore-not-found"),
    Command("get unicorns", code=1),
    Command("get deployments", "web"),
    Command("get deploy web -o wide", "web"),
    Command("get deploy web -o yaml", "web"),
    Command("get deploy/web service/web", "web service"),
    Command("get statefulsets -o wide", "db"),
    Command("get services -o wide", "service"),
    Command("get svc web -o yaml", "service"),
    Command("get roles", "role"),
    Command("get role reader -o yaml", "role"),
    Command("get clusterrolebindings,rolebindings -l app=nobody"),
    Command("get widgets", "gear"),
    Command("get wd gear -o wide", "gear"),
    Command("get wd gear -o yaml", "gear"),
    Command("get widgets.v1beta1.contract.example.com gear -o name", "gear"),
    Command("get contract", "gear"),
    Command("get all", "web db service settings"),
    Command("get all"),
    Command("get namespace default"),
    Command("get crd widgets.contract.example.com"),
    Command("get crd widgets.contract.example.com -o jsonpath='{.status.acceptedNames}'"),
    Command("describe configmap other", "other"),
    Command("describe widget gear", "gear"),
    Command("get --raw /apis/contract.example.com"),
    Command("get cm -o yaml", "settings other"),
    Command("get cm,deploy,widgets", "settings web gear"),
    Command("get all -o name", "web service"),
    Command("get -f all.yaml", "settings web gear"),
    Command("get -f all.yaml", code=1),
    Command("get events"),
    Command("get serviceaccounts,jobs,ingresses"),
    Command("describe deployment web", "web", since=27),
    Command("describe service web", "service", since=27),
    Command("describe namespace default"),
    Command("describe role reader", "role"),
]

WRITING = [
    Command("create configmap settings --from-literal=mode=blue"),
    Command("create configmap settings --from-literal=mode=blue", "settings", code=1),
    Command("create configmap settings --from-literal=mode=blue --dry-run=server -o yaml", since=27),
    Command("create -f all.yaml"),
    Command("create -f generated.yaml"),
    Command("create -f generated.yaml -o name"),
    Command("create -f wrong-field.yaml", code=1, since=27),
    Command("create -f wrong-field.yaml --validate=false"),
    Command("create -f wrong-field.yaml --validate=warn", since=27),
    Command("create -f wrong-value.yaml", code=1),
    Command("create -f missing-type.yaml", code=1),
    Command("create deployment web --image=nginx:1.27 --replicas=2"),
    Command("create role reader --verb=get,list --resource=configmaps"),
    Command("create rolebinding reader --clusterrole=view --user=alice"),
    Command("create service clusterip web --tcp=80:8080"),
    Command("create secret generic git --from-literal=password=x"),
    Command("create configmap settings -n missing", code=1),
    Command("create configmap settings --from-file=settings.yaml -o yaml"),
    Command("create service nodeport web --tcp=80:8080 --dry-run=server"),
    Command("create service externalname web --external-name=example.com"),
    Command("create serviceaccount robot"),
    Command("create job once --image=busybox -- date"),
    Command("create cronjob nightly --image=busybox --schedule='0 1 * * *' -- date", since=27),
    Command("create ingress web --rule='web.example.com/*=web:80'"),
    Command("create poddisruptionbudget web --selector=app=web --min-available=1", since=27),
    Command("create quota small --hard=pods=2,cpu=1"),
    Command("create clusterrole contract-reader --verb=get --resource=configmaps"),
    Command("create clusterrolebinding contract-reader --clusterrole=view --group=readers"),
    Command("create namespace contract-made"),
    Command("create secret docker-registry pull --docker-username=a --docker-password=b --docker-email=c@example.com"),
    Command("create deployment web --image=nginx --replicas=0 -o jsonpath='{.spec.replicas}'"),
    Command("create deployment Web --image=nginx", code=1),
    Command("expose deployment web --port=80 --name=front", "web"),
    Command("apply -f all.yaml"),
    Command("apply -f all.yaml", after="apply -f all.yaml"),
    Command("apply -f all.yaml", "gear web"),
    Command("apply -f web.yaml", after="apply -f web.yaml; scale deployment web --replicas=5"),
    Command("apply -f settings.yaml -o yaml"),
    Command("apply -f settings.yaml --dry-run=server", "settings", since=27),
    Command("apply -f wrong-field.yaml", code=1, since=27),
    Command("apply -f wrong-value.yaml", code=1),
    Command("apply --server-side -f all.yaml"),
    Command("apply --server-side -f all.yaml", after="apply --server-side -f all.yaml"),
    Command("apply --server-side -f settings.yaml -o yaml --show-managed-fields", since=27),
    Command("apply --server-side -f all.yaml --dry-run=server", since=27),
    Command("apply --server-side -f settings.yaml", "settings", code=1),
    Command("apply --server-side --force-conflicts -f settings.yaml", "settings"),
    Command("apply --server-side -f settings.yaml --field-manager=alice", after="apply -f settings.yaml"),
    Command("apply -f settings.yaml --prune -l app=web --prune-allowlist=core/v1/ConfigMap", "other", since=27),
    Command("replace -f settings.yaml", "settings"),
    Command("replace -f settings.yaml", code=1),
    Command("replace --force -f settings.yaml", "settings"),
    Command("diff -f settings.yaml", "settings", code=1, since=27),
    Command("diff -f settings.yaml", after="apply -f settings.yaml", since=27),
    Command("diff --server-side -f web.yaml", code=1, since=27),
    Command("edit configmap settings", "settings", editor="sed -i s/blue/green/"),
    Command("edit configmap settings -o json", "settings", editor="sed -i s/blue/green/", since=27),
    Command("edit deployment web", "web", editor="sed -i s/nginx:1.27/nginx:1.28/"),
    Command("edit widget gear", "gear", editor="sed -i s/small/large/"),
    Command("edit configmap settings", "settings", editor="true"),
    Command("edit configmap settings --output-patch", "settings", editor="sed -i s/blue/green/"),
]

CHANGING = [
    Command("""patch configmap settings -p '{"data":{"mode":"green"}}'""", "settings"),
    Command("""patch cm settings --type=merge -p '{"data":{"mode":null}}' -o yaml""", "settings"),
    Command("""patch cm settings --type=json -p '[{"op":"remove","path":"/data/mode"}]' -o yaml""", "settings"),
    Command("""patch cm settings --type=json -p '[{"op":"remove","path":"/data/no"}]'""", "settings", code=1),
    Command("""patch cm settings -p '{"data":{"mode":"blue"}}'""", "settings"),
    Command(
        """patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}}}'""",
        "web",
    ),
    Command("""patch widget gear -p '{"spec":{"size":"large"}}'""", "gear", code=1),
    Command("""patch widget gear --type=merge -p '{"spec":{"size":"large"}}'""", "gear"),
    Command("""patch widget gear --type=merge -p '{"spec":{"size":"huge"}}'""", "gear", code=1),
    Command(
        """patch widget gear --type=merge --subresource=status -p '{"status":{"phase":"x"}}' -o yaml""",
        "gear",
        since=27,
    ),
    Command("patch cm missing -p '{}'", code=1),
    Command("label configmap settings team=a", "settings"),
    Command("label configmap settings app=db", "settings", code=1),
    Command("label configmap settings app=db --overwrite", "settings"),
    Command("label configmap settings app-", "settings"),
    Command("label configmap settings 'app=not valid' --overwrite", "settings", code=1),
    Command("label cm --all team=a", "settings other"),
    Command("label widget gear team=a", "gear"),
    Command("annotate configmap settings note='two words'", "settings"),
    Command("annotate configmap settings note-", "settings"),
    Command("annotate widget gear note=x -o yaml", "gear"),
    Command("scale deployment web --replicas=3", "web"),
    Command("scale deployment web --replicas=3 --current-replicas=9", "web", code=1),
    Command("scale statefulset db --replicas=0", "db"),
    Command("scale widget gear --replicas=3", "gear"),
    Command("scale deployment missing --replicas=3", code=1),
    Command("set image deployment/web web=nginx:1.28", "web"),
    Command("set env deployment/web MODE=blue", "web"),
    Command("rollout restart deployment/web", "web"),
    Command("rollout pause deployment/web", "web"),
    Command("set resources deployment/web --limits=cpu=1,memory=64Mi", "web"),
    Command("set serviceaccount deployment/web robot", "web"),
    Command("label configmap settings --list", "settings"),
    Command("label -f all.yaml team=a", "settings web gear"),
    Command("annotate configmap settings note=b --overwrite", "settings", after="annotate configmap settings note=a"),
    Command("delete cm settings --now", "settings"),
    Command("delete cm settings --grace-period=0 --force", "settings"),
    Command("delete cm settings --cascade=foreground --wait=false", "settings"),
    Command("delete namespace contract-gone --wait=false", after="create namespace contract-gone"),
    Command("delete deployment --all", "web"),
    Command("delete widgets --all", "gear"),
    Command("delete configmap settings", "settings"),
    Command("delete configmap settings --wait=false", "settings"),
    Command("delete configmap settings --cascade=orphan --wait=false", "settings"),
    Command("delete configmap settings --dry-run=server", "settings", since=27),
    Command("delete cm settings other", "settings other"),
    Command("delete cm -l app=web", "settings other"),
    Command("delete cm --all", "settings other"),
    Command("delete cm missing", code=1),
    Command("delete cm missing --ignore-not-found"),
    Command("delete -f all.yaml", "settings web gear"),
    Command("delete deployment,service web", "web service"),
    Command("delete widget gear", "gear"),
    Command("delete namespace kube-system", code=1),
]

ASKING = [
    Command("api-resources", keep=_SHARED),
    Command("api-resources -o wide", keep=_SHARED),
    Command("api-resources -o name", keep=_SHARED_NAMES),
    Command("api-resources --api-group=contract.example.com"),
    Command("api-resources --namespaced=false", keep=_SHARED),
    Command("api-versions", keep=_SHARED_VERSIONS),
    Command("explain configmap", keep=_FIELDS, since=27),
    Command("explain deployment.spec.strategy", keep=_FIELDS, since=27),
    Command("explain deployment.spec.replicas", keep=_FIELDS, since=27),
    Command("explain deployment.spec.template.spec.containers.image", keep=_FIELDS, since=27),
    Command("explain service.spec.type", keep=_FIELDS, since=27),
    Command("explain statefulset.spec.updateStrategy --recursive", keep=_FIELDS, since=27),
    Command("explain namespaces.status", keep=_FIELDS, since=27),
    Command("explain role.rules", keep=_FIELDS, since=27),
    Command("explain crd.spec.versions", keep=_FIELDS, since=27),
    Command("explain widget", since=27),
    Command("explain widget.spec", since=27),
    Command("explain widget --recursive", since=27),
    Command("explain widget.spec.parts.weight", since=27),
    Command("explain widget --api-version=contract.example.com/v1beta1", since=27),
    Command("explain deployment.spec.nothing", code=1, since=27),
    Command("explain unicorn", code=1),
    Command("auth can-i create configmaps"),
    Command("auth can-i delete widgets.contract.example.com --subresource=status"),
    Command("auth can-i '*' '*' --all-namespaces"),
    Command("auth can-i --list", keep=r"^\*\.\*"),
    Command("auth whoami", keep="Username|^Groups", since=27),
    Command("version", keep="^Client"),
    Command("cluster-info", keep="is running at"),
    Command("wait --for=jsonpath='{.data.mode}'=blue cm/settings --timeout=5s", "settings", since=27),
    Command("wait --for=jsonpath='{.data.mode}'=red cm/settings --timeout=1s", "settings", code=1),
    Command("wait --for=condition=established crd/widgets.contract.example.com --timeout=5s"),
    Command("wait --for=condition=Ready widget/gear --timeout=1s", "gear", code=1),
    Command("wait --for=delete cm/settings --timeout=1s", "settings", code=1),
    Command("wait --for=delete cm/settings --timeout=5s", since=27),
    Command("wait --for=create cm/settings --timeout=5s", "settings", since=31),
    Command("rollout status deployment/web --timeout=1s", "web", code=1),
    Command("api-resources --verbs=list,create --namespaced=true -o name", keep=_SHARED_NAMES),
    Command("api-resources --categories=contract", since=27),
]

# What the sandbox leaves out because its controllers are not there: who would take the finalizer of a claim away, who
# would make the pods that the labels of a job are for.
_CONTROLLED = {"persistentvolumeclaims", "jobs"}
# Whole objects of every built-in type, so that each default that a real server fills in is compared.
EVERY_TYPE = [
    Command(f"get {type_.resource} sample -o {form}", type_.resource)
    for type_, _ in [*manifests.samples(), *manifests.more_samples()]
    if type_.namespaced and type_.resource not in _CONTROLLED
    for form in ("yaml", "wide")
]

COMMANDS = [*READING, *EVERY_TYPE, *WRITING, *CHANGING, *ASKING]
