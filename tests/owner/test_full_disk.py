"""A disk that takes nothing while people talk: answering goes on, nothing is acknowledged that is not kept, and it goes on by itself."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import until
from wmkml.access.pin import load_pin

pytestmark = pytest.mark.process


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def problems(cluster: OwnerCluster) -> set[str]:
    """The codes of the problems that the desk shows."""
    with httpx.Client(base_url=cluster.owner.base_url) as desk:
        assert desk.post("/desk/login", json={"pin": load_pin(cluster.paths)}).status_code == 200
        return {problem["code"] for problem in desk.get("/desk/state").json()["problems"]}


def acknowledged(cluster: OwnerCluster, prompts: list[str]) -> list[int]:
    """Ask, and return the pairs that were acknowledged; each answer must come whole and end in a word about it."""
    pairs = []
    for prompt in prompts:
        events = cluster.chat(prompt, station=prompt[:20])
        assert [name for name, _ in events].count("token") == 8
        name, data = events[-1]
        assert name == "end" or (name == "error" and "cannot be kept" in data["error"]), events[-1]
        pairs += [data["pair"]] if name == "end" else []
    return pairs


def refuses(cluster: OwnerCluster) -> bool:
    return not acknowledged(cluster, ["nochmal"])


def test_a_full_disk_stops_nobody_and_what_it_does_not_take_is_told(disk: SmallDisk) -> None:
    with started_cluster(disk.folder) as cluster:
        cluster.begin()
        kept = acknowledged(cluster, ["eins", "zwei"])
        assert cluster.train(cluster.claim())["accepted"]
        cluster.until_iteration(0)
        job = cluster.claim()
        sha256 = cluster.write_adapter(Path(job["folder"]))
        assert cluster.owner_process is not None
        owner = cluster.owner_process.pid

        disk.fill()
        kept += acknowledged(
            cluster, [f"frage {number} {'x' * 1500}" for number in range(1, 30)]
        )  # until no page is free
        until(lambda: refuses(cluster), "the disk to take nothing")
        assert acknowledged(cluster, [f"voll {number}" for number in range(5)]) == []
        gui = cluster.owner.post("/generate_gui", json={"prompt": "und hier?"})
        assert (gui.status_code, "disk is full" in gui.json()["error"]) == (507, True)
        assert "unstored" in problems(cluster)
        assert any("cannot be kept" in notice for notice in cluster.state()["notices"])
        # A round that is trained meanwhile waits, and is not lost.
        assert cluster.step(job, 2)
        assert cluster.hand_in(job, sha256).status_code in (200, 507)
        assert cluster.state()["iteration"] == 0
        assert (cluster.owner_process.poll(), cluster.owner_process.pid) == (None, owner)

        disk.free()
        until(lambda: acknowledged(cluster, ["wieder"]), "pairs to be kept again")
        kept += acknowledged(cluster, ["da"])
        cluster.until_iteration(1)
        assert "unstored" not in problems(cluster)

        cluster.kill_owner()
        cluster.start_owner()
        assert set(kept) <= {pair["pair"] for pair in cluster.pairs("visitor")}
        assert cluster.state()["iteration"] == 1


def test_a_disk_that_takes_nothing_else_is_survived_too(tmp_path: Path) -> None:
    """As a disk that turns read only: every write of the owner's fails, here by a limit on the size of its files."""
    with started_cluster(tmp_path) as cluster:
        cluster.begin()
        assert acknowledged(cluster, ["eins"])
        assert cluster.owner_process is not None
        pid = cluster.owner_process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        until(lambda: refuses(cluster), "the disk to take nothing")
        refused: Any = cluster.owner.post("/language", json={"language": "en"})
        assert (refused.status_code, "cannot be kept" in refused.json()["error"]) == (507, True)
        assert cluster.state()["phase"] == "waiting"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        cluster.begin("en")
        assert acknowledged(cluster, ["two"])
        assert cluster.owner_process.poll() is None
