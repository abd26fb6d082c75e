"""The iterations that can be asked: their adapters, their answers under way, and which one is current.

Every adapter is copied into a folder of the service's own and loaded from that copy.  So no path is loaded twice, the
owner may delete the adapter, and the files that were checked are the files that are served.  A copy is deleted when its
adapter is unloaded.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.adapters.files import WEIGHTS_FILE, sha256_of
from wmkml.adapters.probe import FILES_WITH_PROBE, Proof
from wmkml.engine.protocol import Adapter, Engine, EngineDiedError
from wmkml.inference.swap_proof import SwapProver
from wmkml.protocol.inference import BASE_ITERATION


class NotLoadedError(LookupError):
    """The iteration is not loaded."""


@dataclass(eq=False)
class LoadedIteration:
    """An iteration in the engine, and its answers under way.

    Attributes:
        adapter: None for the base model, and once the adapter has been unloaded.
        source: the folder the adapter was copied from.
        sha256: of the adapter's weights file.
        proof: that the engine uses the adapter; None where its trainer left no probe.
        answers: the tasks that generate its answers.
        users: requests that hold it; it is not unloaded before the last of them releases it, except by `unload`.
        retired: replaced or unloaded: no new request can acquire it.
    """

    iteration: int
    adapter: Adapter | None
    source: Path | None = None
    sha256: str = ""
    proof: Proof | None = None
    answers: set[asyncio.Task[None]] = field(default_factory=set)
    users: int = 0
    retired: bool = False


class AdapterRegistry:
    """All iterations of one engine.  `current` is the iteration that the model name `current` means."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        """`folder` is emptied; the copies of the adapters are kept there."""
        self._engine = engine
        self._prover = SwapProver(engine)
        self._folder = folder
        self._entries: dict[int, LoadedIteration] = {BASE_ITERATION: LoadedIteration(BASE_ITERATION, None)}
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()
        self._unloading: set[asyncio.Task[None]] = set()
        self._current_was_set = False
        self.current = BASE_ITERATION
        # An instance that was killed may have left adapters here, which learned from visitors' words.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    @property
    def iterations(self) -> list[int]:
        """The loaded iterations in ascending order, the base model first."""
        return sorted(self._entries)

    def acquire(self, iteration: int | None) -> LoadedIteration:
        """Hold an iteration (None: the current one) for a request; it stays loaded until `release`.

        Raises:
            NotLoadedError: the iteration is not loaded.
        """
        entry = self._entries.get(self.current if iteration is None else iteration)
        if entry is None:
            raise NotLoadedError
        entry.users += 1
        return entry

    def release(self, entry: LoadedIteration) -> None:
        """End the hold of `acquire`; a replaced iteration is unloaded with its last hold."""
        entry.users -= 1
        if entry.retired and entry.users == 0:
            task = asyncio.create_task(self._unload_entry(entry))
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)

    def set_current(self, iteration: int) -> bool:
        """Set which iteration is current; returns whether that is a change.

        Raises:
            NotLoadedError: the iteration is not loaded.
        """
        if iteration not in self._entries:
            raise NotLoadedError
        self._current_was_set = True
        changed, self.current = iteration != self.current, iteration
        return changed

    async def load(self, source: Path, iteration: int) -> Proof | None:
        """Make the adapter in `source` answer as `iteration`; answers under way finish on the adapter they began with.

        Returns what proves that the engine uses it; None where its trainer left no probe.

        Until `set_current` has been called, the iteration loaded last is the current one.

        Raises:
            AdapterRefusedError: the adapter must not be served; nothing has changed.
        """
        async with self._lock:
            number = next(self._numbers)
            copy = self._folder / f"{iteration}-{number}"
            try:
                sha256 = await asyncio.to_thread(_copy_adapter, source, copy)
                previous = self._entries.get(iteration)
                if previous is not None and (previous.source, previous.sha256) == (source, sha256):
                    # The owner repeats a request whose answer it did not get; this adapter is loaded already.
                    await asyncio.to_thread(shutil.rmtree, copy)
                    return previous.proof
                adapter = Adapter(f"iteration-{iteration}-{number}", number, copy)
                await self._engine.load(adapter)
                proof = await self._prove(adapter)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
                raise
            self._entries[iteration] = LoadedIteration(iteration, adapter, source, sha256, proof)
            if not self._current_was_set:
                self.current = iteration
            if previous is not None:
                previous.retired = True
                if previous.users == 0:
                    await self._unload_entry(previous)
            return proof

    async def _prove(self, adapter: Adapter) -> Proof | None:
        """The proof of an adapter that was just loaded; one that is not proved is unloaded again, or it would keep its place."""
        try:
            return await self._prover.prove(adapter)
        except BaseException:
            with suppress(EngineDiedError):  # a dead engine holds nothing
                await self._engine.unload(adapter)
            raise

    async def unload(self, iterations: Iterable[int] | None) -> list[int]:
        """Cancel the answers of these iterations (None: all but the base model) and unload them; returns their numbers.

        With None the engine's prompt cache is cleared too, so that nothing of a run is left for the next visitor.
        """
        async with self._lock:
            requested = set(self._entries) if iterations is None else set(iterations)
            loaded = sorted((requested - {BASE_ITERATION}) & set(self._entries))
            entries = [self._entries.pop(iteration) for iteration in loaded]
            if self.current not in self._entries:
                self.current = BASE_ITERATION
            for entry in entries:
                entry.retired = True
            await cancel_answers(entries)
            for entry in entries:
                # A request that still holds the entry has no answer under way; the engine refuses its adapter later.
                await self._unload_entry(entry)
            if iterations is None:
                await self._engine.clear_prompt_cache()
            return loaded

    async def cancel_all_answers(self) -> None:
        """Cancel every answer under way, the base model's included, and wait until they have ended."""
        await cancel_answers(self._entries.values())

    async def _unload_entry(self, entry: LoadedIteration) -> None:
        adapter, entry.adapter = entry.adapter, None
        if adapter is not None:
            await self._engine.unload(adapter)
            await asyncio.to_thread(shutil.rmtree, adapter.path)


async def cancel_answers(entries: Iterable[LoadedIteration]) -> None:
    """Cancel the answers of these iterations and wait until they have ended."""
    answers = [task for entry in entries for task in entry.answers]
    for task in answers:
        task.cancel()
    await asyncio.gather(*answers, return_exceptions=True)


def _copy_adapter(source: Path, copy: Path) -> str:
    """Copy an adapter's files; returns the sha256 of its weights.

    Raises:
        AdapterRefusedError: there is no adapter in `source`.
    """
    # `Path.exists` raises where a name is longer than a file's can be.
    if not os.path.exists(source):  # noqa: PTH110
        raise AdapterRefusedError("There is no folder at that path.")
    if not source.is_dir():
        raise AdapterRefusedError("That path is a file; an adapter is a folder in PEFT's format.")
    copy.mkdir()
    for name in FILES_WITH_PROBE:
        # A link must not bring in a file from outside the folder.
        if (source / name).is_file() and (source / name).resolve().parent == source:
            _copy_or_link(source / name, copy / name)
    weights = copy / WEIGHTS_FILE
    if not weights.is_file():
        raise AdapterRefusedError(f"The folder holds no {WEIGHTS_FILE}, so it is no adapter in PEFT's format.")
    return sha256_of(weights)


def _copy_or_link(file: Path, copy: Path) -> None:
    """Copy a file; on a full disk link it, which takes no room.  The owner replaces no adapter's files in place."""
    try:
        shutil.copyfile(file, copy)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        copy.unlink(missing_ok=True)
        os.link(file, copy)
