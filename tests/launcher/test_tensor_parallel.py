"""A model on several GPUs together: how many copies serve, what each GPU holds, and what the plan says of it."""

from __future__ import annotations

import pytest

from tests.launcher.plans import machine, plan_for, process_of
from wmkml.config.planned import planned_engine, planned_training
from wmkml.launcher.memory.devices import USABLE_SHARE, Device
from wmkml.launcher.plan_text import plan_text


def weights_of(device: Device, process: str = "inference") -> float:
    return sum(held.gib for held in device.holdings if held.process == process and held.part.startswith("weights"))


@pytest.mark.parametrize(
    ("gpus", "together", "serve", "copies", "idle"),
    [
        (1, 1, (0,), 1, 0),
        (2, 1, (0,), 1, 0),
        (3, 1, (0, 1), 2, 0),
        (8, 1, (0, 1, 2, 3, 4, 5, 6), 7, 0),
        (2, 2, (0, 1), 1, 0),
        (3, 2, (0, 1), 1, 0),
        (8, 2, (0, 1, 2, 3, 4, 5), 3, 1),
        (8, 4, (0, 1, 2, 3), 1, 3),
        (8, 8, (0, 1, 2, 3, 4, 5, 6, 7), 1, 0),
    ],
)
def test_copies_times_gpus_together_are_the_gpus_that_serve(
    gpus: int, together: int, serve: tuple[int, ...], copies: int, idle: int
) -> None:
    plan = plan_for(machine(gpus), inference={"tensor_parallel_size": together})
    inference, worker = process_of(plan, "inference"), process_of(plan, "worker")
    assert (inference.gpus, worker.gpus) == (serve, (gpus - 1,))
    assert planned_engine(inference.environment).replicas == copies
    assert copies * together == len(serve)
    assert plan.refusals == ()
    assert sum("not used: inference.tensor_parallel_size" in notice for notice in plan.notices) == (idle > 0)
    text = plan_text(plan)
    assert (f"data parallel × {copies}" in text) == (copies > 1)
    assert (f"tensor parallel × {together}" in text) == (together > 1)
    assert all(device.expected_gib <= USABLE_SHARE * 80 + 1e-6 for device in plan.devices)


def test_weights_and_cache_are_divided_over_the_gpus_of_a_copy() -> None:
    whole = plan_for(machine(3)).devices[0]
    half = plan_for(machine(3), inference={"tensor_parallel_size": 2}).devices[0]
    assert weights_of(half) == pytest.approx(weights_of(whole) / 2)
    tokens = [next(held.part for held in device.holdings if "cache" in held.part) for device in (whole, half)]
    of_whole, of_half = (int(part.split("(")[1].split()[0].replace(",", "")) for part in tokens)
    assert of_half > 2 * of_whole, "a token takes half as much, and the weights leave more"


def test_a_model_of_70b_serves_on_four_cards_and_trains_in_nf4_on_a_fifth() -> None:
    model = "meta-llama/Llama-3.3-70B-Instruct"
    plan = plan_for(machine(8), model=model, inference={"tensor_parallel_size": 4, "quantization": "none"})
    assert process_of(plan, "inference").gpus == (0, 1, 2, 3)
    assert plan.settings.finetuning.precision == "nf4"
    assert not [notice for notice in plan.notices if "may not fit" in notice]
    alone = plan_for(machine(8), model=model, inference={"quantization": "none"})
    assert [notice for notice in alone.notices if "may not fit" in notice]


def test_on_as_many_gpus_as_a_copy_takes_the_worker_shares_the_last_and_both_are_capped() -> None:
    plan = plan_for(machine(2, 40), inference={"tensor_parallel_size": 2})
    assert plan.settings.inference.gpu_memory_utilization == pytest.approx(0.45)
    assert planned_engine(process_of(plan, "inference").environment).kv_cache_bytes is not None
    assert weights_of(plan.devices[0], "worker") == 0 < weights_of(plan.devices[1], "worker")
    assert "GPU 1 (shared)" in plan_text(plan)


@pytest.mark.parametrize(("gpus", "together", "there"), [(0, 2, "are none"), (1, 2, "is 1"), (2, 3, "are 2")])
def test_too_few_gpus_are_refused(gpus: int, together: int, there: str) -> None:
    [refusal] = [
        refusal
        for refusal in plan_for(machine(gpus), inference={"tensor_parallel_size": together}).refusals
        if "tensor" in refusal
    ]
    assert f"needs as many GPUs, and there {there} here" in refusal


def test_a_number_that_does_not_divide_the_heads_is_refused_and_transformers_use_none() -> None:
    [refusal] = plan_for(machine(8), inference={"tensor_parallel_size": 3}).refusals
    assert "32 attention heads" in refusal
    plan = plan_for(machine(3), engine="transformers", inference={"tensor_parallel_size": 2})
    assert process_of(plan, "inference").gpus == (0,)
    assert any("tensor_parallel_size is for vLLM" in notice for notice in plan.notices)


@pytest.mark.parametrize("gpus", [0, 1, 3])
def test_an_engine_elsewhere_takes_no_gpu_here_and_the_last_one_trains(gpus: int) -> None:
    plan = plan_for(machine(gpus), engine="remote", inference={"url": "http://10.0.0.9:8000"})
    assert process_of(plan, "inference").gpus == ()
    assert process_of(plan, "worker").gpus == ((gpus - 1,) if gpus else ())
    assert planned_training(process_of(plan, "worker").environment).share is None
    held = [held for device in plan.devices for held in device.holdings if held.process == "inference"]
    assert [held.part for held in held] == (["program"] if gpus == 0 else [])
    text = plan_text(plan)
    assert "remote at http://10.0.0.9:8000" in text and "CPU, asks elsewhere" in text
    assert plan.refusals == ()
