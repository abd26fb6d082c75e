"""What an artist may write into the stage's folder: mappings from measures to what is seen and heard, colours, music, texts.

Names and bounds alone; `docs/stage.md` says what each does.  The page's counterpart is `frontend/src/stage/mapping.ts`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MEASURES = (
    "entropy",
    "probability",
    "repetition",
    "distinct_1",
    "distinct_2",
    "loss",
    "iteration",
    "learning",
    "progress",
    "time",
    "typing",
    "speaking",
    "last_words",
)
"""What can be read off a run."""

SEEN: dict[str, tuple[float, float]] = {
    "size": (0.1, 1.3),
    "order": (0.0, 1.0),
    "gather": (0.0, 1.0),
    "fall": (0.0, 1.0),
    "colour": (0.0, 1.0),
    "brightness": (0.0, 2.0),
    "glow": (0.0, 2.0),
    "motion": (0.0, 3.0),
    "tremble": (0.0, 1.0),
    "core": (0.0, 2.0),
}
"""What can be seen change, and between which values."""

HEARD: dict[str, tuple[float, float]] = {
    "tempo": (20.0, 140.0),
    "density": (0.0, 1.0),
    "harmony": (0.0, 1.0),
    "sameness": (0.0, 1.0),
    "timbre": (120.0, 8000.0),
    "detune": (0.0, 100.0),
    "loudness": (-60.0, 0.0),
    "drone": (0.0, 1.0),
    "ticks": (0.0, 1.0),
}
"""What can be heard change, and between which values."""

TARGETS = SEEN | HEARD

Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Line = Annotated[str, Field(max_length=400)]
Semitone = Annotated[int, Field(ge=-24, le=48)]


class Part(BaseModel):
    """A part of a file: unknown keys are a mistake."""

    model_config = ConfigDict(extra="forbid")


class Mapped(Part):
    """One mapping.  Several of one target are averaged by weight; one whose measure is not known yet does not count."""

    target: Literal[tuple(TARGETS)]  # type: ignore[valid-type]
    input: Literal[MEASURES]  # type: ignore[valid-type]
    range_in: tuple[FiniteFloat, FiniteFloat]
    range_out: tuple[FiniteFloat, FiniteFloat]
    curve: Literal["linear", "smooth", "early", "late"] = "linear"
    weight: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    seconds: Annotated[FiniteFloat, Field(ge=0, le=120)] = 2.0
    """So long the target takes to follow."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.range_in[0] == self.range_in[1]:
            raise ValueError("range_in: its two ends are the same")
        low, high = TARGETS[self.target]
        if not all(low <= end <= high for end in self.range_out):
            raise ValueError(f"range_out: {self.target} goes from {low:g} to {high:g}")
        return self


class Colours(Part):
    """The palette."""

    ground: Colour
    machine: Annotated[list[Colour], Field(min_length=1, max_length=6)]
    visitor: Colour
    faded: Colour
    learning: Colour


class Music(Part):
    """The notes: semitones above the root, of a language that is whole and of one that dies."""

    root: Annotated[int, Field(ge=24, le=72)]
    whole: Annotated[list[Semitone], Field(min_length=1, max_length=24)]
    dying: Annotated[list[Semitone], Field(min_length=1, max_length=24)]


class Mapping(Part):
    """`mapping.yaml`."""

    mappings: list[Mapped]
    colours: Colours
    music: Music


class Words(Part):
    """The texts of one language.  `{iteration}`, `{rounds}`, `{step}` and `{steps}` are filled in."""

    title: Line
    waiting: Line
    iteration: Line
    untouched: Line
    learning: Line
    swap: Line
    last_words: Line
    end: Line
    reborn: Line
    gone: Line
    sound: Line
    no_key: Line
    credits: Annotated[list[Line], Field(max_length=12)]


class Texts(Part):
    """`texts.yaml`: the languages of the installation, German and English at least."""

    model_config = ConfigDict(extra="allow")

    de: Words
    en: Words
    __pydantic_extra__: dict[str, Words]
