"""The bookkeeping of an engine's adapters: which are loaded, and which names, ids and paths have been used.

vLLM keys its prefix cache by them, so each name, id and path is used only once in an engine's life.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.engine.protocol import Adapter


class LoadedAdapters:
    """The loaded adapters, at most `capacity`, and every name, id and path that was ever used."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._loaded: dict[int, Adapter] = {}
        self._used: set[str | int | Path] = set()

    def __len__(self) -> int:
        return len(self._loaded)

    def __iter__(self) -> Iterator[Adapter]:
        return iter(self._loaded.values())

    def __contains__(self, adapter: Adapter) -> bool:
        return self._loaded.get(adapter.id) == adapter

    def check_free(self, adapter: Adapter) -> None:
        """Return if this adapter can be added; else raise.

        Raises:
            AdapterRefusedError: its name, id or path was used before, or no place is left.
        """
        if self._used.intersection((adapter.name, adapter.id, adapter.path)):
            raise AdapterRefusedError("An adapter of this name, id or path was loaded before; each is used only once.")
        if len(self._loaded) >= self._capacity:
            raise AdapterRefusedError(f"All {self._capacity} places for adapters are taken; unload some first.")

    def add(self, adapter: Adapter) -> None:
        """Record an adapter as loaded; called before the engine loads it, so that no other takes its place."""
        self._used |= {adapter.name, adapter.id, adapter.path}
        self._loaded[adapter.id] = adapter

    def remove(self, adapter: Adapter) -> None:
        """Record an adapter as unloaded.

        Raises:
            AdapterRefusedError: it is not loaded.
        """
        self.check_loaded(adapter)
        del self._loaded[adapter.id]

    def check_loaded(self, adapter: Adapter | None) -> None:
        """Return if this adapter (None: the base model) can be used in a generation; else raise.

        Raises:
            AdapterRefusedError: it is not loaded.
        """
        if adapter is not None and adapter not in self:
            raise AdapterRefusedError("This adapter is not loaded.")
