"""The side of the window: what the run does, its loss, how varied it still is, and what goes to OSC.

Shows what it is given; keeps no state of the run.
"""

from __future__ import annotations

import tkinter
from tkinter import ttk

from wmkml import wire
from wmkml.gui import diversity, look, losses
from wmkml.gui.osc_view import OscView
from wmkml.gui.plots import Bar, Plot
from wmkml.gui.words import Words, doing

WIDTH = 380
ENTROPY_TOP = 2.0
"""Nats at the top of the line; more only when there are more."""


class Panel:
    """The widgets of the side, in `frame`."""

    def __init__(self, parent: tkinter.Misc, dressed: look.Look) -> None:
        px = dressed.px
        self.frame = frame = ttk.Frame(parent, width=px(WIDTH))
        frame.grid_propagate(False)
        frame.columnconfigure(0, weight=1)
        self._doing = ttk.Label(frame, style="Lead.TLabel", wraplength=px(WIDTH))
        self._doing.grid(row=0, column=0, sticky="w")
        self._facts = ttk.Label(frame, style="Soft.TLabel", wraplength=px(WIDTH))
        self._facts.grid(row=1, column=0, sticky="w", pady=(px(4), px(10)))
        self._progress = Bar(frame, dressed, 4, look.RAISED)
        self._progress.canvas.grid(row=2, column=0, sticky="ew", pady=(0, px(14)))
        self._loss = Plot(frame, dressed, 108, "loss", look.WARM)
        self._loss.canvas.grid(row=3, column=0, sticky="ew", pady=(0, px(8)))
        self._measures = {
            name: Plot(frame, dressed, 66, name, look.COLD) for name in ("distinct_2", "repetition", "entropy")
        }
        for row, plot in enumerate(self._measures.values(), start=4):
            plot.canvas.grid(row=row, column=0, sticky="ew", pady=(0, px(8)))
        self.osc = OscView(frame, dressed)
        self.osc.frame.grid(row=7, column=0, sticky="nsew", pady=(px(8), 0))
        frame.rowconfigure(7, weight=1)

    def show_state(self, state: wire.RunState, words: Words) -> None:
        """What the run does; a bar that fills while a round trains."""
        self._doing.configure(
            text=doing(state, words), foreground=look.WARM if state.phase == "last_words" else look.TEXT
        )
        one, part = state.round, 0.0
        if (
            state.phase != "waiting"
            and one is not None
            and one.steps
            and one.status in ("training", "handed_in", "held")
        ):
            part = one.step / one.steps
        self._progress.show(part)
        self.osc.title(words.osc_sent if state.osc else words.osc_absent)

    def show_facts(self, facts: str) -> None:
        """Iteration, learning rate, time."""
        if str(self._facts["text"]) != facts:
            self._facts.configure(text=facts)

    def show_losses(self, found: losses.Losses, words: Words) -> None:
        """The loss of the run as a line."""
        points = losses.line(found)
        value = f"{found[max(found)]:.2f}" if points else ""
        self._loss.show(points, words.loss if points else words.no_loss, value)

    def show_diversity(self, measures: dict[int, diversity.Measures], total: int, words: Words) -> None:
        """Each measure as a line over the iterations."""
        for name, label, top in (
            ("distinct_2", words.distinct_2, 1.0),
            ("repetition", words.repetition, 1.0),
            ("entropy", words.entropy, ENTROPY_TOP),
        ):
            values: dict[int, float | None] = {one: getattr(of, name) for one, of in measures.items()}
            known = [value for value in values.values() if value is not None]
            self._measures[name].show(diversity.line(values, total, top), label, f"{known[-1]:.2f}" if known else "–")
