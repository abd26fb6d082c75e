"""How a token is drawn by how sure the model was of it: colour, weight, slope, size, and a drift off the line.

Steps, because a Tk text has tags and no gradients.  Subtle while the language is whole; more with every iteration.
"""

from __future__ import annotations

import math
import tkinter
from dataclasses import dataclass
from tkinter import font

from wmkml.gui.look import COLD, GROUND, TEXT, Look, mixed

SHADES = 8
"""So many steps between a token the model was sure of and one it was not."""

DECAYS = 5
"""So many steps between the base model and the last iteration."""

DRIFTS = (0, 1, -1)
"""On the line, above it, below it: neighbours drift apart."""


@dataclass(frozen=True)
class Drawn:
    """How a step looks: colour, points smaller than the others, and points off the line."""

    color: str
    smaller: int
    bold: bool
    italic: bool
    drift: float


def shade(probability: float) -> int:
    """Which of the SHADES a token gets; the last is the surest.  What is no number gets the first."""
    return min(SHADES - 1, max(0, int(probability * SHADES))) if math.isfinite(probability) else 0


def decay(iteration: int, total: int) -> int:
    """Which of the DECAYS an iteration of `total` has reached; the base model (−1) the first."""
    return min(DECAYS - 1, max(0, math.ceil((iteration + 1) / max(1, total) * (DECAYS - 1))))


def drawn(shaded: int, decayed: int, drift: int = 0) -> Drawn:
    """How a token of this shade looks at this decay."""
    doubt, strength = 1 - shaded / (SHADES - 1), decayed / (DECAYS - 1)
    ink = mixed(TEXT, COLD, doubt * (0.1 + 0.6 * strength))
    return Drawn(
        color=mixed(GROUND, ink, 1 - doubt * (0.3 + 0.28 * strength)),
        smaller=round(4 * doubt * strength),
        bold=shaded == SHADES - 1 and strength > 0.5,
        italic=doubt > 0.5 and strength >= 0.5,
        drift=5 * doubt * max(0.0, strength - 0.25) * drift,
    )


def tag(probability: float, decayed: int, number: int) -> str:
    """The tag of the token with this number in its answer."""
    return f"shade{shade(probability)}-{decayed}-{number % len(DRIFTS)}"


def make_tags(text: tkinter.Text, look: Look) -> list[font.Font]:
    """Give a text all the tags; returns their fonts, to be held as long as the text lives."""
    fonts: dict[tuple[int, bool, bool], font.Font] = {}
    base = int(look.answer.cget("size"))
    for shaded in range(SHADES):
        for decayed in range(DECAYS):
            for number, drift in enumerate(DRIFTS):
                one = drawn(shaded, decayed, drift)
                key = (one.smaller, one.bold, one.italic)
                if key not in fonts:
                    fonts[key] = font.Font(
                        text,
                        family=look.serif,
                        size=base - one.smaller,
                        weight="bold" if one.bold else "normal",
                        slant="italic" if one.italic else "roman",
                    )
                text.tag_configure(
                    f"shade{shaded}-{decayed}-{number}",
                    font=fonts[key],
                    foreground=one.color,
                    offset=look.px(one.drift),
                )
    return list(fonts.values())
