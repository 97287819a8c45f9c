"""`reverser render`: manifests without anything, live objects of a cluster, and what a rule makes of them."""

from __future__ import annotations

import contextlib
import socket
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from app import settings
from app.cli import main, naming, offline, rendering
from app.kube import client, crds, discovery, manifests
from app.rules import ignoring
from tests.servers.api import EACH, ApiServer, make

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: app-config}
data: {colour: green}
"""
RENDERED = """\
# v1/configmaps/default/app-config.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: app-config
  namespace: default
data:
  colour: green
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2}
"""
NO_OBJECT = "an object of Kubernetes is expected, with apiVersion, kind and metadata"
REFUSED = "a Secret is mirrored only encrypted, and no encryption is configured"
DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: oxen.farm.example}
spec:
  group: farm.example
  names: {plural: oxen, kind: Ox}
  scope: Cluster
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
OX = "apiVersion: farm.example/v1\nkind: Ox\nmetadata: {name: berta}\n"


def reverser(*words: str, text: str = "", **env: str) -> Result:
    """Run a command in this process, with nothing in its environment that names a cluster."""
    return CliRunner().invoke(main.main, list(words), input=text, env={"KUBECONFIG": "", **env})


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and no network: a socket is an error."""

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "socket", refuse)


@pytest.mark.usefixtures("nowhere")
def test_a_manifest_needs_nothing(tmp_path: Path) -> None:
    """Path and YAML of a file, without cluster, database, data folder or network; nothing is left behind."""
    (tmp_path / "a.yaml").write_text(CONFIG_MAP)
    done = reverser("render", "-f", "a.yaml")
    assert (done.exit_code, done.stdout, done.stderr) == (0, RENDERED, "")
    assert reverser("render", "-f", "-", text=CONFIG_MAP).stdout == RENDERED
    assert [one.name for one in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.usefixtures("nowhere")
def test_namespaces_are_those_of_kubectl() -> None:
    """-n is for manifests that name no namespace; one that names another is refused; a cluster kind has none."""
    assert "\n  namespace: shop\n" in reverser("render", "-n", "shop", "-f", "-", text=CONFIG_MAP).stdout
    other = reverser("render", "-n", "shop", "-f", "-", text=CONFIG_MAP.replace("app-config", "a, namespace: b"))
    assert (other.exit_code, other.stdout) == (1, "")
    assert "it names namespace b, and -n says shop" in other.stderr
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a, namespace: b}\n"
    assert reverser("render", "-n", "shop", "-f", "-", text=role).stdout.startswith(
        "# rbac.authorization.k8s.io/v1/clusterroles/a.yaml\n"
    )


@pytest.mark.usefixtures("nowhere")
def test_the_output_is_yaml_again() -> None:
    """Lists are taken apart, and what is printed reads back as the documents, whatever their names hold."""
    names = ["app-config", "a:b", "../../etc", "x\n# y", "ä\x1b[31m"]
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in names]
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items})
    done = reverser("render", "--why", "-f", "-", text=text)
    assert done.exit_code == 0, done.stderr
    read = list(yaml.safe_load_all(done.stdout))
    assert [one["metadata"] for one in read] == [{"name": name, "namespace": "default"} for name in names]
    assert [line for line in done.stdout.splitlines() if line.startswith("# v1")] == [
        "# v1/configmaps/default/app-config.yaml",
        "# v1/configmaps/default/a%3Ab.yaml",
        "# v1/configmaps/default/%2E.%2F..%2Fetc.yaml",
        "# v1/configmaps/default/x%0A%23%20y.yaml",
        "# v1/configmaps/default/%C3%A4%1B%5B31m.yaml",
    ]


@pytest.mark.usefixtures("nowhere")
def test_rendering_what_was_rendered_changes_nothing() -> None:
    """What is printed is the file that a drain writes: rendering it again gives the same."""
    once = reverser("render", "-f", "-", text=CONFIG_MAP).stdout
    assert reverser("render", "-f", "-", text=once).stdout == once


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("encoded", [False, True])
def test_a_secret_is_refused_and_shown_nowhere(*, encoded: bool) -> None:
    """A Secret is said on standard error, without its values; the others are printed, and the exit code is 1."""
    secret = SECRET.replace("stringData: {password: hunter2}", "data: {password: aHVudGVyMg==}") if encoded else SECRET
    done = reverser("render", "--why", "-f", "-", text=f"{secret}---\n{CONFIG_MAP}")
    assert (done.exit_code, done.stdout) == (1, RENDERED)
    assert done.stderr.splitlines() == [
        f"Error: standard input, line 1: secrets/login in namespace default: {REFUSED}",
        "Error: 1 of 2 objects cannot be rendered",
    ]


@pytest.mark.usefixtures("nowhere")
def test_a_bad_document_keeps_no_other_from_being_printed(tmp_path: Path) -> None:
    """Each that cannot be read or rendered is named on standard error, the rest is printed, and the exit code is 1."""
    (tmp_path / "folder").mkdir()
    nameless = "apiVersion: v1\nkind: ConfigMap\n"
    for name, text in {
        "broken.yaml": f"{nameless}---\n{CONFIG_MAP}---\na: b\n  c: [\n---\n{CONFIG_MAP}",
        "list.yaml": yaml.safe_dump(
            {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(one) for one in (SECRET, nameless, OX, "7")]}
        ),
        "latin.yaml": "",
        "good.yaml": CONFIG_MAP,
    }.items():
        (tmp_path / "folder" / name).write_text(text)
    (tmp_path / "folder" / "latin.yaml").write_bytes(b"\xe4")
    done = reverser("render", "-f", "no.yaml", "-f", "folder", "-f", "-", text=f"{SECRET}---\n{DEFINITION}")
    assert done.exit_code == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("# ")] == [
        "# v1/configmaps/default/app-config.yaml",
        "# v1/configmaps/default/app-config.yaml",
        "# farm.example/v1/oxen/berta.yaml",
        "# apiextensions.k8s.io/v1/customresourcedefinitions/oxen.farm.example.yaml",
    ]
    assert done.stderr.splitlines() == [
        "Error: no.yaml: No such file or directory",
        "Error: folder/broken.yaml, line 1: the ConfigMap has no metadata.name",
        "Error: folder/broken.yaml, line 10: this is no YAML: mapping values are not allowed in this context",
        "Error: folder/latin.yaml is no text in UTF-8",
        "Error: folder/list.yaml, line 1, item 2: the ConfigMap has no metadata.name",
        f"Error: folder/list.yaml, line 1, item 4: {NO_OBJECT}",
        f"Error: folder/list.yaml, line 1, item 1: secrets/login in namespace default: {REFUSED}",
        f"Error: standard input, line 1: secrets/login in namespace default: {REFUSED}",
        "Error: 8 of 12 objects cannot be rendered",
    ]


@pytest.mark.usefixtures("nowhere")
def test_why_names_each_removed_field() -> None:
    """--why gives the JSON pointer of each field that goes, and the reason, as comments, and never a value."""
    text = CONFIG_MAP.replace(
        "app-config", "app-config, uid: 1-2, annotations: {kubectl.kubernetes.io/last-applied-configuration: x}"
    )
    done = reverser("render", "--why", "-f", "-", text=text)
    removed = [line for line in done.stdout.splitlines() if line.startswith("# removed ")]
    assert any(line.startswith("# removed /metadata/uid: ") for line in removed)
    assert any(line.startswith("# removed /metadata/annotations/kubectl.kubernetes.io~1last-") for line in removed)
    assert all(line.partition(": ")[2] for line in removed)
    assert "1-2" not in done.stdout
    plain = reverser("render", "-f", "-", text=text).stdout
    assert [line for line in done.stdout.splitlines() if line not in removed] == plain.splitlines()


@pytest.mark.usefixtures("nowhere")
def test_a_definition_beside_it_is_believed_and_others_are_guessed() -> None:
    """A CustomResourceDefinition of the same input says plural and scope; else they are guessed, and that is said."""
    done = reverser("render", "-f", "-", text=f"{OX}---\n{DEFINITION}")
    assert done.stderr == ""
    assert "# farm.example/v1/oxen/berta.yaml\n" in done.stdout
    alone = reverser("render", "-f", "-", text=OX)
    assert alone.stdout.startswith("# farm.example/v1/oxes/default/berta.yaml\n")
    assert alone.stderr.startswith("Ox of farm.example/v1 is no built-in kind: guessed as namespaced, plural oxes.")


@pytest.mark.parametrize(
    ("kind", "plural", "namespaced"),
    [
        ("Gateway", "gateways", True),
        ("Policy", "policies", True),
        ("Endpoints", "endpoints", True),
        ("Ingress", "ingresses", True),
        ("Mesh", "meshes", True),
        ("Cluster", "clusters", True),
        ("ClusterIssuer", "clusterissuers", False),
        ("GatewayClass", "gatewayclasses", False),
    ],
)
def test_guesses(kind: str, plural: str, *, namespaced: bool) -> None:
    """A kind that nobody knows gets the plural that it most likely has, and a scope by how such kinds are named."""
    guessed = offline.Kinds().type_of(manifest(kind))
    assert (guessed.resource, guessed.namespaced) == (plural, namespaced)
    assert offline.Kinds().type_of(manifest(kind, namespace="shop")).namespaced


def manifest(kind: str, **metadata: str) -> manifests.Manifest:
    """A manifest of some group that nobody serves."""
    content = {"apiVersion": "a.example/v1", "kind": kind, "metadata": {"name": "a", **metadata}}
    return manifests.Manifest("here", content)


BAD = {
    "no.yaml": "No such file or directory",
    "broken.yaml": "broken.yaml, line 2: this is no YAML",
    "empty.yaml": "there is no object in empty.yaml",
    "nameless.yaml": "nameless.yaml, line 1: the ConfigMap has no metadata.name",
    "list.yaml": "list.yaml, line 1: the items of the List are no list",
    "slashes.yaml": "'a/b/c' is no apiVersion: write VERSION or GROUP/VERSION",
    "core.yaml": "'x' is no version of the core group",
}


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, name: str) -> None:
    """What cannot be read is named, with its line, in one sentence; exit code 1."""
    (tmp_path / "broken.yaml").write_text("a: b\n  c: [\n")
    (tmp_path / "empty.yaml").write_text("---\n")
    (tmp_path / "nameless.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n")
    (tmp_path / "list.yaml").write_text("apiVersion: v1\nkind: List\nitems: 5\n")
    (tmp_path / "slashes.yaml").write_text("apiVersion: a/b/c\nkind: A\nmetadata: {name: a}\n")
    (tmp_path / "core.yaml").write_text("apiVersion: x\nkind: A\nmetadata: {name: a}\n")
    done = reverser("render", "-f", name)
    assert (done.exit_code, done.stdout) == (1, "")
    assert BAD[name] in done.stderr
    assert "Traceback" not in done.stderr


def test_without_input_it_is_wrong_usage() -> None:
    """Neither a file nor an object: exit code 2, and what to give."""
    done = reverser("render")
    assert done.exit_code == 2
    assert "Give -f FILE, or objects of the cluster as TYPE/NAME." in done.stderr


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("option", ["--kubeconfig", "--data-dir"])
def test_a_cluster_that_nothing_is_asked_of_is_wrong_usage(option: str) -> None:
    """A file alone is rendered without a cluster: one that is typed is not passed over without a word."""
    done = reverser("render", "-f", "-", option, "there", text=CONFIG_MAP)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"-f alone asks no cluster: leave {option} out, or add --rule or TYPE/NAME." in done.stderr
    # What a shell has for other commands was not typed for this one.
    assert reverser("render", "-f", "-", text=CONFIG_MAP, KUBECONFIG="there").stdout == RENDERED


_KEYS = st.text(string.ascii_letters, min_size=1, max_size=5)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_KEYS.map(lambda key: f"x{key}"), _JSON, max_size=4))
@example({"xA": "0\n"})
def test_any_object_reads_back(fields: dict[str, Any]) -> None:
    """Whatever an unknown kind holds, the printed document is that object and nothing else."""
    one = manifest("Thing")
    subject = rendering.from_manifest(
        manifests.Manifest("here", {**one.content, **fields}), offline.Kinds().type_of(one), namespace=""
    )
    lines = rendering.document(subject, folder="clusters/prod", ignored=ignoring.NOTHING, why=True)
    assert yaml.safe_load("".join(f"{line}\n" for line in lines)) == dict(subject.content)


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server with our kinds, a ConfigMap, a Secret and a CRD."""
    with make(request.param, tmp_path_factory.mktemp("server")) as one:
        with contextlib.closing(connect(one)) as cluster:
            crds.apply(cluster, allow_local=True)
            sender = manifests.Sender(cluster)
            for text in (CONFIG_MAP, SECRET, DEFINITION, OX):
                for found in manifests.read(text, source="here"):
                    sender.apply(found)
        yield one


def connect(server: ApiServer) -> client.Cluster:
    """The server as its administrator sees it."""
    return client.connect(settings.Settings(kubeconfig=str(server.kubeconfig())))


def live(server: ApiServer, *words: str, text: str = "") -> Result:
    """`render` with this cluster."""
    return reverser("render", *words, "--kubeconfig", str(server.kubeconfig()), text=text)


@pytest.mark.parametrize("word", ["cm", "configmap", "ConfigMap", "configmaps", "configmaps.v1"])
def test_a_live_object_by_any_of_its_names(server: ApiServer, word: str) -> None:
    """A live object is what its manifest was, whatever its type is called."""
    assert live(server, f"{word}/app-config").stdout == RENDERED


def test_live_objects_and_files_together(server: ApiServer) -> None:
    """Several objects are separated; with a cluster at hand its kinds are known and nothing is guessed."""
    done = live(server, "ox/berta", "deploy.v1.apps/nobody", "-f", "-", text=OX)
    assert done.stdout.count("# farm.example/v1/oxen/berta.yaml\n") == 2
    assert len(list(yaml.safe_load_all(done.stdout))) == 2
    assert done.stderr.splitlines() == [
        "Error: deploy.v1.apps/nobody: deployments.apps/nobody in namespace default does not exist in the cluster",
        "Error: 1 of 3 objects cannot be rendered",
    ]


def test_a_live_secret_is_not_even_read(server: ApiServer) -> None:
    """A Secret is refused by its type."""
    done = live(server, "secret/login")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: secret/login: a Secret is mirrored only encrypted")
    assert "hunter2" not in done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web", "'web' is no object: write TYPE/NAME"),
        ("a/b/c", "'a/b/c' is no object: write TYPE/NAME"),
        ("configmap.apps/a", "the cluster has no type 'configmap.apps': do you mean"),
        ("deploments/a", "the cluster has no type 'deploments': do you mean deployments?"),
        ("zzz/a", "the cluster has no type 'zzz': check the spelling"),
    ],
)
def test_what_is_no_object_is_said(server: ApiServer, text: str, said: str) -> None:
    """A word that is no object, or a type that is not served, is said with what to write."""
    done = live(server, text)
    assert done.exit_code == 1
    assert said in done.stderr


def test_what_is_known_without_a_cluster_is_what_it_serves(server: ApiServer) -> None:
    """The table of built-in kinds says of every type that the server serves what the server says."""
    with contextlib.closing(connect(server)) as cluster:
        found = discovery.discover(cluster)
    seen = 0
    for one in found.types:
        known = offline.BUILT_IN.get((one.group, one.kind))
        if known is None:
            # What can be created and never read back, and what a CRD defines.
            built_in = "." not in one.group or one.group.endswith(".k8s.io")
            assert not (built_in and one.watchable), one
            continue
        seen += 1
        assert known[:2] == (one.resource, one.namespaced)
        assert found.names[one.key] <= known[2]
    assert seen > 20


def test_types_by_their_names() -> None:
    """A plural wins over another type's short name, and the preferred version over the others."""
    kinds = [("b.example", "v1", "cm", True), ("", "v1", "configmaps", True), ("b.example", "v2", "cm", False)]
    served = [
        offline.make_type(group=group, version=version, resource=plural, kind=plural.title(), namespaced=True)
        for group, version, plural, _ in kinds
    ]
    types = naming.Types(served, {("", "configmaps"): frozenset({"cm"})})
    assert types.find("cm") is served[0]
    assert types.find("cm.v2.b.example") is served[2]
    assert types.find("CONFIGMAPS") is served[1]
