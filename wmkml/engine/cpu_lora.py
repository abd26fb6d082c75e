"""LoRA arithmetic for vLLM on a CPU: one product for each adapter of a step, over the rows that use it.

vLLM's own CPU path copies the adapter's matrices for every row and layer, which takes most of a step when adapters are
on all linear layers; it does so even for rows without an adapter, whose index −1 it reads as the last adapter.  Here
rows are grouped by adapter once a step; there are few adapters in a step, mostly one.
Measured by `benchmarks/lora_step.py`.  Imported in vLLM's worker process only.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker


class GroupedLora(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM's classes are untyped here
    """vLLM's bookkeeping of which row has which adapter, with products by adapter."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._rows = 0
        self._groups: list[tuple[int, torch.Tensor | None]] = []

    def update_metadata(self, *arguments: Any, **keywords: Any) -> None:
        """Begin a step: group its rows by their adapter's slot; rows without an adapter are in no group."""
        super().update_metadata(*arguments, **keywords)
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
        **keywords: Any,
    ) -> None:
        """Add (x Aᵀ) Bᵀ · scale to y in place, with the A and B of each row's adapter.

        Args:
            y: [rows, sum of output_slices].
            x: [rows, in].
            lora_a_stacked: for each slice, [slots, 1, rank, in].
            lora_b_stacked: for each slice, [slots, 1, out, rank].
        """
        inputs, outputs = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        if len(inputs) != self._rows:  # padded rows, which vLLM's own path handles
            super().add_lora_linear(y, x, lora_a_stacked, lora_b_stacked, scale, output_slices, **keywords)
            return
        for slot, rows in self._groups:
            # x Aᵀ in float32 and the second product in the model's type, as vLLM does.
            group_inputs = (inputs if rows is None else inputs.index_select(0, rows)).float()
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                low_rank = (group_inputs @ a[slot, 0].float().t()).mul_(scale).to(outputs.dtype)
                added = low_rank @ b[slot, 0].to(outputs.dtype).t()
                columns = outputs[:, start : start + width]
                if rows is None:
                    columns += added
                else:
                    columns.index_add_(0, rows, added)
                start += width


class CpuWorker(CPUWorker):  # type: ignore[misc]
    """vLLM's CPU worker with `GroupedLora`."""

    def load_model(self, *arguments: Any, **keywords: Any) -> Any:
        """Load the model, with `GroupedLora` as the class that the platform names for LoRA arithmetic."""
        platform: Any = type(current_platform)
        platform.get_punica_wrapper = classmethod(lambda _: f"{GroupedLora.__module__}.{GroupedLora.__qualname__}")
        return super().load_model(*arguments, **keywords)
