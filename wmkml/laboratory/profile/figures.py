"""The profile as a figure: a panel for each definition, the mean over seeds with its interval; needs no display."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from wmkml.laboratory.plotting import MEAN, new_figure, plain_axes, set_panel_title
from wmkml.laboratory.profile.profile import VERDICTS, Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


def profile_figure(profile: Profile, title: str) -> Figure:
    """Every definition that is measured, against the iteration; above each panel, whether it holds."""
    rows = [row for row in profile.rows if row.curve]
    lines = max(1, math.ceil(len(rows) / COLUMNS))
    figure = new_figure(
        (3.3 * COLUMNS, 2.4 * lines + 0.7),
        f"Collapse by its definitions: {title}; {profile.seeds} seeds, 95 % intervals",
    )
    for number, row in enumerate(rows, 1):
        axes = figure.add_subplot(lines, COLUMNS, number)
        x = [iteration for iteration, _ in row.curve]
        axes.plot(x, [value.mean for _, value in row.curve], color=MEAN, linewidth=1.8)
        low = [value.mean if value.low is None else value.low for _, value in row.curve]
        high = [value.mean if value.high is None else value.high for _, value in row.curve]
        axes.fill_between(x, low, high, color=MEAN, alpha=0.15, linewidth=0)
        verdict = f"{row.definition.name}: {VERDICTS[row.holds]}"
        set_panel_title(axes, f"{verdict}\n{textwrap.fill(row.definition.meaning, 42)}")
        axes.set_xticks(x)
        plain_axes(axes)
    return figure
