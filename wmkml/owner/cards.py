"""The take-home card: a station's own first question of this run, answered by every iteration that is loaded.

Nothing of it is stored, nobody else hears of it, and it comes after every visitor who waits for an answer: one
iteration is asked at a time, whoever wants a card.  Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from wmkml.config import Settings
from wmkml.cutting import kept_length
from wmkml.owner.chat import Unavailable
from wmkml.owner.deaths import MOST
from wmkml.owner.dials import Dials
from wmkml.owner.inference_client import Away, InferenceClient, Refused
from wmkml.owner.inference_watch import InferenceWatch
from wmkml.owner.live_run import LiveRun
from wmkml.owner.saying import said_by
from wmkml.owner.stations import alone
from wmkml.wire import Audience, CardAnswer, CardBegins, CardEnd, CompletionRequest, Exchange

AUDIENCE: Audience = "panel"

HOLD_SECONDS = 30.0
"""So long a card waits for inference to come back."""

Told = CardBegins | CardAnswer | CardEnd


class NoQuestion(ValueError):
    """The station has asked nothing in this run, so there is nothing to put on a card."""


class Cards:
    """Makes cards."""

    def __init__(self, settings: Settings, client: InferenceClient, watch: InferenceWatch, dials: Dials) -> None:
        self._settings, self._client, self._watch, self._dials = settings, client, watch, dials
        self._one_at_a_time = asyncio.Lock()
        self._lost: Counter[tuple[str, int]] = Counter()
        """How often inference went away over an iteration of a run: one may be deadly, and a card is not worth that."""

    async def make(self, run: LiveRun, station: str) -> AsyncIterator[Told]:
        """What is on the station's card, as it is made.  Closing it ends the making.

        Raises:
            NoQuestion: there is nothing to ask.
            Unavailable: inference is away.
            RunOver: the run ended meanwhile.
        """
        exchanges = run.store.exchanges(station, oldest=1)
        if not exchanges:
            raise NoQuestion
        making = functools.partial(self._make, run, station, exchanges[0])
        async with aclosing(said_by(run, making, CardEnd)) as card:
            async for told in card:
                yield told

    async def _make(self, run: LiveRun, station: str, first: Exchange, tell: Callable[[Told], None]) -> None:
        iterations = await self._loaded(run)
        language = run.language_of(station)
        tell(CardBegins(prompt=first.prompt, language=language, iterations=iterations))
        answers = 0
        for iteration in iterations:
            # What the visitor was answered is the truest answer of the iteration that gave it.
            text = (
                first.text if iteration == first.iteration else await self._ask(run, language, first.prompt, iteration)
            )
            if text is not None:
                tell(CardAnswer(iteration=iteration, text=text))
                answers += 1
        tell(CardEnd(answers=answers))

    async def _loaded(self, run: LiveRun) -> list[int]:
        """The untouched model and every past self that can be asked, in order."""
        if not await self._watch.wait(HOLD_SECONDS):
            raise Unavailable("The language model is away; ask for the card again in a minute.")
        try:
            names = await self._client.models()
        except Away:
            self._watch.lost()
            raise Unavailable("The language model went away; ask for the card again in a minute.") from None
        known = [-1, *(one.iteration for one in run.store.adapters() if one.iteration <= run.iteration)]
        return [one for one in known if self._client.model(one) in names and self._lost[run.name, one] < MOST]

    async def _ask(self, run: LiveRun, language: str, prompt: str, iteration: int) -> str | None:
        """An iteration's answer; none if it will not answer this."""
        inference = self._settings.inference
        request = CompletionRequest(
            model=self._client.model(iteration),
            messages=alone(inference, language, prompt),
            max_tokens=inference.max_tokens,
            temperature=self._dials.visitor_temperature,
            top_p=inference.visitor_top_p,
            frequency_penalty=inference.frequency_penalty,
            audience=AUDIENCE,
        )
        async with self._one_at_a_time:
            try:
                [answer] = await self._client.answers(request)
            except Refused:
                return None
            except Away:
                self._lost[run.name, iteration] += 1
                self._watch.lost()
                raise Unavailable("The language model went away; ask for the card again in a minute.") from None
        return answer.text[: kept_length(answer.text)]
