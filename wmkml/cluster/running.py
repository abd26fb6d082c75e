"""A cluster while it lives: started, waited for, tended, ended.

The launcher's side of supervision: `supervision.py` restarts programs, this restarts supervision itself.  Everything it
waits for, it waits for in small steps, so that a signal ends it at any time.  Knows services as programs with a question.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wmkml.cluster.services import Service
from wmkml.cluster.supervision import (
    MARKER_VARIABLE,
    Supervisor,
    SupervisorAway,
    start_supervisor,
    supervision_in,
    write_configuration,
)
from wmkml.cluster.sweep import end_marked

Say = Callable[[str], None]

STEP_SECONDS = 0.1
TELL_SECONDS = 5.0
END_SECONDS = 45.0
"""Longer than the programs together may take to end; after that they are killed."""


class Cluster:
    """The supervised processes of one data folder.

    Args:
        data: marks every process of this cluster.
        logs: where every process has its rotated log.
        root: the working folder of every process.
        services: the first one is ready before the others start.
        stop: set when the cluster shall end; every wait returns then.
        say: told what is going on, a line at a time.
    """

    def __init__(
        self, data: Path, logs: Path, root: Path, services: Sequence[Service], stop: threading.Event, say: Say
    ) -> None:
        self._data, self._root, self._services, self._stop, self._say = data, root, list(services), stop, say
        self.place = supervision_in(data, logs)
        self._supervisor = Supervisor(self.place.socket)
        self._process: subprocess.Popen[bytes] | None = None
        self._seen_failing: set[str] = set()
        self._told_ready: set[str] = set()
        self._began = time.monotonic()

    def start(self) -> bool:
        """Start everything; returns once the first service is ready, False when told to stop before."""
        write_configuration(self.place, [service.program for service in self._services], self._root)
        return self._start_supervised()

    def _start_supervised(self) -> bool:
        self._process = start_supervisor(self.place, str(self._data), self._root)
        while not self._supervisor.answers():
            if self._stop.wait(STEP_SECONDS):
                return False
            if self._process.poll() is not None:
                raise RuntimeError(f"supervisord did not start; see {self.place.logs}/supervisord.err")
        first, *others = self._services
        self._supervisor.start(first.program.name)
        if not self._wait([first]):
            return False
        for service in others:
            self._supervisor.start(service.program.name)
        return True

    def wait_until_ready(self) -> bool:
        """Wait for every service, telling what for; False when told to stop before."""
        return self._wait(self._services)

    def _wait(self, services: Sequence[Service]) -> bool:
        told = time.monotonic()
        waiting = list(services)
        while True:
            missing = {service.program.name: text for service in waiting if (text := service.ready()) is not None}
            for name in [service.program.name for service in waiting if service.program.name not in missing]:
                if name not in self._told_ready:
                    self._told_ready.add(name)
                    self._say(f"  {name} is ready ({time.monotonic() - self._began:.0f} s).")
            waiting = [service for service in waiting if service.program.name in missing]
            if not waiting:
                return True
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                self._say(
                    f"  {told - self._began:3.0f} s: " + "; ".join(f"{name} {text}" for name, text in missing.items())
                )
            self.tend()
            if self._stop.wait(STEP_SECONDS):
                return False

    def tend(self) -> None:
        """Look after supervision once: start what it gave up on, and itself if it was killed."""
        if self._process is None or self._stop.is_set():
            return
        if self._process.poll() is not None:
            self._say(f"supervisord has ended (status {self._process.returncode}); everything is started again.")
            end_marked(MARKER_VARIABLE, str(self._data))
            self._began = time.monotonic()
            self._told_ready.clear()
            self._start_supervised()
            return
        try:
            states = self._supervisor.states()
            for one in states:
                if one["statename"] == "FATAL":
                    self._supervisor.start(one["name"])
        except SupervisorAway:
            # It is ending or was killed this moment: the next look sees it gone.
            return
        self._tell_failing({one["name"]: str(one["statename"]) for one in states})

    def _tell_failing(self, states: dict[str, str]) -> None:
        failing = {name for name, state in states.items() if state in ("BACKOFF", "FATAL")}
        for name in sorted(failing - self._seen_failing):
            self._say(f"  {name} ended at once and is tried again and again; see {self.place.logs / (name + '.log')}")
        steady = {name for name, state in states.items() if state == "RUNNING"}
        self._seen_failing = (self._seen_failing | failing) - steady

    def end(self) -> None:
        """End every process, in order where they let us; returns when none is left."""
        self._stop.set()
        if self._process is not None:
            _signal(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        end_marked(MARKER_VARIABLE, str(self._data))
        self.place.socket.unlink(missing_ok=True)
        if self.place.socket.parent != self.place.folder:
            self.place.socket.parent.rmdir()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # It was quicker.
        return
