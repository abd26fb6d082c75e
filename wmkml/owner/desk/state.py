"""The state of the operator's desk, as one message: traffic lights, problems and numbers; it holds no visitor's word.

Lights and problems carry codes; the page has the sentence for each code, in its language.
"""

from __future__ import annotations

import time
from contextlib import suppress

from wmkml.owner.context import OwnerContext
from wmkml.owner.desk.history import RunHistory
from wmkml.owner.inference.client import InferenceAwayError, InferenceRefusedError
from wmkml.owner.problems.watch import ProblemWatch
from wmkml.protocol.desk import DeskDials, DeskOscHost, DeskState
from wmkml.protocol.inference import OscSent
from wmkml.protocol.osc import last_messages

OSC_POLL_SECONDS = 2.0
"""The shortest time between two requests to inference for its last OSC messages."""


class DeskView:
    """Collects the desk's state from the owner's parts."""

    def __init__(self, owner: OwnerContext, problems: ProblemWatch) -> None:
        self._owner, self._problems = owner, problems
        self._history = RunHistory()
        self._osc_of_inference: list[OscSent] = []
        self._osc_polled_at = -OSC_POLL_SECONDS

    async def read(self) -> DeskState:
        """The desk's state now."""
        owner, overrides = self._owner, self._owner.overrides
        losses, measures = await self._history.read(owner.installation.run)
        osc_sent = await self._osc_sent()
        scheduler = owner.scheduler()
        problems = self._problems.look()
        run = owner.run_state()
        return DeskState(
            at=time.time(),
            run=run,
            lights=self._problems.lights,
            holding=scheduler is not None and scheduler.holding,
            blank=owner.publisher.blank,
            hold_left_seconds=None if scheduler is None else scheduler.hold_left(),
            losses=losses,
            measures=measures,
            dials_settings=overrides.from_settings(len(run.rounds)),
            dials_now=self._numbers_in_force(),
            dials_turned=overrides.requested,
            osc_hosts=[
                DeskOscHost(host=host, port=port, reachable=owner.osc.reaches((host, port)))
                for host, port in owner.osc.targets
            ],
            osc_sent=osc_sent,
            machine=self._problems.machine,
            nodes=owner.watch.nodes,
            problems=problems,
            notices=owner.publisher.dated_notices(),
        )

    # --- numbers ---------------------------------------------------------------------------------------------------

    def _numbers_in_force(self) -> DeskDials:
        scheduler = self._owner.scheduler()
        opened = [] if scheduler is None else scheduler.rounds
        numbers = self._owner.overrides.in_force(max(0, len(opened) - 1))
        # A round keeps the learning rate it was opened with.
        return numbers.model_copy(update={"learning_rate": opened[-1].learning_rate}) if opened else numbers

    async def _osc_sent(self) -> list[OscSent]:
        """The last OSC message to each address, from the owner and from inference, newest first."""
        due = time.monotonic() - self._osc_polled_at >= OSC_POLL_SECONDS
        if self._owner.osc.targets and self._owner.watch.ready and due:
            self._osc_polled_at = time.monotonic()
            # On failure the last known messages stay; inference's own light shows the trouble.
            with suppress(InferenceAwayError, InferenceRefusedError):
                self._osc_of_inference = await self._owner.client.osc_sent()
        return sorted(last_messages(self._owner.osc) + self._osc_of_inference, key=lambda sent: -sent.at)
