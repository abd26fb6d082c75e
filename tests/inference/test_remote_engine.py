"""Inference that asks a deployment elsewhere (`inference.url`), a stand-in of `vllm serve`: swaps, proofs, and what it may lack."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.engine.random_model import RANK, make_adapter
from tests.engine.vllm_server_stand_in import NAME, make_app, vllm_server_stand_in
from tests.inference.probes import with_probe
from tests.inference.requests import text
from tests.inference.service import InferenceProcess, running
from tests.waiting import until
from wmkml.adapters.checks import AdapterRefusedError
from wmkml.config import ConfigError, load_settings
from wmkml.engine.protocol import Generation, Sampling
from wmkml.engine.remote_engine import RemoteEngine
from wmkml.engine.remote_protocol import Deployment, ProtocolError
from wmkml.engine.setup import EngineSetup
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.inference.adapter_registry import AdapterRegistry
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with the probe that its trainer would have left."""
    return with_probe(model, make_adapter(model, tmp_path_factory.mktemp("adapter") / "a", seed=40))


def place(service: InferenceProcess, adapter: Path) -> Path:
    return Path(shutil.copytree(adapter, service.runs / "run" / "a"))


def test_a_round_is_swapped_in_and_proved(model: Path, adapter: Path, tmp_path: Path) -> None:
    with (
        vllm_server_stand_in(model, tmp_path / "there") as url,
        running(tmp_path / "here", model, "auto", inference__url=f"{url}/v1/", inference__url_model=NAME) as service,
    ):
        assert service.http.get("/healthz").json()["engine"] == "remote"
        base = text(service.ask(max_tokens=20))
        reply = service.load(place(service, adapter), 0)
        assert reply.json()["proof"]["verdict"] == "proved", reply.text
        assert service.post("/current", iteration=0).status_code == 200
        answer = service.ask(max_tokens=20, logprobs=True, top_logprobs=3)
        assert text(answer) == text(service.ask(model="iteration-0", max_tokens=20)) != base
        assert len(answer.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3
        assert text(service.ask(model=str(model), max_tokens=20)) == base
        assert service.post("/unload").json()["unloaded"] == [0]
    assert "Traceback" not in service.log


def test_a_deployment_that_dies_ends_inference_which_waits_for_it_anew(model: Path, tmp_path: Path) -> None:
    with running(tmp_path / "here", model, "auto", ready=False, inference__url="http://127.0.0.1:9") as service:
        until(lambda: service.http.get("/healthz").status_code == 503, "inference to wait")
        assert service.process.poll() is None
    with vllm_server_stand_in(model, tmp_path / "there") as url:
        context = running(tmp_path / "here", model, "auto", inference__url=url)
        service = context.__enter__()
    assert service.process.wait(30) == 1
    assert "does not answer" in service.log
    context.__exit__(None, None, None)


@contextlib.asynccontextmanager
async def asked(model: Path, *lacks: str, start: bool = True) -> AsyncIterator[tuple[RemoteEngine, AdapterRegistry]]:
    """An engine that asks a deployment in this process over HTTP, and the iterations of it."""
    port = free_port()
    there = TransformersEngine(EngineSetup(model, adapters=16, rank=RANK, dtype="float32", threads=1))
    await there.start()
    server = uvicorn.Server(uvicorn.Config(make_app(there, lacks), port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    engine = RemoteEngine(EngineSetup(model, adapters=1, rank=RANK), Deployment(f"http://127.0.0.1:{port}"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            if start:
                await engine.start()
            yield engine, AdapterRegistry(engine, Path(folder) / "serving")
        finally:
            await engine.stop()
            server.should_exit = True
            await serving
            await there.stop()


async def test_what_a_deployment_lacks_is_told_and_done_without(
    model: Path, adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with asked(model, "priorities", "prompt-logprobs", "forgetting") as (engine, registry):
        proof = await registry.load(adapter, 0)
        assert proof is not None
        assert (proof.verdict, proof.distance, proof.noise) == ("unproved", None, None)
        assert proof.moved > 0.1
        loaded = registry.acquire(0).adapter
        answer = Generation("a", (5, 6, 7), Sampling(0.0, 1.0, max_tokens=4), loaded, priority=2)
        assert [step async for step in engine.generate(answer)]
        await registry.unload(None)
        for warning in ("has no priorities", "swaps stay unproved", "VLLM_SERVER_DEV_MODE=1", "is not proved"):
            assert warning in caplog.text


async def test_a_deployment_that_takes_no_adapters_at_run_time_refuses_with_what_to_do(
    model: Path, adapter: Path
) -> None:
    async with asked(model, "runtime-adapters") as (engine, registry):
        for _ in range(2):
            with pytest.raises(AdapterRefusedError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
                await registry.load(adapter, 0)
        assert [step async for step in engine.generate(Generation("a", (5, 6), Sampling(0.0, 1.0, max_tokens=3)))]


async def test_a_probe_that_is_refused_or_answered_by_something_else_refuses_the_adapter_and_takes_no_place(
    model: Path, adapter: Path
) -> None:
    """There is one place, and as many tries as it takes to see it lost."""
    for lack, sentence in (("long-probes", "refuses this request"), ("completions", "what is no completion")):
        async with asked(model, lack) as (engine, registry):
            for _ in range(3):
                with pytest.raises(AdapterRefusedError, match=sentence):
                    await registry.load(adapter, 0)
            assert engine.alive()
            assert registry.iterations == [-1]


async def test_whatever_goes_wrong_with_a_proof_takes_no_place(
    model: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(model) as (engine, registry):

        async def break_down(*_: object) -> list[list[float]]:
            raise ArithmeticError("nobody foresaw this")

        with monkeypatch.context() as patch:
            patch.setattr(engine, "log_probabilities", break_down)
            for _ in range(2):
                with pytest.raises(ArithmeticError):
                    await registry.load(adapter, 0)
        proof = await registry.load(adapter, 0)
        assert proof is not None and proof.verdict == "proved"
        await registry.unload(None)


async def test_a_deployment_with_a_shorter_window_is_refused_at_the_start(model: Path) -> None:
    async with asked(model, "window", start=False) as (engine, _):
        with pytest.raises(
            ProtocolError, match=r"at most 100 tokens .* window is 512: set inference.max_model_len to 100"
        ):
            await engine.start()


async def test_what_is_no_list_of_models_is_no_deployment(model: Path) -> None:
    async with asked(model, "models", start=False) as (engine, _):
        with pytest.raises(ProtocolError, match="is no list of models"):
            await engine.start()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"inference.engine": "remote"}, "inference.url: '' is not allowed"),
        ({"inference.engine": "vllm", "inference.url": "http://a"}, "allowed: auto or remote"),
        ({"inference.url": "10.0.0.9:8000"}, "allowed: http://"),
        ({"inference.url_adapter_name": "lora"}, "allowed: a text with {name} in it"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_settings(overrides=values)
    assert sentence in str(refusal.value)
