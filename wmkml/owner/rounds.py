"""The rounds of a run, one after another: opened, offered, trained by whoever claimed it, loaded, held, switched in.

A round that fails twice is skipped, and its iteration number with it.  What the worker says comes in through
`wmkml.owner.lease`; both write into the one `Round` of the moment, and wake each other with a pulse.
Knows no HTTP and no visitor.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import dataclass, field

from wmkml.choosing import choose
from wmkml.config import Settings
from wmkml.owner.background import Asking
from wmkml.owner.dataset_answers import DatasetAnswers
from wmkml.owner.dials import Dials
from wmkml.owner.herald import Herald
from wmkml.owner.inference_client import Away, InferenceClient, Refused
from wmkml.owner.inference_watch import InferenceWatch
from wmkml.owner.live_run import LiveRun, Pulse
from wmkml.runs.folder import append_line
from wmkml.runs.schema import AcceptedAdapter, Round
from wmkml.wire import SwapEvent

ATTEMPTS = 2
"""A round is offered so often."""

LOADS = 5
"""An adapter over whose loading inference went away so often is not loaded again."""

MEASURED_ANSWERS = 50
"""So many of the newest answers are measured at each round's start."""


@dataclass
class Verdict:
    """What became of an adapter that was handed in; `said` is set once it is known."""

    said: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: bool = False
    reason: str = ""

    def say(self, accepted: bool, reason: str = "") -> None:
        """It is decided."""
        self.accepted, self.reason = accepted, reason
        self.said.set()


class Rounds:
    """The rounds of one run."""

    def __init__(
        self,
        settings: Settings,
        run: LiveRun,
        client: InferenceClient,
        watch: InferenceWatch,
        herald: Herald,
        asking: Asking,
        datasets: DatasetAnswers,
        dials: Dials,
    ) -> None:
        self.settings, self.run, self._client, self._watch, self.herald = settings, run, client, watch, herald
        self._asking, self._datasets, self._dials = asking, datasets, dials
        self.changed = Pulse()
        self.holding = False
        """Whether the language stays as it is: no round begins, and no adapter is switched in."""
        self.all = run.store.rounds()
        self.current: Round | None = next((one for one in self.all if not _finished(one)), None)
        self.lease_ends = time.monotonic() + settings.finetuning.lease_seconds
        self.verdict = Verdict()
        self.received = time.monotonic()
        self._load_seconds = 0.0
        self._loaded_in = -1

    async def play(self) -> None:
        """Play every round that is left, in order."""
        for number in range(self.settings.finetuning.num_total_iters):
            one = next((one for one in self.all if one.iteration == number), None)
            if one is not None and _finished(one):
                continue
            if one is None:
                one = await self._open(number)
                self.all.append(one)
            self.current = one
            self.changed.beat()
            if number + 1 < self.settings.finetuning.num_total_iters:
                self._datasets.begin(self.run, number + 1)
            await self._play_one(one)
            self.current = None

    def abandon(self) -> None:
        """The run's time is up: the round of the moment will not be finished."""
        if self.current is None:
            return
        if _finished(self.current):
            self._watch.lost()  # it was interrupted while inference was told who answers: have it told again
        else:
            self.current.status = "skipped"
            self.save(self.current)
            self.verdict.say(False, "The run's last words have begun; no adapter is taken any more.")
        self.current = None
        self.changed.beat()

    def skip(self) -> bool:
        """Give up the round of the moment, as if it had failed twice; false if there is none that could be."""
        one = self.current
        if one is None or _finished(one):
            return False
        one.status = "skipped"
        one.worker = one.session = one.path = one.sha256 = None
        self.save(one)
        self.verdict.say(False, "The round was skipped by the operator.")
        self.changed.beat()
        return True

    def hold(self, holding: bool) -> None:
        """Have the language stay as it is, or go on.  The run's clock goes on in either case."""
        self.holding = holding
        self.changed.beat()

    def hold_left(self) -> float | None:
        """Seconds until the round of the moment may be heard, at the earliest; none where none is under way."""
        if self.current is None or _finished(self.current):
            return None
        return max(0.0, self.current.began + self._dials.minimum_iteration_time - self.run.clock.elapsed())

    def close(self) -> None:
        """The run is over: nobody waits here any longer."""
        self.verdict.say(False, "The run is over.")
        self.changed.beat()

    def previous(self) -> AcceptedAdapter | None:
        """The adapter that training goes on from."""
        mine = [one for one in self.run.store.adapters() if one.from_round]
        return mine[-1] if mine else None

    def save(self, one: Round) -> None:
        """Write a round down and tell of it."""
        self.run.store.save_round(one)
        self.herald.round(one)

    def failed(self, one: Round, reason: str) -> None:
        """An attempt came to nothing: offer the round once more, or skip it."""
        attempt = one.attempt
        if attempt >= ATTEMPTS:
            one.status = "skipped"
        else:
            one.status, one.attempt = "open", attempt + 1
        one.worker = one.session = one.path = one.sha256 = None
        one.step = one.steps = one.tokens = 0
        self.herald.notice(
            f"Round {one.iteration}, attempt {attempt}: {reason} "
            + ("It is skipped." if one.status == "skipped" else "It is offered again.")
        )
        self.save(one)
        self.verdict.say(False, reason)
        self.changed.beat()

    async def _open(self, number: int) -> Round:
        tuning, run = self.settings.finetuning, self.run
        await self._datasets.enough(run, number)
        while True:
            while self.holding:
                await self.changed.wait()
            seed = secrets.randbits(31)
            chosen = choose(run.store.live(), run.store.of_datasets(number), tuning, number, random.Random(seed))
            if chosen:
                break
            self.herald.notice(f"Round {number} waits: nobody has said anything yet that it could train on.")
            await run.new_pairs.wait()
        self._dials.round_opens()
        one = Round(
            iteration=number,
            status="open",
            attempt=1,
            learning_rate=self._dials.learning_rate(number),
            pairs=[candidate.pair for candidate in chosen],
            seed=seed,
            began=run.clock.elapsed(),
        )
        run.store.save_round(one)
        measures = self.herald.round_begins(one, one.began, run.store.newest_answers(MEASURED_ANSWERS))
        append_line(run.folder, "measures.jsonl", {"iteration": run.iteration, "round": number, **measures})
        return one

    async def _play_one(self, one: Round) -> None:
        while True:
            match one.status:
                case "open":
                    await self.changed.wait()
                case "training":
                    left = self.lease_ends - time.monotonic()
                    if left > 0:
                        await self.changed.wait(left)
                    else:
                        self.failed(one, f"the worker said nothing for {self.settings.finetuning.lease_seconds:g} s.")
                case "handed_in":
                    await self._load(one)
                case "held":
                    await self._hold_and_switch(one)
                case "accepted" | "skipped":
                    return

    async def _load(self, one: Round) -> None:
        path = one.path
        assert path is not None
        for _ in range(LOADS):
            await self._watch.wait()
            if _finished(one):
                return
            restores = self._watch.restores
            try:
                # Asked again for what it has, inference says yes; what it has under this number may be another adapter.
                await self._client.reload(path, one.iteration)
                break
            except Away:
                self._watch.lost()
            except Refused as refusal:
                if not _finished(one):
                    self.failed(one, f"inference refuses the adapter: {refusal}")
                return
            if _finished(one):
                return
        else:
            self.failed(one, f"inference went away {LOADS} times over the adapter.")
            return
        if _finished(one):
            return  # skipped meanwhile; what inference has loaded of it is never named
        self._loaded_in = restores
        self._load_seconds = time.monotonic() - self.received
        one.status = "held"
        self.save(one)
        self.verdict.say(True)

    async def _hold_and_switch(self, one: Round) -> None:
        run = self.run
        began = run.clock.elapsed()
        while not _finished(one):
            left = one.began + self._dials.minimum_iteration_time - run.clock.elapsed()
            if left <= 0 and not self.holding:
                break
            await self.changed.wait(left if left > 0 else None)
        one.held_seconds += run.clock.elapsed() - began
        if _finished(one):
            return
        if not self._watch.ready or self._loaded_in != self._watch.restores:
            self.received = time.monotonic()
            one.status = "handed_in"  # inference was away meanwhile and has lost it
            return
        switching = time.monotonic()
        assert one.path is not None and one.sha256 is not None
        # On disk first, then in memory, with nothing between them that could be interrupted.
        run.store.accept(AcceptedAdapter(one.iteration, one.path, one.sha256, from_round=True), one)
        run.iteration = one.iteration
        one.swap_seconds = one.since_last_step + self._load_seconds + time.monotonic() - switching
        one.status = "accepted"
        self.save(one)
        self.herald.swapped(
            SwapEvent(iteration=one.iteration, swap_seconds=one.swap_seconds, held_seconds=one.held_seconds)
        )
        run.spawn(self._asking.for_the_record(run))
        try:
            await self._client.current(one.iteration)
        except Away:
            self._watch.lost()  # it hears which one answers when it is restored


def _finished(one: Round) -> bool:
    return one.status in ("accepted", "skipped")
