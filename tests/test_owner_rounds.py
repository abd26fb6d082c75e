"""Rounds from the owner's side, with a worker that the test plays: schedules, leases, hand-ins, datasets, the clock."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.owner_house import House, until
from wmkml.owner import workers as workers_module
from wmkml.owner.workers import Workers
from wmkml.runs.schema import Round

MakeHouse = Callable[..., House]


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[MakeHouse]:
    houses: list[House] = []

    def make(**overrides: Any) -> House:
        for name in ("eins", "zwei", "drei"):
            folder = tmp_path / "sets" / name
            folder.mkdir(parents=True, exist_ok=True)
            rows = "".join(f"{name} {number}?\n" for number in range(30))
            (folder / "prompts.csv").write_text(rows, encoding="utf-8")
        house = House(tmp_path, **{"general.datasets_folder": str(tmp_path / "sets")} | overrides)
        houses.append(house)
        return house.start()

    yield make
    for house in houses:
        house.stop()


def round_of(house: House, iteration: int) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def look() -> bool:
        found.clear()
        found.update(next((one for one in house.state()["rounds"] if one["iteration"] == iteration), {}))
        return bool(found)

    until(look, f"round {iteration}")
    return found


def until_status(house: House, iteration: int, status: str) -> None:
    until(lambda: round_of(house, iteration)["status"] == status, f"round {iteration} {status}")


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


def previous_sha(job: dict[str, Any]) -> str:
    return hashlib.sha256((Path(job["folder"]) / "adapter_model.safetensors").read_bytes()).hexdigest()


def run_folder(house: House) -> Path:
    return house.places.runs / str(house.state()["run"])


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


def test_a_worker_that_vanishes_loses_its_round_which_is_offered_once_more_then_skipped(
    make_house: MakeHouse,
) -> None:
    house = make_house(**{"finetuning.lease_seconds": 2})
    house.begin("de")
    first = house.claim()
    second = house.claim(session="s2", worker="other")
    assert (second["iteration"], second["attempt"]) == (0, 2)
    assert second["samples"] == first["samples"] and second["folder"] != first["folder"]
    assert not house.step(first)
    late = house.hand_in(first, house.write_adapter(Path(first["folder"]))).json()
    assert not late["accepted"]
    third = house.claim(session="s3", worker="third")
    # Number, rate and samples go on as if the skipped round had been.
    assert (third["iteration"], third["attempt"]) == (1, 1)
    assert third["learning_rate"] == pytest.approx(0.0014)
    assert len(third["samples"]) == 10
    assert third["previous"] is None
    assert round_of(house, 0)["status"] == "skipped"
    assert house.train(third)["accepted"]
    house.until_iteration(1)


def test_steps_keep_the_lease(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.lease_seconds": 2})
    house.begin("de")
    job = house.claim()
    for _ in range(12):  # three seconds of signs of life
        assert house.step(job, 0, 0, loss=None)
        time.sleep(0.25)
    assert house.train(job)["accepted"]


def test_a_worker_that_starts_anew_ends_its_old_lease(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    first = house.claim(session="old")
    assert house.claim(session="old") == first  # it lost the answer to its claim
    second = house.claim(session="new")
    assert (second["iteration"], second["attempt"]) == (0, 2)
    assert not house.step(first)
    assert house.step(second)


def test_of_two_workers_with_one_name_the_newer_wins_for_good(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    house.claim(session="older")
    job = house.claim(session="newer")
    assert job["attempt"] == 2
    for _ in range(2):
        said = {"worker": "w", "session": "older", "shares_folder": True}
        assert house.work("claim", said).status_code == 204
    assert house.train(job)["accepted"]
    house.until_iteration(0)
    assert house.work("claim", said).status_code == 204
    assert house.claim(session="newer")["attempt"] == 1
    assert any("Two workers" in notice for notice in house.state()["notices"])


def test_a_worker_whose_successor_is_gone_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers()
    workers.claims("newer")
    workers.supersede("older", "newer")
    assert workers.superseded("older", None) and not workers.superseded("newer", None)
    monkeypatch.setattr(workers_module, "SUCCESSOR_SECONDS", 0.0)
    training = Round(0, "training", 1, 0.0015, [1], 7, 1.5, session="newer")
    assert workers.superseded("older", training)
    assert not workers.superseded("older", None)


def test_a_round_that_fails_twice_is_skipped(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    for attempt in (1, 2):
        job = house.claim()
        assert job["attempt"] == attempt
        reply = house.work(f"rounds/{job['run']}/0/{attempt}/failed", {"reason": "The loss is not finite."})
        assert reply.status_code == 200
    assert house.claim()["iteration"] == 1
    assert any("not finite" in notice for notice in house.state()["notices"])


def test_a_refused_adapter_counts_as_a_failure_and_training_goes_on_from_the_last_accepted(
    make_house: MakeHouse,
) -> None:
    house = make_house()
    house.begin("de")
    good = house.claim()
    assert house.train(good)["accepted"]
    house.until_iteration(0)
    bad = house.claim()
    house.behave(refuse=True)
    verdict = house.train(bad)
    house.behave(refuse=False)
    assert not verdict["accepted"] and "refuse" in verdict["reason"]
    assert house.chat("wer?")[0][1]["iteration"] == 0
    again = house.claim()
    assert (again["iteration"], again["attempt"]) == (1, 2)
    assert again["previous"]["path"] == good["folder"]
    assert house.train(again)["accepted"]


def test_training_goes_on_from_a_rounds_adapter_that_was_loaded_again_by_hand(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    job = house.claim()
    house.train(job)
    house.until_iteration(0)
    assert house.owner.post("/reload", json={"path": job["folder"], "iteration": 0}).is_success
    second = house.claim()
    assert second["previous"] == {"path": job["folder"], "sha256": previous_sha(job), "iteration": 0}
    by_hand = house.places.models / "by-hand"
    house.write_adapter(by_hand)
    assert house.owner.post("/reload", json={"path": str(by_hand), "iteration": 0}).is_success
    assert house.claim(session="s2")["previous"] is None  # no round made this one


def test_what_inference_has_under_a_rounds_number_makes_no_refused_adapter_good(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    job = house.claim()
    by_hand = house.places.models / "by-hand"
    house.write_adapter(by_hand)
    assert house.owner.post("/reload", json={"path": str(by_hand), "iteration": 0}).is_success
    house.behave(refuse=True)
    assert not house.train(job)["accepted"]


def test_a_hand_in_is_checked(make_house: MakeHouse, tmp_path: Path) -> None:
    house = make_house(**{"finetuning.num_total_iters": 9})
    house.begin("de")
    missing = house.claim()
    assert "adapter_config.json" in house.hand_in(missing, "0" * 64).json()["reason"]

    other = house.claim()
    assert other["attempt"] == 2
    house.write_adapter(Path(other["folder"]))
    verdict = house.hand_in(other, "0" * 64).json()
    assert not verdict["accepted"] and "sha256" in verdict["reason"]

    outside = house.claim()
    assert outside["iteration"] == 1
    sha256 = house.write_adapter(tmp_path / "elsewhere")
    for path in (str(tmp_path / "elsewhere"), outside["folder"] + "/../../../../elsewhere", "/etc", "not there"):
        verdict = house.hand_in(outside, sha256, path).json()
        assert (verdict["accepted"], verdict["upload"]) == (False, True)
    assert not [call for call in house.known()["calls"] if call[0] == "reload"]
    assert house.train(outside)["accepted"]


def test_a_hand_in_may_be_said_again(make_house: MakeHouse) -> None:
    house = make_house(**{"finetuning.minimum_iteration_time": 600.0})
    house.begin("de")
    job = house.claim()
    sha256 = house.write_adapter(Path(job["folder"]))
    assert house.hand_in(job, sha256).json()["accepted"]
    assert house.hand_in(job, sha256).json()["accepted"]
    assert not house.hand_in(job, "0" * 64).json()["accepted"]
    assert sum(call[0] == "reload" for call in house.known()["calls"]) == 1
    assert round_of(house, 0)["status"] == "held"


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


def test_messages_that_fit_no_round_change_nothing(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    job = house.claim()
    for wrong in ({"run": "another"}, {"iteration": 7}, {"attempt": 2}):
        assert not house.step(job | wrong)
        assert not house.hand_in(job | wrong, "0" * 64).json()["accepted"]
    assert house.work(f"rounds/{job['run']}/0/1/step", {"step": "x"}).status_code == 400
    assert house.work(f"rounds/{job['run']}/zero/1/step", {"step": 1, "steps": 1}).status_code == 400
    assert house.train(job)["accepted"]


def tar_of(files: dict[str, bytes]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


def test_an_adapter_travels_as_a_tar(make_house: MakeHouse, tmp_path: Path) -> None:
    house = make_house()
    house.begin("de")
    job = house.claim(shares_folder=False)
    sha256 = house.write_adapter(tmp_path / "far" / "away")
    far = str(tmp_path / "far" / "away")
    assert house.hand_in(job, sha256, far).json()["upload"]
    place = f"rounds/{job['run']}/0/1/adapter"
    weights = (tmp_path / "far" / "away" / "adapter_model.safetensors").read_bytes()
    good = {"adapter_config.json": b"{}", "adapter_model.safetensors": weights}
    broken = {
        "no tar": b"PK\x03\x04",
        "half": tar_of({"adapter_config.json": b"{}"}),
        "escape": tar_of({"../adapter_config.json": b"{}", "/tmp/adapter_model.safetensors": weights}),
        "other weights": tar_of(good | {"adapter_model.safetensors": b"x"}),
    }
    for name, body in broken.items():
        reply = house.work(place, body, "PUT", **{"X-Sha256": sha256})
        assert (reply.status_code, reply.json()["error"][-1]) == (400, "."), name
    assert not Path(job["folder"]).exists()
    assert house.work(place, tar_of(good), "PUT", **{"X-Sha256": sha256}).status_code == 200
    assert house.hand_in(job, sha256, far).json()["accepted"]
    house.until_iteration(0)

    reply = house.work(f"adapters/{job['run']}/0", b"", "GET")
    with tarfile.open(fileobj=io.BytesIO(reply.content)) as tar:
        assert sorted(tar.getnames()) == ["adapter_config.json", "adapter_model.safetensors"]
        content = tar.extractfile("adapter_model.safetensors")
        assert content is not None and content.read() == weights
    assert reply.headers["X-Sha256"] == sha256
    assert int(reply.headers["Content-Length"]) == len(reply.content)
    left = {path.name for path in run_folder(house).iterdir() if not path.name.startswith("run.sqlite-")}
    assert left == {"adapters", "measures.jsonl", "run.json", "run.sqlite"}
    assert house.work(f"adapters/{job['run']}/5", b"", "GET").status_code == 404
    assert house.work(place, tar_of(good), "PUT", **{"X-Sha256": sha256}).status_code == 409


def test_an_upload_that_outlasts_the_lease_keeps_it(make_house: MakeHouse, tmp_path: Path) -> None:
    house = make_house(**{"finetuning.lease_seconds": 2})
    house.begin("de")
    job = house.claim(shares_folder=False)
    sha256 = house.write_adapter(tmp_path / "far")
    weights = (tmp_path / "far" / "adapter_model.safetensors").read_bytes()
    body = tar_of({"adapter_config.json": b"{}", "adapter_model.safetensors": weights})
    place = f"/worker/rounds/{job['run']}/0/1/adapter"
    headers = {"X-Key": house.keys.worker, "X-Sha256": sha256}

    def slowly() -> Iterator[bytes]:
        for part in range(8):  # four seconds, twice the lease
            time.sleep(0.5)
            yield body[part * len(body) // 8 : (part + 1) * len(body) // 8]

    assert house.owner.put(place, content=slowly(), headers=headers).status_code == 200
    assert house.hand_in(job, sha256, str(tmp_path / "far")).json()["accepted"]


def test_an_upload_of_an_attempt_that_ended_is_refused_on_the_way(make_house: MakeHouse) -> None:
    house = make_house()
    house.begin("de")
    job = house.claim(shares_folder=False)
    place = f"/worker/rounds/{job['run']}/0/1/adapter"
    headers = {"X-Key": house.keys.worker, "X-Sha256": "0" * 64}

    def ending() -> Iterator[bytes]:
        yield b"x" * 1000
        house.work(f"rounds/{job['run']}/0/1/failed", {"reason": "It went wrong."})
        yield b"x" * 1000

    assert house.owner.put(place, content=ending(), headers=headers).status_code == 409
    assert not Path(job["folder"]).exists()


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
