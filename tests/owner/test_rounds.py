"""Rounds from the owner's side, with a worker that the test plays: schedules, samples, datasets, the clock."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.owner.inference_stand_in import BACKGROUND_ANSWERS
from tests.owner.owner_cluster import OwnerCluster
from tests.owner.round_clusters import MakeCluster, previous_sha, round_of, run_folder
from tests.waiting import PATIENCE, until
from wmkml.measures.registry import shown_in

pytestmark = pytest.mark.process


def test_three_rounds_and_last_words(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    previous = None
    for number in range(3):
        job = cluster.claim()
        assert job["iteration"] == number
        assert job["learning_rate"] == pytest.approx(0.0015 - number * 0.0001)
        assert len(job["samples"]) == 8 + number * 2
        assert job["previous"] == previous
        assert not Path(job["folder"]).exists() and Path(job["folder"]).parent.is_dir()
        assert cluster.train(job)["accepted"]
        cluster.until_iteration(number)
        [record] = [record for record in cluster.state()["rounds"] if record["iteration"] == number]
        assert record["status"] == "accepted"
        assert record["swap_seconds"] >= 0.25  # the worker said that its last step was so long ago
        assert (record["loss_first"], record["loss_last"], record["tokens"]) == (2.0, 1.0, 100)
        previous = {"path": job["folder"], "sha256": previous_sha(job), "iteration": number}
        assert cluster.chat("wer antwortet?")[0][1]["iteration"] == number
    cluster.until_phase("last_words")
    assert cluster.chat("letzte Worte?")[-1][1]["iteration"] == 2
    losses = [json.loads(line) for line in (run_folder(cluster) / "losses.jsonl").read_text().splitlines()]
    assert [(step["iteration"], step["step"]) for step in losses] == [(n, s) for n in range(3) for s in (1, 2)]
    measures = [json.loads(line) for line in (run_folder(cluster) / "measures.jsonl").read_text().splitlines()]
    assert [record["round"] for record in measures] == [0, 1, 2]


def test_the_proof_of_a_round_is_told_and_kept_and_goes_with_a_failed_attempt(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    proof: dict[str, Any] = {"verdict": "unproved", "compared": "values"}
    proof |= {"distance": 0.03, "to_previous": 0.04, "to_base": 0.5, "moved": 0.02, "noise": 0.03}
    cluster.behave(proof=proof)
    cluster.begin("de")
    assert cluster.train(cluster.claim())["accepted"]
    cluster.until_iteration(0)
    assert cluster.state()["rounds"][0]["proof"] == proof
    assert cluster.chat("wer?")[-1][1]["adapter"] == "of iteration-0"
    cluster.kill_owner()
    cluster.start_owner()
    assert cluster.state()["rounds"][0]["proof"] == proof
    until(lambda: cluster.state()["inference"] == "ready", "inference to be seen")
    cluster.behave(refuse=True)
    assert not cluster.train(cluster.claim())["accepted"]
    assert round_of(cluster, 1)["proof"] is None


def test_what_osc_hears_of_a_run_and_in_which_order(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(**{"finetuning.num_total_iters": 1, "finetuning.last_iteration_time": 0.0})
    cluster.begin("de")
    reply = cluster.train(cluster.claim())
    assert reply["accepted"], reply
    cluster.until_phase("waiting")
    assert cluster.osc_addresses() == [
        "/wait_for_language",
        "/open",
        "/wait_for_language",
        "/elapsed_time",
        "/learning_rate",
        "/round/progress",
        *(f"/collapse/{measure.name}" for measure in shown_in("osc") if measure.function),
        "/loss",
        "/round/progress",
        "/loss",
        "/round/progress",
        "/run_end",
        "/request_restart",
        "/wait_for_language",
    ]


def test_heartbeats_tell_the_time_left(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(**{"general.osc_heartbeat_seconds": 0.05})
    cluster.begin("de")
    cluster.osc.settimeout(PATIENCE)  # on a busy machine the next heartbeat is late
    addresses = [cluster.osc.recv(100).split(b"\0", 1)[0].decode() for _ in range(60)]
    assert {"/heartbeat", "/time_left"} <= set(addresses)


def test_every_run_is_seeded_and_the_persistent_prompt_answered_once_an_iteration(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(**{"inference.num_generated_responses": 5})
    cluster.begin("de")
    job = cluster.claim()
    prompt = cluster.settings.persistent_prompt("de")
    assert {sample["prompt"] for sample in job["samples"]} == {prompt}
    seeds = cluster.pairs("persistent")
    assert [(pair["iteration"], pair["live"], pair["prompt"]) for pair in seeds] == [(-1, 1, prompt)] * 5
    cluster.train(job)
    cluster.train(cluster.claim())
    until(lambda: cluster.counts()["persistent"] == 7, "two more answers for the record")
    record = [pair for pair in cluster.pairs("persistent") if pair["iteration"] >= 0]
    assert [(pair["iteration"], pair["live"]) for pair in record] == [(0, 0), (1, 0)]


def test_visitors_words_are_trained_on_raw(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(**{"finetuning.samples_by_iteration": 200, "finetuning.live_samples_by_iteration": 200})
    cluster.begin("de")
    cluster.train(cluster.claim())  # nobody had spoken yet
    cluster.chat("Was ist ein Wald?")
    until(lambda: cluster.counts()["echo"] == 2, "the echoes")
    cluster.train(cluster.claim())
    samples = cluster.claim()["samples"]
    answers = [sample["answer"] for sample in samples if sample["prompt"] == "Was ist ein Wald?"]
    assert "Ein Haus aus Wörtern. Und dann" in answers
    assert len(set(answers)) == 3  # the answer and its two echoes


def dataset_answers(cluster: OwnerCluster, iteration: int, *, at_least: int) -> list[dict[str, Any]] | None:
    """The dataset pairs for a round, once there are enough of them."""
    answers = [pair for pair in cluster.pairs("dataset") if pair["for_round"] == iteration]
    return answers if len(answers) >= at_least else None


def test_dataset_answers_are_made_while_the_round_before_trains(make_cluster: MakeCluster) -> None:
    array = [["eins"], ["zwei"], ["drei"]]
    cluster = make_cluster(**{"finetuning.dataset_array": array, "finetuning.live_samples_by_iteration": 2})
    cluster.begin("de")
    for number in range(3):
        job = cluster.claim()
        from_sets = [sample["prompt"] for sample in job["samples"] if sample["prompt"].split()[0] == array[number][0]]
        assert len(from_sets) == len(job["samples"]) - 2
        assert len(set(from_sets)) == len(from_sets)
        if number < 2:
            expected = 8 + 2 * (number + 1) - 2
            answers = until(
                functools.partial(dataset_answers, cluster, number + 1, at_least=expected), "the next round's answers"
            )
            # By the adapter that answers while this round trains, which is the one before this round's.
            assert {pair["iteration"] for pair in answers} == {number - 1}
            assert {pair["dataset"] for pair in answers} == {array[number + 1][0]}
            assert not any("A human answer." in pair["answer"] for pair in answers), "the dying model answers itself"
        cluster.train(job)
        cluster.until_iteration(number)
    assert {pair["iteration"] for pair in cluster.pairs("dataset") if pair["for_round"] == 0} == {-1}


def dataset_requests(cluster: OwnerCluster) -> int:
    """How often inference was asked a dataset's prompt."""
    return sum(request["audience"] == "dataset" for request in cluster.stand_in_state()["requests"])


def test_as_many_dataset_prompts_are_asked_at_once_as_inference_answers(make_cluster: MakeCluster) -> None:
    sets = {"finetuning.dataset_array": [["eins"]], "finetuning.live_samples_by_iteration": 2}
    cluster = make_cluster(**sets, **{"finetuning.samples_by_iteration": 20, "finetuning.num_total_iters": 1})
    cluster.behave(keeps_back=["dataset"])
    cluster.begin("de")
    until(lambda: dataset_requests(cluster) == BACKGROUND_ANSWERS, "as many as inference answers at once")
    cluster.chat("und?")
    assert dataset_requests(cluster) == BACKGROUND_ANSWERS
    cluster.behave(keeps_back=[])
    assert len(cluster.claim()["samples"]) == 20
    assert dataset_requests(cluster) == len(cluster.pairs("dataset")) == 18, "no more than the round takes"


@pytest.mark.parametrize("renewed", [False, True])
def test_the_base_models_dataset_answers_are_kept_across_runs(make_cluster: MakeCluster, renewed: bool) -> None:
    sets = {"finetuning.dataset_array": [["eins"]], "finetuning.live_samples_by_iteration": 2}
    cluster = make_cluster(
        **sets, **{"finetuning.recreate_iteration_0": renewed, "finetuning.samples_by_iteration": 32}
    )
    cluster.begin("de")
    cluster.claim()

    first, answers = dataset_requests(cluster), {pair["prompt"]: pair["answer"] for pair in cluster.pairs("dataset")}
    assert first == len(answers) == 30
    cluster.begin("de")
    cluster.claim(session="s2")
    assert len(cluster.pairs("dataset")) == 30
    assert dataset_requests(cluster) == (60 if renewed else 30)
    if not renewed:
        assert {pair["prompt"]: pair["answer"] for pair in cluster.pairs("dataset")} == answers


def test_the_base_model_answers_until_the_hold_is_over(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("forward clock", **{"finetuning.minimum_iteration_time": 600.0})
    cluster.begin("de")
    assert cluster.train(cluster.claim())["accepted"]
    cluster.advance(300.0)
    assert round_of(cluster, 0)["status"] == "held"
    assert cluster.chat("noch ganz?")[0][1]["iteration"] == -1
    cluster.advance(300.0)
    cluster.until_iteration(0)
    record = round_of(cluster, 0)
    assert record["held_seconds"] > 300 > record["swap_seconds"]  # the hold is not counted as swapping
    assert cluster.claim()["iteration"] == 1


def test_the_time_of_a_run_ends_its_rounds(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("forward clock", **{"finetuning.duration_of_a_run": 600.0})
    cluster.begin("de")
    job = cluster.claim()
    assert cluster.step(job)
    cluster.advance(600.0)
    cluster.until_phase("last_words")
    assert round_of(cluster, 0)["status"] == "skipped"
    assert not cluster.step(job)
    assert not cluster.hand_in(job, cluster.write_adapter(Path(job["folder"]))).json()["accepted"]
    assert cluster.chat("noch da?")[-1][1]["iteration"] == -1
    assert cluster.state()["time_left_seconds"] > 0


def test_time_that_is_up_at_the_moment_of_a_swap_takes_no_round_back(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("forward clock", **{"finetuning.duration_of_a_run": 600.0})
    cluster.begin("de")
    job = cluster.claim()
    cluster.behave(keeps_current_back=True)
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(0)
    assert cluster.stand_in_state()["calls"][-1][0] == "reload", "inference has not been told yet"
    cluster.advance(600.0)
    cluster.until_phase("last_words")
    assert round_of(cluster, 0)["status"] == "accepted"
    assert cluster.state()["round"] is None
    cluster.behave(keeps_current_back=False)
    until(lambda: cluster.state()["inference"] == "ready", "inference to be told who answers")
    assert cluster.stand_in_state()["calls"][-1] == ["current", 0]


def test_after_the_last_words_a_language_is_awaited_and_all_is_gone(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(
        "forward clock", **{"finetuning.num_total_iters": 1, "finetuning.last_iteration_time": 100.0}
    )
    cluster.begin("de")
    job = cluster.claim()
    cluster.chat("merk dir das")
    cluster.train(job)
    cluster.until_phase("last_words")
    cluster.advance(100.0)
    cluster.until_phase("waiting")
    until(lambda: not list(cluster.paths.runs.iterdir()), "the empty folder")
    unloads = [call for call in cluster.stand_in_state()["calls"] if call[0] == "unload"]
    assert unloads[-1] == ["unload", ["iteration-0"], True]  # its files were there when it was unloaded
    cluster.begin("en")
    assert cluster.chat("who answers?")[0][1]["iteration"] == -1
    assert cluster.claim()["previous"] is None


def test_kept_runs_stay(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(**{"general.keep_runs": True})
    cluster.begin("de")
    cluster.train(cluster.claim())
    folder = run_folder(cluster)
    cluster.end()
    cluster.begin("de")
    assert (folder / "run.sqlite").is_file()
    assert (folder / "adapters" / "iteration-0-attempt-1" / "adapter_model.safetensors").is_file()
    assert cluster.counts()["visitor"] == 0


def test_what_visitors_said_is_carried_into_the_next_run_where_that_is_wanted(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(
        **{"finetuning.delete_live_questions_at_start": False, "finetuning.live_samples_by_iteration": 100}
    )
    cluster.begin("de")
    cluster.chat("Erinnerst du dich?")
    first = run_folder(cluster)
    cluster.end()
    cluster.begin("de")
    assert "Erinnerst du dich?" in {sample["prompt"] for sample in cluster.claim()["samples"]}
    assert cluster.shared_exchanges() == []
    until(lambda: not first.exists(), "the first run's folder to go")


def test_a_new_run_drops_the_round_of_the_old_one(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    old = cluster.claim()
    cluster.begin("de")
    assert not cluster.step(old)
    assert not cluster.hand_in(old, "0" * 64).json()["accepted"]
    new = cluster.claim()
    assert new["run"] != old["run"] and new["iteration"] == 0
    assert cluster.train(new)["accepted"]
