"""`--join`: what a node is told by the head, what it plans, and what is refused with what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.plans import MISTRAL, machine, plan_for, process_of
from wmkml.__main__ import main
from wmkml.config import UNDERSTUDY, Settings
from wmkml.config.paths import SHIPPED_MODEL, paths_of
from wmkml.config.planned import planned_engine
from wmkml.launcher.launch import CannotStartError, address_lines
from wmkml.launcher.memory.model import shape_of
from wmkml.launcher.nodes.joining import ask_head, check_model, head_address, settings_of_node
from wmkml.launcher.nodes.node_plan import make_node_plan
from wmkml.launcher.plan import Plan
from wmkml.launcher.plan_text import plan_text
from wmkml.launcher.services import services_of
from wmkml.models.fingerprint import model_fingerprint
from wmkml.protocol.inference import NodeSettings

KEY = "right"

OF_HEAD = NodeSettings(
    model_name=UNDERSTUDY,
    fingerprint=model_fingerprint(SHIPPED_MODEL),
    num_total_iters=4,
    lora_r=8,
    lora_target_modules=["q_proj"],
    max_model_len=512,
    dtype="float32",
)


@pytest.fixture
def head() -> Iterator[int]:
    """The port of a stand-in of a head's owner, which knows the key and this route alone."""

    class OwnerHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = 200 if self.headers["X-Key"] == KEY else 401
            status = status if self.path == "/node/settings" else 404
            body = OF_HEAD.model_dump_json().encode() if status == 200 else b"{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), OwnerHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def node_plan(gpus: int, gib: float = 80, **inference: Any) -> Plan:
    settings = Settings.model_validate({"inference": {"engine": "vllm", **inference}})
    paths = paths_of(settings, Path("/nowhere"))
    return make_node_plan(settings, machine(gpus, gib), paths, shape_of(MISTRAL, paths.model))


@pytest.mark.parametrize(
    ("gpus", "together", "copies"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (8, 1, 8), (8, 2, 4), (3, 2, 1)]
)
def test_on_a_node_every_gpu_serves(gpus: int, together: int, copies: int) -> None:
    plan = node_plan(gpus, tensor_parallel_size=together)
    [process] = plan.processes
    assert (process.name, process.gpus) == ("node", tuple(range(copies * together)))
    assert planned_engine(process.environment).replicas == copies
    assert bool(plan.notices) == (copies * together < gpus)
    assert plan.refusals == ()
    [service] = services_of(plan, Path("/nowhere/settings.yaml"))
    assert service.program.command[-1] == "--node"


def test_two_machines_with_eight_cards_each_answer_with_fifteen_and_train_with_one() -> None:
    of_head = plan_for(machine(8), inference={"nodes": ["10.0.0.7"]})
    of_node = node_plan(8)
    serving = process_of(of_head, "inference").gpus, process_of(of_node, "node").gpus
    assert (len(serving[0]), len(serving[1]), process_of(of_head, "worker").gpus) == (7, 8, (7,))
    assert "  node       10.0.0.7:8011, by its own plan" in plan_text(of_head)
    assert "GPUs 0, 1, 2, 3, 4, 5, 6 (data parallel × 7)" in plan_text(of_head)
    assert "GPUs 0, 1, 2, 3, 4, 5, 6, 7 (data parallel × 8)" in plan_text(of_node)


def test_a_node_that_is_too_small_is_refused_and_a_small_one_serves_in_fp8() -> None:
    assert node_plan(1, 12).settings.inference.quantization == "fp8"
    [refusal] = node_plan(1, 8).refusals
    assert refusal.startswith("GPU 0 (pretended GPU)")


def test_the_head_prints_what_a_node_is_started_with(tmp_path: Path) -> None:
    plan = plan_for(machine(0), model=UNDERSTUDY, root=tmp_path, inference={"nodes": ["10.0.0.7", "10.0.0.8:9000"]})
    lines = "\n".join(address_lines(plan))
    key = plan.paths.node_key.read_text().strip()
    assert "10.0.0.7:8011; there: ./master_script.sh --join" in lines and f"--key {key}" in lines
    assert plan.paths.node_key.stat().st_mode & 0o777 == 0o600


def test_a_node_takes_model_and_adapters_from_the_head_and_keeps_what_is_its_own(head: int) -> None:
    of_head = ask_head("127.0.0.1", head, KEY, print)
    own = Settings.model_validate(
        {
            "general": {"osc_ip": "10.0.0.9", "osc_port": 9000},
            "inference": {"nodes": ["10.0.0.7"], "max_num_seqs": 9, "quantization": "fp8"},
        }
    )
    settings = settings_of_node(own, of_head, "127.0.0.1", head, None)
    assert (settings.general.model_name, settings.max_loaded_adapters) == (UNDERSTUDY, 6)
    assert (settings.finetuning.lora_r, settings.finetuning.lora_target_modules) == (8, ["q_proj"])
    inference = settings.inference
    assert (inference.max_model_len, inference.dtype, inference.max_num_seqs) == (512, "float32", 9)
    assert (inference.quantization, inference.nodes, inference.inference_host) == ("fp8", [], "0.0.0.0")
    assert settings.osc_targets == []


def test_a_wrong_key_and_a_head_without_nodes_are_told(head: int) -> None:
    with pytest.raises(CannotStartError, match="does not take this key"):
        ask_head("127.0.0.1", head, "wrong", print)
    with pytest.raises(CannotStartError, match="the head's address, as"):
        head_address("10.0.0.4:eight")
    assert head_address("http://10.0.0.4:8001/") == ("10.0.0.4", 8001)


def test_another_model_in_that_folder_is_refused(tmp_path: Path) -> None:
    check_model(SHIPPED_MODEL, OF_HEAD)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 1}))
    with pytest.raises(CannotStartError, match="another model than the head serves"):
        check_model(tmp_path, OF_HEAD)


def test_the_plan_of_a_node_is_printed(head: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cluster", "--join", f"127.0.0.1:{head}", "--plan", "--set", f"general.data_folder={tmp_path}"]
    words += ["--set", f"general.models_folder={tmp_path}"]
    assert main(words) == 1
    assert "--join needs --key" in capsys.readouterr().err
    assert main([*words, "--key", KEY]) == 0
    printed = capsys.readouterr().out
    assert "  node       CPU" in printed and f"Node of 127.0.0.1:{head}" in printed
    assert main(words) == 0, "the key is kept"
    assert main(["cluster", "--key", KEY]) == 2
