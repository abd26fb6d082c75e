"""The state of the operator's desk, as one message: traffic lights, problems and numbers; it holds no visitor's word.

Lights and problems carry codes; the page has the sentence for each code, in its language.  What counts as trouble is
decided here, by the thresholds below.
"""

from __future__ import annotations

import time
from contextlib import suppress

from wmkml.owner.context import OwnerContext
from wmkml.owner.desk.history import RunHistory
from wmkml.owner.desk.machine import MachineWatch
from wmkml.owner.inference.client import InferenceAwayError, InferenceRefusedError
from wmkml.protocol.desk import DeskDials, DeskLight, DeskMachine, DeskNotice, DeskOscHost, DeskProblem, DeskState
from wmkml.protocol.inference import OscSent
from wmkml.protocol.osc import last_messages

RESTORE_PATIENCE_SECONDS = 20.0
"""How long inference may answer without being ready, while adapters are restored, before that is trouble."""

LOAD_PATIENCE_SECONDS = 600.0
"""How long inference may load its model before that is trouble: a large one takes minutes."""

START_PATIENCE_SECONDS = 60.0
"""How long a process may be absent, after a start or a crash, before that is trouble."""

LOW_DISK_GIB = 5.0
"""Less free disk space than this is a problem."""

LOW_MEMORY_SHARE = 0.05
"""A smaller share of free memory than this is a problem."""

OSC_POLL_SECONDS = 2.0
"""The shortest time between two requests to inference for its last OSC messages."""


class DeskView:
    """Collects the desk's state from the owner's parts."""

    def __init__(self, owner: OwnerContext) -> None:
        self._owner = owner
        self._started_at = time.monotonic()
        self._history, self._machine = RunHistory(), MachineWatch(owner.paths.data)
        self._osc_of_inference: list[OscSent] = []
        self._osc_polled_at = -OSC_POLL_SECONDS

    async def read(self) -> DeskState:
        """The desk's state now."""
        owner, overrides = self._owner, self._owner.overrides
        losses, measures = await self._history.read(owner.installation.run)
        osc_sent = await self._osc_sent()
        scheduler = owner.scheduler()
        lights = [self._owner_light(), self._inference_light(), self._worker_light(), self._stage_light()]
        machine = self._machine.read()
        run = owner.run_state()
        return DeskState(
            at=time.time(),
            run=run,
            lights=lights,
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
            machine=machine,
            nodes=owner.watch.nodes,
            problems=self._problems(lights, machine),
            notices=[
                DeskNotice(text=text, at=owner.publisher.notice_times.get(text)) for text in reversed(run.notices)
            ],
        )

    # --- traffic lights --------------------------------------------------------------------------------------------

    def _owner_light(self) -> DeskLight:
        return DeskLight(name="owner", light="good", code="lives", seconds=time.monotonic() - self._started_at)

    def _inference_light(self) -> DeskLight:
        watch = self._owner.watch
        seconds = time.monotonic() - watch.since
        if watch.ready:
            return DeskLight(name="inference", light="good", code="ready", seconds=seconds)
        code = "restoring" if watch.last_poll == "reachable" else watch.last_poll
        patience = {
            "restoring": RESTORE_PATIENCE_SECONDS,
            "loading": LOAD_PATIENCE_SECONDS,
            "absent": START_PATIENCE_SECONDS,
        }.get(code, 0.0)
        return DeskLight(
            name="inference", light="busy" if seconds < patience else "trouble", code=code, seconds=seconds
        )

    def _worker_light(self) -> DeskLight:
        scheduler = self._owner.scheduler()
        worker_state = self._owner.workers.state(None if scheduler is None else scheduler.current)
        if worker_state != "away":
            return DeskLight(name="worker", light="good", code=worker_state)
        silent_seconds = self._owner.workers.silent_seconds()
        seconds = time.monotonic() - self._started_at if silent_seconds is None else silent_seconds
        awaited = seconds < START_PATIENCE_SECONDS
        return DeskLight(
            name="worker",
            light="busy" if awaited else "trouble",
            code="awaited" if awaited else "away",
            seconds=seconds,
        )

    def _stage_light(self) -> DeskLight:
        count = self._owner.hub.count_stage_listeners()
        if self._owner.publisher.blank:
            return DeskLight(name="stage", light="busy", code="blank", count=count)
        if count:
            return DeskLight(name="stage", light="good", code="listens", count=count)
        return DeskLight(name="stage", light="off", code="nobody")

    # --- problems --------------------------------------------------------------------------------------------------

    def _problems(self, lights: list[DeskLight], machine: DeskMachine) -> list[DeskProblem]:
        owner = self._owner
        problems = [DeskProblem(code=f"{light.name}_{light.code}") for light in lights if light.light == "trouble"]
        if machine.disk_free_gib < LOW_DISK_GIB:
            problems.append(DeskProblem(code="disk", detail=f"{machine.disk_free_gib:.1f}"))
        run = owner.installation.run
        if run is not None and run.unstored:
            problems.append(DeskProblem(code="unstored", detail=run.unstored))
        if machine.memory_free_gib < LOW_MEMORY_SHARE * machine.memory_total_gib:
            problems.append(DeskProblem(code="memory", detail=f"{machine.memory_free_gib:.1f}"))
        problems += [
            DeskProblem(code="osc", detail=f"{host}:{port}")
            for host, port in owner.osc.targets
            if not owner.osc.reaches((host, port))
        ]
        problems += [
            DeskProblem(code="node", detail=f"{node.address}: {node.reason}")
            for node in owner.watch.nodes
            if node.state == "refused"
        ]
        scheduler = owner.scheduler()
        statuses = [] if scheduler is None else [round_.status for round_ in scheduler.rounds]
        if statuses.count("skipped") >= 2 and statuses[-1] == "skipped":
            problems.append(DeskProblem(code="skipped", detail=str(statuses.count("skipped"))))
        return problems

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
