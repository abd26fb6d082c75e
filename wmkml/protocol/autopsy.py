"""Messages of the autopsy: one prompt answered by every self of a run, and what each would have said next.

The same routes are served by the owner while a run lives and by a process of its own for a kept one (`wmkml autopsy --serve`).
All probabilities are raw: softmax of the logits, before temperature and penalties.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wmkml.protocol.base import Message
from wmkml.protocol.inference import BASE_ITERATION, MAX_ITERATION

MOST_ANSWER_TOKENS = 4096
"""As many tokens of an answer may stand before the place that is asked about."""

LIKELY_TOKENS = 20
"""How many of the likeliest tokens are told at each place, as many as engines tell."""

TokenIds = Annotated[
    list[Annotated[int, Field(strict=True, ge=0, lt=2**31)]],
    Field(default_factory=list, max_length=MOST_ANSWER_TOKENS),
]


class AutopsyRequest(Message):
    """`POST /autopsy/answers`; the response is a stream of server-sent events.

    Events: `selves` (AutopsySelves), `token` (AutopsyToken) of every self as they come, `answer` (AutopsyAnswerEnd) for each
    self once it has answered, then one `end` (AutopsyEnd) or one `error` (Refusal).

    `language`: which system prompt goes before it; none: the run's.  `iterations`: who is asked; none: all.
    `answer_ids`: the tokens that the answer begins with: it goes on from there.  `temperature`: 0 is the likeliest token each
    time; none: that of visitors' answers.
    """

    prompt: str
    language: str | None = None
    iterations: (
        Annotated[list[Annotated[int, Field(ge=BASE_ITERATION, le=MAX_ITERATION)]], Field(min_length=1, max_length=512)]
        | None
    ) = None
    answer_ids: TokenIds
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None


class NextTokensRequest(Message):
    """`POST /autopsy/next`: what every self would say after these tokens of an answer; the reply is an AutopsyNext."""

    prompt: str
    language: str | None = None
    answer_ids: TokenIds


class AutopsySelves(Message):
    """`GET /autopsy/selves`: the run, and which of its selves can be asked now, the base model (−1) first.

    `rounds`: how many rounds the run was to have.  `kept`: it is over, and lies in its folder.
    """

    run: str
    model: str
    language: str
    languages: list[str]
    iterations: list[int]
    rounds: int
    kept: bool


class CandidateToken(Message):
    """A token that may come next.  Empty text: the answer ends there."""

    id: int
    text: str
    probability: float


class AutopsyToken(Message):
    """A token of a self's answer; `entropy` in nats, over `likeliest` (20) and one rest bucket.

    Where words are held back (docs/decency.md), `likeliest` is empty.
    """

    iteration: int
    id: int
    text: str
    probability: float
    entropy: float
    likeliest: list[CandidateToken]


class AutopsyAnswerEnd(Message):
    """A self has answered.  `trouble`: a sentence where its answer broke off; else empty."""

    iteration: int
    finish: Literal["stop", "length"] | None
    trouble: str = ""


class AutopsyEnd(Message):
    """All selves have answered: their number."""

    answers: int


class NextTokens(Message):
    """What a self would say next.

    `likeliest`: its 20 likeliest tokens.  `beyond`: the probability of all others together.  `entropy`: in nats, over these 20
    and the rest as one bucket.  `base_probability`, `base_rank`: of the token that the base model finds likeliest here; rank 1
    is the likeliest, null where the engine does not tell and it is not among the 20.
    """

    iteration: int
    likeliest: list[CandidateToken]
    beyond: float
    entropy: float
    base_probability: float
    base_rank: int | None


class AutopsyNext(Message):
    """What every self would say next, the base model first; `base`: what that finds likeliest."""

    position: int
    base: CandidateToken
    selves: list[NextTokens]
