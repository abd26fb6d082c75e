"""Messages of a visitor's conversation: `/chat`, `/station` and `/card` of the owner."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wmkml.protocol.base import Message


class ChatRequest(Message):
    """`POST :8000/chat`: one prompt of a station; the response is a stream of server-sent events.

    Events: `queued` (ChatQueued) whenever the place in the line changes, `start` (ChatStart), `token` (ChatToken), then one
    `end` (ChatEnd) or one `error` (Refusal).
    """

    prompt: str
    station: Annotated[str, Field(max_length=64)] = ""
    language: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None


class ChatQueued(Message):
    """The prompt waits for its turn: so many others are answered before it.  It comes before `start`, or not at all."""

    before: int


class ChatStart(Message):
    """An answer begins.

    `restarted`: the engine died and the prompt is asked again; discard the tokens received so far.
    `help`: a line of help to show with it, where the prompt asks for one (`decency.help_line`); else empty.
    """

    iteration: int
    restarted: bool = False
    help: str = ""


class Alternative(Message):
    """A token that was not drawn, and its probability.  Empty text: the answer would have ended there."""

    text: str
    probability: float


ALTERNATIVES = 5
"""Most alternatives sent with each token; they multiply the size of an answer's stream."""


class ChatToken(Message):
    """One generated token: its text (may be empty inside a character), its probability, and the distribution's entropy.

    Probability: softmax of the raw logits, before temperature and penalties.  Entropy: nats, over the top 20 and a rest
    bucket.  `alternatives`: the likeliest other tokens, most likely first; empty if the engine does not report them.
    """

    text: str
    probability: float
    entropy: float
    alternatives: list[Alternative] = Field(default_factory=list)


class ChatEnd(Message):
    """The answer is stored.

    The first `kept` characters of the streamed text stay; the rest is an unfinished sentence.
    `adapter`: the sha256 of the weights that answered; empty: the base model's alone.
    """

    iteration: int
    pair: int
    kept: int
    text: str
    adapter: str = ""


class Exchange(Message):
    """One finished exchange of a station; `text` is cut at the end of a sentence."""

    prompt: str
    text: str
    iteration: int


class ShownExchange(Exchange):
    """An exchange for a page to show again.

    `tokens`: of the whole answer, beyond the cut too; empty: not sent any more.  `help`: as of `ChatStart`.
    """

    tokens: list[ChatToken]
    help: str = ""


class StationWords(Message):
    """`GET :8000/station?station=ID&tokens=N`: a station's conversation, the newest N exchanges with their tokens.

    Without ID: the shared station's, which needs a key.
    """

    language: str | None
    exchanges: list[ShownExchange]


class CardRequest(Message):
    """`POST :8000/card`: a station's own first question, answered by every loaded iteration.

    The response is a stream of server-sent events: `card` (CardBegins), `answer` (CardAnswer) for each iteration once
    it has answered, then one `end` (CardEnd) or one `error` (Refusal).  Nothing is stored or sent to anyone else.
    """

    station: Annotated[str, Field(max_length=64)]


class CardBegins(Message):
    """The question, and the iterations that answer it, the base model (−1) first."""

    prompt: str
    language: str
    iterations: list[int]


class CardAnswer(Message):
    """The answer of one iteration, cut at the end of a sentence."""

    iteration: int
    text: str


class CardEnd(Message):
    """All iterations that could be asked have answered: their number."""

    answers: int


class ForgetRequest(Message):
    """`POST :8000/forget`: delete everything a station has said in this run, and what was answered to it, now."""

    station: Annotated[str, Field(max_length=64)]


class ForgetReply(Message):
    """What was deleted: so many pairs, echoes included.

    `learned`: a round has trained on some of them, or trains on them now; what the model learned goes at the rebirth.
    """

    pairs: int
    learned: bool
