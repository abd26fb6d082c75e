"""What an engine is: the calls that serving and the laboratory need, and the values that pass through them.

An engine turns token ids and an adapter into token ids with log-probabilities.  Text, chat templates and stop strings
are its caller's (`wmkml.engine.text`, `wmkml.dialogue`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

TOP_LOGPROBS = 20
"""How many of the likeliest tokens a step carries; entropy is over these and one rest bucket, in every engine."""


class EngineDiedError(RuntimeError):
    """The engine cannot generate any more; its process must be restarted."""


class GenerationRefusedError(RuntimeError):
    """The engine refuses one request, and lives, as a deployment elsewhere may.  The text is a sentence."""


class LogProbabilitiesUnavailableError(RuntimeError):
    """The engine cannot tell the log-probabilities of a prompt, as a deployment elsewhere may not."""


@dataclass(frozen=True)
class Adapter:
    """An adapter as engines know it.  Name, id and path are each used only once in an engine's life."""

    name: str
    id: int
    path: Path


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.  Temperature 0 is greedy.

    Attributes:
        bias: token ids, each with what is added to its logit, as the penalties are taken off it; −100 to 100.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 256
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Generation:
    """One answer to generate.

    Attributes:
        id: unique in the engine's life.
        prompt: token ids.
        adapter: None: the base model.
        priority: smaller is sooner; equal ones in order of arrival.
        with_logprobs: whether steps carry log-probabilities; without them a step costs engine and service less.
    """

    id: str
    prompt: tuple[int, ...]
    sampling: Sampling
    adapter: Adapter | None = None
    priority: int = 0
    with_logprobs: bool = True


@dataclass(frozen=True)
class Step:
    """One token.

    Attributes:
        token: the token's id.
        logprob: natural log of its probability under the softmax of the raw logits (before temperature, penalties);
            NaN where the generation is without log-probabilities.
        top: the TOP_LOGPROBS likeliest tokens of that step as (id, logprob), likeliest first; then empty.
        finish: None while the answer goes on; on the last step `stop` (the token is an end token, no text) or `length`.
        rank: how many tokens were at least as likely, itself included: 1 is the likeliest; None where the engine does not
            tell, or the generation is without log-probabilities.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    finish: Literal["stop", "length"] | None = None
    rank: int | None = None


class Engine(Protocol):
    """The interface of all engines."""

    name: str
    """`vllm`, `transformers` or `remote`."""

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        ...

    async def start(self) -> None:
        """Load the model; returns when the engine can generate."""
        ...

    async def stop(self) -> None:
        """End the engine's threads and processes and free their memory."""
        ...

    async def load(self, adapter: Adapter) -> None:
        """Make an adapter available; generations under way go on undisturbed.

        Raises:
            AdapterRefusedError: it must not be served or does not fit; the engine is unchanged.
            EngineDiedError: the engine is dead.
        """
        ...

    async def unload(self, adapter: Adapter) -> None:
        """Remove an adapter; no generation with it may be under way."""
        ...

    async def clear_prompt_cache(self) -> None:
        """Forget all past prompts and answers (a prefix cache keeps them); generations under way go on."""
        ...

    async def log_probabilities(self, tokens: Sequence[int], adapter: Adapter | None) -> list[list[float]]:
        """The natural logarithms of the probabilities of `tokens[1:]`, each after the tokens before it.

        Returns:
            A list for each copy of the model, since each has loaded the adapter by itself.

        Raises:
            AdapterRefusedError: the adapter is not loaded.
            EngineDiedError: the engine is dead, or dies under way.
            LogProbabilitiesUnavailableError: it cannot tell them.
        """
        ...

    def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """The steps of one answer as they are generated; the last one has `finish`.  Closing the iterator ends it.

        Raises:
            AdapterRefusedError: the adapter is not loaded; raised at the first step, as all errors.
            EngineDiedError: the engine is dead, or dies under way.
        """
        ...

    def alive(self) -> bool:
        """Whether the engine can generate: True from the end of `start` until it dies or is stopped."""
        ...
