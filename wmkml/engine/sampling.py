"""Drawing the next tokens from raw logits: penalties, temperature, top-p, and the log-probabilities that are told.

As vLLM does it, in its order, so that both engines draw alike.  Tensors only; knows no cache and no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wmkml.engine.protocol import TOP, Sampling

GREEDY_BELOW = 1e-5
"""A temperature below this is greedy."""


Drawn = tuple[int, float, tuple[tuple[int, float], ...]]
"""A token, its raw log-probability, and the TOP likeliest as (id, raw log-probability)."""


def draw(
    logits: torch.Tensor,
    samplings: Sequence[Sampling],
    counts: Sequence[torch.Tensor],
    generators: Sequence[torch.Generator | None],
) -> list[Drawn]:
    """The next token of every sequence; each one's is what it would be alone.

    Args:
        logits: raw, float32, shape (sequences, vocabulary).
        samplings: how to draw.
        counts: how often each token was generated so far, shape (vocabulary,), where there are penalties.
        generators: of the sequences; None: torch's own.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    top = torch.topk(logprobs, min(TOP, logprobs.shape[-1]))
    shaped = torch.stack([_penalised(row, one, seen) for row, one, seen in zip(logits, samplings, counts, strict=True)])
    tokens = shaped.argmax(dim=-1).tolist()
    free = [place for place, one in enumerate(samplings) if one.temperature >= GREEDY_BELOW]
    if free:
        temperatures = torch.tensor([[samplings[place].temperature] for place in free])
        shares = torch.softmax(shaped[free] / temperatures, dim=-1)
        nuclei = _nuclei(shares, torch.tensor([[samplings[place].top_p] for place in free]))
        for place, nucleus in zip(free, nuclei, strict=True):
            tokens[place] = int(torch.multinomial(nucleus, 1, generator=generators[place]))
    own = logprobs.gather(-1, torch.tensor(tokens).unsqueeze(-1)).squeeze(-1).tolist()
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    tops = [tuple(zip(ids, values, strict=True)) for ids, values in likeliest]
    return list(zip(tokens, own, tops, strict=True))


def _penalised(logits: torch.Tensor, sampling: Sampling, counts: torch.Tensor) -> torch.Tensor:
    if not (sampling.frequency_penalty or sampling.presence_penalty):
        return logits
    return logits - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)


def _nuclei(shares: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Of each row the shares of the fewest likeliest tokens that hold its `top_p`, the others 0; not normalised."""
    if bool((top_p >= 1.0).all()):
        return shares
    ordered, places = torch.sort(shares, dim=-1, descending=True)
    kept = (ordered.cumsum(dim=-1) - ordered < top_p) | (top_p >= 1.0)
    return torch.zeros_like(shares).scatter(-1, places, ordered * kept)
