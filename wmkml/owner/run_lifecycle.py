"""The phases of a run, in order: seeding, running (its rounds), last words.

It decides when each phase begins, by the run's clock, and continues in whichever phase a killed owner left the run; the
work is done by the parts it is given.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from wmkml.config import Finetuning
from wmkml.owner.answers.dataset_answers import DatasetAnswers
from wmkml.owner.answers.echoes import ECHO_WORKERS, BackgroundRequests, Echoes
from wmkml.owner.answers.panel import Panel
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.measuring.life_course import LifeCourse
from wmkml.owner.rounds.scheduler import RoundScheduler
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.conversation import ForgetReply


class RunLifecycle:
    """One run with its parts."""

    def __init__(
        self,
        finetuning: Finetuning,
        run: LiveRun,
        scheduler: RoundScheduler,
        echoes: Echoes,
        background: BackgroundRequests,
        datasets: DatasetAnswers,
        panel: Panel,
        publisher: EventPublisher,
    ) -> None:
        self.run, self.scheduler, self.echoes = run, scheduler, echoes
        self._finetuning, self._background, self._datasets = finetuning, background, datasets
        self._panel, self._publisher = panel, publisher
        self.life = LifeCourse(scheduler.measures.life())
        """What is shown of the language's life."""
        self._rounds_timeout: asyncio.Timeout | None = None
        """Ends the rounds when the run's time is up; set while rounds are played."""

    async def play(self) -> None:
        """Play the run from its present phase to the end of its last words."""
        run, finetuning = self.run, self._finetuning
        for _ in range(ECHO_WORKERS):
            run.spawn(self.echoes.work())
        run.spawn(self._panel.work())
        scheduler = self.scheduler
        run.spawn(self.life.follow(scheduler.measures.life, lambda: scheduler.holding, self._publisher.life_moved))
        if run.phase != "last_words":
            try:
                async with asyncio.timeout(finetuning.duration_of_a_run - run.clock.elapsed()) as timeout:
                    self._rounds_timeout = timeout
                    await self._play_rounds()
            except TimeoutError:
                if not timeout.expired():
                    raise
            self._rounds_timeout = None
            self.scheduler.abandon()
            run.enter_phase("last_words")
            self._publisher.last_words_begin(run.name, run.language)
        await run.clock.sleep_until(run.phase_began + finetuning.last_iteration_time)

    def end_rounds(self) -> bool:
        """Begin the last words now, as if the run's time were up; False if they have begun already."""
        if self._rounds_timeout is None or self._rounds_timeout.expired():
            return False
        self._rounds_timeout.reschedule(asyncio.get_running_loop().time())
        return True

    async def _play_rounds(self) -> None:
        run = self.run
        if run.phase == "seeding":
            if self._finetuning.recreate_iteration_0:
                await self._datasets.discard_base_answers(run)
            self._datasets.begin(run, 0)
            await self._background.seed(run)
            run.enter_phase("running")
            self._publisher.state_changed()
        run.spawn(self._background.record_persistent_answer(run))
        await self.scheduler.run_all()

    async def forget(self, station: str) -> ForgetReply:
        """Delete everything a station has said in this run, and what was answered to it.

        Raises:
            NotStoredError: the disk takes no deletion either.
        """
        run = self.run
        reply = await self._forget(
            station, run.store.spoken_pairs(station), functools.partial(run.store.forget, station)
        )
        run.languages.pop(station, None)
        run.stations.discard(station)
        return reply

    async def remove_pair(self, pair: int) -> ForgetReply | None:
        """Delete a visitor's pair and its echoes, and the same prompt of that station elsewhere; None if there is no such pair.

        Raises:
            NotStoredError: the disk takes no deletion either.
        """
        run = self.run
        spoken = run.store.prompt_of(pair)
        if spoken is None:
            return None
        pairs = run.store.spoken_pairs(*spoken)
        return await self._forget(spoken[0], pairs, functools.partial(run.store.forget_prompt, *spoken))

    async def _forget(self, station: str, pairs: set[int], delete: Callable[[], list[int]]) -> ForgetReply:
        """Neither echo a station's pairs nor train on them nor show them, and have the store delete them.

        A disk that takes no deletion keeps nothing in memory: what `pairs` names is forgotten there all the same.

        Args:
            pairs: those that are stored.
            delete: deletes them, and returns the numbers of what it deleted.
        """
        self.echoes.forget(pairs)
        learned = self.scheduler.forget(pairs)
        deleted: set[int] = set()
        try:
            for _ in range(2):  # the second time an echo that was being stored while its prompt was deleted
                more = set(await asyncio.to_thread(delete))
                self.echoes.forget(more)
                learned = self.scheduler.forget(more - pairs) or learned
                deleted |= more
        finally:
            self._publisher.forgotten(station)
        return ForgetReply(pairs=len(deleted), learned=learned)

    def time_left(self) -> float:
        """Seconds until the run ends; less if its rounds are done before its time is up."""
        run, finetuning = self.run, self._finetuning
        if run.phase == "last_words":
            return max(0.0, run.phase_began + finetuning.last_iteration_time - run.clock.elapsed())
        return max(0.0, finetuning.duration_of_a_run - run.clock.elapsed()) + finetuning.last_iteration_time

    def end(self) -> None:
        """The run is over: nobody waits for its rounds any longer."""
        self.scheduler.close()
        self._datasets.end()
