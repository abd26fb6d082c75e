"""What is shown before anything is spent: a sample token by token, and what the finetune is expected to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from wmkml.finetuning.preparation.estimate import GIB, Prediction
from wmkml.training.samples import IGNORED, TokenizedSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAINED = ("black on green", "black on bright_green")
"""Styles of a token that is trained, by turns, so that its borders are seen."""

GIVEN = ("dim", "dim underline")
"""Styles of a token that only stands before."""

SHOWN_TOKENS = 400
"""Tokens of a sample that are shown at most."""


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; a part of a character is shown as �."""
    texts, before = [], ""
    for end in range(1, len(ids) + 1):
        # Decoded with those before it: alone, some tokenizers drop the blank that a word begins with.
        start = max(0, end - 8)
        before = tokenizer.decode(ids[start : end - 1], skip_special_tokens=False) if end > 1 else ""
        whole = tokenizer.decode(ids[start:end], skip_special_tokens=False)
        texts.append(whole[len(before) :] if whole.startswith(before) else tokenizer.decode([ids[end - 1]]))
    return texts


def coloured_sample(tokenizer: PreTrainedTokenizerBase, sample: TokenizedSample) -> Text:
    """A sample with its trained tokens in colour; line breaks and the end token can be seen."""
    text = Text()
    shown = list(zip(token_texts(tokenizer, sample.ids), sample.labels, strict=True))[:SHOWN_TOKENS]
    for number, (piece, label) in enumerate(shown):
        style = (GIVEN if label == IGNORED else TRAINED)[number % 2]
        text.append(piece.replace("\n", "⏎\n") or "·", style)
    if len(sample.ids) > SHOWN_TOKENS:
        text.append(f" … {len(sample.ids) - SHOWN_TOKENS} more tokens", "dim")
    return text


def sample_record(tokenizer: PreTrainedTokenizerBase, sample: TokenizedSample) -> list[dict[str, object]]:
    """A sample for programs: each token's id, text, and whether it is trained."""
    return [
        {"id": id_, "text": text, "trained": label != IGNORED}
        for id_, text, label in zip(sample.ids, token_texts(tokenizer, sample.ids), sample.labels, strict=True)
    ]


def prediction_lines(prediction: Prediction, device: str) -> list[str]:
    """The prediction as lines of text."""
    memory = prediction.memory
    lines = [
        f"Memory of the {device} at its peak: about {_gib(memory.total)} of {_gib(prediction.available)} that are free "
        f"(process {_gib(memory.process)}, weights {_gib(memory.weights)}, what is trained {_gib(memory.training)}, "
        f"activations {_gib(memory.activations)}"
        + (f", or {_gib(memory.merging)} of merging when it is over)" if memory.merging else ")")
    ]
    if prediction.seconds is not None:
        lines.append(
            f"Time: about {duration(prediction.seconds)} for {prediction.steps:,} steps with their evaluations"
        )
    elif prediction.fits:
        lines.append("Time: measured on the device itself, which is not here")
    if not prediction.fits:
        lines.append("It will not fit.")
        lines += [f"  It would with {words}: about {_gib(total)}" for words, total in prediction.would_fit]
        if not prediction.would_fit:
            lines.append(
                "  Nothing that can be changed here would make it fit: take a smaller model, or a larger device."
            )
    return lines


def duration(seconds: float) -> str:
    """A time for people: seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:.1f} GiB"
