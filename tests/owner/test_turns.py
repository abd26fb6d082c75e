"""Stations take turns: one that asks two hundred things at once waits for itself, and is what a round learns by its share alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import PATIENCE, until
from wmkml.owner.answers.turns import KEPT_SECONDS, MAX_WAITING_PROMPTS, StationTurns, TooManyPromptsError
from wmkml.owner.events.typing_limit import EVENTS_OF_ALL, EVENTS_OF_STATION, WINDOW_SECONDS, TypingLimit


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Prompts:
    """Prompts that take their turns, and end when they are told to."""

    def __init__(self, turns: StationTurns) -> None:
        self._turns, self.begun = turns, list[str]()
        self.places: dict[str, int] = {}
        self.placed = asyncio.Event()
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def ask(self, name: str) -> None:
        """`name`: the station's, and a number."""
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(name))

    async def _run(self, name: str) -> None:
        def on_place(before: int) -> None:
            self.places[name] = before
            self.placed.set()

        async with self._turns.turn(name.split()[0], on_place):
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()


async def test_a_station_waits_for_itself_and_the_others_before_it_goes_on() -> None:
    prompts = Prompts(StationTurns(most=3, most_of_station=2))
    for name in ("a 1", "a 2", "a 3", "a 4", "b 1", "c 1", "c 2"):
        prompts.ask(name)
        await settle()
    assert prompts.begun == ["a 1", "a 2", "b 1"]
    await prompts.end("a 1")
    assert prompts.begun[3:] == ["a 3"]  # it was first in line
    await prompts.end("a 2")
    assert prompts.begun[4:] == ["c 1"]
    await prompts.end("b 1")
    assert prompts.begun[5:] == ["a 4"]
    await prompts.end("a 3")
    assert prompts.begun[6:] == ["c 2"]


async def test_a_visitor_who_leaves_gives_the_turn_on() -> None:
    prompts = Prompts(StationTurns(most=1, most_of_station=0))
    for name in ("a 1", "a 2", "b 1", "c 1"):
        prompts.ask(name)
        await settle()
    prompts.tasks["b 1"].cancel()
    prompts.tasks["a 1"].cancel()  # and with it a 2 is given the turn, at the moment it leaves too
    prompts.tasks["a 2"].cancel()
    await settle()
    assert prompts.begun == ["a 1", "c 1"]
    await prompts.end("c 1")
    prompts.ask("d 1")
    await settle()
    assert prompts.begun[-1] == "d 1"


async def test_who_waits_hears_how_many_are_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmkml.owner.answers.turns.PLACE_SECONDS", 0.001)
    prompts = Prompts(StationTurns(most=1, most_of_station=0))
    for name in ("a 1", "b 1", "b 2", "c 1", "c 2", "a 2", "b 3"):
        prompts.ask(name)
        await settle()

    async def until_places(**expected: int) -> None:
        names = {name.replace("_", " "): place for name, place in expected.items()}
        async with asyncio.timeout(PATIENCE):
            while any(prompts.places.get(name) != place for name, place in names.items()):
                await prompts.placed.wait()
                prompts.placed.clear()

    # Each station's first, in the order they came, then each one's second.
    await until_places(b_1=0, c_1=1, a_2=2, b_2=3, c_2=4, b_3=5)
    assert "a 1" not in prompts.places
    await prompts.end("a 1")
    await until_places(c_1=0, a_2=1, b_2=2, c_2=3, b_3=4)
    for task in prompts.tasks.values():
        task.cancel()


async def test_a_station_that_asks_again_has_its_place() -> None:
    now = [0.0]
    prompts = Prompts(StationTurns(most=1, most_of_station=0, clock=lambda: now[0]))
    for name in ("a 1", "b 1", "c 1", "d 1"):
        prompts.ask(name)
        await settle()
    prompts.tasks["b 1"].cancel()  # the connection breaks off while it waits …
    await settle()
    now[0] += KEPT_SECONDS / 2
    for name in ("e 1", "b 2"):
        prompts.ask(name)
        await settle()
    await prompts.end("a 1")
    assert prompts.begun == ["a 1", "b 2"]
    prompts.tasks["b 2"].cancel()  # … and once more, while it is answered
    await settle()
    prompts.ask("b 3")
    await settle()
    await prompts.end("c 1")
    assert prompts.begun[2:] == ["c 1", "b 3"], "before d, which came later"
    prompts.tasks["b 3"].cancel()
    await settle()
    prompts.ask("b 4")
    await settle()
    await prompts.end("d 1")
    await prompts.end("e 1")
    assert prompts.begun[4:] == ["d 1", "e 1", "b 4"], "who leaves in mid-answer has its place again once"


async def test_a_place_is_kept_for_a_while_alone() -> None:
    now = [0.0]
    prompts = Prompts(StationTurns(most=1, most_of_station=0, clock=lambda: now[0]))
    for name in ("a 1", "b 1", "c 1"):
        prompts.ask(name)
        await settle()
    prompts.tasks["b 1"].cancel()
    await settle()
    now[0] += KEPT_SECONDS + 1
    prompts.ask("b 2")
    await settle()
    await prompts.end("a 1")
    await prompts.end("c 1")
    assert prompts.begun == ["a 1", "c 1", "b 2"]


async def test_a_line_has_an_end() -> None:
    turns = StationTurns(most=1, most_of_station=1)
    prompts = Prompts(turns)
    for number in range(MAX_WAITING_PROMPTS + 1):
        prompts.ask(f"a {number}")
    await settle()
    with pytest.raises(TooManyPromptsError):
        async with turns.turn("a"):
            pass
    for task in prompts.tasks.values():
        task.cancel()


def test_typing_is_passed_on_at_a_humans_pace() -> None:
    now = [0.0]
    limit = TypingLimit(lambda: now[0])
    assert sum(limit.allows("a") for _ in range(1000)) == EVENTS_OF_STATION
    assert limit.allows("b")
    assert sum(limit.allows(f"s{number}") for number in range(1000)) == EVENTS_OF_ALL - EVENTS_OF_STATION - 1
    now[0] += WINDOW_SECONDS
    assert limit.allows("a")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    settings = {
        "inference.prompts_per_station": 2,
        "finetuning.similar_prompts_as_one": True,
        "finetuning.station_share": 0.5,
        "finetuning.samples_by_iteration": 20,
        "finetuning.live_samples_by_iteration": 20,
        "finetuning.num_total_iters": 2,
    }
    with started_cluster(tmp_path_factory.mktemp("cluster"), **settings) as cluster:
        yield cluster


@pytest.mark.process
def test_a_flood_starves_nobody_and_owns_no_round(cluster: OwnerCluster) -> None:
    cluster.begin()
    first = cluster.claim()  # round 0 has opened on the seed alone
    cluster.behave(pause=0.02)

    def ask(number: int, station: str) -> int:
        with httpx.Client(base_url=cluster.owner.base_url, timeout=120) as http:
            return http.post(
                "/chat",
                json={
                    "prompt": f"Kauf mich {number}" if station == "flooder" else f"Frage von {station}",
                    "station": station,
                },
            ).status_code

    with ThreadPoolExecutor(80) as pool:
        flood = [pool.submit(ask, number, "flooder") for number in range(60)]
        until(lambda: cluster.stand_in_state()["under_way"] == 2, "the flood")
        began = time.monotonic()
        others = [pool.submit(ask, 0, station) for station in ("anna", "berta", "clara")]
        assert [other.result() for other in others] == [200] * 3
        waited = time.monotonic() - began
        done = sum(prompt.done() for prompt in flood)
        assert done < 60, "the others did not wait for the flood"
        assert [prompt.result() for prompt in flood] == [200] * 60
        assert time.monotonic() - began > 2 * waited
    until(lambda: cluster.counts()["echo"] >= 60, "echoes")
    assert cluster.train(first)["accepted"]
    stations = {pair["pair"]: pair["station"] for pair in cluster.pairs()}
    assert {pair["station"] for pair in cluster.pairs("echo")} <= {"flooder", "anna", "berta", "clara"}
    job = cluster.claim()
    samples = Counter("Kauf" in sample["prompt"] for sample in job["samples"])
    assert len(job["samples"]) == 22 and samples[True] <= 11
    assert len(stations) > 100
