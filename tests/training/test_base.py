"""The base model of training: a missing one is reported, its precision suits the machine, and LoRA is added once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.training.tiny_model import CPU, base_of, make_tiny_model, trainer_of
from tests.training.tiny_rounds import job, tensors
from wmkml.training.base_model import BaseMissingError, choose_precision, count_parameters, load_base
from wmkml.training.loop import NullWatcher
from wmkml.training.lora import LoraShape, ModulesMissingError, wrap_with_lora
from wmkml.training.rounds import PreviousAdapter, RoundTrainer


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


# --- the base model -------------------------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseMissingError, match=r"no config\.json"):
        load_base(tmp_path)


def test_nf4_without_a_gpu_is_refused_with_a_sentence(model_folder: Path) -> None:
    with pytest.raises(BaseMissingError, match="NVIDIA"):
        load_base(model_folder, "nf4", CPU)


@pytest.mark.parametrize(("tiles", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_what_a_cpu_is_fast_in(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, tiles: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert choose_precision(model_folder, "auto", CPU) == expected


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_only_bfloat16_on_a_cpu_trains_with_plain_attention(
    model_folder: Path, precision: Literal["bfloat16", "float32"]
) -> None:
    model = load_base(model_folder, precision, CPU).model
    assert (model.config._attn_implementation == "eager") == (precision == "bfloat16")


@pytest.mark.parametrize(("free_gib", "expected"), [(40, "bfloat16"), (4, "nf4")])
def test_auto_takes_nf4_where_a_gpu_is_too_small(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, free_gib: int, expected: str
) -> None:
    # Replaces the only call to a GPU: its free memory.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_gib * 2**30, 80 * 2**30))
    assert choose_precision(model_folder, "auto", torch.device("cuda")) == expected


def test_the_numbers_of_a_model_are_counted_without_loading_it(model_folder: Path) -> None:
    assert count_parameters(model_folder) == sum(
        parameter.numel() for parameter in base_of(model_folder).model.parameters()
    )


def test_bfloat16_trains_close_to_float32(model_folder: Path, tmp_path: Path) -> None:
    exact = trainer_of(model_folder)
    rough = RoundTrainer(
        load_base(model_folder, "bfloat16", CPU),
        LoraShape(4, 8, 0.0, ("q_proj", "v_proj")),
        replace(exact._defaults),
    )
    losses: list[Sequence[float]] = []
    for name, trainer in (("exact", exact), ("rough", rough)):
        losses.append(trainer.train(job(tmp_path / name), NullWatcher()).result.losses)
        assert {tensor.dtype for tensor in tensors(tmp_path / name).values()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_layer_name_of_another_model_is_named(model_folder: Path) -> None:
    with pytest.raises(ModulesMissingError, match="query_key_value"):
        wrap_with_lora(base_of(model_folder), LoraShape(4, 8, 0.0, ("query_key_value",)))


def test_nothing_is_wrapped_again_between_rounds(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    model, parameters = trainer.model, [id(parameter) for parameter in trainer.model.parameters()]
    first = trainer.train(job(tmp_path / "0"), NullWatcher())
    trainer.train(job(tmp_path / "1", previous=PreviousAdapter(first.folder, first.sha256)), NullWatcher())
    assert trainer.model is model
    assert [id(parameter) for parameter in trainer.model.parameters()] == parameters
