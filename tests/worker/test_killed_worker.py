"""A worker killed in the middle of a round, and its successor: real processes of worker and owner, a stand-in of inference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster, two_whole_rounds
from tests.owner.round_clusters import round_of, run_folder
from tests.training.tiny_model import make_tiny_model
from tests.worker.continued_training import LEARNING_RATES, assert_continued
from tests.worker.worker_process import started_worker, wait_for

pytestmark = pytest.mark.process

SAMPLES = 30
STEPS = 2 * SAMPLES
"""Steps of a round: of one sample each, in two epochs."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnerCluster]:
    """An owner whose leases outlast the test, so that no round is offered again for the worker's silence."""
    with started_cluster(tmp_path, **two_whole_rounds(SAMPLES), **LEARNING_RATES) as cluster:
        yield cluster


def steps_of(cluster: OwnerCluster, iteration: int, attempt: int) -> list[int]:
    lines = (run_folder(cluster) / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line) for line in lines]
    return [step["step"] for step in steps if (step["iteration"], step["attempt"]) == (iteration, attempt)]


def test_a_round_whose_worker_is_killed_is_trained_by_the_next(cluster: OwnerCluster, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny")
    settings: dict[str, Any] = {
        "key": cluster.keys.worker,
        "general": {"owner_port": cluster.settings.general.owner_port},
        "finetuning": {"batch_size": 1},
    }
    cluster.begin("de")
    cluster.chat("Was ist Tau?")
    with started_worker(tmp_path / "worker", model, **settings) as worker:
        wait_for(lambda: cluster.state()["iteration"] == 0, worker)
        wait_for(lambda: round_of(cluster, 1)["step"] >= 2, worker)
        worker.kill()
    assert round_of(cluster, 1)["status"] == "training"
    lost = steps_of(cluster, 1, 1)
    assert 2 <= len(lost) < STEPS, "it was killed in the middle of the round"

    with started_worker(tmp_path / "worker", model, **settings) as successor:
        wait_for(lambda: cluster.state()["iteration"] == 1, successor)
    first, second = round_of(cluster, 0), round_of(cluster, 1)
    assert (first["attempt"], first["status"]) == (1, "accepted")
    assert (second["attempt"], second["status"]) == (2, "accepted")
    assert steps_of(cluster, 1, 2) == list(range(1, STEPS + 1))
    adapters = run_folder(cluster) / "adapters"
    assert sorted(folder.name for folder in adapters.iterdir()) == ["iteration-0-attempt-1", "iteration-1-attempt-2"]
    assert_continued(adapters / "iteration-0-attempt-1", adapters / "iteration-1-attempt-2", STEPS)
