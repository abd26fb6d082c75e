"""Inference that asks a deployment elsewhere (`inference.url`), a stand-in of `vllm serve`: swaps, proofs, and what it may lack."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.random_model import make_adapter
from tests.engine.vllm_server_stand_in import NAME, vllm_server_stand_in
from tests.inference.probes import with_probe
from tests.inference.requests import text
from tests.inference.service import InferenceProcess, running
from tests.waiting import until
from wmkml.config import ConfigError, load_settings

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


def test_what_a_deployment_lacks_is_told_and_done_without(model: Path, adapter: Path, tmp_path: Path) -> None:
    lacks = ["priorities", "prompt-logprobs", "forgetting"]
    with (
        vllm_server_stand_in(model, tmp_path / "there", lacks) as url,
        running(tmp_path / "here", model, "auto", inference__url=url) as service,
    ):
        proof = service.load(place(service, adapter), 0).json()["proof"]
        assert (proof["verdict"], proof["distance"], proof["noise"]) == ("unproved", None, None)
        assert proof["moved"] > 0.1
        assert text(service.ask(model="iteration-0", max_tokens=20, audience="echo"))
        assert service.post("/unload").status_code == 200
        for warning in ("has no priorities", "swaps stay unproved", "VLLM_SERVER_DEV_MODE=1", "is not proved"):
            assert warning in service.log


def test_a_deployment_that_takes_no_adapters_at_run_time_refuses_with_what_to_do(
    model: Path, adapter: Path, tmp_path: Path
) -> None:
    with (
        vllm_server_stand_in(model, tmp_path / "there", ["runtime-adapters"]) as url,
        running(tmp_path / "here", model, "auto", inference__url=url) as service,
    ):
        reply = service.load(place(service, adapter), 0)
        assert reply.status_code == 400
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in reply.json()["error"]
        assert service.ask().status_code == 200


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
