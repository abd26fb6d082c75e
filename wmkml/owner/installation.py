"""The installation: waits for a language, lets a run live, and makes sure that nothing of it is left for the next.

Holds the run of the moment.  Starting and ending go one at a time.  Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from wmkml.config import Settings
from wmkml.owner import run_folder
from wmkml.owner.deaths import MOST
from wmkml.owner.herald import Herald
from wmkml.owner.inference_client import Away, InferenceClient, Refused
from wmkml.owner.inference_watch import InferenceWatch
from wmkml.owner.life import Life
from wmkml.owner.live_run import LiveRun
from wmkml.runs.folder import make
from wmkml.runs.schema import NewPair
from wmkml.runs.store import RunStore

log = logging.getLogger(__name__)

TWIN_SECONDS = 10.0
"""The same language posted at both doors within so many seconds is one start."""


class UnknownLanguage(ValueError):
    """A language nobody configured."""


class RunAlive(RuntimeError):
    """A run is under way, and who asks may not end it."""


class Installation:
    """The run of the moment, if there is one."""

    def __init__(
        self,
        settings: Settings,
        runs: Path,
        copies: Path,
        client: InferenceClient,
        make_life: Callable[[LiveRun], Life],
        crashed: Callable[[BaseException], None],
    ) -> None:
        """Args:
        runs: the folder of all runs.
        copies: inference's copies of the adapters it has loaded.
        make_life: gives a run its parts.
        crashed: hears of an error nobody expected.
        """
        self._settings, self._runs, self._copies, self._client = settings, runs, copies, client
        self._make_life, self._crashed = make_life, crashed
        self.life: Life | None = None
        self._living: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._last_start: tuple[str, str, float] | None = None

    def wire(self, watch: InferenceWatch, herald: Herald) -> None:
        """Give it those parts that know it themselves."""
        self._watch, self._herald = watch, herald

    @property
    def run(self) -> LiveRun | None:
        """The run of the moment."""
        return self.life.run if self.life is not None else None

    async def resume(self) -> None:
        """Go on with the run that a killed owner left behind, or wait for a language."""
        self._runs.mkdir(parents=True, exist_ok=True)
        run_folder.tidy(self._runs)
        for sentence in run_folder.give_up_damaged(self._runs, keep=self._settings.general.keep_runs):
            self._herald.notice(sentence)
        found = run_folder.find(self._runs)
        if found is None:
            self._herald.waiting()
            return
        run = LiveRun(*found, self._crashed)
        log.info("Run %s goes on (%s).", run.name, run.phase)
        self._begin(run)
        self._herald.state()

    async def start(self, language: str, *, door: str, trusted: bool, join: bool = False) -> None:
        """Start a run in this language, from nothing.

        Args:
            door: through which of the two doors it was asked for.
            trusted: whether a run under way may be ended for it.
            join: be content with a run that is under way.

        Raises:
            UnknownLanguage: nobody configured it.
            RunAlive: there is a run, and it may not be ended.
        """
        if language not in self._settings.languages:
            raise UnknownLanguage
        async with self._changing:
            if self._is_twin(language, door):
                return
            if self.run is not None:
                if join:
                    return
                if not trusted:
                    raise RunAlive
                await self._end(self.run)
            self._last_start = (language, door, time.monotonic())
            before = self._before()
            name = run_folder.new_name(language)
            folder, store = make(self._runs, name, language, self._settings)
            if before is not None:
                self._carry_over(*before, store)
            run = LiveRun(folder, store, self._crashed)
            self._begin(run)
            self._watch.lost()  # inference is to forget every earlier run before it answers in this one
            self._herald.begun(run.name, language)

    async def end(self) -> None:
        """End the run now: rebirth.  Does nothing while a language is awaited."""
        async with self._changing:
            if self.run is not None:
                await self._end(self.run)

    async def close(self) -> None:
        """The owner leaves; the run stays on disk and goes on when it comes back."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait([self._living])
        if self.life is not None:
            await self.life.run.end()
            self.life.rounds.close()
            self.life.run.store.close()

    async def restore(self) -> None:
        """Inference is there, and perhaps new: have it hold the run's adapters, the one that answers first.

        Raises:
            Away: it went away again.
        """
        run = self.run
        if run is None or not run.clean:
            await self._client.unload_all()
            await self._client.current(-1)
            run_folder.empty_graves(self._runs)
            if run is not None and not run.over:
                run.store.set_clean()
                run.clean = True
            return
        await self._load_adapters(run)

    def inference_is_gone(self) -> None:
        """Nobody has an adapter open any more: what an inference that may never come back copied goes, too."""
        run_folder.empty_graves(self._runs)
        if self._copies.is_dir():
            shutil.rmtree(self._copies)

    async def _load_adapters(self, run: LiveRun) -> None:
        new = self._client.model(run.iteration) not in await self._client.models()
        if new and run.deaths.restarted(run.iteration):
            self._withdraw(run)
        newest_first = sorted(run.store.adapters(), key=lambda one: one.iteration != run.iteration)
        for adapter in newest_first:
            past = adapter.iteration != run.iteration
            if past and run.lost_over[adapter.iteration] >= MOST:
                continue  # a past self that cannot be asked any more is better than no answer
            try:
                # Also what it seems to have: the adapter under this number may be another one.
                await self._client.reload(adapter.path, adapter.iteration)
                del run.lost_over[adapter.iteration]
            except Away:
                if not past:
                    run.deaths.broke_off(adapter.iteration)
                    raise
                run.lost_over[adapter.iteration] += 1
                if run.lost_over[adapter.iteration] >= MOST:
                    self._herald.notice(
                        f"Inference died again and again over loading iteration {adapter.iteration}: "
                        "it is left out and cannot be asked any more; the others answer."
                    )
                raise
            except Refused as refusal:
                self._herald.notice(f"Inference does not take iteration {adapter.iteration} back: {refusal}")
                if adapter.iteration == run.iteration and not run.over:
                    run.iteration = -1  # better the language whole than no answer; the next round goes on regardless
                    run.store.set_iteration(-1)
            if run.over:
                return
        await self._client.current(run.iteration)

    def _withdraw(self, run: LiveRun) -> None:
        """Inference dies of the adapter that answers: have the one before it answer, and train on from there."""
        deadly = run.iteration
        run.iteration = max((one.iteration for one in run.store.adapters() if one.iteration < deadly), default=-1)
        run.store.withdraw(deadly, run.iteration)
        self._herald.notice(
            f"Inference died again and again over iteration {deadly}: "
            + ("the base model" if run.iteration < 0 else f"iteration {run.iteration}")
            + " answers instead, and training goes on from there."
        )
        one = None if self.life is None else self.life.rounds.current
        if self.life is not None and one is not None and one.status == "training":
            self.life.rounds.failed(one, f"it went on from iteration {deadly}, which was withdrawn.")

    def _begin(self, run: LiveRun) -> None:
        self.life = self._make_life(run)
        self._living = asyncio.create_task(self._live(self.life))
        self._living.add_done_callback(self._lived)

    async def _live(self, life: Life) -> None:
        await life.live()
        async with self._changing:
            if self.life is life:
                await self._end(life.run)

    def _lived(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error)

    async def _end(self, run: LiveRun) -> None:
        """End a run and take its words away.  The caller holds the lock."""
        general = self._settings.general
        if self._living is not None and self._living is not asyncio.current_task():
            self._living.cancel()
            await asyncio.wait([self._living])
        await run.end()
        if self.life is not None:
            self.life.rounds.close()
        self.life = self._living = self._last_start = None
        forgotten = not general.keep_runs and self._settings.finetuning.delete_live_questions_at_start
        if forgotten:
            run_folder.give_up(run.folder)
        else:
            run.enter("waiting")
        run.store.close()
        self._herald.ended(run.name, run.language)
        if forgotten:
            run_folder.bury(run.folder)
        elif not general.keep_runs:
            run_folder.give_up_adapters(run.folder)  # the words stay for the next run, which takes them over
        self._watch.lost()  # inference unloads the adapters, and then they are deleted
        self._herald.reborn()
        self._herald.waiting()

    def _before(self) -> tuple[Path, RunStore] | None:
        """The run before this one, where what its visitors said shall be trained on again."""
        return (
            None if self._settings.finetuning.delete_live_questions_at_start else run_folder.find(self._runs, over=True)
        )

    def _carry_over(self, folder: Path, old: RunStore, new: RunStore) -> None:
        """Take what visitors said into the new run; the old one's folder goes, unless runs are kept."""
        columns = [field.name for field in fields(NewPair)]
        rows = [{name: row[name] for name in columns} for row in old.all_pairs("visitor")]
        new.add_pairs(NewPair(**{**row, "carried": True}) for row in rows)
        old.close()
        if not self._settings.general.keep_runs:
            run_folder.bury(folder)

    def _is_twin(self, language: str, door: str) -> bool:
        if self._last_start is None or self.run is None:
            return False
        before, other_door, when = self._last_start
        both = {door, other_door} == {"owner", "inference"}
        twin = before == language and both and time.monotonic() - when < TWIN_SECONDS
        if twin:
            self._last_start = None
        return twin
