"""Inference as a program: what it starts with and refuses to start with, whom it lets in from elsewhere, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
import pytest

from tests.inference.requests import ENDLESS
from tests.inference.service import DOOR, InferenceProcess, running
from tests.waiting import until
from wmkml.access.keys import rotate_key
from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.system.orphans import marked_processes, service_mark

pytestmark = pytest.mark.process


def test_from_elsewhere_a_key_is_needed(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, model, ready=False, general__trusted_hosts=["192.0.2.1"]) as service:
        for _ in range(1200):
            if (tmp_path / "data" / "keys.json").exists() and "Ready" in service.log:
                break
            threading.Event().wait(0.1)
        keys = json.loads((tmp_path / "data" / "keys.json").read_text())
        for path in ("/healthz", "/metrics", "/v1/models", "/nothing"):
            assert service.http.get(path).status_code == (200 if path == "/healthz" else 403), "the launcher asks there"
            assert service.http.get(path, headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 403
            assert service.http.get(path, headers={b"X-Key": "ü".encode()}).status_code == 403
        assert service.post("/reload", path="x", iteration=0).status_code == 403
        assert service.ask().json()["error"]["code"] == "key_needed"
        assert service.post("/language", language="de").status_code == 503  # let through; no owner is there
        assert service.http.get("/metrics", headers={"X-Key": keys["operator"]}).status_code == 200
        assert service.http.get("/metrics", params={"key": keys["operator"]}).status_code == 200
        assert service.http.get("/healthz", headers={"X-Key": keys["stage"]}).status_code == 403
        with openai.OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=keys["operator"]) as client:
            assert [model_card.id for model_card in client.models.list()] == [str(model)]
        new = rotate_key(paths_of(load_settings(), tmp_path), "operator")
        for key, status in ((keys["operator"], 403), (new, 200), (keys["worker"], 200)):
            assert service.http.get("/v1/models", headers={"X-Key": key}).status_code == status, "without a restart"
        assert keys["operator"] not in service.log and new not in service.log


def test_behind_a_proxy_no_address_is_trusted(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, model, general__behind_proxy=True) as service:  # ready by /healthz, as the launcher asks
        assert service.http.get("/v1/models").status_code == 403
        assert service.post("/unload").status_code == 403
        assert service.http.get("/v1/models", headers=service.operator).status_code == 200


def test_a_port_in_use_and_a_model_that_is_none_are_told_of(model: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with running(tmp_path / "a", model, ready=False, general__inference_port=taken.getsockname()[1]) as service:
            assert service.process.wait(60) == 2
            assert "cannot be used" in service.log
            assert "Traceback" not in service.log
    with running(tmp_path / "b", tmp_path / "nowhere", ready=False) as service:
        assert service.process.wait(60) == 2
        assert "Inference cannot start" in service.log
        assert "Traceback" not in service.log


def marked(service: InferenceProcess) -> list[psutil.Process]:
    return marked_processes(service_mark("inference", service.folder / "data"))


@pytest.mark.vllm
def test_a_killed_engine_ends_the_service_and_a_killed_service_leaves_nothing_to_the_next(
    model: Path, tmp_path: Path
) -> None:
    with running(tmp_path, model, "vllm") as service:
        children = marked(service)
        assert any(process.name().startswith("VLLM::Engine") for process in children)
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
        assert any(process.name().startswith("VLLM") for process in marked(service))
    with running(tmp_path, model, "vllm") as service:
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in children)
        body = {"max_tokens": 480, **ENDLESS, "stream": True, "n": 8}
        children = marked(service)
        with service.http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = (line for line in stream.iter_lines() if line)
            next(lines)
            for process in children:
                process.kill()
            last = json.loads(list(lines)[-1].removeprefix("data: "))
        assert last["error"]["code"] == "engine_died"
        assert service.process.wait(30) == 1
        assert marked(service) == []


def test_told_to_leave_it_leaves_with_everything(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, model) as service:
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(service.ask, max_tokens=480, n=16, **ENDLESS)
            until(
                lambda: "wmkml_answers_running 16.0" in service.http.get("/metrics").text, "the answers to be under way"
            )
            service.process.terminate()
            assert service.process.wait(30) == 0
            reply = asking.result()
        # What ends within the grace is given whole; what is broken off is to be asked again, and no fault of the request (500).
        if reply.status_code == 200:
            assert [choice["finish_reason"] for choice in reply.json()["choices"]] == ["length"] * 16
        else:
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "ending")
        assert marked(service) == []
    assert "Traceback" not in service.log


@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_told_to_leave_while_loading_it_leaves_at_once_with_its_children(
    model: Path, tmp_path: Path, engine: str
) -> None:
    with running(tmp_path, model, engine, ready=False) as service:
        while "being loaded" not in service.log:
            assert service.process.poll() is None
            threading.Event().wait(0.05)
        assert service.http.get("/healthz").status_code == 503
        assert service.ask().json()["error"]["code"] == "loading"
        service.process.terminate()
        assert service.process.wait(30) == 0
        assert marked(service) == []


def test_the_door_explains_itself() -> None:
    completed = subprocess.run(
        [sys.executable, str(DOOR), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "--engine" in completed.stdout
