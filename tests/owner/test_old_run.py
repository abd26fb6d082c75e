"""A run that an owner of 27 November 2026 left alive, before the rooms were moved: it goes on, with all that was in it.

`tests/fixtures/live_run/` is what that owner left when it was killed: round 0 accepted, round 1's adapter held.  Its
database is there as SQL, with `{runs}` for the folder of runs; the words in it are a stand-in's.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.owner.owner_cluster import OwnerCluster
from tests.waiting import until
from wmkml.config.paths import PROJECT

pytestmark = pytest.mark.process

LEFT = PROJECT / "tests" / "fixtures" / "live_run"
RUN = "20261128-200540-de-e7f8"
SECONDS_AGO = 20.0


def lay_down(runs: Path) -> None:
    """Put the run where the owner looks for it, as if it had begun a moment ago."""
    folder = runs / RUN
    folder.mkdir(parents=True)
    for name in ("run.json", "losses.jsonl", "measures.jsonl"):
        shutil.copy2(LEFT / name, folder / name)
    shutil.copytree(LEFT / "adapters", folder / "adapters")
    with closing(sqlite3.connect(folder / "run.sqlite")) as connection:
        connection.executescript((LEFT / "run.sql").read_text(encoding="utf-8").replace("{runs}", str(runs)))
        connection.execute("UPDATE run SET started_at = ?", (time.time() - SECONDS_AGO,))
        connection.commit()


def test_a_run_of_the_old_code_goes_on_in_the_new(tmp_path: Path) -> None:
    cluster = OwnerCluster(tmp_path)
    lay_down(cluster.paths.runs)
    try:
        cluster.start()
        cluster.until_iteration(1)  # what was held is loaded again, and answers
        state = cluster.state()
        assert (state["run"], state["phase"], state["language"]) == (RUN, "running", "de")
        assert state["elapsed_seconds"] > SECONDS_AGO
        assert [round_["status"] for round_ in state["rounds"][:2]] == ["accepted", "accepted"]
        assert state["pairs"]["visitor"] == 2 and state["pairs"]["persistent"] >= 3
        exchanges = cluster.owner.get("/station", params={"station": "window"}).json()["exchanges"]
        assert [exchange["prompt"] for exchange in exchanges] == ["Was ist ein Wald?", "Und ein Meer?"]
        job = cluster.claim()
        assert (job["run"], job["iteration"], job["attempt"]) == (RUN, 2, 1)
        assert job["previous"]["path"].endswith(f"{RUN}/adapters/iteration-1-attempt-1")
        assert cluster.train(job)["accepted"]
        cluster.until_iteration(2)
        until(lambda: cluster.state()["phase"] == "last_words", "the last words")
    finally:
        cluster.stop()
