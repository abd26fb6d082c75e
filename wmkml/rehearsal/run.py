"""One rehearsed run, from the choice of the language to the rebirth, and what was observed of it.

Drives the visitors and records the events; `checks.py` decides what is wrong.
"""

from __future__ import annotations

import asyncio
import secrets
import string

import httpx

from wmkml.access.keys import Keys
from wmkml.config import Settings
from wmkml.protocol.conversation import ChatRequest
from wmkml.protocol.run_state import RoundRecord, RunState, SwapEvent
from wmkml.rehearsal import checks
from wmkml.rehearsal.observation import RunObservation, follow_events
from wmkml.rehearsal.report import PairCounts, latency_summary
from wmkml.rehearsal.visitors import Visit, Visitor, ask

PROBE_STATION = "rehearsal-probe"

PROGRESS_SECONDS = 5.0
"""Interval between two lines of progress."""

GRACE_SECONDS = 60.0
"""How much longer than its settings say a run, or its last words, may take before the rehearsal gives up waiting."""


class CannotRehearseError(RuntimeError):
    """A rehearsal cannot begin; the text says why and what to do."""


class RehearsedRun:
    """Plays one run and holds what was observed of it.

    Args:
        expected: the number of rounds the run must have.

    Attributes:
        canary: a random word that the first visitor says, to look for in the data folder after the run.
        rounds: the rounds as the owner had them in the last words.
        pairs: the stored pairs at that time, by source.
        probes: for each swap, the visit that began at its moment.
    """

    def __init__(
        self,
        settings: Settings,
        client: httpx.AsyncClient,
        keys: Keys,
        visitors: list[Visitor],
        expected: int,
        observation: RunObservation,
    ) -> None:
        self.settings, self.client, self.keys, self.visitors = settings, client, keys, visitors
        self.expected, self.observation = expected, observation
        self.canary = "".join(secrets.choice(string.ascii_lowercase) for _ in range(18))
        self.rounds: list[RoundRecord] = []
        self.pairs = PairCounts()
        self.probes: list[tuple[SwapEvent, asyncio.Task[Visit]]] = []

    @property
    def visits(self) -> list[Visit]:
        """Every finished visit, the probes included."""
        probes = [task.result() for _, task in self.probes if task.done()]
        return [visit for visitor in self.visitors for visit in visitor.visits] + probes

    async def play(self) -> list[str]:
        """Start the run, let the visitors talk until its last words, wait for its end.  Returns the problems."""
        tuning, stop, observation = self.settings.finetuning, asyncio.Event(), self.observation
        seconds = tuning.duration_of_a_run + tuning.last_iteration_time + GRACE_SECONDS
        follower = asyncio.create_task(
            follow_events(self.client, self.keys.stage, observation, on_swap=self._on_swap, on_round=_print_round)
        )
        response = await self.client.post("/language", json={"language": self.visitors[0].language})
        if response.status_code != 200:
            follower.cancel()
            raise CannotRehearseError(f"the owner refused to start a run (status {response.status_code}).")
        print_progress(f"The run begins: {self.expected} rounds, {len(self.visitors)} stations.")
        first, *others = self.visitors
        # At a swap somebody must be under way, or nobody knows what it does to a stream.  Not all: they are no crowd.
        talks = [asyncio.create_task(first.talk(self.client, stop, [self._opening_prompt()], observation.swap_due))]
        talks += [asyncio.create_task(visitor.talk(self.client, stop)) for visitor in others]
        progress = asyncio.create_task(self._print_progress())
        try:
            over = await _wait_for_any(seconds, follower, observation.last_words, observation.ended)
            if over and not observation.ended.is_set():
                print_progress("Last words.")
                await _wait_for_any(tuning.last_iteration_time / 3, follower, observation.ended)
            stop.set()
            await asyncio.gather(*talks, *(task for _, task in self.probes))
            try:
                problems = await self._check(over)
            except (httpx.HTTPError, CannotRehearseError) as error:
                problems = [f"The owner could not be asked for what it stored ({type(error).__name__})."]
            if over:
                await _wait_for_any(tuning.last_iteration_time + GRACE_SECONDS, follower, observation.ended)
                if not observation.ended.is_set():
                    problems.append("The run did not end after its last words.")
        finally:
            for task in (follower, progress, *talks):
                task.cancel()
            await asyncio.gather(follower, progress, *talks, return_exceptions=True)
        return problems

    def _opening_prompt(self) -> str:
        """The first visitor's first prompt."""
        return f"Ich heiße {self.canary}." if self.visitors[0].language == "de" else f"My name is {self.canary}."

    def _on_swap(self, swap: SwapEvent) -> None:
        prompt = next(self.visitors[0].shuffled_prompts())
        request = ChatRequest(prompt=prompt, station=PROBE_STATION, language=self.visitors[0].language)
        self.probes.append((swap, asyncio.create_task(ask(self.client, request))))
        print_progress(
            f"Iteration {swap.iteration} answers: swapped in {swap.swap_seconds:.2f} s. {self._visits_text()}"
        )

    async def _check(self, over: bool) -> list[str]:
        """Run the checks while the run's store still exists; `over`: the last words have begun."""
        state = await fetch_state(self.client, str(self.client.base_url))
        self.rounds = state.rounds
        swaps = [swap for _, swap in self.observation.swaps]
        problems = [] if over else ["The run's clock ran out and the last words did not come."]
        problems += checks.check_rounds(self.expected, state.rounds, swaps, state.iteration)
        problems += checks.check_visits(self.visits, self.expected)
        problems += checks.check_probes((swap, task.result()) for swap, task in self.probes)
        response = await self.client.get("/operator/pairs", params={"words": 1}, headers={"X-Key": self.keys.operator})
        if response.status_code != 200:
            return [*problems, f"The owner did not show the pairs (status {response.status_code})."]
        content = response.json()
        self.pairs = PairCounts.model_validate(
            {source: content["counts"].get(source, 0) for source in PairCounts.model_fields}
        )
        problems += checks.check_store(self.visits, {pair["pair"] for pair in content["pairs"]})
        return problems + sorted({problem for visitor in self.visitors for problem in visitor.problems})

    async def _print_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            state = self.observation.state
            print_progress(f"{state.phase}, iteration {state.iteration}. {self._visits_text()}")

    def _visits_text(self) -> str:
        visits = self.visits
        answered = sum(visit.pair is not None for visit in visits)
        gaps = latency_summary([gap for visit in visits for gap in visit.gaps_ms])
        return (
            f"{answered} of {len(visits)} visits answered, token gaps: median {gaps.median} ms, longest {gaps.max} ms."
        )


async def fetch_state(client: httpx.AsyncClient, base: str) -> RunState:
    """The run's state; `base` is the owner's address for the error.

    Raises:
        CannotRehearseError: no owner answers.
    """
    try:
        response = await client.get("/state")
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise CannotRehearseError(
            f"no owner answers at {base} ({type(error).__name__}). Start the cluster first."
        ) from None
    return RunState.model_validate(response.json())


async def _wait_for_any(seconds: float, follower: asyncio.Task[None], *events: asyncio.Event) -> bool:
    """Wait until one of the events is set, the follower is done, or the time is over.  Returns whether an event is set.

    Raises:
        Exception: the follower's own, if it failed.
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


def _print_round(record: RoundRecord) -> None:
    match record.status:
        case "training":
            print_progress(
                f"Round {record.iteration} trains: {record.samples} samples, learning rate {record.learning_rate:g}."
            )
        case "handed_in":
            first, last = record.loss_first, record.loss_last
            losses = f", loss {first:.3f} → {last:.3f}" if first is not None and last is not None else ""
            print_progress(
                f"Round {record.iteration} is trained: {record.train_seconds:.1f} s, {record.tokens} tokens{losses}."
            )
        case "skipped":
            print_progress(f"Round {record.iteration} is skipped.")
        case _:
            pass


def print_progress(line: str) -> None:
    """Print one line at once, also into a pipe."""
    print(line, flush=True)
