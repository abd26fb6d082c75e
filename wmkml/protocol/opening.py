"""Messages of opening and panic (`POST /desk/opening`, `/desk/panic`, the same below `/operator/`), and of what sounds then."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from wmkml.protocol.base import Message

Decision = Literal["hours", "open", "closed"]
"""What the operator decides: as the opening hours say, or open or closed until these next change."""


class OpeningDecision(Message):
    """The body of `POST /desk/opening` and `POST /operator/opening`."""

    decision: Decision


class PanicSwitch(Message):
    """The body of `POST /desk/panic` and `POST /operator/panic`: while it is on, nothing is answered and the stage is dark."""

    on: StrictBool


class OpeningState(Message):
    """Whether visitors may talk.  Times in seconds since 1970; null: never, or when the operator says so.

    `next_change`: when it opens or closes by itself.  `farewell`: it has closed, and a run that was under way says its last words.
    """

    open: bool = True
    next_change: float | None = None
    decision: Decision = "hours"
    panic: bool = False
    farewell: bool = False


class SoundReport(Message):
    """`POST /stage/sound`: what the stage's machine plays to, told by its kiosk.

    `device`: empty where there is none. `volume`: percent, above 100 where the sound is amplified. `unknown`: why it is not known.
    """

    device: Annotated[str, Field(max_length=200)] = ""
    volume: Annotated[float, Field(ge=0, le=1000)] = 0.0
    muted: StrictBool = False
    unknown: Annotated[str, Field(max_length=1000)] = ""
