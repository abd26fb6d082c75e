"""Each problem of the owner, found by the pure function from the facts that make it; and what must be remembered for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wmkml.owner.problems.facts import OwnerFacts, judge, low_memory_gib
from wmkml.owner.problems.memory import Durations, MemoryKills, RestartCounter, SeenGpus, WallClock, planned_gpus
from wmkml.problems.table import PROBLEMS

WELL = OwnerFacts(has_hours=True, clock_synchronised=True, memory_free_gib=8, memory_total_gib=16)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

PROVOKED: dict[str, tuple[dict[str, Any], str]] = {
    "worker_away": ({"in_trouble": ("worker_away",)}, ""),
    "inference_absent": ({"in_trouble": ("inference_absent",)}, ""),
    "inference_silent": ({"in_trouble": ("inference_silent",)}, ""),
    "inference_loading": ({"in_trouble": ("inference_loading",)}, ""),
    "inference_restoring": ({"in_trouble": ("inference_restoring",)}, ""),
    "inference_refuses": ({"in_trouble": ("inference_refuses",)}, ""),
    "worker_unable": ({"worker_unable": "no GPU"}, "no GPU"),
    "inference_restarts": ({"restarts": 3}, "3"),
    "skipped": ({"skipped_rounds": 2}, "2"),
    "round_overdue": ({"minutes_without_iteration": 61.0}, "61"),
    "adapters_gone": ({"adapters_gone": (1, 2)}, "1, 2"),
    "run_folder_gone": ({"run_folder_gone": "20260101-de"}, "20260101-de"),
    "run_damaged": ({"run_damaged": "Run x cannot go on."}, "Run x cannot go on."),
    "node": ({"nodes_refused": (("10.0.0.9:8011", "another model"),)}, "10.0.0.9:8011: another model"),
    "stage_absent": ({"absent_pages": (("stage", 4.0),)}, "4"),
    "visitor_page_absent": ({"absent_pages": (("visitor", 4.0),)}, "4"),
    "stage_files": ({"stage_problems": ("texts.yaml, line 3", "and more")}, "texts.yaml, line 3"),
    "osc": ({"osc_unreachable": ("10.0.0.7:9000",)}, "10.0.0.7:9000"),
    "panic": ({"panic_minutes": 11.0}, "11"),
    "blank": ({"blank_minutes": 31.0}, "31"),
    "held": ({"held_minutes": 31.0}, "31"),
    "closed_by_hand": ({"is_open": False, "open_by_hours": True}, ""),
    "open_by_hand": ({"is_open": True, "open_by_hours": False}, ""),
    "hours_end": ({"hours_end": True}, ""),
    "alert_unreachable": ({"alert_failure": "status 500"}, "status 500"),
    "heartbeat_unreachable": ({"heartbeat_failure": "no way"}, "no way"),
    "unstored": ({"unstored": "the disk is full"}, "the disk is full"),
    "data_readonly": ({"data_problem": "Read-only file system"}, "Read-only file system"),
    "disk_full": ({"disk_free_gib": 0.9}, "0.9"),
    "disk": ({"disk_free_gib": 4.9}, "4.9"),
    "quota": ({"quota_excess_gib": 12.0}, "12.0"),
    "certificate_unusable": ({"certificate_problem": "no PEM"}, "no PEM"),
    "certificate_ends": ({"certificate_end": datetime(2026, 5, 14, 23, tzinfo=UTC), "now": NOON}, "2026-05-14"),
    "certificate_over": ({"certificate_end": datetime(2026, 5, 1, 11, tzinfo=UTC), "now": NOON}, "2026-05-01"),
    "sound": ({"sound_problem": "hall: 20 %"}, "hall: 20 %"),
    "memory": ({"memory_free_gib": 0.7}, "0.7"),
    "memory_kills": ({"memory_kills": 2}, "2"),
    "gpu_gone": ({"gpus_gone": ("NVIDIA A100",)}, "NVIDIA A100"),
    "clock_jumped": ({"clock_jump_seconds": -3600.0}, "-3600"),
    "clock_unsynchronised": ({"clock_synchronised": False}, ""),
}


def test_every_problem_of_the_owner_is_provoked_below() -> None:
    assert set(PROVOKED) == {code for code, problem in PROBLEMS.items() if "owner" in problem.raised_by}
    assert judge(WELL) == []


@pytest.mark.parametrize("code", PROVOKED)
def test_its_facts_raise_it_alone(code: str) -> None:
    changes, detail = PROVOKED[code]
    assert [(problem.code, problem.detail) for problem in judge(replace(WELL, **changes))] == [(code, detail)]


@pytest.mark.parametrize(
    "changes",
    [
        {"skipped_rounds": 1},
        {"restarts": 2},
        {"absent_pages": (("stage", 2.0), ("visitor", 2.0))},
        {"absent_pages": (("stage", 60.0),), "is_open": False, "open_by_hours": False},
        {"absent_pages": (("stage", 60.0),), "has_hours": False},
        {"clock_synchronised": False, "has_hours": False},
        {"clock_synchronised": None},
        {"blank_minutes": 60.0, "is_open": False, "open_by_hours": False},
        {"held_minutes": 5.0},
        {"panic_minutes": 5.0},
        {"clock_jump_seconds": 3.0},
        {"disk_free_gib": 5.0},
    ],
    ids=str,
)
def test_what_is_no_problem_yet(changes: dict[str, Any]) -> None:
    assert judge(replace(WELL, **changes)) == []


def test_how_long_something_lasts_begins_anew_after_a_break() -> None:
    durations = Durations()
    assert durations.minutes("held", True, 100.0) == 0
    assert durations.minutes("held", True, 160.0) == 1
    assert durations.minutes("held", False, 170.0) == 0
    assert durations.minutes("held", True, 400.0) == 0


def test_restarts_are_counted_once_each_and_forgotten_after_a_quarter_of_an_hour() -> None:
    restarts = RestartCounter()
    assert restarts.count(False, 0.0) == 0, "at the start it has not been there yet"
    for at in (10.0, 20.0, 30.0):
        restarts.count(True, at)
        restarts.count(False, at + 1)
        restarts.count(False, at + 2)
    assert restarts.count(True, 40.0) == 3
    assert restarts.count(True, 925.0) == 1
    assert restarts.count(True, 2000.0) == 0


def test_a_clock_that_is_set_has_jumped_and_one_that_drifts_has_not() -> None:
    clock = WallClock()
    assert clock.jump(1000.0, 0.0) == 0
    assert clock.jump(1011.0, 10.0) == 0
    assert clock.jump(4611.0, 11.0) == 3599
    assert clock.jump(4700.0, 100.0) == 3599, "it is shown for a while"
    assert clock.jump(5600.0, 1000.0) == 0


def test_a_card_that_was_seen_is_missed() -> None:
    gpus = SeenGpus()
    assert gpus.gone([]) == ()
    assert gpus.gone(["A100", "A100"]) == ()
    assert gpus.gone(["A100"]) == ("A100",)
    assert gpus.gone(["A100", "A100"]) == ()


def test_a_card_of_the_plan_that_was_never_seen_is_missed_too() -> None:
    gpus = SeenGpus(planned=2)
    assert gpus.gone(["A100"]) == ("GPU",)
    assert gpus.gone(["A100", "A100"]) == ()
    assert gpus.gone([]) == ("A100", "A100")
    assert planned_gpus({"WMKML_ALL_GPUS": "0,2"}) == 2
    assert planned_gpus({"WMKML_ALL_GPUS": "0,2", "WMKML_GPUS": "2"}) == 0, "they are pretended, and never there"
    assert planned_gpus({}) == 0


def test_a_certificate_is_no_problem_until_two_weeks_before_its_end() -> None:
    for days, is_problem in ((14, False), (13, True)):
        facts = replace(WELL, certificate_end=NOON + timedelta(days=days), now=NOON)
        assert ([problem.code for problem in judge(facts)] == ["certificate_ends"]) is is_problem


def test_what_the_kernel_kills_for_memory_is_counted_from_now_on_and_forgotten() -> None:
    kills = MemoryKills()
    assert kills.count(7, 0.0) == 0, "before this process began"
    assert kills.count(9, 10.0) == 2
    assert kills.count(10, 500.0) == 3
    assert kills.count(10, 915.0) == 1
    assert kills.count(10, 2000.0) == 0


def test_memory_is_short_by_its_share_and_on_small_machines_by_what_is_left() -> None:
    assert low_memory_gib(128) == pytest.approx(6.4)
    assert low_memory_gib(8) == 0.5
    assert low_memory_gib(1) == pytest.approx(0.15)
