"""What a measure is: its row of the table in `wmkml.measures.registry`, and the words that rows are written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Subject = Literal["texts", "words", "meanings", "tokens", "model", "training"]
"""Of what: answers as texts, their words in a language, their meanings, the tokens' distributions, the model, or a round of training."""

Surface = Literal["osc", "desk", "window", "stage", "laboratory"]
"""Where measures are shown; `window` is the Tk window."""

Unit = Literal["share", "ratio", "nats", "words", "bits", "choices", "relative", "distance"]
"""`share`: 0 to 1, shown in per cent.  `ratio`: a number without a unit, from 1.  `words`: a count of words.  `choices`: a
number of equally likely tokens, from 1.  `relative`: a size as a part of another one, from 0.
`distance`: a number without a unit, from 0 to about 1."""

Direction = Literal["falls", "rises", "either"]
"""Where it goes as the language dies."""

Function = Callable[[Sequence[Any]], float | None]
"""From answers, or from the answers' mean entropies, to a number; None where there is nothing to measure."""

OWN = "this project"
"""The source of what was defined here."""

OF_TEXTS: Mapping[Surface, str] = {
    "osc": "newest_50_answers",
    "desk": "newest_200_answers",
    "window": "newest_40_answers",
    "stage": "newest_50_answers",
    "laboratory": "measured_answers",
}
"""Where a measure of texts is shown if its row does not say otherwise: everywhere."""


@dataclass(frozen=True)
class Words:
    """A measure in one language: its name on a plot, and a sentence that says what it is and where it goes."""

    title: str
    hint: str


@dataclass(frozen=True)
class Measure:
    """One row.

    Attributes:
        name: as in OSC addresses, files and mappings.
        meaning: what it is, in a few words of English.
        function: `module:function`; empty where one program alone computes it.  Of texts: from a sequence of answers to
            a number; of tokens: from the answers' mean entropies.  None where there is nothing to measure.
        windows: over which of WINDOWS it is taken, by where it is shown.
        top: where its range ends as far as it has an end; it begins at 0, a ratio at 1.
        source: who defined it, or where the definition stands.
        short: the heading of a column.
        by_layer: whether it is also taken of each of the model's layers.
        eased: whether it moves from one iteration's value to the next's where it is sent, instead of jumping there.
    """

    name: str
    of: Subject
    unit: Unit
    direction: Direction
    meaning: str
    source: str
    function: str = ""
    windows: Mapping[Surface, str] = field(default_factory=lambda: OF_TEXTS)
    top: float | None = None
    short: str = ""
    de: Words | None = None
    en: Words | None = None
    by_layer: bool = False
    eased: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it goes from 0 to 1."""
        return self.unit == "share"

    @property
    def plot_top(self) -> float:
        """The value at the upper edge of a plot; greater ones raise the edge."""
        return PLOT_TOPS[self.unit]

    def words(self, language: str) -> Words:
        """Its words in a language; English where it has none in that one, and its name where it has none at all."""
        return (self.de if language == "de" else self.en) or self.en or Words(self.name, self.meaning)


PLOT_TOPS: Mapping[Unit, float] = {
    "share": 1.0,
    "ratio": 4.0,
    "nats": 2.0,
    "words": 20.0,
    "bits": 4.0,
    "choices": 1000.0,
    "relative": 0.05,
    "distance": 1.0,
}
"""Values that a living language seldom passes, by unit."""
