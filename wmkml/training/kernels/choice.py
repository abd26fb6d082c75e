"""Which faster kernels the base model trains with: Liger's, and attention without padding.

Both need an NVIDIA GPU, both can be turned off, and neither is believed: once, after the model is loaded, the model
reads the probe's text with and without them on the very device, forward and backward, and what deviates by more than
rounding is taken away again.  A model trained by a wrong kernel learns something else without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from wmkml.training.base_model import FrozenBase, window_of
from wmkml.training.kernels import liger
from wmkml.training.kernels.document_attention import document_arguments, document_attention, has_flash_attention
from wmkml.training.probe import probe_tokens

log = logging.getLogger(__name__)

NATS, SHARE = (
    {"float32": 1e-3, "bfloat16": 0.05, "nf4": 0.05, "int8": 0.05},
    {"float32": 0.01, "bfloat16": 0.2, "nf4": 0.2, "int8": 0.2},
)
"""The most that kernels may change, by the precision of the weights: the mean log-probability of the probe's tokens, in
nats, and the gradient of their embeddings, as a share of its norm.  bfloat16 rounds to three digits, through 32 layers;
a kernel that is wrong is off by the whole."""


@dataclass(frozen=True)
class Reading:
    """The probe's text, forward and backward: log-probabilities of its tokens, and the gradient of their embeddings."""

    log_probabilities: torch.Tensor
    gradient: torch.Tensor

    def deviation(self, other: Reading) -> tuple[float, float]:
        """The mean difference of log-probabilities in nats, and that of the gradients as a share of its norm."""
        nats = float((self.log_probabilities - other.log_probabilities).abs().mean())
        return nats, float((self.gradient - other.gradient).norm() / self.gradient.norm())


class PackingImpossibleError(ValueError):
    """This model cannot be trained without padding.  The message says why."""


def with_packing(base: FrozenBase) -> FrozenBase:
    """The base trained without padding on any device, where its architecture allows it; slow on a CPU.

    Raises:
        PackingImpossibleError: its attention cannot be packed, or computes something else then; the message says why.
    """
    refusal = _deviation(base, read_probe(base, packed=False), lambda: read_probe(base, packed=True))
    if refusal:
        raise PackingImpossibleError(f"This model cannot be trained packed: {refusal}. Leave --packing out.")
    return replace(base, packed=True)


def with_fast_kernels(base: FrozenBase, *, wants_liger: bool = True, wants_packing: bool = True) -> FrozenBase:
    """The base with the kernels that are wanted, possible and right on its device; its model is changed in place.

    Each that is wanted and not used is logged with the reason.  Without a GPU nothing is changed or computed.
    """
    packing = _refusal_of_packing(base) if wants_packing else "finetuning.packing is false"
    kernels = liger.refusal(base) if wants_liger else "finetuning.liger is false"
    if packing and kernels:
        log.info("Training with padding (%s), without Liger's kernels (%s)", packing, kernels)
        return base
    plain = read_probe(base, packed=False)
    packing = packing or _deviation(base, plain, lambda: read_probe(base, packed=True))
    if not kernels:
        applied = liger.apply(base.model)
        kernels = _deviation(base, plain, lambda: read_probe(base, packed=not packing))
        if kernels:
            applied.undo()
    log.info("Training %s, %s", _with("packing", packing), _with("Liger's kernels", kernels))
    return replace(base, packed=not packing, liger=not kernels)


def read_probe(base: FrozenBase, packed: bool) -> Reading:
    """Read the probe's text with the base model; packed: as two documents, of which the second is compared."""
    tokens = probe_tokens(base.tokenizer, window_of(base.model))
    before = tokens[: len(tokens) // 3] if packed else ()
    ids = torch.tensor([[*before, *tokens]], device=base.device)
    base.model.eval()
    call: Any = {"input_ids": ids, "use_cache": False}
    leaves: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _arguments: Any, embeddings: torch.Tensor) -> torch.Tensor:
        leaves.append(embeddings.detach().requires_grad_())
        return leaves[-1]

    # Taken out of the model's own pass: the weights of one that is divided among GPUs are gathered only there.
    hook = base.model.get_input_embeddings().register_forward_hook(keep)
    with hook, torch.autocast(base.device.type, dtype=base.autocast, enabled=base.autocast is not None):
        if packed:
            with document_attention(base.model):
                arguments = document_arguments([len(before), len(tokens)], base.device)
                logits = base.model(**call, **arguments).logits
        else:
            logits = base.model(**call).logits
    logarithms = torch.log_softmax(logits[0, len(before) : -1].float(), dim=-1)
    likelihoods = logarithms.gather(1, ids[0, len(before) + 1 :, None])[:, 0]
    (gradient,) = torch.autograd.grad(likelihoods.sum(), leaves)
    return Reading(likelihoods.detach(), gradient[0, len(before) :].float())


def _refusal_of_packing(base: FrozenBase) -> str | None:
    if base.device.type != "cuda":
        return "no CUDA"
    if base.autocast is not torch.bfloat16:
        return "FlashAttention computes in bfloat16, not in float32"
    return None if has_flash_attention(base.device) else "torch has no FlashAttention for this GPU"


def _deviation(base: FrozenBase, plain: Reading, read: Callable[[], Reading]) -> str | None:
    """Why the kernels that `read` computes with must not be used; None: they are right."""
    try:
        nats, share = plain.deviation(read())
    # Whatever a kernel raises on a card nobody tried it on: the plain way is there, and the reason is logged.
    except Exception as error:  # noqa: BLE001
        return f"it fails on this device: {type(error).__name__}: {error}"
    if nats <= NATS[base.precision] and share <= SHARE[base.precision]:
        return None
    return f"it deviates from the plain model by {nats:.3g} nats, and its gradient by {share:.3g} of the norm"


def _with(name: str, refusal: str | None) -> str:
    return f"without {name} ({refusal})" if refusal else f"with {name}"
