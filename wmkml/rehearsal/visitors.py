"""Simulated visitors: each sits at a station, types, asks a prompt, reads the answer as it streams, and asks again.

They use HTTP alone and measure on their side of the wire.  Know nothing of rounds, OSC or what is done with their words.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import httpx
import httpx_sse

from wmkml.wire import ChatEnd, ChatRequest, ChatStart, ChatToken, Refusal, TypingEvent

READING_SECONDS = (0.3, 1.2)
"""How long a visitor reads and thinks before the next prompt; far less than a person, so that a short run is full."""


@dataclass
class Visit:
    """One prompt and what came of it.  Times are `time.perf_counter()` seconds.

    Attributes:
        sent: when the request was made.
        tokens: when each token arrived.
        started: the iteration that answers, once the answer began.
        pair: the number under which the owner acknowledged the pair; None while it has not.
        failure: a sentence when the visit failed.
    """

    station: str
    sent: float
    tokens: list[float] = field(default_factory=list)
    started: int | None = None
    started_at: float | None = None
    iteration: int | None = None
    pair: int | None = None
    ended: float | None = None
    failure: str | None = None

    @property
    def first_token_ms(self) -> float | None:
        """From the request to the first token."""
        return 1000 * (self.tokens[0] - self.sent) if self.tokens else None

    @property
    def gaps_ms(self) -> list[float]:
        """Between one token and the next."""
        return [1000 * (later - sooner) for sooner, later in itertools.pairwise(self.tokens)]

    def under_way(self, begin: float, end: float) -> bool:
        """Whether tokens were coming at some time between these two."""
        return bool(self.tokens) and self.tokens[0] <= end and self.tokens[-1] >= begin


async def ask(client: httpx.AsyncClient, request: ChatRequest) -> Visit:
    """One visit at `POST /chat`.  Never raises for what the cluster does: that is the visit's `failure`."""
    visit = Visit(request.station, time.perf_counter())
    try:
        async with httpx_sse.aconnect_sse(
            client, "POST", "/chat", json=request.model_dump(exclude_none=True)
        ) as source:
            if source.response.status_code != 200:
                visit.failure = f"answered with status {source.response.status_code}"
                return visit
            async for event in source.aiter_sse():
                _heard(visit, event)
    except (httpx.HTTPError, httpx_sse.SSEError, ValueError) as error:
        # Only the kind of error: its text may quote what was said.
        visit.failure = f"broke off ({type(error).__name__})"
    if visit.pair is None and visit.failure is None:
        visit.failure = "ended without an acknowledgement"
    return visit


def _heard(visit: Visit, event: httpx_sse.ServerSentEvent) -> None:
    match event.event:
        case "start":
            start = ChatStart.model_validate_json(event.data)
            visit.started, visit.started_at = start.iteration, time.perf_counter()
            if start.restarted:
                visit.tokens.clear()
        case "token":
            visit.tokens.append(time.perf_counter())
            ChatToken.model_validate_json(event.data)
        case "end":
            end = ChatEnd.model_validate_json(event.data)
            visit.ended, visit.pair, visit.iteration = time.perf_counter(), end.pair, end.iteration
        case "error":
            visit.failure = f"was refused: {Refusal.model_validate_json(event.data).error}"
        case _:
            pass


async def ask_quietly(
    client: httpx.AsyncClient, model: str, system: str, prompt: str, sampling: dict[str, float]
) -> float | None:
    """First token, in milliseconds, of a prompt asked straight at inference's OpenAI door, with no run going on.

    The audience is the panel: nobody's words, so OSC and the stage stay silent.  None when no token came.

    Raises:
        httpx.HTTPError: inference did not answer.
    """
    body = {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": prompt}],
        "stream": True,
        "audience": "panel",
        **sampling,
    }
    sent, first = time.perf_counter(), None
    async with httpx_sse.aconnect_sse(client, "POST", "/v1/chat/completions", json=body) as source:
        source.response.raise_for_status()
        async for event in source.aiter_sse():
            if event.data == "[DONE]":
                break
            choices = json.loads(event.data).get("choices") or [{}]
            if first is None and (choices[0].get("delta") or {}).get("content"):
                first = 1000 * (time.perf_counter() - sent)
    return first


@dataclass
class Visitor:
    """One station: its language, its prompts in an order of its own, and every visit it has made."""

    station: str
    language: str
    prompts: Sequence[str]
    seed: int
    visits: list[Visit] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def order(self) -> Iterator[str]:
        """The prompts, endlessly, shuffled by the seed."""
        shuffled = list(self.prompts)
        random.Random(self.seed).shuffle(shuffled)
        return itertools.cycle(shuffled)

    async def talk(
        self,
        client: httpx.AsyncClient,
        stop: asyncio.Event,
        first: Sequence[str] = (),
        told: Callable[[Visit], None] = lambda visit: None,
    ) -> None:
        """Visit after visit until `stop` is set; a visit under way is always finished.  `first` is asked first."""
        rest = random.Random(self.seed + 1)
        for prompt in itertools.chain(first, self.order()):
            await self._typing(client, "typing")
            await _pause(stop, rest.uniform(*READING_SECONDS))
            await self._typing(client, "stopped")
            if stop.is_set():
                return
            visit = await ask(client, ChatRequest(prompt=prompt, station=self.station, language=self.language))
            self.visits.append(visit)
            told(visit)

    async def _typing(self, client: httpx.AsyncClient, status: str) -> None:
        event = TypingEvent.model_validate({"status": status, "station": self.station})
        try:
            response = await client.post("/typing_event", json=event.model_dump())
        except httpx.HTTPError as error:
            self.problems.append(f"/typing_event was not answered ({type(error).__name__}).")
        else:
            if response.status_code != 200:
                self.problems.append(f"/typing_event was answered with status {response.status_code}.")


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
