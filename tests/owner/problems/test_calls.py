"""Alerts and heartbeats of a real owner, at a real server that records what arrives and refuses what it is told to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.owner.problems.calls import ProblemAlert, _failure_of
from wmkml.protocol.desk import ProblemList

pytestmark = pytest.mark.process

CANARY = "Kanarienvogel im Kohlenschacht"


class Receiver:
    """An HTTP server that keeps what it gets.  `refusing`: it answers 503, and keeps nothing."""

    def __init__(self) -> None:
        receiver = self
        self.alerts: list[ProblemAlert] = []
        self.bodies: list[bytes] = []
        self.heartbeats = 0
        self.refusing = False
        self.refused = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver.heartbeats += not receiver.refusing
                self.answer()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not receiver.refusing:
                    receiver.bodies.append(body)
                    receiver.alerts.append(ProblemAlert.model_validate_json(body))
                self.answer()

            def answer(self) -> None:
                receiver.refused += receiver.refusing
                self.send_response(503 if receiver.refusing else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/secret-token"

    def of(self, code: str) -> list[str]:
        """The states that were sent of a problem, in order."""
        return [alert.state for alert in self.alerts if alert.code == code]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[OwnerCluster]:
    settings = {
        "general.opening_hours": "24/7",
        "general.alert_url": receiver.url,
        "general.heartbeat_url": receiver.url,
        "general.heartbeat_seconds": 1.0,
        "general.installation_name": "Museum",
    }
    with started_cluster(tmp_path_factory.mktemp("cluster"), **settings) as cluster:
        yield cluster


def decide(cluster: OwnerCluster, decision: str) -> None:
    assert cluster._operator("POST", "/operator/opening", json={"decision": decision}).status_code == 200


def codes(cluster: OwnerCluster) -> set[str]:
    reply = ProblemList.model_validate(cluster._operator("GET", "/operator/problems").json())
    return {problem.code for problem in reply.problems}


def test_a_problem_is_posted_when_it_appears_and_when_it_goes(cluster: OwnerCluster, receiver: Receiver) -> None:
    cluster.begin()
    cluster.chat(CANARY)
    decide(cluster, "closed")
    until(lambda: receiver.of("closed_by_hand") == ["raised"], "the alert")
    decide(cluster, "hours")
    until(lambda: receiver.of("closed_by_hand") == ["raised", "cleared"], "the end of it")
    raised, cleared = (alert for alert in receiver.alerts if alert.code == "closed_by_hand")
    assert (raised.installation, raised.since == cleared.since, raised.at <= cleared.at) == ("Museum", True, True)
    assert raised.title.startswith("Closed by hand")
    assert set(json.loads(receiver.bodies[0])) == {"installation", "code", "state", "title", "detail", "since", "at"}
    assert not any(CANARY.encode() in body for body in receiver.bodies)


def test_what_does_not_arrive_is_a_problem_and_comes_later_in_order(cluster: OwnerCluster, receiver: Receiver) -> None:
    receiver.refusing, before = True, len(receiver.alerts)
    decide(cluster, "closed")
    until(lambda: "alert_unreachable" in codes(cluster), "the failure to be seen")
    decide(cluster, "hours")
    until(lambda: receiver.refused >= 2, "another try")
    assert cluster.owner.get("/healthz").status_code == 200, "nobody waits for it"
    receiver.refusing = False
    until(lambda: len(receiver.alerts) >= before + 2, "what was waiting")
    late = [alert.state for alert in receiver.alerts[before:] if alert.code == "closed_by_hand"]
    assert late == ["raised", "cleared"]
    until(lambda: "alert_unreachable" not in codes(cluster), "the failure to be over")
    assert receiver.of("alert_unreachable") == []


def test_the_heart_beats_while_the_owner_lives_and_its_loss_is_a_problem(
    cluster: OwnerCluster, receiver: Receiver
) -> None:
    beats = receiver.heartbeats
    until(lambda: receiver.heartbeats >= beats + 2, "two more heartbeats")
    receiver.refusing = True
    until(lambda: "heartbeat_unreachable" in codes(cluster), "the loss to be seen")
    receiver.refusing = False
    until(lambda: "heartbeat_unreachable" not in codes(cluster), "the heartbeat to arrive again")
    assert "secret-token" not in cluster.log.read_text(), "the address may hold a secret"
    assert "secret-token" not in json.dumps(cluster.state())


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:-1/",
        "http://xn--a/",
        "http://[::1",
        "none",
    ],
)
def test_an_address_that_cannot_be_is_a_failure_and_no_error(address: str) -> None:
    """The settings refuse what they can tell; a name that cannot be resolved and a port that cannot be are met here."""

    async def call() -> str:
        async with httpx.AsyncClient(timeout=5) as http:
            return await _failure_of(http, "GET", address, None)

    failure = asyncio.run(call())
    assert failure and address not in failure


def test_the_owner_lives_with_an_address_whose_name_cannot_be(tmp_path: Path) -> None:
    calls = {
        "general.alert_url": "http://xn--a/",
        "general.heartbeat_url": "http://xn--a/",
        "general.heartbeat_seconds": 1.0,
    }
    with started_cluster(tmp_path, **calls) as cluster:
        until(lambda: "heartbeat_unreachable" in codes(cluster), "the failure to be seen")
        assert cluster.owner_process is not None and cluster.owner_process.poll() is None
