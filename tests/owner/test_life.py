"""Life on its way through a real owner, and how it moves between two iterations."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx_sse
import pytest

from tests.owner.owner_cluster import started_cluster
from tests.owner.test_measures import collapse_messages
from tests.owner.virtual_loop import VirtualLoop
from tests.waiting import until
from wmkml.owner.measuring.life_course import EASE_SECONDS, STEP_SECONDS, LifeCourse

pytestmark = pytest.mark.process


def forgotten(nats: float | None) -> dict[str, Any]:
    """What a worker hands in of an iteration that has forgotten so much of the newborn's expectations."""
    return {"measures": {"values": {"forgetting": nats}}}


def test_life_moves_from_iteration_to_iteration_and_stays_where_nothing_was_measured(tmp_path: Path) -> None:
    with started_cluster(tmp_path, "forward clock") as cluster:
        assert cluster.state()["life"] is None
        cluster.begin("de")
        assert cluster.state()["life"] is None and cluster.state()["lives"] == {}
        events = cluster.events()
        assert next(events).event == "state"
        job = cluster.claim(base_measures=forgotten(0.0)["measures"])
        until(lambda: cluster.state()["life"] == 1.0, "the newborn's life")
        assert cluster.train(job, **forgotten(math.log(4)))["accepted"]
        cluster.until_iteration(0)
        half_way = until(lambda: life if (life := cluster.state()["life"]) < 1.0 else None, "life to move")
        assert 0.25 < half_way < 1.0
        state = cluster.state()
        assert state["measures"]["life"] == pytest.approx(0.25)
        assert state["lives"] == {"-1": 1.0, "0": pytest.approx(0.25)}
        cluster.advance(EASE_SECONDS)
        until(lambda: cluster.state()["life"] == pytest.approx(0.25, abs=1e-9), "life to arrive")
        sent = collapse_messages(cluster)["/collapse/life"]
        assert sent[0] == 1.0 and sent[-1] == 0.25
        assert sent == sorted(sent, reverse=True) and len(sent) >= 3
        heard = [life for _, life in zip(sent, lives_in(events), strict=False)]
        assert heard == pytest.approx(sent)
        # Nothing was measured of the next one: life stays, for the pages and for OSC.
        assert cluster.train(cluster.claim(), **forgotten(None))["accepted"]
        cluster.until_iteration(1)
        cluster.advance(EASE_SECONDS)
        assert cluster.train(cluster.claim(), **forgotten(math.log(10)))["accepted"]
        cluster.until_iteration(2)
        assert until(lambda: life if (life := cluster.state()["life"]) < 0.25 else None, "life to move") > 0.1
        assert collapse_messages(cluster)["/collapse/life"][0] < 0.25  # the one that was not measured sent none
        cluster.kill_owner()
        cluster.start_owner()
        # Started anew, the owner shows at once what was measured.
        until(lambda: cluster.state()["life"] == pytest.approx(0.1), "life after the restart")


def lives_in(events: Iterator[httpx_sse.ServerSentEvent]) -> Iterator[float]:
    """What the events about life hold."""
    return (json.loads(event.data)["life"] for event in events if event.event == "life")


def test_life_is_eased_and_never_beyond_what_was_measured() -> None:
    course = LifeCourse(1.0)
    assert not course.measure(1.0) and not course.advance(5.0)
    assert not course.measure(0.6)
    assert course.shown == 1.0
    values = []
    while course.advance(STEP_SECONDS):
        values.append(course.shown)
    assert values == sorted(values, reverse=True)
    assert values[len(values) // 2 - 1] == pytest.approx(0.8)
    assert values[-1] == course.shown == 0.6
    assert len(values) == EASE_SECONDS / STEP_SECONDS
    assert not course.measure(None) and course.shown == 0.6


def test_the_next_iteration_goes_on_from_what_is_shown() -> None:
    course = LifeCourse(1.0)
    course.measure(0.5)
    course.advance(EASE_SECONDS / 2)
    assert course.shown == 0.75
    course.measure(0.25)
    assert course.shown == 0.75
    course.advance(EASE_SECONDS)
    assert course.shown == 0.25


def follow(
    course: LifeCourse, measured: Callable[[float], float | None], holding: Callable[[float], bool]
) -> list[float]:
    """What is shown within 20 minutes; `measured` and `holding` by the time."""
    loop = VirtualLoop()
    shown: list[float] = []

    async def play() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1200):
                await course.follow(lambda: measured(loop.time()), lambda: holding(loop.time()), shown.append)

    loop.run_until_complete(play())
    loop.close()
    return shown


def test_a_language_that_is_held_stays_where_it_is() -> None:
    # Held amid the way to 0.4, from the 10th second for ten minutes.
    course = LifeCourse(1.0)
    before_and_after = follow(course, lambda now: 1.0 if now < 1 else 0.4, lambda now: 10 <= now < 610)
    assert course.shown == 0.4
    steps = [first - second for first, second in itertools.pairwise(before_and_after)]
    assert min(steps) >= 0 and max(steps) < 0.05
    # As many values as without the hold: no time passed for it.
    assert len(before_and_after) == len(follow(LifeCourse(1.0), lambda now: 1.0 if now < 1 else 0.4, lambda _: False))
