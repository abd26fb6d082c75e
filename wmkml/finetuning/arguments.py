"""The arguments of `wmkml finetune`: what they are, what is wrong with them, and the settings that they give."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from wmkml.config import UNDERSTUDY, Settings
from wmkml.config.paths import model_folder
from wmkml.corpora import Columns, ReadingOptions
from wmkml.corpora.readers.prose import PASSAGE_LENGTH, TextRule
from wmkml.corpora.recognition import FORMATS
from wmkml.models.devices import add_device_argument
from wmkml.system.disk.output_files import unwritable_problem

if TYPE_CHECKING:
    from wmkml.finetuning.settings import FinetuneSettings

EXAMPLES = ("spells", "exercise", "invented", "quality")

FIXED_IN_EXAMPLES = (
    # Those of going on and of several devices, since an example is taught in one go …
    *("resume", "checkpoint_every", "devices", "parallel"),
    # … and those of reading, since it brings its words.
    *("data", "system", "format", "prompt_column", "answer_column", "prompt_template", "answer_template"),
    *("encoding", "text_rule", "passage_length", "hold_out", "subset"),
)
"""Arguments that no example takes."""

FIXED_IN_SPELLS = (
    *("model", "batch_size", "template", "full", "merge", "quantize"),
    *("lora_rank", "lora_alpha", "lora_dropout", "lora_targets"),
)
"""Beside them, those of `spells`, which makes its own model and trains all of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--model",
        metavar="PATH_OR_ID",
        default=UNDERSTUDY,
        help="the base: a folder, or the id of a model that was fetched (default: understudy)",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="FILE",
        help="what is learned, in any form of docs/corpora.md; may be given several times",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the run folder to write; it must be new")
    parser.add_argument(
        "--example",
        choices=EXAMPLES,
        help="an example that brings its own words: spells, a tiny model from nothing; exercise, German patterns on "
        "--model; invented, a pattern made up from --seed and taught with eight samples; quality, the exercise clean and spoiled",
    )
    _add_training(parser.add_argument_group("training"))
    _add_lora(parser.add_argument_group("what is trained"))
    _add_reading(parser.add_argument_group("reading the words"))
    group = parser.add_argument_group("running")
    group.add_argument("--dry-run", action="store_true", help="show the sample and the prediction, and stop there")
    group.add_argument(
        "--memory",
        type=float,
        metavar="GIB",
        help="with --dry-run: reckon with an NVIDIA GPU of so much memory, whatever this machine has",
    )
    group.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out, with the same arguments"
    )
    group.add_argument("--anyway", action="store_true", help="begin although it is predicted not to fit")
    add_device_argument(group)
    group.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="GPUs that train together, or processes on a CPU; 0: all GPUs (default: 1)",
    )
    group.add_argument(
        "--parallel",
        choices=("ddp", "fsdp"),
        default="ddp",
        help="each device holds the whole base, or a part of it, for a model that fits none (default: ddp)",
    )
    group.add_argument("--threads", type=int, metavar="N", help="threads of a CPU (default: OMP_NUM_THREADS, or all)")
    group.add_argument(
        "--json",
        metavar="FILE",
        default="",
        help="write what was predicted, and what came of it, as JSON; -: print only that",
    )


def _add_training(group: Any) -> None:
    group.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the words (default: 3 to 20, enough for 600 samples)"
    )
    group.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="of the first step, falling to 0 (default: by the model's width)",
    )
    group.add_argument("--batch-size", type=int, default=4, metavar="N", help="samples at a time (default: 4)")
    group.add_argument(
        "--accumulation", type=int, default=1, metavar="N", help="batches whose gradients make a step (default: 1)"
    )
    group.add_argument(
        "--loss-on",
        choices=("answer", "text"),
        default="answer",
        help="learn the answer, or prompt and all (default: answer)",
    )
    group.add_argument(
        "--template",
        default="auto",
        metavar="NAME_OR_FILE",
        help="chat (the model's own), alpaca, falcon, anweisung, plain, or a file with {prompt} and {answer}; auto: chat, or "
        "alpaca for a model without one (default: auto)",
    )
    group.add_argument("--system", default="", metavar="TEXT", help="a system prompt for samples that have none")
    group.add_argument(
        "--max-length", type=int, default=512, metavar="N", help="tokens a sample is cut at (default: 512)"
    )
    group.add_argument(
        "--micro-batch-tokens",
        type=int,
        default=0,
        metavar="N",
        help="tokens in memory at once (default: 1024; GPU: 4096)",
    )
    group.add_argument(
        "--packing",
        choices=("auto", "on", "off"),
        default="auto",
        help="several samples in one row without padding (default: auto, on GPUs that can)",
    )
    group.add_argument(
        "--evaluate-every",
        type=int,
        default=0,
        metavar="N",
        help="held-out loss every N steps too (default: each epoch)",
    )
    group.add_argument(
        "--patience",
        type=int,
        default=0,
        metavar="N",
        help="end after N evaluations without a lower held-out loss, and keep the best weights (default: 0, never)",
    )
    group.add_argument(
        "--checkpoint-every", type=int, default=0, metavar="N", help="save every N steps (default: 0, each epoch)"
    )
    group.add_argument(
        "--compared", type=int, default=5, metavar="N", help="held-out prompts answered before and after (default: 5)"
    )
    group.add_argument("--seed", type=int, default=0, help="of order, dropout and answers (default: 0)")


def _add_lora(group: Any) -> None:
    group.add_argument("--lora-rank", type=int, default=16, metavar="N", help="(default: 16)")
    group.add_argument("--lora-alpha", type=int, default=32, metavar="N", help="(default: 32)")
    group.add_argument("--lora-dropout", type=float, default=0.2, metavar="SHARE", help="(default: 0.2)")
    group.add_argument(
        "--lora-targets",
        default="",
        metavar="NAMES",
        help="layers, with commas between; attention: those into attention; all: every linear layer (default: found for "
        "the architecture)",
    )
    group.add_argument("--full", action="store_true", help="train all weights, and no LoRA")
    group.add_argument(
        "--quantize",
        choices=("nf4", "int8", "none"),
        help="the base's weights (default: none, or nf4 where the GPU is too small)",
    )
    group.add_argument("--merge", action="store_true", help="write a whole model: the LoRA merged into the base")


def _add_reading(group: Any) -> None:
    group.add_argument(
        "--format", choices=FORMATS, default="", help="read them as this (default: told by their content)"
    )
    group.add_argument("--prompt-column", metavar="NAME", default="", help="the column that holds the prompts")
    group.add_argument("--answer-column", metavar="NAME", default="", help="the column that holds the answers")
    group.add_argument("--prompt-template", metavar="TEXT", default="", help='prompts over columns: "Describe {name}:"')
    group.add_argument("--answer-template", metavar="TEXT", default="", help='answers over columns: "{text}"')
    group.add_argument("--encoding", metavar="NAME", default="", help="of a text file (default: told by its bytes)")
    group.add_argument(
        "--text-rule", choices=get_args(TextRule), default="passages", help="what raw text becomes (default: passages)"
    )
    group.add_argument(
        "--passage-length", type=int, default=PASSAGE_LENGTH, metavar="N", help=f"(default: {PASSAGE_LENGTH})"
    )
    group.add_argument(
        "--hold-out",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share to evaluate with and not train on (default: 0)",
    )
    group.add_argument("--subset", metavar="NAME", default="", help="the configuration of a Hugging Face data set")


def problem_of(arguments: argparse.Namespace) -> str:
    """What can be told of the arguments before anything is imported; empty: nothing."""
    if problem := unwritable_problem(arguments.json or None):
        return problem
    if arguments.memory is not None and not arguments.dry_run:
        return "--memory names a GPU that is only reckoned with: give --dry-run too."
    if arguments.example is None:
        if not arguments.data:
            return "--data FILE names what is learned; --example spells brings its own."
        return "" if arguments.out is not None or arguments.dry_run else "--out FOLDER says where the result goes."
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args([]))
    fixed = [*FIXED_IN_EXAMPLES, *(FIXED_IN_SPELLS if arguments.example == "spells" else ())]
    if given := [f"--{name.replace('_', '-')}" for name in fixed if getattr(arguments, name) != defaults[name]]:
        return f"--example {arguments.example} takes no {', '.join(given)}: its words and what is asked of them are its own."
    return ""


def settings_from(arguments: argparse.Namespace) -> FinetuneSettings:
    """The settings that the arguments give."""
    from wmkml.finetuning.settings import FinetuneSettings, LoraSettings

    root = Path.cwd()
    targets = tuple(name.strip() for name in arguments.lora_targets.split(",") if name.strip())
    return FinetuneSettings(
        model=model_folder(arguments.model, root / Settings().general.models_folder, root),
        model_name=arguments.model,
        data=tuple(arguments.data),
        out=(arguments.out or root).resolve(),
        reading=ReadingOptions(
            format=arguments.format,
            columns=Columns(
                arguments.prompt_column, arguments.answer_column, arguments.prompt_template, arguments.answer_template
            ),
            encoding=arguments.encoding,
            text_rule=arguments.text_rule,
            passage_length=arguments.passage_length,
            hold_out=arguments.hold_out,
            seed=arguments.seed,
            subset=arguments.subset,
        ),
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        lora=LoraSettings(arguments.lora_rank, arguments.lora_alpha, arguments.lora_dropout, targets),
        full=arguments.full,
        merge=arguments.merge,
        quantize=arguments.quantize,
        template=arguments.template,
        system=arguments.system,
        loss_on=arguments.loss_on,
        max_length=arguments.max_length,
        batch_size=arguments.batch_size,
        accumulation=arguments.accumulation,
        micro_batch_tokens=arguments.micro_batch_tokens,
        packing=arguments.packing,
        evaluate_every=arguments.evaluate_every,
        patience=arguments.patience,
        checkpoint_every=arguments.checkpoint_every,
        compared=arguments.compared,
        seed=arguments.seed,
        devices=arguments.devices,
        parallel=arguments.parallel,
        device=arguments.device,
        card_gib=arguments.memory,
    )
