"""Who may ask the selves of a run: keys, the desk's session, and with the switch everybody, in last words alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.access.pin import load_pin

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    """A started cluster whose last words are open to everybody."""
    with started_cluster(tmp_path_factory.mktemp("cluster"), **{"general.autopsy": True}) as cluster:
        yield cluster


def selves(cluster: OwnerCluster, **headers: str) -> int:
    return cluster.owner.get("/autopsy/selves", headers=headers).status_code


@contextmanager
def desk(cluster: OwnerCluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.owner.base_url) as client:
        assert client.post("/desk/login", json={"pin": load_pin(cluster.paths)}).status_code == 200
        yield client


def test_only_who_may_hear_all_words_asks_and_in_last_words_everybody(cluster: OwnerCluster) -> None:
    keys = cluster.keys
    assert selves(cluster, **{"X-Key": keys.stage}) == 409, "nobody lives"
    cluster.begin()
    assert not cluster.state()["autopsy"]
    assert [selves(cluster, **{"X-Key": key}) for key in (keys.stage, keys.operator)] == [200, 200]
    assert [selves(cluster, **{"X-Key": key}) for key in (keys.worker, "", "x" * 32)] == [401, 401, 401]
    for path in ("answers", "next"):
        reply = cluster.owner.post(f"/autopsy/{path}", json={"prompt": "Leuchtturmkanarie"})
        assert (reply.status_code, "Leuchtturm" in reply.text) == (401, False)
    with desk(cluster) as operator:
        assert operator.post("/desk/last_words").status_code == 200
    assert cluster.until_phase("last_words")["autopsy"], "which the visitors' pages hear"
    assert selves(cluster) == 200
    assert cluster.end().status_code == 200
    assert until(lambda: selves(cluster) == 401, "the door to close")


def test_the_desks_session_opens_it_and_ends_with_it(cluster: OwnerCluster) -> None:
    cluster.begin()
    assert cluster.owner.get("/desk/autopsy").status_code == 401
    with desk(cluster) as operator:
        reply = operator.get("/desk/autopsy")
        assert (reply.status_code, reply.headers["location"]) == (303, "../autopsy")
        assert "path=/autopsy" in reply.headers["set-cookie"].lower()
        assert operator.get("/autopsy/selves").status_code == 200
        operator.post("/desk/logout")
        assert operator.get("/autopsy/selves").status_code == 401
    cluster.end()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"prompt": " "}, 400),
        ({"prompt": "x", "language": "Leuchtturmkanarie"}, 400),
        ({"prompt": "x", "iterations": [7]}, 404),
        ({"prompt": "x", "iterations": []}, 400),
        ({"prompt": "x", "answer_ids": [-1]}, 400),
        ({"prompt": "x", "answer_ids": ["5"]}, 400),
        ({"prompt": "x", "answer_ids": [1] * 5000}, 400),
        ({"prompt": "x", "Leuchtturmkanarie": 1}, 400),
        ({"prompt": "x" * 70_000}, 413),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_asked_is_refused(cluster: OwnerCluster, body: dict[str, object], status: int) -> None:
    if cluster.state()["phase"] == "waiting":
        cluster.begin()
    reply = cluster.owner.post("/autopsy/answers", json=body, headers={"X-Key": cluster.keys.stage})
    assert reply.status_code == status, reply.text
    assert "Leuchtturm" not in reply.text


def test_the_page_keeps_the_stages_key_out_of_the_address(cluster: OwnerCluster) -> None:
    reply = cluster.owner.get(f"/autopsy?key={cluster.keys.stage}", follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "autopsy")
    assert "wmkml_stage" in reply.headers["set-cookie"]
