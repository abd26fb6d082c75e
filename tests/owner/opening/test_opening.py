"""Opening, closing and panic on the real owner, whose clock the tests put forward."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.__main__ import main

pytestmark = pytest.mark.process

FAREWELL_SECONDS = 50.0
HOUR = 3600.0


def hours_around_now() -> str:
    """Open every day from an hour ago until in an hour, in UTC."""
    now = datetime.now(UTC)
    begin, end = (now + timedelta(hours=hours) for hours in (-1, 1))
    return f"Mo-Su {begin:%H:%M}-{end:%H:%M}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnerCluster]:
    settings: dict[str, Any] = {
        "general.opening_hours": hours_around_now(),
        "general.time_zone": "UTC",
        "general.farewell_seconds": FAREWELL_SECONDS,
    }
    with started_cluster(tmp_path, "forward clock", **settings) as cluster:
        yield cluster


def opening(cluster: OwnerCluster) -> dict[str, Any]:
    return dict(cluster.state()["opening"])


def refusal(cluster: OwnerCluster, path: str, body: dict[str, Any]) -> str:
    reply = cluster.owner.post(path, json=body)
    assert reply.status_code == 503, reply.text
    return str(reply.json()["error"])


def test_at_closing_time_the_run_says_farewell_and_at_opening_time_one_can_begin(cluster: OwnerCluster) -> None:
    assert "/open" in cluster.osc_addresses()
    cluster.begin("de")
    assert opening(cluster)["open"] and opening(cluster)["next_change"] <= time.time() + HOUR
    cluster.advance(HOUR)
    state = until(lambda: state if (state := cluster.state())["phase"] == "last_words" else None, "the last words")
    assert state["opening"]["farewell"] and not state["opening"]["open"]
    assert 0 < state["time_left_seconds"] <= FAREWELL_SECONDS
    assert cluster.chat("Leb wohl")[-1][0] == "end", "who is there may still talk"
    assert "/open" in cluster.osc_addresses()
    cluster.advance(FAREWELL_SECONDS)
    cluster.until_phase("waiting")
    for path, body in (
        ("/language", {"language": "de"}),
        ("/chat", {"prompt": "Hallo?"}),
        ("/generate_gui", {"prompt": "Hallo?"}),
    ):
        assert "closed until" in refusal(cluster, path, body)
    cluster.advance(22 * HOUR)
    until(lambda: opening(cluster)["open"], "the next day")
    cluster.begin("de")


def test_a_wall_clock_that_is_set_closes_and_opens_and_ends_no_run(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    run = cluster.state()["run"]
    cluster.set_wall_clock(-24 * HOUR)  # the day before, at the same hour
    assert opening(cluster)["open"] and opening(cluster)["next_change"] < time.time() - 22 * HOUR
    assert cluster.chat("Gestern?")[-1][0] == "end"
    cluster.set_wall_clock(2 * HOUR)
    state = until(lambda: state if (state := cluster.state())["phase"] == "last_words" else None, "the last words")
    assert state["opening"]["farewell"] and state["elapsed_seconds"] < HOUR
    # The mistake is seen before the farewell is over: who is there goes on talking.
    cluster.set_wall_clock(0.0)
    until(lambda: opening(cluster)["open"], "it to be open")
    cluster.advance(2 * FAREWELL_SECONDS)
    assert cluster.chat("Und heute?")[-1][0] == "end"
    assert cluster.state()["run"] == run


def test_the_operator_closes_for_tonight_over_a_restart_and_opens(
    cluster: OwnerCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", str(cluster.config)]
    assert main(["opening", "close", *config]) == 0
    assert capsys.readouterr().out.startswith("Closed until ")
    assert opening(cluster)["decision"] == "closed"
    cluster.kill_owner()
    cluster.start_owner()
    assert not opening(cluster)["open"] and opening(cluster)["next_change"] > time.time() + 20 * HOUR
    assert "closed until" in refusal(cluster, "/language", {"language": "de"})
    assert main(["opening", "hours", *config]) == 0
    assert opening(cluster)["open"] and opening(cluster)["decision"] == "hours"
    cluster.advance(HOUR)
    until(lambda: not opening(cluster)["open"], "closing time")
    assert main(["opening", "open", *config]) == 0
    cluster.begin("de")
    cluster.kill_owner()
    assert main(["opening", "open", *config]) == 1
    assert "./master_script.sh status" in capsys.readouterr().err


def test_panic_breaks_answers_off_and_refuses_others_until_it_is_over(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    cluster.behave(pause=0.5, words=["und "] * 200)
    under_way: list[list[tuple[str, dict[str, Any]]]] = []
    visitor = threading.Thread(target=lambda: under_way.append(cluster.chat("Erzähl")))
    visitor.start()
    until(lambda: len(cluster.stand_in_state()["requests"]) > 0, "the prompt to reach inference")
    config = ["--config", str(cluster.config)]
    assert main(["panic", *config]) == 0
    visitor.join(20)
    assert [under_way[0][-1][0], under_way[0][-1][1]["error"].split(";")[0]] == [
        "error",
        "The operator has stopped the answers",
    ]
    assert cluster.counts()["visitor"] == 0, "an answer that was broken off is not kept"
    assert "stopped the answers" in refusal(cluster, "/chat", {"prompt": "Hallo?"})
    assert "stopped the answers" in refusal(cluster, "/generate_gui", {"prompt": "Hallo?"})
    cluster.kill_owner()
    cluster.start_owner()
    assert opening(cluster)["panic"], "a restart does not end it"
    assert main(["panic", "off", *config]) == 0
    cluster.behave(pause=0.0, words=["Ja", "."])
    until(lambda: cluster.state()["inference"] == "ready", "inference")
    assert cluster.chat("Hallo?")[-1][0] == "end"
    assert cluster.osc_addresses().count("/panic") == 3


def test_the_doors_need_the_operators_key(cluster: OwnerCluster) -> None:
    for path, body in (("opening", {"decision": "closed"}), ("panic", {"on": True})):
        assert cluster.owner.post(f"/operator/{path}", json=body).status_code in (401, 403)
        assert cluster.owner.post(f"/desk/{path}", json=body).status_code == 401
        headers = {"X-Key": cluster.keys.operator}
        assert cluster.owner.post(f"/operator/{path}", json={"decision": "x"}, headers=headers).status_code == 400
    assert opening(cluster)["open"] and not opening(cluster)["panic"]


@pytest.mark.parametrize("on_idle", ["rebirth", "continue"])
def test_a_run_that_everybody_left(tmp_path: Path, on_idle: str) -> None:
    settings = {"general.on_idle": on_idle, "general.idle_seconds": 60.0, "finetuning.duration_of_a_run": 5000.0}
    with started_cluster(tmp_path, "forward clock", **settings) as cluster:
        cluster.begin("de")
        cluster.advance(50)
        assert cluster.owner.post("/typing_event", json={"status": "typing"}).status_code == 200
        cluster.advance(50)
        with pytest.raises(AssertionError):  # a second is enough for the owner to look twice
            _until_waiting(cluster, 1.5)
        cluster.advance(50)
        if on_idle == "rebirth":
            cluster.until_phase("waiting")
        else:
            with pytest.raises(AssertionError):
                _until_waiting(cluster, 1.5)


def _until_waiting(cluster: OwnerCluster, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if cluster.state()["phase"] == "waiting":
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("it goes on")
