"""Our round learns what the original's `Trainer` learns, from the same start, samples and rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from benchmarks.original import train_as_the_original
from tests.tiny_model import PAIRS, base_of, make_tiny_model, trainer_of
from wmkml.training.loop import Unwatched
from wmkml.training.lora import weights
from wmkml.training.rounds import Previous, Round

RATE = 0.0015


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def changes(after: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([(after[name] - before[name]).flatten() for name in sorted(before)])


def copies(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in weights(model).items()}


@pytest.mark.parametrize("epochs", [2, 3])
@pytest.mark.parametrize("micro_batch_tokens", [100_000, 200], ids=["one batch", "accumulated"])
def test_a_round_learns_what_the_originals_trainer_learns(
    model_folder: Path, tmp_path: Path, epochs: int, micro_batch_tokens: int
) -> None:
    pairs = PAIRS * 3
    start = trainer_of(model_folder).train(Round(pairs[:5], 0.01, 1, None, tmp_path / "start"), Unwatched())

    theirs = PeftModel.from_pretrained(base_of(model_folder).model, str(start.folder), is_trainable=True)
    before = copies(theirs)
    tokenizer = base_of(model_folder).tokenizer
    their_losses = train_as_the_original(theirs, tokenizer, pairs, learning_rate=RATE, epochs=epochs)

    ours = trainer_of(model_folder, epochs=epochs, micro_batch_tokens=micro_batch_tokens)
    done = ours.train(
        Round(pairs, RATE, 3, Previous(start.folder, start.sha256), tmp_path / "next"),
        Unwatched(),
    )

    assert len(done.trained.losses) == epochs, "one optimizer step an epoch, however the batch was split"
    assert done.trained.losses == pytest.approx(their_losses, abs=1e-3)
    assert done.trained.losses[-1] != done.trained.losses[0]
    learnt, their_learnt = changes(copies(ours.model), before), changes(copies(theirs), before)
    assert float(torch.cosine_similarity(learnt, their_learnt, dim=0)) > 0.99
    assert float(learnt.norm() / their_learnt.norm()) == pytest.approx(1.0, abs=0.01)


def test_the_first_round_starts_where_the_originals_starts(model_folder: Path, tmp_path: Path) -> None:
    ours = trainer_of(model_folder)
    ours.warm_up()
    done = ours.train(Round(PAIRS, RATE, 11, None, tmp_path / "first"), Unwatched())

    theirs = trainer_of(model_folder)
    before = copies(theirs.model)
    assert all(not tensor.any() for name, tensor in before.items() if "lora_B" in name)
    their_losses = train_as_the_original(theirs.model, theirs.base.tokenizer, PAIRS, learning_rate=RATE)
    # The first loss is the base model's, whatever A is drawn.
    assert done.trained.losses[0] == pytest.approx(their_losses[0], abs=1e-3)
