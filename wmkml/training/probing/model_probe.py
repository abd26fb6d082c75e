"""The measures of a model on the measuring probe: what `wmkml.measures.registry` names with the window `probe`.

The probe is read once an iteration.  A language counts as much as the other, however its tokenizer cuts it.  For the
divergence the base model's distributions are kept in memory where they are small; a large model reads the probe a second time
without its adapter, which costs less than the memory.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from peft import PeftModel

from wmkml.training.base_model import FrozenBase, window_of
from wmkml.training.batching import micro_batches, pad_batch
from wmkml.training.probing.distributions import DistributionSums, distribution_sums
from wmkml.training.probing.sentences import LanguageProbe, tokenized_probe
from wmkml.training.probing.update_size import base_norms, update_size
from wmkml.training.samples import IGNORED, TokenizedSample

TOKENS_AT_ONCE = 512
"""At most so many tokens go through the model together: with their logits they need less memory than a training step."""

KEPT_BYTES = 2**26
"""The base model's distributions are kept where they take no more than this, 64 MiB."""

NAMES = (
    "perplexity",
    "bits_per_byte",
    "next_token_entropy",
    "confidence",
    "outside_top_20",
    "divergence",
    "lora_update",
)
"""The measures that are taken here."""


@dataclass(frozen=True)
class ModelReading:
    """Measures by name; None: it could not be measured.  `layers`: for each of the model's layers, from the first."""

    values: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(NAMES))
    layers: Mapping[str, Sequence[float | None]] = field(default_factory=dict)


NOT_MEASURED = ModelReading()
"""A reading of which nothing could be measured."""


class ModelProbe:
    """Reads the probe with a model and its LoRA."""

    def __init__(self, model: PeftModel, base: FrozenBase, kept_bytes: int = KEPT_BYTES) -> None:
        """Nothing is read yet.

        Args:
            model: `base` with the LoRA.
            kept_bytes: most memory for the base model's distributions.
        """
        self._model, self._base, self._kept_bytes = model, base, kept_bytes
        self._norms: dict[str, float] | None = None
        self._kept: dict[int, torch.Tensor] = {}
        """The base model's log-probabilities, by the number of the batch; empty: they are not kept."""

    # Tokenized when it is first read: a template that cannot be used must not keep a model from being trained.
    @functools.cached_property
    def _languages(self) -> list[LanguageProbe]:
        return tokenized_probe(self._base.tokenizer, window_of(self._base.model))

    @functools.cached_property
    def _keeps(self) -> bool:
        """Whether the base model's distributions are kept."""
        tokens = sum(len(sample.ids) for probe in self._languages for sample in probe.samples)
        return 4 * tokens * int(self._base.model.config.get_text_config().vocab_size) <= self._kept_bytes

    def measure_base(self) -> ModelReading:
        """The measures of the base model: without an update, and with no divergence from itself."""
        self._kept.clear()
        try:
            with self._model.disable_adapter():
                sums = self._read(lambda _number, _ids: None)
        except BaseException:
            self._kept.clear()  # a part of it would be taken for the whole
            raise
        layers = [None if size is None else 0.0 for size in update_size(self._model, self._base_norms()).layers]
        return _reading(self._languages, sums, 0.0, layers)

    def measure(self) -> ModelReading:
        """The measures of the model with the LoRA that is in it now."""
        if self._keeps and not self._kept:
            self.measure_base()
        sums = self._read(self._of_base)
        size = update_size(self._model, self._base_norms())
        return _reading(self._languages, sums, size.whole, size.layers)

    def _base_norms(self) -> dict[str, float]:
        if self._norms is None:
            self._norms = base_norms(self._model)
        return self._norms

    def _read(self, of_base: Callable[[int, torch.Tensor], torch.Tensor | None]) -> list[DistributionSums]:
        """Read the probe with the model as it is; the sums of each language.

        Args:
            of_base: the base model's logits, given the number of the batch and its ids; None: the model is the base model.
        """
        self._model.eval()
        sums = [DistributionSums() for _ in self._languages]
        device = self._base.device
        for number, (language, batch) in enumerate(self._batches()):
            ids, labels = pad_batch(batch, device)
            logits = self._logits(ids)
            others = of_base(number, ids)
            if others is None and self._keeps:
                self._kept[number] = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            wanted = labels[:, 1:] != IGNORED
            base_rows = None if others is None else others[:, :-1][wanted]
            sums[language] += distribution_sums(logits[:, :-1][wanted], labels[:, 1:][wanted], base_rows)
        return sums

    def _batches(self) -> Iterator[tuple[int, list[TokenizedSample]]]:
        for language, probe in enumerate(self._languages):
            for batch in micro_batches(probe.samples, TOKENS_AT_ONCE):
                yield language, batch

    def _of_base(self, number: int, ids: torch.Tensor) -> torch.Tensor:
        if self._keeps:
            return self._kept[number]
        with self._model.disable_adapter():
            return self._logits(ids)

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        autocast = self._base.autocast
        with torch.no_grad(), torch.autocast(ids.device.type, dtype=autocast, enabled=autocast is not None):
            logits: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits


def _reading(
    languages: Sequence[LanguageProbe],
    sums: Sequence[DistributionSums],
    update: float,
    update_by_layer: Sequence[float | None],
) -> ModelReading:
    """Join the languages: the mean of each one's mean over its tokens, and of each one's bits for a byte."""
    read = [(probe, of_language) for probe, of_language in zip(languages, sums, strict=True) if of_language.tokens]

    def mean(quantity: Callable[[DistributionSums], float]) -> float:
        values = [quantity(of_language) / of_language.tokens for _, of_language in read]
        return sum(values) / len(values) if values else math.nan

    bits = [of_language.loss / math.log(2) / probe.text_bytes for probe, of_language in read]
    perplexity = math.nan
    with contextlib.suppress(OverflowError):
        perplexity = math.exp(mean(lambda of: of.loss))
    values = {
        "perplexity": perplexity,
        "bits_per_byte": sum(bits) / len(bits) if bits else math.nan,
        "next_token_entropy": mean(lambda of: of.entropy),
        "confidence": mean(lambda of: of.top),
        "outside_top_20": mean(lambda of: of.outside),
        "divergence": mean(lambda of: of.divergence),
        "lora_update": update,
    }
    return ModelReading(
        {name: _finite(value) for name, value in values.items()},
        {"lora_update": [None if value is None else _finite(value) for value in update_by_layer]},
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
