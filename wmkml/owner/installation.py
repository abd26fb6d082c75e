"""Starts, resumes and ends runs, and has inference hold the adapters of the current one.

At most one run is under way; starts and ends are serialized.  Unless the settings say otherwise, a new run finds
nothing of the one before it, in memory or on disk.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from wmkml.config import Settings
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.inference.client import InferenceAwayError, InferenceClient, InferenceRefusedError
from wmkml.owner.inference.crash_counter import MAX_CRASHES
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.owner.report_maker import ReportMaker
from wmkml.owner.run import run_folder
from wmkml.owner.run.live_run import LiveRun
from wmkml.owner.run_lifecycle import RunLifecycle
from wmkml.protocol.inference import BASE_ITERATION
from wmkml.runs.database import NotStoredError, not_stored
from wmkml.runs.folder import create_run
from wmkml.runs.schema import NewPair
from wmkml.runs.store import RunStore

log = logging.getLogger(__name__)

DUPLICATE_START_SECONDS = 10.0
"""The same language posted to `/language` of owner and inference within this time is one start, not two."""


FOLDER_SECONDS = 0.5
"""How often it is looked whether the run's folder is still there."""

LOOKS_BEFORE_DELETING = 10
"""After so many looks a deletion is tried again that the disk did not take; each leaves a line in the log."""


class UnknownLanguageError(ValueError):
    """The language is not configured."""


class RunAliveError(RuntimeError):
    """A run is under way, and the sender of the request may not end it."""


class Installation:
    """Holds the current run, if there is one."""

    def __init__(
        self,
        settings: Settings,
        runs: Path,
        copies: Path,
        client: InferenceClient,
        make_lifecycle: Callable[[LiveRun], RunLifecycle],
        on_crash: Callable[[BaseException], None],
        reports: ReportMaker,
    ) -> None:
        """Args:
        runs: the folder of all runs.
        copies: the folder of inference's copies of the adapters it has loaded.
        make_lifecycle: creates a run's parts.
        on_crash: called with an unexpected error in a task of the run.
        reports: takes the numbers of a run that ends.
        """
        self._settings, self._runs, self._copies, self._client = settings, runs, copies, client
        self._make_lifecycle, self._on_crash, self._reports = make_lifecycle, on_crash, reports
        self.lifecycle: RunLifecycle | None = None
        """The current run with its parts; none while a language is awaited."""
        self._lifecycle_task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        """Held while a run is started or ended."""
        self.folder_gone = ""
        """The name of the last run, if it ended because somebody deleted its folder; until the next one begins."""
        self._copies_kept = False
        """Whether a disk that is read only keeps inference's copies, which is logged once."""
        self.damaged = ""
        """What kept earlier runs from going on, as sentences; until the next one begins."""
        self._undone: list[Callable[[], bool]] = []
        """Deletions that a read-only disk has kept from being done; each is tried again until it returns True."""
        self._last_start: tuple[str, str, float] | None = None
        """Language, `via` and monotonic time of the last start."""

    def connect(self, watch: InferenceWatch, publisher: EventPublisher) -> None:
        """Set the parts whose construction needs this object; must be called before anything else."""
        self._watch, self._publisher = watch, publisher

    @property
    def run(self) -> LiveRun | None:
        """The current run; none while a language is awaited."""
        return self.lifecycle.run if self.lifecycle is not None else None

    async def resume(self) -> None:
        """Continue the run that the owner's last process left behind, or wait for a language."""
        self._runs.mkdir(parents=True, exist_ok=True)
        run_folder.finish_interrupted(self._runs)
        damages = run_folder.discard_damaged_runs(self._runs, keep=self._settings.general.keep_runs)
        self.damaged = " ".join(damages)
        for sentence in damages:
            self._publisher.notice(sentence)
        unfinished = run_folder.find_run(self._runs)
        if unfinished is None:
            self._publisher.language_awaited()
            return
        run = LiveRun(*unfinished, self._on_crash)
        log.info("Run %s goes on (%s).", run.name, run.phase)
        self._start_lifecycle(run)
        self._publisher.state_changed()

    async def start(self, language: str, *, via: str, trusted: bool, join: bool = False) -> None:
        """Start a new run; does nothing if the request is the second half of a start (DUPLICATE_START_SECONDS).

        Args:
            via: where the request came in: `owner` and `inference` are the services' `/language`.
            trusted: whether a run under way may be ended for it.
            join: do nothing if a run is under way.

        Raises:
            UnknownLanguageError: the language is not configured.
            RunAliveError: a run is under way, and may not be ended.
            NotStoredError: the disk takes no new run.
        """
        if language not in self._settings.languages:
            raise UnknownLanguageError
        async with self._lock:
            if self._is_duplicate_start(language, via):
                return
            if self.run is not None:
                if join:
                    return
                if not trusted:
                    raise RunAliveError
                await self._end_run(self.run)
            self._last_start = (language, via, time.monotonic())
            previous = self._run_to_carry_over()
            name = run_folder.new_run_name(language)
            try:
                folder, store = create_run(self._runs, name, language, self._settings)
            except (OSError, sqlite3.Error) as error:
                if (trouble := not_stored(error)) is None:
                    raise
                self._publisher.notice(f"No run can begin: {trouble.reason}. Make room.")
                raise trouble from None
            if previous is not None:
                self._carry_over(*previous, store)
            run = LiveRun(folder, store, self._on_crash)
            self.folder_gone = self.damaged = ""
            self._start_lifecycle(run)
            self._watch.require_restore()  # inference must forget every earlier run before it answers in this one
            self._publisher.run_begins(run.name, language)

    async def end(self) -> None:
        """End the run now: rebirth.  Does nothing while a language is awaited."""
        async with self._lock:
            if self.run is not None:
                await self._end_run(self.run)

    async def watch_run_folder(self) -> None:
        """End a run whose folder somebody has deleted, and say so, and finish deletions; never returns.

        Its database can still be written, and nobody would find again what is.
        """
        for look in itertools.count(1):
            await asyncio.sleep(FOLDER_SECONDS)
            if look % LOOKS_BEFORE_DELETING == 0:
                self._undone = [delete for delete in self._undone if not delete()]
            run = self.run
            if run is not None and not run.over and not (run.folder / "run.sqlite").exists():
                self._publisher.notice(
                    f"The folder of run {run.name} was deleted while it was under way: the run is over. "
                    "Choose a language to begin another."
                )
                self.folder_gone = run.name
                async with self._lock:
                    if self.run is run:
                        await self._end_run(run)

    async def close(self) -> None:
        """Stop the run's tasks before the owner exits; the run stays on disk and is resumed at the next start."""
        await self._cancel_lifecycle()
        if self.lifecycle is not None:
            await self.lifecycle.run.end()
            self.lifecycle.scheduler.close()
            self.lifecycle.run.store.close()

    async def restore(self) -> None:
        """Have inference hold exactly the run's adapters; called when it is reachable again or the run has changed.

        Raises:
            InferenceAwayError: it went away meanwhile.
        """
        run = self.run
        if run is None or not run.clean:
            await self._client.unload_all()
            await self._client.set_current(-1)
            run_folder.delete_marked(self._runs)
            if run is not None and not run.over:
                run.clean = True
                with suppress(NotStoredError):  # then an owner that is started again has inference forget once more
                    run.store.set_clean()
            return
        await self._load_adapters(run)

    def on_inference_absent(self) -> None:
        """No inference process holds adapters open: delete those of ended runs, and inference's copies."""
        run_folder.delete_marked(self._runs)
        if self._copies.is_dir():
            try:
                shutil.rmtree(self._copies)
            except FileNotFoundError:
                return
            except OSError as error:
                if not_stored(error) is None:
                    raise
                if not self._copies_kept:  # it is called at every look
                    log.warning("%s cannot be deleted yet (%s).", self._copies, error.strerror)
                self._copies_kept = True
            else:
                self._copies_kept = False

    async def _load_adapters(self, run: LiveRun) -> None:
        """Load the run's adapters, the one that answers first; withdraw or leave out those that crash inference."""
        restarted = self._client.model_name(run.iteration) not in await self._client.loaded_models()
        if restarted and run.crashes.record_restart(run.iteration):
            self._withdraw(run)
        current_first = sorted(run.store.adapters(), key=lambda adapter: adapter.iteration != run.iteration)
        for adapter in current_first:
            past = adapter.iteration != run.iteration
            if past and run.load_failures[adapter.iteration] >= MAX_CRASHES:
                continue  # better one past iteration that cannot be asked than no answers at all
            try:
                # Even if inference reports this iteration as loaded: that may be another run's adapter.
                await self._client.reload(adapter.path, adapter.iteration)
                del run.load_failures[adapter.iteration]
            except InferenceAwayError:
                if not past:
                    run.crashes.record_failure(adapter.iteration)
                    raise
                run.load_failures[adapter.iteration] += 1
                if run.load_failures[adapter.iteration] >= MAX_CRASHES:
                    self._publisher.notice(
                        f"Inference died again and again over loading iteration {adapter.iteration}: "
                        "it is left out and cannot be asked any more; the others answer."
                    )
                raise
            except InferenceRefusedError as refusal:
                self._publisher.notice(f"Inference does not take iteration {adapter.iteration} back: {refusal}")
                if adapter.iteration == run.iteration and not run.over:
                    # Better the base model's answers than none; the rounds go on regardless.
                    run.iteration = BASE_ITERATION
                    with suppress(NotStoredError):  # the next one tries the iteration that is still written down
                        run.store.set_iteration(BASE_ITERATION)
            if run.over:
                return
        await self._client.set_current(run.iteration)

    def _withdraw(self, run: LiveRun) -> None:
        """Withdraw the current adapter, which crashes inference; the one before it answers, and is trained further."""
        withdrawn = run.iteration
        iterations = (adapter.iteration for adapter in run.store.adapters())
        earlier = [iteration for iteration in iterations if iteration < withdrawn]
        run.iteration = max(earlier, default=-1)
        with suppress(NotStoredError):  # an owner that is started again withdraws it again
            run.store.withdraw(withdrawn, run.iteration)
        self._publisher.notice(
            f"Inference died again and again over iteration {withdrawn}: "
            + ("the base model" if run.iteration < 0 else f"iteration {run.iteration}")
            + " answers instead, and training goes on from there."
        )
        scheduler = None if self.lifecycle is None else self.lifecycle.scheduler
        if scheduler is not None:
            scheduler.base_withdrawn(withdrawn)

    def _start_lifecycle(self, run: LiveRun) -> None:
        self.lifecycle = self._make_lifecycle(run)
        self._lifecycle_task = asyncio.create_task(self._play(self.lifecycle))
        self._lifecycle_task.add_done_callback(self._report_crash)

    async def _play(self, lifecycle: RunLifecycle) -> None:
        await lifecycle.play()
        async with self._lock:
            if self.lifecycle is lifecycle:
                await self._end_run(lifecycle.run)

    def _report_crash(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_crash(error)

    async def _cancel_lifecycle(self) -> None:
        if self._lifecycle_task is not None and self._lifecycle_task is not asyncio.current_task():
            self._lifecycle_task.cancel()
            await asyncio.wait([self._lifecycle_task])

    async def _end_run(self, run: LiveRun) -> None:
        """End the current run and, unless runs are kept, delete its words.  The caller holds the lock."""
        general = self._settings.general
        await self._cancel_lifecycle()
        await run.end()
        if self.lifecycle is not None:
            self.lifecycle.end()
        # Before the run is gone for everybody: from then on nothing of it may be read any more.
        await self._reports.record(run)
        self.lifecycle = self._lifecycle_task = self._last_start = None
        delete_words = not general.keep_runs and self._settings.finetuning.delete_live_questions_at_start
        if delete_words:
            run_folder.mark_over(run.folder)
        else:
            run.enter_phase("waiting")
        run.store.close()
        self._publisher.run_ends(run.name, run.language)
        if delete_words:
            self._delete(functools.partial(run_folder.delete_all_but_adapters, run.folder))
        elif not general.keep_runs:
            # The next run takes the words over.
            self._delete(functools.partial(run_folder.mark_adapters_over, run.folder))
        self._watch.require_restore()  # has inference unload the adapters, after which they are deleted
        self._publisher.restart_requested()
        self._publisher.language_awaited()

    def _run_to_carry_over(self) -> tuple[Path, RunStore] | None:
        """Folder and store of the last run, if the settings have its visitors' pairs trained on again."""
        return (
            None
            if self._settings.finetuning.delete_live_questions_at_start
            else run_folder.find_run(self._runs, over=True)
        )

    def _carry_over(self, folder: Path, old: RunStore, new: RunStore) -> None:
        """Copy visitors' pairs into the new run; delete the old one's folder unless runs are kept."""
        columns = [field.name for field in fields(NewPair)]
        rows = [{name: row[name] for name in columns} for row in old.all_pairs("visitor")]
        new.add_pairs(NewPair(**{**row, "carried": True}) for row in rows)
        old.close()
        if not self._settings.general.keep_runs:
            self._delete(functools.partial(run_folder.delete_all_but_adapters, folder))

    def _delete(self, delete: Callable[[], bool]) -> None:
        """Delete now, or else as soon as the disk lets it, and tell the operator."""
        if not delete():
            self._undone.append(delete)
            self._publisher.notice(
                "The disk is read only: what is left of the run that is over cannot be deleted yet. It is tried again."
            )

    def _is_duplicate_start(self, language: str, via: str) -> bool:
        """Whether the last start came from the other service's `/language`, just before; a start has one duplicate."""
        if self._last_start is None or self.run is None:
            return False
        last_language, last_via, started_at = self._last_start
        both_services = {via, last_via} == {"owner", "inference"}
        recent = time.monotonic() - started_at < DUPLICATE_START_SECONDS
        is_duplicate = last_language == language and both_services and recent
        if is_duplicate:
            self._last_start = None
        return is_duplicate
