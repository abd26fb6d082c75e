"""From a request to the pieces of its answers: prompt, sampling, engine, text, stop strings, and OSC for visitors.

A request is checked whole before its first token (`Answering.prepare`), and holds its iteration until it is answered.
Only answers to visitors are sent by OSC, and of several answers (`n`) only the first.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.config import Settings
from wmkml.decency.word_filter import TokenFilter, WordFilter
from wmkml.dialogue.answer_end import kept_length
from wmkml.dialogue.chat_template import FittedPrompt, MessagesRefusedError, PromptTooLongError, fit_window
from wmkml.engine.protocol import (
    Adapter,
    Engine,
    EngineDiedError,
    Generation,
    GenerationRefusedError,
    Sampling,
    Step,
)
from wmkml.engine.text import Detokenizer, StopStrings, entropy
from wmkml.inference.adapter_registry import AdapterRegistry, LoadedIteration, NotLoadedError
from wmkml.inference.admission import Admission
from wmkml.inference.metrics import Metrics
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import BASE_ITERATION, PRIORITIES, Audience, CompletionRequest, fingerprint, model_name
from wmkml.protocol.osc import OscSender

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BACKGROUND_AUDIENCES: frozenset[Audience] = frozenset({"echo", "dataset"})
"""The audiences of answers that nobody waits for; all others but MEASURED_AUDIENCE are answered in the foreground
(`Admission`)."""

MEASURED_AUDIENCE: Audience = "measure"
"""The audience of answers that are only measured: they come after all others."""

CURRENT = "current"
"""The model name that means the current iteration."""


def engine_died_refusal() -> RequestRefusedError:
    """The refusal of a request while the engine is dead."""
    return RequestRefusedError(
        503, "The engine has ended and is being restarted; ask again in a moment.", "engine_died"
    )


def _unloaded_refusal() -> RequestRefusedError:
    return RequestRefusedError(503, "The answer was ended: its iteration was unloaded.", "iteration_unloaded")


@dataclass(frozen=True)
class Piece:
    """What one step of the engine adds to an answer.

    Attributes:
        text: empty inside a character or while text is held back for a stop string; then longer than its token.
        token: the token's own text, as far as it completes characters; None for the end token.
        step: the engine's step.
        finish: set on an answer's last piece.
    """

    text: str
    token: str | None
    step: Step
    finish: Literal["stop", "length"] | None = None

    def entropy(self) -> float:
        """Of the step's distribution, in nats (`wmkml.engine.text.entropy`); for steps that carry the likeliest tokens."""
        return entropy(self.step.top)


@dataclass(frozen=True)
class PreparedRequest:
    """A checked request with everything its answers need.  Holds its iteration until `Answering.pieces` has ended.

    Attributes:
        entry: the iteration that answers.
        adapter: the entry's adapter when the request was prepared; None: the base model.
        model: the iteration's model name, for the reply.
        fingerprint: says which weights answer, for the reply.
        arrived: monotonic time in seconds.
    """

    request: CompletionRequest
    entry: LoadedIteration
    adapter: Adapter | None
    model: str
    fingerprint: str
    prompt: FittedPrompt
    sampling: Sampling
    stops: tuple[str, ...]
    arrived: float


PieceQueue = asyncio.Queue[tuple[int, Piece | BaseException]]
"""The pieces of all answers to one request, each with its answer's index; an exception is the end of an answer."""


def _report_failure(queue: PieceQueue, index: int, task: asyncio.Task[None]) -> None:
    """Put the failure of an answer's finished task into the queue, or its reader would wait for ever."""
    if task.cancelled():
        # Not reported by the task itself: it may have been cancelled before its first line ran.
        queue.put_nowait((index, _unloaded_refusal()))
    elif (error := task.exception()) is not None:
        if isinstance(error, EngineDiedError):
            error = engine_died_refusal()
        elif isinstance(error, AdapterRefusedError):
            error = _unloaded_refusal()
        elif isinstance(error, GenerationRefusedError):
            error = RequestRefusedError(400, str(error), "engine_refuses")
        queue.put_nowait((index, error))


class Answering:
    """Answers requests with one engine."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        registry: AdapterRegistry,
        osc: OscSender,
        metrics: Metrics,
        admission: Admission,
        end_tokens: Sequence[int] = (),
        words: WordFilter | None = None,
    ) -> None:
        """`end_tokens`: the ids that end an answer; `words`: what OSC does not carry, None: it carries everything."""
        self._end_tokens = frozenset(end_tokens)
        self._settings = settings
        self._engine = engine
        self._tokenizer = tokenizer
        self._registry = registry
        self._osc = osc
        self._metrics = metrics
        self._admission = admission
        self._words = WordFilter(()) if words is None else words

    def prepare(self, request: CompletionRequest) -> PreparedRequest:
        """Check a request and hold its iteration.  The result must be given to `pieces`, which releases the iteration.

        Raises:
            RequestRefusedError: 400 for messages or values that cannot be used, 404 for a model that is not loaded.
        """
        arrived = time.monotonic()
        question = request.messages[-1]
        if question.role == "user" and not question.content.strip():
            raise RequestRefusedError(400, "The last message is empty: ask something.", "invalid_messages")
        sampling, stops = self._sampling(request), _stop_strings(request)
        messages = [message.model_dump() for message in request.messages]
        begun = self._answer_begun(request.answer_ids or ())
        try:
            # What the answer begins with takes room of the window as the tokens that are generated do.
            prompt = fit_window(self._tokenizer, messages, self._engine.window, len(begun) + sampling.max_tokens)
        except PromptTooLongError as error:
            raise RequestRefusedError(400, str(error), "context_length_exceeded") from None
        except MessagesRefusedError as error:
            raise RequestRefusedError(400, str(error), "invalid_messages") from None
        if prompt.max_tokens <= len(begun):
            raise RequestRefusedError(400, "answer_ids leaves no room for more tokens.", "context_length_exceeded")
        base = self._settings.general.model_name
        try:
            entry = self._registry.acquire(_iteration_of(request.model, base))
        except NotLoadedError:
            known = ", ".join([CURRENT, *(model_name(iteration, base) for iteration in self._registry.iterations)])
            raise RequestRefusedError(404, f"There is no such model; there are: {known}.", "model_not_found") from None
        if begun:
            prompt = replace(prompt, ids=(*prompt.ids, *begun), max_tokens=prompt.max_tokens - len(begun))
            sampling = replace(sampling, max_tokens=prompt.max_tokens)
        # The adapter is read here: an entry that is unloaded later has adapter None, which would mean the base model.
        model = model_name(entry.iteration, base)
        weights = fingerprint(entry.sha256)
        return PreparedRequest(request, entry, entry.adapter, model, weights, prompt, sampling, stops, arrived)

    async def pieces(self, prepared: PreparedRequest) -> AsyncGenerator[tuple[int, Piece]]:
        """The pieces of all `n` answers as they are generated, each with its answer's index.  Closing it ends them all.

        Raises:
            RequestRefusedError: 503 when the engine dies or the iteration is unloaded under way.
        """
        entry, count = prepared.entry, prepared.request.n
        queue: PieceQueue = asyncio.Queue()
        osc = self._osc if self._sends_osc(prepared.request.audience) else None
        if osc is not None:
            osc.send("/prompt", self._words.apply(prepared.request.messages[-1].content))
        tasks = [asyncio.create_task(self._run_answer(prepared, index, queue)) for index in range(count)]
        for index, task in enumerate(tasks):
            task.add_done_callback(functools.partial(_report_failure, queue, index))
        entry.answers.update(tasks)
        answer = _OscAnswer(osc, self._words, entry.iteration) if osc is not None else None
        try:
            while count:
                index, piece = await queue.get()
                if isinstance(piece, BaseException):
                    raise piece
                if answer is not None and index == 0:
                    answer.send(piece)
                count -= piece.finish is not None
                yield index, piece
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            entry.answers.difference_update(tasks)
            self._registry.release(entry)

    def _sends_osc(self, audience: Audience) -> bool:
        return audience == "visitor" and bool(self._osc.targets)

    async def _run_answer(self, prepared: PreparedRequest, index: int, queue: PieceQueue) -> None:
        """Generate one answer and put its pieces into the queue."""
        audience, sampling = prepared.request.audience, prepared.sampling
        if sampling.seed is not None:
            # The n answers to one seed differ from each other, and repeat when the request is repeated.
            sampling = replace(sampling, seed=sampling.seed + index)
        generation = Generation(
            uuid.uuid4().hex,
            prepared.prompt.ids,
            sampling,
            prepared.adapter,
            PRIORITIES[audience],
            with_logprobs=prepared.request.logprobs or (self._sends_osc(audience) and index == 0),
        )
        self._metrics.answers.labels(audience).inc()
        tokens, gap = self._metrics.tokens.labels(audience), self._metrics.gap.labels(audience)
        last_piece_at: float | None = None
        with self._metrics.running.track_inprogress():
            self._metrics.waiting.inc()
            try:
                generated = self._generate(generation, prepared.stops, prepared.request.answer_ids or ())
                if audience in BACKGROUND_AUDIENCES:
                    pieces = self._admission.admit_background(generated)
                elif audience == MEASURED_AUDIENCE:
                    pieces = self._admission.admit_measured(generated)
                else:
                    pieces = self._admission.admit_foreground(generated)
                async for piece in pieces:
                    now = time.monotonic()
                    if last_piece_at is not None:
                        gap.observe(now - last_piece_at)
                    else:
                        self._metrics.first_token.labels(audience).observe(now - prepared.arrived)
                        self._metrics.waiting.dec()
                    last_piece_at = now
                    tokens.inc()
                    queue.put_nowait((index, piece))
            finally:
                if last_piece_at is None:
                    self._metrics.waiting.dec()

    async def _generate(
        self, generation: Generation, stops: tuple[str, ...], begun: Sequence[int]
    ) -> AsyncGenerator[Piece]:
        """The engine's steps as pieces of text, up to the end token, the length limit or a stop string.

        Args:
            begun: the tokens that the answer began with.
        """
        detokenizer, stop_strings = Detokenizer(self._tokenizer, begun), StopStrings(stops)
        steps = self._engine.generate(generation)
        try:
            async for step in steps:
                if step.finish == "stop":
                    # The end token is no part of the text.
                    text, stopped = stop_strings.push(detokenizer.finish())
                    yield Piece(text + ("" if stopped else stop_strings.finish()), None, step, "stop")
                    return
                token = detokenizer.push(step.token)
                if step.finish is not None:
                    token += detokenizer.finish()
                text, stopped = stop_strings.push(token)
                if stopped:
                    yield Piece(text, token, step, "stop")
                    return
                if step.finish is not None:
                    text += stop_strings.finish()
                yield Piece(text, token, step, step.finish)
        finally:
            await steps.aclose()  # type: ignore[attr-defined]  # every engine's is an async generator

    def _sampling(self, request: CompletionRequest) -> Sampling:
        """How the request's answers are drawn: its own values where it has them, else those of the settings."""
        defaults = self._settings.inference
        visitor = request.audience == "visitor"
        temperature = defaults.visitor_temperature if visitor else defaults.temperature
        top_p = defaults.visitor_top_p if visitor else defaults.top_p
        seed = request.seed
        return Sampling(
            temperature=temperature if request.temperature is None else request.temperature,
            top_p=top_p if request.top_p is None else request.top_p,
            max_tokens=request.max_completion_tokens or request.max_tokens or defaults.max_tokens,
            frequency_penalty=(
                defaults.frequency_penalty if request.frequency_penalty is None else request.frequency_penalty
            ),
            presence_penalty=request.presence_penalty or 0.0,
            # Engines take seeds below 2**31; a request may hold any integer.
            seed=None if seed is None else seed % 2**31,
            bias=self._bias(request),
        )

    def _bias(self, request: CompletionRequest) -> tuple[tuple[int, float], ...]:
        """The request's `logit_bias` by token ids.

        Raises:
            RequestRefusedError: 400 for what is no id of this model's tokens.
        """
        bias = request.logit_bias or {}
        if not all(token.isascii() and token.isdigit() and len(token) <= 9 for token in bias):
            raise RequestRefusedError(400, "logit_bias names what is no token id.", "invalid_value")
        ids = [int(token) for token in bias]
        self._check_ids("logit_bias", ids)
        return tuple(zip(ids, bias.values(), strict=True))

    def _answer_begun(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The tokens that an answer begins with, checked.

        Raises:
            RequestRefusedError: 400 for ids of no token, for an end token among them, or more than the window holds.
        """
        self._check_ids("answer_ids", ids)
        if self._end_tokens.intersection(ids):
            raise RequestRefusedError(400, "answer_ids holds an end token, after which nothing comes.", "invalid_value")
        if len(ids) >= self._engine.window:
            raise RequestRefusedError(400, "answer_ids does not fit the model's window.", "context_length_exceeded")
        return tuple(ids)

    def _check_ids(self, name: str, ids: Sequence[int]) -> None:
        if any(token >= len(self._tokenizer) for token in ids):
            raise RequestRefusedError(400, f"{name} names what is no token id of this model.", "invalid_value")


class _OscAnswer:
    """Sends a visitor's answer by OSC, token by token, and whole at its end, without what is not to be repeated."""

    def __init__(self, osc: OscSender, words: WordFilter, iteration: int) -> None:
        self._osc, self._words, self._iteration = osc, words, iteration
        self._pieces = TokenFilter[Piece](words)
        self._text = ""

    def send(self, piece: Piece) -> None:
        """Send what is certain with this piece; with the last one the answer."""
        self._text += piece.text
        self._send_tokens(self._pieces.push(piece.text, piece))
        if piece.finish is not None:
            self._send_tokens(self._pieces.finish())
            shown = self._words.visible(self._text)[: kept_length(self._text)]
            self._osc.send("/response", "".join(shown))
            self._osc.send("/iteration", self._iteration + 1)

    def _send_tokens(self, released: list[tuple[str, Piece]]) -> None:
        for text, piece in released:
            if piece.token is not None:
                self._osc.send("/token", text, math.exp(piece.step.logprob))
                self._osc.send("/entropy", piece.entropy())


def _iteration_of(model: str, base: str) -> int | None:
    """The iteration that a model name means; None: the current one.

    Raises:
        NotLoadedError: it is no name of an iteration.
    """
    if model == CURRENT:
        return None
    if model == base:
        return BASE_ITERATION
    number = model.removeprefix("iteration-")
    if number == model or not number.isascii() or not number.isdigit() or len(number) > 9:
        raise NotLoadedError
    return int(number)


def _stop_strings(request: CompletionRequest) -> tuple[str, ...]:
    strings = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if len(strings) > 16 or any(len(string) > 200 for string in strings):
        raise RequestRefusedError(400, "stop takes at most 16 texts of at most 200 characters.", "invalid_value")
    return tuple(strings)
