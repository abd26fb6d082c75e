"""How an answer is drawn: temperature, nucleus, beams, repetitions, stops, seed; as transformers' own settings."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig

    from wmkml.generation.speaker import Speaker

GREEDY_BELOW = 1e-5
"""Temperatures below this are greedy, as in the engines."""


class DecodingError(ValueError):
    """These settings cannot be used together.  The message names them as the command's arguments."""


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn.

    Attributes:
        max_tokens: of an answer.
        temperature: 0 is greedy; None: 0.7, or 0 with beams.
        top_p: the likeliest tokens that together have this probability are drawn from.
        top_k: at most so many of them; 0: all.
        beams: texts that are followed side by side; 1: no beam search.
        no_repeat_ngram: no sequence of so many tokens occurs twice; 0: it may.
        repetition_penalty: what the logits of tokens already there are divided by; 1: nothing.
        stop: texts before which an answer ends.
        stop_ids: tokens that end an answer, beside the model's own.
        seed: of the draws; None: drawn when the object is made, so that it can be told and repeated.
        count: answers to each prompt.
    """

    max_tokens: int = 256
    temperature: float | None = None
    top_p: float = 0.9
    top_k: int = 0
    beams: int = 1
    no_repeat_ngram: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    seed: int = field(default_factory=lambda: secrets.randbelow(2**31))
    count: int = 1

    def __post_init__(self) -> None:
        bounds = (
            ("--max-tokens", self.max_tokens, 1, None),
            ("--temperature", self.chosen_temperature, 0, 100),
            ("--top-k", self.top_k, 0, None),
            ("--beams", self.beams, 1, None),
            ("--no-repeat-ngram", self.no_repeat_ngram, 0, None),
            ("--n", self.count, 1, None),
            ("--seed", self.seed, 0, 2**63 - 1),
        )
        for name, value, least, most in bounds:
            if not (value >= least and (most is None or value <= most)):
                bound = f"{least} to {most}" if most is not None else f"at least {least}"
                raise DecodingError(f"{name}: {value:g} is not allowed; allowed: {bound}.")
        if not 0 < self.top_p <= 1:
            raise DecodingError(f"--top-p: {self.top_p:g} is not allowed; allowed: above 0, up to 1.")
        if not self.repetition_penalty > 0:
            raise DecodingError(f"--repetition-penalty: {self.repetition_penalty:g} is not allowed; allowed: above 0.")
        if "" in self.stop:
            raise DecodingError("--stop: an empty text would end every answer before it begins.")
        if not self.samples and self.count > self.beams:
            raise DecodingError(
                f"--n {self.count}: without drawing there are as many answers as beams, {self.beams}. "
                f"Give --temperature above 0, or --beams {self.count}."
            )

    @property
    def chosen_temperature(self) -> float:
        """The temperature, where none is given 0.7, and 0 with beams."""
        if self.temperature is not None:
            return self.temperature
        return 0.7 if self.beams == 1 else 0.0

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn, rather than the likeliest taken."""
        return self.chosen_temperature >= GREEDY_BELOW

    def end_ids(self, speaker: Speaker) -> tuple[int, ...]:
        """The tokens that end an answer of this speaker.

        Raises:
            DecodingError: a stop id is none of its tokens.
        """
        size = speaker.network.get_input_embeddings().weight.shape[0]
        if wrong := [token for token in self.stop_ids if not 0 <= token < size]:
            raise DecodingError(f"--stop-id: {wrong[0]} is no token of {speaker.label}; it has 0 to {size - 1}.")
        own = getattr(speaker.network.generation_config, "eos_token_id", None)
        ids = [*(own if isinstance(own, list) else [own]), speaker.tokenizer.eos_token_id, *self.stop_ids]
        return tuple(dict.fromkeys(int(token) for token in ids if token is not None))

    def settings(self, speaker: Speaker, max_tokens: int) -> GenerationConfig:
        """As transformers' `generate` takes them; nothing is left to what the model's files recommend."""
        from transformers import GenerationConfig

        ends = self.end_ids(speaker)
        pad = speaker.tokenizer.pad_token_id
        drawing: dict[str, Any] = {"do_sample": False}
        if self.samples:
            drawing = {
                "do_sample": True,
                "temperature": self.chosen_temperature,
                "top_p": self.top_p,
                "top_k": self.top_k,
            }
        return GenerationConfig(
            max_new_tokens=max_tokens,
            num_beams=self.beams,
            no_repeat_ngram_size=self.no_repeat_ngram,
            repetition_penalty=self.repetition_penalty,
            num_return_sequences=self.count,
            early_stopping=self.beams > 1,
            eos_token_id=list(ends) or None,
            bos_token_id=speaker.tokenizer.bos_token_id,
            pad_token_id=pad if pad is not None else (ends[0] if ends else 0),
            stop_strings=[*self.stop, *speaker.stops] or None,
            **drawing,
        )
