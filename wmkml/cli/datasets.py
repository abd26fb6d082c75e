"""Check the prompt sets under Datasets/, and count their prompts and tokens for the model in use.

Every problem is printed with file and line. Exit status: 0 when every set can be used whole, 1 when one is broken
or the model's tokenizer cannot be read, 2 when the settings are wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.config.paths import paths_of
from wmkml.corpora import list_datasets, read_dataset
from wmkml.corpora.token_counts import count_tokens, table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="names of the sets (default: available_datasets of the config, or all)"
    )
    parser.add_argument("--all", action="store_true", help="check every set in the folder, whatever the config says")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    settings, root = settings_of(arguments)
    paths = paths_of(settings, root)
    names = list(dict.fromkeys(arguments.names)) or settings.general.available_datasets
    if arguments.all or not names:
        names = list_datasets(paths.datasets)
    if not names:
        print(f"There is no data set in {paths.datasets}. Make a folder there with a CSV file.", file=sys.stderr)
        return 1

    tokenizer = _load_tokenizer(paths.model)
    rows = [
        count_tokens(read_dataset(paths.datasets, name), tokenizer, settings.finetuning.max_length) for name in names
    ]
    for row in rows:
        for problem in row.problems:
            print(problem)
    model = settings.general.model_name if tokenizer is not None else "no model"
    print(f"\nCounted for {model}:\n{table(rows)}")
    return 1 if tokenizer is None or any(row.broken for row in rows) else 0


def _load_tokenizer(model: Path) -> PreTrainedTokenizerBase | None:
    if not (model / "tokenizer_config.json").is_file():
        print(
            f"There is no tokenizer in {model}, so no tokens are counted. Fetch it with `python -m wmkml download`, "
            "or name another with --model.",
            file=sys.stderr,
        )
        return None
    from wmkml.dialogue.chat_template import load_tokenizer

    try:
        return load_tokenizer(model)
    except (OSError, ValueError) as error:
        print(f"The tokenizer in {model} cannot be read, so no tokens are counted: {error}", file=sys.stderr)
        return None
