#!/usr/bin/env python3
"""Fused against plain attention in training on this CPU: one of our rounds, and batches of the understudy's build.

Fused is torch's scaled_dot_product_attention, plain a product, a softmax and a product.  Sequences are short (some 30
to 100 tokens), so attention is little arithmetic, and the comparison is of how well the two backward passes suit that.
In bfloat16 on a CPU the fused one is slower, in float32 they are equal; trainer and build choose accordingly
(`wmkml.training.base_model.fast_attention`).  The figures mean nothing beside other work; take several repeats.

    env/bin/python benchmarks/attention.py [--repeats N] [--precision bfloat16 float32]

Prints a table of seconds (the least of the repeats, which alternate) and, last, one line of JSON with `ratio` (fused /
plain).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.round import samples
from wmkml.config import load_settings
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.training.loop import NullWatcher
from wmkml.training.rounds import RoundTrainer, TrainingRound
from wmkml.training.trainer_factory import make_trainer
from wmkml.understudy.batches import make_pool
from wmkml.understudy.build import batch_loss, new_model
from wmkml.understudy.exchanges import ConversationWriter

KINDS = ("sdpa", "eager")


def rounds(precision: str, folder: Path) -> dict[str, Callable[[], None]]:
    """For each kind of attention, a function that trains one round with the understudy's settings."""
    settings = load_settings(None, model="understudy", overrides={"finetuning.precision": precision})
    functions: dict[str, Callable[[], None]] = {}
    for kind in KINDS:
        trainer = make_trainer(settings, SHIPPED_MODEL)
        trainer.base.model.set_attn_implementation(kind)

        def train_round(trainer: RoundTrainer = trainer, stem: Path = folder / f"{precision}-{kind}") -> None:
            adapter = stem.with_name(f"{stem.name}-{len(list(stem.parent.glob('*')))}")
            trainer.train(TrainingRound(tuple(samples(60)), 0.001, 1, None, adapter), NullWatcher())

        functions[kind] = train_round
    return functions


def steps(precision: str) -> dict[str, Callable[[], None]]:
    """For each kind of attention, a function that runs forward and backward on every fourth batch of a build's pool."""
    tokenizer = load_tokenizer(SHIPPED_MODEL)
    batches = make_pool(ConversationWriter(1), tokenizer, 1)[::4]
    functions: dict[str, Callable[[], None]] = {}
    for kind in KINDS:
        model = new_model(tokenizer, 1)
        model.set_attn_implementation(kind)

        def run_batches(model: torch.nn.Module = model) -> None:
            for batch in batches:
                torch.autograd.backward(batch_loss(model, batch, precision == "bfloat16"))

        functions[kind] = run_batches
    return functions


def fastest(functions: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """The least seconds of each function over alternating repeats; a first call of each is not counted."""
    seconds = dict.fromkeys(functions, float("inf"))
    for repeat in range(repeats + 1):
        for kind, function in functions.items():
            began = time.perf_counter()
            function()
            if repeat:
                seconds[kind] = min(seconds[kind], time.perf_counter() - began)
    return seconds


def main() -> None:
    """Measure all, print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4, help="of each (4)")
    parser.add_argument("--precision", nargs="+", choices=("bfloat16", "float32"), default=["bfloat16", "float32"])
    arguments = parser.parse_args()
    ratios: dict[str, float] = {}
    print(f"{'':<18}{'fused':>8}{'plain':>8}{'ratio':>8}")
    for precision in arguments.precision:
        with tempfile.TemporaryDirectory() as folder:
            for name, functions in (("round", rounds(precision, Path(folder))), ("build", steps(precision))):
                seconds = fastest(functions, arguments.repeats)
                ratio = seconds["sdpa"] / seconds["eager"]
                ratios[f"{name} {precision}"] = round(ratio, 2)
                print(
                    f"{name + ' ' + precision:<18}{seconds['sdpa']:>8.2f}{seconds['eager']:>8.2f}{ratio:>8.2f}",
                    flush=True,
                )
    line = {"benchmark": "attention", "amx": torch.cpu._is_amx_tile_supported(), "ratio": ratios}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
