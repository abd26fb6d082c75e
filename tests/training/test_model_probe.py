"""The measures of a model on the measuring probe, held to the same by numpy, in float64 and without any batch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.training.tiny_model import make_tiny_model, trainer_of
from tests.training.tiny_rounds import job
from wmkml.config.paths import PROJECT
from wmkml.dialogue.chat_template import load_tokenizer, plain_ids
from wmkml.measures.registry import TABLE
from wmkml.training.loop import NullWatcher
from wmkml.training.lora import lora_parameters
from wmkml.training.probing.distributions import DistributionSums, distribution_sums
from wmkml.training.probing.model_probe import NAMES, NOT_MEASURED, ModelProbe
from wmkml.training.probing.sentences import probe_sentences, tokenized_probe
from wmkml.training.rounds import RoundTrainer

Distributions = NDArray[np.float64]

UNDERSTUDY = PROJECT / "wmkml" / "understudy" / "model"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def trainer(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RoundTrainer:
    """A trainer that has trained one round."""
    trainer = trainer_of(model_folder)
    trainer.train(job(tmp_path_factory.mktemp("round") / "iteration-0"), NullWatcher())
    return trainer


def log_probabilities_of(trainer: RoundTrainer, ids: tuple[int, ...]) -> Distributions:
    """The logarithms of all next tokens' probabilities, tokens × vocabulary, of the model as it is."""
    with torch.no_grad():
        logits = trainer.model(input_ids=torch.tensor([list(ids)])).logits[0].double().numpy()
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def by_numpy(trainer: RoundTrainer) -> dict[str, float]:
    """The measures by their definitions, a sentence at a time."""
    trainer.model.eval()
    by_language: list[dict[str, float]] = []
    for probe in tokenized_probe(trainer.base.tokenizer, 1024):
        rows: dict[str, list[float]] = {name: [] for name in ("loss", "entropy", "top", "outside", "divergence")}
        for sample in probe.samples:
            start = len(sample.ids) - sample.targets
            of_model = log_probabilities_of(trainer, sample.ids)[start - 1 : -1]
            with trainer.model.disable_adapter():
                of_base = log_probabilities_of(trainer, sample.ids)[start - 1 : -1]
            for token, logarithms, others in zip(sample.ids[start:], of_model, of_base, strict=True):
                probabilities = np.exp(logarithms)
                rows["loss"].append(-logarithms[token])
                rows["entropy"].append(-(probabilities * logarithms).sum())
                rows["top"].append(probabilities.max())
                rows["outside"].append(np.sort(probabilities)[:-20].sum())
                rows["divergence"].append((probabilities * (logarithms - others)).sum())
        means = {name: float(np.mean(values)) for name, values in rows.items()}
        by_language.append({**means, "bits": sum(rows["loss"]) / math.log(2) / probe.text_bytes})
    joint = {name: float(np.mean([language[name] for language in by_language])) for name in by_language[0]}
    return {
        "perplexity": math.exp(joint["loss"]),
        "bits_per_byte": joint["bits"],
        "next_token_entropy": joint["entropy"],
        "confidence": joint["top"],
        "outside_top_20": joint["outside"],
        "divergence": joint["divergence"],
    }


def norms_by_numpy(trainer: RoundTrainer) -> tuple[float, list[float]]:
    """‖scale·B·A‖ / ‖W‖ with the products made, of all and of each layer."""
    weights = {name: parameter.detach().double().numpy() for name, parameter in trainer.model.named_parameters()}
    changed: dict[int, list[tuple[float, float]]] = {}
    for name in lora_parameters(trainer.model):
        if ".lora_A." not in name:
            continue
        stem, layer = name.split(".lora_A.")[0], int(name.split(".layers.")[1].split(".")[0])
        down, up = (weights[f"{stem}.lora_{side}.default.weight"] for side in "AB")
        update = 8 / 4 * up @ down
        base = weights[f"{stem}.base_layer.weight"]
        changed.setdefault(layer, []).append((float((update**2).sum()), float((base**2).sum())))

    def ratio(pairs: list[tuple[float, float]]) -> float:
        return math.sqrt(sum(update for update, _ in pairs) / sum(base for _, base in pairs))

    return ratio([pair for pairs in changed.values() for pair in pairs]), [ratio(changed[layer]) for layer in (0, 1)]


def test_the_measures_are_those_of_numpy(trainer: RoundTrainer) -> None:
    reading = trainer.measure_model()
    assert list(reading.values) == [*NAMES, "forgetting"]
    for name, value in by_numpy(trainer).items():
        assert reading.values[name] == pytest.approx(value, rel=1e-4), name
    whole, layers = norms_by_numpy(trainer)
    assert reading.values["lora_update"] == pytest.approx(whole, rel=1e-5)
    assert list(reading.layers["lora_update"]) == pytest.approx(layers, rel=1e-5)
    assert reading.values["divergence"] > 1e-4  # type: ignore[operator]
    assert 0 < whole < 1


def test_the_base_model_is_measured_without_the_adapter(trainer: RoundTrainer, model_folder: Path) -> None:
    reading = trainer.measure_base()
    untouched = by_numpy(trainer_of(model_folder))  # a new LoRA changes nothing
    for name in ("perplexity", "bits_per_byte", "next_token_entropy", "confidence", "outside_top_20"):
        assert reading.values[name] == pytest.approx(untouched[name], rel=1e-4), name
    assert (reading.values["divergence"], reading.values["lora_update"]) == (0.0, 0.0)
    assert reading.layers == {"lora_update": [0.0, 0.0]}
    assert trainer.measure_model().values["lora_update"] > 0  # type: ignore[operator]


def test_what_is_kept_of_the_base_model_and_what_is_read_again_give_the_same(trainer: RoundTrainer) -> None:
    kept, again = (ModelProbe(trainer.model, trainer.base, most).measure() for most in (2**30, 0))
    assert kept.values == pytest.approx(again.values, rel=1e-5, abs=1e-6)
    assert kept.layers == again.layers


def test_sums_by_hand() -> None:
    half = math.log(0.5)
    logits = torch.tensor([[half, half, -math.inf], [0.0, 0.0, 0.0]])
    sums = distribution_sums(logits, torch.tensor([0, 2]), torch.tensor([[half, math.log(0.25), math.log(0.25)]] * 2))
    assert sums.tokens == 2
    assert sums.loss == pytest.approx(math.log(2) + math.log(3))
    assert sums.entropy == pytest.approx(math.log(2) + math.log(3))
    assert sums.top == pytest.approx(1 / 2 + 1 / 3)
    assert sums.outside == 0.0
    uniform = (math.log(1 / 3) - half) / 3 + 2 * (math.log(1 / 3) - math.log(0.25)) / 3
    assert sums.divergence == pytest.approx(0.5 * math.log(2) + uniform, rel=1e-5)


def test_the_little_that_a_sure_model_leaves_is_not_lost_in_rounding() -> None:
    logits = torch.zeros(1, 1020)
    logits[0, :20] = 40.0
    sums = distribution_sums(logits, torch.tensor([0]), None)
    assert sums.outside == pytest.approx(1000 * math.exp(-40) / 20, rel=1e-4)
    assert sums == DistributionSums(1, sums.loss, sums.entropy, sums.top, sums.outside, 0.0)


def test_a_model_that_cannot_be_measured_trains_all_the_same(
    trainer: RoundTrainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_probe: ModelProbe) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ModelProbe, "measure", fail)
    assert trainer.measure_model() is NOT_MEASURED
    assert NOT_MEASURED.values == dict.fromkeys(NAMES)
    assert "could not be measured" in caplog.text


def test_a_template_that_refuses_a_visitor_keeps_no_model_from_training(model_folder: Path) -> None:
    trainer = trainer_of(model_folder)
    trainer.base.tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert trainer.measure_model() is NOT_MEASURED


def test_weights_that_are_not_finite_give_no_number(model_folder: Path) -> None:
    trainer = trainer_of(model_folder)
    with torch.no_grad():
        for parameter in lora_parameters(trainer.model).values():
            parameter.fill_(math.nan)
    reading = trainer.measure_model()
    assert set(reading.values.values()) == {None}
    assert reading.layers == {"lora_update": [None, None]}


def test_the_names_are_those_of_the_table() -> None:
    assert [measure.name for measure in TABLE.values() if "probe" in measure.windows.values()] == list(NAMES)
    assert [name for name in NAMES if TABLE[name].by_layer] == ["lora_update"]


# --- the sentences ---------------------------------------------------------------------------------------------------


def test_the_sentences_are_in_two_languages_and_in_no_training_text() -> None:
    sentences = probe_sentences()
    assert set(sentences) == {"de", "en"}
    texts = [path.read_text(encoding="utf-8") for path in (PROJECT / "wmkml" / "understudy").glob("*.yaml")]
    for of_language in sentences.values():
        assert 24 <= len(of_language) == len(set(of_language))
        assert not [sentence for sentence in of_language for text in texts if sentence in text]


def test_a_sentence_is_read_as_what_a_visitor_says_and_each_of_its_tokens_is_predicted() -> None:
    tokenizer = load_tokenizer(UNDERSTUDY)
    for probe, sentences in zip(tokenized_probe(tokenizer, 1024), probe_sentences().values(), strict=True):
        assert len(probe.samples) == len(sentences)
        assert probe.text_bytes == sum(len(sentence.encode()) for sentence in sentences)
        for sample, sentence in zip(probe.samples, sentences, strict=True):
            assert tokenizer.convert_ids_to_tokens(list(sample.ids[:2])) == ["<s>", "[INST]"]
            assert list(sample.ids[2:]) == plain_ids(tokenizer, sentence)
            assert sample.targets == len(sample.ids) - 2


def test_a_long_opening_is_cut_and_work_is_bounded() -> None:
    tokenizer = load_tokenizer(UNDERSTUDY)
    tokenizer.chat_template = tokenizer.chat_template.replace("[INST]", "Be kind. " * 50 + "[INST]")
    german, english = tokenized_probe(tokenizer, 1024, most=100)
    for probe in (german, english):
        assert 0 < probe.targets <= 100
        assert {len(sample.ids) - sample.targets for sample in probe.samples} == {17}
        assert {sample.ids[16] for sample in probe.samples} == {tokenizer.convert_tokens_to_ids("[INST]")}
    tokenizer.chat_template = None
    assert {sample.ids[0] for sample in tokenized_probe(tokenizer, 1024)[0].samples} == {tokenizer.bos_token_id}
