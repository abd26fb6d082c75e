"""A head and a node on two machines, which are network namespaces: joined by the launcher, killed, cut off, and admitted again.

The head's owner, inference and worker, and the node's launcher and engine, are the real programs, with the understudy.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.project.network_namespaces import TwoMachines
from tests.project.processes import ServiceProcesses, processes
from tests.waiting import until
from wmkml.access.node_key import load_node_key
from wmkml.config.paths import PROJECT

pytestmark = [pytest.mark.process, pytest.mark.long]

NODE_PORT = 8011


@dataclass
class Visitors:
    """Visitors who ask all the time, each the next thing when the last is answered; `answers` is what they were told."""

    url: str
    count: int = 6

    def __post_init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.count)]

    def _ask(self) -> None:
        while not self._over.is_set():
            reply = httpx.post(f"{self.url}/generate_gui", json={"prompt": "What is a language?"}, timeout=120)
            self.answers.append((reply.status_code, reply.json()))

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        """Wait until each of them has been answered twice more."""
        enough = len(self.answers) + 2 * self.count
        until(lambda: len(self.answers) >= enough, "more answers")


@contextlib.contextmanager
def joined(machines: TwoMachines, head: ServiceProcesses, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher of the node, in a process group of its own."""
    address = f"{machines.address('there', 1)}:{head.settings.general.owner_port}"
    command = [*machines.within(machines.node), sys.executable, "-m", "wmkml.launcher", "--join", address]
    command += ["--key", load_node_key(head.paths), "--engine", "transformers"]
    for setting in (f"general.data_folder={folder}", f"general.inference_port={NODE_PORT}", "inference.cpu_threads=1"):
        command += ["--set", setting]
    folder.mkdir(parents=True)
    with (folder / "launcher.log").open("wb") as log:
        launcher = subprocess.Popen(command, stdout=log, stderr=log, cwd=PROJECT, start_new_session=True)
    try:
        yield launcher
    finally:
        launcher.terminate()
        try:
            launcher.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)


def service_of(folder: Path) -> psutil.Process:
    """The node's engine service."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "--node" in words and str(folder / "settings.yaml") in words:
            return process
    raise AssertionError("the node's service does not run")


def asked_within(machines: TwoMachines, url: str) -> dict[str, Any]:
    """What a program on the node's machine is answered there."""
    program = f"import httpx; print(httpx.get({url!r}).text)"
    done = subprocess.run(
        [*machines.within(machines.node), sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_a_node_on_another_machine_answers_is_killed_and_cut_off_and_no_answer_is_lost(tmp_path: Path) -> None:
    with TwoMachines() as machines:
        node_folder = tmp_path / "node"
        settings = {
            "general.owner_host": "0.0.0.0",
            "inference.inference_host": "0.0.0.0",
            "general.trusted_hosts": ["127.0.0.1", "::1", machines.address("here", 1)],
            "inference.nodes": [machines.address("there", 2)],
            # One round, and then last words for as long as the test lasts.
            "finetuning.num_total_iters": 1,
            "finetuning.last_iteration_time": 900.0,
        }
        head = processes(tmp_path / "head", settings)
        head.host, head.within = machines.address("here", 2), machines.within(machines.head)

        def node() -> dict[str, Any]:
            [state] = httpx.get(f"{head.inference}/healthz", timeout=10, verify=False).json()["nodes"]
            return dict(state)

        with head:
            for name in ("owner", "inference", "worker"):
                head.start(name)
            head.wait_until_ready()
            assert node()["state"] == "away"
            assert httpx.post(f"{head.owner}/language", json={"language": "en"}).status_code == 200
            head.wait_for(lambda: head.state()["phase"] == "last_words", "the round to be over")
            with joined(machines, head, node_folder):
                head.wait_for(lambda: head.state()["nodes"] == ["answers"], "the node to answer")
                there = asked_within(machines, f"http://127.0.0.1:{NODE_PORT}/healthz")
                assert there["adapters"] == 1, "it came over HTTP, for no folder is shared"
                with Visitors(head.owner) as visitors:
                    until(lambda: node()["answers"] >= 2, "the node to answer visitors")
                    service_of(node_folder).kill()
                    until(lambda: node()["state"] != "answers", "the head to leave the node")
                    visitors.wait_for_more()
                    head.wait_for(lambda: node()["state"] == "answers", "the node to be started and admitted again")
                    until(lambda: node()["answers"] >= 2, "the node to answer visitors again")
                    machines.cut(True)
                    until(lambda: node()["state"] == "away", "the head to leave a silent node")
                    visitors.wait_for_more()
                    machines.cut(False)
                    head.wait_for(lambda: node()["state"] == "answers", "the node to be admitted again")
                    until(lambda: node()["answers"] >= 2, "the node to answer visitors again")
            assert len(visitors.answers) > 20
            assert {status for status, _ in visitors.answers} == {200}
            assert {answer["iteration"] for _, answer in visitors.answers} == {0}
            assert all(answer["text"].strip() for _, answer in visitors.answers)
            log = head.log("inference")
            assert log.count("the engine uses this adapter") == 4, "once here, and each time the node joined"
            assert "Traceback" not in log
