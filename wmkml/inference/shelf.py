"""The iterations that can be asked: which adapter each one is, who is being answered by it, and which one is current.

Every adapter is copied into a folder of our own and loaded from there: so a path is never loaded twice, whoever made the
adapter may delete it, and what was checked is what is served.  The copies go when their adapter goes.
Knows the engine; knows neither HTTP nor OSC.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wmkml.engine.adapters import CONFIG, WEIGHTS
from wmkml.engine.protocol import Adapter, AdapterRefused, Engine

BASE = -1
"""The iteration of the untouched base model."""


class NotLoaded(LookupError):
    """No such iteration can be asked."""


@dataclass(eq=False)
class Entry:
    """An iteration that can be asked (or, once replaced, only finishes what it began), and its answers under way."""

    iteration: int
    adapter: Adapter | None
    source: Path | None = None
    sha256: str = ""
    answers: set[asyncio.Task[None]] = field(default_factory=set)
    users: int = 0
    retired: bool = False


class Shelf:
    """All iterations of one engine.  `current` is the one that `current` means."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._base = Entry(BASE, None)
        self._entries: dict[int, Entry] = {BASE: self._base}
        self._numbers = itertools.count(1)
        self._turn = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._announced = False
        self.current = BASE
        # Of an instance that was killed; they hold what visitors' words became.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    @property
    def iterations(self) -> list[int]:
        """Those that can be asked, the base model first."""
        return sorted(self._entries)

    def take(self, iteration: int | None) -> Entry:
        """Hold an iteration (None: the current one) for an answer; it stays loaded until `give_back`.

        Raises:
            NotLoaded: it cannot be asked.
        """
        entry = self._entries.get(self.current if iteration is None else iteration)
        if entry is None:
            raise NotLoaded
        entry.users += 1
        return entry

    def give_back(self, entry: Entry) -> None:
        """The answer is over; an iteration that was replaced goes with its last answer."""
        entry.users -= 1
        if entry.retired and entry.users == 0:
            leaving = asyncio.create_task(self._drop(entry))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def make_current(self, iteration: int) -> bool:
        """Say which iteration `current` means; returns whether that is a change.

        Raises:
            NotLoaded: it cannot be asked.
        """
        if iteration not in self._entries:
            raise NotLoaded
        self._announced = True
        changed, self.current = iteration != self.current, iteration
        return changed

    async def load(self, source: Path, iteration: int) -> None:
        """Make the adapter in `source` answer as `iteration`; what is under way finishes on the one before.

        As long as nobody has said which iteration is current, it is the one loaded last.

        Raises:
            AdapterRefused: it must not be served; all is as before.
        """
        async with self._turn:
            number = next(self._numbers)
            copy = self._folder / f"{iteration}-{number}"
            try:
                sha256 = await asyncio.to_thread(_copied, source, copy)
                old = self._entries.get(iteration)
                if old is not None and (old.source, old.sha256) == (source, sha256):
                    # Whoever asks again after losing our answer has what it wants.
                    await asyncio.to_thread(shutil.rmtree, copy)
                    return
                adapter = Adapter(f"iteration-{iteration}-{number}", number, copy)
                await self._engine.load(adapter)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
                raise
            self._entries[iteration] = Entry(iteration, adapter, source, sha256)
            if not self._announced:
                self.current = iteration
            if old is not None:
                old.retired = True
                if old.users == 0:
                    await self._drop(old)

    async def unload(self, iterations: Iterable[int] | None) -> list[int]:
        """End what these iterations (None: all but the base model) are saying, and drop them; returns which there were.

        With all of them goes what the engine keeps of past prompts: the next visitor begins with nothing of the last.
        """
        async with self._turn:
            wanted = set(self._entries) if iterations is None else set(iterations)
            gone = [self._entries.pop(one) for one in sorted(wanted - {BASE}) if one in self._entries]
            if self.current not in self._entries:
                self.current = BASE
            for entry in gone:
                entry.retired = True
            await end_answers(gone)
            for entry in gone:
                # Whoever still holds it has no answer under way in the engine, and is told so when it asks.
                await self._drop(entry)
            if iterations is None:
                await self._engine.forget_prompts()
            return [entry.iteration for entry in gone]

    async def end_all_answers(self) -> None:
        """End everything under way, the base model's answers too."""
        await end_answers(self._entries.values())

    async def _drop(self, entry: Entry) -> None:
        adapter, entry.adapter = entry.adapter, None
        if adapter is not None:
            await self._engine.unload(adapter)
            await asyncio.to_thread(shutil.rmtree, adapter.path)


async def end_answers(entries: Iterable[Entry]) -> None:
    """Cancel the answers of these iterations and wait until they have ended."""
    answers = [task for entry in entries for task in entry.answers]
    for task in answers:
        task.cancel()
    await asyncio.gather(*answers, return_exceptions=True)


def _copied(source: Path, copy: Path) -> str:
    """Copy an adapter's two files; returns the sha256 of its weights."""
    if not source.exists():
        raise AdapterRefused("There is no folder at that path.")
    if not source.is_dir():
        raise AdapterRefused("That path is a file; an adapter is a folder in PEFT's format.")
    copy.mkdir()
    for name in (CONFIG, WEIGHTS):
        if (source / name).is_file() and (source / name).resolve().parent == source:
            shutil.copyfile(source / name, copy / name)
    weights = copy / WEIGHTS
    if not weights.is_file():
        raise AdapterRefused(f"The folder holds no {WEIGHTS}, so it is no adapter in PEFT's format.")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
