"""What the plan decides so that every device holds what is on it: number formats, micro-batches, shares; and what it refuses.

The figures are reckoned (docs/gpu.md); here they are held to what was reckoned by hand, and to the sizes of the devices.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.launcher.plans import machine, plan_for, process_of
from wmkml.config import UNDERSTUDY, load_settings
from wmkml.config.planned import planned_engine, planned_training
from wmkml.config.schema import Settings
from wmkml.launcher import preflight
from wmkml.launcher.launch import CannotStartError, plan_anew
from wmkml.launcher.memory.devices import CUDA_CONTEXT_GIB, USABLE_SHARE
from wmkml.launcher.memory.model import GIB, KNOWN_SHAPES
from wmkml.launcher.plan import Plan
from wmkml.launcher.plan_text import plan_text
from wmkml.launcher.settings_file import write_settings

HUNDREDTHS = 0.05
"""Tolerance of sums in GiB: the parts are written down with two decimals at most."""


def gib_of(plan: Plan, process: str, gpu: int) -> float:
    return sum(held.gib for held in plan.devices[gpu].holdings if held.process == process)


@pytest.mark.parametrize(
    ("gpus", "gib", "quantization", "share", "engine_gib", "precision", "tokens", "worker_gib"),
    [
        # One card: engine 0.6 + weights 7.09 (fp8) or 13.50 + 0.14 + 1.2 + cache; worker 0.6 + 4.05 (nf4) or 13.50
        # + 0.10 + 5.62 for each 1,024 tokens.
        (1, 20, "fp8", 0.502, 10.04, "nf4", 512, 7.56),
        (1, 24, "fp8", 0.45, 10.8, "nf4", 1024, 10.37),
        (1, 32, "auto", 0.514, 16.45, "nf4", 1024, 10.37),
        (1, 40, "auto", 0.45, 18.0, "bfloat16", 1024, 19.83),
        (1, 48, "auto", 0.45, 21.6, "bfloat16", 1024, 19.83),
        (1, 80, "auto", 0.45, 36.0, "bfloat16", 4096, 36.71),
        (2, 12, "fp8", 0.9, 10.8, "nf4", 1024, 10.37),
        (2, 16, "fp8", 0.9, 14.4, "nf4", 1024, 10.37),
        # Here bfloat16 would fit with 512 tokens: nf4 with 2,048 keeps the GPU busier.
        (2, 20, "auto", 0.9, 18.0, "nf4", 2048, 16.0),
        (2, 24, "auto", 0.9, 21.6, "bfloat16", 1024, 19.83),
        (2, 40, "auto", 0.9, 36.0, "bfloat16", 4096, 36.71),
        (3, 80, "auto", 0.9, 72.0, "bfloat16", 4096, 36.71),
        (8, 80, "auto", 0.9, 72.0, "bfloat16", 4096, 36.71),
    ],
)
def test_mistral_fits_every_device(
    gpus: int,
    gib: float,
    quantization: str,
    share: float,
    engine_gib: float,
    precision: str,
    tokens: int,
    worker_gib: float,
) -> None:
    plan = plan_for(machine(gpus, gib))
    inference, tuning = plan.settings.inference, plan.settings.finetuning
    assert (inference.quantization, tuning.precision, tuning.micro_batch_tokens) == (quantization, precision, tokens)
    assert inference.gpu_memory_utilization == pytest.approx(share, abs=0.0005)
    for gpu in process_of(plan, "inference").gpus:
        assert gib_of(plan, "inference", gpu) == pytest.approx(engine_gib, abs=HUNDREDTHS)
    for gpu in process_of(plan, "worker").gpus:
        assert gib_of(plan, "worker", gpu) == pytest.approx(worker_gib, abs=HUNDREDTHS)
    assert len(plan.devices) == gpus
    for device in plan.devices:
        assert device.expected_gib <= USABLE_SHARE * gib + 1e-6
    assert plan.refusals == ()


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_the_understudy_fits_the_cpu_and_nothing_is_decided_there(engine: str) -> None:
    plan = plan_for(machine(0), model=UNDERSTUDY, engine=engine)
    assert plan.settings == plan.configured
    [device] = plan.devices
    assert device.expected_gib < 6.0
    assert plan.refusals == ()


# --- what is configured ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("configured", "decided"), [(4096, 1024), (3000, 750), (900, 900), (64, 64)])
def test_micro_batches_are_halved_until_they_fit_and_never_grow(configured: int, decided: int) -> None:
    plan = plan_for(machine(1, 24), finetuning={"micro_batch_tokens": configured})
    assert plan.settings.finetuning.micro_batch_tokens == decided


def test_a_short_micro_batch_is_counted_as_the_longest_sample() -> None:
    def activations(tokens: int) -> float:
        plan = plan_for(machine(3), finetuning={"micro_batch_tokens": tokens, "max_length": 512})
        return next(held.gib for held in plan.devices[2].holdings if held.part.startswith("activations"))

    assert activations(64) == activations(512)
    assert activations(1024) == pytest.approx(2 * activations(512))


def test_what_is_configured_by_name_is_kept() -> None:
    fixed = plan_for(machine(1, 80), finetuning={"precision": "nf4"}, inference={"quantization": "fp8"})
    assert (fixed.settings.finetuning.precision, fixed.settings.inference.quantization) == ("nf4", "fp8")
    assert fixed.settings.finetuning.micro_batch_tokens == 4096
    none = plan_for(machine(1, 24), inference={"quantization": "none"})
    assert none.settings.inference.quantization == "none"
    assert "inference.quantization: auto" in none.refusals[0]
    bfloat16 = plan_for(machine(1, 24), finetuning={"precision": "bfloat16"})
    assert bfloat16.settings.finetuning.precision == "bfloat16"
    assert "finetuning.precision: auto" in bfloat16.refusals[0]


@pytest.mark.parametrize(("gpus", "engine"), [(1, "transformers"), (0, "vllm")])
def test_a_number_format_that_is_not_used_is_told(gpus: int, engine: str) -> None:
    plan = plan_for(machine(gpus), engine=engine, inference={"quantization": "fp8"})
    assert any("quantization: fp8 is for vLLM on a GPU" in notice for notice in plan.notices)
    assert not any("quantization" in notice for notice in plan_for(machine(gpus), engine=engine).notices)


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_what_cannot_fit_is_refused_with_the_numbers_of_the_device() -> None:
    plan = plan_for(machine(1, 16))
    [refusal] = plan.refusals
    for part in (
        "GPU 0 (pretended GPU): 17.6 GiB are needed, and 15.2 of its 16.0 can be used",
        "inference 10.0 (CUDA 0.6, weights (fp8) 7.1",
        "worker 7.6 (CUDA 0.6, weights (nf4) 4.1",
        "a larger GPU or a second one",
        "general.model_name",
    ):
        assert part in refusal
    assert any(refusal in problem for problem in preflight.problems(plan))
    assert refusal in plan_text(plan)


def test_only_the_device_that_is_too_small_is_named() -> None:
    plan = plan_for(machine(2, 24), finetuning={"precision": "float32"})
    [refusal] = plan.refusals
    assert refusal.startswith("GPU 1 (pretended GPU): 30.5 GiB are needed")
    assert "inference" not in refusal


def test_without_vllm_a_small_gpu_is_refused_and_vllm_is_named() -> None:
    [refusal] = plan_for(machine(1, 24), engine="transformers").refusals
    assert "inference.engine" in refusal


def test_a_machine_without_a_gpu_is_refused_by_its_memory() -> None:
    small = machine(0)
    plan = plan_for(small)
    assert plan.refusals == ()
    [refusal] = plan_for(type(small)((), 8, 16.0, display=False, vllm=True)).refusals
    assert "inference.kv_cache_gib" in refusal


@pytest.mark.parametrize("model", ["org/secret-7B", "org/secret"])
def test_a_model_that_is_only_estimated_is_not_refused_but_told(model: str) -> None:
    plan = plan_for(machine(1, 16), model=model)
    assert plan.refusals == ()
    assert any("by an estimate: GPU 0" in notice for notice in plan.notices)


def test_after_the_download_the_plan_is_made_for_the_model_as_it_is(tmp_path: Path) -> None:
    plan = plan_for(machine(1, 24), model="org/secret-1b", root=tmp_path)
    assert plan.settings.finetuning.precision == "bfloat16"
    plan.paths.model.mkdir(parents=True)
    config = plan.paths.model / "config.json"
    mistral = KNOWN_SHAPES["mistralai/Mistral-7B-Instruct-v0.3"]
    config.write_text(json.dumps(mistral), encoding="utf-8")
    anew = plan_anew(plan)
    assert (anew.settings.finetuning.precision, anew.settings.inference.quantization) == ("nf4", "fp8")
    config.write_text(json.dumps({**mistral, "num_hidden_layers": 80}), encoding="utf-8")
    with pytest.raises(CannotStartError, match="GiB are needed"):
        plan_anew(plan)


# --- what the processes are given ------------------------------------------------------------------------------------


def test_the_settings_file_holds_what_was_decided(tmp_path: Path) -> None:
    plan = plan_for(machine(1, 24), root=tmp_path)
    read = load_settings(write_settings(plan.settings, plan.paths))
    assert read == plan.settings
    assert (read.finetuning.precision, read.finetuning.micro_batch_tokens) == ("nf4", 1024)
    assert read.inference.quantization == "fp8"


@pytest.mark.parametrize("gib", [20, 24, 32, 40, 80])
def test_on_a_shared_card_both_are_capped_and_a_restarted_engine_has_its_share(gib: float) -> None:
    plan = plan_for(machine(1, gib))
    engine = planned_engine(process_of(plan, "inference").environment)
    worker = planned_training(process_of(plan, "worker").environment)
    cache = next(held.gib for held in plan.devices[0].holdings if held.part.startswith("key-value cache"))
    assert engine.kv_cache_bytes == pytest.approx(cache * GIB, abs=1)
    assert worker.share is not None
    worker_gib = worker.share * gib
    # The cap is on tensors: what CUDA itself holds for the worker comes on top.
    assert gib_of(plan, "worker", 0) - CUDA_CONTEXT_GIB <= worker_gib + 0.01
    assert gib_of(plan, "inference", 0) + worker_gib + CUDA_CONTEXT_GIB <= USABLE_SHARE * gib + 0.01
    # vLLM refuses to start with less than its share free.
    left = gib - worker_gib - CUDA_CONTEXT_GIB
    assert plan.settings.inference.gpu_memory_utilization * gib <= left


@pytest.mark.parametrize("gpus", [0, 2, 3])
def test_who_has_a_device_alone_is_given_no_share_of_it(gpus: int) -> None:
    plan = plan_for(machine(gpus))
    assert planned_engine(process_of(plan, "inference").environment).kv_cache_bytes is None
    assert planned_training(process_of(plan, "worker").environment).share is None


def test_the_transformers_engine_has_no_cache_of_a_size_to_give() -> None:
    plan = plan_for(machine(1), engine="transformers")
    assert planned_engine(process_of(plan, "inference").environment).kv_cache_bytes is None
    assert planned_training(process_of(plan, "worker").environment).share is not None


@pytest.mark.parametrize(
    ("gpus", "pretended", "given"), [(0, False, ()), (1, False, (0,)), (3, False, (2,)), (3, True, ())]
)
def test_the_worker_knows_the_gpu_it_was_given_unless_it_is_pretended(
    gpus: int, pretended: bool, given: tuple[int, ...]
) -> None:
    plan = plan_for(machine(gpus, pretended=pretended))
    assert planned_training(process_of(plan, "worker").environment).gpus == given


def test_a_process_without_a_plan_decides_for_itself() -> None:
    assert (planned_engine({}).replicas, planned_engine({}).kv_cache_bytes) == (1, None)
    assert (planned_training({}).gpus, planned_training({}).share) == ((), None)
    assert Settings().finetuning.precision == "auto"
