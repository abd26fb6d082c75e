"""`OwnerCluster` for the tests of the owner: a real owner process, a stand-in of inference, and the worker's HTTP requests."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import httpx_sse

from tests.waiting import PATIENCE, until
from tests.warm_processes import OWNER, WarmPopen
from wmkml.access.keys import Keys, load_keys
from wmkml.config import dump, load_settings
from wmkml.config.addresses import owner_url
from wmkml.config.paths import Paths, paths_of
from wmkml.system.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
Clock = Literal["real clock", "forward clock"]


def owner_command(config: Path, *clock: Path) -> list[str]:
    """The command that starts an owner with the settings in a file; for `clock` see `owner_process`."""
    return [sys.executable, "-m", "tests.owner.owner_process", str(config), *map(str, clock)]


class OwnerCluster:
    """Owner and inference as processes, on free ports, with a data folder of their own."""

    def __init__(self, folder: Path, clock: Clock = "real clock", /, **overrides: Any) -> None:
        """With the forward clock, a test can put the owner's clock forward with `advance`.  `overrides`: settings by dotted key."""
        self.folder = folder
        self.osc = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.osc.bind(("127.0.0.1", 0))
        self.osc.settimeout(0.2)
        quick = {
            "general.model_name": "understudy",
            "general.owner_port": free_port(),
            "general.owner_host": "127.0.0.1",
            "general.inference_port": free_port(),
            "general.osc_ip": "127.0.0.1",
            "general.osc_port": self.osc.getsockname()[1],
            "general.osc_heartbeat_seconds": 0.0,
            "general.keep_reports": 0,  # drawing one takes a processor for a second
            "finetuning.minimum_iteration_time": 0.0,
            "finetuning.num_total_iters": 3,
            "finetuning.samples_by_iteration": 8,
            "finetuning.sample_increase_by_iteration": 2,
            "finetuning.last_iteration_time": 600.0,
            "inference.num_generated_responses": 2,
            "inference.panel_answers": 0,
            "inference.panel_words": 8,
        }
        self.settings = load_settings(None, overrides=quick | overrides)
        self.config = folder / "config.yaml"
        self.config.write_text(dump(self.settings), encoding="utf-8")
        self.paths: Paths = paths_of(self.settings, folder)
        self.log = folder / "owner.log"
        self._clocks = [folder / "clock"] if clock == "forward clock" else []
        self._ahead = self._set = 0.0
        self.owner_process: subprocess.Popen[bytes] | WarmPopen | None = None
        self.inference_process: WarmPopen | None = None
        # Where its clock is put forward, the owner closes the idle connections of its clients, just when they ask again over them.
        kept = httpx.Limits(max_keepalive_connections=0 if self._clocks else None)
        self.owner = httpx.Client(verify=False, base_url=owner_url(self.settings), timeout=60, limits=kept)
        self.inference = httpx.Client(
            verify=False, base_url=f"http://127.0.0.1:{self.settings.general.inference_port}", timeout=60
        )

    # --- processes -------------------------------------------------------------------------------------------------

    def start_owner(self, wait: bool = True, command: Sequence[str] = ()) -> None:
        """Start the owner, by `owner_command` unless another command is given."""
        with self.log.open("ab") as log:
            if command:
                self.owner_process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
            else:
                self.owner_process = WarmPopen(owner_command(self.config, *self._clocks)[1:], OWNER, output=log)
        if wait:
            until(lambda: self.owner.get("/healthz").status_code == 200, f"the owner; {self.log}")

    def start_inference(self, deadly: str = "", deadly_to_load: str = "") -> None:
        command = ["-m", "tests.owner.inference_stand_in", "--base-model", "understudy"]
        command += ["--port", str(self.settings.general.inference_port)]
        command += ["--deadly", deadly, "--deadly-to-load", deadly_to_load]
        self.inference_process = WarmPopen(command, OWNER)
        until(lambda: self.inference.get("/healthz").status_code == 200, "inference")

    def start(self) -> OwnerCluster:
        self.start_inference()
        self.start_owner()
        until(lambda: self.state()["inference"] == "ready", "the owner to see inference")
        return self

    def kill_owner(self) -> None:
        assert self.owner_process is not None
        self.owner_process.send_signal(signal.SIGKILL)
        self.owner_process.wait()

    def advance(self, seconds: float) -> None:
        """Let so much time pass for the owner; for clusters with the forward clock."""
        self._ahead += seconds
        self._write_clock()

    def set_wall_clock(self, seconds: float) -> None:
        """Set the owner's wall clock so far ahead, or back, of the time that has passed; for clusters with the forward clock."""
        self._set = seconds
        self._write_clock()

    def _write_clock(self) -> None:
        assert self.owner_process is not None
        [clock] = self._clocks
        written = clock.with_suffix(".new")
        written.write_text(f"{self._ahead} {self._set}")
        written.replace(clock)
        self.owner_process.send_signal(signal.SIGUSR1)

    def kill_inference(self) -> None:
        assert self.inference_process is not None
        self.inference_process.kill()
        self.inference_process.wait()

    def stop(self) -> None:
        for process in (self.owner_process, self.inference_process):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(20)
        self.owner.close()
        self.inference.close()
        self.osc.close()

    # --- state -----------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> Keys:
        return load_keys(self.paths)

    def state(self) -> dict[str, Any]:
        reply = self.owner.get("/state")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def until_phase(self, phase: str) -> dict[str, Any]:
        return until(lambda: state if (state := self.state())["phase"] == phase else None, f"phase {phase}")

    def counts(self) -> dict[str, int]:
        return dict(self._operator("GET", "/operator/pairs").json()["counts"])

    def pairs(self, source: str | None = None) -> list[dict[str, Any]]:
        pairs = self._operator("GET", "/operator/pairs?words=1").json()["pairs"]
        return [pair for pair in pairs if source is None or pair["source"] == source]

    def stand_in_state(self) -> dict[str, Any]:
        """What the stand-in of inference was asked and holds; see `inference_stand_in`."""
        return dict(self.inference.get("/stand_in").json())

    def behave(self, **attributes: Any) -> None:
        """Set attributes of the stand-in of inference."""
        assert self.inference.post("/stand_in", json=attributes).status_code == 200

    def osc_addresses(self) -> list[str]:
        """The addresses of the OSC messages that arrived since the last call, in order."""
        addresses = []
        while True:
            try:
                addresses.append(self.osc.recv(8192).split(b"\0", 1)[0].decode())
            except TimeoutError:
                return addresses

    def _operator(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.owner.request(method, path, headers={"X-Key": self.keys.operator}, **more)

    def shared_exchanges(self) -> list[dict[str, Any]]:
        """The conversation of all callers that name no station."""
        reply = self.owner.get("/station", headers={"X-Key": self.keys.stage})
        assert reply.status_code == 200, reply.text
        return list(reply.json()["exchanges"])

    def end(self) -> httpx.Response:
        return self._operator("POST", "/operator/end")

    # --- visiting --------------------------------------------------------------------------------------------------

    def start_run(self, language: str = "de") -> None:
        """Start a run, which may still be seeded when this returns, or be seeded already."""
        reply = self.owner.post("/language", json={"language": language})
        assert reply.status_code == 200, reply.text

    def begin(self, language: str = "de") -> None:
        """Start a run and wait until it is seeded."""
        self.start_run(language)
        self.until_phase("running")

    def chat(self, prompt: str, **more: Any) -> list[tuple[str, dict[str, Any]]]:
        """Ask, and return name and data of every event of the answer."""
        with httpx_sse.connect_sse(self.owner, "POST", "/chat", json={"prompt": prompt, **more}) as source:
            source.response.read() if source.response.status_code != 200 else None
            assert source.response.status_code == 200, source.response.text
            return [(event.event, json.loads(event.data)) for event in source.iter_sse()]

    def events(
        self, last_event_id: str | None = None, seconds: float = PATIENCE
    ) -> Iterator[httpx_sse.ServerSentEvent]:
        """The events as the stage receives them, resumed after the given id."""
        headers = {"X-Key": self.keys.stage} | ({} if last_event_id is None else {"Last-Event-ID": last_event_id})
        with httpx_sse.connect_sse(self.owner, "GET", "/events", headers=headers, timeout=seconds) as source:
            yield from source.iter_sse()

    # --- the worker ------------------------------------------------------------------------------------------------

    def work(self, path: str, body: Any, method: str = "POST", **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.owner.request(
            method, f"/worker/{path}", content=content, headers={"X-Key": self.keys.worker} | headers
        )

    def claim(self, session: str = "s1", worker: str = "w", shares_folder: bool = True, **more: Any) -> dict[str, Any]:
        """Claim rounds until the owner offers one; returns its job."""
        claim = {"worker": worker, "session": session, "shares_folder": shares_folder} | more

        def once() -> dict[str, Any] | None:
            reply = self.work("claim", claim)
            assert reply.status_code in (200, 204), reply.text
            return dict(reply.json()) if reply.status_code == 200 else None

        return until(once, "a round")

    def step(self, job: dict[str, Any], step: int = 1, steps: int = 2, **more: Any) -> bool:
        body = {"step": step, "steps": steps, "loss": 2.0 / max(1, step), "learning_rate": 0.1, "tokens": 10} | more
        reply = self.work(f"rounds/{job['run']}/{job['iteration']}/{job['attempt']}/step", body)
        assert reply.status_code == 200, reply.text
        return bool(reply.json()["proceed"])

    def write_adapter(self, folder: Path) -> str:
        """Write what looks like an adapter; returns the sha256 of its weights."""
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
        weights = os.urandom(64)
        (folder / "adapter_model.safetensors").write_bytes(weights)
        return hashlib.sha256(weights).hexdigest()

    def hand_in(
        self,
        job: dict[str, Any],
        sha256: str,
        path: str | None = None,
        measures: dict[str, Any] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Hand in an adapter; where it is accepted, `measures` of the model follow, as a worker sends them."""
        body = {
            "path": path or job["folder"],
            "sha256": sha256,
            "tokens": 100,
            "train_seconds": 1.5,
            "seconds_since_last_step": 0.25,
            "loss_first": 2.0,
            "loss_last": 1.0,
        } | more
        attempt = f"rounds/{job['run']}/{job['iteration']}/{job['attempt']}"
        reply = self.work(f"{attempt}/hand_in", body)
        if measures is not None and reply.status_code == 200 and reply.json()["accepted"]:
            assert self.work(f"{attempt}/measures", measures).status_code == 200
        return reply

    def train(self, job: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Train a claimed round without a fault and hand it in, with more fields if given; returns the owner's reply."""
        assert self.step(job, 1)
        assert self.step(job, 2)
        reply = self.hand_in(job, self.write_adapter(Path(job["folder"])), **more)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def until_iteration(self, iteration: int) -> None:
        until(lambda: self.state()["iteration"] == iteration, f"iteration {iteration}")


def two_whole_rounds(samples: int) -> dict[str, Any]:
    """Settings of a run with two rounds of so many samples, whose leases outlast a test: none is offered again for silence."""
    return {
        "finetuning.num_total_iters": 2,
        "finetuning.samples_by_iteration": samples,
        "finetuning.sample_increase_by_iteration": 0,
        "finetuning.lease_seconds": 600.0,
    }


@contextmanager
def started_cluster(folder: Path, clock: Clock = "real clock", /, **overrides: Any) -> Iterator[OwnerCluster]:
    """A cluster with owner and inference running; both are stopped at the end."""
    cluster = OwnerCluster(folder, clock, **overrides)
    try:
        yield cluster.start()
    finally:
        cluster.stop()
