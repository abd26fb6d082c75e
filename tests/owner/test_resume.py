"""Owner or inference are killed at any moment: the run goes on where it was, and no acknowledged pair is lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until

pytestmark = pytest.mark.process


def restart(cluster: OwnerCluster) -> None:
    cluster.kill_owner()
    cluster.start_owner()
    until(lambda: cluster.state()["inference"] == "ready", "inference to be seen")


def test_an_acknowledged_pair_survives_a_kill_at_that_moment(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    with httpx_sse.connect_sse(cluster.owner, "POST", "/chat", json={"prompt": "bleib"}) as source:
        for event in source.iter_sse():
            if event.event == "end":
                cluster.kill_owner()
                break
    cluster.start_owner()
    assert [pair["prompt"] for pair in cluster.pairs("visitor")] == ["bleib"]
    assert [exchange["prompt"] for exchange in cluster.shared_exchanges()] == ["bleib"]


def test_the_run_its_clock_and_its_conversations_go_on(cluster: OwnerCluster) -> None:
    cluster.begin("en")
    cluster.chat("hello", station="a", language="de")
    before = cluster.state()
    restart(cluster)
    after = cluster.state()
    assert (after["run"], after["phase"], after["language"]) == (before["run"], "running", "en")
    assert after["elapsed_seconds"] > before["elapsed_seconds"]
    cluster.chat("and now", station="a")
    request = [request for request in cluster.stand_in_state()["requests"] if request["audience"] == "visitor"][-1]
    assert [message["content"] for message in request["messages"]] == [
        cluster.settings.inference.system_prompts["de"],
        "hello",
        "Ein Haus aus Wörtern.",
        "and now",
    ]


def asked_for_echoes(cluster: OwnerCluster) -> list[str]:
    """The prompts that inference was asked to echo, in order."""
    requests = cluster.stand_in_state()["requests"]
    return [request["messages"][-1]["content"] for request in requests if request["audience"] == "echo"]


def test_echoes_that_waited_or_were_being_made_arrive(cluster: OwnerCluster) -> None:
    prompts = ["eins", "zwei", "drei", "vier"]
    cluster.begin("de")
    cluster.behave(keeps_back=["echo"])
    for prompt in prompts:
        cluster.chat(prompt)
    until(lambda: asked_for_echoes(cluster) == prompts[:2], "two to be echoed, while two wait")
    cluster.kill_owner()
    cluster.behave(keeps_back=[])
    cluster.start_owner()
    until(lambda: cluster.counts()["echo"] == 8, "the echoes of all")
    assert sorted(pair["prompt"] for pair in cluster.pairs("echo")) == sorted(prompts * 2)
    assert sorted(asked_for_echoes(cluster)[2:4]) == sorted(prompts[:2]), "the oldest are echoed again, first"
    restart(cluster)
    cluster.chat("fünf")
    until(lambda: cluster.counts()["echo"] == 10, "the echoes of the newest")
    assert asked_for_echoes(cluster).count("eins") == 2, "what was echoed is not echoed again"


def test_a_prompt_whose_echoes_are_refused_waits_no_longer(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.behave(poison="giftig")
    cluster.chat("giftig")
    until(lambda: "refuses to echo" in cluster.log.read_text(), "the prompt to be given up")
    cluster.chat("gesund")
    until(lambda: cluster.counts()["echo"] == 2, "the echoes of the other")
    asked = asked_for_echoes(cluster).count("giftig")
    restart(cluster)
    cluster.chat("auch gesund")
    until(lambda: cluster.counts()["echo"] == 4, "its echoes")
    assert asked_for_echoes(cluster).count("giftig") == asked


def test_prompts_that_wait_for_echoes_are_gone_with_their_run(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.behave(keeps_back=["echo"])
    for prompt in ["eins", "zwei", "drei"]:
        cluster.chat(prompt)
    cluster.end()
    cluster.behave(keeps_back=[])
    until(lambda: not list(cluster.paths.runs.iterdir()), "the run's folder to go")
    restart(cluster)
    cluster.begin("de")
    cluster.chat("vier")
    until(lambda: cluster.counts()["echo"] == 2, "the echoes of this run")
    assert {pair["prompt"] for pair in cluster.pairs("echo")} == {"vier"}


def test_an_open_round_is_offered_as_it_was(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    until(lambda: cluster.state()["round"], "round 0")
    cluster.chat("das kam danach")
    restart(cluster)
    job = cluster.claim()
    assert (job["iteration"], job["attempt"]) == (0, 1)
    assert "das kam danach" not in {sample["prompt"] for sample in job["samples"]}
    assert cluster.train(job)["accepted"]


def test_a_round_trained_through_a_restart_is_accepted(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    job = cluster.claim()
    assert cluster.step(job)
    restart(cluster)
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(0)
    assert cluster.claim()["previous"]["path"] == job["folder"]


def test_an_adapter_that_was_held_is_switched_in_after_a_restart(tmp_path: Path) -> None:
    with started_cluster(tmp_path, "forward clock", **{"finetuning.minimum_iteration_time": 600.0}) as cluster:
        cluster.begin("de")
        assert cluster.train(cluster.claim())["accepted"]
        assert cluster.state()["round"]["status"] == "held"
        restart(cluster)
        assert cluster.chat("wer?")[0][1]["iteration"] == -1
        cluster.advance(600.0)
        cluster.until_iteration(0)
        assert cluster.chat("wer?")[0][1]["iteration"] == 0


def test_an_adapter_that_was_being_loaded_is_loaded_again_after_a_restart(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    job = cluster.claim()
    cluster.behave(load_pause=2.0)
    sha256 = cluster.write_adapter(Path(job["folder"]))

    def hand_in() -> None:
        with pytest.raises(httpx.TransportError):
            cluster.hand_in(job, sha256)

    handing_in = threading.Thread(target=hand_in)
    handing_in.start()
    until(lambda: cluster.stand_in_state()["loaded"], "inference to load it")
    cluster.kill_owner()
    handing_in.join()
    cluster.behave(load_pause=0.0)
    cluster.start_owner()
    cluster.until_iteration(0)
    assert cluster.stand_in_state()["loaded"] == {"iteration-0": job["folder"]}
    assert cluster.chat("wer?")[0][1]["iteration"] == 0


def test_accepted_adapters_and_round_numbers_go_on(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.train(cluster.claim())
    cluster.until_iteration(0)
    restart(cluster)
    assert cluster.state()["iteration"] == 0
    assert cluster.chat("wer?")[0][1]["iteration"] == 0
    assert cluster.claim()["iteration"] == 1


def test_last_words_go_on(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    for _ in range(3):
        cluster.train(cluster.claim())
    left = cluster.until_phase("last_words")["time_left_seconds"]
    restart(cluster)
    state = cluster.state()
    assert (state["phase"], state["iteration"]) == ("last_words", 2)
    assert 0 < state["time_left_seconds"] < left


def test_who_waited_waits_on(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.end()
    restart(cluster)
    assert cluster.state()["phase"] == "waiting"
    until(lambda: not list(cluster.paths.runs.iterdir()), "the empty folder")


def test_a_run_started_while_inference_is_away_knows_nothing_of_the_last(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.train(cluster.claim())
    cluster.until_iteration(0)
    cluster.behave(ready=False)
    until(lambda: cluster.state()["inference"] == "away", "inference to be away")
    cluster.start_run("de")
    cluster.kill_owner()
    cluster.start_owner()
    cluster.behave(ready=True)
    cluster.until_phase("running")
    assert cluster.stand_in_state()["loaded"] == {}
    assert cluster.stand_in_state()["calls"][-2:] == [["unload", ["iteration-0"], True], ["current", -1]]
    assert cluster.chat("wer?")[0][1]["iteration"] == -1


def test_a_run_that_ends_without_inference_leaves_nothing(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.train(cluster.claim())
    cluster.until_iteration(0)
    (cluster.paths.serving / "0-1").mkdir(parents=True)
    (cluster.paths.serving / "0-1" / "adapter_model.safetensors").write_bytes(b"learned")
    cluster.kill_inference()
    until(lambda: cluster.state()["inference"] == "away", "inference to be away")
    cluster.end()
    until(lambda: not cluster.paths.serving.exists(), "inference's copies to go")
    until(lambda: not list(cluster.paths.runs.iterdir()), "the run's folder to go")


def test_inference_that_comes_back_gets_its_adapters_the_current_one_first(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    for number in range(2):
        cluster.train(cluster.claim())
        cluster.until_iteration(number)
    cluster.kill_inference()
    until(lambda: cluster.state()["inference"] == "away", "inference to be away")
    cluster.start_inference()
    until(lambda: cluster.state()["inference"] == "ready", "inference to be back")
    state = cluster.stand_in_state()
    assert [call[:2] for call in state["calls"]] == [["reload", 1], ["reload", 0], ["current", 1]]
    assert cluster.chat("wer?")[0][1]["iteration"] == 1


def test_a_prompt_waits_for_inference(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.kill_inference()
    answers: list[list[tuple[str, dict[str, Any]]]] = []
    thread = threading.Thread(target=lambda: answers.append(cluster.chat("hörst du mich?")))
    thread.start()
    until(lambda: cluster.state()["inference"] == "away", "inference to be away")
    cluster.start_inference()
    thread.join(60)
    assert [name for name, _ in answers[0]] == ["start", *["token"] * 8, "end"]
    assert answers[0][0][1]["restarted"] is False


def test_a_stream_that_breaks_is_asked_again(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    until(lambda: cluster.state()["round"], "round 0")
    cluster.behave(break_next=True)
    events: list[tuple[str, dict[str, Any]]] = []

    def ask() -> None:
        with httpx_sse.connect_sse(cluster.owner, "POST", "/chat", json={"prompt": "und weiter?"}) as source:
            events.extend((event.event, json.loads(event.data)) for event in source.iter_sse())

    thread = threading.Thread(target=ask)
    thread.start()
    assert cluster.inference_process is not None
    cluster.inference_process.wait(30)
    cluster.start_inference()
    thread.join(60)
    starts = [data["restarted"] for name, data in events if name == "start"]
    assert starts == [False, True]
    assert events[-1][0] == "end"
    assert cluster.counts()["visitor"] == 1


def test_an_adapter_held_while_inference_dies_is_loaded_again(tmp_path: Path) -> None:
    with started_cluster(tmp_path, "forward clock", **{"finetuning.minimum_iteration_time": 600.0}) as cluster:
        cluster.begin("de")
        assert cluster.train(cluster.claim())["accepted"]
        cluster.kill_inference()
        cluster.start_inference()
        until(lambda: cluster.stand_in_state()["calls"] == [["current", -1]], "inference to be told who answers")
        assert cluster.chat("wer?")[0][1]["iteration"] == -1
        cluster.advance(600.0)
        cluster.until_iteration(0)
        assert cluster.chat("wer?")[0][1]["iteration"] == 0


@pytest.mark.parametrize("name", ["run.json", "run.sqlite"])
def test_the_owner_starts_beside_a_run_that_a_power_cut_damaged(cluster: OwnerCluster, name: str) -> None:
    cluster.begin("de")
    cluster.chat("bleib")
    cluster.kill_owner()
    [folder] = [path.parent for path in cluster.paths.runs.glob("*/run.json")]
    (folder / name).write_bytes(b"" if name == "run.json" else b"no database at all " * 500)
    cluster.start_owner()
    assert cluster.state()["phase"] == "waiting"
    assert any(folder.name in notice for notice in cluster.state()["notices"])
    until(lambda: not folder.exists(), "the damaged run to be gone")
    cluster.begin("en")


def test_an_adapter_that_inference_dies_of_is_withdrawn(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    first = cluster.claim()
    cluster.train(first)
    cluster.until_iteration(0)
    cluster.kill_inference()
    cluster.start_inference(deadly="iteration-1")
    # Not only "ready", as before the kill: the owner has seen it gone, and has told the new one who answers.
    until(lambda: cluster.stand_in_state()["calls"][-1:] == [["current", 0]], "inference to be told who answers")
    until(lambda: cluster.state()["inference"] == "ready", "inference to be back")
    cluster.train(cluster.claim())
    under_way = cluster.claim()
    # What is asked in the background is given up after some attempts; a visitor's prompt is asked again after each crash.
    visitor = threading.Thread(target=cluster.chat, args=("Wer spricht?",))
    visitor.start()
    for _ in range(3):
        assert cluster.inference_process is not None
        cluster.inference_process.wait(60)
        cluster.start_inference(deadly="iteration-1")
    cluster.until_iteration(0)
    visitor.join(60)
    assert cluster.chat("wer?")[0][1]["iteration"] == 0
    assert any("iteration 1" in notice for notice in cluster.state()["notices"])
    assert not cluster.step(under_way)
    retry = cluster.claim()
    assert (retry["iteration"], retry["attempt"]) == (2, 2)
    assert retry["previous"]["path"] == first["folder"]
    restart(cluster)
    assert cluster.state()["iteration"] == 0


def test_a_past_iteration_that_inference_dies_of_loading_is_left_out(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    for iteration in range(2):
        cluster.train(cluster.claim())
        cluster.until_iteration(iteration)
    cluster.kill_inference()
    for _ in range(3):
        cluster.start_inference(deadly_to_load="iteration-0")
        assert cluster.inference_process is not None
        cluster.inference_process.wait(30)
    cluster.start_inference(deadly_to_load="iteration-0")
    until(lambda: cluster.state()["inference"] == "ready", "inference to be back")
    assert cluster.chat("wer?")[0][1]["iteration"] == 1
    assert any("iteration 0" in notice for notice in cluster.state()["notices"])
    assert cluster.train(cluster.claim())["accepted"]


def test_an_inference_that_is_started_anew_between_two_polls_gets_its_adapters_again(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.train(cluster.claim())
    cluster.until_iteration(0)
    assert cluster.stand_in_state()["loaded"]
    cluster.behave(process="another", loaded={})
    until(lambda: cluster.stand_in_state()["loaded"], "its adapters")
    until(lambda: cluster.state()["inference"] == "ready", "inference to be back")
    assert cluster.chat("wer?")[0][1]["iteration"] == 0


def test_an_inference_that_dies_idle_or_after_an_answer_costs_no_adapter(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.train(cluster.claim())
    cluster.until_iteration(0)
    until(lambda: cluster.counts()["persistent"] == 3, "its first answer")
    for _ in range(4):
        cluster.kill_inference()
        until(lambda: cluster.state()["inference"] == "away", "inference to be away")
        cluster.start_inference()
        until(lambda: cluster.state()["inference"] == "ready", "inference to be back")
    assert cluster.state()["iteration"] == 0
