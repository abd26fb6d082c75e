"""The fixed text on which every adapter is measured when it is written, so that an engine can prove that it uses it.

See `wmkml.adapters.probe` for what is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE_TOKENS = 256
"""At most so many tokens of the text are read; a large vocabulary makes some 20 of a sentence.

Over 200 tokens the mean difference of two engines repeats to a hundredth."""

PROBE_TEXT = (
    "Am Morgen geht ein alter Mann mit seinem Hund durch die Stadt und kauft frisches Brot. "
    "In the evening a child asks her mother why the moon follows them all the way home. "
    "Der Regen fällt seit drei Tagen auf das Dach, und niemand möchte das Haus verlassen. "
    "A language is a house that everybody builds and nobody owns, and its rooms are full of voices. "
    "Wer viel liest, findet manchmal ein Wort wieder, das er als Kind verloren hat. "
    "The river was so low that summer that we could walk across it and keep our shoes dry. "
    "Im Garten steht ein Baum, dessen Äpfel im Herbst süßer sind als die der Nachbarn. "
    "He wrote her a long letter about the sea, folded it twice, and never sent it. "
    "Die Lehrerin erklärt geduldig, warum zwei und zwei vier ergeben und nicht fünf. "
    "Nobody remembers who painted the door blue, but everyone would miss it if it were green. "
    "Wenn die Musik aufhört, hört man erst, wie leise es im Saal geworden ist. "
    "After the storm the fishermen sat together, mended their nets, and told the old stories again. "
    "Auf dem Tisch liegt ein Schlüssel, von dem keiner weiß, zu welcher Tür er gehört. "
    "On Sundays my grandfather wound the clock in the hall and asked us what we had learned. "
    "Der Zug hält hier nur, wenn jemand aussteigen will, und heute will es niemand. "
    "She planted beans along the fence, and by August nobody could see the road any more."
)
"""Ordinary sentences in German and English by turns, written for this; nobody's answers, and no training text."""


def probe_tokens(tokenizer: PreTrainedTokenizerBase, window: int = PROBE_TOKENS) -> tuple[int, ...]:
    """The ids of the text's first tokens, at most PROBE_TOKENS and `window` of them.

    Args:
        window: the longest text that the model reads, in tokens.
    """
    ids: list[int] = tokenizer(PROBE_TEXT)["input_ids"]
    return tuple(ids[: min(PROBE_TOKENS, window)])


def log_probabilities(
    model: torch.nn.Module, tokens: Sequence[int], device: torch.device, autocast: torch.dtype | None
) -> tuple[float, ...]:
    """The natural logarithms of the probabilities of `tokens[1:]`, each after the tokens before it.

    A number that is not finite anywhere in the model's logits makes all of them NaN.
    """
    model.eval()
    ids = torch.tensor([list(tokens)], device=device)
    with torch.no_grad(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0]
    if not bool(torch.isfinite(logits).all()):
        return (float("nan"),) * (len(tokens) - 1)
    logarithms = torch.log_softmax(logits[:-1].float(), dim=-1)
    return tuple(logarithms.gather(1, ids[0, 1:, None])[:, 0].tolist())
