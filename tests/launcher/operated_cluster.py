"""The real services under the real launcher, operated through `master_script.sh` and asked with curl, as from a shell.

Commands and questions alike can run in a network namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil

from tests.launcher.no_network import NetworkNamespace
from wmkml.access.keys import load_keys
from wmkml.access.pin import load_pin
from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.system.orphans import marked_processes
from wmkml.system.ports import free_port

ROOT = Path(__file__).parent.parent.parent

START_SECONDS = 570
"""Seconds for a start: half a minute on an idle machine, minutes on a busy one."""

STREAM_SECONDS = 400.0
"""Seconds for the next event of an answer: the engine may have to start anew in between."""

OSC_HOST = "192.0.2.7"
"""Where the cluster sends OSC: a host in a network that is reserved for examples."""

Event = tuple[str, dict[str, Any]]
"""Name and data of a server-sent event."""


class OperatedCluster:
    """An installation with a data folder and ports of its own."""

    def __init__(self, folder: Path, network: NetworkNamespace, general: str = "", inference: str = "") -> None:
        """`general`, `inference`: more settings of that section, in YAML, each with a comma before it."""
        self.folder, self.network = folder, network
        self.data, self.owner, self.inference = folder / "data", free_port(), free_port()
        # vLLM looks into the model's class in a process of its own, for twenty seconds of the processor, and keeps what it saw: for
        # all clusters, and with the engines that tests start themselves.
        seen = Path(os.environ.get("VLLM_CACHE_ROOT", Path.home() / ".cache" / "vllm")) / "modelinfos"
        seen.mkdir(parents=True, exist_ok=True)
        (self.data / "caches" / "vllm").mkdir(parents=True)
        (self.data / "caches" / "vllm" / "modelinfos").symlink_to(seen)
        self.config = folder / "config.yaml"
        # The default, every interface, where there is none that anybody could come from.
        host = "0.0.0.0" if network.prefix else "127.0.0.1"
        self.config.write_text(
            f"general: {{model_name: understudy, owner_port: {self.owner}, inference_port: {self.inference}, "
            f"owner_host: {host}, osc_ip: {OSC_HOST}, osc_port: 9, datasets_folder: {ROOT / 'Datasets'}{general}}}\n"
            "finetuning: {num_total_iters: 12, minimum_iteration_time: 5, duration_of_a_run: 3600, "
            "samples_by_iteration: 6, sample_increase_by_iteration: 0, live_samples_by_iteration: 4}\n"
            f"inference: {{num_generated_responses: 1, max_tokens: 400{inference}}}\n"
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `master_script.sh`."""
        return subprocess.run(
            [*self.network.prefix, "./master_script.sh", *words, "--config", str(self.config)],
            cwd=ROOT,
            env=os.environ | {"WMKML_GPUS": "0"},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def curl(self, port: int, path: str, body: Any = None) -> list[str]:
        """The command that asks a service, as one client with its cookies."""
        cookies = str(self.folder / "cookies.txt")
        posted = [] if body is None else ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
        options = ["--silent", "--no-buffer", "--noproxy", "*", "--cookie", cookies, "--cookie-jar", cookies]
        return [*self.network.prefix, "curl", *options, *posted, f"http://127.0.0.1:{port}{path}"]

    def ask(self, port: int, path: str, body: Any = None) -> Any:
        """What a service answers, as JSON; an answer with a status from 400 on fails the test."""
        command = self.curl(port, path, body)
        command.insert(-1, "--fail-with-body")
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{path}: curl {done.returncode}: {done.stdout[:500]}"
        return json.loads(done.stdout)

    def healthy(self, port: int) -> bool:
        """Whether a service answers that it is."""
        command = self.curl(port, "/healthz")
        command.insert(-1, "--fail")
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    def state(self) -> dict[str, Any]:
        """`GET /state` of the owner."""
        state: dict[str, Any] = self.ask(self.owner, "/state")
        return state

    def log_in_at_the_desk(self) -> None:
        """Have the desk's buttons obey from now on."""
        self.ask(self.owner, "/desk/login", {"pin": load_pin(paths_of(load_settings(self.config), self.folder))})

    def operator_sees(self, path: str) -> Any:
        """What the owner answers the operator."""
        key = load_keys(paths_of(load_settings(self.config), self.folder)).operator
        command = self.curl(self.owner, path)
        command[1:1] = ["--header", f"X-Key: {key}"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    def problem(self, code: str) -> dict[str, Any] | None:
        """The problem of this code, if it is there."""
        problems = self.operator_sees("/operator/problems")["problems"]
        return next((problem for problem in problems if problem["code"] == code), None)

    def stream(self, body: dict[str, Any]) -> AnswerStream:
        """Send a prompt to `/chat`; its answer streams."""
        return AnswerStream(self.curl(self.owner, "/chat", body))

    def processes(self) -> list[psutil.Process]:
        """Every living process of the cluster, the launcher excepted."""
        return marked_processes(cluster_mark(self.data))

    def doors(self) -> dict[str, int]:
        """The process of every door script."""
        doors = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since the list was made
                for word in process.cmdline()[:2]:
                    if word.startswith(str(ROOT)) and word.endswith(".py"):
                        doors[Path(word).name] = process.pid
        return doors

    def log(self, name: str) -> str:
        """The log of a process so far."""
        return (self.data / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")


class AnswerStream:
    """The events of one answer, read by a thread as they come."""

    def __init__(self, command: list[str]) -> None:
        self._curl = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        name = ""
        with self._curl.stdout or contextlib.nullcontext(()) as lines:
            for line in lines:
                key, _, value = line.rstrip("\n").partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    self._events.put((name, json.loads(value)))
        self._events.put(None)

    def until_first_token(self) -> list[Event]:
        """The events up to the first token, or to the stream's end where there is none."""
        events = []
        while (event := self._events.get(timeout=STREAM_SECONDS)) is not None:
            events.append(event)
            if event[0] == "token":
                break
        return events

    def until_quiet(self) -> list[Event]:
        """The events up to the first one after which none comes for four seconds: a busy machine passes them on late."""
        events = []
        with contextlib.suppress(queue.Empty):
            while (event := self._events.get(timeout=4.0)) is not None:
                events.append(event)
        return events

    def until_end(self) -> list[Event]:
        """The events up to the stream's end."""
        events = []
        while (event := self._events.get(timeout=STREAM_SECONDS)) is not None:
            events.append(event)
        return events

    def close(self) -> None:
        """Hang up."""
        self._curl.kill()
        self._curl.wait()
