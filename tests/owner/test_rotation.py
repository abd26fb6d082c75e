"""Keys that are rotated while everything runs: real processes of owner and worker, streams that are open, and the window's client."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.owner.owner_cluster import ROOT, OwnerCluster, started_cluster, two_whole_rounds
from tests.owner.round_clusters import round_of
from tests.owner.test_events import EventListener
from tests.training.tiny_model import make_tiny_model
from tests.waiting import until
from tests.worker.worker_process import WorkerProcess, started_worker, wait_for
from wmkml.access.keys import rotate_key
from wmkml.config.addresses import owner_url
from wmkml.gui.client import WindowOwnerClient
from wmkml.gui.events import Connection, PromptReceived, WindowEvent

pytestmark = pytest.mark.process

SAMPLES = 24

STARTING_SECONDS = 280.0
"""A worker that loads its libraries on a busy machine."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnerCluster]:
    """Rounds that are long enough for something to happen in their middle; leases that outlast the test."""
    with started_cluster(tmp_path, **two_whole_rounds(SAMPLES)) as cluster:
        yield cluster


def rotate(cluster: OwnerCluster, name: str) -> str:
    """Rotate a key as the operator does, in a terminal; returns the new one."""
    command = [sys.executable, "-m", "wmkml", "keys", "rotate", name, "--config", str(cluster.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    printed, key = done.stdout.split()
    assert printed == name and key == vars(cluster.keys).get(name, key)
    return key


def in_the_middle_of_round_1(cluster: OwnerCluster, worker: WorkerProcess) -> None:
    wait_for(lambda: cluster.state()["iteration"] == 0, worker, STARTING_SECONDS)
    wait_for(lambda: round_of(cluster, 1)["step"] >= 2, worker)


def worker_settings(cluster: OwnerCluster, **general: Any) -> dict[str, Any]:
    return {
        "general": {"owner_port": cluster.settings.general.owner_port, **general},
        "finetuning": {"batch_size": 1},
    }


def test_the_workers_key_is_rotated_in_the_middle_of_a_round(cluster: OwnerCluster, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny")
    old = cluster.keys.worker
    cluster.begin("de")
    cluster.chat("Was ist Tau?")
    # It reads the key from the installation's own folder, as under the launcher.
    settings = worker_settings(cluster, data_folder=str(cluster.paths.data))
    with started_worker(tmp_path / "worker", model, key="", **settings) as worker:
        in_the_middle_of_round_1(cluster, worker)
        new = rotate_key(cluster.paths, "worker")
        assert round_of(cluster, 1)["status"] == "training", "the round was under way"
        wait_for(lambda: cluster.state()["iteration"] == 1, worker)
        log = worker.log_text()
    assert (round_of(cluster, 1)["attempt"], round_of(cluster, 1)["status"]) == (1, "accepted")
    log += cluster.log.read_text(encoding="utf-8")
    assert "refuses" not in log, "the worker met no refusal"
    assert old not in log and new not in log


def test_a_worker_elsewhere_brings_its_round_in_and_gets_no_other(cluster: OwnerCluster, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny")
    old = cluster.keys.worker
    cluster.begin("de")
    cluster.chat("Was ist Tau?")
    with started_worker(tmp_path / "worker", model, key=old, **worker_settings(cluster)) as worker:
        in_the_middle_of_round_1(cluster, worker)
        rotate_key(cluster.paths, "worker")
        wait_for(lambda: cluster.state()["iteration"] == 1, worker)
        wait_for(lambda: "The owner refuses the claim" in worker.log_text(), worker)
        assert old not in worker.log_text()
    assert round_of(cluster, 1)["attempt"] == 1
    claim = cluster.owner.post("/worker/claim", json={}, headers={"X-Key": old})
    assert claim.status_code == 401


def test_a_stream_of_all_words_ends_with_its_key(cluster: OwnerCluster) -> None:
    keys = cluster.keys
    opened = cluster.owner.get("/stage", params={"key": keys.stage})
    assert opened.status_code == 303 and cluster.owner.cookies["wmkml_stage"] == keys.stage
    assert cluster.owner.get("/stage/runtime").json()["opened"], "by its cookie"
    stage, visitor = EventListener(cluster, keys.stage), EventListener(cluster, station="a")
    operator = EventListener(cluster, keys.operator)
    new = rotate(cluster, "stage")
    until(lambda: not stage.listens(), "the stream of the old key to end")
    for key in (keys.stage, keys.worker):
        assert httpx.get(f"{owner_url(cluster.settings)}/events", headers={"X-Key": key}).status_code == 401
    assert not cluster.owner.get("/stage/runtime").json()["opened"], "the old cookie opens nothing"
    assert httpx.get(f"{owner_url(cluster.settings)}/stage/runtime", headers={"X-Key": new}).json()["opened"]
    # The operator's stream ended as well, and the key goes on opening one.
    until(lambda: not operator.listens(), "the operator's stream to be opened anew")
    again = EventListener(cluster, keys.operator)
    cluster.begin("de")
    cluster.chat("Was ist Tau?", station="a")
    until(lambda: again.of("response") and visitor.of("response"), "the answer")
    assert not stage.of("prompt"), "what was said after the rotation"
    assert visitor.listens()


def test_the_operators_key_is_rotated_between_two_rounds(cluster: OwnerCluster) -> None:
    old = cluster.keys.operator
    cluster.begin("de")
    cluster.train(cluster.claim())
    cluster.until_iteration(0)
    new = rotate(cluster, "operator")
    cluster.train(cluster.claim())
    cluster.until_iteration(1)
    assert [name for name, _ in cluster.chat("Und jetzt?")][-1] == "end"
    for key, status in ((old, 401), (new, 200)):
        assert cluster.owner.get("/operator/pairs", headers={"X-Key": key}).status_code == status
    log = cluster.log.read_text(encoding="utf-8")
    assert old not in log and new not in log


def test_the_window_goes_on_with_the_new_key(cluster: OwnerCluster) -> None:
    events: queue.Queue[WindowEvent] = queue.Queue()
    seen: list[WindowEvent] = []

    def has_come(event: WindowEvent | type[WindowEvent], times: int = 1) -> bool:
        while not events.empty():
            seen.append(events.get())
        return sum(item == event or item.__class__ is event for item in seen) >= times

    client = WindowOwnerClient(owner_url(cluster.settings), lambda: cluster.keys.stage, events)
    client.start()
    everybody = Connection(connected=True, all_stations=True)
    try:
        until(lambda: has_come(everybody), "the window's stream")
        rotate(cluster, "stage")
        until(lambda: has_come(everybody, 2), "its stream with the new key")
        cluster.begin("de")
        cluster.chat("Was ist Tau?", station="somebody-else")
        until(lambda: has_come(PromptReceived), "the words of another station")
    finally:
        client.close()
