"""The three services as real processes, on free ports and with a data folder of their own, for the system tests.

Starts the door scripts as the launcher's supervisor does, without the supervisor: a process that dies is not restarted, so that a
test sees it.  Every process has a group of its own and is ended with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.warm_processes import MODEL, OWNER, WarmPopen
from wmkml.access.keys import Keys, load_keys
from wmkml.access.pin import load_pin
from wmkml.config import UNDERSTUDY, Settings, dump, load_settings
from wmkml.config.paths import PROJECT, Paths, paths_of
from wmkml.system.ports import free_port

DOORS = {"owner": "owner.py", "inference": "inference_owner.py", "worker": "finetune_worker.py"}
PATIENCE = 180.0
"""Seconds within which every service must be healthy and every awaited condition true."""


@dataclass
class ServiceProcesses:
    """The services of one installation.  Use as a context: what was started is ended.

    `host`: where the tests reach them.  `within`: a command that runs each, as in a network namespace.
    """

    settings: Settings
    root: Path
    host: str = "127.0.0.1"
    within: tuple[str, ...] = ()
    started: dict[str, subprocess.Popen[bytes] | WarmPopen] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        return paths_of(self.settings, self.root)

    @property
    def owner(self) -> str:
        return f"http://{self.host}:{self.settings.general.owner_port}"

    @property
    def inference(self) -> str:
        return f"http://{self.host}:{self.settings.general.inference_port}"

    @property
    def keys(self) -> Keys:
        return load_keys(self.paths)

    def start(self, name: str) -> None:
        """Start one service; its output goes to its log file, as under supervision."""
        settings = self.paths.data / "settings.yaml"
        self.paths.logs.mkdir(parents=True, exist_ok=True)
        # At once: the service started before this one may be about to read it, and an empty file would be all defaults.
        written = settings.with_suffix(".new")
        written.write_text(dump(self.settings), encoding="utf-8")
        written.replace(settings)
        command = [str(PROJECT / DOORS[name]), "--config", str(settings)]
        command += ["--model", self.settings.general.model_name, "--engine", self.settings.inference.engine]
        environment = os.environ | {"VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
        with (self.paths.logs / f"{name}.log").open("ab") as log:
            if self.within or self.settings.inference.engine == "vllm":
                self.started[name] = subprocess.Popen(
                    [*self.within, sys.executable, *command],
                    stdout=log,
                    stderr=log,
                    cwd=PROJECT,
                    env=environment,
                    start_new_session=True,
                )
            else:
                modules = OWNER if name == "owner" else MODEL
                self.started[name] = WarmPopen(command, modules, output=log, env=environment, start_new_session=True)

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End one service and all its children."""
        process = self.started.pop(name)
        _signal(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        _signal(process.pid, signal.SIGKILL)
        process.wait()

    def wait_until_ready(self) -> None:
        """Wait until every started service is healthy; fails with the end of its log when one died."""
        for name, url in (("owner", self.owner), ("inference", self.inference)):
            if name in self.started:
                self.wait_for(lambda url=url: _status(f"{url}/healthz") == 200, f"{name} healthy")
        if "worker" in self.started:
            self.wait_for(lambda: self.state()["worker"] != "away", "worker ready")

    def wait_for(self, reached: Any, what: str, seconds: float = PATIENCE) -> None:
        """Wait until `reached()` is true, at most `seconds`; fails at once when a service died."""
        deadline = time.monotonic() + seconds
        while not reached():
            for name, process in self.started.items():
                assert process.poll() is None, f"{name} died:\n{self.log(name)[-3000:]}"
            assert time.monotonic() < deadline, f"not reached in {seconds} s: {what}"
            time.sleep(0.2)

    def state(self) -> dict[str, Any]:
        """`GET /state`."""
        state: dict[str, Any] = httpx.get(f"{self.owner}/state", timeout=10, verify=False).json()
        return state

    def hold(self, holding: bool = True) -> None:
        """Let no round begin from now on, and none answer: what trains for nobody computes beside all tests.  Or let go."""
        with httpx.Client(verify=False, base_url=self.owner, timeout=60) as desk:
            desk.post("/desk/login", json={"pin": load_pin(self.paths)}).raise_for_status()
            desk.post("/desk/hold", json={"holding": holding}).raise_for_status()

    def log(self, name: str) -> str:
        """The log of a service so far."""
        return (self.paths.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> ServiceProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self.started)):
            self.end(name)


def processes(root: Path, overrides: Mapping[str, Any], *, engine: str = "transformers") -> ServiceProcesses:
    """Services that are not started yet: the understudy, free ports, folders under `root`, a quick run."""
    quick = {
        "general.owner_port": free_port(),
        "general.inference_port": free_port(),
        "general.owner_host": "127.0.0.1",
        "general.data_folder": str(root / "data"),
        "general.models_folder": str(root / "models"),
        "general.datasets_folder": str(PROJECT / "Datasets"),
        "general.logging": "DEBUG",
        # Each takes a processor for five seconds when its run ends.  The owner's and the desk's tests look at reports.
        "general.keep_reports": 0,
        "inference.engine": engine,
        "finetuning.num_total_iters": 2,
        "finetuning.minimum_iteration_time": 3.0,
        "finetuning.last_iteration_time": 15.0,
        "finetuning.duration_of_a_run": 900.0,
        "finetuning.samples_by_iteration": 12,
        "finetuning.sample_increase_by_iteration": 2,
        "finetuning.live_samples_by_iteration": 8,
        "inference.num_generated_responses": 2,
        "inference.max_tokens": 24,
        # Most of what inference would compute.  The rehearsal's test has real services ask the panel.
        "inference.panel_answers": 0,
        "inference.cpu_threads": 1,
    }
    settings = load_settings(PROJECT / "config.yaml", model=UNDERSTUDY, overrides={**quick, **overrides})
    return ServiceProcesses(settings, root)


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=10, verify=False).status_code
    except httpx.TransportError:
        return 0


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
