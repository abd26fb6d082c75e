"""Merge a LoRA adapter into its base: a whole model's folder, for any program that knows no adapters.

    python -m wmkml merge voices/spells --out voices/spells-merged

Exit status: 0 when it is written, 2 when it cannot be.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="the folder of a LoRA adapter in PEFT's format")
    parser.add_argument(
        "--model",
        metavar="PATH_OR_ID",
        default="",
        help="the base: a folder, or the id of a model that was fetched (default: the one that the adapter's files name)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the model's folder; it must be new")


def main(arguments: argparse.Namespace) -> int:
    """Merge.  Returns 2, with a sentence on stderr, when it cannot be done."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.utils import logging as transformers_logging

    from wmkml.finetuning.voices.merging import MergeError, check_adapter_folder, merge_adapter
    from wmkml.generation.sources import SpeakerError, with_adapter

    transformers_logging.disable_progress_bar()
    try:
        if not arguments.adapter.is_dir():
            check_adapter_folder(arguments.adapter)
        source = with_adapter(arguments.model, arguments.adapter)
        assert source.adapter is not None
        merge_adapter(source.model, source.adapter, arguments.out)
    except (MergeError, SpeakerError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments.out} holds {arguments.model or source.model} with {arguments.adapter} merged into it.")
    return 0
