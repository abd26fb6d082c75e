"""Asks one model for answers: a prompt in the model's own format, every answer with a seed of its own, a group at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wmkml.dialogue.chat_template import MessagesRefusedError, prompt_ids
from wmkml.engine.protocol import Adapter, Engine, Generation, Sampling
from wmkml.engine.text import Detokenizer
from wmkml.laboratory.analysis.prompts import AskedPrompt
from wmkml.laboratory.analysis.sources import ModelSource, SourceError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPERATURES = tuple(round(0.1 * step, 1) for step in range(1, 16))
QUICK_TEMPERATURES = (0.7, 1.0)
COMPLETIONS = 25
QUICK_COMPLETIONS = 10

PromptFormat = Literal["auto", "chat", "plain"]

Group = list[tuple[AskedPrompt, float]]
"""Prompts with their temperatures that are asked together."""

PROBED_TOKENS = 8
"""Tokens of each answer of a first group, after its first one, by which it is predicted how long all answers take."""


@dataclass(frozen=True)
class MakingOptions:
    """How answers are made; all but `engine` and `device` are part of what they are, `batch` by how many are asked together.

    Attributes:
        temperatures: each prompt is asked at each of them.
        completions: answers to a prompt at a temperature.
        max_tokens: of an answer at most.
        top_p: 1: nothing is cut from the distribution.
        prompt_format: `chat`: the model's template; `plain`: prompt, line break, opening; `auto`: `chat` where there is one.
        system: the system prompt; empty: none.
        batch: answers that are made at once.
        engine: vllm or transformers.
        device: for transformers; empty: the best that there is.
        dtype: of the weights; auto: float32 on a CPU, else bfloat16.
    """

    temperatures: tuple[float, ...] = TEMPERATURES
    completions: int = COMPLETIONS
    max_tokens: int = 100
    top_p: float = 1.0
    seed: int = 0
    prompt_format: PromptFormat = "auto"
    system: str = ""
    batch: int = 128
    engine: Literal["vllm", "transformers"] = "transformers"
    device: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    @property
    def sets_per_group(self) -> int:
        """How many prompts and temperatures are asked together."""
        return max(1, self.batch // self.completions)

    def description(self, prompts: Sequence[AskedPrompt], source: ModelSource) -> dict[str, Any]:
        """What these answers are, for JSON; answers of another description are not continued."""
        return {
            "source": source.identity(),
            # With what is expected and the language, which stand beside every answer and are measured with it.
            "prompts": [
                [prompt.kind, prompt.prompt, prompt.opening, list(prompt.expected), prompt.language]
                for prompt in prompts
            ],
            "temperatures": list(self.temperatures),
            "completions": self.completions,
            "max_tokens": self.max_tokens,
            "top_p": self.top_p,
            "seed": self.seed,
            "prompt_format": self.prompt_format,
            "system": self.system,
            "sets_per_group": self.sets_per_group,
            "dtype": self.dtype,
        }


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: AskedPrompt, options: MakingOptions) -> tuple[int, ...]:
    """The tokens after which a model's answer goes on: prompt in its format, and the opening of the answer.

    Raises:
        SourceError: the format is `chat`, and the model has no template, or its template refuses this.
    """
    chat = options.prompt_format == "chat" or (options.prompt_format == "auto" and tokenizer.chat_template)
    if not chat:
        text = "\n".join(part for part in (options.system, prompt.prompt, prompt.opening) if part)
        return tuple(tokenizer(text if prompt.opening else f"{text}\n")["input_ids"])
    if not tokenizer.chat_template:
        raise SourceError("--format chat: the model has no chat template. Use auto or plain.")
    messages = [{"role": "system", "content": options.system}] if options.system else []
    try:
        ids = prompt_ids(tokenizer, [*messages, {"role": "user", "content": prompt.prompt}])
    except MessagesRefusedError as error:
        raise SourceError(f"--format chat: {error} Use --format plain.") from None
    return (*ids, *tokenizer(prompt.opening, add_special_tokens=False)["input_ids"]) if prompt.opening else tuple(ids)


@dataclass(frozen=True)
class Asker:
    """What is needed to ask one model."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    adapter: Adapter | None
    options: MakingOptions

    async def answers(self, encoded: Mapping[AskedPrompt, tuple[int, ...]], group: Group, max_tokens: int) -> list[str]:
        """All answers of a group.  Gathered together they start in one turn of the event loop: batched in the same way every time."""
        return await asyncio.gather(
            *(
                self.answer(encoded[prompt], prompt, temperature, number, max_tokens)
                for prompt, temperature in group
                for number in range(self.options.completions)
            )
        )

    async def longest_seconds(self, encoded: Mapping[AskedPrompt, tuple[int, ...]], group: Group) -> float:
        """How long a group takes whose answers are all as long as they may be, by their first tokens, which are thrown away."""
        seconds = []
        for tokens in (1, 1 + PROBED_TOKENS):
            began = time.monotonic()
            await self.answers(encoded, group, tokens)
            seconds.append(time.monotonic() - began)
            await self.engine.clear_prompt_cache()  # the answers that are kept are made as if nothing had been asked
        first, whole = seconds
        # The first may have waited for what an engine does once.
        each = (whole - first) / PROBED_TOKENS if whole > first else whole / (1 + PROBED_TOKENS)
        return min(seconds) + each * (self.options.max_tokens - 1)

    async def answer(
        self, ids: tuple[int, ...], prompt: AskedPrompt, temperature: float, number: int, max_tokens: int
    ) -> str:
        """One answer; the same for the same numbers, where the engine takes seeds."""
        options = self.options
        seed = random.Random(f"{options.seed}:{prompt.kind}:{prompt.prompt}:{temperature}:{number}").getrandbits(31)
        sampling = Sampling(temperature=temperature, top_p=options.top_p, max_tokens=max_tokens, seed=seed)
        name = f"{self.adapter.name if self.adapter else 'base'}:{prompt.kind}:{prompt.prompt}:{temperature}:{number}"
        generation = Generation(name, ids, sampling, self.adapter, with_logprobs=False)
        detokenizer, text = Detokenizer(self.tokenizer), ""
        async for step in self.engine.generate(generation):
            if step.finish != "stop":  # the end token is no part of the text
                text += detokenizer.push(step.token)
        return text + detokenizer.finish()
