"""The rounds of a run, one after another: opened, leased to a worker, loaded into inference, held, switched in.

`RoundScheduler` is the only place that changes a round's status, by the table in `wmkml.policy.round_states`.  What
workers report, operators press and clocks say are its methods.  Invariants:

- an iteration's number is given once in a run; a round that fails ATTEMPTS times is skipped, and its number with it;
- an accepted adapter is on the disk before it is named to anybody;
- what a worker is answered is on the disk before: a restart of the owner takes back no claim and no verdict;
- training goes on from the last accepted adapter;
- a message of a worker that does not fit the round under way changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from wmkml.config import Settings
from wmkml.owner.answers.dataset_answers import DatasetAnswers
from wmkml.owner.answers.echoes import BackgroundRequests
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.inference.client import InferenceAwayError, InferenceClient
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.owner.measuring.record import MeasureRecord
from wmkml.owner.rounds.hand_in import HandInVerdict, UndecidedError, problem_with_adapter
from wmkml.owner.rounds.lease import Lease
from wmkml.owner.rounds.loading import load_adapter
from wmkml.owner.rounds.round_opening import adapters_gone, job_of, new_round
from wmkml.owner.rounds.worker_registry import WorkerRegistry
from wmkml.owner.run.live_run import STORE_AGAIN_SECONDS, ChangeSignal, LiveRun
from wmkml.owner.run.overrides import Overrides
from wmkml.policy.round_states import FAILURES, RoundEvent, RoundState, after, allows, is_finished
from wmkml.protocol.run_state import SwapEvent
from wmkml.protocol.training import Claim, HandIn, HandInReply, ModelMeasures, RoundFailure, RoundJob, StepReport
from wmkml.runs.database import NotStoredError
from wmkml.runs.folder import adapter_folder, append_line
from wmkml.runs.schema import AcceptedAdapter, Round

MEASURED_ANSWERS = 50
"""How many of the newest answers are measured at each round's start."""

CLAIM_SECONDS = 25.0
"""A claim is answered after this long, with or without a round: under the minute after which proxies cut connections."""

HANG_UP_SECONDS = 1.0
"""How often a claim that waits looks whether its worker has hung up: less than the owner's end waits for it."""

SUPERSEDED_SECONDS = 5.0
"""A worker that has a successor waits this long for its refusal; answered at once, it would claim without a pause."""

VERDICT_SECONDS = 20.0
"""A worker waits this long for the verdict while inference is away; then it hands in again."""


class RoundScheduler:
    """The rounds of one run."""

    def __init__(
        self,
        settings: Settings,
        run: LiveRun,
        client: InferenceClient,
        watch: InferenceWatch,
        publisher: EventPublisher,
        requests: BackgroundRequests,
        datasets: DatasetAnswers,
        overrides: Overrides,
    ) -> None:
        """Take up the rounds that the run's store holds."""
        self._settings, self._run, self._client, self._watch = settings, run, client, watch
        self._publisher, self._requests, self._datasets, self._overrides = publisher, requests, datasets, overrides
        self.measures = MeasureRecord(run, publisher)
        """What was measured of each iteration."""
        self._changed = ChangeSignal()
        self._lease = Lease(settings.finetuning.lease_seconds)
        self._verdict = HandInVerdict()
        self._handed_in_at = _now()
        self._load_seconds = 0.0
        self._loaded_in = -1
        """Inference's count of restores when it loaded the adapter: another count means that it may have lost it."""
        self.holding = run.store.holding()
        """Whether the language stays as it is: no round is opened, and no adapter is switched in."""
        self.rounds = run.store.rounds()
        """Every round so far, in order."""
        self.current: Round | None = next((round_ for round_ in self.rounds if not is_finished(round_.status)), None)
        """The round under way."""
        if self.current is not None:
            self._change_status(self.current, RoundEvent.OWNER_RESTARTED)
            run.store.save_round(self.current)

    # --- the run's side ----------------------------------------------------------------------------------------------

    async def run_all(self) -> None:
        """Carry out every round that is left, in order."""
        for number in range(self._settings.finetuning.num_total_iters):
            round_ = self._round(number)
            if round_ is not None and is_finished(round_.status):
                continue
            if round_ is None:
                round_ = await self._open(number)
                self.rounds.append(round_)
            self.current = round_
            self._changed.notify()
            if number + 1 < self._settings.finetuning.num_total_iters:
                self._datasets.begin(self._run, number + 1)
            await self._carry_out(round_)
            self.current = None

    def abandon(self) -> None:
        """The run's time is up: the round under way will not be finished."""
        round_, self.current = self.current, None
        if round_ is None:
            return
        if is_finished(round_.status):
            self._watch.require_restore()  # interrupted while inference was told who answers: have it told again
            self._changed.notify()
            return
        self._apply(round_, RoundEvent.ABANDONED)
        self._verdict.decide(False, "The run's last words have begun; no adapter is taken any more.")

    def close(self) -> None:
        """The run is over: nobody waits here any longer."""
        self._verdict.decide(False, "The run is over.")
        self._changed.notify()

    def base_withdrawn(self, iteration: int) -> None:
        """The adapter of `iteration` was withdrawn: a round that trains on from it is offered again."""
        round_ = self.current
        if round_ is not None and allows(round_.status, RoundEvent.BASE_WITHDRAWN):
            self._fail(
                round_, RoundEvent.BASE_WITHDRAWN, f"it went on from iteration {iteration}, which was withdrawn."
            )

    # --- the operator's side -----------------------------------------------------------------------------------------

    def skip(self) -> bool:
        """Give up the round under way, as if it had failed for the last time; false if there is none."""
        round_ = self.current
        if round_ is None or is_finished(round_.status):
            return False
        self._apply(round_, RoundEvent.SKIPPED_BY_OPERATOR)
        self._verdict.decide(False, "The round was skipped by the operator.")
        return True

    def hold(self, holding: bool) -> None:
        """Have the language stay as it is, or go on, also after a restart; the run's clock goes on in either case."""
        self.holding = holding
        self._run.store.set_holding(holding)
        self._changed.notify()

    def forget(self, pairs: Collection[int]) -> bool:
        """Train on none of these pairs any more; True if a round has, or is doing so now.

        A round that nobody has claimed does without them, and one that is offered again does too.
        """
        learned = False
        for round_ in self.rounds:
            if not set(round_.pairs).isdisjoint(pairs):
                learned = learned or not allows(round_.status, RoundEvent.CLAIMED) or round_.attempt > 1
                round_.pairs = [pair for pair in round_.pairs if pair not in pairs]
                self._run.store.save_round(round_)
        return learned

    def hold_left(self) -> float | None:
        """Seconds until the round under way may answer, at the earliest; None where no round is under way."""
        if self.current is None or is_finished(self.current.status):
            return None
        return max(0.0, self._may_answer_at(self.current) - self._run.clock.elapsed())

    # --- the worker's side -------------------------------------------------------------------------------------------

    async def claim(
        self, claim: Claim, workers: WorkerRegistry, is_disconnected: Callable[[], Awaitable[bool]]
    ) -> RoundJob | None:
        """The round that is offered, leased to this worker; None if there is none for CLAIM_SECONDS.

        Args:
            is_disconnected: whether the worker has hung up meanwhile; a round is not leased to nobody.
        """
        until = _now() + CLAIM_SECONDS
        round_ = self.current
        if workers.is_superseded(claim.session, round_):
            self._publisher.notice(f"Two workers are called {claim.worker}; only the newer one is given rounds.")
            await asyncio.sleep(SUPERSEDED_SECONDS)
            return None
        workers.record_claim(claim.session)
        if not self._run.over and not self.measures.has_model(-1):
            self.measures.record_model(-1, claim.base_measures)
        if round_ is not None and self._is_of_an_older_session(round_, claim):
            if round_.session is not None:
                workers.supersede(round_.session, claim.session)
            self._fail(round_, RoundEvent.WORKER_RESTARTED, "the worker was started anew.")
        while not self._run.over:
            round_ = self.current
            if round_ is not None and round_.status == "training" and round_.session == claim.session:
                return self._job(round_)  # the answer to its claim never reached it
            if round_ is not None and allows(round_.status, RoundEvent.CLAIMED):
                if await is_disconnected():
                    return None
                if round_ is self.current and allows(round_.status, RoundEvent.CLAIMED):
                    round_.worker, round_.session = claim.worker, claim.session
                    self._lease.renew()
                    self._apply(round_, RoundEvent.CLAIMED)
                    job = self._job(round_)
                    await self._until_saved()
                    return job
            left = until - _now()
            if left <= 0:
                return None
            if not await self._changed.wait(min(left, HANG_UP_SECONDS)) and await is_disconnected():
                return None
        return None

    def step(self, iteration: int, attempt: int, report: StepReport) -> bool:
        """A step was made.  False: the lease is lost, or the round is over."""
        round_ = self._attempt(iteration, attempt)
        if round_ is None or not allows(round_.status, RoundEvent.STEPPED):
            return False
        self._lease.renew()
        if report.notice:
            self._publisher.notice(f"Round {iteration}: {report.notice}")
        if report.step:
            round_.step, round_.steps, round_.loss, round_.tokens = (
                report.step,
                report.steps,
                report.loss,
                report.tokens,
            )
            if report.step == 1:
                round_.loss_first = report.loss
            line = {"iteration": iteration, "attempt": attempt, **report.model_dump(exclude={"notice"})}
            self._write_line("losses.jsonl", line)
            self._publisher.step(round_)
        return True

    def measured(self, iteration: int, attempt: int, measures: ModelMeasures) -> None:
        """The worker has measured the model with the adapter that it handed in; of any other nothing is recorded."""
        round_ = self._attempt(iteration, attempt)
        if round_ is not None and round_.status in ("handed_in", "held", "accepted"):
            self.measures.record_model(iteration, measures)

    def give_back(self, iteration: int, attempt: int, failure: RoundFailure) -> None:
        """The worker could not train the round."""
        round_ = self._attempt(iteration, attempt)
        if round_ is not None and allows(round_.status, RoundEvent.WORKER_FAILED):
            self._fail(round_, RoundEvent.WORKER_FAILED, failure.reason)

    def upload_folder(self, iteration: int, attempt: int) -> Path | None:
        """Where an adapter that is being uploaded belongs; renews the lease.  None: the attempt is not under way."""
        round_ = self._attempt(iteration, attempt)
        if round_ is None or not allows(round_.status, RoundEvent.STEPPED):
            return None
        self._lease.renew()
        return adapter_folder(self._run.folder, iteration, attempt)

    async def hand_in(self, iteration: int, attempt: int, message: HandIn) -> HandInReply:
        """An adapter is in its place: check that, and have it loaded.  May be repeated if the answer was lost.

        Raises:
            UndecidedError: inference is away.
        """
        received = _now()
        round_ = self._attempt(iteration, attempt)
        if round_ is None or round_.status not in ("training", "handed_in", "held", "accepted"):
            return _not_under_way()
        if round_.status == "training":
            refusal = await self._take_in(round_, message, received)
            if refusal is not None:
                return refusal
        elif round_.sha256 != message.sha256:
            return HandInReply(accepted=False, reason="Another adapter was handed in for this attempt.")
        if round_.status != "handed_in":
            await self._until_saved()
            return HandInReply(accepted=True)
        verdict = self._verdict
        try:
            async with asyncio.timeout(VERDICT_SECONDS):
                await verdict.decided.wait()
        except TimeoutError:
            raise UndecidedError from None
        await self._until_saved()
        return HandInReply(accepted=verdict.accepted, reason=verdict.reason)

    async def _take_in(self, round_: Round, message: HandIn, received: float) -> HandInReply | None:
        """Check what was handed in for a round that trains; the refusal, or None when inference is to load it."""
        self._lease.renew()
        iteration, attempt = round_.iteration, round_.attempt
        folder = adapter_folder(self._run.folder, iteration, attempt)
        elsewhere = await asyncio.to_thread(lambda: Path(message.path).resolve() != folder.resolve())
        if elsewhere and not folder.is_dir():
            # Another place is never looked into, whatever it may hold: what counts is what arrives in ours.
            return HandInReply(accepted=False, upload=True, reason="The adapter is not in its place; upload it.")
        problem = await asyncio.to_thread(problem_with_adapter, folder, message.sha256)
        # The lease may have expired, or the operator have skipped the round, while the files were read.
        if round_ is not self._attempt(iteration, attempt) or not allows(round_.status, RoundEvent.HANDED_IN):
            return _not_under_way()
        if problem:
            self._fail(round_, RoundEvent.HAND_IN_BROKEN, problem)
            return HandInReply(accepted=False, reason=problem)
        round_.path, round_.sha256 = str(folder), message.sha256
        round_.tokens, round_.train_seconds = message.tokens, message.train_seconds
        round_.since_last_step = message.seconds_since_last_step
        round_.loss_first, round_.loss_last = message.loss_first, message.loss_last
        self._handed_in_at, self._verdict = received, HandInVerdict()
        self._apply(round_, RoundEvent.HANDED_IN)
        return None

    # --- one round, from its opening to its end ----------------------------------------------------------------------

    async def _open(self, number: int) -> Round:
        """Choose a round's pairs and open it; waits while the language is held, or while there is no pair at all."""
        run = self._run
        await self._datasets.wait_until_enough(run, number)
        while True:
            while self.holding:
                await self._changed.wait()
            round_ = new_round(run, self._settings.finetuning, number)
            if round_ is not None:
                break
            self._publisher.notice(f"Round {number} waits: nobody has said anything yet that it could train on.")
            await run.new_pairs.wait()
        self._overrides.round_opens()
        round_.learning_rate = self._overrides.learning_rate(number)
        run.store.save_round(round_)
        measures = self._publisher.round_begins(round_, round_.began, run.store.newest_answers(MEASURED_ANSWERS))
        self._write_line("measures.jsonl", {"iteration": run.iteration, "round": number, **measures})
        return round_

    async def _carry_out(self, round_: Round) -> None:
        while True:
            match round_.status:
                case "open":
                    await self._changed.wait()
                case "training":
                    await self._await_worker(round_)
                case "handed_in":
                    await self._load(round_)
                case "held":
                    await self._hold_and_switch(round_)
                case "accepted" | "skipped":
                    return

    async def _await_worker(self, round_: Round) -> None:
        left = self._lease.seconds_left()
        if left > 0:
            await self._changed.wait(left)
        else:
            self._fail(round_, RoundEvent.LEASE_EXPIRED, f"the worker said nothing for {self._lease.seconds:g} s.")

    async def _load(self, round_: Round) -> None:
        """Have inference load the adapter that was handed in."""
        assert round_.path is not None
        result = await load_adapter(
            self._client,
            self._watch,
            Path(round_.path),
            round_.iteration,
            is_over=lambda: is_finished(round_.status),
        )
        if result is None:
            return
        if result.problem:
            self._fail(round_, RoundEvent.ADAPTER_REFUSED, result.problem)
            return
        self._loaded_in = result.restores
        round_.proof = result.proof
        self._load_seconds = _now() - self._handed_in_at
        self._apply(round_, RoundEvent.LOADED)
        self._verdict.decide(True)

    async def _hold_and_switch(self, round_: Round) -> None:
        """Wait until the adapter may answer, and have it answer."""
        run = self._run
        began = run.clock.elapsed()
        while not is_finished(round_.status):
            left = self._may_answer_at(round_) - run.clock.elapsed()
            if left <= 0 and not self.holding:
                break
            await self._changed.wait(left if left > 0 else None)
        round_.held_seconds += run.clock.elapsed() - began
        if is_finished(round_.status):
            return
        if not self._watch.ready or self._loaded_in != self._watch.restores:
            self._handed_in_at = _now()
            self._apply(round_, RoundEvent.LOST)
            return
        switching = _now()
        assert round_.path is not None and round_.sha256 is not None
        # On the disk first, then in memory, with nothing between them that could be interrupted.
        if not self._accept(AcceptedAdapter(round_.iteration, round_.path, round_.sha256, from_round=True), round_):
            await asyncio.sleep(STORE_AGAIN_SECONDS)
            return  # it is still held
        run.iteration = round_.iteration
        round_.swap_seconds = round_.since_last_step + self._load_seconds + _now() - switching
        self._apply(round_, RoundEvent.SWITCHED_IN)
        self._publisher.swapped(
            SwapEvent(iteration=round_.iteration, swap_seconds=round_.swap_seconds, held_seconds=round_.held_seconds)
        )
        self.measures.iteration_answers(round_.iteration)
        run.spawn(self._requests.record_persistent_answer(run))
        try:
            await self._client.set_current(round_.iteration)
        except InferenceAwayError:
            self._watch.require_restore()  # it is told which iteration answers when it is restored

    # --- what all of them use ----------------------------------------------------------------------------------------

    def _apply(self, round_: Round, event: RoundEvent) -> None:
        """Change a round's status by the table, write it down, and tell everybody.

        Raises:
            IllegalTransitionError: the table does not have this event for the round's status.
        """
        self._change_status(round_, event)
        self._run.store.save_round(round_)
        self._publisher.round_changed(round_)
        self._changed.notify()

    def _accept(self, adapter: AcceptedAdapter, round_: Round) -> bool:
        """Write down that the round's adapter answers from now on; False: the disk takes nothing."""
        try:
            self._run.store.accept(adapter, round_)
        except NotStoredError as trouble:
            self._publisher.notice(f"Iteration {round_.iteration} waits to answer: {trouble.reason}. Make room.")
            return False
        return True

    def _write_line(self, name: str, line: dict[str, Any]) -> None:
        """Append a line to a file of the run; what cannot be written is lost, and the round goes on."""
        try:
            append_line(self._run.folder, name, line)
        except OSError as error:
            self._publisher.notice(f"{name} of run {self._run.name} cannot be written: {error.strerror}.")

    async def _until_saved(self) -> None:
        """Wait until every change of a round so far is on the disk."""
        await asyncio.to_thread(self._run.store.flush)

    @staticmethod
    def _change_status(round_: Round, event: RoundEvent) -> None:
        state = after(RoundState(round_.status, round_.attempt), event)
        round_.status, round_.attempt = state.status, state.attempt
        if event in FAILURES or event is RoundEvent.SKIPPED_BY_OPERATOR:
            round_.worker = round_.session = round_.path = round_.sha256 = round_.proof = None
        if event in FAILURES:
            round_.step = round_.steps = round_.tokens = 0

    def _fail(self, round_: Round, event: RoundEvent, reason: str) -> None:
        """An attempt has come to nothing: offer the round once more, or skip it, and say why."""
        attempt = round_.attempt
        self._apply(round_, event)
        what_follows = "It is skipped." if round_.status == "skipped" else "It is offered again."
        self._publisher.notice(f"Round {round_.iteration}, attempt {attempt}: {reason} {what_follows}")
        self._verdict.decide(False, reason)

    def _may_answer_at(self, round_: Round) -> float:
        """The second of the run from which the round's adapter may answer."""
        return round_.began + self._overrides.minimum_iteration_time

    def _is_of_an_older_session(self, round_: Round, claim: Claim) -> bool:
        same_worker = round_.worker == claim.worker and round_.session != claim.session
        return same_worker and allows(round_.status, RoundEvent.WORKER_RESTARTED)

    def _round(self, iteration: int) -> Round | None:
        return next((round_ for round_ in self.rounds if round_.iteration == iteration), None)

    def _attempt(self, iteration: int, attempt: int) -> Round | None:
        """The round that a worker's message is about; None if it is about no attempt under way in this run."""
        round_ = self._round(iteration)
        return round_ if round_ is not None and round_.attempt == attempt and not self._run.over else None

    def run_folder_exists(self) -> bool:
        """Whether the run's folder is still there."""
        return self._run.folder.is_dir()

    def _job(self, round_: Round) -> RoundJob:
        for gone in adapters_gone(self._run):
            self._publisher.notice(
                f"The files of iteration {gone} are gone from the disk: training goes on from the one before that is there."
            )
        return job_of(self._run, round_, self._lease.seconds)


def _not_under_way() -> HandInReply:
    return HandInReply(accepted=False, reason="This attempt is not under way any more.")


def _now() -> float:
    """The event loop's clock, in seconds: monotonic, and the one that its timeouts go by."""
    return asyncio.get_running_loop().time()
