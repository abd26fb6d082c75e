"""Adapters that must not be served are refused with a sentence that says why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.engine_fixtures import RANK, change_config, change_weights, make_adapter, make_model
from wmkml.engine.adapters import Expectation, LoadedAdapters, check_adapter
from wmkml.engine.protocol import Adapter, AdapterRefused
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
    return lambda folder: change_weights(folder, lambda some: {key.replace(old, new): one for key, one in some.items()})


def narrow(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = first(tensors, "A")
    return {**tensors, name: tensors[name][:, :-1].contiguous()}


def half_rank(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: (one[: RANK // 2] if "lora_A" in name else one[:, : RANK // 2]).contiguous()
        for name, one in tensors.items()
    }


def without_b(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one for name, one in tensors.items() if name != first(tensors, "B")}


def truncate(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "no folder at that path"),
    "config missing": (lambda one: (one / "adapter_config.json").unlink(), "adapter_config.json"),
    "weights missing": (lambda one: (one / "adapter_model.safetensors").unlink(), "adapter_model.safetensors"),
    "config no JSON": (lambda one: (one / "adapter_config.json").write_text("{"), "not JSON"),
    "config binary": (lambda one: (one / "adapter_config.json").write_bytes(b"\xff\xfe\x00"), "not JSON"),
    "no LoRA": (lambda one: change_config(one, peft_type="IA3"), "does not describe a LoRA"),
    "DoRA": (lambda one: change_config(one, use_dora=True), "use_dora"),
    "bias": (lambda one: change_config(one, bias="all"), "bias"),
    "whole modules": (lambda one: change_config(one, modules_to_save=["lm_head"]), "modules_to_save"),
    "other rank": (lambda one: change_config(one, r=4), "rank is 4; it must be 8"),
    "other rank within": (lambda one: change_weights(one, half_rank), "another rank"),
    "NaN": (poison(float("nan")), "not finite"),
    "infinite": (poison(float("inf")), "not finite"),
    "a huge number": (poison(1e30), "so large"),
    "two large numbers": (
        lambda one: change_weights(one, lambda some: {k: w * 3000 for k, w in some.items()}),
        "so large",
    ),
    "a large scale": (lambda one: change_config(one, lora_alpha=1e9), "so large"),
    "no scale": (lambda one: change_config(one, lora_alpha="NaN"), "lora_alpha"),
    "no names of modules": (lambda one: change_config(one, target_modules=5), "target_modules"),
    "foreign module": (rename("layers.0", "layers.77"), "no module model.layers.77"),
    "foreign name": (rename("q_proj", "frob_proj"), "no module"),
    "other width": (lambda one: change_weights(one, narrow), "another rank or was made for another model"),
    "half a LoRA": (lambda one: change_weights(one, without_b), "only one of lora_A and lora_B"),
    "no LoRA weight": (rename("lora_A", "magnitude"), "no LoRA weight"),
    "empty": (lambda one: change_weights(one, lambda _: {}), "no weights"),
    "truncated": (truncate, "truncated"),
    "garbage": (lambda one: (one / "adapter_model.safetensors").write_bytes(b"garbage"), "truncated"),
}


def test_a_good_adapter_is_served(good: Path, expectation: Expectation) -> None:
    check_adapter(good, expectation)


def test_a_destroyed_language_is_still_served(copy: Path, expectation: Expectation) -> None:
    change_weights(copy, lambda tensors: {name: torch.full_like(one, 100.0) for name, one in tensors.items()})
    check_adapter(copy, expectation)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_adapter_is_refused_with_the_reason(copy: Path, expectation: Expectation, kind: str) -> None:
    spoil, reason = BAD[kind]
    check_adapter(copy, expectation)
    spoil(copy)
    with pytest.raises(AdapterRefused, match=reason):
        check_adapter(copy, expectation)


def test_a_file_is_no_adapter(tmp_path: Path, expectation: Expectation) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdapterRefused, match="is a file"):
        check_adapter(tmp_path / "file", expectation)


def test_names_ids_and_paths_are_used_once() -> None:
    shelf = LoadedAdapters(3)
    one = Adapter("iteration-0", 1, Path("/a"))
    shelf.check_free(one)
    shelf.add(one)
    shelf.check_loaded(one)
    shelf.remove(one)
    with pytest.raises(AdapterRefused, match="not loaded"):
        shelf.check_loaded(one)
    for again in (Adapter("x", 1, Path("/b")), Adapter("iteration-0", 2, Path("/b")), Adapter("x", 2, Path("/a"))):
        with pytest.raises(AdapterRefused, match="used only once"):
            shelf.check_free(again)


def test_no_adapter_is_pushed_out_by_another() -> None:
    shelf = LoadedAdapters(1)
    shelf.add(Adapter("a", 1, Path("/a")))
    with pytest.raises(AdapterRefused, match="places"):
        shelf.check_free(Adapter("b", 2, Path("/b")))
