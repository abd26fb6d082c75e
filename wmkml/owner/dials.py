"""The numbers an operator may turn while runs live: how freely it speaks, how fast it learns, how long an iteration lasts.

What is turned counts from the next round on, in this run and those that follow, until it is turned back or the owner is
started again; config.yaml stays as it is.  Knows no round: whoever opens one says so.
"""

from __future__ import annotations

from wmkml.choosing import learning_rate
from wmkml.config import Settings
from wmkml.owner.desk_wire import DeskDials


class Dials:
    """The settings' numbers, with what was turned in front of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.turned = DeskDials()
        """What the next round will take; none: the settings' own number."""
        self._in_force = DeskDials()

    def round_opens(self) -> None:
        """A round opens: what was turned counts from here on."""
        self._in_force = self.turned

    @property
    def temperature(self) -> float:
        """Of echoes and dataset answers, now."""
        turned = self._in_force.temperature
        return self._settings.inference.temperature if turned is None else turned

    @property
    def visitor_temperature(self) -> float:
        """Of visitors' answers whose request names none, now."""
        turned = self._in_force.visitor_temperature
        return self._settings.inference.visitor_temperature if turned is None else turned

    @property
    def minimum_iteration_time(self) -> float:
        """Seconds after which the round under way may be heard, at the earliest."""
        turned = self._in_force.minimum_iteration_time
        return self._settings.finetuning.minimum_iteration_time if turned is None else turned

    def learning_rate(self, round_number: int) -> float:
        """Of a round that opens now."""
        turned = self._in_force.learning_rate
        return learning_rate(self._settings.finetuning, round_number) if turned is None else turned

    def of_settings(self, round_number: int) -> DeskDials:
        """What the settings alone would have a round take."""
        inference, tuning = self._settings.inference, self._settings.finetuning
        return DeskDials(
            temperature=inference.temperature,
            visitor_temperature=inference.visitor_temperature,
            learning_rate=learning_rate(tuning, round_number),
            minimum_iteration_time=tuning.minimum_iteration_time,
        )

    def now(self, round_number: int) -> DeskDials:
        """What counts now; the learning rate is that of this round."""
        return DeskDials(
            temperature=self.temperature,
            visitor_temperature=self.visitor_temperature,
            learning_rate=self.learning_rate(round_number),
            minimum_iteration_time=self.minimum_iteration_time,
        )
