"""A cluster while it lives: started, waited for, restarted, ended.

supervisord restarts programs; this restarts supervisord, and the programs that it gave up on.  Every wait is in small
steps and returns once the stop event is set, so that a signal ends a cluster at any time.
"""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from wmkml.launcher.services import Service
from wmkml.launcher.supervision.configuration import (
    LOG_LIMIT,
    LogLimit,
    prepare_supervisor_files,
    write_configuration,
)
from wmkml.launcher.supervision.liveness import HUNG_SECONDS, Liveness
from wmkml.launcher.supervision.log_room import make_room, rotate
from wmkml.launcher.supervision.supervisor import (
    Supervisor,
    SupervisordUnavailableError,
    cluster_mark,
    start_supervisord,
)
from wmkml.system.orphans import end_marked_processes

Report = Callable[[str], None]

POLL_SECONDS = 0.2
"""How often services are asked whether they are ready, at first."""

LONGEST_POLL_SECONDS = 0.5
"""How often at last: launcher, supervisord and owner are busy with each look, on the cores that a model is loaded with."""

POLL_SHARE = 0.05
"""The part of the time waited so far that is waited until the next look, between these two."""

LOOK_SECONDS = 0.1
"""How often it is looked whether supervisord has ended, while everything runs."""

REPORT_SECONDS = 5.0
"""How often a wait reports what it is for."""

LAST_BYTES = 4096
"""The end of a log that is searched for its last line."""

RESTART_SECONDS = 5.0
"""How long the launcher waits before it starts supervisord once more that did not start."""

FIRST_SECONDS = 3.0
"""How long the others wait for the first service when everything is started again: visitors wait for all of them."""

END_SECONDS = 45.0
"""How long supervisord may take to stop its programs: longer than their stop times together."""


class Cluster:
    """The supervised processes of one data folder.

    Args:
        data: marks every process of this cluster.
        logs: the folder of the rotated logs.
        root: the working folder of every process.
        services: the first one must be ready before the others start.
        stop_event: set when the cluster shall end.
        report: gets a line for the operator.
        log_limit: how much is kept of each program's log, and of supervisord's own.
        hung_seconds: after this long without an answer a program that answered before is replaced.
    """

    def __init__(
        self,
        data: Path,
        logs: Path,
        root: Path,
        services: Sequence[Service],
        stop_event: threading.Event,
        report: Report,
        log_limit: LogLimit = LOG_LIMIT,
        hung_seconds: float = HUNG_SECONDS,
    ) -> None:
        self._root, self._services, self._stop_event, self._report = root, list(services), stop_event, report
        self._log_limit = log_limit
        self._mark = cluster_mark(data)
        self.files = prepare_supervisor_files(data, logs)
        self._supervisor = Supervisor(self.files.socket)
        self._supervisord: subprocess.Popen[bytes] | None = None
        asked = {service.program.name: service.answers for service in services if service.answers is not None}
        self._liveness = Liveness(asked, hung_seconds)
        self._reported_failing: set[str] = set()
        self._reported_ready: set[str] = set()
        self._started_at = time.monotonic()
        self._start_after = 0.0
        """Monotonic time before which supervisord is not started again."""

    def start(self) -> bool:
        """Start everything; returns once the first service is ready, False if the stop event was set before."""
        programs = [service.program for service in self._services]
        write_configuration(self.files, programs, self._root, self._log_limit)
        return self._start_supervised()

    def _start_again(self) -> None:
        """Start everything again; where that fails, it is tried again at a later look."""
        try:
            end_marked_processes(self._mark)
            self._start_supervised(FIRST_SECONDS)
        except (OSError, RuntimeError) as error:
            self._report(f"It could not be started ({error}); it is tried again.")
            self._start_after = time.monotonic() + RESTART_SECONDS

    def _start_supervised(self, first_seconds: float = math.inf) -> bool:
        """Start supervisord and the services.  `first_seconds`: how long the others wait for the first one at most."""
        self._supervisord = start_supervisord(self.files, self._mark, self._root)
        while not self._supervisor.answers():
            if self._stop_event.wait(POLL_SECONDS):
                return False
            if self._supervisord.poll() is not None:
                raise RuntimeError(f"supervisord did not start; see {self.files.logs}/supervisord.err")
        first, *others = self._services
        self._supervisor.start(first.program.name)
        if not self._wait_for([first], first_seconds):
            return False
        for service in others:
            self._supervisor.start(service.program.name)
        return True

    def wait_until_ready(self) -> bool:
        """Wait for every service, reporting what each waits for; False if the stop event was set before."""
        return self._wait_for(self._services)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until supervisord ends; returns whether the stop event is set."""
        deadline = time.monotonic() + seconds
        while not self._stop_event.wait(max(0.0, min(LOOK_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline or (self._supervisord is not None and self._supervisord.poll() is not None):
                return False
        return True

    def _wait_for(self, services: Sequence[Service], seconds: float = math.inf) -> bool:
        """Wait until they are ready, or for so long; False if the stop event was set before."""
        began = reported_at = time.monotonic()
        deadline = began + seconds
        waiting = list(services)
        while True:
            reasons = {
                service.program.name: reason for service in waiting if (reason := service.pending_reason()) is not None
            }
            for name in [service.program.name for service in waiting if service.program.name not in reasons]:
                if name not in self._reported_ready:
                    self._reported_ready.add(name)
                    self._report(f"  {name} is ready ({time.monotonic() - self._started_at:.0f} s).")
            waiting = [service for service in waiting if service.program.name in reasons]
            if not waiting or time.monotonic() >= deadline:
                return True
            if time.monotonic() - reported_at >= REPORT_SECONDS:
                reported_at = time.monotonic()
                seconds = reported_at - self._started_at
                self._report(f"  {seconds:3.0f} s: " + "; ".join(f"{name} {text}" for name, text in reasons.items()))
            self.restart_failed()
            pause = POLL_SHARE * (time.monotonic() - began)
            if self._stop_event.wait(min(max(POLL_SECONDS, pause), LONGEST_POLL_SECONDS)):
                return False

    def restart_failed(self) -> None:
        """Look once: start the programs that supervisord gave up on, or supervisord itself if it has ended."""
        if self._supervisord is None or self._stop_event.is_set():
            return
        rotate(self.files.logs / "launcher.log", self._log_limit.file_bytes)
        if time.monotonic() < self._start_after:
            return
        if self._supervisord.poll() is not None:
            self._report(f"supervisord has ended (status {self._supervisord.returncode}); everything is started again.")
            self._started_at = time.monotonic()
            self._reported_ready.clear()
            self._start_again()
            return
        try:
            programs = self._supervisor.program_states()
            states = {state["name"]: str(state["statename"]) for state in programs}
            for name, state in states.items():
                if state == "FATAL":
                    self._supervisor.start(name)
            for name in self._liveness.look({state["name"]: int(state["pid"]) for state in programs}):
                self._report(f"  {name} hangs: it does not answer any more. It is replaced.")
                self._supervisor.kill(name)
        except SupervisordUnavailableError:
            # It is ending or was killed this moment: the next look sees that it has ended.
            return
        self._report_failing(states)
        if deleted := make_room(self.files.logs):
            self._report(f"The disk is nearly full: {', '.join(deleted)} had to go.")

    def replace(self, services: Sequence[Service]) -> None:
        """Run these services from now on; of the same programs, those that have changed are started again.

        If supervisord is gone at this moment, all of them are started with it, as after any end of it.
        """
        before = {service.program.name: service.program for service in self._services}
        changed = [service.program.name for service in services if before.get(service.program.name) != service.program]
        self._services = list(services)
        programs = [service.program for service in services]
        write_configuration(self.files, programs, self._root, self._log_limit)
        self._reported_ready -= set(changed)
        try:
            self._supervisor.replace(changed)
        except SupervisordUnavailableError as error:
            self._report(f"supervisord could not replace {', '.join(changed)}: {error}. Everything is started again.")
            if self._supervisord is not None:
                self._supervisord.kill()

    def _report_failing(self, states: dict[str, str]) -> None:
        failing = {name for name, state in states.items() if state in ("BACKOFF", "FATAL")}
        for name in sorted(failing - self._reported_failing):
            log = self.files.logs / f"{name}.log"
            last = _last_line(log)
            self._report(
                f"  {name} ended at once and is tried again and again; see {log}" + (f": {last}" if last else "")
            )
        running = {name for name, state in states.items() if state == "RUNNING"}
        self._reported_failing = (self._reported_failing | failing) - running

    def end(self) -> None:
        """End every process: supervisord stops them in order, what is left is killed.  Returns when none is left."""
        self._stop_event.set()
        self._liveness.close()
        if self._supervisord is not None:
            self._supervisord.terminate()
            try:
                self._supervisord.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._supervisord.kill()
                self._supervisord.wait()
        end_marked_processes(self._mark)
        with suppress(OSError):  # a disk that is read only now; the next start takes another's place
            self.files.socket.unlink(missing_ok=True)
            if self.files.socket.parent != self.files.folder:
                self.files.socket.parent.rmdir()


def _last_line(log: Path) -> str:
    """The last line of a log that is not empty; where a program ends by itself, it says why."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
