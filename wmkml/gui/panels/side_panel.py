"""The side of the window: what the run does, its loss, how varied the language still is, and the OSC messages.

Shows what it is given and keeps no state of the run.
"""

from __future__ import annotations

import tkinter
from collections.abc import Mapping
from tkinter import ttk

from wmkml.gui import theme
from wmkml.gui.panels.diversity import NamedMeasures, diversity_points, value_text
from wmkml.gui.panels.losses import Losses, loss_points
from wmkml.gui.panels.osc_view import OscView
from wmkml.gui.panels.plots import LOW, Bar, Plot
from wmkml.gui.texts import WindowTexts, activity_text
from wmkml.measures.registry import shown_in
from wmkml.protocol.run_state import RunState

WIDTH, SHARE = (380, 620), 0.36
"""Least and greatest width of the panel, in pixels at 100 %, and the share of the window that it has between them."""

MEASURES_HEIGHT = 240
"""Height of all the measures' plots together, in pixels at 100 %: the more there are, the lower each one is."""

LOWEST = 18
"""Height of a measure's plot at the least, in pixels at 100 %: one row of text."""

STEPPING = ("training", "handed_in", "held")
"""The statuses in which the progress bar shows a round's steps."""


class SidePanel:
    """The widgets of the side, in `frame`."""

    def __init__(self, parent: tkinter.Misc, look: theme.Theme) -> None:
        px = look.px
        self._look = look
        self._label_widths: dict[str, int] = {}
        """Of the widest name of a measure, by language."""
        self.frame = frame = ttk.Frame(parent, width=px(WIDTH[0]))
        frame.grid_propagate(False)
        frame.columnconfigure(0, weight=1)
        self._activity = ttk.Label(frame, style="Lead.TLabel", wraplength=px(WIDTH[0]))
        self._activity.grid(row=0, column=0, sticky="w")
        self._facts = ttk.Label(frame, style="Soft.TLabel", wraplength=px(WIDTH[0]))
        self._facts.grid(row=1, column=0, sticky="w", pady=(px(4), px(10)))
        self._progress = Bar(frame, look, 4, theme.RAISED)
        self._progress.canvas.grid(row=2, column=0, sticky="ew", pady=(0, px(14)))
        self._loss = Plot(frame, look, 108, "loss", theme.WARM)
        self._loss.canvas.grid(row=3, column=0, sticky="ew", pady=(0, px(8)))
        shown = shown_in("window")
        columns = 1 if len(shown) * LOWEST <= MEASURES_HEIGHT else 2
        height = max(LOWEST, columns * MEASURES_HEIGHT // len(shown))
        gap = px(8) if height >= LOW else 1
        plots = ttk.Frame(frame)
        plots.grid(row=4, column=0, sticky="ew")
        self._measures = {measure.name: Plot(plots, look, height, measure.name, theme.COLD) for measure in shown}
        for place, plot in enumerate(self._measures.values()):
            row, column = divmod(place, columns)
            plot.canvas.grid(row=row, column=column, sticky="ew", pady=(0, gap), padx=(px(12) if column else 0, 0))
            plots.columnconfigure(column, weight=1, uniform="measures")
        self.osc = OscView(frame, look)
        self.osc.frame.grid(row=5, column=0, sticky="nsew", pady=(px(8), 0))
        frame.rowconfigure(5, weight=1)

    def fit(self, window_width: int) -> None:
        """Take the panel's share of a window that is so many pixels wide."""
        least, greatest = (self._look.px(side) for side in WIDTH)
        width = round(min(greatest, max(least, SHARE * window_width)))
        if int(self.frame["width"]) != width:
            self.frame.configure(width=width)
            for label in (self._activity, self._facts):
                label.configure(wraplength=width)

    def show_state(self, state: RunState, texts: WindowTexts) -> None:
        """What the run does, with a bar of the round's steps while it trains."""
        color = theme.WARM if state.phase == "last_words" else theme.TEXT
        self._activity.configure(text=activity_text(state, texts), foreground=color)
        record, progress = state.round, 0.0
        if state.phase != "waiting" and record is not None and record.steps and record.status in STEPPING:
            progress = record.step / record.steps
        self._progress.show(progress)
        self.osc.show_title(texts.osc_sent if state.osc else texts.osc_absent)

    def show_facts(self, facts: str) -> None:
        """Iteration, learning rate and time left, on one line."""
        if str(self._facts["text"]) != facts:
            self._facts.configure(text=facts)

    def show_losses(self, losses: Losses, texts: WindowTexts) -> None:
        """The loss of the run as a line."""
        points = loss_points(losses)
        value = f"{losses[max(losses)]:.2f}" if points else ""
        self._loss.show(points, texts.loss if points else texts.no_loss, value)

    def show_diversity(self, measures: Mapping[int, NamedMeasures], total: int, texts: WindowTexts) -> None:
        """Each measure as a line over the iterations of a run of `total` rounds."""
        labels = {measure.name: measure.words(texts.language).title for measure in shown_in("window")}
        if texts.language not in self._label_widths:
            self._label_widths[texts.language] = max(map(self._look.small.measure, labels.values()))
        widest = self._label_widths[texts.language]
        for measure in shown_in("window"):
            values = {
                iteration: of_iteration[measure.name]
                for iteration, of_iteration in measures.items()
                if measure.name in of_iteration
            }
            newest = value_text(values[max(values)]) if values else "–"
            points = diversity_points(values, total, measure.plot_top)
            self._measures[measure.name].show(points, labels[measure.name], newest, widest)
