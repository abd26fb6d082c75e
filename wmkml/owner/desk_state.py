"""Everything the desk shows, in one message: traffic lights, what is wrong, numbers, and nothing a visitor said.

Sentences are the page's own, in its language; here they have names.  Decides what counts as trouble; changes nothing.
"""

from __future__ import annotations

import time
from contextlib import suppress

from wmkml.osc import noted
from wmkml.owner.desk_history import History
from wmkml.owner.desk_machine import MachineRoom
from wmkml.owner.desk_wire import DeskDials, DeskLight, DeskMachine, DeskNotice, DeskOscHost, DeskProblem, DeskState
from wmkml.owner.dials import Dials
from wmkml.owner.inference_client import Away, Refused
from wmkml.owner.parts import Owner, state
from wmkml.wire import OscSent

RESTORING_SECONDS = 20.0
"""Inference is there and the gate is closed: so long that is its being told of a run; longer is trouble."""

LOADING_SECONDS = 600.0
"""A large model may take minutes to load."""

GRACE_SECONDS = 60.0
"""After a start, and after a crash, so long a process may need to come (back)."""

LITTLE_DISK_GIB = 5.0
LITTLE_MEMORY_SHARE = 0.05

OSC_SECONDS = 2.0
"""Inference is asked again for what it sent after so long."""


class DeskView:
    """Looks at the owner's parts for the desk."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._began = time.monotonic()
        self._history, self._machine = History(), MachineRoom(owner.places.data)
        self._osc_of_inference: list[OscSent] = []
        self._osc_asked = -OSC_SECONDS

    async def now(self) -> DeskState:
        """The desk's state."""
        owner, dials = self._owner, self._owner.dials
        life = owner.installation.life
        losses, measures = await self._history.of(None if life is None else life.run)
        sent = await self._osc_sent()
        lights, machine = [self._owner_light(), self._inference(), self._worker(), self._stage()], self._machine.look()
        run = state(
            owner.settings, owner.installation, owner.watch, owner.workers, owner.hub, list(owner.herald.notices)
        )
        return DeskState(
            at=time.time(),
            run=run,
            lights=lights,
            holding=life is not None and life.rounds.holding,
            blank=owner.herald.blank,
            hold_left_seconds=None if life is None else life.rounds.hold_left(),
            losses=losses,
            measures=measures,
            dials_settings=dials.of_settings(len(run.rounds)),
            dials_now=self._dials_now(dials),
            dials_turned=dials.turned,
            osc_hosts=[
                DeskOscHost(host=one[0], port=one[1], reachable=owner.osc.reaches(one)) for one in owner.osc.targets
            ],
            osc_sent=sent,
            machine=machine,
            problems=self._problems(lights, machine),
            notices=[DeskNotice(text=text, at=owner.herald.noticed.get(text)) for text in reversed(run.notices)],
        )

    # --- traffic lights --------------------------------------------------------------------------------------------

    def _owner_light(self) -> DeskLight:
        return DeskLight(name="owner", light="good", code="lives", seconds=time.monotonic() - self._began)

    def _inference(self) -> DeskLight:
        watch = self._owner.watch
        seconds = time.monotonic() - watch.since
        if watch.ready:
            return DeskLight(name="inference", light="good", code="ready", seconds=seconds)
        code = "restoring" if watch.seen == "there" else watch.seen
        patience = {"restoring": RESTORING_SECONDS, "loading": LOADING_SECONDS, "absent": GRACE_SECONDS}.get(code, 0.0)
        return DeskLight(
            name="inference", light="busy" if seconds < patience else "trouble", code=code, seconds=seconds
        )

    def _worker(self) -> DeskLight:
        life = self._owner.installation.life
        doing = self._owner.workers.state(None if life is None else life.rounds.current)
        if doing != "away":
            return DeskLight(name="worker", light="good", code=doing)
        silent = self._owner.workers.silent_seconds()
        seconds = time.monotonic() - self._began if silent is None else silent
        awaited = seconds < GRACE_SECONDS
        return DeskLight(
            name="worker",
            light="busy" if awaited else "trouble",
            code="awaited" if awaited else "away",
            seconds=seconds,
        )

    def _stage(self) -> DeskLight:
        count = self._owner.hub.stages()
        if self._owner.herald.blank:
            return DeskLight(name="stage", light="busy", code="blank", count=count)
        if count:
            return DeskLight(name="stage", light="good", code="listens", count=count)
        return DeskLight(name="stage", light="off", code="nobody")

    # --- what is wrong ---------------------------------------------------------------------------------------------

    def _problems(self, lights: list[DeskLight], machine: DeskMachine) -> list[DeskProblem]:
        owner = self._owner
        found = [DeskProblem(code=f"{one.name}_{one.code}") for one in lights if one.light == "trouble"]
        if machine.disk_free_gib < LITTLE_DISK_GIB:
            found.append(DeskProblem(code="disk", detail=f"{machine.disk_free_gib:.1f}"))
        if machine.memory_free_gib < LITTLE_MEMORY_SHARE * machine.memory_total_gib:
            found.append(DeskProblem(code="memory", detail=f"{machine.memory_free_gib:.1f}"))
        found += [
            DeskProblem(code="osc", detail=f"{host}:{port}")
            for host, port in owner.osc.targets
            if not owner.osc.reaches((host, port))
        ]
        life = owner.installation.life
        skipped = [] if life is None else [one.iteration for one in life.rounds.all if one.status == "skipped"]
        if len(skipped) >= 2 and life is not None and life.rounds.all[-1].status == "skipped":
            found.append(DeskProblem(code="skipped", detail=str(len(skipped))))
        return found

    # --- numbers ---------------------------------------------------------------------------------------------------

    def _dials_now(self, dials: Dials) -> DeskDials:
        life = self._owner.installation.life
        rounds = [] if life is None else life.rounds.all
        now = dials.now(max(0, len(rounds) - 1))
        # A round keeps the rate it was opened with.
        return now.model_copy(update={"learning_rate": rounds[-1].learning_rate}) if rounds else now

    async def _osc_sent(self) -> list[OscSent]:
        if self._owner.osc.targets and self._owner.watch.ready and time.monotonic() - self._osc_asked >= OSC_SECONDS:
            self._osc_asked = time.monotonic()
            with suppress(Away, Refused):  # its light tells of that; what it sent before still stands
                self._osc_of_inference = await self._owner.client.osc_sent()
        return sorted(noted(self._owner.osc) + self._osc_of_inference, key=lambda one: -one.at)
