"""Answers visitors' prompts: waits while inference is away, and asks again when an answer breaks off.

A pair is stored durably before its answer is reported complete.  The generation is a task of the run: it ends with the
run and with the visitor's connection.  An answer whose visitor disconnected is not stored.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from wmkml.config import Settings
from wmkml.decency.safeguards import Safeguards
from wmkml.dialogue.answer_end import kept_length
from wmkml.owner.answers.conversations import conversation_messages, standalone_messages
from wmkml.owner.answers.echoes import Echoes
from wmkml.owner.answers.published_answer import PublishedAnswer
from wmkml.owner.answers.task_stream import stream_task
from wmkml.owner.answers.turns import StationTurns
from wmkml.owner.answers.visible_tokens import VisibleTokens, visible_answer
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.inference.client import InferenceAwayError, InferenceClient, mean
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.conversation import ALTERNATIVES, ChatEnd, ChatQueued, ChatStart, ChatToken
from wmkml.protocol.inference import BASE_ITERATION, ChatMessage, CompletionRequest
from wmkml.runs.database import NotStoredError
from wmkml.runs.schema import NewPair, WaitingEcho

INFERENCE_WAIT_SECONDS = 120.0
"""A prompt waits this long for inference to come back; then it fails, and the visitor is told so."""

MAX_ATTEMPTS = 5
"""A prompt is asked this often; if its answer broke off every time, it fails."""


class AnswersStoppedError(RuntimeError):
    """The operator has stopped the answers."""


class AnswerUnavailableError(RuntimeError):
    """Inference did not come back in time, or broke off too often; the text is a sentence for the visitor."""


@dataclass(frozen=True)
class VisitorPrompt:
    """A visitor's prompt, and how its answer is to be sampled."""

    station: str
    prompt: str
    temperature: float
    top_p: float


@dataclass(frozen=True)
class ChatAnswer:
    """A whole answer, cut at the end of a sentence, and the iteration that gave it."""

    text: str
    iteration: int


ChatEvent = ChatQueued | ChatStart | ChatToken | ChatEnd


class Chat:
    """Answers the prompts of all stations."""

    def __init__(
        self,
        settings: Settings,
        client: InferenceClient,
        watch: InferenceWatch,
        publisher: EventPublisher,
        safeguards: Safeguards,
    ) -> None:
        self._settings, self._client, self._watch, self._publisher = settings, client, watch, publisher
        self._safeguards = safeguards
        self._under_way: set[asyncio.Task[Any]] = set()
        """The tasks that answer a visitor at the moment."""
        self._stopped: set[asyncio.Task[Any]] = set()
        self._turns = StationTurns(settings.inference.max_num_seqs, settings.inference.prompts_per_station)

    async def ask(self, run: LiveRun, echoes: Echoes, question: VisitorPrompt) -> AsyncIterator[ChatEvent]:
        """Answer a prompt: yield its places in the line, a start (again after each break), the tokens, and an end once the pair is stored.

        Closing the iterator cancels the answer.

        Raises:
            InferenceRefusedError: the prompt does not fit the model's window, or inference refuses it.
            AnswerUnavailableError: inference is away.
            RunOverError: the run ended meanwhile.
            AnswersStoppedError: the operator has stopped the answers.
            TooManyPromptsError: too many prompts of the station wait already.
            NotStoredError: the answer is whole, and the disk does not take the pair; there is no end.
        """
        work = functools.partial(self._answer, run, echoes, question)
        async with aclosing(stream_task(run, work, ChatEnd)) as answer:
            async for event in answer:
                yield event

    async def _answer(
        self, run: LiveRun, echoes: Echoes, question: VisitorPrompt, emit: Callable[[ChatEvent], None]
    ) -> None:
        def on_place(before: int) -> None:
            emit(ChatQueued(before=before))

        async with self._stoppable(), self._turns.turn(question.station, on_place):
            await self._answer_now(run, echoes, question, emit)

    def stop_answers(self) -> None:
        """Break off every answer that is under way; each raises AnswersStoppedError."""
        for task in self._under_way:
            self._stopped.add(task)
            task.cancel()

    @asynccontextmanager
    async def _stoppable(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._stopped:
                raise
            task.uncancel()
            raise AnswersStoppedError from None
        finally:
            self._under_way.discard(task)
            self._stopped.discard(task)

    async def _answer_now(
        self, run: LiveRun, echoes: Echoes, question: VisitorPrompt, emit: Callable[[ChatEvent], None]
    ) -> None:
        language = run.language_of(question.station)
        help_line = self._safeguards.help_line(question.prompt, language)
        outlet = self._outlet(question, is_private=bool(help_line))
        outlet.prompt()
        started = False
        for _ in range(MAX_ATTEMPTS):
            if not await self._watch.wait(INFERENCE_WAIT_SECONDS):
                break
            iteration = run.iteration
            tokens: list[ChatToken] = []
            visible = VisibleTokens(self._safeguards.visitor)
            adapter = ""
            try:
                messages = conversation_messages(
                    self._settings.inference, run, self._safeguards, question.station, question.prompt
                )
                async with self._client.stream(self._request(question, iteration, messages)) as stream:
                    emit(ChatStart(iteration=iteration, restarted=started, help=help_line))
                    outlet.answer_begins(iteration, started)
                    started = True
                    async for token in stream:
                        adapter = token.adapter
                        chat_token = ChatToken(
                            text=token.text,
                            probability=token.probability,
                            entropy=token.entropy,
                            alternatives=list(token.alternatives),
                        )
                        tokens.append(chat_token)
                        for shown in visible.push(chat_token):
                            emit(shown)
                        outlet.token(token)
                for shown in visible.finish():
                    emit(shown)
                outlet.finish()
            except InferenceAwayError:
                run.crashes.record_failure(iteration)
                self._watch.require_restore()
                continue
            run.crashes.record_answer(iteration)
            language = run.language_of(question.station)
            awaits_echoes = echoes.wanted and not help_line
            try:
                end = await self._store(run, question, language, iteration, tokens, awaits_echoes=awaits_echoes)
            except NotStoredError as trouble:
                self._publisher.notice(
                    f"What visitors say is answered and cannot be kept: {trouble.reason}. Make room."
                )
                raise
            outlet.response("".join(token.text for token in tokens))
            emit(end.model_copy(update={"adapter": adapter}))
            if awaits_echoes:
                echoes.enqueue(WaitingEcho(end.pair, language, question.prompt, question.station))
            return
        raise _unavailable_error()

    async def answer_before_run(self, question: VisitorPrompt) -> ChatAnswer:
        """The base model's answer in `system_language`, without a conversation, while no run is under way.

        Nothing of it is stored, published or trained on; inference sends it by OSC as it does every visitor's answer.
        The question's station has no part in it.

        Raises:
            InferenceRefusedError: the prompt does not fit the model's window, or inference refuses it.
            AnswerUnavailableError: inference is away.
        """
        inference = self._settings.inference
        messages = standalone_messages(inference, inference.system_language, question.prompt)
        async with self._stoppable(), self._turns.turn(question.station):
            return await self._answer_by_base(question, messages)

    async def _answer_by_base(self, question: VisitorPrompt, messages: list[ChatMessage]) -> ChatAnswer:
        for _ in range(MAX_ATTEMPTS):
            if not await self._watch.wait(INFERENCE_WAIT_SECONDS):
                break
            try:
                async with self._client.stream(self._request(question, BASE_ITERATION, messages)) as stream:
                    text = "".join([token.text async for token in stream])
            except InferenceAwayError:
                self._watch.require_restore()
                continue
            shown = visible_answer(self._safeguards.visitor, text, kept_length(text))
            return ChatAnswer(text=shown, iteration=BASE_ITERATION)
        raise _unavailable_error()

    async def _store(
        self,
        run: LiveRun,
        question: VisitorPrompt,
        language: str,
        iteration: int,
        tokens: list[ChatToken],
        awaits_echoes: bool,
    ) -> ChatEnd:
        whole = "".join(token.text for token in tokens)
        kept = kept_length(whole)
        run.stations.add(question.station)
        [pair] = await run.add_pairs(
            NewPair(
                source="visitor",
                station=question.station,
                language=language,
                prompt=question.prompt,
                answer=whole,
                kept=kept,
                iteration=iteration,
                # No round trains on an empty answer.
                live=bool(whole.strip()) and self._safeguards.may_train(question.prompt, whole),
                entropy=mean([token.entropy for token in tokens]),
            ),
            tokens=tokens,
            awaits_echoes=awaits_echoes,
        )
        shown = visible_answer(self._safeguards.visitor, whole, kept)
        return ChatEnd(iteration=iteration, pair=pair, kept=len(shown), text=shown)

    def _outlet(self, question: VisitorPrompt, *, is_private: bool) -> PublishedAnswer:
        return PublishedAnswer(
            self._publisher, self._safeguards.events, question.station, question.prompt, is_private=is_private
        )

    def _request(self, question: VisitorPrompt, iteration: int, messages: list[ChatMessage]) -> CompletionRequest:
        inference = self._settings.inference
        return CompletionRequest(
            model=self._client.model_name(iteration),
            messages=messages,
            stream=True,
            max_tokens=inference.max_tokens,
            temperature=question.temperature,
            top_p=question.top_p,
            frequency_penalty=inference.frequency_penalty,
            logprobs=True,
            top_logprobs=ALTERNATIVES + 1,  # the sampled token is among them
            audience="api" if self._safeguards.is_private(question.prompt) else "visitor",  # no OSC of what is private
            station=question.station,
        )


def _unavailable_error() -> AnswerUnavailableError:
    return AnswerUnavailableError("The language model is away; try again in a minute.")
