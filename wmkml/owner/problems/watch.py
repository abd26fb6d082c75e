"""Looks every second for the owner's problems, remembers since when each is there, and tells who wants to know.

What takes time, as a write to the disk, is looked at in a thread, less often.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from wmkml.access.tls import CertificateError, check_certificate
from wmkml.config.paths import Paths
from wmkml.owner.context import OwnerContext
from wmkml.owner.problems.facts import OwnerFacts, Page, PresentProblem, judge
from wmkml.owner.problems.lights import Lights
from wmkml.owner.problems.machine import MachineWatch
from wmkml.owner.problems.memory import Durations, MemoryKills, RestartCounter, SeenGpus, WallClock, planned_gpus
from wmkml.owner.rounds.round_opening import adapters_gone
from wmkml.protocol.desk import DeskLight, DeskMachine, DeskProblem
from wmkml.protocol.opening import SoundReport
from wmkml.system.clock_synchronisation import clock_synchronised
from wmkml.system.memory import memory_kills

LOOK_SECONDS = 1.0
"""How often it is looked."""

SLOW_LOOK_SECONDS = 10.0
"""How often it is looked at what takes time."""

LEAST_PATIENCE_MINUTES = 15.0
"""A new iteration may take this long at least, or three times what the settings want between two."""

SOUND_SECONDS = 180.0
"""What a kiosk tells of the sound counts for so long; it does so every half minute."""

Change = Callable[[DeskProblem, Literal["raised", "cleared"]], None]
"""Called with each problem that appears or goes."""


@dataclass(frozen=True)
class SlowFacts:
    """What a thread has found out last."""

    data_problem: str = ""
    clock_synchronised: bool | None = None
    adapters_gone: tuple[int, ...] = ()
    certificate_problem: str = ""
    certificate_end: datetime | None = None


class ProblemWatch:
    """The owner's problems now."""

    def __init__(self, owner: OwnerContext) -> None:
        self._owner = owner
        self._lights, self._machine = Lights(owner), MachineWatch(owner.paths.data)
        self._durations, self._restarts = Durations(), RestartCounter()
        self._clock, self._gpus, self._slow = WallClock(), SeenGpus(planned_gpus(os.environ)), SlowFacts()
        self._memory_kills = MemoryKills()
        self._present: dict[tuple[str, str], DeskProblem] = {}
        self._iteration: tuple[str, int] | None = None
        """The run and iteration that answered at the last look."""
        self.on_change: list[Change] = []
        """Who is told when a problem appears or goes."""
        self.alert_failure: Callable[[], str] = str
        """Why the last alert did not arrive; empty where it did."""
        self.heartbeat_failure: Callable[[], str] = str
        """The same of the last heartbeats."""
        self._sound: tuple[float, SoundReport] | None = None
        self.quota_excess_gib = 0.0
        """What runs and logs take, in GiB, where that is more than allowed and nothing more may be deleted."""
        self.lights: list[DeskLight] = []
        self.machine: DeskMachine = self._machine.read(ask_gpus=False)  # no event loop runs yet

    def hear(self, report: SoundReport) -> None:
        """A kiosk tells of the stage's sound."""
        self._sound = time.monotonic(), report

    def look(self) -> list[DeskProblem]:
        """The problems that are there now, the most urgent first."""
        before = self._present
        self._present = {
            (problem.code, problem.subject): self._dated(problem, before) for problem in judge(self._facts())
        }
        for key in before.keys() - self._present.keys():
            self._tell(before[key], "cleared")
        for key in self._present.keys() - before.keys():
            self._tell(self._present[key], "raised")
        return list(self._present.values())

    async def watch(self) -> None:
        """Look again and again; never returns."""
        slow_looked_at = float("-inf")
        while True:
            if time.monotonic() - slow_looked_at >= SLOW_LOOK_SECONDS:
                slow_looked_at = time.monotonic()
                run = self._owner.installation.run
                gone = () if run is None or run.over else tuple(adapters_gone(run))
                self._slow = await asyncio.to_thread(_look_slowly, self._owner.paths, gone)
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def _dated(self, problem: PresentProblem, before: dict[tuple[str, str], DeskProblem]) -> DeskProblem:
        known = before.get((problem.code, problem.subject))
        since = time.time() if known is None else known.since
        return DeskProblem(code=problem.code, detail=problem.detail, since=since)

    def _tell(self, problem: DeskProblem, state: Literal["raised", "cleared"]) -> None:
        for tell in self.on_change:
            tell(problem, state)

    # --- facts -----------------------------------------------------------------------------------------------------

    def _facts(self) -> OwnerFacts:
        owner, now, minutes = self._owner, time.monotonic(), self._durations.minutes
        self.lights, self.machine = self._lights.read(), self._machine.read()
        run, scheduler, opening = owner.installation.run, owner.scheduler(), owner.opening.state()
        statuses = [] if scheduler is None else [round_.status for round_ in scheduler.rounds]
        skipped = statuses.count("skipped") if statuses and statuses[-1] == "skipped" else 0
        holding = scheduler is not None and scheduler.holding
        plays_rounds = run is not None and run.phase == "running" and not holding
        iteration = None if run is None else (run.name, run.iteration)
        if iteration != self._iteration:
            self._iteration = iteration
            minutes("iteration", False, now)
        absent = [name for name in owner.settings.general.expected_pages if not self._is_connected(name)]
        return OwnerFacts(
            in_trouble=tuple(f"{light.name}_{light.code}" for light in self.lights if light.light == "trouble"),
            disk_free_gib=self.machine.disk_free_gib,
            memory_free_gib=self.machine.memory_free_gib,
            memory_total_gib=self.machine.memory_total_gib,
            unstored="" if run is None else run.unstored,
            data_problem=self._slow.data_problem,
            osc_unreachable=tuple(
                f"{host}:{port}" for host, port in owner.osc.targets if not owner.osc.reaches((host, port))
            ),
            nodes_refused=tuple((node.address, node.reason) for node in owner.watch.nodes if node.state == "refused"),
            skipped_rounds=skipped,
            memory_kills=self._memory_kills.count(memory_kills(), now),
            gpus_gone=() if self._machine.gpu_names is None else self._gpus.gone(self._machine.gpu_names),
            restarts=self._restarts.count(owner.watch.last_poll != "absent", now),
            worker_unable=owner.workers.unable_reason,
            minutes_without_iteration=minutes("iteration", plays_rounds, now) if plays_rounds else None,
            patience_minutes=max(LEAST_PATIENCE_MINUTES, 3 * owner.settings.finetuning.minimum_iteration_time / 60),
            adapters_gone=self._slow.adapters_gone,
            run_folder_gone=owner.installation.folder_gone,
            run_damaged=owner.installation.damaged,
            stage_problems=tuple(owner.publisher.stage_problems),
            held_minutes=minutes("held", holding, now),
            blank_minutes=minutes("blank", owner.publisher.blank and opening.open, now),
            panic_minutes=minutes("panic", opening.panic, now),
            has_hours=bool(owner.settings.general.opening_hours),
            is_open=opening.open,
            open_by_hours=owner.opening.open_by_hours(),
            hours_end=owner.opening.hours_end(),
            absent_pages=tuple((name, minutes(f"absent {name}", opening.open, now)) for name in absent),
            sound_problem=sound_problem(self._sound, owner.settings.general.expected_volume, now),
            clock_jump_seconds=self._clock.jump(time.time(), now),
            clock_synchronised=self._slow.clock_synchronised,
            quota_excess_gib=self.quota_excess_gib,
            certificate_problem=self._slow.certificate_problem,
            certificate_end=self._slow.certificate_end,
            now=datetime.now(UTC),
            alert_failure=self.alert_failure(),
            heartbeat_failure=self.heartbeat_failure(),
        )

    def _is_connected(self, page: Page) -> bool:
        hub = self._owner.hub
        connected = bool(hub.count_stage_listeners() if page == "stage" else hub.listening_stations())
        if connected:
            self._durations.minutes(f"absent {page}", False, time.monotonic())
        return connected


def sound_problem(heard: tuple[float, SoundReport] | None, expected_volume: float, now: float) -> str:
    """Why the stage is not as loud as it should be; empty where it is, where nobody tells, or where nothing is expected.

    Args:
        heard: the last report and its monotonic time, in seconds.  An old one says nothing: its kiosk has ended.
        expected_volume: percent; 0: none.
    """
    if heard is None or not expected_volume or now - heard[0] > SOUND_SECONDS:
        return ""
    report = heard[1]
    if report.unknown:
        return report.unknown
    if not report.device:
        return "–"
    if report.muted:
        return f"{report.device}: 0 %"
    return f"{report.device}: {report.volume:.0f} %" if report.volume < expected_volume else ""


def _look_slowly(paths: Paths, gone: tuple[int, ...]) -> SlowFacts:
    data_problem = ""
    try:
        with tempfile.TemporaryFile(dir=paths.data) as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        data_problem = error.strerror or "it cannot be written"
    certificate_problem, certificate_end = "", None
    try:
        certificate_end = check_certificate(paths)
    except CertificateError as error:
        certificate_problem = str(error)
    return SlowFacts(data_problem, clock_synchronised(), gone, certificate_problem, certificate_end)
