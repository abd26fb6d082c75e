"""Random histories of a run's rounds, on the real scheduler and a real database: whatever happens, what must hold holds.

Workers get lost, come back and repeat themselves, inference goes away and refuses, the operator presses buttons, and the
owner is started again from the disk in the middle.  Stand-ins for what would be other processes: inference and the
workers; time is the event loop's (`virtual_loop.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.owner.round_stand_ins import InferenceStandIn, LoopClock, NoAnswers, some_state
from tests.owner.virtual_loop import VirtualLoop
from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE, sha256_of
from wmkml.config import Settings, load_settings
from wmkml.owner.events.event_hub import EventHub
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.rounds.scheduler import RoundScheduler
from wmkml.owner.rounds.worker_registry import WorkerRegistry
from wmkml.owner.run.desk_file import DeskFile
from wmkml.owner.run.live_run import LiveRun
from wmkml.owner.run.overrides import Overrides
from wmkml.policy.round_states import (
    ATTEMPTS,
    is_finished,
)
from wmkml.protocol.osc import OscSender
from wmkml.protocol.training import Claim, HandIn, HandInReply, RoundFailure, RoundJob, StepReport
from wmkml.runs.folder import create_run
from wmkml.runs.schema import NewPair
from wmkml.runs.store import RunStore

ROUNDS = 4
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where databases are quick: a disk takes most of the time, and its durability is another test's matter."""
RARELY = st.sampled_from([False, False, False, True])
NEWEST_FIRST = st.sampled_from([0, 0, 0, 0, 1, 2])
"""Which of the jobs that were given out a worker means, from the newest: mostly the one that may still be under way."""

LEASE_SECONDS = 30.0
MINIMUM_ITERATION_SECONDS = 20.0

Result = TypeVar("Result")


def quick_settings(folder: Path) -> Settings:
    return load_settings(
        None,
        overrides={
            "general.data_folder": str(folder),
            "finetuning.num_total_iters": ROUNDS,
            "finetuning.lease_seconds": LEASE_SECONDS,
            "finetuning.minimum_iteration_time": MINIMUM_ITERATION_SECONDS,
            "finetuning.samples_by_iteration": 4,
        },
    )


class Histories(RuleBasedStateMachine):
    """One run, whatever happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="wmkml-histories-", dir=IN_MEMORY))
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.settings = quick_settings(self.folder)
        self.sessions = itertools.count(1)
        self.jobs: list[tuple[RoundJob, str]] = []
        """Every job that was given out, also those that are not under way any more, and the session it was given to."""
        self.finished: dict[int, str] = {}
        """The status of every round that was finished, from when it was first seen so."""
        self.accepted: dict[int, str] = {}
        """The sha256 of every adapter that was accepted, by iteration."""
        self.handed_in: set[str] = set()
        """The sha256 of every good adapter that a worker handed in."""
        self.crashes: list[BaseException] = []
        self.inference = self.do(self._make_inference())
        self.workers = WorkerRegistry()
        self.over = False
        self._withdrawn: set[int] = set()

    async def _make_inference(self) -> InferenceStandIn:
        return InferenceStandIn()

    # --- the house ---------------------------------------------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    def call(self, function: Callable[[], Result]) -> Result:
        """Call something of the owner's as its routes do: from within the running loop."""

        async def within() -> Result:
            return function()

        return self.do(within())

    def settle(self) -> None:
        """Let everything happen that can without time passing."""

        async def turns() -> None:
            for _ in range(30):
                await asyncio.sleep(0)

        self.do(turns())

    @initialize()
    def begin(self) -> None:
        runs = self.folder / "runs"
        runs.mkdir()
        self.run_folder, store = create_run(runs, "run", "de", self.settings)
        pairs = [NewPair("persistent", "de", f"p{number}", "a", 1, -1, True) for number in range(6)]
        store.add_pairs(pairs)
        store.set_phase("running", 0.0)
        self._start(store)

    def _start(self, store: RunStore) -> None:
        async def start() -> None:
            self.run = LiveRun(self.run_folder, store, self.crashes.append)
            self.run.clock = cast(Any, LoopClock(self.loop))
            publisher = EventPublisher(OscSender(()), EventHub(), lambda: some_state(self.run), False)
            stand_in = cast(Any, self.inference)
            none = cast(Any, NoAnswers())
            overrides = Overrides(self.settings, DeskFile(self.folder / "desk.json", publisher.notice))
            self.scheduler = RoundScheduler(
                self.settings, self.run, stand_in, stand_in, publisher, none, none, overrides
            )
            self.playing = asyncio.create_task(self.scheduler.run_all())

        self.do(start())
        self.settle()

    def _cancel_playing(self) -> None:
        async def cancel() -> None:
            self.playing.cancel()
            await asyncio.wait([self.playing])

        self.do(cancel())

    # --- workers -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.over)
    @rule(worker=st.sampled_from(["a", "a", "b"]), new_session=RARELY, hangs_up=RARELY)
    def claim(self, worker: str, new_session: bool, hangs_up: bool) -> None:
        session = f"{worker}{next(self.sessions)}" if new_session or not self.jobs else self.jobs[-1][1]
        message = Claim(worker=worker, session=session, shares_folder=True)

        async def is_disconnected() -> bool:
            return hangs_up

        async def claim_once() -> RoundJob | None:
            claiming = asyncio.create_task(self.scheduler.claim(message, self.workers, is_disconnected))
            done, _ = await asyncio.wait([claiming], timeout=0.5)
            claiming.cancel()
            return claiming.result() if done else None

        job = self.do(claim_once())
        if job is not None:
            assert job.iteration not in self.finished, "a round that is finished was given out again"
            assert job.attempt <= ATTEMPTS
            self.jobs.append((job, session))

    @precondition(lambda self: self.jobs and not self.over)
    @rule(which=NEWEST_FIRST, step=st.integers(0, 5))
    def report_a_step(self, which: int, step: int) -> None:
        job, _ = self.jobs[-1 - which % len(self.jobs)]
        report = StepReport(step=step, steps=5, loss=1.0, tokens=3)
        goes_on = self.call(lambda: self.scheduler.step(job.iteration, job.attempt, report))
        assert goes_on == self._trains(job)

    @precondition(lambda self: self.jobs and not self.over)
    @rule(which=NEWEST_FIRST)
    def give_a_round_back(self, which: int) -> None:
        job, _ = self.jobs[-1 - which % len(self.jobs)]
        before = self._states()
        under_way = self._trains(job)
        failure = RoundFailure(reason="The loss is not finite.")
        self.call(lambda: self.scheduler.give_back(job.iteration, job.attempt, failure))
        assert under_way or self._states() == before

    @precondition(lambda self: self.jobs and not self.over)
    @rule(which=NEWEST_FIRST, broken=RARELY, twice=st.booleans())
    def hand_an_adapter_in(self, which: int, broken: bool, twice: bool) -> None:
        job, _ = self.jobs[-1 - which % len(self.jobs)]
        folder, sha256 = Path(job.folder), "0" * 64
        under_way = self._trains(job)
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / CONFIG_FILE).write_text("{}", encoding="utf-8")
            (folder / WEIGHTS_FILE).write_bytes(os.urandom(16))
        if not broken:
            sha256 = sha256_of(folder / WEIGHTS_FILE)
            self.handed_in.add(sha256)
        before = self._states()
        message = HandIn(
            path=str(folder),
            sha256=sha256,
            tokens=3,
            train_seconds=1.0,
            seconds_since_last_step=0.1,
            loss_first=2.0,
            loss_last=1.0,
        )
        willing = self.inference.ready and not self.inference.refusing and not self.inference.dying_loads
        for _ in range(2 if twice else 1):
            reply = self.do(self._hand_in_once(job, message))
            assert reply is None or not (broken and reply.accepted), "what is no adapter was accepted"
            if under_way and not broken and willing:
                assert reply is not None and reply.accepted, "a good adapter was not accepted"
        if not under_way and (broken or not self._is_current_attempt(job)):
            assert self._states() == before, "a message that fits no round changed something"

    @precondition(lambda self: not self.over)
    @rule()
    def a_good_worker_trains_a_round(self) -> None:
        """What mostly happens: without it a random history seldom gets beyond its first rounds."""
        self.claim(worker="good", new_session=True, hangs_up=False)
        if self.jobs and self._trains(self.jobs[-1][0]):
            self.report_a_step(which=0, step=1)
            self.hand_an_adapter_in(which=0, broken=False, twice=False)

    @precondition(lambda self: not self.over)
    @rule(comes_late=st.booleans())
    def a_worker_is_lost(self, comes_late: bool) -> None:
        """It claims and is silent; the next one gets the next attempt, and the first may yet be heard from."""
        self.claim(worker="a", new_session=True, hangs_up=False)
        self.time_passes(LEASE_SECONDS + 1)
        if comes_late:
            self.claim(worker="b", new_session=True, hangs_up=False)
            self.report_a_step(which=1, step=2)

    async def _hand_in_once(self, job: RoundJob, message: HandIn) -> HandInReply | None:
        handing_in = asyncio.create_task(self.scheduler.hand_in(job.iteration, job.attempt, message))
        done, _ = await asyncio.wait([handing_in], timeout=0.5)
        handing_in.cancel()
        return handing_in.result() if done else None

    # --- inference, the operator, the clock --------------------------------------------------------------------------

    @rule(comes_back=st.sampled_from([True, True, False]))
    def inference_goes_away(self, comes_back: bool) -> None:
        self.inference.go_away()
        self.settle()
        if comes_back:
            self.inference_comes_back()

    @rule()
    def inference_comes_back(self) -> None:
        self.inference.come_back(self.run)
        self.settle()

    @rule(refusing=RARELY)
    def inference_refuses(self, refusing: bool) -> None:
        self.inference.refusing = refusing

    @rule(loads=st.sampled_from([0, 0, 1, 2, 6]))
    def inference_will_die_over_loads(self, loads: int) -> None:
        self.inference.dying_loads = loads

    @precondition(lambda self: not self.over)
    @rule(pressed=RARELY)
    def operator_skips(self, pressed: bool) -> None:
        if not pressed:
            return
        current = self.scheduler.current
        skipped = self.call(self.scheduler.skip)
        assert skipped == (current is not None)
        self.settle()

    @precondition(lambda self: not self.over)
    @rule(holding=RARELY)
    def operator_holds(self, holding: bool) -> None:
        self.call(lambda: self.scheduler.hold(holding))
        self.settle()

    @rule(seconds=st.sampled_from([0.2, 5.0, MINIMUM_ITERATION_SECONDS, LEASE_SECONDS + 1]))
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))
        self.settle()

    @precondition(lambda self: not self.over)
    @rule()
    def base_is_withdrawn(self) -> None:
        """As the installation withdraws the adapter that answers, when inference crashes over it."""
        deadly = self.run.iteration
        if deadly < 0:
            return
        instead = max(
            (iteration for iteration in self.accepted if iteration < deadly and iteration not in self.withdrawn),
            default=-1,
        )
        self.run.iteration = instead
        self.run.store.withdraw(deadly, instead)
        self.inference.named = instead
        self.withdrawn.add(deadly)
        self.call(lambda: self.scheduler.base_withdrawn(deadly))
        self.settle()

    @precondition(lambda self: not self.over)
    @rule(now=st.integers(0, 15))
    def time_is_up(self, now: int) -> None:
        if now:
            return
        self._cancel_playing()
        self.call(self.scheduler.abandon)
        self.settle()
        self.over = True
        assert all(is_finished(round_.status) for round_ in self.scheduler.rounds)

    @precondition(lambda self: not self.over)
    @rule()
    def owner_is_started_again(self) -> None:
        """Killed, and read from the disk: the same rounds, but that what was loaded is to be loaded again."""
        remembered = [asdict(round_) for round_ in self.scheduler.rounds]
        self._cancel_playing()
        self.do(self.run.end())
        self.run.store.close()
        store = RunStore(self.run_folder / "run.sqlite")
        kept = [asdict(round_) for round_ in store.rounds()]
        iteration, holding = self.run.iteration, self.scheduler.holding
        for before, on_disk in zip(remembered, kept, strict=True):
            # A step's numbers are not promised: the worker tells the next one.
            for volatile in ("step", "steps", "loss", "loss_first", "tokens", "held_seconds", "swap_seconds"):
                before.pop(volatile), on_disk.pop(volatile)
            assert before == on_disk
        self.workers = WorkerRegistry()
        self._start(store)
        assert (self.run.iteration, self.scheduler.holding) == (iteration, holding)
        assert not holding or len(self.scheduler.rounds) == len(remembered), "a held language opened a round"
        for before, round_ in zip(remembered, self.scheduler.rounds, strict=False):
            assert round_.status == ("handed_in" if before["status"] == "held" else before["status"])
            assert round_.attempt == before["attempt"]

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_crashed(self) -> None:
        assert not self.crashes
        if hasattr(self, "playing") and self.playing.done() and not self.playing.cancelled():
            assert self.playing.exception() is None

    @invariant()
    def numbers_never_repeat(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        iterations = [round_.iteration for round_ in self.scheduler.rounds]
        assert iterations == list(range(len(iterations)))
        for round_ in self.scheduler.rounds:
            if round_.iteration in self.finished:
                assert round_.status == self.finished[round_.iteration], "a finished round changed"
            elif is_finished(round_.status):
                self.finished[round_.iteration] = round_.status

    @invariant()
    def only_what_was_accepted_answers(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        accepted = {round_.iteration for round_ in self.scheduler.rounds if round_.status == "accepted"}
        assert {adapter.iteration for adapter in self.run.store.adapters()} == accepted - self.withdrawn
        for adapter in self.run.store.adapters():
            assert adapter.sha256 in self.handed_in
            assert self.accepted.setdefault(adapter.iteration, adapter.sha256) == adapter.sha256
        assert self.run.iteration in {-1, *accepted}
        assert self.inference.named in {-1, *accepted}

    def teardown(self) -> None:
        """Every round ends: once inference is there, nobody holds and a worker works, the run comes to its end."""
        try:
            if hasattr(self, "scheduler") and not self.over:
                self._play_to_the_end()
        finally:
            if hasattr(self, "scheduler"):
                self._cancel_playing()
                self.do(self.run.end())
                self.run.store.close()
            asyncio.set_event_loop(None)
            self.loop.close()
            shutil.rmtree(self.folder)

    def _play_to_the_end(self) -> None:
        self.inference.refusing, self.inference.dying_loads = False, 0
        self.call(lambda: self.scheduler.hold(False))
        for _ in range(12 * ROUNDS):
            self.inference.come_back(self.run)
            self.settle()
            if self.playing.done():
                break
            if self.scheduler.current is not None and self.scheduler.current.status == "open":
                self.claim(worker="last", new_session=True, hangs_up=False)
                self.hand_an_adapter_in(which=0, broken=False, twice=False)
            self.time_passes(LEASE_SECONDS + 1)
            self.numbers_never_repeat()
            self.only_what_was_accepted_answers()
        assert self.playing.done(), self._states()
        self.nothing_crashed()
        assert [round_.iteration for round_ in self.scheduler.rounds] == list(range(ROUNDS))
        assert all(is_finished(round_.status) for round_ in self.scheduler.rounds)

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def withdrawn(self) -> set[int]:
        return self._withdrawn

    def _states(self) -> list[tuple[int, str, int]]:
        return [(round_.iteration, round_.status, round_.attempt) for round_ in self.scheduler.rounds]

    def _trains(self, job: RoundJob) -> bool:
        """Whether this very attempt is being trained."""
        return (job.iteration, "training", job.attempt) in self._states()

    def _is_current_attempt(self, job: RoundJob) -> bool:
        return any((job.iteration, job.attempt) == (iteration, attempt) for iteration, _, attempt in self._states())


def test_whatever_happens_to_a_run_its_rounds_keep_their_promises() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
