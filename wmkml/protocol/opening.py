"""Messages of opening and panic: `POST /desk/opening`, `/desk/panic`, and the same below `/operator/`."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictBool

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
