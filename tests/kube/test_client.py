"""Reaching a cluster: credentials, TLS, errors that say what to do."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from kubernetes.config import incluster_config

from app import errors, events, settings
from app.kube import client, listing, paths, problems, watching
from tests.kube import objects
from tests.servers.api import KUBE_ONLY, ApiServer, token
from tests.servers.kube import write_certificates


def connect(kubeconfig: Path | str) -> client.Cluster:
    """The cluster of a kubeconfig."""
    return client.connect(settings.Settings(kubeconfig=str(kubeconfig)))


def test_the_uid_tells_one_cluster_from_another(cluster: client.Cluster) -> None:
    """The uid of a cluster is that of its namespace kube-system."""
    document = cluster.get_json(paths.single(objects.NAMESPACES, events.Ref("", "kube-system")))
    assert cluster.uid() == document["metadata"]["uid"]


def test_a_renewed_token_file_is_read_again(server: ApiServer, tmp_path: Path) -> None:
    """A token that was replaced on disk is used after one refusal, without a restart."""
    file = tmp_path / "token"
    file.write_text("expired")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(server.kubeconfig_text(token_file=file))
    cluster = connect(kubeconfig)
    file.write_text(token(server.kubeconfig()))
    assert cluster.uid()


def test_a_refused_token_stalls(server: ApiServer, tmp_path: Path) -> None:
    """A token that the cluster refuses, twice, needs a person; the message does not show it."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(server.kubeconfig_text(token="canary-token"))
    with pytest.raises(errors.StalledError, match="renew the token") as caught:
        connect(kubeconfig).uid()
    assert caught.value.reason == "Unauthorized"
    assert "canary" not in str(caught.value)


def test_a_pod_uses_its_service_account(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a kubeconfig, the mounted token and authority of the pod are used, and the token is read again."""
    file = tmp_path / "token"
    file.write_text("expired")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(file))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(server.ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rsplit(":", 1)[1])
    cluster = connect("")
    file.write_text(f"{token(server.kubeconfig())}\n")
    assert cluster.uid()


def test_several_kubeconfig_files_are_merged(server: ApiServer, tmp_path: Path) -> None:
    """KUBECONFIG may name several files, of which some do not exist."""
    whole = yaml.safe_load(server.kubeconfig().read_text())
    users = whole.pop("users")
    (tmp_path / "one").write_text(yaml.safe_dump({**whole, "users": []}))
    (tmp_path / "two").write_text(yaml.safe_dump({"users": users, "clusters": [], "contexts": []}))
    assert connect(os.pathsep.join(str(tmp_path / name) for name in ("missing", "one", "two"))).uid()


def test_a_foreign_authority_is_not_trusted(server: ApiServer, tmp_path: Path) -> None:
    """A server whose certificate another authority signed gets no token, and the advice names the field to check."""
    write_certificates(tmp_path)
    document = yaml.safe_load(server.kubeconfig().read_text())
    document["clusters"][0]["cluster"] = {"server": server.url, "certificate-authority": str(tmp_path / "ca.crt")}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    with pytest.raises(errors.StalledError, match="certificate-authority") as caught:
        connect(tmp_path / "kubeconfig").uid()
    assert caught.value.reason == "UntrustedCertificate"


@KUBE_ONLY
def test_a_forbidden_call_names_the_missing_rule(server: ApiServer, place: str) -> None:
    """A user without rights is told which RBAC rule is missing, ready to be copied."""
    cluster = connect(server.kubeconfig("alice"))
    with pytest.raises(problems.Forbidden, match=r"list configmaps in namespace") as caught:
        next(listing.list_pages(cluster, objects.CONFIG_MAPS, place, page_size=5))
    assert '{apiGroups: [""], resources: ["configmaps"], verbs: ["list"]}' in str(caught.value)
    with pytest.raises(problems.Forbidden, match=r'verbs: \["watch"\]'):
        watching.watch(cluster, objects.CLUSTER_ROLES, "", resource_version="1", timeout=5, stop=threading.Event())


def test_a_type_that_is_not_served_is_no_empty_list(cluster: client.Cluster) -> None:
    """A type that the cluster does not serve is an error, never an empty list."""
    unknown = objects.CONFIG_MAPS.__class__(
        "no.example.com", "v1", "things", "Thing", namespaced=True, verbs=frozenset(), preferred=True
    )
    with pytest.raises(problems.NotServed, match=r"list things\.no\.example\.com"):
        next(listing.list_pages(cluster, unknown, "", page_size=5))


def test_names_of_rbac_objects_reach_the_server_whole(cluster: client.Cluster) -> None:
    """RBAC names may hold colons, spaces and question marks; each is asked for as it is."""
    for name in ("test:a b", "test?x=1#y", "tést+&"):
        objects.create(cluster, objects.CLUSTER_ROLES, {"metadata": {"name": name}, "rules": []})
        found = cluster.get_json(paths.single(objects.CLUSTER_ROLES, events.Ref("", name)))
        assert found["metadata"]["name"] == name


def test_open_streams_do_not_block_requests(cluster: client.Cluster, place: str) -> None:
    """Each watch holds a connection, and one more request still finds one at once."""
    start = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, place)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(
                watching.watch(
                    cluster, objects.CONFIG_MAPS, place, resource_version=start, timeout=60, stop=threading.Event()
                )
            )
        assert cluster.uid()


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "cannot be used"),
        ("a: [", "is no kubeconfig: give the path of one$"),
        ("just words", "is no kubeconfig: give the path of one$"),
        ("[]", "is no kubeconfig: give the path of one$"),
        ("clusters: 5\ncontexts: x\ncurrent-context: c", "is no kubeconfig: give the path of one$"),
        ("current-context: c\ncontexts: []\nclusters: []\nusers: []", "cannot be used"),
    ],
)
def test_an_unusable_kubeconfig_is_a_setting_to_correct(tmp_path: Path, text: str, advice: str) -> None:
    """A kubeconfig that cannot be read ends the command with the file's name."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(errors.SettingsError, match=advice) as caught:
        connect(path)
    assert str(path) in str(caught.value)


def test_no_cluster_at_all_is_a_setting_to_correct(tmp_path: Path) -> None:
    """Without a kubeconfig and outside of a pod, the message names what to set."""
    with pytest.raises(errors.SettingsError, match="set KUBECONFIG"):
        connect("")
    with pytest.raises(errors.SettingsError, match="missing"):
        connect(tmp_path / "missing")


@pytest.mark.parametrize(
    ("cluster_entry", "advice"),
    [
        ({"server": "http://192.0.2.1:8080"}, "not reached over https"),
        ({"server": "https://192.0.2.1:6443", "insecure-skip-tls-verify": True}, "insecure-skip-tls-verify"),
    ],
)
def test_credentials_are_never_sent_unprotected(tmp_path: Path, cluster_entry: dict[str, object], advice: str) -> None:
    """A cluster without verified TLS is refused before anything is sent."""
    document = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster_entry}],
        "users": [{"name": "u", "user": {"token": "canary-token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    with pytest.raises(errors.SettingsError, match=advice):
        connect(tmp_path / "kubeconfig")
