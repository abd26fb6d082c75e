"""The siege's parts: bad adapters are bad, growth is noticed, messages come again with their seed, and the report is honest."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.engine.random_model import RANK, make_adapter, make_model
from wmkml.adapters.checks import AdapterRefusedError, Expectation, check_adapter
from wmkml.engine.setup import EngineSetup
from wmkml.rehearsal.report import latency_summary
from wmkml.siege.adapters import BAD_ADAPTERS
from wmkml.siege.clients import BROKEN_REQUESTS, INSIDES, broken_requests
from wmkml.siege.crowd import FAIR, times_of_share
from wmkml.siege.doors import INFERENCE_DOORS, OWNER_DOORS
from wmkml.siege.kills import SeenAdapters
from wmkml.siege.messages import MessageMaker
from wmkml.siege.report import SectionReport, SiegeReport, report_lines
from wmkml.siege.runs import compare
from wmkml.siege.stations import Acknowledged, SiegeStation


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def good(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(model, tmp_path_factory.mktemp("adapters") / "good")


@pytest.mark.parametrize("kind", BAD_ADAPTERS)
def test_what_is_offered_as_bad_is_refused_and_opens_nothing(
    model: Path, good: Path, tmp_path: Path, kind: str
) -> None:
    expectation = Expectation(RANK, EngineSetup(model, adapters=1, rank=RANK).shapes)
    check_adapter(good, expectation)
    copy, trace = Path(shutil.copytree(good, tmp_path / "adapter")), tmp_path / "opened"
    BAD_ADAPTERS[kind](copy, trace)
    with pytest.raises(AdapterRefusedError):
        check_adapter(copy, expectation)
    assert not trace.exists()


def test_every_broken_request_is_counted() -> None:
    assert len(broken_requests("127.0.0.1:8000")) == BROKEN_REQUESTS


def test_messages_come_again_with_their_seed() -> None:
    def messages(seed: int) -> list[tuple[str, bytes]]:
        maker = MessageMaker(random.Random(seed))
        doors = [*OWNER_DOORS, *INFERENCE_DOORS]
        return [(maker.path(door.path), maker.body(door.message)) for door in doors for _ in range(5)]

    assert messages(7) == messages(7) != messages(8)


def test_a_line_is_fair_where_everybody_waits_as_long_as_those_beside() -> None:
    slower_and_slower = [1000.0 + 20.0 * number for number in range(400)]
    assert latency_summary(times_of_share(slower_and_slower, 100)).p95 < FAIR
    one_in_ten_forgotten = [5000.0 if number % 10 == 0 else 900.0 for number in range(400)]
    assert latency_summary(times_of_share(one_in_ten_forgotten, 100)).p95 > FAIR


def test_growth_is_noticed_and_what_rises_at_first_is_none() -> None:
    mb = 2**20
    flat = [80.0 * mb, 95.0 * mb, 99.0 * mb] + [100.0 * mb] * 37
    grown = [100.0 * mb + number * 0.4 * mb for number in range(40)]
    leaking = [20.0 + number // 4 for number in range(40)]
    report = SectionReport(name="runs", wanted=40, tried=40, held=40)
    compare({"memory of owner": flat, "memory of worker": grown, "files of owner": leaking}, report)
    assert [problem.split(" grew")[0] for problem in report.problems] == ["memory of worker", "files of owner"]
    assert not report.ok


def test_half_an_adapter_that_answers_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "adapters" / "0-1"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    whole = "b1af03a03c3fb30ee8ef14fb4aea31d4abf3bb4c1ddbb5d8d4a4f7b2a29e1ee5"
    station = SiegeStation("a", "de", 0, acknowledged=[Acknowledged("a", "?", 1, 0, whole, 0.0)])
    assert len(SeenAdapters().problems(tmp_path, [station])) == 1
    station.acknowledged = [Acknowledged("a", "?", 1, -1, "", 0.0)]
    assert SeenAdapters().problems(tmp_path, [station]) == []


def test_a_report_holds_only_if_everything_was_tried_and_held_in_time() -> None:
    section = SectionReport(name="kills", wanted=2, tried=2, held=2)
    assert section.ok
    section.late.append("Kill 1, of owner: the owner answered again after 12.0 s.")
    assert not section.ok
    empty = SectionReport(name="runs", wanted=300)
    assert not empty.ok
    lines = report_lines(SiegeReport(ok=False, seed=3, interrupted=True, sections=[section, empty]))
    assert any("Late: Kill 1" in line for line in lines) and any("0 of 0 tried of 300" in line for line in lines)
    for _ in range(100):
        section.add_problem("again and again")
    assert (len(section.problems), section.unnamed_problems) == (1, 99)


@pytest.mark.parametrize("reply", [b'File "/srv/owner.py", line 3', b"Traceback (most recent call last)"])
def test_a_programs_insides_are_known_when_seen(reply: bytes) -> None:
    assert INSIDES.search(reply)
    assert not INSIDES.search(b'{"error":"There is no such door here."}')
