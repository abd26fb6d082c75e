"""Sequences of the transformers engine that go through the model together: one adapter, one cache, steps taken together.

A prompt that several rows have (the echoes) is read once.  Shorter prompts are padded on the left and the padding is
masked, so that a row's tokens are what they would be alone, up to the rounding of a sum; where all prompts are equally
long there is neither padding nor mask.  Knows the model and its cache, not who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from wmkml.engine.protocol import Adapter, EngineDied, Generation, Step
from wmkml.engine.sampling import Drawn, draw

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


PADDING = 32
"""Tokens: prompts whose lengths differ by more do not go together, or the short one would wait for the long one."""


@dataclass
class Batch:
    """Rows with one adapter.  `turn` is when it last had the model, for fairness among equals."""

    adapter: Adapter | None
    priority: int
    arrival: int
    rows: list[Row] = field(default_factory=list)
    turn: int = 0
    _cache: Any = None
    _prompts: list[tuple[int, ...]] = field(default_factory=list)
    """What is being read, each prompt once; the rows' own, padded, once it is read."""
    _read: int = 0
    _length: int = 0
    """Of the longest prompt."""

    @property
    def begun(self) -> bool:
        """Whether the prompts have begun to be read; from then on no row can join."""
        return self._cache is not None

    @property
    def memory(self) -> int:
        """Rows that hold cache."""
        return len(self.rows) if self.begun else 0

    def joins(self, generation: Generation, most: int) -> bool:
        """Whether this generation can be one more row; there are at most `most`."""
        if self.begun or len(self.rows) >= most:
            return False
        if (generation.adapter, generation.priority) != (self.adapter, self.priority):
            return False
        lengths = [len(generation.prompt), *(len(row.generation.prompt) for row in self.rows)]
        return max(lengths) - min(lengths) <= PADDING

    def advance(self, model: Any, chunk: int, ends: frozenset[int], device: torch.device) -> None:
        """One pass through the model: a chunk of the prompts, or the next token of every row.

        Raises:
            EngineDied: the model yields numbers that are not finite.
        """
        self._drop_closed()
        if not self.rows:
            return
        if not self.begun:
            self._prompts = list(dict.fromkeys(row.generation.prompt for row in self.rows))
            self._length = max(len(prompt) for prompt in self._prompts)
        if self._read < self._length:
            logits = self._read_on(model, max(1, chunk // len(self._prompts)), device)
            if logits is None:
                return
        else:
            logits = self._pass(model, [[row.last] for row in self.rows], device)
        if not bool(torch.isfinite(logits).all()):
            raise EngineDied("The model yields numbers that are not finite.")
        # Drawn on the CPU: a seed then gives the same tokens on every device.
        drawn = draw(
            logits.float().cpu(),
            [row.generation.sampling for row in self.rows],
            [row.counts for row in self.rows],
            [row.generator for row in self.rows],
        )
        for row, one in zip(self.rows, drawn, strict=True):
            self._step(row, one, ends)

    def _read_on(self, model: Any, columns: int, device: torch.device) -> torch.Tensor | None:
        """Read so many more columns of the prompts; every row's logits once they are read."""
        part = slice(self._read, self._read + columns)
        padded = [(0,) * (self._length - len(prompt)) + prompt for prompt in self._prompts]
        logits = self._pass(model, [prompt[part] for prompt in padded], device)
        if self._read < self._length:
            return None
        # A row may have been closed meanwhile, and its prompt is then nobody's.
        places = [self._prompts.index(row.generation.prompt) for row in self.rows]
        if places != list(range(len(self._prompts))):
            self._select(places)
            logits = logits[places]
        return logits

    def _pass(self, model: Any, ids: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
        begun, width = self._read, len(ids[0])
        missing = [self._length - len(prompt) for prompt in self._prompts]
        more: dict[str, Any] = {}
        if any(missing):
            columns, first = (
                torch.arange(begun + width, device=device),
                torch.tensor(missing, device=device).unsqueeze(-1),
            )
            more["attention_mask"] = (columns >= first).long()
            more["position_ids"] = (columns[begun:] - first).clamp(min=0)
        told = model(
            input_ids=torch.tensor(ids, device=device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **more,
        )
        self._cache = told.past_key_values
        self._read = begun + width
        logits: torch.Tensor = told.logits[:, -1]
        return logits

    def _select(self, places: list[int]) -> None:
        """Keep these rows of the cache, in this order; one may be kept several times."""
        some = next(layer.keys for layer in self._cache.layers)
        self._cache.batch_select_indices(torch.tensor(places, device=some.device))
        self._prompts = [self._prompts[place] for place in places]

    def _drop_closed(self) -> None:
        kept = [place for place, row in enumerate(self.rows) if not row.closed]
        if len(kept) == len(self.rows):
            return
        if kept and self.begun and self._read >= self._length:
            self._select(kept)
        self.rows = [self.rows[place] for place in kept]

    @staticmethod
    def _step(row: Row, drawn: Drawn, ends: frozenset[int]) -> None:
        sampling = row.generation.sampling
        token, logprob, top = drawn
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
