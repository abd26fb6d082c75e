"""LoRA arithmetic for vLLM on a CPU: the rows of a step grouped by adapter, once a step, instead of weights copied row by row.

vLLM's own CPU path gathers the adapter's matrices anew for every token and layer, which with adapters on all linear
layers is most of a step; it also does so for rows without an adapter, whose index −1 means the last adapter there.
A run has few adapters in one step, mostly one, so a product for each of them is enough.
Measured by `benchmarks/lora_step.py`.  Imported in vLLM's worker process only; knows nothing of requests.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker


class GroupedLora(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM's classes are untyped here
    """vLLM's bookkeeping of which row has which adapter, with products by adapter."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._rows = 0
        self._groups: list[tuple[int, torch.Tensor | None]] = []

    def update_metadata(self, *arguments: Any, **named: Any) -> None:
        """A new step: note once which rows belong to which adapter's slot; rows without one belong to none."""
        super().update_metadata(*arguments, **named)
        indices: torch.Tensor = self.token_lora_indices
        self._rows = len(indices)
        slots = torch.unique(indices).tolist()
        if len(slots) == 1:
            self._groups = [(slots[0], None)] if slots[0] >= 0 else []
        else:
            self._groups = [(slot, (indices == slot).nonzero().squeeze(1)) for slot in slots if slot >= 0]

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **named: Any,
    ) -> None:
        """Add (x Aᵀ) Bᵀ · scale of each row's adapter to y, in place.

        Args:
            y: [rows, sum of output_slices].
            x: [rows, in].
            lora_a_stacked: for each slice, [slots, 1, rank, in].
            lora_b_stacked: for each slice, [slots, 1, out, rank].
        """
        inputs, outputs = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        if len(inputs) != self._rows:  # padded rows, which vLLM's own path knows
            super().add_lora_linear(y, x, lora_a_stacked, lora_b_stacked, scale, output_slices, **named)
            return
        for slot, rows in self._groups:
            # In float32 up to the low rank and in the model's type after it, as vLLM does.
            mine = (inputs if rows is None else inputs.index_select(0, rows)).float()
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                low = (mine @ a[slot, 0].float().t()).mul_(scale).to(outputs.dtype)
                added = low @ b[slot, 0].to(outputs.dtype).t()
                place = outputs[:, start : start + width]
                if rows is None:
                    place += added
                else:
                    place.index_add_(0, rows, added)
                start += width


class CpuWorker(CPUWorker):  # type: ignore[misc]
    """vLLM's CPU worker with the arithmetic above."""

    def load_model(self, *arguments: Any, **named: Any) -> Any:
        """Load the model; what it asks the platform for is answered with `GroupedLora`."""
        platform: Any = type(current_platform)
        platform.get_punica_wrapper = classmethod(lambda _: f"{GroupedLora.__module__}.{GroupedLora.__qualname__}")
        return super().load_model(*arguments, **named)
