"""A row of steps: written with a vocabulary, transformed again and again, read with the same or another, translated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.poetry.poems import Poem
from wmkml.laboratory.poetry.transformations import Transformation, written_as
from wmkml.laboratory.poetry.vocabularies import Vocabulary

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class LineState:
    """A line at one step: its ids, what each prints, and what they print together."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class PoemStep:
    """A poem at one step.

    Attributes:
        label: what was done: tokens, a transformation, read with, translated into.
        vocabulary: whose ids these are.
    """

    label: str
    vocabulary: str
    lines: tuple[LineState, ...]

    @property
    def text(self) -> str:
        """The poem as it reads now."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True)
class TokenPoem:
    """A poem and all its steps; the last one is what became of it."""

    poem: Poem
    steps: tuple[PoemStep, ...]


def make_token_poems(
    poems: Sequence[Poem],
    vocabulary: Vocabulary,
    transformations: Sequence[Transformation],
    *,
    read_with: Vocabulary | None = None,
    translated: Vocabulary | None = None,
    seed: int = 0,
    whole: bool = False,
) -> list[TokenPoem]:
    """Every poem with every step.

    Args:
        vocabulary: what the poems are written with.
        transformations: of its ids, in order.
        read_with: the vocabulary whose words stand at these places; None: the same.
        translated: the vocabulary in which what is read is written last, token by token.
        seed: of all chance; each poem, line and step has its own.
        whole: transform the poem as one line; otherwise each line by itself, so that it keeps its form.
    """
    return [
        TokenPoem(
            poem, tuple(_steps(poem, number, vocabulary, transformations, read_with, translated, seed, whole))
        )
        for number, poem in enumerate(poems)
    ]  # fmt: skip


def _steps(
    poem: Poem,
    number: int,
    vocabulary: Vocabulary,
    transformations: Sequence[Transformation],
    read_with: Vocabulary | None,
    translated: Vocabulary | None,
    seed: int,
    whole: bool,
) -> Iterator[PoemStep]:
    lines = ["\n".join(poem.lines)] if whole else list(poem.lines)
    ids = [vocabulary.ids(line) for line in lines]
    yield _step("tokens", vocabulary, ids)
    for index, transformation in enumerate(transformations):
        chances = [random.Random(f"{seed}/{number}/{line}/{index}") for line in range(len(ids))]
        ids = [transformation.apply(line, chance) for line, chance in zip(ids, chances, strict=True)]
        yield _step(transformation.label, vocabulary, ids)
    current = vocabulary
    if read_with is not None and read_with is not vocabulary:
        ids = [[read_with.id_at(vocabulary.places[token]) for token in line] for line in ids]
        current = read_with
        yield _step(f"read with {read_with.name}", current, ids)
    if translated is not None:
        ids = [[other for token in line for other in written_as(current, token, translated)] for line in ids]
        yield _step(f"translated into {translated.name}", translated, ids)


def _step(label: str, vocabulary: Vocabulary, ids: Sequence[Sequence[int]]) -> PoemStep:
    lines = (LineState(tuple(line), tuple(map(vocabulary.token_text, line)), vocabulary.text(line)) for line in ids)
    return PoemStep(label, vocabulary.name, tuple(lines))


def to_frame(token_poems: Sequence[TokenPoem]) -> DataFrame:
    """A DataFrame with a row for each poem and step: poem, title, step, label, vocabulary, tokens (how many), text."""
    from pandas import DataFrame

    rows = [
        (
            number,
            made.poem.title,
            index,
            step.label,
            step.vocabulary,
            sum(len(line.ids) for line in step.lines),
            step.text,
        )
        for number, made in enumerate(token_poems, 1)
        for index, step in enumerate(made.steps)
    ]
    return DataFrame.from_records(rows, columns=["poem", "title", "step", "label", "vocabulary", "tokens", "text"])


def to_json(token_poems: Sequence[TokenPoem], seed: int) -> dict[str, Any]:
    """Everything as JSON, ids included."""
    return {
        "seed": seed,
        "poems": [
            {
                "title": made.poem.title,
                "text": "\n".join(made.poem.lines),
                "steps": [
                    {
                        "label": step.label,
                        "vocabulary": step.vocabulary,
                        "text": step.text,
                        "lines": [{"ids": list(line.ids), "tokens": list(line.tokens)} for line in step.lines],
                    }
                    for step in made.steps
                ],
            }
            for made in token_poems
        ],
    }
