"""Training on several devices: two processes learn what one learns, agree on what stops them, and end together."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.training.tiny_model import make_tiny_model
from tests.training.tiny_rounds import RecordingWatcher, job, tensors
from tests.waiting import until
from wmkml.adapters.probe import read_probe as read_probe_file
from wmkml.config import Settings
from wmkml.training import loop
from wmkml.training.base_model import load_base
from wmkml.training.kernels.choice import Reading, read_probe
from wmkml.training.loop import NullWatcher, TrainingDroppedError, TrainingSpoiledError, Watcher
from wmkml.training.ranks.pool import RankLostError, RankPool, run_on_ranks
from wmkml.training.ranks.process import RankPlan, RankSeat
from wmkml.training.ranks.sharding import load_sharded_base
from wmkml.training.ranks.trainer import RankedTrainer
from wmkml.training.rounds import PreviousAdapter, RoundTrainer
from wmkml.training.trainer_factory import EXPECTED_ERRORS, make_ranked_trainer, make_trainer

CPU = torch.device("cpu")
PARALLEL = pytest.mark.parametrize("parallel", ["ddp", "fsdp"])

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def settings_of(parallel: str, *, tokens: int = 100) -> Settings:
    """Steps of five samples in several micro-batches, of which the ranks get unlike numbers; no dropout."""
    tiny = {"lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "precision": "float32", "optimizer": "adamw"}
    steps = {"batch_size": 5, "micro_batch_tokens": tokens, "max_length": 64, "parallel": parallel}
    return Settings.model_validate({"finetuning": {**tiny, **steps}})


@contextmanager
def two_ranks(model: Path, parallel: str, patience: float = 300.0) -> Iterator[RankedTrainer]:
    trainer = make_ranked_trainer(settings_of(parallel), model, 2, threads=2, nice=False, patience=patience)
    try:
        yield trainer
    finally:
        trainer.close()


def assert_alike(folder: Path, other: Path) -> None:
    """Their weights are the same but for rounding: AdamW makes more of it where a gradient is near zero."""
    differences = {name: float((tensors(folder)[name] - tensor).abs().max()) for name, tensor in tensors(other).items()}
    assert max(differences.values()) < 1e-5, differences


@PARALLEL
def test_two_processes_learn_what_one_learns_and_are_used_again(
    parallel: str, model_folder: Path, tmp_path: Path
) -> None:
    single, alone = make_trainer(settings_of(parallel), model_folder), RecordingWatcher()
    first = single.train(job(tmp_path / "single-0"), alone)
    with two_ranks(model_folder, parallel) as trainer:
        ids, watcher = trainer.pool.process_ids, RecordingWatcher()
        result = trainer.train_weights(job(tmp_path / "ranks-0"), watcher)
        sha256 = trainer.save_adapter(tmp_path / "ranks-0")
        assert len(result.losses) == 4
        assert result.losses == pytest.approx(first.result.losses, abs=1e-6)
        assert result.tokens == first.result.tokens
        assert [step.loss for step in watcher.steps] == list(result.losses)
        assert_alike(tmp_path / "ranks-0", tmp_path / "single-0")
        of_single, of_ranks = (read_probe_file(tmp_path / name) for name in ("single-0", "ranks-0"))
        assert of_single is not None
        assert of_ranks is not None
        assert of_ranks.adapter == pytest.approx(of_single.adapter, abs=1e-5)

        # What stops the training stops it on both, at the same place; then both go on from what was saved.
        dropping = RecordingWatcher(stop_after=1)
        with pytest.raises(TrainingDroppedError):
            trainer.train_weights(job(tmp_path / "dropped", pairs=[("Was?", "Brot. " * 9)] * 400), dropping)
        previous = PreviousAdapter(tmp_path / "ranks-0", sha256)
        trainer.train_weights(job(tmp_path / "ranks-1", seed=2, previous=previous), NullWatcher())
        trainer.save_adapter(tmp_path / "ranks-1")
        single.train(job(tmp_path / "single-1", seed=2, previous=previous), NullWatcher())
        assert_alike(tmp_path / "ranks-1", tmp_path / "single-1")

        # An error that all come to leaves them alive; and fewer samples than ranks are enough.
        with pytest.raises(TrainingSpoiledError, match="No sample"):
            trainer.train_weights(job(tmp_path / "none", pairs=()), NullWatcher())
        trainer.train_weights(job(tmp_path / "one", pairs=[("Was?", "Brot.")]), NullWatcher())
        assert trainer.pool.process_ids == ids
    until(lambda: not any(psutil.pid_exists(number) for number in ids), "the ranks are gone")


def _logits_of_small_memory(model: torch.nn.Module, ids: torch.Tensor, **arguments: Any) -> torch.Tensor:
    if ids.numel() > 70:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return loop_logits(model, ids, **arguments)


loop_logits = loop._logits


def with_small_memory(settings: Settings, model: Path, micro_batch_tokens: int, seat: RankSeat) -> RoundTrainer:
    """The trainer of a rank; rank 1 runs out of memory beyond 70 tokens, as a full device does."""
    if seat.group.rank == 1:
        loop._logits = _logits_of_small_memory
    return make_trainer(settings, model, seat, micro_batch_tokens)


@PARALLEL
def test_memory_that_runs_out_on_one_halves_the_batches_of_all(
    parallel: str, model_folder: Path, tmp_path: Path
) -> None:
    plan = RankPlan(2, lockstep=parallel == "fsdp", threads=1, expected=EXPECTED_ERRORS)
    build = partial(with_small_memory, settings_of(parallel, tokens=256), model_folder)
    trainer, watcher = RankedTrainer(build, plan, 256, 64), RecordingWatcher()
    try:
        trainer.start()
        trainer.train_weights(job(tmp_path / "ranks"), watcher)
        trainer.save_adapter(tmp_path / "ranks")
        assert trainer.micro_batch_tokens <= 70
    finally:
        trainer.close()
    make_trainer(settings_of(parallel), model_folder).train(job(tmp_path / "single"), NullWatcher())
    assert_alike(tmp_path / "ranks", tmp_path / "single")
    # Where each holds a part of the model it is seen at start: the largest batch is tried then.
    assert bool(watcher.notices) == (parallel == "ddp")


@pytest.mark.parametrize(
    ("number", "parallel", "sentence"),
    [(signal.SIGKILL, "ddp", "process 1 of 2 ended by signal 9"), (signal.SIGSTOP, "fsdp", "none went on for")],
)
def test_a_rank_that_dies_or_stands_still_ends_the_round_and_the_next_one_works(
    number: signal.Signals, parallel: str, sentence: str, model_folder: Path, tmp_path: Path
) -> None:
    with two_ranks(model_folder, parallel, patience=10.0) as trainer:
        ids = trainer.pool.process_ids
        watcher = RecordingWatcher()
        watcher.on_step = lambda done: os.kill(ids[1], number) if done.step == 1 else None  # type: ignore[method-assign]
        with pytest.raises(RankLostError, match=sentence):
            trainer.train_weights(job(tmp_path / "lost", pairs=[("Was?", "Brot. " * 9)] * 200), watcher)
        assert not any(psutil.pid_exists(number) for number in ids)
        trainer.train_weights(job(tmp_path / "next"), NullWatcher())
        assert trainer.save_adapter(tmp_path / "next")
        assert not set(ids) & set(trainer.pool.process_ids)


def fails_on_rank_1(seat: RankSeat, _watcher: Watcher, words: str) -> float:
    if seat.group.rank == 1:
        raise ValueError(words)
    return seat.group.sum(1.0)


def test_an_unexpected_error_on_one_ends_all_and_quotes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RankLostError, match=r"process 1 of 2 failed with an unexpected ValueError") as raised:
        run_on_ranks(fails_on_rank_1, RankPlan(2, threads=1), NullWatcher(), "a visitor's words")
    log = capfd.readouterr().err
    assert "fails_on_rank_1" in log
    assert "visitor's words" not in f"{raised.value}{log}"


def probe_of_shards(seat: RankSeat, _watcher: Watcher, folder: Path) -> tuple[int, Reading]:
    base = load_sharded_base(folder, "float32", seat)
    held = sum(parameter.to_local().numel() for parameter in base.model.parameters())
    return held, read_probe(base, packed=False)


def test_each_rank_holds_its_part_and_kernels_can_be_checked_over_it(model_folder: Path) -> None:
    base = load_base(model_folder, "float32", CPU)
    whole = sum(parameter.numel() for parameter in base.model.parameters())
    plain = read_probe(base, packed=False)
    for held, reading in run_on_ranks(
        probe_of_shards, RankPlan(2, lockstep=True, threads=1), NullWatcher(), model_folder
    ):
        assert held == pytest.approx(whole / 2, rel=0.01)
        assert max(plain.deviation(reading)) < 1e-5


def test_ranks_end_with_the_thread_and_process_that_need_them(model_folder: Path) -> None:
    """Linux ends a child with the thread that started it; the pool's do not, for the worker starts it in a passing one."""
    pool = RankPool(_seated_rank, RankPlan(2, threads=1))
    starter = threading.Thread(target=pool.start)
    starter.start()
    starter.join()
    try:
        assert pool.call(_rank_of, NullWatcher()) == [0, 1]
    finally:
        pool.close()


def _seated_rank(seat: RankSeat) -> int:
    return seat.group.rank


def _rank_of(rank: int, _watcher: Watcher) -> int:
    return rank
