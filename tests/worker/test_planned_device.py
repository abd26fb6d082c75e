"""The worker keeps to the GPU of the plan: it refuses the CPU instead, waits for an engine that it shares it with, and is capped.

There is no GPU here: what only CUDA can do is replaced, and which calls it gets is looked at.
"""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from tests.training.tiny_model import make_tiny_model, trainer_of
from tests.warm_processes import MODEL, WarmPopen
from tests.worker.owner_stand_in import KEY, OwnerStandIn
from tests.worker.test_worker import job, listening
from tests.worker.worker_process import WorkerProcess, wait_for
from wmkml.config.planned import PlannedTraining
from wmkml.training.loop import TrainingDroppedError
from wmkml.worker.planned_device import GpuMissingError, cap_memory, require_planned_gpus
from wmkml.worker.round_runner import WorkerResources, run_round

POLLS = 3
"""Questions whether the engine is ready that are answered with no, before the test looks at what the worker did."""

NO_SUCH_PROXY = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}


@dataclass
class Engine:
    """A stand-in of inference: whether it is ready, and how often it was asked."""

    ready: bool = False
    asked: int = 0
    port: int = 0


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            engine.asked += 1
            self.send_response(200 if engine.ready and self.path == "/healthz" else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    engine.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield engine
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def owner() -> Iterator[OwnerStandIn]:
    with listening() as stand_in:
        yield stand_in


@pytest.fixture
def worker(owner: OwnerStandIn, engine: Engine, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker whose plan says that it shares its GPU with the engine."""
    config = {
        "general": {"owner_port": owner.port, "inference_port": engine.port, "data_folder": "data"},
        "finetuning": {"precision": "float32"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    model = make_tiny_model(tmp_path / "model")
    planned = PlannedTraining(share=0.4).variables()
    with (tmp_path / "worker.log").open("wb") as output:
        process = WarmPopen(
            ["finetune_worker.py", "--config", str(tmp_path / "config.yaml"), "--model", str(model)],
            MODEL,
            output=output,
            # A proxy of the environment knows nothing of this machine's own services: nobody listens there.
            env={**os.environ, "WMKML_WORKER_KEY": KEY, **planned, **NO_SUCH_PROXY},
        )
    yield WorkerProcess(process, tmp_path / "worker.log", tmp_path / "data")
    process.kill()
    process.wait()


@pytest.mark.process
def test_on_a_shared_gpu_it_loads_nothing_before_the_engine_is_ready(
    worker: WorkerProcess, owner: OwnerStandIn, engine: Engine
) -> None:
    wait_for(lambda: engine.asked >= POLLS, worker)
    assert owner.claims == []
    assert "Waiting for the engine" in worker.log_text()
    assert "Loaded" not in worker.log_text()
    engine.ready = True
    wait_for(lambda: owner.claims, worker)
    log = worker.log_text()
    assert log.index("The engine is ready") < log.index("Loaded model")


@pytest.mark.process
def test_it_can_be_ended_while_it_waits(worker: WorkerProcess, engine: Engine) -> None:
    wait_for(lambda: engine.asked, worker)
    worker.process.terminate()
    assert worker.process.wait(60) == 0


# --- the CPU instead of the GPU --------------------------------------------------------------------------------------


def test_the_cpu_is_refused_where_a_gpu_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GpuMissingError, match=r"gave this worker GPU 2, but torch .* counts 0 GPUs, so .* the CPU"):
        require_planned_gpus(PlannedTraining(gpus=(2,)))
    require_planned_gpus(PlannedTraining())


def test_gpus_that_torch_sees_are_taken_and_no_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    require_planned_gpus(PlannedTraining(gpus=(0,)))
    with pytest.raises(GpuMissingError, match=r"GPUs 6, 7, but torch .* counts 1 GPUs, so it would train on fewer"):
        require_planned_gpus(PlannedTraining(gpus=(6, 7)))


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gpu", "capped"), [(True, [0.4]), (False, [])])
def test_its_tensors_are_capped_at_its_share(monkeypatch: pytest.MonkeyPatch, gpu: bool, capped: list[float]) -> None:
    caps: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", caps.append)
    cap_memory(0.4)
    assert caps == capped


@pytest.mark.parametrize(("device", "emptied"), [("cuda", [True]), ("cpu", [])])
def test_what_torch_keeps_for_the_next_batch_is_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, emptied: list[bool]
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(True))
    trainer = trainer_of(make_tiny_model(tmp_path / "model"))
    trainer.base = replace(trainer.base, device=torch.device(device))
    trainer.release_memory()
    assert calls == emptied


@pytest.mark.parametrize("error", [TrainingDroppedError("dropped"), None])
async def test_after_every_round_memory_is_given_back(tmp_path: Path, error: Exception | None) -> None:
    """Also after one that came to nothing."""
    acts: list[str] = []

    def train_weights(*_: Any) -> Any:
        acts.append("trained")
        raise error or RuntimeError("broken")

    async def report_failure(*_: Any) -> None:
        acts.append("failed")

    trainer: Any = SimpleNamespace(train_weights=train_weights, release_memory=lambda: acts.append("released"))
    owner: Any = SimpleNamespace(report_failure=report_failure)
    resources = WorkerResources(trainer, owner, tmp_path / "own", shares_folder=True, nice=False, threads=1)
    try:
        await run_round(resources, job(tmp_path))
    except RuntimeError:
        assert error is None
    assert acts == ["trained", *(["failed"] if error is None else []), "released"]
