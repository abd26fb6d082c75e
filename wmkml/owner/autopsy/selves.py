"""What an autopsy asks: the selves of a run, whichever engine holds them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from wmkml.config import Inference
from wmkml.protocol.autopsy import AutopsySelves, CandidateToken
from wmkml.protocol.inference import CompletionRequest


@dataclass(frozen=True)
class SelfStep:
    """A token that a self says.

    Attributes:
        text: empty inside a character, and for an end token.
        probability: raw, before temperature, penalties and bias.
        entropy: in nats, over `likeliest` and one rest bucket.
        rank: in the raw distribution, 1 is the likeliest; None where the engine does not tell.
        finish: set on an answer's last token; with `stop` that is the end token.
    """

    id: int
    text: str
    probability: float
    entropy: float
    likeliest: tuple[CandidateToken, ...]
    rank: int | None
    finish: Literal["stop", "length"] | None


class Selves(Protocol):
    """The selves of one run."""

    inference: Inference
    """How its visitors' prompts are sent."""

    visitor_temperature: float

    async def about(self) -> AutopsySelves:
        """The run, and the selves that can be asked now.

        Raises:
            RequestRefusedError: none can be.
        """
        ...

    def steps(self, iteration: int, request: CompletionRequest) -> AsyncGenerator[SelfStep]:
        """The tokens of a self's answer as they come; closing it ends the answer.

        Args:
            request: without a model.

        Raises:
            RequestRefusedError: it cannot answer, or its answer breaks off.
        """
        ...
