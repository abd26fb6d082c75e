"""The take-home card: a station's own first question of this run, answered by every iteration that is loaded.

Its answers are neither stored nor published.  Cards must not slow visitors' answers down: inference gives them a lower
priority, and all cards together ask one iteration at a time.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from wmkml.config import Settings
from wmkml.decency.safeguards import Safeguards
from wmkml.dialogue.answer_end import kept_length
from wmkml.owner.answers.chat import AnswerUnavailableError
from wmkml.owner.answers.conversations import standalone_messages
from wmkml.owner.answers.task_stream import stream_task
from wmkml.owner.inference.client import InferenceAwayError, InferenceClient, InferenceRefusedError
from wmkml.owner.inference.crash_counter import MAX_CRASHES
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.owner.run.live_run import LiveRun
from wmkml.owner.run.overrides import Overrides
from wmkml.protocol.conversation import CardAnswer, CardBegins, CardEnd, Exchange
from wmkml.protocol.inference import Audience, CompletionRequest

AUDIENCE: Audience = "panel"
"""The audience that inference is asked for, and with it the priority."""

INFERENCE_WAIT_SECONDS = 30.0
"""A card waits this long for inference to come back, then it fails."""

CardEvent = CardBegins | CardAnswer | CardEnd


class NoQuestionError(ValueError):
    """The station has asked nothing in this run yet, so there is no question for a card."""


class Cards:
    """Makes cards for all stations of a run."""

    def __init__(
        self,
        settings: Settings,
        client: InferenceClient,
        watch: InferenceWatch,
        overrides: Overrides,
        safeguards: Safeguards,
    ) -> None:
        self._settings, self._client, self._watch, self._overrides = settings, client, watch, overrides
        self._safeguards, self._words = safeguards, safeguards.card
        self._request_lock = asyncio.Lock()
        self._failures: Counter[tuple[str, int]] = Counter()
        """By run and iteration: how often inference went away while answering.  An iteration that may crash inference
        is left out after MAX_CRASHES failures, since a card is not worth a crash."""

    async def make(self, run: LiveRun, station: str) -> AsyncIterator[CardEvent]:
        """Ask for a station's card and yield its events as answers arrive.  Closing the iterator cancels the requests.

        Raises:
            NoQuestionError: the station has asked nothing yet.
            AnswerUnavailableError: inference is away.
            RunOverError: the run ended meanwhile.
        """
        exchanges = run.store.exchanges(station)
        first = next((exchange for exchange in exchanges if not self._safeguards.is_private(exchange.prompt)), None)
        if first is None:
            raise NoQuestionError
        work = functools.partial(self._make, run, station, first)
        async with aclosing(stream_task(run, work, CardEnd)) as card:
            async for event in card:
                yield event

    async def _make(self, run: LiveRun, station: str, first: Exchange, emit: Callable[[CardEvent], None]) -> None:
        iterations = await self._loaded_iterations(run)
        language = run.language_of(station)
        emit(CardBegins(prompt=self._words.apply(first.prompt), language=language, iterations=iterations))
        answers = 0
        for iteration in iterations:
            # The iteration that answered the visitor keeps the answer the visitor saw; it is not asked again.
            text = (
                first.text if iteration == first.iteration else await self._ask(run, language, first.prompt, iteration)
            )
            if text is not None:
                emit(CardAnswer(iteration=iteration, text=self._words.apply(text)))
                answers += 1
        emit(CardEnd(answers=answers))

    async def _loaded_iterations(self, run: LiveRun) -> list[int]:
        """The base model (−1) and every iteration up to the current one that can be asked, in order."""
        if not await self._watch.wait(INFERENCE_WAIT_SECONDS):
            raise AnswerUnavailableError("The language model is away; ask for the card again in a minute.")
        try:
            models = await self._client.loaded_models()
        except InferenceAwayError:
            self._watch.require_restore()
            raise AnswerUnavailableError("The language model went away; ask for the card again in a minute.") from None
        accepted = [adapter.iteration for adapter in run.store.adapters() if adapter.iteration <= run.iteration]
        return [
            iteration
            for iteration in (-1, *accepted)
            if self._client.model_name(iteration) in models and self._failures[run.name, iteration] < MAX_CRASHES
        ]

    async def _ask(self, run: LiveRun, language: str, prompt: str, iteration: int) -> str | None:
        """An iteration's answer, cut at the end of a sentence; None if inference refuses the request."""
        inference = self._settings.inference
        request = CompletionRequest(
            model=self._client.model_name(iteration),
            messages=standalone_messages(inference, language, prompt),
            max_tokens=inference.max_tokens,
            temperature=self._overrides.visitor_temperature,
            top_p=inference.visitor_top_p,
            frequency_penalty=inference.frequency_penalty,
            audience=AUDIENCE,
        )
        async with self._request_lock:
            try:
                [answer] = await self._client.complete(request)
            except InferenceRefusedError:
                return None
            except InferenceAwayError:
                self._failures[run.name, iteration] += 1
                self._watch.require_restore()
                raise AnswerUnavailableError(
                    "The language model went away; ask for the card again in a minute."
                ) from None
        return answer.text[: kept_length(answer.text)]
