"""Settings that an operator overrides from the desk while runs live: temperatures, learning rate, length of an iteration.

An override takes effect with the next round, in this run and those that follow, until it is taken back; it outlives the
owner's process (`desk_file.py`).  config.yaml stays as it is.
"""

from __future__ import annotations

from wmkml.config import Settings
from wmkml.owner.run.desk_file import DeskFile
from wmkml.policy.schedules import learning_rate
from wmkml.protocol.desk import DeskDialRequest, DeskDials


class Overrides:
    """The settings' values, and the overrides that come before them."""

    def __init__(self, settings: Settings, file: DeskFile) -> None:
        """Take the overrides up as the file has them."""
        self._settings, self._file = settings, file

    @property
    def requested(self) -> DeskDialRequest:
        """What the next round takes; None: the settings' own value."""
        return self._file.record.requested

    @property
    def _in_force(self) -> DeskDialRequest:
        return self._file.record.in_force

    async def request(self, dials: DeskDialRequest) -> None:
        """Have the next round take these; they are on the disk when this returns."""
        await self._file.change(requested=dials)

    def round_opens(self) -> None:
        """A round opens: the requested overrides are in force from here on; that is on the disk a moment later."""
        self._file.change(in_force=self.requested)

    @property
    def temperature(self) -> float:
        """Sampling temperature of echoes and dataset answers, now."""
        override = self._in_force.temperature
        return self._settings.inference.temperature if override is None else override

    @property
    def visitor_temperature(self) -> float:
        """Sampling temperature of visitors' answers whose request names none, now."""
        override = self._in_force.visitor_temperature
        return self._settings.inference.visitor_temperature if override is None else override

    @property
    def minimum_iteration_time(self) -> float:
        """Seconds from a round's opening until its adapter may answer, at the earliest."""
        override = self._in_force.minimum_iteration_time
        return self._settings.finetuning.minimum_iteration_time if override is None else override

    def learning_rate(self, round_number: int) -> float:
        """The learning rate of a round that opens now."""
        override = self._in_force.learning_rate
        return learning_rate(self._settings.finetuning, round_number) if override is None else override

    def from_settings(self, round_number: int) -> DeskDials:
        """What a round would take by the settings alone."""
        inference, tuning = self._settings.inference, self._settings.finetuning
        return DeskDials(
            temperature=inference.temperature,
            visitor_temperature=inference.visitor_temperature,
            learning_rate=learning_rate(tuning, round_number),
            minimum_iteration_time=tuning.minimum_iteration_time,
        )

    def in_force(self, round_number: int) -> DeskDials:
        """What is in force now; the learning rate is that of this round."""
        return DeskDials(
            temperature=self.temperature,
            visitor_temperature=self.visitor_temperature,
            learning_rate=self.learning_rate(round_number),
            minimum_iteration_time=self.minimum_iteration_time,
        )
