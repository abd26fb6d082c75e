"""A round learns what the original's `Trainer` learns from the same adapter, samples and learning rate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from benchmarks.original import train_as_the_original
from tests.training.tiny_model import PAIRS, base_of, make_tiny_model, trainer_of
from wmkml.training.loop import NullWatcher
from wmkml.training.lora import lora_parameters
from wmkml.training.rounds import PreviousAdapter, TrainedRound, TrainingRound

RATE = 0.0015


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def changes(after: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([(after[name] - before[name]).flatten() for name in sorted(before)])


def copies(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in lora_parameters(model).items()}


PAIRS_OF_A_ROUND = PAIRS * 3


@dataclass(frozen=True)
class LearntByTheOriginal:
    """What the original's `Trainer` makes of an adapter: its losses, and the weights before and after."""

    start: TrainedRound
    losses: list[float]
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def learn_as_the_original(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], LearntByTheOriginal]:
    """What it learns in so many epochs, from the same adapter; computed once."""
    job = TrainingRound(PAIRS_OF_A_ROUND[:5], 0.01, 1, None, tmp_path_factory.mktemp("adapters") / "start")
    start = trainer_of(model_folder).train(job, NullWatcher())

    @functools.cache
    def learn(epochs: int) -> LearntByTheOriginal:
        model = PeftModel.from_pretrained(base_of(model_folder).model, str(start.folder), is_trainable=True)
        before = copies(model)
        tokenizer = base_of(model_folder).tokenizer
        losses = train_as_the_original(model, tokenizer, PAIRS_OF_A_ROUND, learning_rate=RATE, epochs=epochs)
        return LearntByTheOriginal(start, losses, before, copies(model))

    return learn


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [2, 3])
@pytest.mark.parametrize("micro_batch_tokens", [100_000, 200], ids=["one batch", "accumulated"])
def test_a_round_learns_what_the_originals_trainer_learns(
    model_folder: Path,
    learn_as_the_original: Callable[[int], LearntByTheOriginal],
    tmp_path: Path,
    epochs: int,
    micro_batch_tokens: int,
) -> None:
    original = learn_as_the_original(epochs)
    trainer = trainer_of(model_folder, epochs=epochs, micro_batch_tokens=micro_batch_tokens)
    previous = PreviousAdapter(original.start.folder, original.start.sha256)
    done = trainer.train(TrainingRound(PAIRS_OF_A_ROUND, RATE, 3, previous, tmp_path / "next"), NullWatcher())

    assert len(done.result.losses) == epochs, "one optimizer step an epoch, however the batch was split"
    assert done.result.losses == pytest.approx(original.losses, abs=1e-3)
    assert done.result.losses[-1] != done.result.losses[0]
    learnt, their_learnt = changes(copies(trainer.model), original.before), changes(original.after, original.before)
    assert float(torch.cosine_similarity(learnt, their_learnt, dim=0)) > 0.99
    assert float(learnt.norm() / their_learnt.norm()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_the_first_round_starts_where_the_originals_starts(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    trainer.warm_up()
    done = trainer.train(TrainingRound(PAIRS, RATE, 11, None, tmp_path / "first"), NullWatcher())

    original = trainer_of(model_folder)
    before = copies(original.model)
    assert all(not tensor.any() for name, tensor in before.items() if "lora_B" in name)
    their_losses = train_as_the_original(original.model, original.base.tokenizer, PAIRS, learning_rate=RATE)
    # With B = 0 the first loss is the base model's, whatever A is.
    assert done.result.losses[0] == pytest.approx(their_losses[0], abs=1e-3)
