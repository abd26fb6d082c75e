"""Words to learn: corpora as tokenized samples, which lie in a file and not in memory, however many they are.

A pair becomes a sample by the tokenizer's template (`wmkml.dialogue.templates`), its end token among the labels.
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, overload

from wmkml.corpora import Corpus, Pair, Part
from wmkml.dialogue.chat_template import MessagesRefusedError
from wmkml.dialogue.templates import render_sample
from wmkml.training.samples import IGNORED, LossOn, TokenizedSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OnSample = Callable[[int, Corpus], None]
"""Called with the number of pairs read so far and the corpus under way."""

LEFT_OUT_NAMED = 20
"""Pairs that are left out and named one by one; the others are counted."""

_BUFFER = 1 << 16
"""Ids that are collected before they are written."""


class NothingToLearnError(ValueError):
    """No pair holds anything to learn.  The message names a line and says why."""


class SampleStore(Sequence[TokenizedSample]):
    """Tokenized samples in a temporary file that is read as memory is; 24 bytes a sample stay in memory.

    Labels are the ids from each sample's first target on.  Append, then `finish()`, then read.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="wmkml-samples-")  # noqa: SIM115  (held open)
        self._buffer = array("i")
        self._ends, self._first_targets, self._places = array("q"), array("i"), array("q")
        self._count_ids = 0
        self._map: mmap.mmap | None = None
        self._ids = memoryview(b"").cast("i")

    def append(self, ids: Sequence[int], first_target: int, place: int) -> None:
        """Add a sample; `place` is the line it comes from."""
        self._buffer.extend(ids)
        self._count_ids += len(ids)
        self._ends.append(self._count_ids)
        self._first_targets.append(first_target)
        self._places.append(place)
        if len(self._buffer) >= _BUFFER:
            self._buffer.tofile(self._file)
            del self._buffer[:]

    def finish(self) -> None:
        """Write what is collected; from then on the samples can be read."""
        self._buffer.tofile(self._file)
        del self._buffer[:]
        self._file.flush()
        if self._count_ids:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            self._ids = memoryview(self._map).cast("i")

    def digest(self) -> str:
        """A hash of all samples, in their order."""
        hashed = hashlib.blake2b(digest_size=16)
        for part in (self._ids, self._ends, self._first_targets):
            hashed.update(part)
        return hashed.hexdigest()

    def close(self) -> None:
        """Delete the file."""
        self._ids.release()
        if self._map is not None:
            self._map.close()
        self._file.close()

    @property
    def tokens(self) -> int:
        """The tokens of all samples."""
        return self._count_ids

    def length(self, index: int) -> int:
        """The tokens of one sample."""
        return self._ends[index] - (self._ends[index - 1] if index else 0)

    def longest(self) -> int:
        """The tokens of the longest sample; 0 without any."""
        return max(map(self.length, range(len(self))), default=0)

    def place(self, index: int) -> int:
        """The line that a sample comes from."""
        return self._places[index]

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> TokenizedSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedSample]: ...
    def __getitem__(self, index: int | slice) -> TokenizedSample | list[TokenizedSample]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        begin, end = (self._ends[index - 1] if index else 0), self._ends[index]
        ids = tuple(self._ids[begin:end])
        first = self._first_targets[index]
        return TokenizedSample(ids, (IGNORED,) * min(first, len(ids)) + ids[first:])

    def __iter__(self) -> Iterator[TokenizedSample]:
        return (self[number] for number in range(len(self)))


@dataclass
class TokenizedPart:
    """One part of the corpora, tokenized.

    Attributes:
        shown: pairs with a prompt and an answer, for people: at most `words_of`'s `keep`, evenly spread over all that were read.
        truncated: samples that were cut at the longest length, so that their end token is not learned.
        passages: pairs that are passages, without a prompt.
        left_out: sentences about the first pairs that hold nothing to learn; `left_out_count`: all of them.
    """

    store: SampleStore = field(default_factory=SampleStore)
    shown: list[Pair] = field(default_factory=list)
    pairs: int = 0
    passages: int = 0
    truncated: int = 0
    left_out: list[str] = field(default_factory=list)
    left_out_count: int = 0

    def leave_out(self, sentence: str) -> None:
        """Count a pair that is not learned."""
        self.left_out_count += 1
        if len(self.left_out) < LEFT_OUT_NAMED:
            self.left_out.append(sentence)


class EvenSpread:
    """Some of the pairs of a stream whose length is not known, evenly spread over it; the same ones of the same stream."""

    def __init__(self, count: int) -> None:
        self._count, self._seen, self._every = count, 0, 1
        self._pairs: list[Pair] = []

    def add(self, pair: Pair) -> None:
        """The next pair of the stream."""
        if self._count and self._seen % self._every == 0:
            self._pairs.append(pair)
            # Twice as many as are wanted: from now on every second of those only.
            if len(self._pairs) == 2 * self._count:
                del self._pairs[1::2]
                self._every *= 2
        self._seen += 1

    def chosen(self) -> list[Pair]:
        """At most `count` of them, in the stream's order."""
        size = len(self._pairs)
        wanted = min(self._count, size)
        return [self._pairs[(2 * number + 1) * size // (2 * wanted)] for number in range(wanted)]


@dataclass(frozen=True)
class SampleForm:
    """How pairs become samples.

    Attributes:
        loss_on: what is learned: the answer, or the whole text with prompt and template.
        max_length: tokens at which a sample is cut.
        system: a system prompt for pairs that have none; empty: none.
    """

    loss_on: LossOn = "answer"
    max_length: int = 512
    system: str = ""


def words_of(
    corpora: Sequence[Corpus],
    part: Part,
    tokenizer: PreTrainedTokenizerBase,
    form: SampleForm,
    *,
    most: int = 0,
    keep: int = 0,
    on_sample: OnSample = lambda pairs, corpus: None,
) -> TokenizedPart:
    """Tokenize one part of the corpora.

    Args:
        most: pairs that are read at most; 0: all.
        keep: pairs that are kept as they are.
        on_sample: progress.

    Raises:
        CorpusError: a corpus cannot be read on.
    """
    words, spread = TokenizedPart(), EvenSpread(keep)
    for corpus in corpora:
        for pair in corpus.pairs(part):
            if most and words.pairs == most:
                break
            words.pairs += 1
            _add(words, pair, f"{corpus.source}, line {pair.line}", tokenizer, form)
            if pair.answer is not None and pair.prompt:
                spread.add(pair)
            on_sample(words.pairs, corpus)
    words.shown = spread.chosen()
    words.store.finish()
    return words


def messages_of(pair: Pair, system: str) -> list[dict[str, str]]:
    """A pair's messages, with this system prompt if it has none of its own and is no passage."""
    messages = pair.messages
    if system and not pair.is_passage and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _add(words: TokenizedPart, pair: Pair, place: str, tokenizer: PreTrainedTokenizerBase, form: SampleForm) -> None:
    if pair.answer is None:
        words.leave_out(f"{place}: a prompt without an answer, so there is nothing to learn")
        return
    try:
        sample = render_sample(tokenizer, messages_of(pair, form.system))
    except MessagesRefusedError as refusal:
        words.leave_out(f"{place}: {refusal}")
        return
    first = sample.answer_start if form.loss_on == "answer" else 1
    ids = sample.ids[: form.max_length]
    if max(first, 1) >= len(ids):
        words.leave_out(
            f"{place}: what comes before the answer has {sample.answer_start} tokens, and a sample is cut at "
            f"{form.max_length} (--max-length)"
        )
        return
    words.passages += pair.is_passage
    words.truncated += len(sample.ids) > form.max_length
    words.store.append(ids, max(first, 1), pair.line)
