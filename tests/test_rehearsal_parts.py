"""What the rehearsal is made of, each part alone: the report's form, the statistics, the OSC host, the checks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.test_osc import SAMPLES, free_udp_port
from wmkml.config import load_settings
from wmkml.osc import TABLE, OscSender
from wmkml.places import places
from wmkml.rehearsal import Report, checks
from wmkml.rehearsal.main import silence
from wmkml.rehearsal.receiver import OscReceiver
from wmkml.rehearsal.report import RoundFigures, beside_goals, spread
from wmkml.rehearsal.visitors import Visit
from wmkml.rehearsal.watching import Watch
from wmkml.wire import RoundRecord, RoundStatus, RunState, SwapEvent

FORM = """
{"ok": true, "engine": "vllm", "model": "understudy", "seconds": 0.0, "start_seconds": 0.0,
 "rounds": [{"iteration": 0, "learning_rate": 0.0015, "samples": 60, "tokens": 0, "train_seconds": 0.0, "swap_seconds": 0.0, "loss_first": 0.0, "loss_last": 0.0}],
 "visits": {"sent": 0, "answered": 0, "failed": 0, "quiet_first_token_ms": {"median": 0, "p95": 0, "max": 0}, "first_token_ms": {"median": 0, "p95": 0, "max": 0}, "token_gap_ms": {"median": 0, "p95": 0, "max": 0}, "swap_gap_ms_max": 0},
 "pairs": {"visitor": 0, "echo": 0, "persistent": 0, "dataset": 0}, "osc": {"/prompt": 0}, "problems": []}
"""  # noqa: E501
"""The form that other tools read."""


def keys(value: Any) -> Any:
    """A JSON value with every number, text and truth replaced by nothing: its form, in its order."""
    if isinstance(value, dict):
        return [(key, keys(inner)) for key, inner in value.items()]
    return [keys(inner) for inner in value] if isinstance(value, list) else None


def accepted(iteration: int, status: RoundStatus = "accepted") -> RoundRecord:
    return RoundRecord(iteration=iteration, status=status, learning_rate=0.001, samples=60, swap_seconds=0.2)


def swap(iteration: int) -> SwapEvent:
    return SwapEvent(iteration=iteration, swap_seconds=0.2, held_seconds=0)


def visit(sent: float, iteration: int, pair: int = 1, tokens: tuple[float, ...] = ()) -> Visit:
    made = Visit("a", sent, list(tokens), started=iteration, iteration=iteration, pair=pair)
    made.started_at, made.ended = sent + 0.1, sent + 1
    return made


def test_the_report_has_the_form_that_tools_read_and_no_other() -> None:
    promised = json.loads(FORM)
    report = Report.model_validate(promised)
    assert keys(json.loads(report.model_dump_json())) == keys(promised)
    with pytest.raises(ValidationError, match="extra"):
        Report.model_validate({**promised, "more": 1})


def test_spread_is_median_nearest_rank_and_maximum() -> None:
    found = spread([float(value) for value in range(1, 101)])
    assert (found.median, found.p95, found.max) == (50.5, 95.0, 100.0)
    assert spread([7.0]).p95 == 7.0
    assert spread([]).max == 0.0


def test_a_missed_goal_is_told_and_is_no_problem() -> None:
    report = Report.model_validate(json.loads(FORM))
    slow = RoundFigures(**{**report.rounds[0].model_dump(), "swap_seconds": 1.0})
    lines = beside_goals(report.model_copy(update={"rounds": [slow]}))
    assert "missed" in lines[0] and "1.00 s" in lines[0]
    assert "reached" in beside_goals(report)[0]
    assert report.ok


async def test_the_receiver_counts_and_holds_types_against_the_table() -> None:
    port = free_udp_port()
    receiver = await OscReceiver.listen("127.0.0.1", port)
    sender = OscSender([("127.0.0.1", port)])
    for row in list(TABLE.values())[1:]:
        sender.send(row.address, *(SAMPLES[tag] for tag in row.types))
    for datagram in (b"/swap\0\0\0,f\0\0\0\0\0\0", b"/other\0\0,\0\0\0", b"no osc"):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port))
        transport.sendto(datagram)
        transport.close()
    for _ in range(500):
        if len(receiver.problems) == 3:
            break
        await asyncio.sleep(0.01)
    sender.close()
    receiver.close()
    first = next(iter(TABLE))
    assert receiver.missing() == [first]
    assert receiver.counts["/swap"] == 2
    assert "types 'f'" in receiver.problems[0] and "'i'" in receiver.problems[0]
    assert "/other is not in" in receiver.problems[1] and "could not be read" in receiver.problems[2]


def test_a_whole_run_has_no_problem_and_a_lame_one_has() -> None:
    rounds = [accepted(0), accepted(1)]
    assert checks.of_rounds(2, rounds, [swap(0), swap(1)], 1) == []
    found = checks.of_rounds(2, [accepted(0), accepted(1, "skipped")], [swap(0)], 0)
    assert [("skipped" in one, "swaps" in one, "answered in the last words" in one) for one in found] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


def test_visits_are_held_to_the_order_of_iterations() -> None:
    good = [visit(0, -1, 1), visit(2, 0, 2), visit(4, 1, 3)]
    assert checks.of_visits(good, 2) == []
    assert "base model" in checks.of_visits(good[1:], 2)[0]
    assert any("After iteration 1" in one for one in checks.of_visits([*good, visit(6, 0, 4), visit(8, 1, 5)], 2))
    failed = Visit("a", 0.0, failure="broke off (ReadError)")
    assert checks.of_visits([*good, failed], 2) == ["1 visit broke off (ReadError)."]


def test_a_probe_answered_by_the_old_self_is_a_problem() -> None:
    assert checks.of_probes([(swap(1), visit(0, 1))]) == []
    assert "was answered by 0" in checks.of_probes([(swap(1), visit(0, 0))])[0]


def test_a_lost_pair_is_a_problem() -> None:
    assert checks.of_store([visit(0, 0, pair=3)], {3, 4}) == []
    assert checks.of_store([visit(0, 0, pair=3)], {4}) == ["1 of 1 acknowledged pairs are not in the store."]


def test_a_word_left_on_disk_is_found_in_whatever_file(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "owner.log").write_bytes(b"\0\xffxx canary yy")
    assert checks.of_silence(tmp_path, "canary") == ["A visitor's word is still in logs/owner.log after the run's end."]
    assert checks.of_silence(tmp_path, "linnet") == []


@pytest.mark.parametrize(
    "kept",
    [
        {"general.keep_runs": True},
        {"general.log_visitor_words": True},
        {"finetuning.delete_live_questions_at_start": False},
    ],
)
async def test_words_that_the_settings_keep_are_no_problem(tmp_path: Path, kept: dict[str, bool]) -> None:
    settings = load_settings(overrides=kept)
    where = places(settings, tmp_path)
    where.logs.mkdir(parents=True)
    (where.logs / "owner.log").write_text("canary")
    assert await silence(settings, where, "canary") == []


def test_a_stream_is_disturbed_by_the_loading_and_by_the_switch(run_state: RunState) -> None:
    watch = Watch(run_state)
    watch.began[0] = {"handed_in": 10.0, "held": 10.2}
    watch.swaps.append((15.0, swap(0)))
    spans = watch.disturbances()
    assert spans == [(10.0, 10.2), (15.0, 15.0)]
    during = [visit(0, 0, tokens=times) for times in ((9.0, 10.1), (10.3, 14.9), (14.0, 15.5), (16.0, 17.0))]
    assert [any(one.under_way(*span) for span in spans) for one in during] == [True, False, True, False]


@pytest.fixture
def run_state() -> RunState:
    return RunState(
        run=None, phase="waiting", language=None, languages=["de"], iteration=-1, num_total_iters=2, elapsed_seconds=0,
        time_left_seconds=None, round=None, rounds=[], pairs={}, stations=0, inference="ready", worker="ready",
        model="understudy", engine="vllm", keep_runs=False, carries_words=False,
        log_visitor_words=False, osc=False, idle_seconds=90,
    )  # fmt: skip
