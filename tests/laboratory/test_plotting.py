"""What a collapse shows of itself: every panel of its plot, its frame, and how long it will take."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from wmkml.config.paths import PROJECT
from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.plotting import draw
from wmkml.laboratory.progress import RoundClock
from wmkml.laboratory.report import Outcome


def test_no_title_runs_into_another_panel() -> None:
    lines = [{"iteration": iteration, **dict.fromkeys(MEASURES, 0.5 - 0.1 * iteration)} for iteration in range(-1, 3)]
    figure = draw(Outcome("of the test", {1: lines, 2: lines}))
    figure.set_dpi(130)
    figure.draw_without_rendering()
    assert [axes.get_title(loc="left").partition("\n")[0] for axes in figure.axes] == list(MEASURES)
    titles = [axes._left_title.get_window_extent() for axes in figure.axes]  # type: ignore[attr-defined]
    panels = [axes.get_window_extent() for axes in figure.axes]
    assert not [pair for pair in itertools.combinations(titles, 2) if pair[0].overlaps(pair[1])]
    assert not [(title, panel) for title in titles for panel in panels if title.overlaps(panel)]
    assert max(title.x1 for title in titles) <= figure.bbox.x1


def test_an_outcome_is_a_frame_that_pandas_sums_up() -> None:
    of_one = [{"iteration": -1, "distinct_2": 0.8, "facts": 0.9, "seconds": 1.0}, {"iteration": 0, "distinct_2": 0.4}]
    outcome = Outcome("of the test", {1: of_one, 2: [{"iteration": -1, "distinct_2": 0.6}]})
    frame = outcome.to_frame()
    assert list(frame.columns) == ["seed", "iteration", "measure", "value"]
    rows = {tuple(row) for row in frame.itertuples(index=False)}
    assert rows == {
        (1, -1, "distinct_2", 0.8),
        (1, -1, "facts", 0.9),
        (1, 0, "distinct_2", 0.4),
        (2, -1, "distinct_2", 0.6),
    }, "what is no measure is left out"
    means = frame.groupby(["measure", "iteration"])["value"].mean()
    assert means["distinct_2", -1] == pytest.approx(outcome.means()["distinct_2"][-1]) == pytest.approx(0.7)
    assert list(Outcome("empty").to_frame().columns) == list(frame.columns)


def test_the_guides_lines_of_python_run(tmp_path: Path) -> None:
    guide = (PROJECT / "docs" / "laboratory.md").read_text(encoding="utf-8")
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "outcome.to_frame()" in code)
    (tmp_path / "measures.jsonl").write_text(json.dumps({"iteration": -1, "distinct_2": 0.5}), encoding="utf-8")
    names: dict[str, Any] = {}
    exec(block.replace("data/laboratory/life/seed-1", str(tmp_path)), names)
    assert names["frame"]["value"].tolist() == [0.5] and len(names["figure"].axes) == 1


def test_what_is_left_is_reckoned_from_the_first_round() -> None:
    seconds = iter([50.0, 70.0, 200.0, 300.0])
    sentences: list[str] = []
    clock = RoundClock([1.0, 1.5, 2.0], 3, sentences.append, now=lambda: next(seconds))
    for iteration in (-1, 0, 1, 2, -1, 0):
        clock.measured(iteration)
    # 20 seconds a unit: 3.5 units of this run, and twice 4.5 and a half for the untouched model.
    assert sentences == ["About 4 min 30 s are left for all rounds, if this machine stays as busy."]


def test_a_single_round_leaves_nothing_to_say() -> None:
    sentences: list[str] = []
    clock = RoundClock([1.0], 1, sentences.append)
    for iteration in (-1, 0):
        clock.measured(iteration)
    assert sentences == []
