"""The profile of collapse: every definition is told by a measure that exists, changes are taken seed by seed, intervals hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.profile.bootstrap import estimate
from wmkml.laboratory.profile.definitions import DEFINITIONS, SCHAEFFER
from wmkml.laboratory.profile.figures import profile_figure
from wmkml.laboratory.profile.profile import profile


def line(iteration: int, **measures: float) -> dict[str, Any]:
    return {"iteration": iteration, **measures}


def lives(*final: dict[str, float]) -> dict[int, list[dict[str, Any]]]:
    """Lives of three iterations from the same beginning to these ends, half of the way in the first step."""
    first = {
        "human_loss": 0.4,
        "word_variance": 0.8,
        "tail_mass": 0.1,
        "facts": 1.0,
        "distinct_2": 0.8,
        "prompt_fit": 1.0,
    }
    runs = {}
    for seed, end in enumerate(final, 1):
        middle = {name: (first[name] + end[name]) / 2 for name in first}
        runs[seed] = [line(-1, **first), line(0, **middle), line(1, **end)]
    return runs


DEAD = {"human_loss": 2.4, "word_variance": 0.3, "tail_mass": 0.05, "facts": 0.1, "distinct_2": 0.2, "prompt_fit": 0.1}
DYING = {"human_loss": 1.4, "word_variance": 0.5, "tail_mass": 0.08, "facts": 0.3, "distinct_2": 0.4, "prompt_fit": 0.4}


def test_the_eight_definitions_of_the_field_are_there_and_each_is_told_by_a_measure_or_says_why_not() -> None:
    assert sum(definition.source.startswith(SCHAEFFER) for definition in DEFINITIONS) == 8
    for definition in DEFINITIONS:
        assert definition.measure in MEASURES or (definition.measure == "" and definition.note), definition.name
    assert {"human_loss", "tail_mass", "word_variance", "facts", "distinct_2", "repetition", "prompt_fit"} <= {
        definition.measure for definition in DEFINITIONS
    }


def test_a_death_holds_by_each_definition_and_a_life_that_stays_by_none() -> None:
    rows = {row.definition.name: row for row in profile(lives(DEAD, DYING, DEAD)).rows}
    measured = [name for name, row in rows.items() if row.curve]
    assert {name: rows[name].holds for name in measured} == dict.fromkeys(measured, True)
    assert rows["scaling law changes"].cells()[-1] == rows["it repeats itself"].cells()[-1] == "not measured"
    change = rows["risk rises"].change
    assert change is not None and change.mean == pytest.approx((2.0 + 1.0 + 2.0) / 3)
    assert change.low == pytest.approx(1.0) and change.high == pytest.approx(2.0)
    factor = rows["risk rises catastrophically"].curve[-1][1]
    assert factor.mean == pytest.approx((2 * math.exp(2.0) + math.exp(1.0)) / 3)
    better = {**DEAD, "human_loss": 0.3, "distinct_2": 0.9}
    rows = {row.definition.name: row for row in profile(lives(better, better)).rows}
    assert rows["risk rises"].holds is False and rows["diversity falls"].holds is False
    assert rows["facts are made up"].holds is True  # one definition may hold where another does not


def test_one_seed_or_seeds_that_disagree_decide_nothing() -> None:
    alone = profile(lives(DEAD))
    assert {row.holds for row in alone.rows} == {None} and "--seeds 3" in alone.as_text()
    split = profile(lives(DEAD, {**DEAD, "human_loss": 0.2}))
    assert {row.definition.name: row.holds for row in split.rows}["risk rises"] is None


def test_frame_json_and_figure_have_every_measured_definition() -> None:
    made = profile(lives(DEAD, DYING))
    frame = made.to_frame()
    assert set(frame.definition) == {row.definition.name for row in made.rows if row.curve}
    assert frame[frame.definition == "tails vanish"].iteration.tolist() == [-1, 0, 1]
    records = {record["definition"]: record for record in made.as_json()}
    assert len(records) == len(DEFINITIONS) and records["risk rises"]["iterations"]["1"]["n"] == 2
    assert len(profile_figure(made, "a test").axes) == len(set(frame.definition))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Of 1000 samples of thirty seeds, about 95 % of the intervals hold the truth; percentiles of so few miss a little more."""
    source = np.random.default_rng(7)
    covered = 0
    for _ in range(1000):
        interval = estimate(source.normal(2.0, 1.0, 30), resamples=800)
        assert interval is not None and interval.low is not None and interval.high is not None
        covered += interval.low <= 2.0 <= interval.high
    assert 0.90 <= covered / 1000 <= 0.97
    assert estimate([]) is None
    alone = estimate([3.0])
    assert alone is not None and (alone.mean, alone.low) == (3.0, None) and str(alone) == "3.000"
