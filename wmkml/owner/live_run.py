"""The run that lives now: its store, its clock, who answers, and everything that is under way in its name.

What is under way (answers, echoes, its rounds) is a task of the run and ends with it.  Decides nothing itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from wmkml.owner.clock import Clock
from wmkml.owner.deaths import Deaths
from wmkml.runs.schema import NewPair
from wmkml.runs.store import RunStore
from wmkml.wire import ChatToken, Phase


class RunOver(RuntimeError):
    """The run has ended while something was under way in it."""

    def __init__(self) -> None:
        super().__init__("the run is over")


class Pulse:
    """Wakes everybody who waits for a change."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def beat(self) -> None:
        """Something has changed."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next change; false if there was none for so many seconds."""
        waiting = self._next
        try:
            async with asyncio.timeout(seconds):
                await waiting.wait()
        except TimeoutError:
            return False
        return True


class LiveRun:
    """One run while it lives."""

    def __init__(self, folder: Path, store: RunStore, crashed: Callable[[BaseException], None]) -> None:
        """The run as its store knows it.

        Args:
            crashed: hears of an error nobody expected in one of the run's tasks.

        Raises:
            ValueError: the store holds no run.
        """
        row = store.run()
        if row is None:
            raise ValueError(f"{folder} holds no run")
        self.name, self.language, self.phase, self.phase_began = row.run, row.language, row.phase, row.phase_began
        self.folder, self.store = folder, store
        self.clock = Clock(row.started_at)
        self.iteration = row.iteration
        self.clean = row.clean
        self.over = False
        self.languages = store.languages()
        self.stations = store.stations()
        self.new_pairs = Pulse()
        self.deaths = Deaths()
        self.lost_over: Counter[int] = Counter()
        """How often in a row inference went away while a past iteration was being loaded again."""
        self._crashed = crashed
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], *, watched: bool = True) -> asyncio.Task[None]:
        """Do something in the run's name; it is cancelled when the run ends.

        Args:
            watched: an error in it brings the owner down (supervision starts it again); false: the caller looks itself.

        Raises:
            RunOver: the run has ended.
        """
        if self.over:
            work.close()
            raise RunOver
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._watched if watched else self._tasks.discard)
        return task

    def _watched(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.over:
            self._crashed(error)

    async def end(self) -> None:
        """End everything that is under way."""
        self.over = True
        mine = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine)

    def enter(self, phase: Phase) -> None:
        """The run enters a phase."""
        self.phase, self.phase_began = phase, self.clock.elapsed()
        self.store.set_phase(phase, self.phase_began)

    def language_of(self, station: str) -> str:
        """The language a station speaks: its own choice, else the run's."""
        return self.languages.get(station, self.language)

    def choose_language(self, station: str, language: str) -> None:
        """A station speaks this language from now on."""
        if self.language_of(station) != language:
            self.store.set_language(station, language)
            self.languages[station] = language

    async def add(self, *pairs: NewPair, tokens: Sequence[ChatToken] = ()) -> list[int]:
        """Store pairs; they are on disk when this returns.  `tokens`: how the last one's answer was said."""
        numbers = await asyncio.to_thread(self.store.add_pairs, pairs, tokens)
        self.new_pairs.beat()
        return numbers
