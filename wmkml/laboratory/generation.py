"""Generate many answers at once: messages in; texts, their tokens and their mean entropy out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmkml.config import Inference
from wmkml.dialogue.chat_template import Message, fit_window
from wmkml.engine.protocol import Adapter, Engine, Generation, Sampling
from wmkml.engine.text import Detokenizer, entropy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_CONCURRENT = 512
"""Most generations given to the engine at once; more than engines batch, so further ones would only hold memory."""


@dataclass(frozen=True)
class AnswerRequest:
    """A request for one answer: its messages, temperature and top_p."""

    messages: tuple[Message, ...]
    temperature: float
    top_p: float


@dataclass(frozen=True)
class GeneratedAnswer:
    """One answer: its text, the token ids of prompt and answer (end token included), its mean token entropy in nats."""

    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    entropy: float


class AnswerGenerator:
    """Generates answers with one engine; `adapter` is the iteration that answers (None: the base model)."""

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase, inference: Inference) -> None:
        self._engine, self._tokenizer, self._inference = engine, tokenizer, inference
        self.adapter: Adapter | None = None
        self._count = 0

    async def generate(
        self,
        requests: Sequence[AnswerRequest],
        random_source: random.Random,
        on_answered: Callable[[int], None] = lambda done: None,
    ) -> list[GeneratedAnswer]:
        """One answer for each request, in order.

        Args:
            random_source: the seeds of the answers are drawn from it.
            on_answered: called with the number of finished answers.

        Raises:
            PromptTooLongError, MessagesRefusedError: the first request that cannot be expressed or does not fit.
            EngineDiedError: the engine died.
        """
        generations = [self._generation(request, random_source.getrandbits(31)) for request in requests]
        answers: list[GeneratedAnswer] = []
        done = 0

        async def counted(generation: Generation) -> GeneratedAnswer:
            nonlocal done
            answer = await self._answer(generation)
            done += 1
            on_answered(done)
            return answer

        for first in range(0, len(generations), MAX_CONCURRENT):
            # Gathered together they start in one turn of the event loop: in the same order every time.
            answers += await asyncio.gather(*map(counted, generations[first : first + MAX_CONCURRENT]))
        return answers

    def _generation(self, request: AnswerRequest, seed: int) -> Generation:
        inference = self._inference
        fitted = fit_window(self._tokenizer, request.messages, self._engine.window, inference.max_tokens)
        sampling = Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=fitted.max_tokens,
            frequency_penalty=inference.frequency_penalty,
            seed=seed,
        )
        self._count += 1
        return Generation(f"laboratory-{self._count}", fitted.ids, sampling, self.adapter)

    async def _answer(self, generation: Generation) -> GeneratedAnswer:
        detokenizer, text = Detokenizer(self._tokenizer), ""
        tokens: list[int] = []
        entropies: list[float] = []
        async for step in self._engine.generate(generation):
            tokens.append(step.token)
            entropies.append(entropy(step.top))
            if step.finish != "stop":  # the end token is no part of the text
                text += detokenizer.push(step.token)
        text += detokenizer.finish()
        return GeneratedAnswer(text, generation.prompt, tuple(tokens), sum(entropies) / len(entropies))
