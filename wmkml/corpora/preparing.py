"""Counts a data set in the tokens of one model, and finds the prompts this model cannot take.

Prompts are counted as inference and training will see them: in the model's chat template, without a system prompt.
Knows no config and no file format (see `prompts.py`), and loads no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmkml.corpora.datasets import Dataset
from wmkml.corpora.prompts import Problem
from wmkml.prompting import prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prepared:
    """A data set, counted for one model.

    `tokens` has one count for each prompt, or is empty where no tokenizer was at hand; `problems` are those of the
    set's files and those this model adds.
    """

    dataset: Dataset
    tokens: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def broken(self) -> bool:
        """Whether something of the set had to be left out."""
        return self.dataset.broken


def prepare(dataset: Dataset, tokenizer: PreTrainedTokenizerBase | None, max_length: int) -> Prepared:
    """Count a data set's prompts and check each against the tokenizer.

    Args:
        dataset: as `read_dataset` gives it.
        tokenizer: with a chat template; None counts nothing.
        max_length: a training sample is cut at so many tokens; a prompt that fills it leaves no room for an answer.
    """
    if tokenizer is None:
        return Prepared(dataset, (), tuple(dataset.problems))
    tokens, problems = [], dataset.problems
    for file in dataset.files:
        for prompt in file.prompts:
            ids = prompt_ids(tokenizer, [{"role": "user", "content": prompt.text}])
            tokens.append(len(ids))
            if len(ids) >= max_length:
                text = f"{len(ids)} tokens: a sample is cut at {max_length}, so there is no room for an answer"
                problems.append(Problem(file.path, prompt.line, "warning", text))
            if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
                text = "holds characters that this model's tokenizer does not know"
                problems.append(Problem(file.path, prompt.line, "warning", text))
    return Prepared(dataset, tuple(tokens), tuple(problems))


def table(rows: Sequence[Prepared]) -> str:
    """The counts as a table for people: one line for each data set, and the sum of them."""
    head = ("data set", "prompts", "tokens", "mean", "max", "errors", "warnings")
    body = [_cells(row.dataset.name, len(row.dataset.prompts), row.tokens, row.problems) for row in rows]
    if len(rows) > 1:
        prompts = sum(len(row.dataset.prompts) for row in rows)
        tokens = [count for row in rows for count in row.tokens]
        body.append(_cells("together", prompts, tokens, [problem for row in rows for problem in row.problems]))
    widths = [max(len(line[place]) for line in [head, *body]) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *body]
    )


def _cells(name: str, prompts: int, tokens: Sequence[int], problems: Sequence[Problem]) -> tuple[str, ...]:
    errors = sum(problem.severity == "error" for problem in problems)
    counted = (str(sum(tokens)), f"{sum(tokens) / len(tokens):.1f}", str(max(tokens))) if tokens else ("–",) * 3
    return (name, str(prompts), *counted, str(errors), str(len(problems) - errors))
