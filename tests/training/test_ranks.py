"""Training on several devices: two processes learn what one learns, agree on what stops them, and end together.

Processes are started as seldom as the cases allow; those of the first test are forked from one that has imported torch.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.training.tiny_model import CPU, make_tiny_model
from tests.training.tiny_rounds import RecordingWatcher, job, tensors
from tests.warm_processes import MODEL, warm_children
from wmkml.adapters.probe import read_probe as read_probe_file
from wmkml.config import Settings
from wmkml.training import loop
from wmkml.training.base_model import load_base
from wmkml.training.kernels.choice import Reading, read_probe
from wmkml.training.loop import NullWatcher, OptimizerStep, TrainingDroppedError, TrainingSpoiledError, Watcher
from wmkml.training.ranks.group import RankGroup
from wmkml.training.ranks.pool import RankLostError, RankPool
from wmkml.training.ranks.process import RankPlan, RankSeat
from wmkml.training.ranks.sharding import load_sharded_base
from wmkml.training.ranks.trainer import RankedTrainer
from wmkml.training.rounds import PreviousAdapter, RoundTrainer
from wmkml.training.samples import IGNORED, TokenizedSample
from wmkml.training.trainer_factory import EXPECTED_ERRORS, make_trainer

SMALL = 70
"""Tokens that rank 1 can hold at once: less than the two micro-batches of 64 that both begin with."""

PATIENCE = 4.0
"""Seconds after which ranks that stand still are given up, once that is tried."""

LONG = [("Was?", "Brot. " * 9)] * 60
"""Pairs of a round that takes some seconds."""

logits_of = loop._logits


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def settings_of(parallel: str) -> Settings:
    """Steps of five samples in several micro-batches, of which the ranks get unlike numbers; no dropout."""
    tiny = {"lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "precision": "float32", "optimizer": "adamw"}
    steps = {"batch_size": 5, "micro_batch_tokens": 128, "max_length": 64, "parallel": parallel}
    return Settings.model_validate({"finetuning": {**tiny, **steps}})


def logits_in_small_memory(model: torch.nn.Module, ids: torch.Tensor, **arguments: Any) -> torch.Tensor:
    if ids.numel() > SMALL:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return logits_of(model, ids, **arguments)


def trainer_of_rank(settings: Settings, model: Path, micro_batch_tokens: int, seat: RankSeat) -> RoundTrainer:
    """As the worker's; rank 1 runs out of memory as a full device does."""
    if seat.group.rank == 1:
        loop._logits = logits_in_small_memory
    return make_trainer(settings, model, seat, micro_batch_tokens)


def assert_alike(folder: Path, other: Path) -> None:
    """Their weights are the same but for rounding: AdamW makes more of it where a gradient is near zero."""
    differences = {name: float((tensors(folder)[name] - tensor).abs().max()) for name, tensor in tensors(other).items()}
    assert max(differences.values()) < 1e-5, differences


class FatalWatcher(RecordingWatcher):
    """Sends a signal to a process after the first step."""

    def __init__(self, process: int, number: signal.Signals) -> None:
        super().__init__()
        self.process, self.number = process, number

    def on_step(self, done: OptimizerStep) -> None:
        if done.step == 1:
            os.kill(self.process, self.number)


@pytest.fixture
def warm_ranks() -> Iterator[None]:
    """Processes of ranks need not import everything anew."""
    with warm_children(MODEL):
        yield


@pytest.mark.process
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("warm_ranks")
@pytest.mark.parametrize(
    ("parallel", "number", "sentence"),
    [
        ("ddp", signal.SIGKILL, "process 1 of 2 ended by signal 9"),
        ("fsdp", signal.SIGSTOP, "none went on for"),
    ],
)
def test_two_processes_learn_what_one_learns(
    parallel: str, number: signal.Signals, sentence: str, model_folder: Path, tmp_path: Path
) -> None:
    plan = RankPlan(2, parallel == "fsdp", threads=1, expected=EXPECTED_ERRORS)
    build = partial(trainer_of_rank, settings_of(parallel), model_folder)
    trainer, watcher = RankedTrainer(build, plan, 128, 64), RecordingWatcher()
    single = make_trainer(settings_of(parallel), model_folder)
    first = single.train(job(tmp_path / "single-0"), NullWatcher())
    try:
        trainer.start()
        ids = trainer.pool.process_ids
        result = trainer.train_weights(job(tmp_path / "ranks-0"), watcher)
        sha256 = trainer.save_adapter(tmp_path / "ranks-0")
        assert len(result.losses) == 4
        assert result.losses == pytest.approx(first.result.losses, abs=1e-6)
        assert [step.loss for step in watcher.steps] == list(result.losses)
        assert result.tokens == first.result.tokens
        assert_alike(tmp_path / "ranks-0", tmp_path / "single-0")
        of_single, of_ranks = (read_probe_file(tmp_path / name) for name in ("single-0", "ranks-0"))
        assert of_single is not None
        assert of_ranks is not None
        assert of_ranks.adapter == pytest.approx(of_single.adapter, abs=1e-5)

        for together, alone in (
            (trainer.measure_model(), single.measure_model()),
            (trainer.measure_base(), single.measure_base()),
        ):
            assert None not in alone.values.values()
            assert together.values == pytest.approx(alone.values, rel=1e-3, abs=1e-6)
            assert together.layers["lora_update"] == pytest.approx(alone.layers["lora_update"], rel=1e-3)

        # Memory ran out on rank 1, and all have smaller batches.  Where each holds a part of the model the largest batch
        # is tried at start, and all were started twice.
        assert trainer.micro_batch_tokens <= SMALL
        assert bool(watcher.notices) == (parallel == "ddp")

        # What stops the training stops it on both, at the same place; then both go on from what was saved.
        with pytest.raises(TrainingDroppedError):
            trainer.train_weights(job(tmp_path / "dropped", pairs=LONG), RecordingWatcher(stop_after=1))
        previous = PreviousAdapter(tmp_path / "ranks-0", sha256)
        trainer.train_weights(job(tmp_path / "ranks-1", seed=2, previous=previous), NullWatcher())
        trainer.save_adapter(tmp_path / "ranks-1")
        single.train(job(tmp_path / "single-1", seed=2, previous=previous), NullWatcher())
        assert_alike(tmp_path / "ranks-1", tmp_path / "single-1")

        # An error that both come to leaves them alive, and one sample is enough for two.
        with pytest.raises(TrainingSpoiledError, match="No sample"):
            trainer.train_weights(job(tmp_path / "none", pairs=()), NullWatcher())
        trainer.train_weights(job(tmp_path / "short", pairs=[("Was?", "Brot.")]), NullWatcher())
        assert trainer.pool.process_ids == ids

        # One that dies or stands still ends the round and the other; the next round works.
        trainer.pool.plan = replace(plan, silent_seconds=PATIENCE)
        with pytest.raises(RankLostError, match=sentence):
            trainer.train_weights(job(tmp_path / "lost", pairs=LONG), FatalWatcher(ids[1], number))
        assert not any(psutil.pid_exists(process) for process in ids)
        trainer.pool.plan = plan
        trainer.train_weights(job(tmp_path / "next"), NullWatcher())
        assert trainer.save_adapter(tmp_path / "next")
        ids = trainer.pool.process_ids
    finally:
        trainer.close()
    assert not any(psutil.pid_exists(process) for process in ids)


# --- calls -----------------------------------------------------------------------------------------------------------


def seat_itself(seat: RankSeat) -> RankSeat:
    return seat


def probe_of_parts(seat: RankSeat, _watcher: Watcher, folder: Path) -> tuple[int, Reading]:
    base = load_sharded_base(folder, "float32", seat)
    held = sum(parameter.to_local().numel() for parameter in base.model.parameters())
    return held, read_probe(base, packed=False)


def sums_and_weights(seat: RankSeat, _watcher: Watcher) -> tuple[list[float], float, list[float]]:
    """Rank 1 has no gradient, and weights that differ by one."""
    parameter = torch.nn.Parameter(torch.full((2,), float(seat.group.rank)))
    parameter.grad = torch.ones(2) if seat.group.rank == 0 else None
    seat.group.sum_gradients([parameter])
    assert parameter.grad is not None
    return parameter.grad.tolist(), seat.group.unify([parameter]), parameter.tolist()


def fails_on_rank_1(seat: RankSeat, _watcher: Watcher, words: str) -> float:
    if seat.group.rank == 1:
        raise ValueError(words)
    return seat.group.sum(1.0)


@pytest.mark.process
@pytest.mark.timeout(900)
def test_ranks_are_called_from_any_thread_and_an_unexpected_error_ends_all_and_quotes_nothing(
    model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = RankPool[RankSeat](RankPlan(2, lockstep=True, threads=1))
    # Linux ends a child with the thread that started it, and the worker starts its ranks in one that passes.
    starter = threading.Thread(target=pool.start, args=(seat_itself,))
    starter.start()
    starter.join()
    try:
        # Each holds its part of the model, and kernels can be checked over it.
        base = load_base(model_folder, "float32", CPU)
        whole = sum(parameter.numel() for parameter in base.model.parameters())
        plain = read_probe(base, packed=False)
        for held, reading in pool.call(probe_of_parts, NullWatcher(), model_folder):
            assert held == pytest.approx(whole / 2, rel=0.01)
            assert max(plain.deviation(reading)) < 1e-5
        assert pool.call(sums_and_weights, NullWatcher()) == [([1.0, 1.0], 1.0, [0.0, 0.0])] * 2
        with pytest.raises(RankLostError, match=r"process 1 of 2 failed with an unexpected ValueError") as raised:
            pool.call(fails_on_rank_1, NullWatcher(), "a visitor's words")
        assert not pool.alive
    finally:
        pool.close()
    log = capfd.readouterr().err
    assert "fails_on_rank_1" in log
    assert "visitor's words" not in f"{raised.value}{log}"


# --- the share of a rank ---------------------------------------------------------------------------------------------


def test_in_lockstep_a_rank_with_fewer_batches_computes_idle_ones_without_a_target() -> None:
    long, short = (TokenizedSample((1,) * length, (1,) * length) for length in (9, 3))
    of_ranks = [[[long], [short]], [[long]], []]
    assert RankGroup(1, 3).own_batches(of_ranks) == [[long]]
    idle = [TokenizedSample((1, 1, 1), (IGNORED,) * 3)]
    for rank, own in enumerate(([[long], [short]], [[long], idle], [idle, idle])):
        assert RankGroup(rank, 3, lockstep=True).own_batches(of_ranks) == own
