"""The model that training begins with: found or named as missing, in the precision that the machine is good for, wrapped once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.tiny_model import CPU, base_of, make_tiny_model, trainer_of
from tests.tiny_rounds import job, tensors
from wmkml.training.base import BaseMissing, chosen_precision, load_base, parameters_of
from wmkml.training.loop import Unwatched
from wmkml.training.lora import LoraShape, ModulesMissing, wrap
from wmkml.training.rounds import Previous, RoundTrainer


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


# --- the base model -------------------------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseMissing, match=r"no config\.json"):
        load_base(tmp_path)


def test_nf4_without_a_gpu_is_refused_with_a_sentence(model_folder: Path) -> None:
    with pytest.raises(BaseMissing, match="NVIDIA"):
        load_base(model_folder, "nf4", CPU)


@pytest.mark.parametrize(("tiles", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_what_a_cpu_is_fast_in(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, tiles: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert chosen_precision(model_folder, "auto", CPU) == expected


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
    # Stands in for a GPU: only its free memory is asked for.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_gib * 2**30, 80 * 2**30))
    assert chosen_precision(model_folder, "auto", torch.device("cuda")) == expected


def test_the_numbers_of_a_model_are_counted_without_loading_it(model_folder: Path) -> None:
    assert parameters_of(model_folder) == sum(one.numel() for one in base_of(model_folder).model.parameters())


def test_bfloat16_trains_close_to_float32(model_folder: Path, tmp_path: Path) -> None:
    exact = trainer_of(model_folder)
    rough = RoundTrainer(
        load_base(model_folder, "bfloat16", CPU),
        LoraShape(4, 8, 0.0, ("q_proj", "v_proj")),
        replace(exact._habits),
    )
    losses: list[Sequence[float]] = []
    for name, trainer in (("exact", exact), ("rough", rough)):
        losses.append(trainer.train(job(tmp_path / name), Unwatched()).trained.losses)
        assert {tensor.dtype for tensor in tensors(tmp_path / name).values()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_layer_name_of_another_model_is_named(model_folder: Path) -> None:
    with pytest.raises(ModulesMissing, match="query_key_value"):
        wrap(base_of(model_folder), LoraShape(4, 8, 0.0, ("query_key_value",)))


def test_nothing_is_wrapped_again_between_rounds(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    model, parameters = trainer.model, [id(one) for one in trainer.model.parameters()]
    first = trainer.train(job(tmp_path / "0"), Unwatched())
    trainer.train(job(tmp_path / "1", previous=Previous(first.folder, first.sha256)), Unwatched())
    assert trainer.model is model
    assert [id(one) for one in trainer.model.parameters()] == parameters
