"""The real services under the real launcher, as an operator starts and ends them: `start`, `status`, `stop`, and a kill."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.test_cluster import until
from wmkml.cluster.ports import free_port
from wmkml.cluster.supervision import MARKER_VARIABLE
from wmkml.cluster.sweep import end_marked, marked

ROOT = Path(__file__).parent.parent

START_SECONDS = 570
"""Half a minute on a quiet machine; a crowded one takes minutes."""


class Operated:
    """An installation with a data folder and ports of its own, spoken to by `master_script.sh` alone."""

    def __init__(self, folder: Path) -> None:
        self.data, self.owner, self.inference = folder / "data", free_port(), free_port()
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"general: {{model_name: understudy, owner_port: {self.owner}, inference_port: {self.inference}, "
            f"owner_host: 127.0.0.1, datasets_folder: {ROOT / 'Datasets'}}}\n"
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./master_script.sh", *words, "--config", str(self.config)],
            cwd=ROOT,
            env=os.environ | {"WMKML_GPUS": "0"},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def healthy(self, port: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def processes(self) -> list[psutil.Process]:
        return marked(MARKER_VARIABLE, str(self.data))

    def doors(self) -> dict[str, int]:
        """The process of every door script."""
        found = {}
        for process in self.processes():
            for word in process.cmdline()[:2]:
                if word.startswith(str(ROOT)) and word.endswith(".py"):
                    found[Path(word).name] = process.pid
        return found


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    cluster = Operated(tmp_path_factory.mktemp("operated"))
    try:
        done = cluster.call("start")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"http://localhost:{cluster.owner}/" in done.stdout
        yield cluster
    finally:
        cluster.call("stop")
        end_marked(MARKER_VARIABLE, str(cluster.data))


@pytest.mark.vllm
@pytest.mark.timeout(START_SECONDS + 60)
def test_start_returns_when_everything_is_healthy(operated: Operated) -> None:
    assert operated.healthy(operated.owner)
    assert operated.healthy(operated.inference)
    assert set(operated.doors()) == {"owner.py", "inference_owner.py", "finetune_worker.py"}
    state = httpx.get(f"http://127.0.0.1:{operated.owner}/state", timeout=5).json()
    assert (state["phase"], state["worker"], state["model"]) == ("waiting", "ready", "understudy")


@pytest.mark.vllm
def test_status_has_a_line_for_each_process(operated: Operated) -> None:
    done = operated.call("status")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for name in ("owner", "inference", "worker"):
        assert any(line.split()[:2] == [name, "running"] and "up" in line for line in lines)
    assert str(operated.owner) in done.stdout
    assert str(operated.inference) in done.stdout
    assert "a language is awaited" in done.stdout


@pytest.mark.vllm
def test_a_second_start_is_refused(operated: Operated) -> None:
    before = operated.doors()
    done = operated.call("start")
    assert done.returncode == 1
    assert "A cluster already runs" in done.stderr
    assert operated.doors() == before


@pytest.mark.vllm
@pytest.mark.timeout(START_SECONDS)
def test_a_killed_engine_comes_back_and_leaves_nothing(operated: Operated) -> None:
    before = operated.doors()
    children = psutil.Process(before["inference_owner.py"]).children(recursive=True)
    assert children, "vLLM has children"
    os.kill(before["inference_owner.py"], signal.SIGKILL)
    until(lambda: None if operated.healthy(operated.inference) else True, "the engine's end")
    until(lambda: operated.healthy(operated.inference) or None, "the engine's return", 400)
    after = operated.doors()
    assert after["inference_owner.py"] != before["inference_owner.py"]
    assert after["owner.py"] == before["owner.py"]
    assert after["finetune_worker.py"] == before["finetune_worker.py"]
    assert not [child for child in children if child.is_running()]


@pytest.mark.vllm
def test_stop_ends_everything(operated: Operated) -> None:
    assert operated.processes()
    done = operated.call("stop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert operated.processes() == []
    assert operated.call("status").returncode == 3
    assert "No cluster runs" in operated.call("stop").stdout
