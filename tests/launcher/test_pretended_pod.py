"""The whole launcher on a pod that is pretended: from the start to an answered prompt, a swapped round, and the end.

With three cards the engine is vLLM, with a core for each of its cards, on the CPU.  Else it is the transformers engine in
vLLM's place: seven cores would take minutes to start on two cores of a CPU, and of two cards one serves, as with one; two and
eight cards are long.  Everything else is the same; `tests/launcher/pretended_pod.py` says what is real.

The single card, on which one process waits for another, is in a house that trusts one other machine alone, and whose shell
names a proxy: its programs ask each other all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.launcher.launched_standins import until
from tests.launcher.operated_cluster import START_SECONDS
from tests.launcher.pretended_pod import PretendedPod, started_pod
from wmkml.launcher.cluster_record import read_record
from wmkml.system.gpus import visible_gpus

pytestmark = [
    pytest.mark.process,
    pytest.mark.vllm,
    pytest.mark.timeout(START_SECONDS + 60),
    pytest.mark.skipif(bool(visible_gpus()), reason="this machine has GPUs, which would compute in place of the CPU"),
]

VISIBLE = {1: ("0", "0"), 2: ("0", "1"), 3: ("0,1", "2"), 8: ("0,1,2,3,4,5,6", "7")}
"""By the number of cards: those that inference and the worker see."""

NO_SUCH_PROXY = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
"""Nobody listens there."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((3, False), id="3 cards"),
        pytest.param((1, True), id="1 card, another engine"),
        pytest.param((2, True), id="2 cards, another engine", marks=pytest.mark.long),
        pytest.param((8, True), id="8 cards, another engine", marks=pytest.mark.long),
    ],
)
def pod(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretendedPod]:
    cards, transformers_for_vllm = request.param
    with started_pod(
        tmp_path_factory.mktemp("pod"),
        cards,
        transformers_for_vllm=transformers_for_vllm,
        general=", trusted_hosts: [192.168.1.20]" if cards == 1 else "",
        variables=NO_SUCH_PROXY if cards == 1 else {},
    ) as pod:
        yield pod


def seen_ready(state: dict[str, Any]) -> bool:
    return (state["inference"], state["worker"]) == ("ready", "ready")


def test_everything_is_healthy_with_vllm_built_for_cuda(pod: PretendedPod) -> None:
    # The owner looks by itself, and on a busy machine a look may find a service away that has just been healthy.
    state = until(lambda: state if seen_ready(state := pod.state()) else None, "the owner to see both ready")
    assert state["model"] == "understudy"
    assert pod.healthy(pod.inference)
    plan = pod.plan()
    assert len(plan.machine.gpus) == pod.cards
    assert plan.settings.inference.engine == "vllm"
    assert not plan.machine.gpus_pretended  # WMKML_GPUS, with which nobody insists on a GPU


def test_every_process_has_exactly_the_environment_of_the_plan(pod: PretendedPod) -> None:
    planned = {process.door: pod.inherited() | process.environment for process in pod.plan().processes}
    assert pod.environments() == planned
    owner, inference, worker = (planned[door] for door in ("owner.py", "inference_owner.py", "finetune_worker.py"))
    assert owner["CUDA_VISIBLE_DEVICES"] == ""
    assert (inference["CUDA_VISIBLE_DEVICES"], worker["CUDA_VISIBLE_DEVICES"]) == VISIBLE[pod.cards]
    assert inference["WMKML_DATA_PARALLEL"] == str(max(1, pod.cards - 1))
    assert worker["WMKML_WORKER_GPUS"] == str(pod.cards - 1)
    shared = {"WMKML_KV_CACHE_BYTES", "WMKML_WORKER_GPU_SHARE"}
    assert shared & {*inference, *worker} == (shared if pod.cards == 1 else set())


def test_the_worker_takes_its_card_and_on_a_shared_one_its_share(pod: PretendedPod) -> None:
    lines = ("The engine is ready; the model is loaded now", "of the GPU's memory, which the engine shares")
    assert [line in pod.log("worker") for line in lines] == [pod.cards == 1] * 2
    if pod.cards == 1:
        loaded = time_of(pod.log("worker"), "Loaded ")
        assert time_of(pod.log("worker"), "Waiting for the engine") < loaded
        assert time_of(pod.log("inference"), "Ready: ") <= time_of(pod.log("worker"), "The engine is ready") < loaded


def time_of(log: str, text: str) -> str:
    """When a line with this text was written, as the log has it: comparable, and the same clock for all services."""
    [line, *_] = [line for line in log.splitlines() if text in line]
    return line[:23]


def test_the_engine_has_a_core_for_each_of_its_cards(pod: PretendedPod) -> None:
    # The engine that really answers, which is not always the planned one.
    assert pod.state()["engine"] == ("transformers" if pod.transformers_for_vllm else "vllm")
    assert pod.vllm_cores() == (0 if pod.transformers_for_vllm else max(1, pod.cards - 1))


def test_a_prompt_is_answered_and_a_round_swapped_in(pod: PretendedPod) -> None:
    assert pod.ask(pod.owner, "/language", {"language": "de"}) == {"status": "success"}
    answer = ask_a_visitors_question(pod)
    assert answer["text"]
    assert answer["iteration"] == -1

    until(lambda: pod.state()["iteration"] >= 0 or None, "an iteration that was trained", 300)
    first = pod.state()["rounds"][0]
    assert (first["iteration"], first["status"]) == (0, "accepted")
    assert first["proof"]["verdict"] in ("proved", "unproved")
    answer = ask_a_visitors_question(pod)
    assert answer["text"]
    assert answer["iteration"] >= 0
    assert [line for name in ("owner", "inference", "worker") for line in errors(pod.log(name))] == []


def test_stop_ends_everything(pod: PretendedPod) -> None:
    assert pod.processes()
    done = pod.call("stop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert pod.processes() == []
    assert read_record(pod.data) is None
    assert "Traceback" not in pod.log("owner")


def ask_a_visitors_question(pod: PretendedPod) -> dict[str, Any]:
    """Post a prompt at the original's door; returns the reply."""
    reply: dict[str, Any] = pod.ask(pod.owner, "/generate_gui", {"prompt": "Was ist ein Hund?"})
    return reply


def errors(log: str) -> list[str]:
    """The lines of a log that tell of a failure."""
    return [line for line in log.splitlines() if "Traceback" in line or " ERROR " in line]
