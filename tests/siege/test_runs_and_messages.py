"""Forty runs on one owner leave nothing behind, and no message that hypothesis makes of the protocol is a server error."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.owner.test_no_store import owner_routes
from tests.waiting import until
from wmkml.siege.clients import AWAY, INSIDES, READ_BYTES
from wmkml.siege.doors import OWNER_DOORS, Door, opening_headers, session_path
from wmkml.siege.messages import MessageMaker
from wmkml.siege.report import SectionReport
from wmkml.siege.runs import compare

pytestmark = pytest.mark.process

RUNS = 40


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    with started_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_forty_runs_and_rebirths_leave_the_owner_as_it_was(cluster: OwnerCluster) -> None:
    assert cluster.owner_process is not None
    owner = psutil.Process(cluster.owner_process.pid)
    samples: dict[str, list[float]] = defaultdict(list)
    for _ in range(RUNS):
        cluster.begin()
        assert cluster.chat("Was ist ein Haus?", station="a")[-1][0] == "end"
        assert cluster.train(cluster.claim())["accepted"]
        cluster.until_iteration(0)
        assert cluster.end().status_code == 200
        until(lambda: not list(cluster.paths.runs.iterdir()), "the run's words and adapters to be deleted")
        with owner.oneshot():
            samples["memory of owner"].append(owner.memory_info().rss)
            samples["files of owner"].append(owner.num_fds())
            samples["threads of owner"].append(owner.num_threads())
        files = [path for path in cluster.paths.data.rglob("*") if path.is_file()]
        samples["disk"].append(sum(path.stat().st_size for path in files))
    report = SectionReport(name="runs", wanted=RUNS, tried=RUNS, held=RUNS)
    compare(samples, report)
    assert len(report.figures) == 4 and report.problems == []


def test_every_route_of_the_owner_is_a_door_of_the_siege(tmp_path: Path) -> None:
    routes = owner_routes(tmp_path, **{"inference.nodes": ["127.0.0.1:8011"]})
    known = {(method, re.sub(r"\{\w+\}", "{text}", path)) for method, path in routes}
    doors = {(door.method, door.path.partition("?")[0]) for door in OWNER_DOORS}
    assert doors - {("GET", "/{text}")} == known  # which is no route: whatever else is asked for


def calm(cluster: OwnerCluster) -> str:
    """Undo what a message has done that a key or the desk let in; returns a session of the desk."""
    session = str(cluster.owner.get(session_path(cluster.paths), follow_redirects=False).cookies["desk"])
    cluster.owner.cookies.clear()
    for path, body in (("panic", {"on": False}), ("opening", {"decision": "open"})):
        reply = cluster.owner.post(
            f"/operator/{path}", json=body, headers=opening_headers(cluster.paths, "operator", "")
        )
        assert reply.status_code == 200, reply.text
    if cluster.state()["phase"] != "running":
        cluster.begin()
    return session


def reply_to(cluster: OwnerCluster, door: Door, maker: MessageMaker, keyed: bool) -> tuple[int, bytes]:
    """Status and beginning of the owner's reply to a message for this door."""
    session = calm(cluster)
    maker.names = ("0", str(cluster.state()["run"]))
    path, content = maker.path(door.path), maker.body(door.message)
    headers = {"Content-Type": "application/json"}
    if keyed:
        headers |= opening_headers(cluster.paths, door.opener, session)
    with cluster.owner.stream(
        door.method, path, content=content if door.method != "GET" else None, headers=headers
    ) as response:
        received = b""
        if "text/event-stream" not in response.headers.get("content-type", ""):
            for part in response.iter_raw():
                received += part
                if len(received) > READ_BYTES:
                    break
    cluster.owner.cookies.clear()
    return response.status_code, received


@pytest.mark.parametrize("door", [door for door in OWNER_DOORS if door.opener not in ("", "node")], ids=str)
def test_a_keyed_door_is_opened_and_no_message_there_is_a_server_error(cluster: OwnerCluster, door: Door) -> None:
    locked = cluster.owner.request(door.method, door.path.replace("{text}", "1"))
    assert locked.status_code == 401 or door.path == "/reload", "which this machine may"
    for seed in range(1 if door.waits else 6):
        status, received = reply_to(cluster, door, MessageMaker(random.Random(seed)), keyed=True)
        assert status != 401 and (status < 500 or status in AWAY), (status, received)
        assert not INSIDES.search(received), received


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(door=st.sampled_from(OWNER_DOORS), chance=st.randoms(use_true_random=False), keyed=st.booleans())
def test_no_message_is_a_server_error(cluster: OwnerCluster, door: Door, chance: random.Random, keyed: bool) -> None:
    if door.waits:
        return  # for half a minute; its messages are sent by the test before
    status, received = reply_to(cluster, door, MessageMaker(chance), keyed)
    assert status < 500 or status in AWAY, (door, status)
    assert "assets" in door.path or not INSIDES.search(received), door


def test_hostile_prompts_are_answered_or_refused(cluster: OwnerCluster) -> None:
    cluster.begin()
    statuses: dict[int, int] = defaultdict(int)
    with httpx.Client(base_url=cluster.owner.base_url, timeout=60, trust_env=False, verify=False) as client:
        for number in range(200):
            text = MessageMaker(random.Random(number)).text()
            response = client.post("/chat", json={"prompt": text, "station": "a"})
            statuses[response.status_code] += 1
            assert response.status_code in (200, 400, 413), text.encode("unicode-escape")
            if response.status_code == 200:
                ends = [line for line in response.text.splitlines() if line in ("event: end", "event: error")]
                assert len(ends) == 1
    assert statuses[200] > 60 and statuses[400] > 10
