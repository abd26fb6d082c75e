#!/usr/bin/env python3
"""Fused against plain attention in training on this CPU, in one run: a round of ours, and batches of the understudy's build.

Fused is torch's scaled_dot_product_attention, plain a product, a softmax and a product.  Sequences are short here (some 30 to
100 tokens), so attention is little arithmetic; what is compared is how well the two backward passes are written for that.  In
bfloat16 on a CPU the fused one's takes longer, in float32 the two are alike: the trainer and the build choose by that
(`wmkml.training.base.attention_for`).  Beside other work the figures mean nothing; take several repeats.

    env/bin/python benchmarks/attention.py [--repeats N] [--precision bfloat16 float32]

Prints a table of seconds (the least of the repeats, which alternate) and, last, one line of JSON with `ratio` (fused / plain).
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
from wmkml.places import SHIPPED_MODEL
from wmkml.training.base import load_tokenizer
from wmkml.training.building import make_trainer
from wmkml.training.loop import Unwatched
from wmkml.training.rounds import Round, RoundTrainer
from wmkml.understudy.batches import pool
from wmkml.understudy.build import batch_loss, new_model
from wmkml.understudy.exchanges import Writer

KINDS = ("sdpa", "eager")


def rounds(precision: str, folder: Path) -> dict[str, Callable[[], None]]:
    """By the kind of attention: train one round with the understudy's settings."""
    settings = load_settings(None, model="understudy", overrides={"finetuning.precision": precision})
    found: dict[str, Callable[[], None]] = {}
    for kind in KINDS:
        trainer = make_trainer(settings, SHIPPED_MODEL)
        trainer.base.model.set_attn_implementation(kind)

        def one(trainer: RoundTrainer = trainer, place: Path = folder / f"{precision}-{kind}") -> None:
            new = place.with_name(f"{place.name}-{len(list(place.parent.glob('*')))}")
            trainer.train(Round(tuple(samples(60)), 0.001, 1, None, new), Unwatched())

        found[kind] = one
    return found


def steps(precision: str) -> dict[str, Callable[[], None]]:
    """By the kind of attention: forward and backward of every fourth batch of a pool of the build, without its optimizer."""
    tokenizer = load_tokenizer(SHIPPED_MODEL)
    batches = pool(Writer(1), tokenizer, 1)[::4]
    found: dict[str, Callable[[], None]] = {}
    for kind in KINDS:
        model = new_model(tokenizer, 1)
        model.set_attn_implementation(kind)

        def several(model: torch.nn.Module = model) -> None:
            for batch in batches:
                torch.autograd.backward(batch_loss(model, batch, precision == "bfloat16"))  # type: ignore[arg-type]

        found[kind] = several
    return found


def least(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """The least seconds of each way; they alternate, after one that does not count."""
    seconds = dict.fromkeys(ways, float("inf"))
    for repeat in range(repeats + 1):
        for kind, way in ways.items():
            began = time.perf_counter()
            way()
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
            for name, ways in (("round", rounds(precision, Path(folder))), ("build", steps(precision))):
                seconds = least(ways, arguments.repeats)
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
