"""Owner or inference are killed at any moment: the run goes on where it was, and nobody's words are lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.owner_house import House, until


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    try:
        yield house.start()
    finally:
        house.stop()


def restart(house: House) -> None:
    house.kill_owner()
    house.start_owner()
    until(lambda: house.state()["inference"] == "ready", "inference to be seen")


def test_an_acknowledged_pair_survives_a_kill_at_that_moment(house: House) -> None:
    house.begin("de")
    with httpx_sse.connect_sse(house.owner, "POST", "/chat", json={"prompt": "bleib"}) as source:
        for event in source.iter_sse():
            if event.event == "end":
                house.kill_owner()
                break
    house.start_owner()
    assert [pair["prompt"] for pair in house.pairs("visitor")] == ["bleib"]
    assert [one["prompt"] for one in house.shared()] == ["bleib"]


def test_the_run_its_clock_and_its_conversations_go_on(house: House) -> None:
    house.begin("en")
    house.chat("hello", station="a", language="de")
    before = house.state()
    restart(house)
    after = house.state()
    assert (after["run"], after["phase"], after["language"]) == (before["run"], "running", "en")
    assert after["elapsed_seconds"] > before["elapsed_seconds"]
    house.chat("and now", station="a")
    asked = [one for one in house.known()["asked"] if one["audience"] == "visitor"][-1]
    assert [message["content"] for message in asked["messages"]] == [
        house.settings.inference.system_prompts["de"],
        "hello",
        "Ein Haus aus Wörtern.",
        "and now",
    ]


def test_an_open_round_is_offered_as_it_was(house: House) -> None:
    house.begin("de")
    until(lambda: house.state()["round"], "round 0")
    house.chat("das kam danach")
    restart(house)
    job = house.claim()
    assert (job["iteration"], job["attempt"]) == (0, 1)
    assert "das kam danach" not in {sample["prompt"] for sample in job["samples"]}
    assert house.train(job)["accepted"]


def test_a_round_trained_through_a_restart_is_accepted(house: House) -> None:
    house.begin("de")
    job = house.claim()
    assert house.step(job)
    restart(house)
    assert house.train(job)["accepted"]
    house.until_iteration(0)
    assert house.claim()["previous"]["path"] == job["folder"]


def test_an_adapter_that_was_held_is_switched_in_after_a_restart(tmp_path: Path) -> None:
    house = House(tmp_path, **{"finetuning.minimum_iteration_time": 3.0})
    try:
        house.start()
        house.begin("de")
        assert house.train(house.claim())["accepted"]
        assert house.state()["round"]["status"] == "held"
        restart(house)
        house.until_iteration(0)
        assert house.chat("wer?")[0][1]["iteration"] == 0
    finally:
        house.stop()


def test_an_adapter_that_was_being_loaded_is_loaded_again_after_a_restart(house: House) -> None:
    house.begin("de")
    job = house.claim()
    house.behave(load_pause=2.0)
    sha256 = house.write_adapter(Path(job["folder"]))

    def hand_in() -> None:
        with pytest.raises(httpx.TransportError):
            house.hand_in(job, sha256)

    handing_in = threading.Thread(target=hand_in)
    handing_in.start()
    until(lambda: house.known()["loaded"], "inference to load it")
    house.kill_owner()
    handing_in.join()
    house.behave(load_pause=0.0)
    house.start_owner()
    house.until_iteration(0)
    assert house.known()["loaded"] == {"iteration-0": job["folder"]}
    assert house.chat("wer?")[0][1]["iteration"] == 0


def test_accepted_adapters_and_round_numbers_go_on(house: House) -> None:
    house.begin("de")
    house.train(house.claim())
    house.until_iteration(0)
    restart(house)
    assert house.state()["iteration"] == 0
    assert house.chat("wer?")[0][1]["iteration"] == 0
    assert house.claim()["iteration"] == 1


def test_last_words_go_on(house: House) -> None:
    house.begin("de")
    for _ in range(3):
        house.train(house.claim())
    left = house.until_phase("last_words")["time_left_seconds"]
    restart(house)
    state = house.state()
    assert (state["phase"], state["iteration"]) == ("last_words", 2)
    assert 0 < state["time_left_seconds"] < left


def test_who_waited_waits_on(house: House) -> None:
    house.begin("de")
    house.end()
    restart(house)
    assert house.state()["phase"] == "waiting"
    until(lambda: not list(house.places.runs.iterdir()), "the empty folder")


def test_a_run_started_while_inference_is_away_knows_nothing_of_the_last(house: House) -> None:
    house.begin("de")
    house.train(house.claim())
    house.until_iteration(0)
    house.behave(ready=False)
    until(lambda: house.state()["inference"] == "away", "inference to be away")
    house.begin("de", phase="seeding")
    house.kill_owner()
    house.start_owner()
    house.behave(ready=True)
    house.until_phase("running")
    assert house.known()["loaded"] == {}
    assert house.known()["calls"][-2:] == [["unload", ["iteration-0"], True], ["current", -1]]
    assert house.chat("wer?")[0][1]["iteration"] == -1


def test_a_run_that_ends_without_inference_leaves_nothing(house: House) -> None:
    house.begin("de")
    house.train(house.claim())
    house.until_iteration(0)
    (house.places.serving / "0-1").mkdir(parents=True)
    (house.places.serving / "0-1" / "adapter_model.safetensors").write_bytes(b"learned")
    house.kill_inference()
    until(lambda: house.state()["inference"] == "away", "inference to be away")
    house.end()
    until(lambda: not house.places.serving.exists(), "inference's copies to go")
    until(lambda: not list(house.places.runs.iterdir()), "the run's folder to go")


def test_inference_that_comes_back_gets_its_adapters_the_current_one_first(house: House) -> None:
    house.begin("de")
    for number in range(2):
        house.train(house.claim())
        house.until_iteration(number)
    house.kill_inference()
    until(lambda: house.state()["inference"] == "away", "inference to be away")
    house.start_inference()
    until(lambda: house.state()["inference"] == "ready", "inference to be back")
    known = house.known()
    assert [call[:2] for call in known["calls"]] == [["reload", 1], ["reload", 0], ["current", 1]]
    assert house.chat("wer?")[0][1]["iteration"] == 1


def test_a_prompt_waits_for_inference(house: House) -> None:
    house.begin("de")
    house.kill_inference()
    answers: list[list[tuple[str, dict[str, Any]]]] = []
    asking = threading.Thread(target=lambda: answers.append(house.chat("hörst du mich?")))
    asking.start()
    until(lambda: house.state()["inference"] == "away", "inference to be away")
    house.start_inference()
    asking.join(60)
    assert [name for name, _ in answers[0]] == ["start", *["token"] * 8, "end"]
    assert answers[0][0][1]["restarted"] is False


def test_a_stream_that_breaks_is_asked_again(house: House) -> None:
    house.begin("de")
    until(lambda: house.state()["round"], "round 0")
    house.behave(break_next=True)
    heard: list[tuple[str, dict[str, Any]]] = []

    def ask() -> None:
        with httpx_sse.connect_sse(house.owner, "POST", "/chat", json={"prompt": "und weiter?"}) as source:
            heard.extend((event.event, json.loads(event.data)) for event in source.iter_sse())

    asking = threading.Thread(target=ask)
    asking.start()
    assert house.inference_process is not None
    house.inference_process.wait(30)
    house.start_inference()
    asking.join(60)
    starts = [data["restarted"] for name, data in heard if name == "start"]
    assert starts == [False, True]
    assert heard[-1][0] == "end"
    assert house.counts()["visitor"] == 1


def test_an_adapter_held_while_inference_dies_is_loaded_again(tmp_path: Path) -> None:
    house = House(tmp_path, **{"finetuning.minimum_iteration_time": 6.0})
    try:
        house.start()
        house.begin("de")
        assert house.train(house.claim())["accepted"]
        house.kill_inference()
        house.start_inference()
        house.until_iteration(0)
        assert house.chat("wer?")[0][1]["iteration"] == 0
    finally:
        house.stop()


@pytest.mark.parametrize("name", ["run.json", "run.sqlite"])
def test_the_owner_starts_beside_a_run_that_a_power_cut_damaged(house: House, name: str) -> None:
    house.begin("de")
    house.chat("bleib")
    house.kill_owner()
    [folder] = [path.parent for path in house.places.runs.glob("*/run.json")]
    (folder / name).write_bytes(b"" if name == "run.json" else b"no database at all " * 500)
    house.start_owner()
    assert house.state()["phase"] == "waiting"
    assert any(folder.name in notice for notice in house.state()["notices"])
    until(lambda: not folder.exists(), "the damaged run to be gone")
    house.begin("en")


def test_an_adapter_that_inference_dies_of_is_withdrawn(house: House) -> None:
    house.begin("de")
    first = house.claim()
    house.train(first)
    house.until_iteration(0)
    house.kill_inference()
    house.start_inference(deadly="iteration-1")
    until(lambda: house.state()["inference"] == "ready", "inference to be back")
    house.train(house.claim())
    under_way = house.claim()
    for _ in range(3):
        assert house.inference_process is not None
        house.inference_process.wait(30)
        house.start_inference(deadly="iteration-1")
    house.until_iteration(0)
    assert house.chat("wer?")[0][1]["iteration"] == 0
    assert any("iteration 1" in notice for notice in house.state()["notices"])
    assert not house.step(under_way)
    again = house.claim()
    assert (again["iteration"], again["attempt"]) == (2, 2)
    assert again["previous"]["path"] == first["folder"]
    restart(house)
    assert house.state()["iteration"] == 0


def test_a_past_iteration_that_inference_dies_of_loading_is_left_out(house: House) -> None:
    house.begin("de")
    for iteration in range(2):
        house.train(house.claim())
        house.until_iteration(iteration)
    house.kill_inference()
    for _ in range(3):
        house.start_inference(deadly_to_load="iteration-0")
        assert house.inference_process is not None
        house.inference_process.wait(30)
    house.start_inference(deadly_to_load="iteration-0")
    until(lambda: house.state()["inference"] == "ready", "inference to be back")
    assert house.chat("wer?")[0][1]["iteration"] == 1
    assert any("iteration 0" in notice for notice in house.state()["notices"])
    assert house.train(house.claim())["accepted"]


def test_an_inference_that_dies_idle_or_after_an_answer_costs_no_adapter(house: House) -> None:
    house.begin("de")
    house.train(house.claim())
    house.until_iteration(0)
    until(lambda: house.counts()["persistent"] == 3, "its first answer")
    for _ in range(4):
        house.kill_inference()
        until(lambda: house.state()["inference"] == "away", "inference to be away")
        house.start_inference()
        until(lambda: house.state()["inference"] == "ready", "inference to be back")
    assert house.state()["iteration"] == 0
