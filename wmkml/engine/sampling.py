"""Drawing the next tokens from raw logits: penalties, temperature, top-p, and the log-probabilities that are told.

As vLLM does it, in its order, so that both engines draw alike.  Tensors only; knows no cache and no model.
"""

from __future__ import annotations

import torch

from wmkml.engine.protocol import TOP, Sampling

GREEDY_BELOW = 1e-5
"""A temperature below this is greedy."""


def draw(
    logits: torch.Tensor, sampling: Sampling, counts: torch.Tensor, generator: torch.Generator | None
) -> tuple[int, float, tuple[tuple[int, float], ...]]:
    """The next token of one sequence.

    Args:
        logits: raw, float32, shape (vocabulary,).
        sampling: how to draw.
        counts: how often each token was generated so far, shape (vocabulary,).
        generator: of this sequence; None: torch's own.

    Returns:
        The token, its raw log-probability, and the TOP likeliest as (id, raw log-probability).
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    top = torch.topk(logprobs, min(TOP, logprobs.numel()))
    shaped = logits
    if sampling.frequency_penalty or sampling.presence_penalty:
        shaped = logits - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)
    if sampling.temperature < GREEDY_BELOW:
        token = int(shaped.argmax())
    else:
        shares = torch.softmax(shaped / sampling.temperature, dim=-1)
        token = int(torch.multinomial(_nucleus(shares, sampling.top_p), 1, generator=generator))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return token, float(logprobs[token]), tuple((int(one), float(value)) for one, value in pairs)


def _nucleus(shares: torch.Tensor, top_p: float) -> torch.Tensor:
    """The shares of the fewest likeliest tokens that hold `top_p` together, the others 0; not normalised."""
    if top_p >= 1.0:
        return shares
    ordered, places = torch.sort(shares, descending=True)
    kept = ordered.cumsum(dim=-1) - ordered < top_p
    return torch.zeros_like(shares).scatter(-1, places, ordered * kept)
