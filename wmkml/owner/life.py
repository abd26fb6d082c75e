"""A run's life: seeding, its rounds, last words.  Goes on in whatever phase a killed owner left it in.

Knows the order and the clock; the work is done by the parts it is given.
"""

from __future__ import annotations

import asyncio

from wmkml.config import Finetuning
from wmkml.owner.background import ECHO_WORKERS, Asking, Echoes
from wmkml.owner.dataset_answers import DatasetAnswers
from wmkml.owner.herald import Herald
from wmkml.owner.live_run import LiveRun
from wmkml.owner.rounds import Rounds


class Life:
    """One run's parts, and the order in which they come."""

    def __init__(
        self,
        tuning: Finetuning,
        run: LiveRun,
        rounds: Rounds,
        echoes: Echoes,
        asking: Asking,
        datasets: DatasetAnswers,
        herald: Herald,
    ) -> None:
        self.run, self.rounds, self.echoes = run, rounds, echoes
        self._tuning, self._asking, self._datasets, self._herald = tuning, asking, datasets, herald
        self._time_is_up: asyncio.Timeout | None = None

    async def live(self) -> None:
        """Live to the end of the last words."""
        run, tuning = self.run, self._tuning
        for _ in range(ECHO_WORKERS):
            run.spawn(self.echoes.work(run))
        if run.phase != "last_words":
            try:
                async with asyncio.timeout(tuning.duration_of_a_run - run.clock.elapsed()) as time_is_up:
                    self._time_is_up = time_is_up
                    await self._rounds()
            except TimeoutError:
                if not time_is_up.expired():
                    raise
            self._time_is_up = None
            self.rounds.abandon()
            run.enter("last_words")
            self._herald.last_words(run.name, run.language)
        await run.clock.until(run.phase_began + tuning.last_iteration_time)

    def end_rounds(self) -> bool:
        """Let the last words begin now, as when the run's time is up; false if they have."""
        if self._time_is_up is None or self._time_is_up.expired():
            return False
        self._time_is_up.reschedule(asyncio.get_running_loop().time())
        return True

    async def _rounds(self) -> None:
        run = self.run
        if run.phase == "seeding":
            if self._tuning.recreate_iteration_0:
                await self._datasets.renew(run)
            self._datasets.begin(run, 0)
            await self._asking.seed(run)
            run.enter("running")
            self._herald.state()
        run.spawn(self._asking.for_the_record(run))
        await self.rounds.play()

    def time_left(self) -> float:
        """Seconds until the rebirth, at the latest."""
        run, tuning = self.run, self._tuning
        if run.phase == "last_words":
            return max(0.0, run.phase_began + tuning.last_iteration_time - run.clock.elapsed())
        return max(0.0, tuning.duration_of_a_run - run.clock.elapsed()) + tuning.last_iteration_time
