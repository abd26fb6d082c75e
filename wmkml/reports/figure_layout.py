"""What matplotlib's drawing takes longest for, done once or not at all: half of the time of a figure of many panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def lay_out(figure: Figure) -> None:
    """Lay a finished figure out by itself: with a layout, or what is left of one by "none", each file of it is drawn twice."""
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)


def place_missing_labels(axes: Axes) -> None:
    """Give each label that there is not a place: else one is looked for beside the ticks.  To be called after labels are set."""
    for axis in (axes.xaxis, axes.yaxis):
        if not axis.get_label_text():
            axis.set_label_coords(0.5, 0.5)
