"""Teach a model any words: finetune a causal language model with LoRA, or whole, on a laptop or a GPU (docs/finetuning.md).

    python -m wmkml finetune --data spells.txt --out voices/spells
    python -m wmkml finetune --model mistralai/Mistral-7B-v0.3 --data dolly.jsonl --quantize nf4 --out voices/dolly
    python -m wmkml finetune --data spells.txt --dry-run --json -

Shows a sample token by token and what it will take, trains, and writes a run folder with a PEFT adapter, its template, a
model card, losses and a plot. Ctrl-C saves, --resume goes on.
Exit status: 0 when it is done, 1 when training failed, 2 when it cannot begin or would not fit, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.corpora import Corpus, CorpusError
from wmkml.finetuning.arguments import add_arguments, problem_of, settings_from

__all__ = ["add_arguments", "main"]

if TYPE_CHECKING:
    from wmkml.finetuning.preparation.prepare import Preparation
    from wmkml.finetuning.settings import FinetuneSettings


def main(arguments: argparse.Namespace) -> int:
    """Finetune.  Returns 2, with a sentence on stderr, when it cannot begin."""
    if problem := problem_of(arguments):
        print(problem, file=sys.stderr)
        return 2
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    from wmkml.finetuning.settings import FinetuneRefusedError
    from wmkml.finetuning.voices.merging import MergeError
    from wmkml.training.base_model import BaseMissingError
    from wmkml.training.kernels.choice import PackingImpossibleError
    from wmkml.training.loop import MemoryExhaustedError, TrainingSpoiledError
    from wmkml.training.lora import AdapterBrokenError
    from wmkml.training.ranks.pool import RankLostError

    try:
        settings = settings_from(arguments)
        if arguments.example is not None:
            return _example(settings, arguments)
        return finetune(settings, arguments)
    except (FinetuneRefusedError, BaseMissingError, PackingImpossibleError, CorpusError) as error:
        print(error, file=sys.stderr)
        return 2
    except (TrainingSpoiledError, MemoryExhaustedError, RankLostError, AdapterBrokenError) as error:
        print(f"Training failed: {error}", file=sys.stderr)
        return 1
    except MergeError as error:
        print(f"It was trained, and cannot be merged: {error}\nThe adapter is in {arguments.out}.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or arguments.out}: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def _example(settings: FinetuneSettings, arguments: argparse.Namespace) -> int:
    from wmkml.finetuning.examples.running import ExampleOptions, run_example

    quiet = arguments.json == "-"
    options = ExampleOptions(quiet, arguments.dry_run, arguments.anyway, kept=arguments.out is not None)
    record, fits = run_example(arguments.example, settings, options)
    _write_json(arguments.json, record)
    return 0 if fits else 2


def finetune(settings: FinetuneSettings, arguments: argparse.Namespace) -> int:
    """Prepare, show, train, and show what came of it; see `main` for the exit status."""
    from wmkml.finetuning.preparation.prepare import prepare

    preparation = prepare(settings, on_reading=_ReadingProgress())
    try:
        return _carry_out(preparation, arguments)
    finally:
        preparation.close()


class _ReadingProgress:
    """How many pairs are read, on standard error, every two seconds."""

    def __init__(self) -> None:
        self._began = self._written_at = time.monotonic()

    def __call__(self, pairs: int, corpus: Corpus) -> None:
        now = time.monotonic()
        if now - self._written_at < 2.0:
            return
        self._written_at = now
        done, total = corpus.position.done, corpus.position.total
        share = f", {min(1.0, done / total):.0%} of {corpus.source}" if total else ""
        print(f"reading: {pairs:,} pairs{share}, {pairs / (now - self._began):,.0f} a second", file=sys.stderr)


def _carry_out(preparation: Preparation, arguments: argparse.Namespace) -> int:
    from wmkml.finetuning import report
    from wmkml.finetuning.control import interruption
    from wmkml.finetuning.devices import devices_of, finetune_on_devices
    from wmkml.finetuning.preparation.prepare import begin_folder
    from wmkml.finetuning.progress import LiveLine
    from wmkml.finetuning.session import Finetune

    quiet = arguments.json == "-"
    devices = devices_of(preparation.settings)
    prediction = preparation.predict(devices)
    if not quiet:
        report.show_preparation(preparation, prediction)
    if arguments.dry_run:
        _write_json(arguments.json, report.preparation_record(preparation, prediction))
        return 0 if prediction.fits else 2
    if not prediction.fits and not arguments.anyway:
        print("\n".join(report.refusal_lines(prediction)), file=sys.stderr)
        return 2
    begin_folder(preparation, prediction, resume=arguments.resume)
    out = preparation.settings.out
    with interruption(lambda: print("\nSaving after this step; Ctrl-C again ends at once.", file=sys.stderr)) as asked:
        try:
            if devices > 1:
                finetuned = finetune_on_devices(preparation, asked, resume=arguments.resume)
            else:
                finetuned = Finetune(preparation, LiveLine(), asked).run(resume=arguments.resume)
        except KeyboardInterrupt:
            print(f"\nEnded at once. What was saved before is in {out}; --resume goes on there.", file=sys.stderr)
            return 130
    if not finetuned.done:
        print(
            f"Saved after step {len(finetuned.losses):,} in {out}. The same command with --resume goes on.",
            file=sys.stderr,
        )
        return 130
    record = report.finish(preparation, prediction, finetuned)
    # Before anything is shown: what hours of training found must not hang on a terminal.
    _write_json(arguments.json, record)
    if not quiet:
        report.show_finetuned(preparation, prediction, finetuned)
    return 0


def _write_json(target: str, record: dict[str, Any]) -> None:
    if target == "-":
        print(json.dumps(record, ensure_ascii=False))
    elif target:
        text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
        try:
            Path(target).write_text(text, encoding="utf-8")
        except OSError as error:
            # A full disk's error names no file.
            raise OSError(error.errno, f"cannot be written: {error.strerror}", target) from None
