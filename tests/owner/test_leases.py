"""A round's lease from the owner's side, with a worker that the test plays: kept, lost, offered once more, skipped."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster
from tests.owner.round_clusters import MakeCluster, round_of
from wmkml.owner.rounds import worker_registry
from wmkml.owner.rounds.worker_registry import WorkerRegistry
from wmkml.runs.schema import Round

pytestmark = pytest.mark.process


def test_a_worker_that_vanishes_loses_its_round_which_is_offered_once_more_then_skipped(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster("forward clock", **{"finetuning.lease_seconds": 100})
    cluster.begin("de")
    first = cluster.claim()
    cluster.advance(100.0)
    second = cluster.claim(session="s2", worker="other")
    assert (second["iteration"], second["attempt"]) == (0, 2)
    assert second["samples"] == first["samples"] and second["folder"] != first["folder"]
    assert not cluster.step(first)
    late = cluster.hand_in(first, cluster.write_adapter(Path(first["folder"]))).json()
    assert not late["accepted"]
    cluster.advance(100.0)
    third = cluster.claim(session="s3", worker="third")
    # Number, rate and samples go on as if the skipped round had been.
    assert (third["iteration"], third["attempt"]) == (1, 1)
    assert third["learning_rate"] == pytest.approx(0.0014)
    assert len(third["samples"]) == 10
    assert third["previous"] is None
    assert round_of(cluster, 0)["status"] == "skipped"
    assert cluster.train(third)["accepted"]
    cluster.until_iteration(1)


def test_steps_keep_the_lease(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("forward clock", **{"finetuning.lease_seconds": 100})
    cluster.begin("de")
    job = cluster.claim()
    for _ in range(5):
        cluster.advance(60.0)
        assert cluster.step(job, 0, 0, loss=None)
    assert cluster.train(job)["accepted"]


def test_a_worker_that_starts_anew_ends_its_old_lease(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    first = cluster.claim(session="old")
    assert cluster.claim(session="old") == first  # it lost the answer to its claim
    second = cluster.claim(session="new")
    assert (second["iteration"], second["attempt"]) == (0, 2)
    assert not cluster.step(first)
    assert cluster.step(second)


def test_of_two_workers_with_one_name_the_newer_wins_for_good(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    cluster.claim(session="older")
    job = cluster.claim(session="newer")
    assert job["attempt"] == 2
    for _ in range(2):
        claim = {"worker": "w", "session": "older", "shares_folder": True}
        assert cluster.work("claim", claim).status_code == 204
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(0)
    assert cluster.work("claim", claim).status_code == 204
    assert cluster.claim(session="newer")["attempt"] == 1
    assert any("Two workers" in notice for notice in cluster.state()["notices"])


def test_a_worker_whose_successor_is_gone_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = WorkerRegistry()
    workers.record_claim("newer")
    workers.supersede("older", "newer")
    assert workers.is_superseded("older", None) and not workers.is_superseded("newer", None)
    monkeypatch.setattr(worker_registry, "SUCCESSOR_SECONDS", 0.0)
    training = Round(0, "training", 1, 0.0015, [1], 7, 1.5, session="newer")
    assert workers.is_superseded("older", training)
    assert not workers.is_superseded("older", None)


def test_a_claim_ends_soon_after_its_worker_hung_up(cluster: OwnerCluster) -> None:
    """Else the worker would count as there for as long as a claim may take, and the owner's end would have to cut it."""
    cluster.begin("de")
    cluster.claim(worker="w")
    claim = {"worker": "other", "session": "other", "shares_folder": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            cluster.owner.base_url.join("/worker/claim"),
            json=claim,
            headers={"X-Key": cluster.keys.worker},
            timeout=httpx.Timeout(60, read=0.5),
        )
    assert cluster.owner_process is not None
    cluster.owner_process.terminate()
    cluster.owner_process.wait()
    log = cluster.log.read_text(encoding="utf-8")
    assert "Shutting down" in log
    assert "Traceback" not in log


def test_a_round_that_fails_twice_is_skipped(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    for attempt in (1, 2):
        job = cluster.claim()
        assert job["attempt"] == attempt
        reply = cluster.work(f"rounds/{job['run']}/0/{attempt}/failed", {"reason": "The loss is not finite."})
        assert reply.status_code == 200
    assert cluster.claim()["iteration"] == 1
    assert any("not finite" in notice for notice in cluster.state()["notices"])


def test_a_refused_adapter_counts_as_a_failure_and_training_goes_on_from_the_last_accepted(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    good = cluster.claim()
    assert cluster.train(good)["accepted"]
    cluster.until_iteration(0)
    bad = cluster.claim()
    cluster.behave(refuse=True)
    verdict = cluster.train(bad)
    cluster.behave(refuse=False)
    assert not verdict["accepted"] and "refuse" in verdict["reason"]
    assert cluster.chat("wer?")[0][1]["iteration"] == 0
    retry = cluster.claim()
    assert (retry["iteration"], retry["attempt"]) == (1, 2)
    assert retry["previous"]["path"] == good["folder"]
    assert cluster.train(retry)["accepted"]


def test_a_worker_that_cannot_work_is_away_and_the_operator_reads_why(cluster: OwnerCluster) -> None:
    unable = {"worker": "pod", "reason": "There is no GPU."}
    assert cluster.owner.post("/worker/unable", json=unable).status_code in (401, 403)
    assert not any("no GPU" in notice for notice in cluster.state()["notices"])
    assert cluster.work("unable", unable).is_success
    assert "The worker pod cannot train: There is no GPU." in cluster.state()["notices"]
    assert cluster.state()["worker"] == "away"
