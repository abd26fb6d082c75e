"""From a request to the pieces of its answers: prompt, engine, text, stop strings; and what OSC hears of a visitor's.

Knows the engine, the tokenizer and the shelf of iterations; knows nothing of HTTP or of the OpenAI protocol's forms.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wmkml.config import Settings
from wmkml.cutting import kept_length
from wmkml.engine.protocol import Adapter, AdapterRefused, Engine, EngineDied, Generation, Sampling, Step
from wmkml.engine.text import Detokenizer, StopStrings, entropy
from wmkml.inference.metrics import Metrics
from wmkml.inference.refusals import Refused
from wmkml.inference.shelf import BASE, Entry, NotLoaded, Shelf
from wmkml.inference.turns import Turns
from wmkml.osc import OscSender
from wmkml.prompting import Fitted, MessagesRefused, PromptTooLong, fit_window
from wmkml.wire import PRIORITIES, Audience, CompletionRequest, model_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BACKGROUND: frozenset[Audience] = frozenset({"echo", "dataset"})
"""The audiences of answers that nobody waits for."""

CURRENT = "current"
"""The model name that means whichever iteration answers now."""


def away() -> Refused:
    """The refusal for whoever asks while no engine answers."""
    return Refused(503, "The engine has ended and is being restarted; ask again in a moment.", "engine_died")


def _ended() -> Refused:
    return Refused(503, "The answer was ended: its iteration was unloaded.", "iteration_unloaded")


@dataclass(frozen=True)
class Piece:
    """What one step adds to an answer.

    Attributes:
        text: it may be empty (inside a character, or held back before a stop string), or longer than its token.
        token: the token's own text, as far as it completes characters; None where there is no token of the text.
        step: the engine's step; None for text that was held back until the end.
        finish: set on an answer's last piece.
    """

    text: str
    token: str | None
    step: Step | None
    entropy: float
    finish: Literal["stop", "length"] | None = None


@dataclass(frozen=True)
class Prepared:
    """A request that can be answered: who answers, what is read, how is drawn.  Holds its iteration until answered."""

    request: CompletionRequest
    entry: Entry
    adapter: Adapter | None
    model: str
    prompt: Fitted
    sampling: Sampling
    stops: tuple[str, ...]
    arrived: float


Told = asyncio.Queue[tuple[int, Piece | BaseException]]
"""What the answers of one request have made, each with its index; an error is an answer's end."""


def _tell_end(told: Told, index: int, task: asyncio.Task[None]) -> None:
    """Tell of an answer that came to no end of its own; whoever waits would wait for ever."""
    if task.cancelled():
        # Perhaps before its first step: then no line of it has run.
        told.put_nowait((index, _ended()))
    elif (error := task.exception()) is not None:
        if isinstance(error, EngineDied):
            error = away()
        elif isinstance(error, AdapterRefused):
            error = _ended()
        told.put_nowait((index, error))


class Answering:
    """Answers requests with one engine."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        shelf: Shelf,
        osc: OscSender,
        metrics: Metrics,
        turns: Turns,
    ) -> None:
        """`turns`: in which order answers are begun."""
        self._turns = turns
        self._settings = settings
        self._engine = engine
        self._tokenizer = tokenizer
        self._shelf = shelf
        self._osc = osc
        self._metrics = metrics

    def prepare(self, request: CompletionRequest) -> Prepared:
        """Check all of a request before a word is answered.  What it returns must be given to `pieces`.

        Raises:
            Refused: with the status and code that belong to it.
        """
        arrived = time.monotonic()
        last = request.messages[-1]
        if last.role == "user" and not last.content.strip():
            raise Refused(400, "The last message is empty: ask something.", "invalid_messages")
        sampling, stops = self._sampling(request), self._stops(request)
        messages = [message.model_dump() for message in request.messages]
        try:
            prompt = fit_window(self._tokenizer, messages, self._engine.window, sampling.max_tokens)
        except PromptTooLong as error:
            raise Refused(400, str(error), "context_length_exceeded") from None
        except MessagesRefused as error:
            raise Refused(400, str(error), "invalid_messages") from None
        base = self._settings.general.model_name
        try:
            entry = self._shelf.take(self._iteration(request.model, base))
        except NotLoaded:
            known = ", ".join([CURRENT, *(model_name(one, base) for one in self._shelf.iterations)])
            raise Refused(404, f"There is no such model; there are: {known}.", "model_not_found") from None
        # The adapter is named here: an entry that is unloaded meanwhile has none, which would mean the base model.
        model = model_name(entry.iteration, base)
        return Prepared(request, entry, entry.adapter, model, prompt, sampling, stops, arrived)

    async def pieces(self, prepared: Prepared) -> AsyncGenerator[tuple[int, Piece]]:
        """The pieces of all `n` answers as they are made, each with the answer's index.  Closing it ends them all.

        Raises:
            Refused: 503 when the engine ends under way, or the iteration is unloaded.
        """
        entry, count = prepared.entry, prepared.request.n
        told: Told = asyncio.Queue()
        osc = self._osc if prepared.request.audience == "visitor" else None
        if osc is not None:
            osc.send("/prompt", prepared.request.messages[-1].content)
        tasks = [asyncio.create_task(self._answer(prepared, index, told)) for index in range(count)]
        for index, task in enumerate(tasks):
            task.add_done_callback(functools.partial(_tell_end, told, index))
        entry.answers.update(tasks)
        text = ""
        try:
            while count:
                index, piece = await told.get()
                if isinstance(piece, BaseException):
                    raise piece
                if osc is not None and index == 0:
                    text += piece.text
                    self._tell(osc, piece, text, entry.iteration)
                count -= piece.finish is not None
                yield index, piece
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            entry.answers.difference_update(tasks)
            self._shelf.give_back(entry)

    async def _answer(self, prepared: Prepared, index: int, told: Told) -> None:
        """One answer, from the engine's steps to pieces in the queue."""
        audience, seed = prepared.request.audience, prepared.sampling.seed
        sampling = prepared.sampling
        if seed is not None and index:
            # The n answers of one seed shall differ, and be the same again next time.
            sampling = Sampling(**{**vars(sampling), "seed": seed + index})
        generation = Generation(uuid.uuid4().hex, prepared.prompt.ids, sampling, prepared.adapter, PRIORITIES[audience])
        self._metrics.answers.labels(audience).inc()
        last = 0.0
        with self._metrics.running.track_inprogress():
            self._metrics.waiting.inc()
            try:
                pieces = self._pieces_of(generation, prepared.stops)
                behind = audience in BACKGROUND
                async for piece in self._turns.in_turn(pieces) if behind else self._turns.at_once(pieces):
                    now = time.monotonic()
                    if last:
                        self._metrics.gap.labels(audience).observe(now - last)
                    else:
                        self._metrics.first_token.labels(audience).observe(now - prepared.arrived)
                        self._metrics.waiting.dec()
                    last = now
                    self._metrics.tokens.labels(audience).inc(piece.step is not None)
                    told.put_nowait((index, piece))
            finally:
                if not last:
                    self._metrics.waiting.dec()

    async def _pieces_of(self, generation: Generation, stops: tuple[str, ...]) -> AsyncGenerator[Piece]:
        words, watch = Detokenizer(self._tokenizer), StopStrings(stops)
        steps = self._engine.generate(generation)
        try:
            async for step in steps:
                doubt = entropy(step.top)
                if step.finish == "stop":
                    # The end token is no part of the text.
                    told, stopped = watch.push(words.finish())
                    yield Piece(told + ("" if stopped else watch.finish()), None, step, doubt, "stop")
                    return
                token = words.push(step.token)
                if step.finish is not None:
                    token += words.finish()
                text, stopped = watch.push(token)
                if stopped:
                    yield Piece(text, token, step, doubt, "stop")
                    return
                if step.finish is not None:
                    text += watch.finish()
                yield Piece(text, token, step, doubt, step.finish)
        finally:
            await steps.aclose()  # type: ignore[attr-defined]  # every engine's is an async generator

    @staticmethod
    def _tell(osc: OscSender, piece: Piece, text: str, iteration: int) -> None:
        if piece.step is not None and piece.token is not None:
            osc.send("/token", piece.text, math.exp(piece.step.logprob))
            osc.send("/entropy", piece.entropy)
        if piece.finish is not None:
            osc.send("/response", text[: kept_length(text)])
            osc.send("/iteration", iteration + 1)

    def _iteration(self, model: str, base: str) -> int | None:
        if model == CURRENT:
            return None
        if model == base:
            return BASE
        number = model.removeprefix("iteration-")
        if number == model or not number.isascii() or not number.isdigit() or len(number) > 9:
            raise NotLoaded
        return int(number)

    def _sampling(self, request: CompletionRequest) -> Sampling:
        ours = self._settings.inference
        visitor = request.audience == "visitor"
        temperature = ours.visitor_temperature if visitor else ours.temperature
        top_p = ours.visitor_top_p if visitor else ours.top_p
        seed = request.seed
        return Sampling(
            temperature=temperature if request.temperature is None else request.temperature,
            top_p=top_p if request.top_p is None else request.top_p,
            max_tokens=request.max_completion_tokens or request.max_tokens or ours.max_tokens,
            frequency_penalty=(
                ours.frequency_penalty if request.frequency_penalty is None else request.frequency_penalty
            ),
            presence_penalty=request.presence_penalty or 0.0,
            # Engines take what fits 31 bits; any number may be sent.
            seed=None if seed is None else seed % 2**31,
        )

    @staticmethod
    def _stops(request: CompletionRequest) -> tuple[str, ...]:
        stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
        if len(stops) > 16 or any(len(one) > 200 for one in stops):
            raise Refused(400, "stop takes at most 16 texts of at most 200 characters.", "invalid_value")
        return tuple(stops)
