"""What is measured once of an iteration, on its way through a real owner: to store, run folder, state, events, OSC, metrics, desk."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pythonosc.osc_message import OscMessage

from tests.desk.operator import at_the_desk
from tests.owner.owner_cluster import OwnerCluster
from tests.owner.played_owner import PlayedOwner, played_owner
from tests.owner.round_clusters import MakeCluster, run_folder
from tests.owner.round_stand_ins import some_state
from tests.waiting import PATIENCE, until
from wmkml.config import load_settings
from wmkml.measures.registry import measured_once, shown_in
from wmkml.owner.events.event_hub import EventHub
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.measuring.record import MeasureRecord
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.osc import OscSender
from wmkml.protocol.run_state import RunState
from wmkml.rehearsal.observation import RunObservation, follow_events
from wmkml.runs.folder import create_run
from wmkml.runs.schema import AcceptedAdapter

pytestmark = pytest.mark.process

NAMES = [measure.name for measure in measured_once() if measure.name != "life"]  # life: test_life.py
OF_BASE: dict[str, Any] = {"values": dict.fromkeys(NAMES, 0.25), "layers": {"lora_update": [0.0, 0.0]}}
OF_FIRST: dict[str, Any] = {
    "values": {name: 0.5 + number for number, name in enumerate(NAMES)} | {"divergence": None},
    "layers": {"lora_update": [0.5, None]},
}


def recorded(measures: dict[str, Any]) -> dict[str, Any]:
    """What the owner makes of what a worker hands in: life is beside it where forgetting is."""
    forgetting = measures["values"]["forgetting"]
    return {**measures, "values": {**measures["values"], "life": None if forgetting is None else math.exp(-forgetting)}}


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    """An owner whose base model and iteration 0 were measured by the worker."""
    with played_owner(tmp_path_factory.mktemp("measured")) as owner:
        cluster = owner.cluster
        cluster.begin("de")
        job = cluster.claim(base_measures=OF_BASE)
        assert cluster.train(job, measures=OF_FIRST)["accepted"]
        cluster.until_iteration(0)
        yield owner


def collapse_messages(cluster: OwnerCluster) -> dict[str, list[float]]:
    """The values of every OSC message about a measure since the last call, by its address."""
    values: dict[str, list[float]] = {}
    while True:
        try:
            message = OscMessage(cluster.osc.recv(8192))
        except TimeoutError:
            return values
        if message.address.startswith("/collapse/"):
            values.setdefault(message.address, []).extend(message.params)


def test_every_measure_arrives_in_all_places(owner: PlayedOwner) -> None:
    cluster, values = owner.cluster, OF_FIRST["values"]
    state = cluster.state()
    assert state["measured"] == {"iteration": 0, **recorded(OF_FIRST)}
    # What could not be measured of this iteration is there as the one before it had it.
    now = {name: 0.25 if value is None else value for name, value in values.items()}
    assert {name: state["measures"][name] for name in NAMES} == now
    sent = collapse_messages(cluster)
    for name in NAMES:
        assert sent[f"/collapse/{name}"] == [value for value in (0.25, values[name]) if value is not None], name
    families = {family.name: family for family in text_string_to_metric_families(cluster.owner.get("/metrics").text)}
    of_run = {sample.labels["measure"]: sample.value for sample in families["wmkml_measure"].samples}
    assert {name: of_run[name] for name in NAMES} == now
    assert [sample.value for sample in families["wmkml_layer_measure"].samples] == [0.5]
    assert [sample.value for sample in families["wmkml_current_iteration"].samples] == [0.0]
    lines = [json.loads(line) for line in (run_folder(cluster) / "measures.jsonl").read_text().splitlines()]
    of_iterations = [line for line in lines if "layers" in line]
    assert [(line["iteration"], line["round"]) for line in of_iterations] == [(-1, 0), (0, 1)]
    assert of_iterations[1] == {
        "iteration": 0,
        "round": 1,
        **recorded(OF_FIRST)["values"],
        "layers": OF_FIRST["layers"],
    }
    with closing(sqlite3.connect(run_folder(cluster) / "run.sqlite")) as connection:
        stored = dict(connection.execute("SELECT name, value FROM measures WHERE iteration = 0"))
        layers = connection.execute("SELECT name, layer, value FROM layer_measures WHERE iteration = 0").fetchall()
    assert stored == recorded(OF_FIRST)["values"]
    assert layers == [("lora_update", 0, 0.5), ("lora_update", 1, None)]


def test_the_desk_shows_them_by_iteration(owner: PlayedOwner) -> None:
    on_desk = [measure.name for measure in shown_in("desk") if measure.name in NAMES]
    assert on_desk
    with at_the_desk(owner) as desk:
        measures = until(lambda: [row for row in desk.state()["measures"] if row["iteration"] == 0], "iteration 0")[0]
        [of_base] = [row for row in desk.state()["measures"] if row["iteration"] == -1]
    assert {name: measures[name] for name in on_desk} == {name: OF_FIRST["values"][name] for name in on_desk}
    assert {of_base[name] for name in on_desk} == {0.25}
    assert of_base["answers"] > 0


def test_an_event_tells_them_when_the_iteration_answers_and_a_restart_loses_none(tmp_path: Path) -> None:
    cluster = OwnerCluster(tmp_path)
    try:
        cluster.start()
        cluster.begin("de")
        cluster.claim(base_measures=OF_BASE)
        cluster.kill_owner()
        cluster.start_owner()
        assert cluster.state()["measured"] == {"iteration": -1, **recorded(OF_BASE)}
        until(lambda: cluster.state()["inference"] == "ready", "inference to be seen")
        events = cluster.events()
        assert next(events).event == "state"
        job = cluster.claim(base_measures={"values": {"perplexity": 9.0}})
        assert cluster.state()["measured"]["values"]["perplexity"] == 0.25  # the base model is measured once
        # A measure that this owner does not know is no reason to refuse a round.
        unknown: dict[str, Any] = {"values": {**OF_FIRST["values"], "of_tomorrow": 1.0}, "layers": OF_FIRST["layers"]}
        assert cluster.train(job, measures=unknown)["accepted"]
        measured = next(event for event in events if event.event == "measures")
        assert json.loads(measured.data) == {"iteration": 0, **recorded(OF_FIRST)}
    finally:
        cluster.stop()


def test_what_an_attempt_that_failed_was_measured_is_not_told(tmp_path: Path) -> None:
    cluster = OwnerCluster(tmp_path)
    try:
        cluster.start()
        cluster.behave(refuse=True)
        cluster.begin("de")
        for _ in range(2):
            assert not cluster.train(cluster.claim(), measures=OF_FIRST)["accepted"]
        job = until(lambda: job if (job := cluster.claim())["iteration"] == 1 else None, "round 1")
        cluster.behave(refuse=False)
        second: dict[str, Any] = {"values": {"perplexity": 7.0}}
        assert cluster.train(job, measures=second)["accepted"]
        cluster.until_iteration(1)
        assert cluster.state()["measured"] == {"iteration": 1, "layers": {}, **second}
        assert collapse_messages(cluster)["/collapse/perplexity"] == [7.0]
    finally:
        cluster.stop()


async def test_measures_may_come_late_and_in_parts(tmp_path: Path) -> None:
    folder, store = create_run(tmp_path, "r", "de", load_settings(None))
    run = LiveRun(folder, store, lambda error: pytest.fail(str(error)))
    hub = EventHub()
    record = MeasureRecord(run, EventPublisher(OscSender([]), hub, lambda: some_state(run), log_words=False))
    events = hub.subscribe(None, None, lambda: some_state(run))
    await anext(events)

    async def next_measured() -> dict[str, Any]:
        while True:
            name, data = (await anext(events)).strip().split("\n")[-2:]
            if name == "event: measures":
                return dict(json.loads(data.removeprefix("data: ")))

    record.record_measures(0, {"perplexity": 3.0, "confidence": float("nan")})
    assert record.of_current() is None and record.newest_values() == {}  # iteration 0 does not answer yet
    store.accept(AcceptedAdapter(0, "", "", from_round=True))
    run.iteration = 0
    record.iteration_answers(0)
    assert await next_measured() == {"iteration": 0, "values": {"perplexity": 3.0, "confidence": None}, "layers": {}}
    record.record_measures(0, {"confidence": 0.5}, {"lora_update": [float("inf")]})
    assert await next_measured() == {"iteration": 0, "values": {"confidence": 0.5}, "layers": {"lora_update": [None]}}
    assert record.newest_values() == {"perplexity": 3.0, "confidence": 0.5}
    [stored] = store.measures()
    assert stored == record.of_current()
    with pytest.raises(KeyError, match="of_tomorrow"):
        record.record_measures(0, {"of_tomorrow": 1.0})
    store.close()


async def test_a_rehearsal_records_what_is_measured_of_every_iteration(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()

    def play() -> None:
        cluster.begin("de")
        assert cluster.train(cluster.claim(base_measures=OF_BASE), measures=OF_FIRST)["accepted"]
        cluster.until_iteration(0)
        assert cluster.end().status_code == 200

    observation = RunObservation(RunState.model_validate(cluster.state()))
    async with httpx.AsyncClient(verify=False, base_url=str(cluster.owner.base_url)) as client:
        following = asyncio.create_task(
            follow_events(client, cluster.keys.stage, observation, on_swap=lambda _: None, on_round=lambda _: None)
        )
        await asyncio.to_thread(play)
        async with asyncio.timeout(PATIENCE):
            await following
    assert observation.measures == {-1: recorded(OF_BASE)["values"], 0: recorded(OF_FIRST)["values"]}
