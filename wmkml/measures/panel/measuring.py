"""The measures of the panel's answers, every one at a fixed length.

Length biases nearly every measure of diversity, and a dying language changes its length.  So texts of one size are
compared, whatever was answered:

- an answer counts with its first `words` words; one that has fewer is not compared at all;
- answers to one prompt are compared in groups of GROUP;
- answers to different prompts are compared in rows: one to each of half the panel's prompts.

A value is the mean over what could be compared, and is missing where that is less than half the panel: a panel of which a
part is answered gives the same values as a whole one, but for chance, or none.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from wmkml.measures import diversity, embeddings, texts
from wmkml.measures.dictionaries import real_words
from wmkml.measures.facts import fact_accuracy

GROUP = 4
"""Answers to one prompt that are compared with each other: the Vendi score and the number of kinds go from 1 to this."""

VOCABULARY_PART = 4
"""The vocabulary is counted in so many words as a whole panel of answers that are long enough has, divided by this."""

DiversityFunction = Callable[[Sequence[str]], float | None]

OF_ONE_PROMPT: dict[str, DiversityFunction] = {
    "panel_jaccard": diversity.jaccard_2,
    "panel_ncd": diversity.ncd,
    "panel_vendi": diversity.vendi,
    "panel_kinds": diversity.clusters,
}
"""Of a group of answers to one prompt; `panel_self_bleu` and `panel_vendi_meaning` besides, where they can be measured."""

OF_ALL_PROMPTS: dict[str, DiversityFunction] = {
    "panel_distinct_1": texts.distinct_1,
    "panel_distinct_2": texts.distinct_2,
    "panel_distinct_3": texts.distinct_3,
    "panel_distinct_4": diversity.distinct_4,
    "panel_compression_ratio": texts.compression_ratio,
    "panel_self_repetition": texts.self_repetition,
}
"""Of a row: an answer to each of half the prompts."""


@dataclass(frozen=True)
class PromptAnswers:
    """The answers that a prompt has got so far, and what a right one has in it (nothing: it is no question of facts)."""

    answers: tuple[str, ...]
    expected: tuple[str, ...] = ()


def measure_panel(prompts: Sequence[PromptAnswers], language: str, words: int, wanted: int) -> dict[str, float]:
    """The measures of an iteration's answers to the panel, by name; what cannot be measured is left out.

    Args:
        prompts: every prompt of the panel, also one without an answer.
        language: of the answers; for embeddings.
        words: how many words of an answer are compared.
        wanted: answers that a whole panel has to each prompt.
    """
    answers = [answer for prompt in prompts for answer in prompt.answers]
    if not answers:
        return {}
    half = -(-len(prompts) // 2)
    compared = [[cut for answer in prompt.answers if (cut := beginning(answer, words))] for prompt in prompts]
    number = sum(map(len, compared))
    groups = [of_prompt for cuts in compared if (of_prompt := in_groups(cuts))]
    rows = [[cut for cut in row if cut][:half] for row in zip_longest(*compared)]
    rows = [row for row in rows if len(row) == half]
    values: dict[str, float | None] = {
        "panel_answered": min(1.0, len(answers) / (wanted * len(prompts))),
        "panel_compared": number / len(answers),
        "panel_length": texts.mean_length(answers),
    }
    if len(groups) >= half:
        values |= {name: _of_groups(groups, function) for name, function in _of_one_prompt(language).items()}
    if half > 1:
        values |= {name: _mean([function(row) for row in rows]) for name, function in OF_ALL_PROMPTS.items()}
    pool = [word for row in zip_longest(*compared) for cut in row if cut for word in texts.words(cut)]
    counted = wanted * len(prompts) * words // VOCABULARY_PART
    if len(pool) >= counted:
        values["panel_vocabulary"] = float(len(set(pool[:counted])))
    values["panel_facts"] = _facts(prompts)
    return {name: value for name, value in values.items() if value is not None}


def measure_words(prompts: Sequence[PromptAnswers], language: str, words: int) -> dict[str, float]:
    """The share of words that exist, by name, in the answers' first `words` words; empty where that is not measured.

    It takes seconds where the language's dictionary is not loaded yet, so it is apart from `measure_panel`.
    """
    cuts = [" ".join(answer.split()[:words]) for prompt in prompts for answer in prompt.answers]
    share = real_words(cuts, language)
    return {} if share is None else {"panel_real_words": share}


def beginning(answer: str, words: int) -> str | None:
    """The first words of an answer, as white space separates them, joined by spaces; None if it has fewer."""
    split = answer.split()
    return " ".join(split[:words]) if len(split) >= words else None


def in_groups(answers: Sequence[str]) -> list[Sequence[str]]:
    """The answers in groups of GROUP, in their order; what is left over is in none."""
    return [answers[start : start + GROUP] for start in range(0, len(answers) - GROUP + 1, GROUP)]


def _of_one_prompt(language: str) -> dict[str, DiversityFunction]:
    functions = dict(OF_ONE_PROMPT)
    if diversity.bleu_installed():
        functions["panel_self_bleu"] = diversity.self_bleu
    if not embeddings.why_not_measured(language):
        functions["panel_vendi_meaning"] = embeddings.vendi_embeddings
    return functions


def _of_groups(prompts: Sequence[Sequence[Sequence[str]]], function: DiversityFunction) -> float | None:
    """The mean over prompts of the mean over each one's groups: no prompt weighs more for its longer answers."""
    return _mean([_mean([function(group) for group in groups]) for groups in prompts])


def _facts(prompts: Sequence[PromptAnswers]) -> float | None:
    """The mean share of right answers, over the prompts with facts; None unless half of them are answered."""
    asked = [prompt for prompt in prompts if prompt.expected]
    answered = [fact_accuracy(prompt.answers, prompt.expected) for prompt in asked if prompt.answers]
    return _mean(answered) if asked and 2 * len(answered) >= len(asked) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
