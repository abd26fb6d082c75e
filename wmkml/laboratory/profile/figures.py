"""The profile as a figure: a panel for each definition, the mean over seeds with its interval; needs no display."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from wmkml.laboratory.plotting import GRID, INK, MEAN
from wmkml.laboratory.profile.profile import VERDICTS, Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


def profile_figure(profile: Profile, title: str) -> Figure:
    """Every definition that is measured, against the iteration; above each panel, whether it holds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in profile.rows if row.curve]
    lines = max(1, math.ceil(len(rows) / COLUMNS))
    figure = Figure(figsize=(3.3 * COLUMNS, 2.4 * lines + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"Collapse by its definitions: {title}; {profile.seeds} seeds, 95 % intervals", color=INK, fontsize=11
    )
    for number, row in enumerate(rows, 1):
        axes = figure.add_subplot(lines, COLUMNS, number)
        x = [iteration for iteration, _ in row.curve]
        axes.plot(x, [value.mean for _, value in row.curve], color=MEAN, linewidth=1.8)
        low = [value.mean if value.low is None else value.low for _, value in row.curve]
        high = [value.mean if value.high is None else value.high for _, value in row.curve]
        axes.fill_between(x, low, high, color=MEAN, alpha=0.15, linewidth=0)
        verdict = f"{row.definition.name}: {VERDICTS[row.holds]}"
        axes.set_title(f"{verdict}\n{textwrap.fill(row.definition.meaning, 42)}", fontsize=7.5, color=INK, loc="left")
        axes.set_xticks(x)
        axes.tick_params(labelsize=7, colors=INK, length=2)
        axes.grid(color=GRID, linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure
