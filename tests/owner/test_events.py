"""The event stream: which events a listener receives, and how it resumes after a break."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.owner.events import event_hub
from wmkml.owner.events.event_hub import EventHub
from wmkml.owner.events.kept_alive import kept_alive
from wmkml.protocol.events import NoticeEvent, PastEvent


class EventListener:
    """Reads the event stream in a thread; `events` are those received so far."""

    def __init__(self, cluster: OwnerCluster, key: str = "", **params: str) -> None:
        self.events: list[httpx_sse.ServerSentEvent] = []
        self._cluster, self._key, self._params = cluster, key, params
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        until(lambda: self.events, "the first event")

    def _listen(self) -> None:
        headers = {"X-Key": self._key} if self._key else {}
        listening = httpx_sse.connect_sse(self._cluster.owner, "GET", "/events", params=self._params, headers=headers)
        with suppress(httpx.RemoteProtocolError), listening as source:  # the stream breaks off when the owner ends
            for event in source.iter_sse():
                self.events.append(event)

    def listens(self) -> bool:
        """Whether its stream is still open."""
        return self._thread.is_alive()

    def names(self) -> list[str]:
        return [event.event for event in self.events]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.events if event.event == name]


@pytest.mark.process
def test_a_station_hears_its_own_words_and_the_run(cluster: OwnerCluster) -> None:
    first, second = EventListener(cluster, station="a"), EventListener(cluster, station="b")
    stage = EventListener(cluster, cluster.keys.stage)
    assert first.names()[0] == stage.names()[0] == "state"
    cluster.begin("de")
    cluster.chat("meins", station="a")
    cluster.owner.post("/typing_event", json={"status": "typing", "station": "a"})
    cluster.train(cluster.claim())
    cluster.until_iteration(0)
    until(lambda: all("swap" in listener.names() for listener in (first, second, stage)), "the swap")
    for listener in (first, second, stage):
        assert {"run_started", "round", "swap", "state"} <= set(listener.names())
        assert listener.of("round")[0]["status"] == "open"
        assert listener.of("round")[-1]["iteration"] in (0, 1)
        assert listener.of("swap")[0]["iteration"] == 0
    words = {"prompt", "token", "response", "typing"}
    assert not words & set(second.names())
    assert words <= set(first.names()) and words <= set(stage.names())
    assert first.of("prompt") == [{"station": "a", "text": "meins"}]
    assert first.of("response") == [{"station": "a", "text": "Ein Haus aus Wörtern.", "iteration": -1}]
    assert first.of("token")[0] == {
        "station": "a",
        "text": "Ein ",
        "probability": 0.5,
        "entropy": 1.25,
        "iteration": -1,
    }


@pytest.mark.process
def test_a_run_is_told_from_its_start_to_its_end(tmp_path: Path) -> None:
    settings = {"finetuning.num_total_iters": 1, "finetuning.last_iteration_time": 0.5}
    with started_cluster(tmp_path, **settings) as cluster:
        stage = EventListener(cluster, cluster.keys.operator)
        cluster.begin("en")
        cluster.train(cluster.claim())
        until(lambda: "run_end" in stage.names(), "the end")
        names = [name for name in stage.names() if name in ("run_started", "swap", "last_words", "run_end")]
        assert names == ["run_started", "swap", "last_words", "run_end"]
        statuses = [record["status"] for record in stage.of("round")]
        assert list(dict.fromkeys(statuses)) == ["open", "training", "handed_in", "held", "accepted"]
        assert [record["step"] for record in stage.of("round") if record["status"] == "training"] == [0, 1, 2]


@pytest.mark.process
def test_a_listener_comes_back_to_where_it_was(cluster: OwnerCluster) -> None:
    stage = EventListener(cluster, cluster.keys.stage)
    cluster.begin("de")
    cluster.chat("eins")
    until(lambda: "response" in stage.names(), "the answer")
    at = next(event.id for event in stage.events if event.event == "prompt")
    sent = [(event.event, event.id) for event in stage.events]
    expected = sent[sent.index(("prompt", at)) + 1 :][:5]
    resumed_events = list(itertools.islice(cluster.events(at), 6))
    assert resumed_events[0].event == "state"
    assert [(event.event, event.id) for event in resumed_events[1:]] == expected


@pytest.mark.process
@pytest.mark.parametrize("unknown", ["", "nonsense", "abcd-12", "-1"])
def test_an_id_nobody_knows_gives_the_state(cluster: OwnerCluster, unknown: str) -> None:
    first = next(iter(cluster.events(unknown)))
    assert first.event == "state"
    assert json.loads(first.data)["phase"] == "waiting"
    assert first.id


async def test_an_id_with_a_digit_that_is_no_number_gives_the_state() -> None:
    hub = EventHub()
    first = await anext(hub.subscribe(None, None, lambda: NoticeEvent(text="so ist es")))
    start = first.split("id: ")[1].split("-")[0]
    resumed = await anext(hub.subscribe(None, f"{start}-²", lambda: NoticeEvent(text="so ist es")))
    assert "event: state\n" in resumed


@pytest.mark.process
def test_the_owners_restart_gives_a_listener_the_state(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    first = next(iter(cluster.events()))
    cluster.kill_owner()
    cluster.start_owner()
    resumed = next(iter(cluster.events(first.id)))
    assert (resumed.event, json.loads(resumed.data)["phase"]) == ("state", "running")


@pytest.mark.process
def test_a_run_that_is_over_cannot_be_resumed_into(cluster: OwnerCluster) -> None:
    cluster.begin("de")
    first = next(iter(cluster.events()))
    cluster.chat("vergiss das")
    cluster.end()
    resumed_events = list(itertools.islice(cluster.events(first.id), 1))
    assert resumed_events[0].event == "state"
    cluster.owner.post("/typing_event", json={"status": "typing"})
    after = list(itertools.islice(cluster.events(resumed_events[0].id), 2))
    assert "prompt" not in [event.event for event in after]


async def close(stream: AsyncIterator[str]) -> None:
    assert isinstance(stream, AsyncGenerator)
    await stream.aclose()


async def test_who_is_too_slow_is_dropped_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "MAX_QUEUED_EVENTS", 10)
    hub = EventHub()
    slow = hub.subscribe(None, None, lambda: NoticeEvent(text="state"))
    await anext(slow)
    for number in range(30):
        hub.publish("notice", NoticeEvent(text=str(number)))
    parts = [part async for part in slow]
    assert len(parts) == 10
    last_id = parts[-1].splitlines()[0].removeprefix("id: ")
    resumed = hub.subscribe(None, last_id, lambda: NoticeEvent(text="state"))
    await anext(resumed)
    assert '"10"' in await anext(resumed)
    await close(resumed)
    assert hub.listening_stations() == set()


async def test_what_stands_may_change_while_a_listener_is_told() -> None:
    hub = EventHub()
    hub.publish_retained("stage", NoticeEvent(text="blank"), retain=True)
    stream = hub.subscribe(None, None, lambda: NoticeEvent(text="state"))
    await anext(stream)
    assert "blank" in await anext(stream)
    hub.publish_retained("stage", NoticeEvent(text="shown"), retain=False)
    assert "shown" in await anext(stream)
    await close(stream)


async def test_who_comes_late_hears_what_was_said_where_it_asks_for_it() -> None:
    hub = EventHub()
    hub.publish("prompt", NoticeEvent(text="mine"), "a")
    hub.publish("notice", NoticeEvent(text="of the run"))
    hub.publish("prompt", NoticeEvent(text="another's"), "b")

    async def received(station: str | None, past: bool, last: str | None = None) -> list[str]:
        stream = hub.subscribe(
            station,
            last,
            lambda: NoticeEvent(text="state"),
            (lambda events: PastEvent(events=events)) if past else None,
        )
        parts = [await anext(stream)]
        hub.publish("notice", NoticeEvent(text="now"))
        while "now" not in parts[-1]:
            parts.append(await anext(stream))
        await close(stream)
        return [*(part for part in parts[1:-1]), parts[0].partition("\n")[0].removeprefix("id: ")]

    everything = await received(None, past=True)
    assert everything[:3] == [
        'event: past\ndata: {"events":2}\n\n',
        'event: prompt\ndata: {"text":"mine"}\n\n',
        'event: prompt\ndata: {"text":"another\'s"}\n\n',
    ]
    assert [part for part in await received("a", past=True) if "another's" in part] == []
    assert len(await received(None, past=False)) == 1
    # Who comes back is told what it missed, not what it has seen.
    missed = await received(None, past=True, last=everything[-1])
    assert missed and not any("past" in part or "mine" in part for part in missed)
    hub.clear_history()
    assert len(await received(None, past=True)) == 1


async def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "KEEP_ALIVE_SECONDS", 0.01)
    hub = EventHub()
    stream = hub.subscribe("a", None, lambda: NoticeEvent(text="state"))
    await anext(stream)
    assert (await anext(stream)).startswith(":")
    assert hub.listening_stations() == {"a"}
    waiting = asyncio.ensure_future(anext(stream, "over"))
    hub.close()
    while (comment := await waiting) != "over":
        assert comment.startswith(":")
        waiting = asyncio.ensure_future(anext(stream, "over"))


async def leave_as_the_reply_ends(ticks: int) -> None:
    """A client of a stream leaves so many turns of the loop after the last part was due."""
    over = asyncio.Event()

    async def parts() -> AsyncIterator[str]:
        await over.wait()
        for part in list[str]():
            yield part

    stream = kept_alive(parts())
    client = asyncio.ensure_future(anext(stream, "over"))
    await asyncio.sleep(0.01)
    over.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    client.cancel()
    await asyncio.wait([client])
    await stream.aclose()


@pytest.mark.parametrize("ticks", range(5))
async def test_a_client_that_leaves_as_its_reply_ends_leaves_no_error_behind(ticks: int) -> None:
    unheard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context["message"]))
    await leave_as_the_reply_ends(ticks)
    gc.collect()
    assert not unheard
