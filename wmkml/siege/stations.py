"""Stations as the visitor's page is one: when a stream breaks or the owner is away, the prompt is asked again."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import httpx

from wmkml.protocol.conversation import ChatRequest
from wmkml.rehearsal.visitors import Visit, ask

AGAIN_SECONDS = 0.5
"""Pause before a prompt that broke off is asked again."""

QUESTIONS = {
    "de": ("Was ist ein Haus?", "Wohin fließt der Fluss?", "Wer singt am Morgen?", "Was bleibt von uns?"),
    "en": ("What is a house?", "Where does the river flow?", "Who sings in the morning?", "What remains of us?"),
}


@dataclass
class Acknowledged:
    """A prompt whose answer the owner has acknowledged by `end`.  Times are `time.monotonic()` seconds."""

    station: str
    prompt: str
    pair: int
    iteration: int
    adapter: str
    at: float


@dataclass
class SiegeStation:
    """One station that asks, one prompt after the other, and does not give up.

    Attributes:
        acknowledged: what was answered whole.
        failures: how often an attempt failed, by the predicate of a sentence ("broke off …").
        visits: the finished attempts, failed ones too.
    """

    name: str
    language: str
    seed: int
    pause: tuple[float, float] = (0.1, 0.8)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)

    async def talk(self, client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        """Ask until `stop` is set; a prompt under way is asked to its end."""
        chance = random.Random(self.seed)
        questions = QUESTIONS.get(self.language, QUESTIONS["en"])
        number = 0
        while not stop.is_set():
            number += 1
            # Each prompt is another, so that what is stored can be told to be this visit's.
            prompt = f"{chance.choice(questions)} {self.seed}.{number}"
            await self._ask_until_answered(client, prompt, stop)
            await asyncio.sleep(chance.uniform(*self.pause))

    async def _ask_until_answered(self, client: httpx.AsyncClient, prompt: str, stop: asyncio.Event) -> None:
        while True:
            visit = await ask(client, ChatRequest(prompt=prompt, station=self.name, language=self.language))
            self.visits.append(visit)
            if visit.pair is not None and visit.iteration is not None:
                self.acknowledged.append(
                    Acknowledged(self.name, prompt, visit.pair, visit.iteration, visit.adapter, time.monotonic())
                )
                return
            failure = visit.failure or "ended without a word"
            self.failures[failure] = self.failures.get(failure, 0) + 1
            if stop.is_set():
                return
            await asyncio.sleep(AGAIN_SECONDS)
