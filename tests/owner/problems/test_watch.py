"""The problems of a real owner: provoked by the real state, seen at the operator's route and on the desk, and gone again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.config.addresses import owner_url
from wmkml.config.paths import SHIPPED_STAGE
from wmkml.launcher.cluster_record import ClusterLock, ClusterRecord, write_record
from wmkml.launcher.commands import status
from wmkml.problems.printing import problem_lines
from wmkml.protocol.desk import DeskProblem, ProblemList
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    shutil.copytree(SHIPPED_STAGE, folder / "stage")
    with started_cluster(folder, **{"general.opening_hours": "24/7"}) as cluster:
        yield cluster


def problems(cluster: OwnerCluster) -> dict[str, DeskProblem]:
    """The problems now, by code."""
    reply = cluster.owner.get("/operator/problems", headers={"X-Key": cluster.keys.operator})
    assert reply.status_code == 200, reply.text
    return {problem.code: problem for problem in ProblemList.model_validate(reply.json()).problems}


def test_nobody_reads_them_without_the_key(cluster: OwnerCluster) -> None:
    assert cluster.owner.get("/operator/problems").status_code == 401
    assert cluster.owner.get("/operator/problems", headers={"X-Key": cluster.keys.stage}).status_code == 401


def test_a_mistake_in_the_stages_files_comes_and_goes(cluster: OwnerCluster) -> None:
    mapping = Path(cluster.settings.general.stage_folder)
    path = cluster.folder / mapping / "mapping.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\nunknown_key: 1\n", encoding="utf-8")
    raised = until(lambda: problems(cluster).get("stage_files"), "the mistake")
    assert "mapping.yaml" in raised.detail
    assert until(lambda: problems(cluster).get("stage_files"), "it again").since == raised.since
    path.write_text(text, encoding="utf-8")
    until(lambda: "stage_files" not in problems(cluster), "the mistake to be mended")


def test_closing_by_hand_is_a_problem_until_it_is_taken_back(cluster: OwnerCluster) -> None:
    assert "closed_by_hand" not in problems(cluster)
    for decision, is_problem in (("closed", True), ("hours", False)):
        cluster._operator("POST", "/operator/opening", json={"decision": decision})
        assert ("closed_by_hand" in problems(cluster)) is is_problem
        metrics = cluster.owner.get("/metrics").text
        assert ('wmkml_problem{code="closed_by_hand"} 1.0' in metrics) is is_problem


def test_a_deleted_run_and_deleted_adapters_are_problems_until_the_next_run(cluster: OwnerCluster) -> None:
    cluster.begin()
    assert cluster.train(cluster.claim())["accepted"]
    cluster.until_iteration(0)
    [run] = cluster.paths.runs.iterdir()
    shutil.rmtree(run / "adapters")
    assert until(lambda: problems(cluster).get("adapters_gone"), "the adapters to be missed").detail == "0"
    shutil.rmtree(run)
    cluster.until_phase("waiting")
    assert problems(cluster)["run_folder_gone"].detail == run.name
    until(lambda: "adapters_gone" not in problems(cluster), "a run that is over to miss nothing")
    cluster.begin("en")
    assert "run_folder_gone" not in problems(cluster)
    cluster.end()


def test_a_worker_that_cannot_train_is_a_problem_until_one_claims(cluster: OwnerCluster) -> None:
    reply = cluster.work("unable", {"worker": "w", "reason": "There is no GPU."})
    assert reply.status_code == 200, reply.text
    assert problems(cluster)["worker_unable"].detail == "There is no GPU."
    cluster.begin()
    cluster.claim()
    assert "worker_unable" not in problems(cluster)
    cluster.end()


def test_a_language_model_that_dies_again_and_again_is_a_problem(cluster: OwnerCluster) -> None:
    for _ in range(3):
        assert "inference_restarts" not in problems(cluster)
        cluster.kill_inference()
        until(lambda: cluster.state()["inference"] == "away", "inference to be missed")
        problems(cluster)
        cluster.start_inference()
        until(lambda: cluster.state()["inference"] == "ready", "inference")
    assert problems(cluster)["inference_restarts"].detail == "3"


def test_a_data_folder_that_takes_nothing_is_a_problem(cluster: OwnerCluster) -> None:
    data, headers = cluster.paths.data, {"X-Key": cluster.keys.operator}
    hidden = data.with_name("hidden")

    def codes() -> set[str]:
        problems = cluster.owner.get("/operator/problems", headers=headers).json().get("problems", [])
        return {problem["code"] for problem in problems}

    data.rename(hidden)
    try:
        until(lambda: "data_readonly" in codes(), "the folder to be missed")
    finally:
        hidden.rename(data)
    until(lambda: "data_readonly" not in codes(), "the folder to be there again")


@contextmanager
def recorded_cluster(data: Path, url: str) -> Iterator[None]:
    """What a launcher leaves on the disk while it lives, for an owner at this address."""
    with ClusterLock(data):
        nowhere = f"http://127.0.0.1:{free_port()}"
        write_record(data, ClusterRecord(os.getpid(), "healthy", time.time(), str(data / "none"), "", url, nowhere))
        yield


def test_status_prints_each_problem_with_its_cause_and_what_to_do(
    cluster: OwnerCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded_cluster(cluster.paths.data, owner_url(cluster.settings)):
        cluster._operator("POST", "/operator/opening", json={"decision": "closed"})
        status(cluster.paths, "de")
        printed = capsys.readouterr().out
        assert all(line in printed for line in problem_lines("closed_by_hand", "", "de"))
        cluster._operator("POST", "/operator/opening", json={"decision": "hours"})
        status(cluster.paths, "en")
        assert "Closed by hand" not in capsys.readouterr().out
    with recorded_cluster(cluster.paths.data, f"http://127.0.0.1:{free_port()}"):
        status(cluster.paths, "en")
        assert problem_lines("owner_away", "", "en")[0] in capsys.readouterr().out
    assert status(cluster.paths, "de") == 3
    assert problem_lines("not_running", "", "de")[2] in capsys.readouterr().out
