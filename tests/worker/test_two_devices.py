"""A worker that trains on two devices, here two processes on the CPU, with a real owner: rounds, a lost process, the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster, two_whole_rounds
from tests.owner.round_clusters import round_of, run_folder
from tests.training.tiny_model import make_tiny_model
from tests.waiting import until
from tests.worker.continued_training import LEARNING_RATES, assert_continued
from tests.worker.worker_process import WorkerProcess, started_worker, wait_for
from wmkml.system.orphans import marked_processes, service_mark

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(900)]

PATIENCE = 300
"""Seconds to wait for a round: three processes load torch first, twice, maybe beside other tests."""

SAMPLES = 30
STEPS = SAMPLES
"""Steps of a round: of two samples each, in two epochs."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnerCluster]:
    with started_cluster(tmp_path, **two_whole_rounds(SAMPLES), **LEARNING_RATES) as cluster:
        yield cluster


def ranks_of(worker: WorkerProcess) -> list[psutil.Process]:
    """The processes that train for this worker, by what `multiprocessing` calls them with."""
    return [
        child for child in psutil.Process(worker.process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]


def test_rounds_are_trained_by_two_processes_and_a_lost_one_costs_one_attempt(
    cluster: OwnerCluster, tmp_path: Path
) -> None:
    general = {"owner_port": cluster.settings.general.owner_port}
    finetuning = {"batch_size": 2, "devices": 2}
    cluster.begin("de")
    cluster.chat("Was ist Tau?")
    with started_worker(
        tmp_path / "worker",
        make_tiny_model(tmp_path / "tiny"),
        key=cluster.keys.worker,
        general=general,
        finetuning=finetuning,
    ) as worker:
        wait_for(lambda: cluster.state()["iteration"] == 0, worker, PATIENCE)
        first, second = ranks_of(worker)
        wait_for(lambda: round_of(cluster, 1)["step"] >= 2, worker, PATIENCE)
        second.kill()
        wait_for(lambda: cluster.state()["iteration"] == 1, worker, PATIENCE)
        assert "process 1 of 2 ended by signal 9" in worker.log_text()
        assert (round_of(cluster, 0)["attempt"], round_of(cluster, 0)["status"]) == (1, "accepted")
        assert (round_of(cluster, 1)["attempt"], round_of(cluster, 1)["status"]) == (2, "accepted")
        adapters = run_folder(cluster) / "adapters"
        assert_continued(adapters / "iteration-0-attempt-1", adapters / "iteration-1-attempt-2", STEPS)
        assert not {first.pid, second.pid} & {process.pid for process in ranks_of(worker)}

        # A service manager signals the whole group.
        left = [worker.process.pid, *(process.pid for process in ranks_of(worker))]
        for process in ranks_of(worker):
            process.send_signal(signal.SIGTERM)
        worker.process.terminate()
        assert worker.process.wait(60) == 0
        until(lambda: not any(psutil.pid_exists(number) for number in left), "none of its processes is left")
        mark = service_mark("worker", worker.data)
        until(lambda: not marked_processes(mark), "none of what it started is left either")
