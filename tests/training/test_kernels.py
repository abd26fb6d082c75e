"""Faster kernels are used on a GPU alone, only where they compute what the plain model computes, and can be turned off."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import pytest
import torch
from transformers.models.mistral import modeling_mistral

from tests.training.tiny_model import base_of, make_tiny_model
from wmkml.training.base_model import FrozenBase
from wmkml.training.kernels import choice, document_attention, liger
from wmkml.training.optimizers import has_fused_adamw, new_optimizer, set_rate

CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def base(model_folder: Path) -> FrozenBase:
    return base_of(model_folder)


Norm = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Rotation = Callable[..., Any]


def install_liger(monkeypatch: pytest.MonkeyPatch, norm: Norm, rotation: Rotation) -> list[dict[str, Any]]:
    """Pretend that liger-kernel is installed, with its entry points and these two functions; returns its calls."""
    calls = []

    def apply_to_mistral(
        rope: bool = True,
        cross_entropy: bool = False,
        fused_linear_cross_entropy: bool = True,
        rms_norm: bool = True,
        swiglu: bool = True,
        model: Any = None,
    ) -> None:
        calls.append({"rope": rope, "rms_norm": rms_norm, "swiglu": swiglu, "cross_entropy": cross_entropy})
        calls[-1]["fused"] = fused_linear_cross_entropy
        vars(modeling_mistral)["MistralRMSNorm"] = FusedNorm
        for layer in model.model.layers:
            layer.input_layernorm.offset = 0.0
            layer.input_layernorm.forward = MethodType(FusedNorm.forward, layer.input_layernorm)

    class FusedNorm(torch.nn.Module):
        weight: torch.Tensor

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return norm(hidden, self.weight)

    root, transformers = ModuleType("liger_kernel"), ModuleType("liger_kernel.transformers")
    root.__spec__ = transformers.__spec__ = sys.__spec__
    patch, rope = ModuleType("monkey_patch"), ModuleType("rope")
    vars(patch)["MODEL_TYPE_TO_APPLY_LIGER_FN"] = {"mistral": apply_to_mistral}
    vars(rope)["liger_rotary_pos_emb"] = rotation
    for module, name in ((root, ""), (transformers, ".transformers")):
        monkeypatch.setitem(sys.modules, "liger_kernel" + name, module)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", patch)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.rope", rope)
    return calls


def right_norm(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return hidden * torch.rsqrt((hidden * hidden).mean(-1, keepdim=True) + 1e-6) * weight


PLAIN_ROTATION: Rotation = modeling_mistral.apply_rotary_pos_emb


def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decisions of a machine with a GPU; what they decide is then computed on the CPU."""
    monkeypatch.setattr(liger, "refusal", lambda base: None)
    monkeypatch.setattr(choice, "_refusal_of_packing", lambda base: None)


# --- decisions ------------------------------------------------------------------------------------------------------


def test_without_a_gpu_nothing_is_applied_or_computed(base: FrozenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install_liger(monkeypatch, right_norm, PLAIN_ROTATION)
    monkeypatch.setattr(base.model, "forward", None)
    before = {name: set(vars(module)) for name, module in base.model.named_modules()}
    assert choice.with_fast_kernels(base) is base
    assert not base.packed and calls == []
    assert {name: set(vars(module)) for name, module in base.model.named_modules()} == before
    assert modeling_mistral.apply_rotary_pos_emb is PLAIN_ROTATION


def test_liger_is_refused_where_it_is_not_installed_or_does_not_know_the_model(
    base: FrozenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert liger.refusal(base) == "no CUDA"
    on_gpu = replace(base, device=CUDA)
    assert liger.refusal(on_gpu) == "liger-kernel is not installed"
    install_liger(monkeypatch, right_norm, PLAIN_ROTATION)
    assert liger.refusal(on_gpu) is None
    monkeypatch.setattr(base.model.config, "model_type", "unheard_of")
    assert liger.refusal(on_gpu) == "it does not know the architecture unheard_of"


@pytest.mark.parametrize(
    ("device", "autocast", "capability", "packed"),
    [
        ("cuda", torch.bfloat16, (8, 0), True),
        ("cuda", torch.bfloat16, (9, 0), True),
        ("cuda", torch.bfloat16, (7, 5), False),
        ("cuda", None, (9, 0), False),
        ("cpu", torch.bfloat16, (9, 0), False),
    ],
)
def test_samples_are_packed_where_flash_attention_is(
    base: FrozenBase,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    autocast: torch.dtype | None,
    capability: tuple[int, int],
    packed: bool,
) -> None:
    # Replaces the only calls to a GPU.
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    refusal = choice._refusal_of_packing(replace(base, device=torch.device(device), autocast=autocast))
    assert (refusal is None) == packed


def test_each_can_be_turned_off(base: FrozenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install_liger(monkeypatch, right_norm, PLAIN_ROTATION)
    pretend_gpu(monkeypatch)
    assert choice.with_fast_kernels(base, wants_liger=False).packed and calls == []
    assert not choice.with_fast_kernels(base, wants_liger=False, wants_packing=False).packed


# --- the check on the device ----------------------------------------------------------------------------------------


def test_kernels_that_compute_the_same_are_kept(base: FrozenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def rotation(query: torch.Tensor, *more: Any, **named: Any) -> Any:
        rows.append(query.shape[0])
        return PLAIN_ROTATION(query, *more, **named)

    calls = install_liger(monkeypatch, right_norm, rotation)
    pretend_gpu(monkeypatch)
    plain_norm = modeling_mistral.MistralRMSNorm
    try:
        chosen = choice.with_fast_kernels(base)
        assert chosen.packed and chosen.liger
        assert calls == [{"rope": False, "rms_norm": True, "swiglu": True, "cross_entropy": False, "fused": False}], (
            "its losses and its own way with RoPE are left out"
        )
        assert "FusedNorm" in base.model.model.layers[0].input_layernorm.forward.__qualname__
        assert modeling_mistral.MistralRMSNorm is plain_norm, "models that are made later are not changed"
        ids = torch.ones(3, 4, dtype=torch.long)
        rows.clear()
        base.model(input_ids=ids)
        assert rows == [], "several rows are rotated as before: the kernel would be compiled for each number of them"
        base.model(input_ids=ids[:1])
        assert rows == [1, 1]
    finally:
        vars(modeling_mistral)["apply_rotary_pos_emb"] = PLAIN_ROTATION


@pytest.mark.parametrize("broken", ["norm", "rotation", "backward", "raises"])
def test_kernels_that_deviate_are_taken_out_again(
    base: FrozenBase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    class WrongBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return right_norm(hidden, weight)

        @staticmethod
        def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None]:
            return outer[0], None

    def raises(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel image is available for execution on the device")

    norms: dict[str, Norm] = {
        "norm": lambda hidden, weight: 1.1 * right_norm(hidden, weight),
        "backward": WrongBackward.apply,
        "raises": raises,
    }
    rotations: dict[str, Rotation] = {"rotation": lambda query, key, *more, **named: (query, key)}
    install_liger(monkeypatch, norms.get(broken, right_norm), rotations.get(broken, PLAIN_ROTATION))
    pretend_gpu(monkeypatch)
    plain = choice.read_probe(base, packed=False)
    before = {name: set(vars(module)) for name, module in base.model.named_modules()}
    with caplog.at_level("INFO"):
        chosen = choice.with_fast_kernels(base)
    assert chosen.packed and not chosen.liger, "packing is judged by itself"
    assert "without Liger's kernels (it " in caplog.text
    assert {name: set(vars(module)) for name, module in base.model.named_modules()} == before
    assert modeling_mistral.apply_rotary_pos_emb is PLAIN_ROTATION
    assert plain.deviation(choice.read_probe(base, packed=False)) == (0.0, 0.0)


def test_packing_in_which_samples_see_each_other_is_not_used(base: FrozenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch)
    assert choice.with_fast_kernels(base, wants_liger=False).packed
    one_by_one = document_attention._one_by_one

    def blind(rows: list[torch.Tensor], starts: torch.Tensor, scaling: float | None) -> torch.Tensor:
        return one_by_one(rows, starts[[0, -1]], scaling)

    monkeypatch.setattr(document_attention, "_one_by_one", blind)
    assert not choice.with_fast_kernels(base, wants_liger=False).packed


# --- the optimizer --------------------------------------------------------------------------------------------------


def test_the_fused_adamw_takes_the_same_steps() -> None:
    device = torch.device("cpu")
    assert has_fused_adamw(device) and has_fused_adamw(CUDA) and not has_fused_adamw(torch.device("meta"))
    weights = []
    for fused in (True, False):
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(16, 256) * 0.01) for _ in range(4)]
        optimizer = new_optimizer("adamw", parameters, device)
        assert optimizer.defaults["fused"] is True
        if not fused:
            optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0, fused=False)
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
            set_rate(optimizer, 0.0015)
            optimizer.step()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    assert torch.allclose(weights[0], weights[1], rtol=1e-5, atol=1e-8)
