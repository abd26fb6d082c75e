"""A batch of the transformers engine: sequences with one adapter that share a cache and take their steps together.

A prompt that several rows have (the echoes) is read once.  Shorter prompts are padded on the left and the padding is
masked, so that a row's tokens are what they would be alone, up to the rounding of a sum; when all prompts are equally
long there is neither padding nor mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from wmkml.engine.protocol import Adapter, EngineDiedError, Generation, Step
from wmkml.engine.sampling import SampledToken, sample_tokens

OnStep = Callable[[Step | None], None]
"""Called with each step, and with None when the engine has died."""

MAX_LENGTH_DIFFERENCE = 32
"""Tokens: prompts whose lengths differ by more are not batched, or the short one would wait for the long one."""


@dataclass
class BatchRow:
    """One answer under way.

    Attributes:
        counts: how often each token was generated, shape (vocabulary,).
        generator: of the generation's seed; None: torch's global one.
        generated: how many tokens were generated.
        last_token: the id of the newest one.
        closed: set with the last step, and by a caller that reads no further; a closed row leaves before the next step.
    """

    generation: Generation
    on_step: OnStep
    counts: torch.Tensor
    generator: torch.Generator | None
    generated: int = 0
    last_token: int = -1
    closed: bool = False


@dataclass
class DecodingBatch:
    """Rows with one adapter and one priority.

    Attributes:
        arrival: the engine's clock when the batch was created.
        last_turn: the engine's clock at the batch's last step; batches of equal priority take turns.
    """

    adapter: Adapter | None
    priority: int
    arrival: int
    rows: list[BatchRow] = field(default_factory=list)
    last_turn: int = 0
    _cache: Any = None
    _prompts: list[tuple[int, ...]] = field(default_factory=list)
    """The distinct prompts while they are read, one for each row of the cache; then one for each of `rows`."""
    _prompt_length: int = 0
    """Tokens of the longest prompt."""
    _position: int = 0
    """Columns of the cache that are filled; below `_prompt_length` while prompts are read."""

    @property
    def begun(self) -> bool:
        """Whether a part of the prompts was read; from then on no row can join."""
        return self._cache is not None

    @property
    def reads(self) -> bool:
        """Whether its next step reads prompts, and yields no token unless it reads their end."""
        return not self.begun or self._position < self._prompt_length

    @property
    def cached_rows(self) -> int:
        """How many rows hold cache."""
        return len(self.rows) if self.begun else 0

    def accepts(self, generation: Generation, max_rows: int) -> bool:
        """Whether this generation can join as a row; a batch has at most `max_rows`."""
        if self.begun or len(self.rows) >= max_rows:
            return False
        if (generation.adapter, generation.priority) != (self.adapter, self.priority):
            return False
        lengths = [len(generation.prompt), *(len(row.generation.prompt) for row in self.rows)]
        return max(lengths) - min(lengths) <= MAX_LENGTH_DIFFERENCE

    def advance(self, model: Any, chunk: int, end_tokens: frozenset[int], device: torch.device) -> None:
        """One pass through the model: a chunk of the prompts, or the next token of every row.

        Args:
            chunk: the most prompt tokens that are read in one pass.

        Raises:
            EngineDiedError: the model yields numbers that are not finite.
        """
        self._drop_closed_rows()
        if not self.rows:
            return
        if not self.begun:
            self._prompts = list(dict.fromkeys(row.generation.prompt for row in self.rows))
            self._prompt_length = max(len(prompt) for prompt in self._prompts)
        if self._position < self._prompt_length:
            logits = self._prefill(model, max(1, chunk // len(self._prompts)), device)
            if logits is None:
                return
        else:
            logits = self._forward(model, [[row.last_token] for row in self.rows], device)
        if not bool(torch.isfinite(logits).all()):
            raise EngineDiedError("The model yields numbers that are not finite.")
        # Sampled on the CPU: a seed then gives the same tokens on every device.
        tokens = sample_tokens(
            logits.float().cpu(),
            [row.generation.sampling for row in self.rows],
            [row.counts for row in self.rows],
            [row.generator for row in self.rows],
        )
        for row, token in zip(self.rows, tokens, strict=True):
            _add_token(row, token, end_tokens)

    def _prefill(self, model: Any, columns: int, device: torch.device) -> torch.Tensor | None:
        """Read the next `columns` of the padded prompts; returns every row's logits once all are read."""
        part = slice(self._position, self._position + columns)
        padded = [(0,) * (self._prompt_length - len(prompt)) + prompt for prompt in self._prompts]
        logits = self._forward(model, [prompt[part] for prompt in padded], device)
        if self._position < self._prompt_length:
            return None
        # From one cache row for each prompt to one for each row; rows closed meanwhile leave prompts without a row.
        indices = [self._prompts.index(row.generation.prompt) for row in self.rows]
        if indices != list(range(len(self._prompts))):
            self._select_cache_rows(indices)
            logits = logits[indices]
        return logits

    def _forward(self, model: Any, ids: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
        """Run the model on the next columns, ids of shape (rows, columns); returns the last column's logits."""
        start, width = self._position, len(ids[0])
        paddings = [self._prompt_length - len(prompt) for prompt in self._prompts]
        masking: dict[str, Any] = {}
        if any(paddings):
            columns = torch.arange(start + width, device=device)
            first = torch.tensor(paddings, device=device).unsqueeze(-1)
            masking["attention_mask"] = (columns >= first).long()
            masking["position_ids"] = (columns[start:] - first).clamp(min=0)
        output = model(
            input_ids=torch.tensor(ids, device=device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **masking,
        )
        self._cache = output.past_key_values
        self._position = start + width
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _select_cache_rows(self, indices: list[int]) -> None:
        """Keep these rows of the cache, in this order; an index may occur several times."""
        keys = next(layer.keys for layer in self._cache.layers)
        self._cache.batch_select_indices(torch.tensor(indices, device=keys.device))
        self._prompts = [self._prompts[index] for index in indices]

    def _drop_closed_rows(self) -> None:
        kept = [index for index, row in enumerate(self.rows) if not row.closed]
        if len(kept) == len(self.rows):
            return
        # While prompts are read the cache has rows for prompts, not for answers; `_prefill` selects at the end.
        if kept and self.begun and self._position >= self._prompt_length:
            self._select_cache_rows(kept)
        self.rows = [self.rows[index] for index in kept]


def _add_token(row: BatchRow, sampled: SampledToken, end_tokens: frozenset[int]) -> None:
    token, logprob, top, rank = sampled
    row.counts[token] += 1
    row.generated += 1
    row.last_token = token
    finish: Literal["stop", "length"] | None = None
    if token in end_tokens:
        finish = "stop"
    elif row.generated >= row.generation.sampling.max_tokens:
        finish = "length"
    row.closed = row.closed or finish is not None
    if row.generation.with_logprobs:
        row.on_step(Step(token, logprob, top, finish, rank))
    else:
        row.on_step(Step(token, math.nan, (), finish))
