"""Answers of all selves side by side in a terminal, every token on the colour of its probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wmkml.generation.colours import legend, shade_of, visible
from wmkml.protocol.autopsy import AutopsyToken

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class SelfAnswer:
    """What one self answered; `trouble`: why it broke off, or empty."""

    iteration: int
    tokens: list[AutopsyToken] = field(default_factory=list)
    trouble: str = ""

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(token.text for token in self.tokens)


def print_answers(console: Console, answers: Sequence[SelfAnswer]) -> None:
    """A table: a row for each self; in colours where the console has them, else the words alone."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, show_lines=True)
    table.add_column(justify="right", style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for answer in answers:
        text = Text()
        for token in answer.tokens:
            shade = shade_of(token.probability)
            text.append(visible(token.text) if token.text else "", f"{shade.ink} on {shade.background}")
        if answer.trouble:
            text.append(f" {answer.trouble}", "red")
        table.add_row("−1" if answer.iteration < 0 else str(answer.iteration), text)
    console.print(table)
    if console.is_terminal:
        console.print(legend())
        console.print("raw: before temperature and penalties", style="dim", highlight=False)


def as_json(run: str, prompt: str, answers: Sequence[SelfAnswer]) -> dict[str, Any]:
    """The answers as JSON: for each self its text and tokens."""
    return {
        "run": run,
        "prompt": prompt,
        "selves": [
            {
                "iteration": answer.iteration,
                "text": answer.text,
                "trouble": answer.trouble,
                "tokens": [
                    token.model_dump(include={"id", "text", "probability", "entropy"}) for token in answer.tokens
                ],
            }
            for answer in answers
        ],
    }
