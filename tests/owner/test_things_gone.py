"""What somebody deletes under a run, and the owner's own end while somebody is answered."""

from __future__ import annotations

import io
import shutil
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster
from tests.owner.round_clusters import MakeCluster
from tests.waiting import until
from wmkml.adapters.archive import pack

pytestmark = pytest.mark.process


def test_a_run_whose_adapters_are_deleted_goes_on(cluster: OwnerCluster) -> None:
    cluster.begin()
    assert cluster.train(cluster.claim())["accepted"]
    cluster.until_iteration(0)
    [run] = cluster.paths.runs.iterdir()
    offered = cluster.claim()
    assert offered["previous"]["iteration"] == 0
    shutil.rmtree(run / "adapters")
    # A worker elsewhere asks for it: a refusal, which it reports, and no error that it waits for the end of.
    gone = cluster.work(f"adapters/{run.name}/0", b"", method="GET")
    assert (gone.status_code, "gone" in gone.json()["error"]) == (404, True)
    place = f"rounds/{offered['run']}/{offered['iteration']}/{offered['attempt']}"
    assert cluster.work(f"{place}/failed", {"reason": "The adapter cannot be fetched."}).status_code == 200
    again = cluster.claim()
    assert (again["iteration"], again["attempt"], again["previous"]) == (1, 2, None)
    assert any("iteration 0 are gone" in notice for notice in cluster.state()["notices"])
    # The folder is made again for what it uploads.
    elsewhere = cluster.folder / "elsewhere"
    sha256 = cluster.write_adapter(elsewhere)
    archive = io.BytesIO()
    pack(elsewhere, archive)
    assert cluster.step(again, 1)
    place = f"rounds/{again['run']}/{again['iteration']}/{again['attempt']}"
    assert cluster.work(f"{place}/adapter", archive.getvalue(), "PUT", **{"X-Sha256": sha256}).status_code == 200
    assert cluster.hand_in(again, sha256, path=str(elsewhere)).json()["accepted"]
    cluster.until_iteration(1)


def test_a_run_whose_folder_is_deleted_ends_with_a_notice(cluster: OwnerCluster) -> None:
    cluster.begin()
    [run] = cluster.paths.runs.iterdir()
    assert cluster.owner_process is not None
    pid = cluster.owner_process.pid
    shutil.rmtree(run)
    state = cluster.until_phase("waiting")
    assert any(run.name in notice and "was deleted" in notice for notice in state["notices"])
    cluster.begin("en")
    assert cluster.chat("and now?")[-1][0] == "end"
    assert (cluster.owner_process.poll(), cluster.owner_process.pid) == (None, pid)
    assert "Traceback" not in cluster.log.read_text()


def test_the_kept_answers_do_not_grow_from_run_to_run(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(**{"finetuning.dataset_array": [["eins"]], "finetuning.samples_by_iteration": 30})
    log = cluster.paths.kept_answers.with_name(cluster.paths.kept_answers.name + "-wal")
    cluster.begin()
    until(lambda: cluster.counts()["dataset"] > 0, "dataset answers")
    assert log.stat().st_size > 0
    cluster.end()
    until(lambda: log.stat().st_size == 0, "an empty write-ahead log")


def test_a_prompt_under_way_when_the_owner_is_ended_gets_a_sentence(cluster: OwnerCluster) -> None:
    cluster.begin()
    cluster.behave(pause=3.0)
    assert cluster.owner_process is not None
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=cluster.owner.base_url, timeout=60) as http:
        reply = pool.submit(http.post, "/generate_gui", json={"prompt": "hallo"})
        until(lambda: cluster.stand_in_state()["under_way"] == 1, "the prompt")
        cluster.owner_process.terminate()
        answer = reply.result()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "ask again" in answer.json()["error"]
    cluster.owner_process.wait(30)
    assert "Traceback" not in cluster.log.read_text()
