"""Whether the installation is open: by its hours, or by what the operator has decided instead.

Pure: every method gets the time, in seconds since 1970, and returns what holds then.  The wall clock is meant, with its jumps:
opening hours are times of day.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from wmkml.config import General
from wmkml.config.opening_hours import OpeningTable, opening_table
from wmkml.owner.run.desk_file import OpeningRecord
from wmkml.protocol.opening import Decision, OpeningState


class OpeningHours:
    """The times of day at which it is open; without any it always is."""

    def __init__(self, general: General) -> None:
        self._zone = ZoneInfo(general.time_zone) if general.time_zone else None
        self._table: OpeningTable | None = None
        self._asked_at, self._change = float("inf"), float("-inf")
        """From when on the change was looked for, and when it is; infinite: never."""
        if general.opening_hours:
            self._table = opening_table(general.opening_hours, general.public_holidays, general.time_zone)

    def is_open(self, at: float) -> bool:
        """Whether it is open at this time."""
        return self._table is None or self._table.is_open(datetime.fromtimestamp(at, self._zone))

    def next_change(self, at: float) -> float | None:
        """When it next opens or closes after this time; None: never."""
        if self._table is None:
            return None
        # Kept, because the library takes seconds to find out that hours never change.
        if not self._asked_at <= at < self._change:
            change = self._table.next_change(datetime.fromtimestamp(at, self._zone))
            self._asked_at, self._change = at, float("inf") if change is None else change.timestamp()
        return None if self._change == float("inf") else self._change

    def next_opening(self, at: float) -> float | None:
        """When it next opens after this time; None: never, or it is always open."""
        change = self.next_change(at)
        while change is not None and not self.is_open(change):
            change = self.next_change(change)
        return change


def state_at(hours: OpeningHours, record: OpeningRecord, now: float) -> OpeningState:
    """What holds now.  `record`: what the operator decided, which lasts until it says."""
    if record.decision == "hours" or (record.until is not None and now >= record.until):
        return OpeningState(open=hours.is_open(now), next_change=hours.next_change(now), panic=record.panic)
    is_open = record.decision == "open"
    return OpeningState(open=is_open, next_change=record.until, decision=record.decision, panic=record.panic)


def decided(hours: OpeningHours, record: OpeningRecord, decision: Decision, now: float) -> OpeningRecord:
    """The record after the operator's decision, which holds until the hours next change.

    Closed, it stays so over the next closing time: until it would open anew, or until the operator opens it.
    """
    until = None
    if decision == "open":
        until = hours.next_change(now)
    elif decision == "closed":
        until = hours.next_opening(now)
    return record.model_copy(update={"decision": decision, "until": until})
