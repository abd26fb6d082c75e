"""The take-home card: a station's first question, answered by every past iteration, and stored nowhere."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx_sse
import pytest
from playwright.sync_api import expect

from tests.frontend.visiting import chromium, enter, say, watched
from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.owner.played_owner import KEPT_ANSWER, played_owner
from tests.waiting import until
from wmkml.owner.app import ROLLING_SECONDS

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    """A started cluster that makes one echo of every prompt."""
    with started_cluster(tmp_path_factory.mktemp("cluster"), **{"inference.num_generated_responses": 1}) as cluster:
        yield cluster


@pytest.fixture
def run(cluster: OwnerCluster) -> OwnerCluster:
    """A run that has just begun."""
    cluster.begin("de")
    return cluster


def card(cluster: OwnerCluster, station: str) -> list[tuple[str, dict[str, Any]]]:
    with httpx_sse.connect_sse(cluster.owner, "POST", "/card", json={"station": station}) as source:
        assert source.response.status_code == 200
        return [(event.event, json.loads(event.data)) for event in source.iter_sse()]


def is_silent(cluster: OwnerCluster) -> bool:
    """Whether nothing is sent by OSC for longer than from one reading of the rolling measures to the next."""
    cluster.osc_addresses()
    time.sleep(1.5 * ROLLING_SECONDS)
    return not cluster.osc_addresses()


def card_requests(cluster: OwnerCluster, prompt: str) -> list[dict[str, Any]]:
    requests = [request for request in cluster.stand_in_state()["requests"] if request["audience"] == "panel"]
    return [request for request in requests if request["messages"][-1]["content"] == prompt]


def test_every_iteration_answers_the_first_question(run: OwnerCluster) -> None:
    run.chat("Was bleibt?", station="a")
    for iteration in range(2):
        assert run.train(run.claim())["accepted"]
        run.until_iteration(iteration)
    run.chat("Und danach?", station="a")
    before = run.counts()["visitor"], len(run.pairs("visitor"))
    until(lambda: is_silent(run), "the measures of the answers to be sent")
    with httpx_sse.connect_sse(run.owner, "GET", "/events", headers={"X-Key": run.keys.stage}) as stage:
        stage_events = stage.iter_sse()
        assert next(stage_events).event == "state"
        events = card(run, "a")
        run.owner.post("/typing_event", json={"status": "typing", "station": "a"})
        names = [next(stage_events).event]
        while names[-1] != "typing":
            names.append(next(stage_events).event)
    assert [name for name, _ in events] == ["card", "answer", "answer", "answer", "end"]
    assert events[0][1] == {"prompt": "Was bleibt?", "language": "de", "iterations": [-1, 0, 1]}
    assert [event["iteration"] for _, event in events[1:-1]] == [-1, 0, 1]
    assert events[1][1]["text"] == "Ein Haus aus Wörtern.", "what this very visitor was answered"
    assert [event["text"].split(" von ")[1] for _, event in events[2:-1]] == ["iteration-0.", "iteration-1."]
    assert events[-1][1] == {"answers": 3}
    [first, second] = card_requests(run, "Was bleibt?")
    assert [first["model"], second["model"]] == ["iteration-0", "iteration-1"]
    assert [message["role"] for message in first["messages"]] == ["system", "user"], "no window"
    assert (run.counts()["visitor"], len(run.pairs("visitor"))) == before, "stored nowhere"
    assert not {"prompt", "start", "token", "response"}.intersection(names), "told to nobody"
    assert set(run.osc_addresses()) <= {"/user_activity"}


def test_a_card_is_a_stations_own(run: OwnerCluster) -> None:
    run.chat("Nur ich", station="a")
    reply = run.owner.post("/card", json={"station": "b"})
    assert (reply.status_code, reply.json()["error"]) == (
        409,
        "There is no question for a card yet: ask something first.",
    )
    assert run.owner.post("/card", json={"station": ""}).status_code == 401
    assert run.owner.post("/card", json={}).status_code == 400
    assert [event["text"] for _, event in card(run, "a")[1:-1]] == ["Ein Haus aus Wörtern."]


def test_without_a_run_there_is_no_card(cluster: OwnerCluster) -> None:
    cluster.end()
    reply = cluster.owner.post("/card", json={"station": "a"})
    assert reply.status_code == 409
    assert "choose a language" in reply.json()["error"]


def test_a_card_ends_with_its_run(run: OwnerCluster) -> None:
    run.chat("Was bleibt?", station="a")
    assert run.train(run.claim())["accepted"]
    run.until_iteration(0)
    run.behave(pause=10)
    with httpx_sse.connect_sse(run.owner, "POST", "/card", json={"station": "a"}) as source:
        events = source.iter_sse()
        assert [next(events).event, next(events).event] == ["card", "answer"]
        until(lambda: card_requests(run, "Was bleibt?"), "the past self to be asked")
        assert run.end().status_code == 200
        last = next(events)
    run.behave(pause=0)
    assert (last.event, "reborn" in json.loads(last.data)["error"]) == ("error", True)


INK = """canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const rows = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at] < 120) rows.add(Math.floor(at / 4 / canvas.width));
    return rows.size;
}"""
"""How many rows of the picture hold ink."""


def test_a_visitor_takes_the_card_home(tmp_path: Path) -> None:
    with (
        played_owner(tmp_path, **{"general.idle_seconds": 0.0}) as owner,
        chromium() as browser,
        watched(browser, owner.address) as visitor,
    ):
        page = enter(visitor, owner)
        expect(page.locator("#card-open")).to_have_count(0)
        say(page, "Was bleibt?", answers=1)
        owner.play_round()
        owner.play_round()
        expect(page.locator("#iteration")).to_have_text("Iteration 1")
        page.locator("#card-open").click()
        expect(page.locator("#card-save")).to_be_enabled()
        expect(page.locator("#card-making")).to_be_empty()
        texts = page.locator("#card-text p")
        expect(texts).to_have_count(4)
        expect(texts.nth(0)).to_have_text("Was bleibt?")
        expect(texts.nth(1)).to_have_text(f"Iteration −1 (unberührt): {KEPT_ANSWER}")
        expect(texts.nth(3)).to_contain_text("Iteration 1: Antwort")
        until(lambda: page.locator("#card canvas").evaluate(INK) > 100, "four texts in ink")
        with page.expect_download() as download:
            page.locator("#card-save").click()
        assert download.value.suggested_filename == "karte.png"
        picture = Path(download.value.path()).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert struct.unpack(">II", picture[16:24]) == (1240, 1748)
        page.emulate_media(media="print")
        expect(page.locator("#card canvas")).to_be_visible()
        for other in ("#prompt", "#run", "#ground", "#card-save"):
            expect(page.locator(other)).to_be_hidden()
        page.emulate_media(media="screen")
        page.keyboard.press("Escape")
        expect(page.locator("#card")).to_have_count(0)
        assert "von iteration-" not in page.content()
        kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
        assert "bleibt" not in kept
        assert "Wörter" not in kept
