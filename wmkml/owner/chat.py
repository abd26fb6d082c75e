"""A visitor asks and is answered: held while inference is away, asked again when it breaks off, stored before it ends.

The generation is a task of the run: it ends with the run, and with the visitor's connection.  An answer whose listener
hung up is not stored, since nobody heard its end.  Knows no HTTP.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from wmkml.config import Settings
from wmkml.cutting import kept_length
from wmkml.owner.background import Echoes
from wmkml.owner.herald import Herald
from wmkml.owner.inference_client import Away, InferenceClient, mean
from wmkml.owner.inference_watch import InferenceWatch
from wmkml.owner.live_run import LiveRun
from wmkml.owner.saying import said_by
from wmkml.owner.stations import conversation
from wmkml.runs.schema import NewPair
from wmkml.wire import ALTERNATIVES, ChatEnd, ChatStart, ChatToken, CompletionRequest

HOLD_SECONDS = 120.0
"""So long a prompt waits for inference to come back; the visitor is told after that."""

TRIES = 5
"""A prompt that breaks inference so often is not asked again."""


class Unavailable(RuntimeError):
    """Inference did not come back in time."""


@dataclass(frozen=True)
class Question:
    """What a visitor asks, and how the answer is to be sampled."""

    station: str
    prompt: str
    temperature: float
    top_p: float


Said = ChatStart | ChatToken | ChatEnd


class Chat:
    """Answers visitors."""

    def __init__(self, settings: Settings, client: InferenceClient, watch: InferenceWatch, herald: Herald) -> None:
        self._settings, self._client, self._watch, self._herald = settings, client, watch, herald

    async def ask(self, run: LiveRun, echoes: Echoes, question: Question) -> AsyncIterator[Said]:
        """The answer as it is made: starts, tokens, and an end once the pair is stored.  Closing it cancels the answer.

        Raises:
            Refused: the prompt does not fit the model's window, or inference will not have it.
            Unavailable: inference is away.
            RunOver: the run ended meanwhile.
        """
        async with aclosing(said_by(run, functools.partial(self._answer, run, echoes, question), ChatEnd)) as answer:
            async for said in answer:
                yield said

    async def _answer(self, run: LiveRun, echoes: Echoes, question: Question, say: Callable[[Said], None]) -> None:
        self._herald.prompt(question.station, question.prompt)
        started = False
        for _ in range(TRIES):
            if not await self._watch.wait(HOLD_SECONDS):
                break
            iteration = run.iteration
            tokens: list[ChatToken] = []
            try:
                async with self._client.stream(self._request(run, question, iteration)) as stream:
                    say(ChatStart(iteration=iteration, restarted=started))
                    self._herald.answer_begins(question.station, iteration, started)
                    started = True
                    async for token in stream:
                        told = ChatToken(
                            text=token.text,
                            probability=token.probability,
                            entropy=token.entropy,
                            alternatives=list(token.alternatives),
                        )
                        tokens.append(told)
                        say(told)
                        self._herald.token(question.station, token, iteration)
            except Away:
                run.deaths.broke_off(iteration)
                self._watch.lost()
                continue
            run.deaths.answered(iteration)
            say(await self._keep(run, question, iteration, tokens))
            echoes.want(run.language_of(question.station), question.prompt)
            return
        raise Unavailable("The language model is away; try again in a minute.")

    async def _keep(self, run: LiveRun, question: Question, iteration: int, tokens: list[ChatToken]) -> ChatEnd:
        whole = "".join(token.text for token in tokens)
        kept = kept_length(whole)
        run.stations.add(question.station)
        [pair] = await run.add(
            NewPair(
                source="visitor",
                station=question.station,
                language=run.language_of(question.station),
                prompt=question.prompt,
                answer=whole,
                kept=kept,
                iteration=iteration,
                live=bool(whole.strip()),  # an answer without a word trains nothing
                entropy=mean([token.entropy for token in tokens]),
            ),
            tokens=tokens,
        )
        self._herald.response(question.station, whole[:kept], iteration)
        return ChatEnd(iteration=iteration, pair=pair, kept=kept, text=whole[:kept])

    def _request(self, run: LiveRun, question: Question, iteration: int) -> CompletionRequest:
        inference = self._settings.inference
        return CompletionRequest(
            model=self._client.model(iteration),
            messages=conversation(inference, run, question.station, question.prompt),
            stream=True,
            max_tokens=inference.max_tokens,
            temperature=question.temperature,
            top_p=question.top_p,
            frequency_penalty=inference.frequency_penalty,
            logprobs=True,
            top_logprobs=ALTERNATIVES + 1,  # the token that is said is among them
            audience="visitor",
            station=question.station,
        )
