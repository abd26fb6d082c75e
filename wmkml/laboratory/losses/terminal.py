"""Losses drawn in a terminal, with plotext: dots of braille for what was trained on, circles for what was held out."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

from wmkml.laboratory.losses.figures import loss_lines

if TYPE_CHECKING:
    from pandas import DataFrame

COLOURS = ("cyan", "orange", "green", "magenta", "yellow", "blue")
SMALLEST = (40, 8)
"""Columns and lines."""


def loss_plot(
    frame: DataFrame,
    *,
    smooth: int = 1,
    log: bool = False,
    title: str = "",
    size: tuple[int, int] | None = None,
    colours: bool = False,
) -> str:
    """The losses of `read_losses` as lines of text.

    Args:
        smooth: optimizer steps of which the mean is drawn.
        log: whether the loss has a logarithmic axis.
        size: columns and lines; None: as wide as the terminal, 20 lines.
        colours: with ANSI's colours, for a terminal.
    """
    import plotext

    columns, lines = size or (shutil.get_terminal_size().columns, 20)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(max(SMALLEST[0], columns), max(SMALLEST[1], lines))
    for index, (name, points) in enumerate(loss_lines(frame, smooth)):
        finite = points[points["loss"].map(math.isfinite) & ((points["loss"] > 0) | (not log))]
        if finite.empty:
            continue
        steps, losses = finite["step"].tolist(), finite["loss"].tolist()
        colour = COLOURS[index % len(COLOURS)] if colours else "default"
        if len(losses) == 1 or (points["series"] == "held out").all():
            plotext.scatter(steps, losses, label=name, marker="o", color=colour)
        else:
            plotext.plot(steps, losses, label=name, marker="braille", color=colour)
    if log:
        plotext.yscale("log")
    plotext.title(title)
    plotext.xlabel("optimizer step")
    text = str(plotext.build())
    plotext.clear_figure()
    return text if colours else str(plotext.uncolorize(text))
