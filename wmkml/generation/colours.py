"""Tokens coloured by how likely they were: five steps from blue (sure) over white to red (surprised), told apart with any
colour vision; for a terminal with rich, and as CSS for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmkml.generation.probabilities import TextReading, TokenProbability

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


@dataclass(frozen=True)
class Shade:
    """The colour of probabilities from `least` on.

    Attributes:
        background, ink: as CSS writes colours.
    """

    least: float
    background: str
    ink: str
    words: str


SHADES = (
    Shade(0.5, "#2166ac", "#ffffff", "50 % and more"),
    Shade(0.2, "#92c5de", "#000000", "20 to 50 %"),
    Shade(0.05, "#f7f7f7", "#000000", "5 to 20 %"),
    Shade(0.01, "#f4a582", "#000000", "1 to 5 %"),
    Shade(0.0, "#b2182b", "#ffffff", "below 1 %"),
)
"""After ColorBrewer's scheme RdBu."""

UNMEASURED = Shade(0.0, "#d9d9d9", "#000000", "not measured")
"""The first token of a text: nothing stands before it."""


def shade_of(probability: float | None) -> Shade:
    """The colour of a probability."""
    if probability is None:
        return UNMEASURED
    return next(shade for shade in SHADES if probability >= shade.least or shade is SHADES[-1])


def visible(text: str) -> str:
    """A token's text with its line breaks shown, and a mark where it has none."""
    return text.replace("\n", "⏎").replace("\t", "⇥") or "∅"


def coloured(tokens: Sequence[TokenProbability], *, tempered: bool = False) -> Text:
    """The text with every token on its colour, for rich.

    Args:
        tempered: by the probabilities at the temperature instead of the raw ones.
    """
    from rich.text import Text

    text = Text()
    for token in tokens:
        shade = shade_of(token.probability_at if tempered else token.probability)
        own = " underline" if token.part == "answer" else ""
        text.append(visible(token.text), f"{shade.ink} on {shade.background}{own}")
        if "\n" in token.text:
            text.append("\n")
    return text


def legend() -> Text:
    """What the colours mean, in one line."""
    from rich.text import Text

    text = Text()
    for shade in SHADES:
        text.append(f" {shade.words} ", f"{shade.ink} on {shade.background}")
        text.append(" ")
    return text


def token_table(reading: TextReading, alternatives: int = 3) -> Table:
    """A table for a terminal: every token with its numbers and its nearest alternatives."""
    from rich.table import Table
    from rich.text import Text

    temperature = reading.temperature
    table = Table(title=reading.label, title_justify="left", header_style="bold")
    for column in ("#", "token", "raw", "rank", "entropy"):
        table.add_column(column, justify="left" if column == "token" else "right")
    if temperature is not None:
        table.add_column(f"at {temperature:g}", justify="right")
        table.add_column(f"entropy at {temperature:g}", justify="right")
    table.add_column("nearest, raw")
    for token in reading.shown:
        shade = shade_of(token.probability)
        cells: list[str | Text] = [
            str(token.position),
            Text(visible(token.text), f"{shade.ink} on {shade.background}"),
            percent(token.probability),
            "–" if token.rank is None else str(token.rank),
            number(token.entropy),
        ]
        if temperature is not None:
            cells += [percent(token.probability_at), number(token.entropy_at)]
        nearest = "  ".join(f"{visible(o.text)} {percent(o.probability)}" for o in token.alternatives[:alternatives])
        table.add_row(*cells, Text(nearest))
    return table


def percent(value: float | None) -> str:
    """A probability for people."""
    if value is None:
        return "–"
    return f"{value:.1%}" if value >= 0.001 else f"{value:.0e}"


def number(value: float | None) -> str:
    """A number for people, with two digits."""
    return "–" if value is None else f"{value:.2f}"
