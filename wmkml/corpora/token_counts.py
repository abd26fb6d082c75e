"""Count a data set in the tokens of one model, and find the prompts unsuitable for it.

Prompts are counted as training sees them: in the model's chat template, without a system prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.corpora.datasets import Dataset
from wmkml.corpora.prompts import Problem
from wmkml.dialogue.chat_template import prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CountedDataset:
    """A data set counted for one model.

    `tokens` has one count per prompt, or is empty without a tokenizer; `problems` are those of the set's files and
    those found with this model.
    """

    dataset: Dataset
    tokens: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def broken(self) -> bool:
        """Whether part of the set is unusable."""
        return self.dataset.broken


def count_tokens(dataset: Dataset, tokenizer: PreTrainedTokenizerBase | None, max_length: int) -> CountedDataset:
    """Count the tokens of a data set's prompts and check them.

    Args:
        tokenizer: must have a chat template; None: count nothing.
        max_length: the tokens at which a training sample is truncated; a prompt this long leaves no room for an answer.
    """
    if tokenizer is None:
        return CountedDataset(dataset, (), tuple(dataset.problems))
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
    return CountedDataset(dataset, tuple(tokens), tuple(problems))


def load_token_counter(folder: Path) -> Callable[[Sequence[str]], list[int]]:
    """A function that counts the tokens of texts with the tokenizer in a model's folder, without special ids.

    Raises:
        ValueError: the folder holds no tokenizer that can be read.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise ValueError(
            f"{folder} holds no tokenizer (no tokenizer.json). Name a model's folder, or fetch the model first."
        )
    try:
        if (folder / "tokenizer.json").is_file():
            # The library below transformers, since importing that takes seconds.
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return lambda texts: [
                len(item) for item in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            ]
        from transformers import AutoTokenizer

        slow = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    # `tokenizers` raises nothing more special than Exception for a file it cannot read.
    except Exception as error:  # noqa: BLE001 - raised again as an error that names the folder
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{folder} holds no tokenizer that can be read: {reason}") from None
    return lambda texts: [len(ids) for ids in slow(list(texts), add_special_tokens=False)["input_ids"]] if texts else []


def table(rows: Sequence[CountedDataset]) -> str:
    """The counts as a table for people: one line per data set, and their sum."""
    head = ("data set", "prompts", "tokens", "mean", "max", "errors", "warnings")
    body = [_cells(row.dataset.name, len(row.dataset.prompts), row.tokens, row.problems) for row in rows]
    if len(rows) > 1:
        prompts = sum(len(row.dataset.prompts) for row in rows)
        tokens = [count for row in rows for count in row.tokens]
        body.append(_cells("together", prompts, tokens, [problem for row in rows for problem in row.problems]))
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *body]
    )


def _cells(name: str, prompts: int, tokens: Sequence[int], problems: Sequence[Problem]) -> tuple[str, ...]:
    errors = sum(problem.severity == "error" for problem in problems)
    counted = (str(sum(tokens)), f"{sum(tokens) / len(tokens):.1f}", str(max(tokens))) if tokens else ("–",) * 3
    return (name, str(prompts), *counted, str(errors), str(len(problems) - errors))
