"""The definitions of model collapse that the profile names, and the number by which each is told.

Schaeffer et al. 2025, "Position: Model Collapse Does Not Mean What You Think", find eight in the literature: the first
eight rows.  Of the same model one may hold and another not.  The last three are what a visitor notices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Lines = Sequence[Mapping[str, Any]]
"""The measures of one run by iteration, the untouched model's first."""

Format = Literal["share", "number", "factor"]

SCHAEFFER = "Schaeffer et al. 2025"


@dataclass(frozen=True)
class Definition:
    """One row of the profile.

    Attributes:
        meaning: what has happened where the definition holds.
        measure: of the laboratory's measures, the one that tells; empty where none can.
        rises: whether its value rises as the language dies.
        value: from the lines up to an iteration to the number, of which the untouched model's is taken for comparison;
            None where it cannot be had.
        note: what the number does not say, or why there is none.
    """

    name: str
    meaning: str
    source: str
    measure: str
    rises: bool
    format: Format
    value: Callable[[Lines], float | None]
    note: str = ""


def _last(measure: str) -> Callable[[Lines], float | None]:
    return lambda lines: _of(lines[-1], measure) if lines else None


def _perplexity_factor(lines: Lines) -> float | None:
    """Perplexity on human text over the untouched model's."""
    if not lines:
        return None
    first, last = _of(lines[0], "human_loss"), _of(lines[-1], "human_loss")
    return None if first is None or last is None else math.exp(last - first)


def _late_slope(lines: Lines) -> float | None:
    """The rise of the loss on human text over the later half of the iterations so far, in nats an iteration."""
    if not lines:
        return None
    later = lines[len(lines) // 2 :]
    values = [_of(line, "human_loss") for line in later]
    first, last = values[0], values[-1]
    if first is None or last is None:
        return None
    return (last - first) / (len(values) - 1) if len(values) > 1 else 0.0


def _wrong(lines: Lines) -> float | None:
    facts = _of(lines[-1], "facts") if lines else None
    return None if facts is None else 1.0 - facts


def _of(line: Mapping[str, Any], measure: str) -> float | None:
    return float(line[measure]) if measure in line else None


DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        "risk rises",
        "human text is less likely to it than to the untouched model",
        f"{SCHAEFFER}: any increase of population risk",
        "human_loss",
        True,
        "number",
        _last("human_loss"),
    ),
    Definition(
        "risk rises catastrophically",
        "its perplexity on human text is many times the untouched model's",
        f"{SCHAEFFER}: catastrophic increase of population risk",
        "human_loss",
        True,
        "factor",
        _perplexity_factor,
        "how many times is catastrophic, the field does not say",
    ),
    Definition(
        "risk diverges",
        "the loss on human text still rises in the later half",
        f"{SCHAEFFER}: asymptotically diverging population risk",
        "human_loss",
        True,
        "number",
        _late_slope,
        "nats an iteration; a run that ends shows no limit",
    ),
    Definition(
        "variance shrinks",
        "answers to different prompts lie closer together",
        f"{SCHAEFFER}: collapsing variance",
        "word_variance",
        False,
        "share",
        _last("word_variance"),
    ),
    Definition(
        "scaling law changes",
        "more data helps less than it did",
        f"{SCHAEFFER}: change in scaling law",
        "",
        True,
        "number",
        lambda lines: None,
        "cannot be told from one model: it takes models of many sizes of data",
    ),
    Definition(
        "modes vanish",
        "fewer kinds of answers",
        f"{SCHAEFFER}: disappearance of modes",
        "distinct_answers",
        False,
        "share",
        _last("distinct_answers"),
    ),
    Definition(
        "tails vanish",
        "rare words have less probability",
        f"{SCHAEFFER}: disappearance of tail data",
        "tail_mass",
        False,
        "share",
        _last("tail_mass"),
    ),
    Definition(
        "facts are made up",
        "more questions are not answered right",
        f"{SCHAEFFER}: appearance of hallucinated data",
        "facts",
        True,
        "share",
        _wrong,
        "answers that say nothing count as not right",
    ),
    Definition(
        "diversity falls",
        "fewer different pairs of words",
        "Guo et al. 2024, The Curious Decline of Linguistic Diversity",
        "distinct_2",
        False,
        "share",
        _last("distinct_2"),
    ),
    Definition(
        "it repeats itself",
        "words repeat the word before them",
        "this project",
        "repetition",
        True,
        "share",
        _last("repetition"),
    ),
    Definition(
        "coherence is lost",
        "its answers fit their prompts no better than others",
        "this project, after Li et al. 2016",
        "prompt_fit",
        False,
        "number",
        _last("prompt_fit"),
        "nats a token, as the untouched model reads them",
    ),
)
"""Every row, in the order of tables and figures."""
