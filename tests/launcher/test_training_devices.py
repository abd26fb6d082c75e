"""The plan where several GPUs train a round: which they are, what each holds, and what is refused.

The figures are reckoned (docs/gpu.md); here they are held to what was reckoned by hand.
"""

from __future__ import annotations

import pytest

from tests.launcher.plans import MISTRAL, machine, plan_for, process_of
from wmkml.config.planned import planned_training
from wmkml.launcher.plan import Plan
from wmkml.launcher.plan_text import plan_text

LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"


def gpus_of(plan: Plan) -> tuple[int, int, int]:
    """How many serve, how many train, and how many do neither."""
    serving, training = (process_of(plan, name).gpus for name in ("inference", "worker"))
    assert not set(serving) & set(training) or len(training) == 1
    assert training == tuple(range(len(plan.machine.gpus)))[-len(training) :]
    return len(serving), len(training), len(plan.machine.gpus) - len({*serving, *training})


@pytest.mark.parametrize(
    ("gpus", "devices", "expected"),
    [
        # By default all is as it was.
        (1, 1, (1, 1, 0)),
        (2, 1, (1, 1, 0)),
        (3, 1, (2, 1, 0)),
        (8, 1, (7, 1, 0)),
        # A copy of the model always serves.
        (1, 2, (1, 1, 0)),
        (2, 2, (1, 1, 0)),
        (3, 2, (1, 2, 0)),
        (8, 2, (6, 2, 0)),
        (8, 16, (1, 7, 0)),
        # 0: the plan decides; a model of 7B needs one.
        (3, 0, (2, 1, 0)),
    ],
)
def test_so_many_gpus_train_as_are_wished_for_and_left(gpus: int, devices: int, expected: tuple[int, int, int]) -> None:
    plan = plan_for(machine(gpus, pretended=False), finetuning={"devices": devices})
    assert gpus_of(plan) == expected
    training = process_of(plan, "worker")
    assert planned_training(training.environment).gpus == training.gpus
    assert plan.settings.finetuning.devices == len(training.gpus)
    assert plan.settings.finetuning.parallel == ("ddp" if len(training.gpus) > 1 else "auto")
    assert any("finetuning.devices wishes" in notice for notice in plan.notices) == (devices > len(training.gpus))
    assert plan.refusals == ()


def test_the_three_card_pod_can_train_on_two_and_a_worker_alone_on_all() -> None:
    plan = plan_for(machine(3), finetuning={"devices": 2})
    assert "worker     GPUs 1, 2 (data parallel × 2), 8 threads finetune_worker.py" in plan_text(plan)
    first, second = plan.devices[1:]
    # As one that trains alone, and what the two send each other.
    assert first.expected_gib == second.expected_gib == pytest.approx(36.71 + 0.5, abs=0.05)
    remote: dict[str, object] = {"engine": "remote", "url": "http://10.0.0.4:8000"}
    alone = plan_for(machine(4), inference=remote, engine="remote", finetuning={"devices": 4})
    assert process_of(alone, "worker").gpus == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("gpus", "together", "devices", "expected", "precision", "parallel", "tokens", "gib"),
    [
        # 70B by its name: 125.8 GiB in bfloat16, 37.7 in nf4; 0.5 adapter, 24.5 for each 1,024 tokens, 0.6 CUDA, 0.5 NCCL;
        # gathered at once 3.6 for two layers and 1.1 for embeddings and head.
        (4, 2, 2, (2, 2, 0), "nf4", "ddp", 1024, 63.8),
        (8, 4, 4, (4, 4, 0), "bfloat16", "fsdp", 1024, 62.3),
        # The plan decides: the three that tensor_parallel_size leaves over train too.
        (8, 4, 0, (4, 4, 0), "bfloat16", "fsdp", 1024, 62.3),
        (16, 4, 8, (8, 8, 0), "bfloat16", "fsdp", 2048, 71.1),
    ],
)
def test_a_model_of_70b_is_divided_among_the_gpus_where_it_fits_so(
    gpus: int,
    together: int,
    devices: int,
    expected: tuple[int, int, int],
    precision: str,
    parallel: str,
    tokens: int,
    gib: float,
) -> None:
    plan = plan_for(
        machine(gpus),
        LLAMA_70B,
        inference={"tensor_parallel_size": together},
        finetuning={"devices": devices},
    )
    assert not any("may not fit" in notice for notice in plan.notices)
    tuning = plan.settings.finetuning
    assert (gpus_of(plan), plan.refusals) == (expected, ())
    assert (tuning.precision, tuning.parallel, tuning.micro_batch_tokens) == (precision, parallel, tokens)
    held = [holding.gib for holding in plan.devices[-1].holdings if holding.process == "worker"]
    assert sum(held) == pytest.approx(gib, abs=0.1)


def test_what_is_configured_by_name_is_kept() -> None:
    divided = plan_for(machine(3), MISTRAL, finetuning={"devices": 2, "parallel": "fsdp"})
    assert (divided.settings.finetuning.parallel, divided.settings.finetuning.precision) == ("fsdp", "bfloat16")
    parts = {holding.part: holding.gib for holding in divided.devices[2].holdings}
    assert parts["weights (bfloat16), 1/2 of them"] == pytest.approx(13.5 / 2, abs=0.01)
    assert "weights divided, fsdp × 2" in plan_text(divided)
    whole = plan_for(
        machine(8), LLAMA_70B, inference={"tensor_parallel_size": 4}, finetuning={"devices": 4, "parallel": "ddp"}
    )
    assert (whole.settings.finetuning.parallel, whole.settings.finetuning.precision) == ("ddp", "nf4")


def test_what_is_left_over_is_named_with_the_setting_that_uses_it() -> None:
    [notice] = [
        notice for notice in plan_for(machine(8), inference={"tensor_parallel_size": 4}).notices if "not used" in notice
    ]
    assert "3 of 8 GPUs are not used" in notice
    assert "With finetuning.devices: 4 they train too." in notice


def test_two_machines_of_eight_each_train_at_the_head_alone() -> None:
    plan = plan_for(machine(8), inference={"nodes": ["10.0.0.5"]}, finetuning={"devices": 2})
    assert gpus_of(plan) == (6, 2, 0)
    assert "node       10.0.0.5" in plan_text(plan)
