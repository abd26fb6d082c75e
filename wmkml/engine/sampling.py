"""Samples the next tokens from raw logits: penalties, temperature, top-p, and the raw log-probabilities of each step.

The same operations in the same order as in vLLM, so that both engines sample alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wmkml.engine.protocol import TOP_LOGPROBS, Sampling

GREEDY_BELOW = 1e-5
"""Temperatures below this mean greedy decoding, as in vLLM."""

SampledToken = tuple[int, float, tuple[tuple[int, float], ...], int]
"""A token's id, its raw log-probability, the TOP_LOGPROBS likeliest tokens as (id, raw log-probability), and its rank."""


def sample_tokens(
    logits: torch.Tensor,
    samplings: Sequence[Sampling],
    counts: Sequence[torch.Tensor],
    generators: Sequence[torch.Generator | None],
) -> list[SampledToken]:
    """The next token of every sequence, independent of the other sequences.

    Args:
        logits: raw, float32, shape (sequences, vocabulary).
        samplings: how each sequence's token is drawn.
        counts: for each sequence how often it has generated each token, shape (vocabulary,).
        generators: for each sequence the source of random numbers; None: torch's global one.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    top = torch.topk(logprobs, min(TOP_LOGPROBS, logprobs.shape[-1]))
    rows = zip(logits, samplings, counts, strict=True)
    penalised = torch.stack([_apply_penalties(*row) for row in rows])
    tokens = penalised.argmax(dim=-1).tolist()
    drawn = [index for index, sampling in enumerate(samplings) if sampling.temperature >= GREEDY_BELOW]
    if drawn:
        temperatures = torch.tensor([[samplings[index].temperature] for index in drawn])
        probabilities = torch.softmax(penalised[drawn] / temperatures, dim=-1)
        nuclei = _nuclei(probabilities, torch.tensor([[samplings[index].top_p] for index in drawn]))
        for index, nucleus in zip(drawn, nuclei, strict=True):
            tokens[index] = int(torch.multinomial(nucleus, 1, generator=generators[index]))
    own = logprobs.gather(-1, torch.tensor(tokens).unsqueeze(-1))
    ranks = (logprobs >= own).sum(dim=-1).tolist()
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    tops = [tuple(zip(ids, values, strict=True)) for ids, values in likeliest]
    return list(zip(tokens, own.squeeze(-1).tolist(), tops, ranks, strict=True))


def _apply_penalties(logits: torch.Tensor, sampling: Sampling, counts: torch.Tensor) -> torch.Tensor:
    if sampling.bias:
        tokens, values = zip(*sampling.bias, strict=True)
        logits = logits.index_add(0, torch.tensor(tokens), torch.tensor(values, dtype=logits.dtype))
    if not (sampling.frequency_penalty or sampling.presence_penalty):
        return logits
    return logits - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)


def _nuclei(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Each row's nucleus: the likeliest tokens that together reach its `top_p`, all others 0; not normalised.

    Args:
        probabilities: shape (sequences, vocabulary).
        top_p: shape (sequences, 1).
    """
    if bool((top_p >= 1.0).all()):
        return probabilities
    ordered, indices = torch.sort(probabilities, dim=-1, descending=True)
    kept = (ordered.cumsum(dim=-1) - ordered < top_p) | (top_p >= 1.0)
    return torch.zeros_like(probabilities).scatter(-1, indices, ordered * kept)
