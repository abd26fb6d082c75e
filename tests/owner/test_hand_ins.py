"""Adapters handed in to the owner, by a worker that the test plays: in a shared folder or as a tar, checked either way."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.owner.round_clusters import MakeCluster, previous_sha, round_of, run_folder
from wmkml.owner.rounds.hand_in import HandInVerdict

pytestmark = pytest.mark.process


def test_training_goes_on_from_a_rounds_adapter_that_was_loaded_again_by_hand(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    job = cluster.claim()
    cluster.train(job)
    cluster.until_iteration(0)
    assert cluster.owner.post("/reload", json={"path": job["folder"], "iteration": 0}).is_success
    second = cluster.claim()
    assert second["previous"] == {"path": job["folder"], "sha256": previous_sha(job), "iteration": 0}
    by_hand = cluster.paths.models / "by-hand"
    cluster.write_adapter(by_hand)
    assert cluster.owner.post("/reload", json={"path": str(by_hand), "iteration": 0}).is_success
    assert cluster.claim(session="s2")["previous"] is None  # no round made this one


def test_what_inference_has_under_a_rounds_number_makes_no_refused_adapter_good(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    job = cluster.claim()
    by_hand = cluster.paths.models / "by-hand"
    cluster.write_adapter(by_hand)
    assert cluster.owner.post("/reload", json={"path": str(by_hand), "iteration": 0}).is_success
    cluster.behave(refuse=True)
    assert not cluster.train(job)["accepted"]


def test_a_hand_in_is_checked(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(**{"finetuning.num_total_iters": 9})
    cluster.begin("de")
    missing = cluster.claim()
    assert "adapter_config.json" in cluster.hand_in(missing, "0" * 64).json()["reason"]

    second = cluster.claim()
    assert second["attempt"] == 2
    cluster.write_adapter(Path(second["folder"]))
    verdict = cluster.hand_in(second, "0" * 64).json()
    assert not verdict["accepted"] and "sha256" in verdict["reason"]

    outside = cluster.claim()
    assert outside["iteration"] == 1
    sha256 = cluster.write_adapter(tmp_path / "elsewhere")
    for path in (str(tmp_path / "elsewhere"), outside["folder"] + "/../../../../elsewhere", "/etc", "not there"):
        verdict = cluster.hand_in(outside, sha256, path).json()
        assert (verdict["accepted"], verdict["upload"]) == (False, True)
    assert not [call for call in cluster.stand_in_state()["calls"] if call[0] == "reload"]
    assert cluster.train(outside)["accepted"]


def test_a_hand_in_may_be_said_again(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(**{"finetuning.minimum_iteration_time": 600.0})
    cluster.begin("de")
    job = cluster.claim()
    sha256 = cluster.write_adapter(Path(job["folder"]))
    assert cluster.hand_in(job, sha256).json()["accepted"]
    assert cluster.hand_in(job, sha256).json()["accepted"]
    assert not cluster.hand_in(job, "0" * 64).json()["accepted"]
    assert sum(call[0] == "reload" for call in cluster.stand_in_state()["calls"]) == 1
    assert round_of(cluster, 0)["status"] == "held"


def test_messages_that_fit_no_round_change_nothing(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    job = cluster.claim()
    for wrong in ({"run": "another"}, {"iteration": 7}, {"attempt": 2}):
        assert not cluster.step(job | wrong)
        assert not cluster.hand_in(job | wrong, "0" * 64).json()["accepted"]
    assert cluster.work(f"rounds/{job['run']}/0/1/step", {"step": "x"}).status_code == 400
    assert cluster.work(f"rounds/{job['run']}/zero/1/step", {"step": 1, "steps": 1}).status_code == 400
    assert cluster.train(job)["accepted"]


def tar_of(files: dict[str, bytes]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


def test_an_adapter_travels_as_a_tar(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    job = cluster.claim(shares_folder=False)
    sha256 = cluster.write_adapter(tmp_path / "far" / "away")
    far = str(tmp_path / "far" / "away")
    assert cluster.hand_in(job, sha256, far).json()["upload"]
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
        reply = cluster.work(place, body, "PUT", **{"X-Sha256": sha256})
        assert (reply.status_code, reply.json()["error"][-1]) == (400, "."), name
    assert not Path(job["folder"]).exists()
    assert cluster.work(place, tar_of(good), "PUT", **{"X-Sha256": sha256}).status_code == 200
    assert cluster.hand_in(job, sha256, far).json()["accepted"]
    cluster.until_iteration(0)

    reply = cluster.work(f"adapters/{job['run']}/0", b"", "GET")
    with tarfile.open(fileobj=io.BytesIO(reply.content)) as tar:
        assert sorted(tar.getnames()) == ["adapter_config.json", "adapter_model.safetensors"]
        content = tar.extractfile("adapter_model.safetensors")
        assert content is not None and content.read() == weights
    assert reply.headers["X-Sha256"] == sha256
    assert int(reply.headers["Content-Length"]) == len(reply.content)
    left = {path.name for path in run_folder(cluster).iterdir() if not path.name.startswith("run.sqlite-")}
    assert left == {"adapters", "measures.jsonl", "run.json", "run.sqlite"}
    assert cluster.work(f"adapters/{job['run']}/5", b"", "GET").status_code == 404
    assert cluster.work(place, tar_of(good), "PUT", **{"X-Sha256": sha256}).status_code == 409


def test_an_upload_that_outlasts_the_lease_keeps_it(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(**{"finetuning.lease_seconds": 2})
    cluster.begin("de")
    job = cluster.claim(shares_folder=False)
    sha256 = cluster.write_adapter(tmp_path / "far")
    weights = (tmp_path / "far" / "adapter_model.safetensors").read_bytes()
    body = tar_of({"adapter_config.json": b"{}", "adapter_model.safetensors": weights})
    place = f"/worker/rounds/{job['run']}/0/1/adapter"
    headers = {"X-Key": cluster.keys.worker, "X-Sha256": sha256}

    def slowly() -> Iterator[bytes]:
        for part in range(8):  # four seconds, twice the lease
            time.sleep(0.5)
            yield body[part * len(body) // 8 : (part + 1) * len(body) // 8]

    assert cluster.owner.put(place, content=slowly(), headers=headers).status_code == 200
    assert cluster.hand_in(job, sha256, str(tmp_path / "far")).json()["accepted"]


def test_an_upload_of_an_attempt_that_ended_is_refused_on_the_way(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.begin("de")
    job = cluster.claim(shares_folder=False)
    place = f"/worker/rounds/{job['run']}/0/1/adapter"
    headers = {"X-Key": cluster.keys.worker, "X-Sha256": "0" * 64}

    def ending() -> Iterator[bytes]:
        yield b"x" * 1000
        cluster.work(f"rounds/{job['run']}/0/1/failed", {"reason": "It went wrong."})
        yield b"x" * 1000

    assert cluster.owner.put(place, content=ending(), headers=headers).status_code == 409
    assert not Path(job["folder"]).exists()


def test_a_verdict_stands_when_the_run_ends_before_it_is_read() -> None:
    verdict = HandInVerdict()
    verdict.decide(True)
    verdict.decide(False, "The run is over.")
    assert (verdict.accepted, verdict.reason) == (True, "")
