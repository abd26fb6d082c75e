"""The sentences of the measuring probe, as tokens of a model.

The probe of adapters (`wmkml.training.probe`) proves which adapter answers; this one is longer, and tells how the language is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, cast

import yaml

from wmkml.dialogue.chat_template import plain_ids, prompt_ids
from wmkml.training.samples import IGNORED, TokenizedSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 640
"""At most so many tokens of each language are read: a tokenizer that cuts small gets fewer sentences, not more work."""

OPENING_TOKENS = 16
"""So many of the tokens with which a template opens a prompt are read before a sentence, and the first one: some templates
open with a long text of their own, which would be most of the work."""


@dataclass(frozen=True)
class LanguageProbe:
    """The sentences of one language that are read: as tokens after a template's opening, and the bytes of their texts in UTF-8."""

    samples: tuple[TokenizedSample, ...]
    text_bytes: int

    @property
    def targets(self) -> int:
        """How many tokens are predicted."""
        return sum(sample.targets for sample in self.samples)


def probe_sentences() -> Mapping[str, list[str]]:
    """The sentences, by language."""
    text = (files(__package__) / "sentences.yaml").read_text(encoding="utf-8")
    return cast("Mapping[str, list[str]]", yaml.safe_load(text))


def tokenized_probe(tokenizer: PreTrainedTokenizerBase, window: int, most: int = MAX_TOKENS) -> list[LanguageProbe]:
    """The probe of each language, with at most `most` tokens of it.

    Each sentence is read by itself, as what a visitor says: there a model that talks meets the sentences of people.  Where the
    tokenizer has no template, it is read after the start token.  Every token of it is predicted, the first one too.

    Args:
        window: the longest text that the model reads, in tokens; longer sentences are left out.
    """
    probes = []
    for sentences in probe_sentences().values():
        samples: list[TokenizedSample] = []
        size = length = 0
        for sentence, (opening, ids) in zip(sentences, _split(tokenizer, sentences), strict=True):
            length += len(ids)
            if length > most:
                break
            if len(opening) + len(ids) <= window:
                samples.append(TokenizedSample((*opening, *ids), (*(IGNORED for _ in opening), *ids)))
                size += len(sentence.encode())
        probes.append(LanguageProbe(tuple(samples), size))
    return probes


def _split(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]) -> Iterator[tuple[list[int], list[int]]]:
    """The tokens that open each sentence, and its own."""
    if tokenizer.chat_template is None:
        start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        yield from (([start or 0], plain_ids(tokenizer, sentence)) for sentence in sentences)
        return
    whole = [prompt_ids(tokenizer, [{"role": "user", "content": sentence}]) for sentence in sentences]
    # What is the same for all of them is the template's; so it is whichever tokenizer cuts the sentence.
    first, last = _common(whole), _common([list(reversed(ids)) for ids in whole])
    opening = whole[0][:first]
    if len(opening) > OPENING_TOKENS:
        opening = [opening[0], *opening[-OPENING_TOKENS:]]
    yield from ((opening, ids[first : len(ids) - last]) for ids in whole)


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """How many of their first elements are the same in all sequences."""
    count = 0
    for elements in zip(*sequences, strict=False):
        if len(set(elements)) > 1:
            break
        count += 1
    return count
