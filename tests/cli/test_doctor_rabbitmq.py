"""`reverser doctor` on a live RabbitMQ: rights, queues and policies, and whether the commands that it names help."""

from __future__ import annotations

import http.server
import shlex
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kombu
import pytest

from app import broker, errors, queues, settings
from app.events import Ref
from tests.cli.patient import Diagnosis, Patient
from tests.servers import rabbitmq
from tests.servers.topology import PASSWORD, Topology, imported

pytestmark = pytest.mark.rabbitmq

QUEUE = "dest.shop.prod"
# Nobody listens on this port of the loopback.
NO_API = "http://127.0.0.1:1"


@pytest.fixture
def topology(rabbitmq_vhost: rabbitmq.Vhost) -> Iterator[Topology]:
    """A virtual host with everything that a broker of ours should have."""
    with imported(rabbitmq_vhost) as topology:
        yield topology


@pytest.fixture
def patient(topology: Topology, tmp_path: Path, sqlite_url: str) -> Patient:
    """An installation with one destination; the worker's user asks."""
    patient = Patient(
        tmp_path,
        database_url=sqlite_url,
        broker_url=topology.url("worker"),
        rabbitmq_api=f"http://127.0.0.1:{topology.vhost.server.http_port}",
    )
    patient.destination("prod", url="file:///nowhere", transport="local")
    return patient


def state(topology: Topology) -> dict[str, Any]:
    """What is declared in the virtual host, and how it is governed."""
    ask, name = topology.vhost.server.ask, topology.vhost.name
    return {
        "queues": topology.vhost.queues(),
        "bindings": topology.vhost.bindings(),
        "exchanges": {one["name"] for one in ask("GET", "exchanges", name)},
        "policies": {one["name"]: one["definition"] for one in ask("GET", "policies", name)},
        "rights": {one["user"]: one for one in ask("GET", "vhosts", name, "permissions")},
        "topics": {(one["user"], one["exchange"]): one for one in ask("GET", "vhosts", name, "topic-permissions")},
    }


def about_the_broker(found: Diagnosis) -> list[tuple[str, str]]:
    """Check and level of what was found about the broker."""
    return [(one["check"], one["level"]) for one in found.findings if one["check"] in {"broker", "policies"}]


WELL = [("broker", "OK"), ("policies", "OK")]


@pytest.mark.parametrize("role", ["watch", "worker", "flower"])
def test_a_broker_with_the_definitions_is_well(patient: Patient, topology: Topology, role: str) -> None:
    """Each role is well with its own user, no password is shown, and the broker is as it was before."""
    with kombu.Connection(topology.vhost.url) as connection:
        queues.queue_for(Ref("shop", "prod"), broker_url=topology.vhost.url)(connection.default_channel).declare()
    before = state(topology)
    found = patient.doctor("--for", role, REVERSER_BROKER_URL=topology.url(role))
    assert about_the_broker(found) == (WELL[:1] if role == "flower" else WELL)
    assert PASSWORD not in found.text
    assert state(topology) == before


def test_the_watch_daemons_user_is_none_for_a_worker(patient: Patient, topology: Topology) -> None:
    """A user of another role misses rights by name; the command gives those of the role that was asked about."""
    wrong = patient.doctor(REVERSER_BROKER_URL=topology.url("watch")).worst("broker")
    assert wrong["level"] == "FAIL"
    assert (
        f"user {topology.user('watch')} may not read queue dest.*, configure exchange celery.pidbox" in wrong["found"]
    )
    assert wrong["do"].startswith(f"rabbitmqctl set_permissions -p {topology.vhost.name} {topology.user('watch')} ")


@pytest.mark.parametrize("role", ["watch", "worker", "flower"])
def test_each_right_that_is_missing_is_seen(patient: Patient, topology: Topology, role: str) -> None:
    """Without one of its patterns, and with topics that fit nothing, a role is refused; the commands give all back."""
    server, name, user = topology.vhost.server, topology.vhost.name, topology.user(role)
    # Celery declares it; an exchange that is not there has no topics.
    server.ask("PUT", "exchanges", name, "celeryev", body={"type": "topic", "durable": True})
    wanted = state(topology)
    for pattern in ("configure", "write", "read"):
        given = {verb: wanted["rights"][user][verb] for verb in ("configure", "write", "read")}
        server.ask("PUT", "permissions", name, user, body=given | {pattern: "^$"})
        found = patient.doctor("--for", role, REVERSER_BROKER_URL=topology.url(role))
        assert f"may not {pattern} " in found.worst("broker")["found"]
        mend(topology, found)
        assert state(topology) == wanted
    for exchange in ["celeryev"] if role == "flower" else ["celeryev", "dest"]:
        server.ask("PUT", "topic-permissions", name, user, body={"exchange": exchange, "write": "^$", "read": "^$"})
    found = patient.doctor("--for", role, REVERSER_BROKER_URL=topology.url(role))
    refused = [one["found"] for one in found.of("broker")]
    assert len(refused) == (1 if role == "flower" else 2)
    assert [one for one in refused if " topic " not in one] == []
    mend(topology, found)
    assert state(topology) == wanted


def test_flower_needs_nothing_but_the_broker(patient: Patient, topology: Topology, tmp_path: Path) -> None:
    """Where Flower runs there is no database and no cluster, and it is well all the same."""
    found = patient.doctor(
        "--for", "flower", REVERSER_BROKER_URL=topology.url("flower"), REVERSER_DATABASE_URL=f"sqlite:///{tmp_path}/x"
    )
    assert (found.exit_code, {one["check"] for one in found.findings}) == (0, {"settings", "broker"})


def test_whoever_does_what_it_says_has_a_broker_that_is_well(patient: Patient, topology: Topology) -> None:
    """Missing rights, policies and exchanges, and a classic queue in the way: the commands that it names mend them."""
    server, name = topology.vhost.server, topology.vhost.name
    wanted = state(topology)
    for policy in wanted["policies"]:
        server.ask("DELETE", "policies", name, policy)
    server.ask("DELETE", "exchanges", name, "dest.died")
    server.ask("PUT", "queues", name, QUEUE, body={"durable": True})
    nothing = {"configure": "^$", "write": "^$", "read": "^$"}
    server.ask("PUT", "permissions", name, topology.user("worker"), body=nothing)

    found = patient.doctor()
    assert about_the_broker(found) == [("broker", "FAIL")] + [("policies", "WARN")] * 4
    mend(topology, found)
    # Who may not declare is not told whether a declaration fits.
    found = patient.doctor()
    assert "inequivalent arg" in found.worst("broker")["found"]
    mend(topology, found)
    assert about_the_broker(patient.doctor()) == WELL
    assert state(topology) == wanted


def mend(topology: Topology, found: Diagnosis) -> None:
    """Do what the doctor says about the broker."""
    for one in found.findings:
        if one["check"] in {"broker", "policies"} and one["do"]:
            topology.vhost.server.shell(one["do"].partition(";")[0])


def test_a_policy_that_another_one_hides(patient: Patient, topology: Topology) -> None:
    """Of several policies only one counts: what it lacks is said, and the command sets ours above it."""
    server, name = topology.vhost.server, topology.vhost.name
    theirs = {"pattern": ".*", "apply-to": "queues", "priority": 7, "definition": {"delivery-limit": 20}}
    server.ask("PUT", "policies", name, "theirs", body=theirs)
    hidden = [one for one in patient.doctor().of("policies") if QUEUE in one["found"]]
    assert [one["level"] for one in hidden] == ["WARN"]
    assert "lacks dead-letter-exchange dest.died" in hidden[0]["found"]
    words = shlex.split(hidden[0]["do"])
    assert words[words.index("--priority") + 1] == "8"
    # How high a limit is, is the operator's to choose.
    assert "delivery-limit" not in hidden[0]["found"]


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Leads whoever asks to another place."""

    asked: list[str]

    def do_GET(self) -> None:
        """Answer a request."""
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def redirecting() -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that redirects, and what it was asked."""
    handler = type("Handler", (Elsewhere,), {"asked": []})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
        server.shutdown()


def test_an_api_that_cannot_be_asked(patient: Patient, topology: Topology, redirecting: tuple[str, list[str]]) -> None:
    """Policies that nobody tells are no failure: it is said what was not looked at, why, and how to have it."""
    url, asked = redirecting
    secure = f"https://127.0.0.1:{topology.vhost.server.http_port}"
    stranger = f"http://nobody:{PASSWORD}@127.0.0.1:{topology.vhost.server.http_port}"
    for api, words in (
        (NO_API, "refused"),
        (stranger, "rabbitmqctl set_user_tags nobody management"),
        (secure, "SSL"),
        (url, "status 302"),
    ):
        found = patient.doctor(REVERSER_RABBITMQ_API=api)
        said = found.worst("policies")
        assert (said["level"], words in said["found"]) == ("SKIP", True), said
        # Whoever is refused there needs no plugin.
        assert ("rabbitmq-plugins enable rabbitmq_management" in said["found"]) == (api != stranger)
        assert PASSWORD not in found.text
    assert len(asked) == 1


@pytest.mark.parametrize("api", ["ftp://u:PASSWORD@host", "http://", "http://u:PASSWORD@host:port"])
def test_an_api_that_is_no_url(patient: Patient, api: str) -> None:
    """A setting that is no URL is a failure, told without its text."""
    found = patient.doctor(REVERSER_RABBITMQ_API=api)
    assert found.worst("policies")["level"] == "FAIL"
    assert "PASSWORD" not in found.text


def test_by_default_the_api_is_expected_beside_the_broker(patient: Patient) -> None:
    """Without a setting, the broker's host is asked at the port that RabbitMQ gives its API."""
    for url, expected in (
        ("amqp://u:p@mq.example.com:5673/v", "http://mq.example.com:15672"),
        ("amqps://u:p@[::1]/v", "https://[::1]:15671"),
    ):
        assert broker.api_url(replace(patient.options, broker_url=url, rabbitmq_api="")) == expected


@pytest.mark.parametrize(
    "change", [("guest:guest", "guest:wrong"), ("guest:guest", "nobody:guest"), ("/{vhost}", "/nowhere")]
)
def test_a_worker_whose_login_is_refused_says_so(topology: Topology, change: tuple[str, str]) -> None:
    """In a sentence with what to do, and not in thirty lines of a library; a broker that is away is waited for."""
    before, after = (one.format(vhost=topology.vhost.name) for one in change)
    url = topology.vhost.url.replace(before, after)
    assert url != topology.vhost.url
    with pytest.raises(errors.StalledError, match="correct user, password or virtual host in REVERSER_BROKER_URL"):
        queues.check_login(settings.Settings(broker_url=url))
    queues.check_login(settings.Settings(broker_url=topology.vhost.url))
    queues.check_login(settings.Settings(broker_url="amqp://guest:guest@127.0.0.1:1//"))
