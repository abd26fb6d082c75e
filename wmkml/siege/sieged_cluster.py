"""The cluster under siege: started as a subprocess, on free ports, with a data folder of its own; known from outside.

Whoever ends the launcher finds it started again, as systemd starts the installed service again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from wmkml.access.keys import Keys, load_keys
from wmkml.access.tls import owner_verification
from wmkml.config import Settings, load_settings
from wmkml.config.addresses import inference_url, owner_url
from wmkml.config.paths import PROJECT, Paths, paths_of
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.protocol.run_state import RunState
from wmkml.rehearsal.run import print_progress
from wmkml.siege.doors import session_path
from wmkml.system.orphans import end_marked_processes, marked_processes
from wmkml.system.ports import free_port

START_SECONDS = 600.0
"""How long the cluster may take to be healthy; a large model is read from the disk meanwhile."""

POLL_SECONDS = 0.1

PROGRAMS = {
    "owner.py": "owner",
    "inference_owner.py": "inference",
    "finetune_worker.py": "worker",
    "wmkml.launcher.supervision.daemon": "supervisord",
}
"""What each of the cluster's processes is called here, by a word of its command line."""

PACE: Mapping[str, Any] = {
    "finetuning.minimum_iteration_time": 2.0,
    "finetuning.learning_rate": 0.0002,  # the language must not die of it, or there is nothing to compare
    "finetuning.samples_by_iteration": 8,
    "finetuning.sample_increase_by_iteration": 0,
    "finetuning.live_samples_by_iteration": 16,
    "inference.max_tokens": 24,
}
"""Settings of small quick rounds, by dotted key, unless the command has others."""

Value = TypeVar("Value")


class CannotSiegeError(RuntimeError):
    """The cluster did not come up, or did not come back; the text says where its output is."""


def siege_settings(ports: Mapping[str, int], data: Path) -> dict[str, Any]:
    """The settings that every sieged cluster has, by dotted key: apart from all others, with a run that does not end.

    Args:
        ports: free ports as `owner`, `inference` and `osc`.
    """
    return {
        "general.data_folder": str(data),
        "general.owner_host": "127.0.0.1",
        "general.owner_port": ports["owner"],
        "general.inference_port": ports["inference"],
        "inference.inference_host": "127.0.0.1",
        "inference.nodes": [],
        "general.osc_ip": "127.0.0.1",
        "general.osc_port": ports["osc"],
        "general.osc_hosts": [],
        "general.keep_runs": False,
        "general.opening_hours": "",
        "general.on_idle": "continue",
        # A run that lasts as long as the siege.
        "finetuning.num_total_iters": 999,
        "finetuning.duration_of_a_run": 864_000.0,
    }


class SiegedCluster:
    """A cluster of its own, its processes, and its services' addresses."""

    def __init__(self, folder: Path, words: Sequence[str] = ()) -> None:
        """Args:
        folder: an empty folder, for the data and the launcher's output.
        words: command-line arguments of `wmkml cluster`; of settings in them, those of PACE count.
        """
        self.folder, self.output = folder, folder / "launcher.log"
        ports = {"owner": free_port(), "inference": free_port(), "osc": free_port(socket.SOCK_DGRAM)}
        # Tied to this process: a siege that is killed leaves no cluster behind.
        tied = [sys.executable, "-m", "wmkml.launcher.supervision.child", "0"]
        self._command = [*tied, sys.executable, "-m", "wmkml", "cluster"]
        self._command += [*_as_words(PACE), *words, *_as_words(siege_settings(ports, folder / "data"))]
        self._launcher: subprocess.Popen[bytes] | None = None
        self._desk_session = ""
        self.settings: Settings
        self.paths: Paths
        self.keys: Keys
        self.client: httpx.AsyncClient

    @property
    def owner_address(self) -> str:
        """Where the owner answers."""
        return owner_url(self.settings)

    @property
    def inference_address(self) -> str:
        """Where inference answers."""
        return inference_url(self.settings)

    def launch(self) -> None:
        """Start the launcher, again if there was one."""
        with self.output.open("ab") as output:
            self._launcher = subprocess.Popen(
                self._command,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def start(self) -> float:
        """Start the cluster and wait until all its services are ready; returns the seconds that took.

        Raises:
            CannotSiegeError: it did not come up.
        """
        began = time.monotonic()
        self.launch()
        written = self.folder / "data" / "settings.yaml"
        await self.until(lambda: _true(written.is_file()), "the launcher's settings")
        self.settings = load_settings(written)
        self.paths = paths_of(self.settings, self.folder)
        self.client = httpx.AsyncClient(
            base_url=self.owner_address,
            timeout=httpx.Timeout(120, connect=5),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            trust_env=False,
            verify=owner_verification(self.paths),
        )
        await self.until_ready()
        self.keys = load_keys(self.paths)
        return time.monotonic() - began

    async def stop(self) -> None:
        """End every process; those that do not end within a minute are killed."""
        launcher = self._launcher
        if launcher is not None and launcher.poll() is None:
            launcher.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(launcher.wait, 60)
        if launcher is not None and launcher.poll() is None:
            launcher.kill()
            launcher.wait()
        if hasattr(self, "paths"):
            await asyncio.to_thread(end_marked_processes, cluster_mark(self.paths.data))
        if hasattr(self, "client"):
            await self.client.aclose()

    # --- processes -------------------------------------------------------------------------------------------------

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The cluster's processes by what they are: `launcher`, `supervisord`, `owner`, `inference`, `worker`, `other`."""
        by_role: dict[str, list[psutil.Process]] = {}
        for process in marked_processes(cluster_mark(self.paths.data)):
            with contextlib.suppress(psutil.Error):
                by_role.setdefault(_role_of(process), []).append(process)
        if self._launcher is not None and self._launcher.poll() is None:
            with contextlib.suppress(psutil.Error):
                by_role["launcher"] = [psutil.Process(self._launcher.pid)]
        return by_role

    def kill(self, role: str, process: psutil.Process) -> None:
        """Kill a process; a launcher is started again at once, as systemd would."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        if role == "launcher" and self._launcher is not None:
            self._launcher.wait()
            self.launch()

    def launcher_ended(self) -> bool:
        """Whether the launcher has ended by itself."""
        return self._launcher is not None and self._launcher.poll() is not None

    # --- HTTP ------------------------------------------------------------------------------------------------------

    async def state(self) -> RunState | None:
        """The run's state; None while the owner does not answer."""
        try:
            response = await self.client.get("/state", timeout=10)
        except httpx.TransportError:
            return None
        return RunState.model_validate(response.json()) if response.status_code == 200 else None

    async def is_ready(self) -> bool:
        """Whether the owner answers, inference is ready, and a worker is there."""
        state = await self.state()
        return state is not None and state.inference == "ready" and state.worker != "away"

    async def until_ready(self) -> None:
        """Wait until all services are ready.

        Raises:
            CannotSiegeError: they are not in time.
        """
        await self.until(self.is_ready, "all services to be ready")

    async def until(
        self, condition: Callable[[], Awaitable[Value | None]], what: str, seconds: float = START_SECONDS
    ) -> Value:
        """Wait until the condition yields something true, and return it.

        Raises:
            CannotSiegeError: it did not in time, or the launcher ended.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := await condition():
                return value
            if self.launcher_ended():
                raise CannotSiegeError(f"The launcher ended by itself while waiting for {what}; see {self.output}.")
            await asyncio.sleep(POLL_SECONDS)
        raise CannotSiegeError(f"Waited {seconds:g} s for {what} in vain; see {self.output}.")

    async def operate(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request with the operator's key."""
        return await self.client.request(method, path, json=body, headers={"X-Key": self.keys.operator}, **more)

    async def desk_session(self) -> str:
        """A session of the desk: the last one, or a new one where that has ended; empty while the owner is away."""
        with contextlib.suppress(httpx.HTTPError, KeyError):
            door = await self.client.get("/desk/door", headers={"Cookie": f"desk={self._desk_session}"})
            if not door.json()["open"]:
                entered = await self.client.get(session_path(self.paths), follow_redirects=False)
                self._desk_session = entered.cookies["desk"]
            return self._desk_session
        return ""

    async def calm(self) -> None:
        """Undo what a message did that a key or the desk let in: keys, panic, closing, dials, and a run that has ended."""
        self.keys = load_keys(self.paths)
        with contextlib.suppress(httpx.HTTPError):
            await self.operate("POST", "/operator/panic", {"on": False})
            await self.operate("POST", "/operator/opening", {"decision": "open"})
            session = {"Cookie": f"desk={await self.desk_session()}"}
            await self.client.post("/desk/dials", json={}, headers=session)
            await self.client.post("/desk/hold", json={"holding": False}, headers=session)
            state = await self.state()
            if state is not None and state.phase != "running":
                await self.operate("POST", "/operator/start", {"language": self.settings.languages[0]})

    async def stored_pairs(self) -> list[dict[str, Any]]:
        """Every pair of the run under way, with its words."""
        response = await self.operate("GET", "/operator/pairs", params={"words": 1})
        response.raise_for_status()
        return list(response.json()["pairs"])

    async def begin_run(self) -> str:
        """Start a run, ending one under way, and wait until it is seeded; returns its name."""
        (await self.operate("POST", "/operator/start", {"language": self.settings.languages[0]})).raise_for_status()

        async def running() -> str | None:
            state = await self.state()
            return state.run if state is not None and state.phase == "running" else None

        return str(await self.until(running, "the run to be seeded"))

    async def end_run(self) -> None:
        """End the run under way, if there is one, and wait until a language is awaited."""
        (await self.operate("POST", "/operator/end")).raise_for_status()

        async def waiting() -> bool:
            state = await self.state()
            return state is not None and state.phase == "waiting"

        await self.until(waiting, "the rebirth")


def _as_words(settings: Mapping[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def _role_of(process: psutil.Process) -> str:
    words = {Path(word).name for word in process.cmdline()}
    return next((role for word, role in PROGRAMS.items() if word in words), "other")


async def _true(value: Value) -> Value:
    return value


def say(line: str) -> None:
    """Print a line of progress at once."""
    print_progress(line)
