"""Opens and closes by the clock and by the operator's hand: what is refused while it is closed, and how a run says farewell.

At closing time a run that is under way says its last words, for `farewell_seconds` at most, and ends.  In panic the stage is dark
and no visitor is answered; the run and its training go on, and are seen again when the panic is over.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from zoneinfo import ZoneInfo

from wmkml.config import General
from wmkml.owner.answers.chat import Chat
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.installation import Installation
from wmkml.owner.opening.doors import OpeningHours, decided, state_at
from wmkml.owner.run.desk_file import DeskFile
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.opening import Decision, OpeningState

LOOK_SECONDS = 0.5
"""How often it is looked whether it is time to open, to close, or to let an abandoned run go."""

IN_PANIC = "The operator has stopped the answers; nothing of what was said is lost."


class OpeningKeeper:
    """Whether visitors may talk at the moment, and what happens when that changes."""

    def __init__(
        self,
        general: General,
        installation: Installation,
        publisher: EventPublisher,
        chat: Chat,
        desk_file: DeskFile,
    ) -> None:
        self._general, self._installation, self._publisher = general, installation, publisher
        self._chat, self._desk_file = chat, desk_file
        self._hours = OpeningHours(general)
        self._farewell_ends: float | None = None
        """When a run that says farewell ends, by the monotonic clock; None: none does."""

    def state(self) -> OpeningState:
        """What holds now."""
        opening = state_at(self._hours, self._desk_file.record.opening, time.time())
        return opening.model_copy(update={"farewell": not opening.open and self._installation.run is not None})

    def open_by_hours(self) -> bool:
        """Whether it would be open by the hours alone."""
        return self._hours.is_open(time.time())

    def hours_end(self) -> bool:
        """Whether there are hours, and by them it is closed and never opens again."""
        now = time.time()
        return not self._hours.is_open(now) and self._hours.next_change(now) is None

    def farewell_left(self) -> float | None:
        """Seconds until the run that says farewell ends; None: none does."""
        return None if self._farewell_ends is None else max(0.0, self._farewell_ends - time.monotonic())

    def require_answers(self) -> None:
        """Refuse a prompt in panic, and while it is closed and no run says farewell.

        Raises:
            RequestRefusedError: 503, with the reason.
        """
        opening = self.state()
        if opening.panic:
            raise RequestRefusedError(503, IN_PANIC)
        if not opening.open and self._installation.run is None:
            raise RequestRefusedError(503, self._closed_sentence(opening))

    def require_open(self) -> None:
        """Refuse to begin a run in panic, or while it is closed.

        Raises:
            RequestRefusedError: 503, with the reason.
        """
        opening = self.state()
        if opening.panic:
            raise RequestRefusedError(503, IN_PANIC)
        if not opening.open:
            raise RequestRefusedError(503, self._closed_sentence(opening))

    async def decide(self, decision: Decision) -> None:
        """Open or close otherwise than the hours say, or as they say; on the disk when this returns."""
        record = decided(self._hours, self._desk_file.record.opening, decision, time.time())
        written = self._desk_file.change(opening=record)
        await self._look()
        self._publisher.opening_changed(self.state())
        await written

    async def set_panic(self, on: bool) -> None:
        """Begin or end the panic, at once."""
        record = self._desk_file.record.opening.model_copy(update={"panic": on})
        written = self._desk_file.change(opening=record)
        if on:
            self._chat.stop_answers()
        self._publisher.panic_changed(on)
        await written

    async def watch(self) -> None:
        """Open, close, and let abandoned runs go, at their time; never returns."""
        record = self._desk_file.record.opening
        if record.panic:
            self._publisher.panic_changed(True)
        before = None
        while True:
            opening = self.state()
            if before is None or opening.open != before.open:
                self._publisher.opening_changed(opening)
            elif opening != before:
                self._publisher.state_changed()
            before = opening
            await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        opening, lifecycle = self.state(), self._installation.lifecycle
        if lifecycle is None or opening.open:
            self._farewell_ends = None
        elif self._farewell_ends is None:
            self._farewell_ends = time.monotonic() + self._general.farewell_seconds
            lifecycle.end_rounds()
            self._publisher.state_changed()
        if self.farewell_left() == 0.0 or self._is_abandoned():
            self._farewell_ends = None
            await self._installation.end()

    def _is_abandoned(self) -> bool:
        """Whether the run may go because nobody is there any more."""
        run, general = self._installation.run, self._general
        if general.on_idle != "rebirth" or not general.idle_seconds or run is None or run.phase == "seeding":
            return False
        silent = min(run.clock.elapsed(), time.monotonic() - self._publisher.last_activity)
        return silent >= general.idle_seconds

    def _closed_sentence(self, opening: OpeningState) -> str:
        if opening.next_change is None:
            return "The installation is closed."
        zone = ZoneInfo(self._general.time_zone) if self._general.time_zone else None
        return f"The installation is closed until {datetime.fromtimestamp(opening.next_change, zone):%Y-%m-%d %H:%M}."
