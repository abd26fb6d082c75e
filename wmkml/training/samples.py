"""Turn (prompt, answer) pairs into token ids and labels.

The target is the whole templated text, or the answer alone.  The end token is never a target, as in the original,
where it is also the padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wmkml.dialogue.chat_template import training_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is not a target; the default `ignore_index` of torch's cross-entropy."""

LossOn = Literal["text", "answer"]


@dataclass(frozen=True)
class TokenizedSample:
    """One training sample: `ids` and `labels` have the same length; a label is the token's own id, or IGNORED."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def targets(self) -> int:
        """The number of tokens in the loss.  The first token does not count: nothing predicts it."""
        return sum(label != IGNORED for label in self.labels[1:])


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Iterable[tuple[str, str]], max_length: int, loss_on: LossOn
) -> list[TokenizedSample]:
    """Tokenize (prompt, answer) pairs, each truncated to `max_length` tokens.

    A pair without targets (`loss_on` is "answer" and the answer begins beyond the cut) is left out.
    """
    samples = (tokenize_pair(tokenizer, prompt, answer, max_length, loss_on) for prompt, answer in pairs)
    return [sample for sample in samples if sample.targets]


def tokenize_pair(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, max_length: int, loss_on: LossOn
) -> TokenizedSample:
    """Tokenize one pair, truncated to `max_length` tokens.  The end token is masked wherever it occurs."""
    ids, start = training_ids(tokenizer, prompt, answer)
    ids = ids[:max_length]
    first = start if loss_on == "answer" else 0
    end = tokenizer.eos_token_id
    labels = [token if index >= first and token != end else IGNORED for index, token in enumerate(ids)]
    return TokenizedSample(tuple(ids), tuple(labels))
