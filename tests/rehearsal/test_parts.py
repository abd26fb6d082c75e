"""Parts of the rehearsal: the report's form, the statistics, the OSC receiver, the checks."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from tests.protocol.test_osc import SAMPLES, free_udp_port
from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.launcher.rehearsal import rehearsal_settings
from wmkml.protocol.osc import TABLE, OscSender
from wmkml.protocol.run_state import IterationMeasures, RoundRecord, RoundStatus, RunState, SwapEvent
from wmkml.rehearsal import Report, checks, visitors
from wmkml.rehearsal.main import leftover_words, visit_figures
from wmkml.rehearsal.observation import RunObservation, is_swap_due
from wmkml.rehearsal.receiver import OscReceiver
from wmkml.rehearsal.recording import Event, record_events
from wmkml.rehearsal.report import RoundFigures, goal_lines, latency_summary
from wmkml.rehearsal.visitors import Visit, Visitor

FORM = """
{"ok": true, "engine": "vllm", "model": "understudy", "seconds": 0.0, "start_seconds": 0.0,
 "rounds": [{"iteration": 0, "learning_rate": 0.0015, "samples": 60, "tokens": 0, "train_seconds": 0.0, "swap_seconds": 0.0, "loss_first": 0.0, "loss_last": 0.0}],
 "visits": {"sent": 0, "answered": 0, "failed": 0, "quiet_first_token_ms": {"median": 0, "p95": 0, "max": 0}, "first_token_ms": {"median": 0, "p95": 0, "max": 0}, "token_gap_ms": {"median": 0, "p95": 0, "max": 0}, "swap_gap_ms_max": 0},
 "pairs": {"visitor": 0, "echo": 0, "persistent": 0, "dataset": 0}, "osc": {"/prompt": 0}, "problems": [],
 "measures": [{"iteration": -1, "values": {"perplexity": 12.5}}]}
"""  # noqa: E501
"""The form of the report, which other tools read."""


def keys(value: Any) -> Any:
    """The keys of a JSON value, nested and in order, with every other value replaced by None."""
    if isinstance(value, dict):
        return [(key, keys(inner)) for key, inner in value.items()]
    return [keys(inner) for inner in value] if isinstance(value, list) else None


def accepted(iteration: int, status: RoundStatus = "accepted") -> RoundRecord:
    return RoundRecord(iteration=iteration, status=status, learning_rate=0.001, samples=60, swap_seconds=0.2)


def swap(iteration: int) -> SwapEvent:
    return SwapEvent(iteration=iteration, swap_seconds=0.2, held_seconds=0)


def visit(sent_at: float, iteration: int, pair: int = 1, tokens: tuple[float, ...] = ()) -> Visit:
    answered = Visit("a", sent_at, list(tokens), started=iteration, iteration=iteration, pair=pair)
    answered.started_at, answered.ended = sent_at + 0.1, sent_at + 1
    return answered


def test_the_report_has_the_form_that_tools_read_and_no_other() -> None:
    promised = json.loads(FORM)
    report = Report.model_validate(promised)
    assert keys(json.loads(report.model_dump_json())) == keys(promised)
    before = {key: value for key, value in promised.items() if key != "measures"}
    assert Report.model_validate(before).measures == [], "a report of an earlier version is still read"
    with pytest.raises(ValidationError, match="extra"):
        Report.model_validate({**promised, "more": 1})


def test_spread_is_median_nearest_rank_and_maximum() -> None:
    latency = latency_summary([float(value) for value in range(1, 101)])
    assert (latency.median, latency.p95, latency.max) == (50.5, 95.0, 100.0)
    assert latency_summary([7.0]).p95 == 7.0
    assert latency_summary([]).max == 0.0


def test_a_missed_goal_is_told_and_is_no_problem() -> None:
    report = Report.model_validate(json.loads(FORM))
    slow = RoundFigures(**{**report.rounds[0].model_dump(), "swap_seconds": 1.0})
    lines = goal_lines(report.model_copy(update={"rounds": [slow]}))
    assert "missed" in lines[0] and "1.00 s" in lines[0]
    assert "reached" in goal_lines(report)[0]
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
    assert checks.check_rounds(2, rounds, [swap(0), swap(1)], 1) == []
    problems = checks.check_rounds(2, [accepted(0), accepted(1, "skipped")], [swap(0)], 0)
    assert [
        ("skipped" in problem, "swaps" in problem, "answered in the last words" in problem) for problem in problems
    ] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


def test_visits_are_held_to_the_order_of_iterations() -> None:
    good = [visit(0, -1, 1), visit(2, 0, 2), visit(4, 1, 3)]
    assert checks.check_visits(good, 2) == []
    assert "base model" in checks.check_visits(good[1:], 2)[0]
    assert any(
        "After iteration 1" in problem for problem in checks.check_visits([*good, visit(6, 0, 4), visit(8, 1, 5)], 2)
    )
    failed = Visit("a", 0.0, failure="broke off (ReadError)")
    assert checks.check_visits([*good, failed], 2) == ["1 visit broke off (ReadError)."]


def test_a_probe_answered_by_the_old_self_is_a_problem() -> None:
    assert checks.check_probes([(swap(1), visit(0, 1))]) == []
    assert "was answered by 0" in checks.check_probes([(swap(1), visit(0, 0))])[0]


def test_a_lost_pair_is_a_problem() -> None:
    assert checks.check_store([visit(0, 0, pair=3)], {3, 4}) == []
    assert checks.check_store([visit(0, 0, pair=3)], {4}) == ["1 of 1 acknowledged pairs are not in the store."]


def test_a_word_left_on_disk_is_found_in_whatever_file(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "owner.log").write_bytes(b"\0\xffxx canary yy")
    assert checks.check_words_deleted(tmp_path, "canary") == [
        "A visitor's word is still in logs/owner.log after the run's end."
    ]
    assert checks.check_words_deleted(tmp_path, "linnet") == []


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
    where = paths_of(settings, tmp_path)
    where.logs.mkdir(parents=True)
    (where.logs / "owner.log").write_text("canary")
    assert await leftover_words(settings, where, "canary") == []


def test_a_stream_is_disturbed_by_the_loading_and_by_the_switch(run_state: RunState) -> None:
    watch = RunObservation(run_state)
    watch.status_times[0] = {"handed_in": 10.0, "held": 10.2}
    watch.swaps.append((15.0, swap(0)))
    spans = watch.disturbances()
    assert spans == [(10.0, 10.2), (15.0, 15.0)]
    during = [visit(0, 0, tokens=times) for times in ((9.0, 10.1), (10.3, 14.9), (14.0, 15.5), (16.0, 17.0))]
    assert [any(answer.overlaps(*span) for span in spans) for answer in during] == [True, False, True, False]


def test_what_was_measured_in_parts_is_told_of_its_iteration(run_state: RunState) -> None:
    watch = RunObservation(run_state)
    for iteration, values in ((0, {"perplexity": 4.0}), (-1, {"perplexity": 2.0}), (0, {"confidence": None})):
        watch.record_measures(IterationMeasures(iteration=iteration, values=values))
    assert watch.measures == {0: {"perplexity": 4.0, "confidence": None}, -1: {"perplexity": 2.0}}


def test_a_gap_that_no_stream_saw_is_not_seen_and_no_goal_reached(run_state: RunState) -> None:
    watch = RunObservation(run_state)
    watch.status_times[0] = {"handed_in": 10.0, "held": 10.2}
    watch.swaps.append((15.0, swap(0)))
    around = [visit(0, -1, tokens=(9.0, 9.5)), visit(10, -1, tokens=(10.3, 14.9)), visit(16, 0, tokens=(16.0, 17.0))]
    report = Report.model_validate(json.loads(FORM))
    unseen = report.model_copy(update={"visits": visit_figures(around, [], watch)})
    assert json.loads(unseen.model_dump_json())["visits"]["swap_gap_ms_max"] == "not seen"
    assert Report.model_validate_json(unseen.model_dump_json()) == unseen
    [line] = [line for line in goal_lines(unseen) if "gap at a swap" in line]
    assert line.endswith("not seen") and "reached" not in line and "missed" not in line

    spanning = visit(14, -1, tokens=(14.5, 14.6, 15.5))
    seen = report.model_copy(update={"visits": visit_figures([*around, spanning], [], watch)})
    assert seen.visits.swap_gap_ms_max == 900.0
    assert "not seen" not in "".join(goal_lines(seen))


def test_a_swap_is_due_from_the_last_step_until_the_adapter_answers() -> None:
    def is_due(status: RoundStatus, step: int = 0, steps: int = 0) -> bool:
        return is_swap_due(accepted(0, status).model_copy(update={"step": step, "steps": steps}))

    assert [is_due("open"), is_due("training"), is_due("training", 5, 6), is_due("training", 6, 6)] == [
        False,
        False,
        False,
        True,
    ]
    ends: tuple[RoundStatus, ...] = ("handed_in", "held", "accepted", "skipped")
    assert [is_due(status, 6, 6) for status in ends] == [True, True, False, False]


ANSWERED = """event: start
data: {"iteration": -1}

event: token
data: {"text": "Ja.", "probability": 0.5, "entropy": 1.0}

event: end
data: {"iteration": -1, "pair": 1, "kept": 3, "text": "Ja."}

"""
"""What `POST /chat` answers."""


@pytest.mark.timeout(60)
async def test_a_visitor_in_a_hurry_asks_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "READING_SECONDS", (3600, 3600))
    stop, hurry = asyncio.Event(), asyncio.Event()
    paths: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if paths == ["/typing_event"]:
            # It has begun to read, and would for an hour.
            asyncio.get_running_loop().call_later(0.1, hurry.set)
        if paths.count("/chat") == 3:
            stop.set()
        if request.url.path == "/chat":
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=ANSWERED)
        return httpx.Response(200, json={"ok": True})

    visitor = Visitor("a", "de", ["Wie geht es dir?"], seed=1)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://owner") as client:
        await visitor.talk(client, stop, hurry=hurry)
    assert paths == ["/typing_event", "/typing_event", "/chat", "/chat", "/chat"]
    assert [(answered.pair, answered.failure) for answered in visitor.visits] == [(1, None)] * 3


@pytest.mark.timeout(60)
async def test_a_visitor_in_a_hurry_does_not_storm_a_service_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def record_pause(seconds: float, *events: asyncio.Event) -> None:
        pauses.append(seconds)
        assert hurry not in events
        if len(pauses) == 2:
            stop.set()

    monkeypatch.setattr(visitors, "_pause", record_pause)
    stop, hurry = asyncio.Event(), asyncio.Event()
    hurry.set()
    visitor = Visitor("a", "de", ["Wie geht es dir?"], seed=1)
    away = httpx.MockTransport(lambda request: httpx.Response(503))
    async with httpx.AsyncClient(transport=away, base_url="http://owner") as client:
        await visitor.talk(client, stop, hurry=hurry)
    assert [refused.failure for refused in visitor.visits] == ["answered with status 503"] * 2


@pytest.fixture
def run_state() -> RunState:
    return RunState(
        run=None, phase="waiting", language=None, languages=["de"], iteration=-1, num_total_iters=2, elapsed_seconds=0,
        time_left_seconds=None, round=None, rounds=[], pairs={}, stations=0, inference="ready", worker="ready",
        model="understudy", engine="vllm", keep_runs=False, carries_words=False,
        log_visitor_words=False, osc=False, idle_seconds=90,
    )  # fmt: skip


def test_a_recording_has_simulated_words_alone_and_begins_with_the_run(tmp_path: Path) -> None:
    state = {
        "phase": "running",
        "iteration": -1,
        "measures": {"compression_ratio": 1.23456},
        "life": 1.0,
        "lives": {"-1": 1.0},
        "round": None,
        "rounds": [],
        "notices": ["n"],
        "osc": True,
    }
    token = {"text": "x", "probability": 0.123456, "entropy": 1.0, "iteration": -1}
    events: list[Event] = [
        (5.0, "state", state),
        (10.0, "run_started", {"run": "r", "language": "de"}),
        (11.0, "state", state),
        (12.0, "state", state),
        *((13.0 + number, "prompt", {"station": "rehearsal-1-de", "text": str(number)}) for number in range(3)),
        (16.0, "token", token | {"station": "rehearsal-1-de"}),
        (17.0, "prompt", {"station": "somebody", "text": "mine"}),
        (18.0, "token", token | {"station": "somebody"}),
        (18.5, "typing", {"station": "somebody", "status": "typing"}),
        (18.6, "typing", {"station": "rehearsal-1-de", "status": "typing"}),
        (18.7, "rolling", {"values": {"rolling_entropy": 0.123456}}),
        (18.8, "life", {"life": 0.98765}),
        (19.0, "notice", {"text": "n"}),
        (20.0, "run_end", {"run": "r", "language": "de"}),
    ]
    path = tmp_path / "recordings" / "a.jsonl.gz"
    assert record_events(events, path, every=2) == 9
    written = path.read_bytes()
    recorded = [json.loads(line) for line in gzip.decompress(written).decode().splitlines()]
    assert [(second, name) for second, name, _ in recorded] == [
        *((0.0, "run_started"), (1.0, "state"), (3.0, "prompt"), (5.0, "prompt"), (6.0, "token")),
        *((8.6, "typing"), (8.7, "rolling"), (8.8, "life"), (10.0, "run_end")),
    ]
    assert "notices" not in recorded[1][2] and recorded[4][2]["probability"] == 0.123
    # The stage follows the measures of a run, so a recording has them.
    assert recorded[1][2]["measures"] == {"compression_ratio": 1.235}
    assert (recorded[1][2]["life"], recorded[1][2]["lives"]) == (1.0, {"-1": 1.0})
    assert (recorded[6][2]["values"], recorded[7][2]["life"]) == ({"rolling_entropy": 0.123}, 0.988)
    record_events(events, path, every=2)
    assert path.read_bytes() == written


def test_a_rehearsal_calls_nobody_and_is_always_open(tmp_path: Path) -> None:
    outside = {
        "general.alert_url": "http://x/a",
        "general.heartbeat_url": "http://x/h",
        "general.opening_hours": "Mo 10:00-11:00",
    }
    general = rehearsal_settings(load_settings(None, overrides=outside), 2, tmp_path).general
    assert (
        general.alert_url.get_secret_value() == general.heartbeat_url.get_secret_value() == general.opening_hours == ""
    )
    assert load_settings(None, overrides=outside).general.opening_hours, "the installation's own stay"
