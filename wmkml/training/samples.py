"""From a prompt and an answer to what the model learns: token ids, and a label for each of them.

The whole templated text is the target, or the answer alone; the end token is never one, as in the original, where it
is also the padding.  Knows tokenizers through `wmkml.prompting`; knows nothing of models or batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wmkml.prompting import training_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is no target."""

LossOn = Literal["text", "answer"]


@dataclass(frozen=True)
class Tokens:
    """One sample, ready: `ids` and `labels` are equally long; a label is the token's own id, or IGNORED."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def targets(self) -> int:
        """How many tokens the loss is taken of.  The first token of a text is predicted by nothing."""
        return sum(label != IGNORED for label in self.labels[1:])


def prepare(
    tokenizer: PreTrainedTokenizerBase, pairs: Iterable[tuple[str, str]], max_length: int, loss_on: LossOn
) -> list[Tokens]:
    """Tokenise (prompt, answer) pairs, each cut at `max_length` tokens.

    A pair with nothing to learn (its answer begins beyond the cut, and `loss_on` is the answer) is left out.
    """
    prepared = (tokens_of(tokenizer, prompt, answer, max_length, loss_on) for prompt, answer in pairs)
    return [sample for sample in prepared if sample.targets]


def tokens_of(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, max_length: int, loss_on: LossOn) -> Tokens:
    """One sample.  The end token is masked wherever it stands."""
    ids, start = training_ids(tokenizer, prompt, answer)
    ids = ids[:max_length]
    first = start if loss_on == "answer" else 0
    end = tokenizer.eos_token_id
    labels = [one if place >= first and one != end else IGNORED for place, one in enumerate(ids)]
    return Tokens(tuple(ids), tuple(labels))
