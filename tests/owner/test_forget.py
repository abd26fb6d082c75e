"""`POST /forget`: a station's words are deleted at once, wherever they are, and nobody else's."""

from __future__ import annotations

import pytest

from tests.owner.owner_cluster import OwnerCluster
from tests.waiting import until

pytestmark = pytest.mark.process

CANARY = "Xylophonquappe"


def files_with(cluster: OwnerCluster, word: str) -> list[str]:
    """The files of the data folder that hold a word, the write-ahead logs included."""
    files = [path for path in cluster.paths.data.rglob("*") if path.is_file()]
    return [path.name for path in files if word.encode() in path.read_bytes()]


def forget(cluster: OwnerCluster, station: str) -> dict[str, object]:
    reply = cluster.owner.post("/forget", json={"station": station})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_words_are_deleted_from_everywhere_and_from_the_round_that_nobody_has_claimed(cluster: OwnerCluster) -> None:
    cluster.begin()
    first = cluster.claim()  # on the seed alone
    cluster.chat(f"{CANARY} sagt", station="a")
    cluster.chat("Ein Wort, das bleibt", station="b")
    until(lambda: cluster.counts()["echo"] == 4, "echoes")
    assert cluster.train(first)["accepted"]
    until(lambda: len(cluster.state()["rounds"]) == 2, "round 1, which nobody has claimed")
    assert files_with(cluster, CANARY)
    events = cluster.events()
    state = next(events)

    assert forget(cluster, "a") == {"pairs": 3, "learned": False}
    assert files_with(cluster, CANARY) == []
    assert next(event.data for event in events if event.event == "forgotten") == '{"station":"a"}'
    assert cluster.owner.get("/station?station=a").json()["exchanges"] == []
    # What a stage hears that resumes, or opens now.
    resumed = cluster.events(state.id)
    seen = [next(resumed).data for _ in range(2)]
    assert not any(CANARY in data for data in seen)
    job = cluster.claim()
    assert job["samples"] and not any(CANARY in sample["prompt"] for sample in job["samples"])
    assert {pair["station"] for pair in cluster.pairs("visitor")} == {"b"}
    assert cluster.counts()["echo"] == 2
    assert CANARY not in cluster.log.read_text()

    # A round that trains on them has them, and it is said.
    assert any("bleibt" in sample["prompt"] for sample in job["samples"])
    assert forget(cluster, "b") == {"pairs": 3, "learned": True}
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(1)
    assert forget(cluster, "nobody") == {"pairs": 0, "learned": False}


def test_the_words_of_several_visitors_are_deleted_by_the_operator_alone(cluster: OwnerCluster) -> None:
    assert cluster.owner.post("/forget", json={"station": "a"}).status_code == 409
    cluster.begin()
    cluster.chat(CANARY)
    assert cluster.owner.post("/forget", json={"station": ""}).status_code == 401
    reply = cluster.owner.post("/forget", json={"station": ""}, headers={"X-Key": cluster.keys.operator})
    assert reply.json()["pairs"] >= 1
    until(lambda: files_with(cluster, CANARY) == [], "no file with it")
