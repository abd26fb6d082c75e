"""One live line while a finetune trains, and the plot of its losses in the terminal when it is done."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from wmkml.finetuning.checkpoint import HeldOut
from wmkml.finetuning.preparation.preview import duration
from wmkml.training.loop import OptimizerStep

OVERWRITTEN_EVERY = 0.1
LINE_EVERY = 5.0
"""Shortest time in seconds between two lines: on a terminal, and in a file, where lines are not overwritten."""

PLOT_SIZE = (80, 18)
"""Columns and rows of the terminal's plot."""


class LiveLine:
    """Loss, held-out loss, tokens a second and time left, on standard error; overwritten on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._written_at = -math.inf
        self._open = False
        self._began, self._first_step, self._first_tokens = time.monotonic(), 0, 0
        self._held_out: float | None = None

    def begin(self, step: int = 0, tokens: int = 0) -> None:
        """The training begins now, after this step."""
        self._began, self._first_step, self._first_tokens = time.monotonic(), step, tokens

    def evaluated(self, loss: float) -> None:
        """The newest held-out loss, in nats."""
        self._held_out = loss

    def step(self, step: OptimizerStep) -> None:
        """Show a step."""
        seconds = max(time.monotonic() - self._began, 1e-6)
        done = step.step - self._first_step
        left = (step.steps - step.step) * seconds / max(done, 1)
        held_out = "" if self._held_out is None else f", held out {self._held_out:.3f}"
        rate = (step.tokens - self._first_tokens) / seconds
        text = (
            f"step {step.step:,} of {step.steps:,}: loss {step.loss:.3f}{held_out}, {rate:,.0f} tokens/s, "
            f"{duration(left)} left"
        )
        self.write(text, last=step.step == step.steps)

    def write(self, text: str, *, last: bool = False) -> None:
        """Write a line that is overwritten by the next one, unless another was written a moment ago."""
        now = time.monotonic()
        if not last and now - self._written_at < (OVERWRITTEN_EVERY if self._terminal else LINE_EVERY):
            return
        self._written_at = now
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._stream.flush()
        self._open = self._terminal

    def keep(self, text: str) -> None:
        """Write a line that stays."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._open = False
        self._stream.write(f"{text}\n")
        self._stream.flush()


def terminal_plot(losses: Sequence[float], held_out: Sequence[HeldOut], colour: bool) -> str:
    """The losses by step as text; without plotext a sentence that says what it needs."""
    try:
        import plotext
    except ImportError:
        return "(A plot in the terminal needs plotext: pip install plotext.)"
    plotext.clear_figure()
    plotext.plot_size(*PLOT_SIZE)
    plotext.theme("clear" if not colour else "pro")
    plotext.plot(range(1, len(losses) + 1), list(losses), label="loss", marker="braille")
    if held_out:
        steps = [evaluation.step for evaluation in held_out]
        plotext.plot(steps, [evaluation.loss for evaluation in held_out], label="held out", marker="braille")
        plotext.scatter(steps, [evaluation.loss for evaluation in held_out], marker="dot")
    plotext.xlabel("step")
    plotext.ylabel("nats a token")
    text = plotext.build()
    return str(text if colour else plotext.uncolorize(text))
