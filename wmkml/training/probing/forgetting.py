"""How much of the base model's expectations the trained model has lost: the measure `forgetting`, from which life is made.

Both models read plain exchanges of a question and an answer.  They are in the small language that the model that ships with
this project knows, too: amid sentences that a model cannot read, its expectations are noise, and a touch changes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, cast

import torch
import yaml

if TYPE_CHECKING:
    from peft import PeftModel

from wmkml.training.base_model import FrozenBase, window_of
from wmkml.training.batching import micro_batches, pad_batch
from wmkml.training.samples import IGNORED, TokenizedSample, tokenize_pairs

TOKENS_AT_ONCE = 512
"""At most so many tokens go through the model together: with their logits they need less memory than a training step."""

ROWS_AT_ONCE = 128
"""So many distributions are compared together: of a vocabulary of 128,000 tokens they take 64 MB."""

LEAST = -1e4
"""Stands for the logarithm of 0, so that a token that one model excludes adds a large number, and not NaN."""


def probe_exchanges() -> Mapping[str, list[tuple[str, str]]]:
    """The exchanges, question and answer, by language."""
    text = (files(__package__) / "exchanges.yaml").read_text(encoding="utf-8")
    by_language = cast("Mapping[str, list[list[str]]]", yaml.safe_load(text))
    return {language: [(question, answer) for question, answer in pairs] for language, pairs in by_language.items()}


class ForgettingProbe:
    """Reads the exchanges with a model and its LoRA, and without the LoRA."""

    def __init__(self, model: PeftModel, base: FrozenBase) -> None:
        """Nothing is read yet; `model` is `base` with the LoRA."""
        self._model, self._base = model, base
        self._languages: list[list[TokenizedSample]] = []

    def measure(self) -> float:
        """The mean of KL(base ‖ model) over the tokens of each language, and of the languages, in nats; 0 or more.

        KL(base ‖ model) is Σ q·(log q − log p), with q the base model's distribution of the next token and p the model's.
        It is not finite where the model's logits are not.
        """
        if not self._languages:
            # Not before: a template that cannot be used must not keep a model from training.
            tokenizer, longest = self._base.tokenizer, window_of(self._base.model)
            self._languages = [
                tokenize_pairs(tokenizer, pairs, longest, "text") for pairs in probe_exchanges().values()
            ]
        self._model.eval()
        return sum(self._mean_of(samples) for samples in self._languages) / len(self._languages)

    def measure_base(self) -> float:
        """The base model's own, which is 0; it reads the exchanges all the same, to fail where a model's would."""
        self.measure()
        return 0.0

    def _mean_of(self, samples: list[TokenizedSample]) -> float:
        total, count = 0.0, 0
        for batch in micro_batches(samples, TOKENS_AT_ONCE):
            ids, labels = pad_batch(batch, self._base.device)
            wanted = labels[:, 1:] != IGNORED
            with self._model.disable_adapter():
                of_base = self._logits(ids)[:, :-1][wanted]
            of_model = self._logits(ids)[:, :-1][wanted]
            for first in range(0, len(of_model), ROWS_AT_ONCE):
                rows = slice(first, first + ROWS_AT_ONCE)
                base_values, values = _logarithms(of_base[rows]), _logarithms(of_model[rows])
                total += float((base_values.exp() * (base_values - values)).sum(dtype=torch.float64))
            count += int(wanted.sum())
        # Rounding can make the least divergence negative; NaN stays NaN.
        return 0.0 if total < 0.0 else total / count

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        autocast = self._base.autocast
        with torch.no_grad(), torch.autocast(ids.device.type, dtype=autocast, enabled=autocast is not None):
            logits: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits


def _logarithms(logits: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits, dim=-1, dtype=torch.float32).clamp_(min=LEAST)
