"""How a token is drawn, by how sure the model was of it: colour, weight, slant, size and vertical offset, as Tk tags.

A Tk text has tags and no gradients, so probability and decay are quantised.  Improbable tokens look slightly paler
while the language is whole, and differ more with every iteration.
"""

from __future__ import annotations

import math
import tkinter
from dataclasses import dataclass
from tkinter import font

from wmkml.gui.theme import COLD, GROUND, TEXT, Theme, blend

SHADES = 8
"""Steps from the least (0) to the most probable token (SHADES − 1)."""

DECAYS = 5
"""Steps from the base model (0) to the last iteration (DECAYS − 1)."""

DRIFTS = (0, 1, -1)
"""Vertical directions given to consecutive tokens in turn, so that neighbours drift apart: none, up, down."""


@dataclass(frozen=True)
class TokenStyle:
    """The look of one step.

    Attributes:
        color: `#rrggbb`.
        smaller: points by which the font is smaller than the base font.
        drift: offset above the line, in pixels at 100 %.
    """

    color: str
    smaller: int
    bold: bool
    italic: bool
    drift: float


def shade_of(probability: float) -> int:
    """The shade of a token, 0 to SHADES − 1; a probability that is not finite gets 0."""
    return min(SHADES - 1, max(0, int(probability * SHADES))) if math.isfinite(probability) else 0


def decay_of(iteration: int, total: int) -> int:
    """The decay of an iteration in a run of `total` rounds, 0 (the base model, −1) to DECAYS − 1."""
    return min(DECAYS - 1, max(0, math.ceil((iteration + 1) / max(1, total) * (DECAYS - 1))))


def token_style(shade: int, decay: int, direction: int = 0) -> TokenStyle:
    """The style of a token of this shade and decay that drifts in this direction (one of DRIFTS)."""
    doubt, strength = 1 - shade / (SHADES - 1), decay / (DECAYS - 1)
    ink = blend(TEXT, COLD, doubt * (0.1 + 0.6 * strength))
    return TokenStyle(
        color=blend(GROUND, ink, 1 - doubt * (0.3 + 0.28 * strength)),
        smaller=round(4 * doubt * strength),
        bold=shade == SHADES - 1 and strength > 0.5,
        italic=doubt > 0.5 and strength >= 0.5,
        drift=5 * doubt * max(0.0, strength - 0.25) * direction,
    )


def tag_name(probability: float, decay: int, position: int) -> str:
    """The tag of the token at this position in its answer."""
    return f"shade{shade_of(probability)}-{decay}-{position % len(DRIFTS)}"


def configure_tags(text: tkinter.Text, theme: Theme) -> list[font.Font]:
    """Configure every tag on a text; returns their fonts, which must be held as long as the text lives."""
    fonts: dict[tuple[int, bool, bool], font.Font] = {}
    base = int(theme.answer.cget("size"))
    for shade in range(SHADES):
        for decay in range(DECAYS):
            for number, direction in enumerate(DRIFTS):
                style = token_style(shade, decay, direction)
                key = (style.smaller, style.bold, style.italic)
                if key not in fonts:
                    fonts[key] = font.Font(
                        text,
                        family=theme.serif,
                        size=base - style.smaller,
                        weight="bold" if style.bold else "normal",
                        slant="italic" if style.italic else "roman",
                    )
                text.tag_configure(
                    f"shade{shade}-{decay}-{number}",
                    font=fonts[key],
                    foreground=style.color,
                    offset=theme.px(style.drift),
                )
    return list(fonts.values())
