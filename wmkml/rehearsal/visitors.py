"""Simulated visitors: each sits at a station, types, asks a prompt, reads the answer as it streams, and asks again.

They use HTTP only and measure latencies on the client's side.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx
import httpx_sse

from wmkml.protocol.base import Refusal
from wmkml.protocol.conversation import ChatEnd, ChatQueued, ChatRequest, ChatStart, ChatToken
from wmkml.protocol.original import TypingEvent

READING_SECONDS = (0.3, 1.2)
"""Range of the pause before the next prompt; shorter than a person's, so that a short run sees many prompts."""


@dataclass
class Visit:
    """One prompt and its answer.  Times are `time.perf_counter()` seconds.

    Attributes:
        sent: when the request was made.
        tokens: when each token arrived.
        started: the iteration named at the answer's start.
        started_at: when the answer started.
        iteration: the iteration named at the answer's end.
        pair: the number under which the owner acknowledged the pair; None until then.
        adapter: the sha256 of the weights that answered, as the answer's end names it; empty: the base model's alone.
        before: how many prompts were before this one in the line, each time that was told.
        ended: when the answer ended.
        failure: the predicate of a sentence ("broke off …") when the visit failed.
    """

    station: str
    sent: float
    tokens: list[float] = field(default_factory=list)
    started: int | None = None
    started_at: float | None = None
    iteration: int | None = None
    pair: int | None = None
    adapter: str = ""
    before: list[int] = field(default_factory=list)
    ended: float | None = None
    failure: str | None = None

    @property
    def first_token_ms(self) -> float | None:
        """Time from the request to the first token."""
        return 1000 * (self.tokens[0] - self.sent) if self.tokens else None

    @property
    def gaps_ms(self) -> list[float]:
        """Times between consecutive tokens."""
        return [1000 * (later - earlier) for earlier, later in itertools.pairwise(self.tokens)]

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether the stream of tokens overlaps this span."""
        return bool(self.tokens) and self.tokens[0] <= end and self.tokens[-1] >= begin


async def ask(client: httpx.AsyncClient, request: ChatRequest) -> Visit:
    """Make one visit at `POST /chat`.  Whatever fails becomes the visit's `failure`; nothing is raised."""
    visit = Visit(request.station, time.perf_counter())
    try:
        async with httpx_sse.aconnect_sse(
            client, "POST", "/chat", json=request.model_dump(exclude_none=True)
        ) as source:
            if source.response.status_code != 200:
                visit.failure = f"answered with status {source.response.status_code}"
                return visit
            async for event in source.aiter_sse():
                _record_event(visit, event)
    except (httpx.HTTPError, httpx_sse.SSEError, ValueError) as error:
        # The error's type alone: its text may quote the visitor.
        visit.failure = f"broke off ({type(error).__name__})"
    if visit.pair is None and visit.failure is None:
        visit.failure = "ended without an acknowledgement"
    return visit


def _record_event(visit: Visit, event: httpx_sse.ServerSentEvent) -> None:
    match event.event:
        case "queued":
            visit.before.append(ChatQueued.model_validate_json(event.data).before)
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
            visit.adapter = end.adapter
        case "error":
            visit.failure = f"was refused: {Refusal.model_validate_json(event.data).error}"
        case _:
            pass


async def quiet_first_token_ms(
    client: httpx.AsyncClient, model: str, system: str, prompt: str, sampling: dict[str, float]
) -> float | None:
    """Milliseconds to the first token of a prompt sent to inference's OpenAI door outside a run; None without a token.

    The audience is `panel`, so that nothing goes to OSC or the stage.

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
    """One station: its language, its prompts, its visits so far, and the problems outside of visits."""

    station: str
    language: str
    prompts: Sequence[str]
    seed: int
    visits: list[Visit] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def shuffled_prompts(self) -> Iterator[str]:
        """The prompts in an order fixed by the seed, repeated endlessly."""
        shuffled = list(self.prompts)
        random.Random(self.seed).shuffle(shuffled)
        return itertools.cycle(shuffled)

    async def talk(
        self,
        client: httpx.AsyncClient,
        stop: asyncio.Event,
        opening: Sequence[str] = (),
        hurry: asyncio.Event | None = None,
    ) -> None:
        """Ask the `opening` prompts, then the shuffled ones, until `stop` is set; a visit under way is finished.

        While `hurry` is set, each prompt follows at once on the answer before, without reading or typing; a failed visit
        is followed by a pause all the same, so that a service that is away is not stormed.
        """
        hurry = hurry or asyncio.Event()
        pauses = random.Random(self.seed + 1)
        for prompt in itertools.chain(opening, self.shuffled_prompts()):
            failed = bool(self.visits) and self.visits[-1].failure is not None
            if failed or not hurry.is_set():
                await self._report_typing(client, "typing")
                await _pause(pauses.uniform(*READING_SECONDS), *([stop] if failed else [stop, hurry]))
                await self._report_typing(client, "stopped")
            if stop.is_set():
                return
            visit = await ask(client, ChatRequest(prompt=prompt, station=self.station, language=self.language))
            self.visits.append(visit)

    async def _report_typing(self, client: httpx.AsyncClient, status: str) -> None:
        event = TypingEvent.model_validate({"status": status, "station": self.station})
        try:
            response = await client.post("/typing_event", json=event.model_dump())
        except httpx.HTTPError as error:
            self.problems.append(f"/typing_event was not answered ({type(error).__name__}).")
        else:
            if response.status_code != 200:
                self.problems.append(f"/typing_event was answered with status {response.status_code}.")


async def _pause(seconds: float, *events: asyncio.Event) -> None:
    """Wait that long, or until one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
