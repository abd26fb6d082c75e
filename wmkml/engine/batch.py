"""Sequences of the transformers engine that go through the model together: same prompt, same adapter, one cache.

Six echoes of one prompt are read once and then take one step together, all rows always of the same length, so that no
padding is needed and a row's tokens do not depend on strangers.  Knows the model and its cache, not who asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from wmkml.engine.protocol import Adapter, EngineDied, Generation, Step
from wmkml.engine.sampling import draw

Tell = Callable[[Step | None], None]
"""Takes each step; None when the engine has ended."""


@dataclass
class Row:
    """One answer under way: what was asked, where its steps go, and what was generated."""

    generation: Generation
    tell: Tell
    counts: torch.Tensor
    generator: torch.Generator | None
    made: int = 0
    last: int = -1
    closed: bool = False
    """Set by whoever listens no more, or by the last step."""


@dataclass
class Batch:
    """Rows with one prompt and one adapter.  `turn` is when it last had the model, for fairness among equals."""

    prompt: tuple[int, ...]
    adapter: Adapter | None
    priority: int
    arrival: int
    rows: list[Row] = field(default_factory=list)
    turn: int = 0
    _cache: Any = None
    _read: int = 0

    @property
    def begun(self) -> bool:
        """Whether the prompt has begun to be read; from then on no row can join."""
        return self._cache is not None

    @property
    def memory(self) -> int:
        """Rows that hold cache."""
        return len(self.rows) if self.begun else 0

    def joins(self, generation: Generation) -> bool:
        """Whether this generation can be one more row."""
        same = (generation.prompt, generation.adapter, generation.priority) == (
            self.prompt,
            self.adapter,
            self.priority,
        )
        return same and not self.begun

    def advance(self, model: Any, chunk: int, ends: frozenset[int], device: torch.device) -> None:
        """One pass through the model: a chunk of the prompt, or the next token of every row.

        Raises:
            EngineDied: the model yields numbers that are not finite.
        """
        self._drop_closed()
        if not self.rows:
            return
        if self._read < len(self.prompt):
            part = self.prompt[self._read : self._read + chunk]
            logits = self._pass(model, torch.tensor([part], device=device))
            self._read += len(part)
            if self._read < len(self.prompt):
                return
            if len(self.rows) > 1:
                self._cache.batch_repeat_interleave(len(self.rows))
                logits = logits.expand(len(self.rows), -1)
        else:
            logits = self._pass(model, torch.tensor([[row.last] for row in self.rows], device=device))
        if not bool(torch.isfinite(logits).all()):
            raise EngineDied("The model yields numbers that are not finite.")
        # Drawn on the CPU: a seed then gives the same tokens on every device.
        for row, values in zip(self.rows, logits.float().cpu(), strict=True):
            self._step(row, values, ends)

    def _pass(self, model: Any, ids: torch.Tensor) -> torch.Tensor:
        told = model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = told.past_key_values
        logits: torch.Tensor = told.logits[:, -1]
        return logits

    def _drop_closed(self) -> None:
        kept = [place for place, row in enumerate(self.rows) if not row.closed]
        if len(kept) == len(self.rows):
            return
        if kept and self._read >= len(self.prompt):
            some = next(layer.keys for layer in self._cache.layers)
            self._cache.batch_select_indices(torch.tensor(kept, device=some.device))
        self.rows = [self.rows[place] for place in kept]

    @staticmethod
    def _step(row: Row, values: torch.Tensor, ends: frozenset[int]) -> None:
        sampling = row.generation.sampling
        token, logprob, top = draw(values, sampling, row.counts, row.generator)
        row.counts[token] += 1
        row.made += 1
        row.last = token
        finish: Literal["stop", "length"] | None = None
        if token in ends:
            finish = "stop"
        elif row.made >= sampling.max_tokens:
            finish = "length"
        row.closed = row.closed or finish is not None
        row.tell(Step(token, logprob, top, finish))
