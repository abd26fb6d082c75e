"""The run under way: its store, its clock, the iteration that answers, and its tasks.

Everything done for the run (answers, echoes, its rounds) is a task of the run and is cancelled when the run ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from wmkml.owner.inference.crash_counter import CrashCounter
from wmkml.owner.run.clock import RunClock
from wmkml.protocol.conversation import ChatToken
from wmkml.protocol.run_state import Phase
from wmkml.runs.database import NotStoredError
from wmkml.runs.schema import NewPair
from wmkml.runs.store import RunStore

STORE_AGAIN_SECONDS = 1.0
"""Between two tries to store what nobody waits for, on a disk that takes nothing."""


class RunOverError(RuntimeError):
    """The run has ended; its tasks are cancelled and no new one may start."""

    def __init__(self) -> None:
        super().__init__("the run is over")


class ChangeSignal:
    """Wakes every task that waits for a change.  A change that nobody waits for is not remembered."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Wake all tasks that wait now."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next change; False if there was none within this many seconds (None: no limit)."""
        change = self._next
        try:
            async with asyncio.timeout(seconds):
                await change.wait()
        except TimeoutError:
            return False
        return True


class LiveRun:
    """One run, from its start (or the owner's restart) to its end."""

    def __init__(self, folder: Path, store: RunStore, on_crash: Callable[[BaseException], None]) -> None:
        """Take the run's state from its store.

        Args:
            on_crash: called with an unexpected error of one of the run's tasks.

        Raises:
            ValueError: the store holds no run.
        """
        row = store.run()
        if row is None:
            raise ValueError(f"{folder} holds no run")
        self.name, self.language, self.phase, self.phase_began = row.run, row.language, row.phase, row.phase_began
        self.folder, self.store = folder, store
        self.clock = RunClock(row.started_at)
        self._iteration = row.iteration
        self.iteration_changed = ChangeSignal()
        """Notified when another iteration answers."""
        self.clean = row.clean
        """Whether inference has unloaded every earlier run's adapters."""
        self.over = False
        self.languages = store.languages()
        """The language of every station that chose one."""
        self.stations = store.stations()
        """Every station that said something in this run."""
        self.new_pairs = ChangeSignal()
        """Notified whenever pairs have been stored."""
        self.crashes = CrashCounter()
        self.load_failures: Counter[int] = Counter()
        """By past iteration: how often in a row inference went away while that adapter was being loaded again."""
        self.unstored = ""
        """What is wrong with the disk while it takes no pair, as the end of a sentence; empty while it does."""
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def iteration(self) -> int:
        """The iteration that answers."""
        return self._iteration

    @iteration.setter
    def iteration(self, iteration: int) -> None:
        self._iteration = iteration
        self.iteration_changed.notify()

    def spawn(self, work: Coroutine[Any, Any, None], *, watched: bool = True) -> asyncio.Task[None]:
        """Start a task of the run; it is cancelled when the run ends.

        Args:
            watched: report the task's error to `on_crash`; False: the caller reads the task's result itself.

        Raises:
            RunOverError: the run has ended.
        """
        if self.over:
            work.close()
            raise RunOverError
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done if watched else self._tasks.discard)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.over:
            self._on_crash(error)

    async def end(self) -> None:
        """Cancel all tasks of the run, except the calling one, and wait until they have ended."""
        self.over = True
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    def enter_phase(self, phase: Phase) -> None:
        """Set the run's phase, which begins now."""
        self.phase, self.phase_began = phase, self.clock.elapsed()
        self.store.set_phase(phase, self.phase_began)

    def language_of(self, station: str) -> str:
        """A station's language: its own choice, else the run's."""
        return self.languages.get(station, self.language)

    def choose_language(self, station: str, language: str) -> None:
        """Set a station's language from now on."""
        if self.language_of(station) != language:
            self.store.set_language(station, language)
            self.languages[station] = language

    async def add_pairs(
        self,
        *pairs: NewPair,
        tokens: Sequence[ChatToken] = (),
        awaits_echoes: bool = False,
        echoes_of: int | None = None,
    ) -> list[int]:
        """Store pairs and return their numbers; they are on disk when this returns.

        Args:
            tokens: the tokens of the last pair's answer.
            awaits_echoes: whether the last pair's prompt waits for its echoes from now on.
            echoes_of: the pair whose prompt these pairs echo: it waits no longer.

        Raises:
            NotStoredError: the disk takes nothing.
        """
        try:
            numbers = await asyncio.to_thread(
                self.store.add_pairs, pairs, tokens, awaits_echoes=awaits_echoes, echoes_of=echoes_of
            )
        except NotStoredError as trouble:
            self.unstored = trouble.reason
            raise
        self.unstored = ""
        self.new_pairs.notify()
        return numbers

    async def add_pairs_patiently(self, *pairs: NewPair, echoes_of: int | None = None) -> None:
        """Store pairs that nobody waits for: as `add_pairs`, and again and again while the disk takes nothing."""
        while True:
            try:
                await self.add_pairs(*pairs, echoes_of=echoes_of)
            except NotStoredError:
                await asyncio.sleep(STORE_AGAIN_SECONDS)
            else:
                return
