"""The event stream: who hears what, and coming back to it."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.owner_house import House, until
from wmkml.owner import events
from wmkml.owner.events import Hub
from wmkml.owner.telling import NoticeTold, PastTold


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    try:
        yield house.start()
    finally:
        house.stop()


class Listener:
    """Listens in a thread of its own."""

    def __init__(self, house: House, key: str = "", **params: str) -> None:
        self.heard: list[httpx_sse.ServerSentEvent] = []
        self._house, self._key, self._params = house, key, params
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        until(lambda: self.heard, "the first event")

    def _listen(self) -> None:
        headers = {"X-Key": self._key} if self._key else {}
        listening = httpx_sse.connect_sse(self._house.owner, "GET", "/events", params=self._params, headers=headers)
        with suppress(httpx.RemoteProtocolError), listening as source:  # the owner's end breaks the stream off
            for event in source.iter_sse():
                self.heard.append(event)

    def names(self) -> list[str]:
        return [event.event for event in self.heard]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.heard if event.event == name]


def test_a_station_hears_its_own_words_and_the_run(house: House) -> None:
    mine, others = Listener(house, station="a"), Listener(house, station="b")
    stage = Listener(house, house.keys.stage)
    assert mine.names()[0] == stage.names()[0] == "state"
    house.begin("de")
    house.chat("meins", station="a")
    house.owner.post("/typing_event", json={"status": "typing", "station": "a"})
    house.train(house.claim())
    house.until_iteration(0)
    until(lambda: all("swap" in one.names() for one in (mine, others, stage)), "the swap")
    for one in (mine, others, stage):
        assert {"run_started", "round", "swap", "state"} <= set(one.names())
        assert one.of("round")[0]["status"] == "open"
        assert one.of("round")[-1]["iteration"] in (0, 1)
        assert one.of("swap")[0]["iteration"] == 0
    words = {"prompt", "token", "response", "typing"}
    assert not words & set(others.names())
    assert words <= set(mine.names()) and words <= set(stage.names())
    assert mine.of("prompt") == [{"station": "a", "text": "meins"}]
    assert mine.of("response") == [{"station": "a", "text": "Ein Haus aus Wörtern.", "iteration": -1}]
    assert mine.of("token")[0] == {
        "station": "a",
        "text": "Ein ",
        "probability": 0.5,
        "entropy": 1.25,
        "iteration": -1,
    }


def test_a_run_is_told_from_its_start_to_its_end(tmp_path: Path) -> None:
    house = House(tmp_path, **{"finetuning.num_total_iters": 1, "finetuning.last_iteration_time": 0.5})
    try:
        house.start()
        stage = Listener(house, house.keys.operator)
        house.begin("en")
        house.train(house.claim())
        until(lambda: "run_end" in stage.names(), "the end")
        told = [name for name in stage.names() if name in ("run_started", "swap", "last_words", "run_end")]
        assert told == ["run_started", "swap", "last_words", "run_end"]
        statuses = [record["status"] for record in stage.of("round")]
        assert list(dict.fromkeys(statuses)) == ["open", "training", "handed_in", "held", "accepted"]
        assert [record["step"] for record in stage.of("round") if record["status"] == "training"] == [0, 1, 2]
    finally:
        house.stop()


def test_a_listener_comes_back_to_where_it_was(house: House) -> None:
    stage = Listener(house, house.keys.stage)
    house.begin("de")
    house.chat("eins")
    until(lambda: "response" in stage.names(), "the answer")
    at = next(event.id for event in stage.heard if event.event == "prompt")
    known = [(event.event, event.id) for event in stage.heard]
    expected = known[known.index(("prompt", at)) + 1 :][:5]
    again = list(itertools.islice(house.events(**{"Last-Event-ID": at}), 6))
    assert again[0].event == "state"
    assert [(event.event, event.id) for event in again[1:]] == expected


@pytest.mark.parametrize("unknown", ["", "nonsense", "abcd-12", "-1"])
def test_an_id_nobody_knows_gives_the_state(house: House, unknown: str) -> None:
    first = next(iter(house.events(**{"Last-Event-ID": unknown})))
    assert first.event == "state"
    assert json.loads(first.data)["phase"] == "waiting"
    assert first.id


async def test_an_id_with_a_digit_that_is_no_number_gives_the_state() -> None:
    hub = Hub()
    first = await anext(hub.listen(None, None, lambda: NoticeTold(text="so ist es")))
    start = first.split("id: ")[1].split("-")[0]
    again = await anext(hub.listen(None, f"{start}-²", lambda: NoticeTold(text="so ist es")))
    assert "event: state\n" in again


def test_the_owners_restart_gives_a_listener_the_state(house: House) -> None:
    house.begin("de")
    first = next(iter(house.events()))
    house.kill_owner()
    house.start_owner()
    again = next(iter(house.events(**{"Last-Event-ID": first.id})))
    assert (again.event, json.loads(again.data)["phase"]) == ("state", "running")


def test_a_run_that_is_over_cannot_be_resumed_into(house: House) -> None:
    house.begin("de")
    first = next(iter(house.events()))
    house.chat("vergiss das")
    house.end()
    again = list(itertools.islice(house.events(**{"Last-Event-ID": first.id}), 1))
    assert again[0].event == "state"
    house.owner.post("/typing_event", json={"status": "typing"})
    after = list(itertools.islice(house.events(**{"Last-Event-ID": again[0].id}), 2))
    assert "prompt" not in [event.event for event in after]


async def test_who_is_too_slow_is_dropped_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WAITING_EVENTS", 10)
    hub = Hub()
    slow = hub.listen(None, None, lambda: NoticeTold(text="state"))
    await anext(slow)
    for number in range(30):
        hub.publish("notice", NoticeTold(text=str(number)))
    got = [part async for part in slow]
    assert len(got) == 10
    last_id = got[-1].splitlines()[0].removeprefix("id: ")
    again = hub.listen(None, last_id, lambda: NoticeTold(text="state"))
    await anext(again)
    assert '"10"' in await anext(again)
    await again.aclose()
    assert hub.stations() == set()


async def test_what_stands_may_change_while_a_listener_is_told() -> None:
    hub = Hub()
    hub.stand("stage", NoticeTold(text="blank"), stands=True)
    stream = hub.listen(None, None, lambda: NoticeTold(text="state"))
    await anext(stream)
    assert "blank" in await anext(stream)
    hub.stand("stage", NoticeTold(text="shown"), stands=False)
    assert "shown" in await anext(stream)
    await stream.aclose()


async def test_who_comes_late_hears_what_was_said_where_it_asks_for_it() -> None:
    hub = Hub()
    hub.publish("prompt", NoticeTold(text="mine"), "a")
    hub.publish("notice", NoticeTold(text="of the run"))
    hub.publish("prompt", NoticeTold(text="another's"), "b")

    async def heard(station: str | None, past: bool, last: str | None = None) -> list[str]:
        stream = hub.listen(
            station, last, lambda: NoticeTold(text="state"), (lambda events: PastTold(events=events)) if past else None
        )
        parts = [await anext(stream)]
        hub.publish("notice", NoticeTold(text="now"))
        while "now" not in parts[-1]:
            parts.append(await anext(stream))
        await stream.aclose()
        return [*(part for part in parts[1:-1]), parts[0].partition("\n")[0].removeprefix("id: ")]

    everything = await heard(None, past=True)
    assert everything[:3] == [
        'event: past\ndata: {"events":2}\n\n',
        'event: prompt\ndata: {"text":"mine"}\n\n',
        'event: prompt\ndata: {"text":"another\'s"}\n\n',
    ]
    assert [part for part in await heard("a", past=True) if "another's" in part] == []
    assert len(await heard(None, past=False)) == 1
    # Who comes back is told what it missed, not what it has seen.
    missed = await heard(None, past=True, last=everything[-1])
    assert missed and not any("past" in part or "mine" in part for part in missed)
    hub.forget()
    assert len(await heard(None, past=True)) == 1


async def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.01)
    hub = Hub()
    stream = hub.listen("a", None, lambda: NoticeTold(text="state"))
    await anext(stream)
    assert (await anext(stream)).startswith(":")
    assert hub.stations() == {"a"}
    waiting = asyncio.ensure_future(anext(stream, "over"))
    hub.close()
    while (said := await waiting) != "over":
        assert said.startswith(":")
        waiting = asyncio.ensure_future(anext(stream, "over"))
