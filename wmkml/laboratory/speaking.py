"""Many answers at once from an engine: messages in, texts with their tokens and their doubt out.

Knows the engine's protocol, the tokenizer and the settings; knows nothing of rounds or of what the answers are for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmkml.config import Inference
from wmkml.engine.protocol import Adapter, Engine, Generation, Sampling
from wmkml.engine.text import Detokenizer, entropy
from wmkml.prompting import Message, fit_window

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWERED_AT_ONCE = 512
"""More than engines take at a time; beyond that they would only be kept waiting with their memory."""


@dataclass(frozen=True)
class Asked:
    """One answer that is wanted: its messages, and how it is drawn."""

    messages: tuple[Message, ...]
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Answer:
    """One answer: its text, the tokens of prompt and answer (the end token included), its mean token entropy in nats."""

    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    entropy: float


class Speaker:
    """The engine, asked for many answers at once; `adapter` is who answers."""

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase, inference: Inference) -> None:
        self._engine, self._tokenizer, self._inference = engine, tokenizer, inference
        self.adapter: Adapter | None = None
        self._count = 0

    async def answers(
        self, asked: Sequence[Asked], random_source: random.Random, told: Callable[[int], None] = lambda done: None
    ) -> list[Answer]:
        """An answer to each, in order.

        Args:
            random_source: the seeds of the answers are drawn from it.
            told: hears how many are done.

        Raises:
            PromptTooLong, MessagesRefused: of the first that cannot be asked.
            EngineDied: it is over.
        """
        generations = [self._generation(one, random_source.getrandbits(31)) for one in asked]
        found: list[Answer] = []
        done = 0

        async def one(generation: Generation) -> Answer:
            nonlocal done
            answer = await self._answer(generation)
            done += 1
            told(done)
            return answer

        for first in range(0, len(generations), ANSWERED_AT_ONCE):
            some = generations[first : first + ANSWERED_AT_ONCE]
            # Asked in one turn of the event loop, they begin together: the same way every time.
            found += await asyncio.gather(*(one(generation) for generation in some))
        return found

    def _generation(self, asked: Asked, seed: int) -> Generation:
        inference = self._inference
        fitted = fit_window(self._tokenizer, asked.messages, self._engine.window, inference.max_tokens)
        sampling = Sampling(
            temperature=asked.temperature,
            top_p=asked.top_p,
            max_tokens=fitted.max_tokens,
            frequency_penalty=inference.frequency_penalty,
            seed=seed,
        )
        self._count += 1
        return Generation(f"laboratory-{self._count}", fitted.ids, sampling, self.adapter)

    async def _answer(self, generation: Generation) -> Answer:
        words, text = Detokenizer(self._tokenizer), ""
        tokens: list[int] = []
        doubts: list[float] = []
        async for step in self._engine.generate(generation):
            tokens.append(step.token)
            doubts.append(entropy(step.top))
            if step.finish != "stop":  # the end token is no part of the text
                text += words.push(step.token)
        text += words.finish()
        return Answer(text, generation.prompt, tuple(tokens), sum(doubts) / len(doubts))
