"""What an engine is: the smallest set of calls that serving needs, and the values that pass through them.

An engine turns token ids and an adapter into token ids with log-probabilities.  It knows nothing of text, chat
templates, stop strings, HTTP, rounds or visitors; those are the business of whoever calls it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

TOP = 20
"""How many of the likeliest tokens every step carries; entropy is over these and one rest bucket, in every engine."""


class EngineDied(RuntimeError):
    """The engine cannot answer any more; only a restart of its process helps."""


class AdapterRefused(ValueError):
    """An adapter that must not be served: missing, not PEFT's format, not finite, wrong rank, foreign modules."""


@dataclass(frozen=True)
class Adapter:
    """A loaded (or loadable) adapter.  Name, id and path are each used once in an engine's life."""

    name: str
    id: int
    path: Path


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.  Temperature 0 is greedy."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 256
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None


@dataclass(frozen=True)
class Generation:
    """One answer to make.  `priority`: smaller is sooner; equal ones in order of arrival."""

    id: str
    prompt: tuple[int, ...]
    sampling: Sampling
    adapter: Adapter | None = None
    priority: int = 0


@dataclass(frozen=True)
class Step:
    """One token.

    Attributes:
        token: its id.
        logprob: natural log of its probability under the softmax of the raw logits (before temperature, penalties).
        top: the TOP likeliest tokens of that step as (id, logprob), likeliest first.
        finish: None while the answer goes on; `stop` (end token; it is not part of the text) or `length` on the last step.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    finish: Literal["stop", "length"] | None = None


class Engine(Protocol):
    """Both engines, and anything that would be a third."""

    name: str
    """`vllm` or `transformers`."""

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        ...

    async def start(self) -> None:
        """Load the model; returns when it can answer."""
        ...

    async def stop(self) -> None:
        """End every process and free all memory."""
        ...

    async def load(self, adapter: Adapter) -> None:
        """Make an adapter available; streams under way are not disturbed.

        Raises:
            AdapterRefused: it does not fit; the engine is as before.
        """
        ...

    async def unload(self, adapter: Adapter) -> None:
        """Forget an adapter; no generation with it may be under way."""
        ...

    async def forget_prompts(self) -> None:
        """Forget what is kept of the prompts and answers there were, to read the same ones faster; answers go on."""
        ...

    def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """Steps of one answer as they are made; the last one has `finish`.  Closing the iterator ends the generation.

        Raises:
            EngineDied: while iterating.
        """
        ...

    def alive(self) -> bool:
        """False once the engine can answer no more."""
        ...
