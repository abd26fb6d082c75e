"""The grouped LoRA arithmetic gives vLLM's results and leaves rows without an adapter unchanged."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

pytestmark = pytest.mark.process  # vLLM looks at the machine with programs of it when it is imported

SLOTS, RANK, INPUTS, SLICES = 4, 16, 64, (48, 16, 16)


def stacks(generator: torch.Generator, dtype: torch.dtype) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    def weights(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 0.1).to(dtype)

    return (
        tuple(weights(SLOTS, 1, RANK, INPUTS) for _ in SLICES),
        tuple(weights(SLOTS, 1, width, RANK) for width in SLICES),
    )


def outcome(
    whose: Literal["vLLM's", "ours"], adapters: list[int], prefill: bool, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """y before and after the arithmetic; the adapters 11 and 12 are in the first two slots, id 0 is the base model."""
    # Here and not at the top, where every run of any test would wait for it.
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    from wmkml.engine.cpu_lora import GroupedLora

    generator = torch.Generator().manual_seed(3)
    a, b = stacks(generator, dtype)
    x = torch.randn(len(adapters), INPUTS, generator=generator).to(dtype)
    y = torch.randn(len(adapters), sum(SLICES), generator=generator).to(dtype)
    before = y.clone()
    wrapper = (GroupedLora if whose == "ours" else PunicaWrapperCPU)(64, 16, torch.device("cpu"), max_loras=SLOTS)
    mapping = LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=prefill)
    wrapper.update_metadata(mapping, [11, 12, None, None], SLOTS, 1000)
    wrapper.add_lora_linear(y, x, a, b, 2.0, SLICES)
    return before, y


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("adapters", [[11], [11] * 7, [11, 12, 11, 12, 12]])
@pytest.mark.parametrize("prefill", [False, True])
def test_as_vllm_does_it(adapters: list[int], prefill: bool, dtype: torch.dtype, tolerance: float) -> None:
    before, grouped = outcome("ours", adapters, prefill, dtype)
    _, reference = outcome("vLLM's", adapters, prefill, dtype)
    assert not torch.equal(before, grouped)
    torch.testing.assert_close(grouped, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("adapters", [[0, 0, 0], [0, 11, 0, 12]])
def test_rows_of_the_base_model_get_nothing_although_the_last_slot_is_taken(adapters: list[int]) -> None:
    before, after = outcome("ours", adapters, False, torch.float32)
    for row, adapter in enumerate(adapters):
        assert torch.equal(before[row], after[row]) == (adapter == 0)
