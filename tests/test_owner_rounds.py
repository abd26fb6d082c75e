"""Rounds from the owner's side, with a worker that the test plays: schedules, samples, datasets, the clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.owner_house import until
from tests.rounds_house import MakeHouse, houses, previous_sha, round_of, run_folder


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[MakeHouse]:
    with houses(tmp_path) as make:
        yield make


def test_three_rounds_and_last_words(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    previous = None
    for number in range(3):
        job = house.claim()
        assert job["iteration"] == number
        assert job["learning_rate"] == pytest.approx(0.0015 - number * 0.0001)
        assert len(job["samples"]) == 8 + number * 2
        assert job["previous"] == previous
        assert not Path(job["folder"]).exists() and Path(job["folder"]).parent.is_dir()
        assert house.train(job)["accepted"]
        house.until_iteration(number)
        [record] = [one for one in house.state()["rounds"] if one["iteration"] == number]
        assert record["status"] == "accepted"
        assert record["swap_seconds"] >= 0.25  # the worker said that its last step was so long ago
        assert (record["loss_first"], record["loss_last"], record["tokens"]) == (2.0, 1.0, 100)
        previous = {"path": job["folder"], "sha256": previous_sha(job), "iteration": number}
        assert house.chat("wer antwortet?")[0][1]["iteration"] == number
    house.until_phase("last_words")
    assert house.chat("letzte Worte?")[-1][1]["iteration"] == 2
    losses = [json.loads(line) for line in (run_folder(house) / "losses.jsonl").read_text().splitlines()]
    assert [(one["iteration"], one["step"]) for one in losses] == [(n, s) for n in range(3) for s in (1, 2)]
    measures = [json.loads(line) for line in (run_folder(house) / "measures.jsonl").read_text().splitlines()]
    assert [one["round"] for one in measures] == [0, 1, 2]


def test_what_osc_hears_of_a_run_and_in_which_order(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.num_total_iters": 1, "finetuning.last_iteration_time": 0.0})
    house.begin("de")
    assert house.train(house.claim())["accepted"]
    house.until_phase("waiting")
    assert house.osc_heard() == [
        "/wait_for_language",
        "/wait_for_language",
        "/elapsed_time",
        "/learning_rate",
        "/round/progress",
        "/collapse/distinct_2",
        "/collapse/repetition",
        "/collapse/entropy",
        "/loss",
        "/round/progress",
        "/loss",
        "/round/progress",
        "/run_end",
        "/request_restart",
        "/wait_for_language",
    ]


def test_heartbeats_tell_the_time_left(make_house: MakeHouse) -> None:
    house = make_house(**{"general.osc_heartbeat_seconds": 0.05})
    house.begin("de")
    heard = [house.osc.recv(100).split(b"\0", 1)[0].decode() for _ in range(60)]
    assert {"/heartbeat", "/time_left"} <= set(heard)


def test_every_run_is_seeded_and_the_persistent_prompt_answered_once_an_iteration(make_house: MakeHouse) -> None:
    house = make_house(**{"inference.num_generated_responses": 5})
    house.begin("de")
    job = house.claim()
    prompt = house.settings.persistent_prompt("de")
    assert {sample["prompt"] for sample in job["samples"]} == {prompt}
    seeds = house.pairs("persistent")
    assert [(pair["iteration"], pair["live"], pair["prompt"]) for pair in seeds] == [(-1, 1, prompt)] * 5
    house.train(job)
    house.train(house.claim())
    until(lambda: house.counts()["persistent"] == 7, "two more answers for the record")
    record = [pair for pair in house.pairs("persistent") if pair["iteration"] >= 0]
    assert [(pair["iteration"], pair["live"]) for pair in record] == [(0, 0), (1, 0)]


def test_visitors_words_are_trained_on_raw(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.samples_by_iteration": 200, "finetuning.live_samples_by_iteration": 200})
    house.begin("de")
    house.train(house.claim())  # nobody had spoken yet
    house.chat("Was ist ein Wald?")
    until(lambda: house.counts()["echo"] == 2, "the echoes")
    house.train(house.claim())
    samples = house.claim()["samples"]
    said = [sample["answer"] for sample in samples if sample["prompt"] == "Was ist ein Wald?"]
    assert "Ein Haus aus Wörtern. Und dann" in said
    assert len(set(said)) == 3  # the answer and its two echoes


def test_dataset_answers_are_made_while_the_round_before_trains(make_house: MakeHouse) -> None:
    array = [["eins"], ["zwei"], ["drei"]]
    house = make_house(**{"finetuning.dataset_array": array, "finetuning.live_samples_by_iteration": 2})
    house.begin("de")
    for number in range(3):
        job = house.claim()
        from_sets = [sample["prompt"] for sample in job["samples"] if sample["prompt"].split()[0] == array[number][0]]
        assert len(from_sets) == len(job["samples"]) - 2
        assert len(set(from_sets)) == len(from_sets)
        if number < 2:
            wanted = 8 + 2 * (number + 1) - 2
            made = until(
                lambda ahead=number + 1, wanted=wanted: (
                    found
                    if len(found := [pair for pair in house.pairs("dataset") if pair["for_round"] == ahead]) >= wanted
                    else None
                ),
                "the next round's answers",
            )
            # By the adapter that answers while this round trains, which is the one before this round's.
            assert {pair["iteration"] for pair in made} == {number - 1}
            assert {pair["dataset"] for pair in made} == {array[number + 1][0]}
        house.train(job)
        house.until_iteration(number)
    assert {pair["iteration"] for pair in house.pairs("dataset") if pair["for_round"] == 0} == {-1}


@pytest.mark.parametrize("renewed", [False, True])
def test_the_base_models_dataset_answers_are_kept_across_runs(make_house: MakeHouse, renewed: bool) -> None:
    sets = {"finetuning.dataset_array": [["eins"]], "finetuning.live_samples_by_iteration": 2}
    house = make_house(**sets, **{"finetuning.recreate_iteration_0": renewed, "finetuning.samples_by_iteration": 32})
    house.begin("de")
    house.claim()

    def asked() -> int:
        return sum(one["audience"] == "dataset" for one in house.known()["asked"])

    first, answers = asked(), {pair["prompt"]: pair["answer"] for pair in house.pairs("dataset")}
    assert first == len(answers) == 30
    house.begin("de")
    house.claim(session="s2")
    assert len(house.pairs("dataset")) == 30
    assert asked() == (60 if renewed else 30)
    if not renewed:
        assert {pair["prompt"]: pair["answer"] for pair in house.pairs("dataset")} == answers


def test_the_base_model_answers_until_the_hold_is_over(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.minimum_iteration_time": 4.0})
    house.begin("de")
    assert house.train(house.claim())["accepted"]
    assert round_of(house, 0)["status"] == "held"
    assert house.chat("noch ganz?")[0][1]["iteration"] == -1
    house.until_iteration(0)
    record = round_of(house, 0)
    assert record["held_seconds"] > record["swap_seconds"]  # the hold is not counted as swapping
    assert house.claim()["iteration"] == 1


def test_the_time_of_a_run_ends_its_rounds(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.duration_of_a_run": 3.0})
    house.begin("de")
    job = house.claim()
    house.until_phase("last_words")
    assert round_of(house, 0)["status"] == "skipped"
    assert not house.step(job)
    assert not house.hand_in(job, house.write_adapter(Path(job["folder"]))).json()["accepted"]
    assert house.chat("noch da?")[-1][1]["iteration"] == -1
    assert house.state()["time_left_seconds"] > 0


def test_time_that_is_up_at_the_moment_of_a_swap_takes_no_round_back(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.duration_of_a_run": 5.0})
    house.begin("de")
    job = house.claim()
    house.behave(current_pause=8.0)
    assert house.train(job)["accepted"]
    house.until_iteration(0)
    house.until_phase("last_words")
    assert round_of(house, 0)["status"] == "accepted"
    assert house.state()["round"] is None
    house.behave(current_pause=0.0)
    until(lambda: house.state()["inference"] == "ready", "inference to be told who answers")
    assert house.known()["calls"][-1] == ["current", 0]


def test_after_the_last_words_a_language_is_awaited_and_all_is_gone(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.num_total_iters": 1, "finetuning.last_iteration_time": 1.0})
    house.begin("de")
    job = house.claim()
    house.chat("merk dir das")
    house.train(job)
    house.until_phase("last_words")
    house.until_phase("waiting")
    until(lambda: not list(house.places.runs.iterdir()), "the empty folder")
    unloads = [call for call in house.known()["calls"] if call[0] == "unload"]
    assert unloads[-1] == ["unload", ["iteration-0"], True]  # its files were there when it was unloaded
    house.begin("en")
    assert house.chat("who answers?")[0][1]["iteration"] == -1
    assert house.claim()["previous"] is None


def test_kept_runs_stay(make_house: MakeHouse) -> None:
    house = make_house(**{"general.keep_runs": True})
    house.begin("de")
    house.train(house.claim())
    folder = run_folder(house)
    house.end()
    house.begin("de")
    assert (folder / "run.sqlite").is_file()
    assert (folder / "adapters" / "iteration-0-attempt-1" / "adapter_model.safetensors").is_file()
    assert house.counts()["visitor"] == 0


def test_what_visitors_said_is_carried_into_the_next_run_where_that_is_wanted(make_house: MakeHouse) -> None:
    house = make_house(
        **{"finetuning.delete_live_questions_at_start": False, "finetuning.live_samples_by_iteration": 100}
    )
    house.begin("de")
    house.chat("Erinnerst du dich?")
    first = run_folder(house)
    house.end()
    house.begin("de")
    assert "Erinnerst du dich?" in {sample["prompt"] for sample in house.claim()["samples"]}
    assert house.shared() == []
    until(lambda: not first.exists(), "the first run's folder to go")


def test_a_new_run_drops_the_round_of_the_old_one(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    old = house.claim()
    house.begin("de")
    assert not house.step(old)
    assert not house.hand_in(old, "0" * 64).json()["accepted"]
    new = house.claim()
    assert new["run"] != old["run"] and new["iteration"] == 0
    assert house.train(new)["accepted"]
