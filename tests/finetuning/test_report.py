"""What is shown of a finetune, and what is written of it."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from wmkml.finetuning.checkpoint import HeldOut
from wmkml.finetuning.comparison import AnsweredPrompt, answers_table
from wmkml.finetuning.progress import PLOT_SIZE, terminal_plot


def test_answers_in_square_brackets_are_shown_as_they_are() -> None:
    answered = [AnsweredPrompt("Schreibe Rot und [b].", "[rot, blau]", ("[rot] und [/b]",) * 4)]
    console = Console(file=(out := io.StringIO()), width=120)
    console.print(answers_table(answered, answered))
    shown = out.getvalue()
    assert all(text in shown for text in ("Rot und [b].", "[rot, blau]", "[rot] und [/b]"))


FALLING = [4.0 - step / 10 for step in range(30)]


def test_the_terminal_shows_both_losses_as_they_fall() -> None:
    terminal_plot([9.0] * 9, [HeldOut(0, 99.0)], False)  # which leaves nothing behind
    text = terminal_plot(FALLING, [HeldOut(0, 4.0), HeldOut(30, 1.0)], False)
    lines = text.splitlines()
    columns, rows = PLOT_SIZE
    assert len(lines) <= rows and max(map(len, lines)) <= columns and "\x1b" not in text
    assert all(word in text for word in ("loss", "held out", "step", "nats a token"))
    drawn = [[column for column, sign in enumerate(line) if "\u2801" <= sign <= "\u28ff"] for line in lines]
    inside = [line for line in drawn if line]
    # From the upper left to the lower right; the legend has signs of its own, so the last row counts and not the first.
    assert max(inside[-1]) > columns * 0.9 and min(inside[-1]) > columns / 2
    assert min(min(line) for line in inside[: rows // 3]) < columns * 0.2
    assert "99" not in text
    assert "\x1b" in terminal_plot(FALLING, [], True)


def test_without_plotext_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotext", None)
    assert "pip install plotext" in terminal_plot(FALLING, [], True)
