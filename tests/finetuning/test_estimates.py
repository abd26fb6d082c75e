"""What a finetune is predicted to take: on a CPU, beside a merge, and with which changes it would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.finetuning.tiny_architectures import make_tiny
from wmkml.finetuning.preparation.architecture import Architecture, architecture_of
from wmkml.finetuning.preparation.estimate import LOADING_SHARE, Prediction, Variant, memory_of, variants_that_fit
from wmkml.finetuning.preparation.preview import prediction_lines
from wmkml.training.base_model import WeightPrecision, load_base

CPU = torch.device("cpu")
LONGEST = 200


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def architecture(model: Path) -> Architecture:
    return architecture_of(model)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_on_a_cpu_are_predicted_as_they_are_loaded(
    precision: WeightPrecision, model: Path, architecture: Architecture
) -> None:
    loaded = load_base(model, precision, CPU, needs_template=False).model
    held = sum(parameter.numel() * parameter.element_size() for parameter in loaded.parameters())
    variant = Variant(precision, False, 64, 1000, on_gpu=False, small_optimizer=False)
    assert memory_of(architecture, variant).weights == pytest.approx(held * (1 + LOADING_SHARE))


def test_a_merge_is_predicted_with_the_base_that_it_loads_again(architecture: Architecture) -> None:
    variant = Variant("float32", False, 1, 1000, on_gpu=False, small_optimizer=False)
    alone, merged = memory_of(architecture, variant), memory_of(architecture, replace(variant, merged=True))
    again = architecture.parameters * 4 * (1 + LOADING_SHARE)
    assert again > alone.activations, "else this shows nothing"
    assert merged.total - alone.total == pytest.approx(again - alone.activations, rel=0.2)
    line = prediction_lines(Prediction(merged, 2**40, None, 1), "CPU")[0]
    assert (
        "of merging when it is over" in line
        and "merging" not in prediction_lines(Prediction(alone, 2**40, None, 1), "CPU")[0]
    )
    # What is computed in training is let go before the merge: the larger of both counts.
    wide = replace(variant, tokens=100_000)
    assert memory_of(architecture, replace(wide, merged=True)).total == pytest.approx(
        memory_of(architecture, wide).total, rel=0.01
    )


def test_what_would_fit_is_told_from_the_first_change_that_is_enough(architecture: Architecture) -> None:
    variant = Variant("bfloat16", True, 4096, architecture.parameters, on_gpu=True, small_optimizer=False)
    lora = 1000

    def fitting(available: float) -> dict[str, float]:
        return dict(variants_that_fit(architecture, variant, int(available), lora, LONGEST))

    changes = ["--micro-batch-tokens 200", "without --full", "--quantize nf4", "--max-length 128"]
    everything = fitting(memory_of(architecture, variant).total)
    assert list(everything) == [" ".join(changes[: count + 1]) for count in range(len(changes))]
    sizes = list(everything.values())
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes)
    for number in range(1, len(sizes)):
        between = (sizes[number - 1] + sizes[number]) / 2
        assert fitting(between) == dict(list(everything.items())[number:])
    assert fitting(sizes[-1] - 1000) == {}
