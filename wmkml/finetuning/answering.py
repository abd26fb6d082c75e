"""Answers by the very model that is being taught, in memory, before and after: no second copy is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from wmkml.dialogue.chat_template import Message, prompt_ids
from wmkml.models.recommendations import without_recommendations
from wmkml.training.base_model import window_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPERATURE, TOP_P = 0.4, 0.9
"""The installation's own defaults (`inference.temperature`, `inference.top_p`)."""

PROMPTS_AT_ONCE = 64


class ModelAnswers:
    """Answers of one model; its weights may be trained in between."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        stops: Sequence[str] = (),
        *,
        max_tokens: int = 96,
        autocast: torch.dtype | None = None,
    ) -> None:
        """`stops`: texts that end an answer, as a template has them."""
        self._model, self._tokenizer, self._stops = model, tokenizer, tuple(stops)
        self._max_tokens, self._autocast = max_tokens, autocast
        self._ends = _end_tokens(model, tokenizer)

    def __call__(
        self,
        conversations: Sequence[Sequence[Message]],
        seed: int,
        on_answered: Callable[[int], None] = lambda done: None,
    ) -> list[str]:
        """An answer to each conversation, drawn with this seed; the generators of random numbers are left as they were."""
        device = next(self._model.parameters()).device
        ids = [prompt_ids(self._tokenizer, messages) for messages in conversations]
        self._model.eval()
        answers: list[str] = []
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(seed)
            for first in range(0, len(ids), PROMPTS_AT_ONCE):
                answers += self._batch(ids[first : first + PROMPTS_AT_ONCE], device)
                on_answered(len(answers))
        return answers

    def _batch(self, prompts: Sequence[Sequence[int]], device: torch.device) -> list[str]:
        longest = max(map(len, prompts))
        room = max(1, min(self._max_tokens, window_of(self._model) - longest))
        pad = self._ends[0]
        rows = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        autocast = torch.autocast(device.type, dtype=self._autocast, enabled=self._autocast is not None)
        with autocast, without_recommendations(self._model):
            out = self._model.generate(
                input_ids=torch.tensor(rows, device=device),
                attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=room,
                do_sample=True,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                top_k=0,
                pad_token_id=pad,
                eos_token_id=self._ends,
                use_cache=True,
            )
        return [self._text(row[longest:].tolist()) for row in out]

    def _text(self, ids: list[int]) -> str:
        end = next((index for index, id_ in enumerate(ids) if id_ in self._ends), len(ids))
        text: str = self._tokenizer.decode(ids[:end], skip_special_tokens=True)
        for stop in self._stops:
            text = text.partition(stop)[0]
        return text.strip()


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [] if configured is None else [configured]
    return list(dict.fromkeys([tokenizer.eos_token_id, *ids]))
