"""What the operator set at the desk for every run, kept in a file: whether the stage is blank, whether it is open, and
the overrides.

The hold is not among it: it belongs to one run, and is in that run's database.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from wmkml.protocol.desk import DeskDialRequest
from wmkml.protocol.opening import Decision
from wmkml.system import durable_files


class OpeningRecord(BaseModel):
    """What the operator decided about opening, and for how long."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    decision: Decision = "hours"
    until: float | None = None
    """When the opening hours hold again, in seconds since 1970; None: when the operator says so."""
    panic: StrictBool = False


class DeskRecord(BaseModel):
    """The file's content.  What a later version may have added is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    blank: StrictBool = False
    """Whether the stage is blank."""
    opening: OpeningRecord = OpeningRecord()
    """What was decided about opening, and whether there is panic."""
    requested: DeskDialRequest = DeskDialRequest()
    """The overrides that the next round takes."""
    in_force: DeskDialRequest = DeskDialRequest()
    """The overrides that the last round took."""


class DeskFile:
    """The record, in memory and on the disk."""

    def __init__(self, path: Path, on_problem: Callable[[str], None]) -> None:
        """Read the file; without one everything is as the settings say.

        Of a damaged one what is whole counts; where nothing is, the stage stays dark: somebody may have had a reason.

        Args:
            on_problem: called with a sentence for the operator where the file cannot be read or written.
        """
        self._path, self._on_problem = path, on_problem
        self._writing = asyncio.Lock()
        self._writes: set[asyncio.Task[None]] = set()
        self._on_disk: DeskRecord | None = None
        self.record = self._read()

    def change(
        self,
        *,
        blank: bool | None = None,
        opening: OpeningRecord | None = None,
        requested: DeskDialRequest | None = None,
        in_force: DeskDialRequest | None = None,
    ) -> asyncio.Task[None]:
        """Change what is given, at once in memory; the task ends when it is on the disk too, or `on_problem` was called."""
        given = {"blank": blank, "opening": opening, "requested": requested, "in_force": in_force}
        changed = self.record.model_copy(update={name: value for name, value in given.items() if value is not None})
        self.record = changed
        task = asyncio.create_task(self._write())
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def close(self) -> None:
        """Wait until everything is on the disk."""
        if self._writes:
            await asyncio.wait(self._writes)

    async def _write(self) -> None:
        async with self._writing:
            record = self.record
            if record == self._on_disk:
                return
            try:
                await asyncio.to_thread(durable_files.replace, self._path, record.model_dump_json(indent=1).encode())
                self._on_disk = record
            except OSError as error:
                self._on_problem(
                    f"{self._path} cannot be written ({error.strerror}): "
                    "what the desk sets now is forgotten when the owner is started again."
                )

    def _read(self) -> DeskRecord:
        try:
            fields = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return DeskRecord()
        except (ValueError, OSError):
            fields = None
        if not isinstance(fields, dict):
            self._on_problem(
                f"{self._path} is damaged: the stage is dark until the desk lights it, the opening hours hold, a panic is "
                "over, and the next rounds take the values of the settings. Set at the desk what is wanted."
            )
            return DeskRecord(blank=True)
        record, lost = _whole_fields(fields)
        if lost:
            self._on_problem(
                f"{self._path} is damaged; lost: {', '.join(_MEANINGS[name] for name in lost)}. These are as the settings "
                "say, all else is as it was. Set at the desk what is wanted."
            )
        else:
            self._on_disk = record
        return record


_MEANINGS = {
    "blank": "whether the stage is dark (it is, until the desk lights it)",
    "opening": "what was decided about opening, and whether there was panic",
    "requested": "the values set for the next round",
    "in_force": "the values of the last round",
}


def _whole_fields(fields: dict[str, Any]) -> tuple[DeskRecord, list[str]]:
    """The record of those fields that are valid, and the names of the others."""
    lost: list[str] = []
    for name in DeskRecord.model_fields.keys() & fields.keys():
        try:
            DeskRecord.model_validate({name: fields[name]})
        except ValidationError:
            lost.append(name)
    kept = {name: value for name, value in fields.items() if name not in lost}
    if "blank" in lost:
        kept["blank"] = True
    return DeskRecord.model_validate(kept), sorted(lost)
