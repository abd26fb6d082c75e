"""The schema of the stage folder's files: `mapping.yaml` with mappings, colours and music, and `texts.yaml`.

It defines names and bounds; `docs/stage.md` says what each does.  The page's counterpart is
`frontend/src/stage/mapping.ts`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from wmkml.measures.registry import shown_in

RUN_SIGNALS: dict[str, str] = {
    "probability": "mean probability of the last 240 tokens",
    "loss": "the newest loss of training",
    "iteration": "share of the run by rounds: 0 untouched, 1 the last",
    "learning": "1 while a round trains, else 0",
    "progress": "how far the round under way is",
    "time": "share of the run by the clock",
    "typing": "1 while a visitor types, else 0",
    "speaking": "tokens a second",
    "last_words": "1 in the last words, else 0",
    "silence": "0 while somebody speaks or types, 1 after half a minute without",
}
"""What a mapping can follow besides the measures, and what each is."""

INPUTS = (*(measure.name for measure in shown_in("stage")), *RUN_SIGNALS)
"""What a mapping can follow."""

VISUAL_TARGETS: dict[str, tuple[float, float]] = {
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
    "legible": (0.0, 1.0),
    "body": (0.0, 1.0),
    "page": (0.0, 1.0),
    "map": (0.0, 1.0),
}
"""The visual properties that a mapping may change, each with its lowest and highest value."""

AUDIO_TARGETS: dict[str, tuple[float, float]] = {
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
"""The properties of the music that a mapping may change, each with its lowest and highest value."""

TARGETS = VISUAL_TARGETS | AUDIO_TARGETS
"""Every `target` of a mapping."""

Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Line = Annotated[str, Field(max_length=400)]
Semitone = Annotated[int, Field(ge=-24, le=48)]


class StrictModel(BaseModel):
    """Base of the models here: unknown keys are an error."""

    model_config = ConfigDict(extra="forbid")


class TargetMapping(StrictModel):
    """How one input drives one target.

    Several mappings of one target are averaged by weight; those whose input has no value yet are left out.
    """

    target: Literal[tuple(TARGETS)]  # type: ignore[valid-type]
    input: Literal[INPUTS]  # type: ignore[valid-type]
    range_in: tuple[FiniteFloat, FiniteFloat]
    range_out: tuple[FiniteFloat, FiniteFloat]
    curve: Literal["linear", "smooth", "early", "late"] = "linear"
    weight: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    seconds: Annotated[FiniteFloat, Field(ge=0, le=120)] = 2.0
    """How slowly the target follows the input."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.range_in[0] == self.range_in[1]:
            raise ValueError("range_in: its two ends are the same")
        low, high = TARGETS[self.target]
        if not all(low <= end <= high for end in self.range_out):
            raise ValueError(f"range_out: {self.target} goes from {low:g} to {high:g}")
        return self


class Colours(StrictModel):
    """The palette."""

    ground: Colour
    machine: Annotated[list[Colour], Field(min_length=1, max_length=6)]
    visitor: Colour
    faded: Colour
    learning: Colour


class Scenes(StrictModel):
    """The scenes' weights where no mapping has one of them as its target; a file without them shows the body alone."""

    body: Annotated[FiniteFloat, Field(ge=0, le=1)] = 1.0
    page: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    map: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0


class Music(StrictModel):
    """The notes: `root` as a MIDI note; `whole` and `dying` in semitones above it, for a whole and a dying language."""

    root: Annotated[int, Field(ge=24, le=72)]
    whole: Annotated[list[Semitone], Field(min_length=1, max_length=24)]
    dying: Annotated[list[Semitone], Field(min_length=1, max_length=24)]


class MappingFile(StrictModel):
    """`mapping.yaml`."""

    scenes: Scenes = Scenes()
    mappings: list[TargetMapping]
    colours: Colours
    music: Music


class StageTexts(StrictModel):
    """The texts of one language.  The page replaces `{iteration}`, `{rounds}`, `{step}` and `{steps}`."""

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
    closed: Line = ""
    credits: Annotated[list[Line], Field(max_length=12)]


class TextsFile(StrictModel):
    """`texts.yaml`: one entry for each language; German and English are required."""

    model_config = ConfigDict(extra="allow")

    de: StageTexts
    en: StageTexts
    __pydantic_extra__: dict[str, StageTexts]
