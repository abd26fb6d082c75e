"""A round's lease from the owner's side, with a worker that the test plays: kept, lost, offered once more, skipped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rounds_house import MakeHouse, houses, round_of
from wmkml.owner import workers as workers_module
from wmkml.owner.workers import Workers
from wmkml.runs.schema import Round


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[MakeHouse]:
    with houses(tmp_path) as make:
        yield make


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
