"""Starting a real inference service for tests: its own process, free ports, a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from pythonosc.osc_message import OscMessage

from tests.engine.random_model import RANK
from tests.warm_processes import MODEL, VLLM, WarmPopen, start_within
from wmkml.system.ports import free_port

DOOR = Path(__file__).parent.parent.parent / "inference_owner.py"


@dataclass
class InferenceProcess:
    """A service that runs: its process, its address, its folder, and a socket that receives its OSC messages."""

    process: subprocess.Popen[bytes] | WarmPopen
    folder: Path
    port: int
    owner_port: int
    osc: socket.socket
    host: str = "127.0.0.1"
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(verify=False, base_url=f"http://{self.host}:{self.port}", timeout=60, trust_env=False)

    @property
    def runs(self) -> Path:
        return self.folder / "data" / "runs"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def post(self, path: str, /, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body)

    @property
    def operator(self) -> dict[str, str]:
        """The header with the key that the owner sends."""
        return {"X-Key": json.loads((self.folder / "data" / "keys.json").read_text())["operator"]}

    def load(self, path: Path, iteration: int) -> httpx.Response:
        """Have an adapter loaded, as the owner does."""
        return self.http.post("/reload", json={"path": str(path), "iteration": iteration}, headers=self.operator)

    def ask(self, content: str = "Hallo", **more: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0, **more}
        return self.http.post("/v1/chat/completions", json=body)

    def osc_messages(self, quiet: float = 0.5) -> list[tuple[str, list[Any]]]:
        """Address and values of every OSC message received, until none arrives for `quiet` seconds."""
        self.osc.settimeout(quiet)
        messages = []
        with contextlib.suppress(TimeoutError):
            while True:
                message = OscMessage(self.osc.recv(65536))
                messages.append((message.address, list(message.params)))
        return messages

    def wait_until_ready(self, seconds: float = 280) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(httpx.TransportError):
                if self.http.get("/healthz").status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"not ready:\n{self.log}")


@contextlib.contextmanager
def running(
    folder: Path,
    model: Path,
    engine: str = "transformers",
    *,
    ready: bool = True,
    arguments: Sequence[str] = (),
    within: Sequence[str] = (),
    host: str = "127.0.0.1",
    **settings: Any,
) -> Iterator[InferenceProcess]:
    """A service in a process group of its own, ended on leaving; `settings` by dotted key with __ for the dot.

    Args:
        arguments: more of them for the door.
        within: a command that runs the door, as in a network namespace, where the tests reach it as `host`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    osc = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    osc.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    osc.bind(("127.0.0.1", 0))
    port, owner_port = free_port(), free_port()
    config: dict[str, dict[str, Any]] = {
        "general": {
            "inference_port": port,
            "owner_port": owner_port,
            "osc_ip": "127.0.0.1",
            "osc_port": osc.getsockname()[1],
        },
        "finetuning": {"lora_r": RANK, "num_total_iters": 4},
        "inference": {"dtype": "float32", "frequency_penalty": 0.0, "max_num_seqs": 16},
    }
    for key, value in settings.items():
        section, _, name = key.partition("__")
        config[section][name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [
        str(DOOR),
        "--config",
        str(folder / "config.yaml"),
        "--model",
        str(model),
        "--engine",
        engine,
        *arguments,
    ]
    with (folder / "log").open("ab") as log:
        modules = VLLM if engine == "vllm" else MODEL
        process = start_within(within, command, modules, output=log, start_new_session=True)
    service = InferenceProcess(process, folder, config["general"]["inference_port"], owner_port, osc, host)
    try:
        if ready:
            service.wait_until_ready()
        yield service
    finally:
        service.http.close()
        osc.close()
        process.terminate()
        try:
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
