"""Adapters that must not be served are refused, and the error gives the reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.engine.random_model import RANK, change_config, change_weights, make_adapter, make_model
from wmkml.adapters.checks import AdapterRefusedError, Expectation, check_adapter
from wmkml.engine.loaded_adapters import LoadedAdapters
from wmkml.engine.protocol import Adapter
from wmkml.engine.setup import EngineSetup


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def good(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(model, tmp_path_factory.mktemp("adapters") / "good")


@pytest.fixture
def expectation(model: Path) -> Expectation:
    return Expectation(RANK, EngineSetup(model, adapters=1, rank=RANK).shapes)


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "adapter"))


def first(tensors: dict[str, torch.Tensor], side: str) -> str:
    return next(name for name in tensors if f"lora_{side}" in name)


def poison(value: float) -> Callable[[Path], object]:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[first(tensors, "B")][0, 0] = value
        return tensors

    return lambda folder: change_weights(folder, change)


def rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: change_weights(
        folder, lambda tensors: {key.replace(old, new): tensor for key, tensor in tensors.items()}
    )


def narrow(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = first(tensors, "A")
    return {**tensors, name: tensors[name][:, :-1].contiguous()}


def half_rank(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: (tensor[: RANK // 2] if "lora_A" in name else tensor[:, : RANK // 2]).contiguous()
        for name, tensor in tensors.items()
    }


def without_b(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != first(tensors, "B")}


def truncate(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


BROKEN_ADAPTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "no folder at that path"),
    "config missing": (lambda folder: (folder / "adapter_config.json").unlink(), "adapter_config.json"),
    "weights missing": (lambda folder: (folder / "adapter_model.safetensors").unlink(), "adapter_model.safetensors"),
    "config no JSON": (lambda folder: (folder / "adapter_config.json").write_text("{"), "not JSON"),
    "config binary": (lambda folder: (folder / "adapter_config.json").write_bytes(b"\xff\xfe\x00"), "not JSON"),
    "no LoRA": (lambda folder: change_config(folder, peft_type="IA3"), "does not describe a LoRA"),
    "DoRA": (lambda folder: change_config(folder, use_dora=True), "use_dora"),
    "bias": (lambda folder: change_config(folder, bias="all"), "bias"),
    "whole modules": (lambda folder: change_config(folder, modules_to_save=["lm_head"]), "modules_to_save"),
    "other rank": (lambda folder: change_config(folder, r=4), "rank is 4; it must be 8"),
    "other rank within": (lambda folder: change_weights(folder, half_rank), "another rank"),
    "NaN": (poison(float("nan")), "not finite"),
    "infinite": (poison(float("inf")), "not finite"),
    "a huge number": (poison(1e30), "so large"),
    "two large numbers": (
        lambda folder: change_weights(folder, lambda tensors: {k: w * 3000 for k, w in tensors.items()}),
        "so large",
    ),
    "a large scale": (lambda folder: change_config(folder, lora_alpha=1e9), "so large"),
    "no scale": (lambda folder: change_config(folder, lora_alpha="NaN"), "lora_alpha"),
    "no names of modules": (lambda folder: change_config(folder, target_modules=5), "target_modules"),
    "foreign module": (rename("layers.0", "layers.77"), "no module model.layers.77"),
    "foreign name": (rename("q_proj", "frob_proj"), "no module"),
    "other width": (lambda folder: change_weights(folder, narrow), "another rank or was made for another model"),
    "half a LoRA": (lambda folder: change_weights(folder, without_b), "only one of lora_A and lora_B"),
    "no LoRA weight": (rename("lora_A", "magnitude"), "no LoRA weight"),
    "empty": (lambda folder: change_weights(folder, lambda _: {}), "no weights"),
    "truncated": (truncate, "truncated"),
    "garbage": (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"garbage"), "truncated"),
}


def test_a_good_adapter_is_served(good: Path, expectation: Expectation) -> None:
    check_adapter(good, expectation)


def test_a_destroyed_language_is_still_served(copy: Path, expectation: Expectation) -> None:
    change_weights(copy, lambda tensors: {name: torch.full_like(tensor, 100.0) for name, tensor in tensors.items()})
    check_adapter(copy, expectation)


@pytest.mark.parametrize("kind", BROKEN_ADAPTERS)
def test_a_bad_adapter_is_refused_with_the_reason(copy: Path, expectation: Expectation, kind: str) -> None:
    spoil, reason = BROKEN_ADAPTERS[kind]
    check_adapter(copy, expectation)
    spoil(copy)
    with pytest.raises(AdapterRefusedError, match=reason):
        check_adapter(copy, expectation)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("q_proj", "self_attn.v_proj", "o_proj")])
def test_an_adapter_of_the_configured_layers_is_served(
    good: Path, expectation: Expectation, targets: tuple[str, ...]
) -> None:
    check_adapter(good, replace(expectation, targets=targets))


@pytest.mark.parametrize(
    ("targets", "others"), [(("q_proj",), "v_proj"), (("proj",), "q_proj, v_proj"), (("o_proj",), "q_proj, v_proj")]
)
def test_an_adapter_of_other_layers_is_refused_with_their_names(
    good: Path, expectation: Expectation, targets: tuple[str, ...], others: str
) -> None:
    with pytest.raises(AdapterRefusedError, match=rf"changes {others}; .* of {targets[0]} alone"):
        check_adapter(good, replace(expectation, targets=targets))


def test_a_file_is_no_adapter(tmp_path: Path, expectation: Expectation) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdapterRefusedError, match="is a file"):
        check_adapter(tmp_path / "file", expectation)


def test_names_ids_and_paths_are_used_once() -> None:
    shelf = LoadedAdapters(3)
    adapter = Adapter("iteration-0", 1, Path("/a"))
    shelf.check_free(adapter)
    shelf.add(adapter)
    shelf.check_loaded(adapter)
    shelf.remove(adapter)
    with pytest.raises(AdapterRefusedError, match="not loaded"):
        shelf.check_loaded(adapter)
    for reused in (Adapter("x", 1, Path("/b")), Adapter("iteration-0", 2, Path("/b")), Adapter("x", 2, Path("/a"))):
        with pytest.raises(AdapterRefusedError, match="used only once"):
            shelf.check_free(reused)


def test_no_adapter_is_pushed_out_by_another() -> None:
    shelf = LoadedAdapters(1)
    shelf.add(Adapter("a", 1, Path("/a")))
    with pytest.raises(AdapterRefusedError, match="places"):
        shelf.check_free(Adapter("b", 2, Path("/b")))
