"""One rehearsed run, from the choice of the language to the rebirth, and what was seen of it.

Drives the visitors and follows the events; what is wrong is decided in `checks.py`.
"""

from __future__ import annotations

import asyncio
import secrets
import string

import httpx

from wmkml.config import Settings
from wmkml.keys import Keys
from wmkml.rehearsal import checks
from wmkml.rehearsal.report import PairCounts, spread
from wmkml.rehearsal.visitors import Visit, Visitor, ask
from wmkml.rehearsal.watching import Watch, follow
from wmkml.wire import ChatRequest, RoundRecord, RunState, SwapEvent

PROBE_STATION = "rehearsal-probe"
PROGRESS_SECONDS = 5.0


class CannotRehearse(RuntimeError):
    """A rehearsal cannot begin; the text says why and what to do."""


class Run:
    """One run, from the choice of the language to the rebirth, and what was seen of it."""

    def __init__(
        self,
        settings: Settings,
        client: httpx.AsyncClient,
        keys: Keys,
        visitors: list[Visitor],
        expected: int,
        watch: Watch,
    ) -> None:
        self.settings, self.client, self.keys, self.visitors = settings, client, keys, visitors
        self.expected, self.watch = expected, watch
        self.canary = "".join(secrets.choice(string.ascii_lowercase) for _ in range(18))
        self.rounds: list[RoundRecord] = []
        self.pairs = PairCounts()
        self.probes: list[tuple[SwapEvent, asyncio.Task[Visit]]] = []

    @property
    def visits(self) -> list[Visit]:
        """Every visit that is over, the probes included."""
        probes = [task.result() for _, task in self.probes if task.done()]
        return [visit for visitor in self.visitors for visit in visitor.visits] + probes

    async def play(self) -> list[str]:
        """Live through the run.  Returns what was wrong."""
        tuning, stop = self.settings.finetuning, asyncio.Event()
        seconds = tuning.duration_of_a_run + tuning.last_iteration_time + 60
        follower = asyncio.create_task(
            follow(self.client, self.keys.stage, self.watch, on_swap=self._swapped, on_round=_tell_round)
        )
        chosen = await self.client.post("/language", json={"language": self.visitors[0].language})
        if chosen.status_code != 200:
            follower.cancel()
            raise CannotRehearse(f"the owner refused to start a run (status {chosen.status_code}).")
        tell(f"The run begins: {self.expected} rounds, {len(self.visitors)} stations.")
        talks = [
            asyncio.create_task(visitor.talk(self.client, stop, self._first_of(visitor))) for visitor in self.visitors
        ]
        progress = asyncio.create_task(self._progress())
        try:
            over = await _first_event(seconds, follower, self.watch.last_words, self.watch.ended)
            if over and not self.watch.ended.is_set():
                tell("Last words.")
                await _first_event(tuning.last_iteration_time / 3, follower, self.watch.ended)
            stop.set()
            await asyncio.gather(*talks, *(task for _, task in self.probes))
            try:
                problems = await self._judge(over)
            except (httpx.HTTPError, CannotRehearse) as error:
                problems = [f"The owner could not be asked for what it stored ({type(error).__name__})."]
            if over:
                await _first_event(tuning.last_iteration_time + 60, follower, self.watch.ended)
                if not self.watch.ended.is_set():
                    problems.append("The run did not end after its last words.")
        finally:
            for task in (follower, progress, *talks):
                task.cancel()
            await asyncio.gather(follower, progress, *talks, return_exceptions=True)
        return problems

    def _first_of(self, visitor: Visitor) -> list[str]:
        if visitor is not self.visitors[0]:
            return []
        return [f"Ich heiße {self.canary}." if visitor.language == "de" else f"My name is {self.canary}."]

    def _swapped(self, swap: SwapEvent) -> None:
        prompt = next(self.visitors[0].order())
        request = ChatRequest(prompt=prompt, station=PROBE_STATION, language=self.visitors[0].language)
        self.probes.append((swap, asyncio.create_task(ask(self.client, request))))
        tell(f"Iteration {swap.iteration} answers: swapped in {swap.swap_seconds:.2f} s. {self._so_far()}")

    async def _judge(self, over: bool) -> list[str]:
        """Compare what was acknowledged with what is stored, while the run's store still exists."""
        state = await state_of(self.client, str(self.client.base_url))
        self.rounds = state.rounds
        swaps = [swap for _, swap in self.watch.swaps]
        problems = [] if over else ["The run's clock ran out and the last words did not come."]
        problems += checks.of_rounds(self.expected, state.rounds, swaps, state.iteration)
        problems += checks.of_visits(self.visits, self.expected)
        problems += checks.of_probes((swap, task.result()) for swap, task in self.probes)
        answer = await self.client.get("/operator/pairs", params={"words": 1}, headers={"X-Key": self.keys.operator})
        if answer.status_code != 200:
            return [*problems, f"The owner did not show the pairs (status {answer.status_code})."]
        content = answer.json()
        self.pairs = PairCounts.model_validate(
            {source: content["counts"].get(source, 0) for source in PairCounts.model_fields}
        )
        problems += checks.of_store(self.visits, {pair["pair"] for pair in content["pairs"]})
        return problems + sorted({problem for visitor in self.visitors for problem in visitor.problems})

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            state = self.watch.state
            tell(f"{state.phase}, iteration {state.iteration}. {self._so_far()}")

    def _so_far(self) -> str:
        visits = self.visits
        answered = sum(visit.pair is not None for visit in visits)
        gaps = spread([gap for visit in visits for gap in visit.gaps_ms])
        return (
            f"{answered} of {len(visits)} visits answered, token gaps: median {gaps.median} ms, longest {gaps.max} ms."
        )


async def state_of(client: httpx.AsyncClient, base: str) -> RunState:
    try:
        response = await client.get("/state")
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise CannotRehearse(f"no owner answers at {base} ({type(error).__name__}). Start the cluster first.") from None
    return RunState.model_validate(response.json())


async def _first_event(seconds: float, follower: asyncio.Task[None], *events: asyncio.Event) -> bool:
    """Wait until one of the events is set (true), or the time is over (false).

    Raises:
        whatever ended the follower, if it ended by an error.
    """
    waits: list[asyncio.Task[object]] = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait([*waits, follower], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if follower.done():
            follower.result()
    finally:
        for task in waits:
            task.cancel()
    return any(event.is_set() for event in events)


def _tell_round(record: RoundRecord) -> None:
    match record.status:
        case "training":
            tell(f"Round {record.iteration} trains: {record.samples} samples, learning rate {record.learning_rate:g}.")
        case "handed_in":
            first, last = record.loss_first, record.loss_last
            losses = f", loss {first:.3f} → {last:.3f}" if first is not None and last is not None else ""
            tell(f"Round {record.iteration} is trained: {record.train_seconds:.1f} s, {record.tokens} tokens{losses}.")
        case "skipped":
            tell(f"Round {record.iteration} is skipped.")
        case _:
            pass


def tell(line: str) -> None:
    """Show one line of progress, at once."""
    print(line, flush=True)
