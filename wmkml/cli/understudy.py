"""Build the understudy, the small bilingual model that ships with the project, or ask it something.

    python -m wmkml understudy build
    python -m wmkml understudy ask "Was ist eine Katze?" --language de

`build` trains from nothing, resumes an unfinished build of the same recipe, and writes the model to --out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

WORK_FOLDER = Path("data/understudy-build")

SHIPPED_STEPS = 5200
"""Optimizer steps of the shipped model; its model card says how long they take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|ask")
    build = actions.add_parser("build", help="train the model from nothing, or go on with an unfinished build")
    length = build.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="train for about this long, instead of by steps")
    length.add_argument(
        "--steps",
        type=int,
        help=f"train exactly this many steps (default: {SHIPPED_STEPS}, as the shipped model); "
        "with the seed this fixes the result",
    )
    build.add_argument("--out", type=Path, help="folder of the finished model (default: the shipped model's)")
    build.add_argument(
        "--work", type=Path, default=WORK_FOLDER, help=f"folder of the unfinished build (default: {WORK_FOLDER})"
    )
    build.add_argument("--seed", type=int, default=1, help="seed of the weights and the texts (default: 1)")
    build.add_argument("--tokens-per-batch", type=int, help="tokens in each batch (default: as the shipped model)")
    build.add_argument(
        "--threads",
        type=int,
        default=0,
        help="CPU threads (default: all cores; use 1 where other programs use the machine)",
    )
    build.add_argument(
        "--products",
        choices=["auto", "bfloat16", "float32"],
        default="auto",
        help="number format of matrix products (default: auto, bfloat16 where the machine is fast in it)",
    )
    ask = actions.add_parser("ask", help="ask the finished model one thing")
    ask.add_argument("prompt", help="what to ask")
    ask.add_argument(
        "--language", choices=["de", "en"], help="answer under this language's system prompt (default: none)"
    )
    ask.add_argument("--temperature", type=float, default=0.7, help="0 is greedy (default: 0.7)")
    ask.add_argument("--model", type=Path, help="the model's folder (default: the shipped model's)")


def main(arguments: argparse.Namespace) -> int:
    """Build or ask.  Returns 2, with a sentence on stderr, when the model or an argument cannot be used."""
    # Imported here: `--help` must not wait for torch.
    from wmkml.understudy.answering import MODEL_FOLDER, answer, load_model
    from wmkml.understudy.batches import TOKENS_PER_BATCH
    from wmkml.understudy.build import BuildRecipe, build, build_device, prefers_bfloat16

    if arguments.action == "build":
        for name in ("minutes", "steps", "tokens_per_batch"):
            value = getattr(arguments, name)
            if value is not None and value <= 0:
                print(f"--{name.replace('_', '-')} must be above zero.", file=sys.stderr)
                return 2
        recipe = BuildRecipe(
            seed=arguments.seed,
            steps=None if arguments.minutes else arguments.steps or SHIPPED_STEPS,
            minutes=arguments.minutes or 0.0,
            threads=arguments.threads,
            tokens_per_batch=arguments.tokens_per_batch or TOKENS_PER_BATCH,
            bfloat16=arguments.products == "bfloat16"
            or (arguments.products == "auto" and prefers_bfloat16(build_device())),
        )
        try:
            build(recipe, arguments.out or MODEL_FOLDER, arguments.work, log=lambda line: print(line, flush=True))
        except KeyboardInterrupt:
            print(
                f"\nInterrupted. The same command goes on from the last checkpoint in {arguments.work}.",
                file=sys.stderr,
            )
            return 130
        return 0
    folder = arguments.model or MODEL_FOLDER
    if not (folder / "model.safetensors").exists():
        print(f"{folder} holds no model. `python -m wmkml understudy build` makes one.", file=sys.stderr)
        return 2
    model, tokenizer = load_model(folder)
    print(answer(model, tokenizer, arguments.prompt, arguments.language, arguments.temperature))
    return 0
