"""Before and after: answers to held-out prompts side by side, and how much of their diversity the finetuning cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from wmkml.corpora import Pair
from wmkml.finetuning.answering import ModelAnswers
from wmkml.finetuning.preparation.words import messages_of
from wmkml.measures.diversity_table import DIVERSITY
from wmkml.measures.registry import TABLE, function_of

ANSWERS_EACH = 4
"""Answers to each prompt, of which the first is shown."""

OVER_ALL = ("distinct_2", "compression_ratio")
"""Measures of all answers together, of `wmkml.measures.registry`."""

OF_A_PROMPT = ("jaccard_2", "vendi")
"""Measures of one prompt's answers, of `wmkml.measures.diversity_table`; the mean over the prompts is taken."""


@dataclass(frozen=True)
class AnsweredPrompt:
    """A held-out prompt with the answer that the corpus has, and those that the model gave."""

    prompt: str
    wanted: str
    answers: tuple[str, ...]


def answer_prompts(
    answers: ModelAnswers, pairs: Sequence[Pair], system: str, seed: int, on_answered: Callable[[int], None]
) -> list[AnsweredPrompt]:
    """Answer each pair's prompt ANSWERS_EACH times, in its context."""
    conversations = [messages_of(pair, system)[:-1] for pair in pairs for _ in range(ANSWERS_EACH)]
    texts = answers(conversations, seed, on_answered) if conversations else []
    return [
        AnsweredPrompt(
            pair.prompt, pair.answer or "", tuple(texts[ANSWERS_EACH * number : ANSWERS_EACH * (number + 1)])
        )
        for number, pair in enumerate(pairs)
    ]


def diversity(answered: Sequence[AnsweredPrompt]) -> dict[str, float]:
    """The measures of OVER_ALL and OF_A_PROMPT that can be taken, by name."""
    texts = [answer for prompt in answered for answer in prompt.answers]
    values: dict[str, float | None] = {}
    for name in OVER_ALL:
        values[name] = _measured(name, texts)
    for name in OF_A_PROMPT:
        of_prompts = [value for prompt in answered if (value := DIVERSITY[name](prompt.answers)) is not None]
        values[name] = sum(of_prompts) / len(of_prompts) if of_prompts else None
    return {name: value for name, value in values.items() if value is not None}


def answers_table(before: Sequence[AnsweredPrompt], after: Sequence[AnsweredPrompt]) -> Table:
    """The first answers side by side."""
    table = Table(title="Held-out prompts, before and after", show_lines=True, title_justify="left")
    for heading in ("prompt", "before", "after", "in the corpus"):
        table.add_column(heading, overflow="fold")
    for old, new in zip(before, after, strict=True):
        # As Text: what a model says in square brackets is no markup of rich's.
        table.add_row(*map(Text, (old.prompt, old.answers[0], new.answers[0], new.wanted)))
    return table


def diversity_lines(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """What the finetuning cost in diversity, a line for each measure."""
    lines = []
    for name, old in before.items():
        if name not in after:
            continue
        row = TABLE[name] if name in TABLE else DIVERSITY[name]
        poorer = after[name] < old if row.direction == "falls" else after[name] > old
        word = "no change" if abs(after[name] - old) < 0.005 else "less diverse" if poorer else "more diverse"
        lines.append(f"{name} ({row.meaning}): {old:.2f} → {after[name]:.2f}, {word}")
    return lines


def _measured(name: str, texts: Sequence[str]) -> float | None:
    value = function_of(TABLE[name])(texts)
    return None if value is None else float(value)
