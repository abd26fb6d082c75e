"""What a trained model has forgotten, and the life that is made of it: in real rounds of a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.tiny_model import make_tiny_model, trainer_of
from tests.training.tiny_rounds import job
from wmkml.measures.life import life_of
from wmkml.training.loop import NullWatcher
from wmkml.training.lora import lora_parameters
from wmkml.training.probing.forgetting import probe_exchanges
from wmkml.training.rounds import PreviousAdapter, RoundTrainer
from wmkml.training.samples import IGNORED, tokenize_pairs


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> RoundTrainer:
    return trainer_of(make_tiny_model(tmp_path_factory.mktemp("tiny")))


def by_numpy(trainer: RoundTrainer) -> float:
    """Forgetting by its definition, an exchange at a time and in float64."""

    def distributions(ids: tuple[int, ...]) -> np.ndarray:
        with torch.no_grad():
            logits = trainer.model(input_ids=torch.tensor([list(ids)])).logits[0].double().numpy()
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    trainer.model.eval()
    of_languages = []
    for pairs in probe_exchanges().values():
        divergences: list[float] = []
        for sample in tokenize_pairs(trainer.base.tokenizer, pairs, 1024, "text"):
            predicted = [place - 1 for place, label in enumerate(sample.labels) if place and label != IGNORED]
            of_model = distributions(sample.ids)[predicted]
            with trainer.model.disable_adapter():
                of_base = distributions(sample.ids)[predicted]
            divergences += list((of_base * np.log(of_base / of_model)).sum(axis=1))
        of_languages.append(float(np.mean(divergences)))
    return float(np.mean(of_languages))


def test_forgetting_is_the_divergence_of_the_base_from_the_model(trainer: RoundTrainer, tmp_path: Path) -> None:
    trainer.train(replace(job(tmp_path / "round"), learning_rate=0.05), NullWatcher())
    forgetting = trainer.measure_forgetting()
    assert forgetting > 0.01
    assert forgetting == pytest.approx(by_numpy(trainer), rel=1e-4)
    assert trainer.measure_model().values["forgetting"] == forgetting
    assert trainer.measure_base().values["forgetting"] == 0.0


def test_with_a_learning_rate_of_0_life_stays_whole(trainer: RoundTrainer, tmp_path: Path) -> None:
    previous = None
    lives = []
    for number in range(3):
        folder = tmp_path / f"iteration-{number}"
        trained = trainer.train(replace(job(folder), learning_rate=0.0, previous=previous), NullWatcher())
        previous = PreviousAdapter(folder, trained.sha256)
        lives.append(life_of(trainer.measure_forgetting()))
    assert lives == [1.0, 1.0, 1.0]


def test_the_same_weights_have_the_same_life(trainer: RoundTrainer, tmp_path: Path) -> None:
    trainer.train(replace(job(tmp_path / "round"), learning_rate=0.05), NullWatcher())
    first = trainer.measure_forgetting()
    trainer.measure_model()
    assert trainer.measure_forgetting() == first


def test_weights_that_are_not_finite_have_no_life(trainer: RoundTrainer, tmp_path: Path) -> None:
    trainer.train(job(tmp_path / "round"), NullWatcher())
    next(iter(lora_parameters(trainer.model).values())).data.fill_(float("nan"))
    assert trainer.measure_model().values["forgetting"] is None


def test_the_exchanges_are_as_many_in_each_language_and_whole() -> None:
    exchanges = probe_exchanges()
    assert list(exchanges) == ["de", "en"]
    assert {len(pairs) for pairs in exchanges.values()} == {24}
    assert all(text.endswith((".", "?", "!")) for pairs in exchanges.values() for pair in pairs for text in pair)
