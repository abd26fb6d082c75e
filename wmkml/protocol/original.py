"""Messages at the doors of the original installation: `/generate_gui`, `/language`, `/typing_event`, `/reload`.

Unknown fields are ignored, as the original does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wmkml.protocol.base import DoorMessage, Message
from wmkml.protocol.inference import MAX_ITERATION
from wmkml.protocol.run_state import AdapterProof


class GenerateGui(DoorMessage):
    """`POST :8000/generate_gui`."""

    prompt: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    station: Annotated[str, Field(max_length=64)] | None = None


class GenerateGuiReply(Message):
    """The whole answer, cut at the end of a sentence, and the iteration that gave it (−1 is the base model)."""

    text: str
    iteration: int


class LanguageChoice(DoorMessage):
    """`POST /language`, on both ports.

    `join`: join a run under way, if there is one, instead of starting a new one.
    """

    language: str
    station: Annotated[str, Field(max_length=64)] | None = None
    join: bool = False


class TypingEvent(DoorMessage):
    """`POST :8000/typing_event`."""

    status: Literal["typing", "stopped"]
    station: Annotated[str, Field(max_length=64)] | None = None


class ReloadRequest(DoorMessage):
    """`POST /reload`, on both ports: load the adapter in folder `path` as iteration `iteration`."""

    path: str
    iteration: Annotated[int, Field(ge=0, le=MAX_ITERATION)]


class ReloadReply(Message):
    """The adapter's model name, the seconds it took to load, and whether it is used (null: it came without a probe)."""

    status: Literal["success"] = "success"
    model: str
    seconds: float
    proof: AdapterProof | None = None
