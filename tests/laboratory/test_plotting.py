"""The plot of all measures of a collapse: every panel is there, and no title runs into another."""

from __future__ import annotations

import itertools

from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.plotting import draw
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
