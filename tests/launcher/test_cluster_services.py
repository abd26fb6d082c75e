"""The real services under the real launcher, without a network: `start`, `status`, `stop`, a run, and an engine killed in it.

The cluster runs in a network namespace with its loopback alone, or, where that is not permitted, beside everything else.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.launcher.launched_standins import until
from tests.launcher.no_network import loopback_alone
from tests.launcher.operated_cluster import OSC_HOST, START_SECONDS, AnswerStream, Event, OperatedCluster
from wmkml.launcher.cluster_record import is_locked
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.protocol.conversation import ChatEnd, ChatStart
from wmkml.system.orphans import end_marked_processes

pytestmark = [pytest.mark.process, pytest.mark.vllm]

SERVICES = {"owner.py": "owner", "inference_owner.py": "inference", "finetune_worker.py": "worker"}

FAILURES = (
    "Traceback",
    "Network is unreachable",
    "name resolution",
    "not known",
    "Connection refused",
    "huggingface.co",
)
"""What a process writes that failed on a network; the OSC host's own line is looked for by itself."""

ENDLESS = {"temperature": 2.0, "top_p": 1.0}
"""Sampling with which most answers are long."""


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedCluster]:
    with loopback_alone() as network:
        # The panel is asked for each iteration: one answer to each of its prompts in place of eight, which kept a core busy.
        cluster = OperatedCluster(tmp_path_factory.mktemp("operated"), network, inference=", panel_answers: 1")
        logs = cluster.data / "logs"
        logs.mkdir(parents=True)
        (logs / "launcher.log").write_text("of yesterday\n")
        try:
            done = cluster.call("start")
            assert done.returncode == 0, done.stdout + done.stderr
            assert f"http://localhost:{cluster.owner}/" in done.stdout
            yield cluster
        finally:
            if is_locked(cluster.data):  # else the last test has ended everything, and a command takes two seconds
                cluster.call("stop")
            end_marked_processes(cluster_mark(cluster.data))


@pytest.mark.timeout(START_SECONDS + 60)
def test_start_returns_when_everything_is_healthy(operated: OperatedCluster) -> None:
    assert operated.healthy(operated.owner)
    assert operated.healthy(operated.inference)
    assert operated.doors().keys() == SERVICES.keys()
    state = operated.state()
    assert (state["phase"], state["worker"], state["model"]) == ("waiting", "ready", "understudy")
    assert "Everything is healthy" in operated.log("launcher")
    assert "of yesterday" not in operated.log("launcher")


def test_status_has_a_line_for_each_process(operated: OperatedCluster) -> None:
    done = operated.call("status")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for name in SERVICES.values():
        assert any(line.split()[:2] == [name, "running"] and "up" in line for line in lines)
    assert str(operated.owner) in done.stdout
    assert str(operated.inference) in done.stdout
    assert "a language is awaited" in done.stdout


def test_a_second_start_is_refused(operated: OperatedCluster) -> None:
    before = operated.doors()
    done = operated.call("start")
    assert done.returncode == 1
    assert "A cluster already runs" in done.stderr
    assert operated.doors() == before


@pytest.mark.timeout(START_SECONDS)
def test_without_a_network_a_run_is_lived_and_nothing_fails(operated: OperatedCluster) -> None:
    if operated.network.refusal:
        pytest.skip(operated.network.refusal)
    for door, pid in operated.doors().items():
        interfaces = [line.split(":")[0].strip() for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]]
        assert interfaces == ["lo"], door
        assert Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:] == []
    begin_run(operated)
    for iteration in (-1, 0):
        until(functools.partial(answers_already, operated, iteration), f"iteration {iteration}", 300)
        events = operated.stream({"prompt": "Was ist ein Hund?", "station": "a"}).until_end()
        whole_answer(events)
    for service in SERVICES.values():
        log = operated.log(service)
        assert [
            line for line in log.splitlines() if any(word in line for word in FAILURES) and OSC_HOST not in line
        ] == []
    assert operated.log("owner").count(f"OSC host {OSC_HOST}:9 cannot be reached (Network is unreachable)") == 1


@pytest.mark.timeout(2 * START_SECONDS)
def test_an_engine_killed_in_mid_answer_comes_back_with_the_runs_adapters_and_answers_whole(
    operated: OperatedCluster,
) -> None:
    """vLLM's own processes, which is the harder case: the service sees it and ends.  A killed service: tests/siege, and
    tests/inference/test_process.py, where nothing of it is left."""
    begin_run(operated)
    until(lambda: operated.state()["iteration"] >= 0 or None, "an accepted adapter", 300)
    # While the desk holds, the iteration that answers stays the same.
    operated.log_in_at_the_desk()
    operated.ask(operated.owner, "/desk/hold", {"holding": True})
    iteration, before = operated.state()["iteration"], operated.doors()
    service = psutil.Process(before["inference_owner.py"])
    engine = service.children(recursive=True)
    assert engine, "vLLM has children"

    stream, events = held_up_answer(operated, engine)
    for process in engine:
        process.kill()
    events += stream.until_end()

    starts = [ChatStart.model_validate(data) for name, data in events if name == "start"]
    assert starts == [ChatStart(iteration=iteration), ChatStart(iteration=iteration, restarted=True)]
    assert whole_answer(events).iteration == iteration
    assert operated.healthy(operated.inference)
    after = operated.doors()
    assert after.pop("inference_owner.py") != before.pop("inference_owner.py")
    assert after == before
    assert not [child for child in engine if child.is_running()]

    def missing() -> set[str]:
        loaded = {model["id"] for model in operated.ask(operated.inference, "/v1/models")["data"]}
        return {f"iteration-{accepted}" for accepted in accepted_iterations(operated)} - loaded

    until(lambda: not missing() or None, "all of the run's adapters", 120)
    operated.ask(operated.owner, "/desk/hold", {"holding": False})
    until(lambda: operated.state()["iteration"] > iteration or None, "the next round's adapter", 300)
    events = operated.stream({"prompt": "Und nun?", "station": "b"}).until_end()
    assert whole_answer(events).iteration > iteration
    operated.ask(operated.owner, "/desk/hold", {"holding": True})  # no more rounds while `stop` imports what it needs


def test_stop_ends_everything(operated: OperatedCluster) -> None:
    assert operated.processes()
    done = operated.call("stop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert operated.processes() == []
    assert operated.call("status").returncode == 3
    assert "No cluster runs" in operated.call("stop").stdout


def begin_run(cluster: OperatedCluster) -> None:
    """Choose a language, unless a run is alive."""
    if cluster.state()["phase"] == "waiting":
        assert cluster.ask(cluster.owner, "/language", {"language": "de"}) == {"status": "success"}


def held_up_answer(cluster: OperatedCluster, victims: list[psutil.Process]) -> tuple[AnswerStream, list[Event]]:
    """An answer that has begun and gets no further, since these processes are stopped; and its events so far."""
    for _ in range(30):
        stream = cluster.stream({"prompt": "Was ist eine Sprache?", "station": "b", **ENDLESS})
        events = stream.until_first_token()
        for process in victims:
            process.suspend()
        events += stream.until_quiet()
        if events[-1][0] == "token":
            return stream, events
        # It was a short answer, and had ended before.
        for process in victims:
            process.resume()
    raise AssertionError("no answer could be held up in the middle")


def answers_already(cluster: OperatedCluster, iteration: int) -> bool | None:
    """True once this iteration or a later one answers."""
    return cluster.state()["iteration"] >= iteration or None


def accepted_iterations(cluster: OperatedCluster) -> list[int]:
    """The iterations whose adapters were accepted in this run."""
    rounds: list[dict[str, Any]] = cluster.state()["rounds"]
    return [round_["iteration"] for round_ in rounds if round_["status"] == "accepted"]


def whole_answer(events: list[Event]) -> ChatEnd:
    """The end of an answer, whose tokens since its last start are the text that is kept."""
    names = [name for name, _ in events]
    assert names[-1] == "end", events[-1]
    last_start = len(names) - 1 - names[::-1].index("start")
    end = ChatEnd.model_validate(events[-1][1])
    text = "".join(data["text"] for name, data in events[last_start:] if name == "token")
    assert end.text
    assert text[: end.kept] == end.text
    return end
