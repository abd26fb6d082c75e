"""Attention within documents: samples that lie one after the other in a single row, without padding, and see no other.

Registered with transformers under a name of its own, beside its `sdpa` and `eager`.  On an NVIDIA GPU it is torch's
`varlen_attn`, which is FlashAttention with a table of where documents begin; torch brings it, so that nothing needs to
be compiled for the card.  Elsewhere the rows are padded for the attention alone: every linear layer, norm and loss still
computes real tokens only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "wmkml_documents"
"""Its name as an `attn_implementation` of transformers."""

SMALLEST_CAPABILITY = (8, 0)
"""Compute capability of NVIDIA's first cards that torch's FlashAttention runs on (A100)."""


def has_flash_attention(device: torch.device) -> bool:
    """Whether torch has FlashAttention for documents on this device."""
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    return (
        torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= SMALLEST_CAPABILITY
    )


def document_arguments(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """What a model of transformers is called with beside the ids of one row of documents of these lengths.

    Positions begin at zero in each document; the other names are those of transformers for FlashAttention.
    """
    longest = max(lengths)
    starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    positions = torch.cat([torch.arange(length) for length in lengths])
    beginnings = starts.to(device, non_blocking=True)
    return {
        "position_ids": positions[None].to(device, non_blocking=True),
        "cu_seq_lens_q": beginnings,
        "cu_seq_lens_k": beginnings,
        "max_length_q": longest,
        "max_length_k": longest,
    }


@contextmanager
def document_attention(model: Any) -> Iterator[None]:
    """Let a model of transformers, or PEFT's wrapper of one, attend within documents; afterwards as before.

    Inside, it must be called with `document_arguments`.
    """
    _register()
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    dropout: float = 0.0,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention as transformers calls it; see `document_arguments`.

    Args:
        query: of shape (1, heads, tokens, head size); `key` and `value` may have fewer heads.

    Returns:
        An array of shape (1, tokens, heads, head size), and None for the weights.

    Raises:
        NotImplementedError: the model wants what this has not: capped logits, sinks, dropout, an attention window.
    """
    window = sliding_window is not None and sliding_window < max_length_q
    if softcap or s_aux is not None or dropout or window:
        raise NotImplementedError("This model's attention has more than causal softmax; it cannot be packed.")
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    if query.is_cuda:
        return _flash(rows, cu_seq_lens_q, max_length_q, scaling)[None], None
    return _one_by_one(rows, cu_seq_lens_q, scaling)[None], None


def _flash(rows: list[torch.Tensor], starts: torch.Tensor, longest: int, scaling: float | None) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (tensor.to(torch.bfloat16) for tensor in rows)
    attended = varlen_attn(
        query, key, value, starts, starts, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=True
    )
    assert isinstance(attended, torch.Tensor)
    return attended.to(rows[0].dtype)


def _one_by_one(rows: list[torch.Tensor], starts: torch.Tensor, scaling: float | None) -> torch.Tensor:
    lengths = starts.diff().tolist()
    attended = []
    for document in zip(*(torch.split(tensor, lengths) for tensor in rows), strict=True):
        query, key, value = (tensor.transpose(0, 1)[None] for tensor in document)
        output = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
        attended.append(output[0].transpose(0, 1))
    return torch.cat(attended)


def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
