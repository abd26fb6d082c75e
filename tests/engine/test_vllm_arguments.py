"""What vLLM is started with, read back from the configuration that the installed vLLM makes of it; no model is loaded."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.engine.random_model import RANK, make_model
from wmkml.engine.setup import EngineSetup, ModelUnusableError
from wmkml.engine.vllm_engine import VllmEngine, engine_arguments


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> EngineSetup:
    return EngineSetup(make_model(tmp_path_factory.mktemp("model")), adapters=3, rank=RANK, sequences=16)


def configuration(setup: EngineSetup, *, on_cpu: bool = True) -> Any:
    """vLLM's own configuration."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return AsyncEngineArgs(**engine_arguments(setup, on_cpu=on_cpu)).create_engine_config()


@pytest.mark.vllm
@pytest.mark.process
def test_vllm_keeps_places_for_adapters_in_the_configured_layers_alone(setup: EngineSetup) -> None:
    assert configuration(setup).lora_config.target_modules is None
    named = replace(setup, target_modules=("q_proj", "self_attn.v_proj"))
    assert configuration(named).lora_config.target_modules == ["q_proj", "v_proj"]


@pytest.mark.vllm
@pytest.mark.process
def test_steps_that_vllm_joins_for_a_slow_reader_are_those_it_passes_on_at_once(setup: EngineSetup) -> None:
    from vllm.logprobs import FlatLogprobs

    # Four likely tokens of two steps, each with the drawn token before them: the likeliest, and one that is not among them.
    ids, values = [7, 5, 6, 8], [-0.5, -1.0, -2.0, -3.0]
    at_once = FlatLogprobs()
    for token, logprob in ((7, -0.5), (9, -6.0)):
        ranks = itertools.chain((1,), range(1, 5))
        at_once.append_fast([token, *ids], [logprob, *values], ranks, [None] * 5)
    joined = FlatLogprobs()
    joined.extend(at_once)
    assert joined.end_indices != at_once.end_indices, "vLLM leaves out the second entry of the drawn token"
    engine = VllmEngine(setup)
    for logprobs in (at_once, joined):
        first, second = (engine._step(token, logprobs, place, None) for place, token in enumerate((7, 9)))
        assert (first.logprob, first.top) == (-0.5, tuple(zip(ids, values, strict=True)))
        assert (second.logprob, second.top) == (-6.0, (*zip(ids, values, strict=True), (9, -6.0)))


@pytest.mark.vllm
@pytest.mark.process
def test_vllm_takes_the_size_of_the_cache_and_makes_fp8_of_16_bit_weights_itself(setup: EngineSetup) -> None:
    """The configuration for a GPU, made where there is none: that vLLM knows these names, not that they serve."""
    shared = replace(setup, quantization="fp8", kv_cache_bytes=5 * 2**30, gpu_share=0.45)
    made = configuration(shared, on_cpu=False)
    assert made.cache_config.kv_cache_memory_bytes == 5 * 2**30
    assert made.cache_config.gpu_memory_utilization == 0.45
    assert made.model_config.quantization == "fp8_per_tensor"
    assert type(made.quant_config).__name__ == "OnlineQuantizationConfig"


def test_on_a_cpu_neither_is_asked_for(setup: EngineSetup) -> None:
    arguments = engine_arguments(replace(setup, quantization="fp8", kv_cache_bytes=5 * 2**30), on_cpu=True)
    assert (arguments["quantization"], arguments["kv_cache_memory_bytes"]) == (None, None)


def with_stored_format(setup: EngineSetup, folder: Path, method: str) -> EngineSetup:
    config = {**setup.config, "quantization_config": {"quant_method": method}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return replace(setup, model=folder)


@pytest.mark.parametrize(
    ("stored", "configured", "given"),
    [
        (None, "auto", None),
        (None, "none", None),
        (None, "fp8", "fp8_per_tensor"),
        ("fp8", "fp8", None),
        ("awq", "awq", "awq"),
        ("awq", "auto", None),
    ],
)
def test_the_number_format_is_named_as_vllm_names_it(
    setup: EngineSetup, tmp_path: Path, stored: str | None, configured: Any, given: str | None
) -> None:
    there = replace(setup, quantization=configured)
    if stored is not None:
        there = with_stored_format(there, tmp_path, stored)
    assert engine_arguments(there, on_cpu=False)["quantization"] == given


def test_a_folder_in_another_format_than_configured_is_refused(setup: EngineSetup, tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError, match=r"gptq needs a model in that format; .* in 16 or 32 bits"):
        engine_arguments(replace(setup, quantization="gptq"), on_cpu=False)
    stored = with_stored_format(replace(setup, quantization="gptq"), tmp_path, "awq")
    with pytest.raises(ModelUnusableError, match=r"is awq by its config\.json"):
        engine_arguments(stored, on_cpu=False)


@pytest.mark.vllm
@pytest.mark.process
def test_vllm_reads_transformers_files_where_mistrals_own_lie_beside_them(setup: EngineSetup, tmp_path: Path) -> None:
    for file in setup.model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "params.json").write_text(json.dumps({"dim": 1}))
    (tmp_path / "consolidated.safetensors").symlink_to(setup.model / "model.safetensors")
    (tmp_path / "tekken.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "model.safetensors"}}))
    made = configuration(replace(setup, model=tmp_path))
    assert made.model_config.hf_config.hidden_size == setup.config["hidden_size"]
    assert made.load_config.load_format == "hf"
    assert configuration(setup).load_config.load_format == "auto"


class RankedCores:
    """A stand-in of vLLM with three data-parallel ranks, of which each gives its own log-probabilities: there are no three GPUs."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []

    async def generate(self, prompt: Any, *_: object, data_parallel_rank: int | None, **__: object) -> Any:
        self.asked.append(data_parallel_rank)
        value = -1.0 - (data_parallel_rank or 0)
        entries = [{token: SimpleNamespace(logprob=value)} for token in prompt["prompt_token_ids"]]
        yield SimpleNamespace(prompt_logprobs=[None, *entries[1:]])


@pytest.mark.vllm
@pytest.mark.process
@pytest.mark.parametrize(
    ("replicas", "ranks", "values"), [(1, [None], [[-1.0] * 2]), (3, [0, 1, 2], [[-1.0] * 2, [-2.0] * 2, [-3.0] * 2])]
)
async def test_every_data_parallel_rank_is_asked_for_its_own(
    setup: EngineSetup, replicas: int, ranks: list[int | None], values: list[list[float]]
) -> None:
    engine = VllmEngine(replace(setup, replicas=replicas))
    cores = RankedCores()
    engine._llm = cast("Any", cores)
    assert await engine.log_probabilities([5, 6, 7], None) == values
    assert cores.asked == ranks
