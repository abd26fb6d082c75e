"""Tokenizers as vocabularies: what they write a line with, and how ids become words again.

Only ordinary tokens take part: markup such as `</s>` is left out, since it prints nothing.  A place counts among these alone, so
that places of different vocabularies can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.corpora import CorpusError, read
from wmkml.dialogue.chat_template import load_tokenizer, plain_ids
from wmkml.engine.text import token_decoder
from wmkml.laboratory.poetry.poems import PoetryError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

TRAINED = "trained"
"""The name of the vocabulary that is trained on the spot."""

INCOMPLETE = "\ufffd"
"""What bytes print that are no whole character."""

SMALLEST = 257
"""Of a trained vocabulary: every byte and one more."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and where its tokens lie among each other.

    Attributes:
        name: for people.
        embeddings: of the model that it belongs to, shape (tokens, width); None: it belongs to none that is loaded.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase = field(repr=False, compare=False)
    embeddings: torch.Tensor | None = field(default=None, repr=False, compare=False)

    @cached_property
    def ordinary(self) -> list[int]:
        """The ids that print something, in ascending order."""
        special = {int(token) for token in self.tokenizer.all_special_ids}
        special |= {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return sorted(number for number in self.tokenizer.get_vocab().values() if number not in special)

    @cached_property
    def places(self) -> dict[int, int]:
        """Where an ordinary id stands among the ordinary ones."""
        return {token: place for place, token in enumerate(self.ordinary)}

    @cached_property
    def by_key(self) -> dict[str, int]:
        """The ordinary ids by what they print (`key`); of several that print the same, the first."""
        ids: dict[str, int] = {}
        for token in self.ordinary:
            ids.setdefault(self.key(token), token)
        return ids

    @cached_property
    def by_name(self) -> dict[str, int]:
        """The ordinary ids by the tokenizer's own names for them."""
        return {name: token for name, token in self.tokenizer.get_vocab().items() if token in self.places}

    @cached_property
    def _text_of(self) -> Callable[[int], str]:
        return token_decoder(self.tokenizer)

    def token_text(self, token: int) -> str:
        """What a token prints within a line, with the blank before a word; half a character is �."""
        return self._text_of(token)

    def key(self, token: int) -> str:
        """By what a token is found in another vocabulary: what it prints, or of half a character the tokenizer's own name."""
        text = self.token_text(token)
        # Marked, since byte-level tokenizers name the byte 0xD6 "Ö", which others print.
        return f"{INCOMPLETE}{self.name_of(token)}" if INCOMPLETE in text else text

    def name_of(self, token: int) -> str:
        """The tokenizer's own name for a token."""
        return str(self.tokenizer.convert_ids_to_tokens(token))

    def ids(self, line: str) -> list[int]:
        """The ids of a line."""
        return [token for token in plain_ids(self.tokenizer, line) if token in self.places]

    def text(self, ids: Sequence[int]) -> str:
        """What ids print together; bytes that are no character are �."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def id_at(self, place: int) -> int:
        """The id at a place, counted round and round."""
        return self.ordinary[place % len(self.ordinary)]

    def __len__(self) -> int:
        return len(self.ordinary)


def load_vocabulary(folder: Path, name: str) -> Vocabulary:
    """The tokenizer of a model's folder; its weights are not read.

    Raises:
        PoetryError: there is none.
    """
    try:
        return Vocabulary(name, load_tokenizer(folder, needs_template=False))
    except (OSError, ValueError) as error:
        raise PoetryError(
            f"{name}: {folder} holds no tokenizer that can be loaded ({str(error).splitlines()[0]})."
        ) from None


def train_vocabulary(files: Sequence[Path], size: int, name: str = TRAINED) -> Vocabulary:
    """Byte-level BPE, as GPT-2 and the understudy have it, trained on all words of these files.

    Args:
        size: of the vocabulary; a small text gives a smaller one.

    Raises:
        PoetryError: a file cannot be read, or there are no words; or the size is too small.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if size < SMALLEST:
        raise PoetryError(
            f"--vocabulary: {size} is not allowed; allowed: at least {SMALLEST}, for there are 256 bytes."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_words(files), trainer)
    if tokenizer.get_vocab_size() < SMALLEST:
        raise PoetryError(f"{', '.join(map(str, files))}: too few words to train a tokenizer on.")
    return Vocabulary(name, PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def _words(files: Sequence[Path]) -> Iterator[str]:
    try:
        for file in files:
            for pair in read(str(file)).pairs():
                yield from (message["content"] for message in pair.messages)
    except CorpusError as error:
        raise PoetryError(str(error)) from None
