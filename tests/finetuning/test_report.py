"""What is shown of a finetune, and what is written of it."""

from __future__ import annotations

import io

from rich.console import Console

from wmkml.finetuning.comparison import AnsweredPrompt, answers_table


def test_answers_in_square_brackets_are_shown_as_they_are() -> None:
    answered = [AnsweredPrompt("Schreibe Rot und [b].", "[rot, blau]", ("[rot] und [/b]",) * 4)]
    console = Console(file=(out := io.StringIO()), width=120)
    console.print(answers_table(answered, answered))
    shown = out.getvalue()
    assert all(text in shown for text in ("Rot und [b].", "[rot, blau]", "[rot] und [/b]"))
