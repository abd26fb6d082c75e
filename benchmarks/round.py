#!/usr/bin/env python3
"""How much faster a round trains in our loop than in the original's way, on this machine, with the same model and samples.

(a) as the original: a new `transformers.Trainer` for the round, every sample padded to 512 tokens, one batch an epoch.
(b) ours: the model wrapped once before all rounds, length-sorted micro-batches padded to their longest sample.

Both take the same optimizer steps (all samples of an epoch in one), in the same precision, from the same adapter; both
tokenise within the time that is taken, and (b) also writes and checks its adapter.  Loading the base model is left out
of both.  What bounds it: arithmetic.  A sample is some
30 to 60 tokens long, so of 512 nine in ten are padding, through which (a) computes all the same; the rest of the ratio
is the Trainer's set-up, which a long round would hide and a short one does not.  The two losses are printed because a
fast loop that learns something else is not faster.  Dropout differs in its draws, so they agree roughly.

    env/bin/python benchmarks/round.py [--rounds N] [--samples N] [--model FOLDER] [--threads N]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.original import train_as_the_original
from wmkml.places import SHIPPED_MODEL
from wmkml.training.base import Precision, load_base
from wmkml.training.loop import Recipe, Unwatched
from wmkml.training.lora import LoraShape, make_fresh
from wmkml.training.rounds import Habits, Round, RoundTrainer

RATE, EPOCHS, BATCH = 0.0015, 2, 256
SHAPE = LoraShape(16, 32, 0.05, ("q_proj", "v_proj"))
QUESTIONS = ("What is {}?", "Was ist {}?", "Tell me about {}.", "Erzähl mir von {}.")
THINGS = ("a language", "das Meer", "the moon", "ein Haus", "bread", "die Zeit", "a friend", "der Winter", "a song")
ANSWERS = (
    "{} is something that everybody knows and nobody can keep.",
    "{} ist etwas Altes. Man trägt es im Mund und in der Hand, und abends wird es leise.",
    "I would say that {} is made of small things: a word, a stone, a little light. It does not last, and that is good.",
    "{} gehört allen. Wer es verliert, sucht lange danach, und wer es findet, erkennt es nicht sofort wieder.",
)


def samples(count: int) -> list[tuple[str, str]]:
    """As many prompts and answers, of the lengths that the understudy's have."""
    pairs = []
    for number in range(count):
        thing = THINGS[number % len(THINGS)]
        question, answer = QUESTIONS[number % len(QUESTIONS)], ANSWERS[(number // 3) % len(ANSWERS)]
        pairs.append((question.format(thing), answer.format(thing)))
    return pairs


def measure_original(
    model: Path, precision: Precision, pairs: list[tuple[str, str]], rounds: int
) -> list[dict[str, float]]:
    """Seconds, and the first and last loss, of every round trained the original's way."""
    trainer = _trainer(model, precision)
    told = []
    for number in range(rounds):
        make_fresh(trainer.model, number)
        began = time.perf_counter()
        losses = train_as_the_original(
            trainer.model,
            trainer.base.tokenizer,
            pairs,
            learning_rate=RATE,
            epochs=EPOCHS,
            batch_size=BATCH,
            bf16=trainer.base.precision == "bfloat16",
            seed=number,
        )
        told.append({"seconds": time.perf_counter() - began, "loss_first": losses[0], "loss_last": losses[-1]})
        _say("as the original", number, told[-1])
    return told


def measure_ours(
    model: Path, precision: Precision, pairs: list[tuple[str, str]], rounds: int
) -> list[dict[str, float]]:
    """The same of our own way, the writing of the adapter included."""
    trainer = _trainer(model, precision)
    trainer.warm_up()
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            began = time.perf_counter()
            place = Path(folder) / f"iteration-{number}"
            done = trainer.train(Round(tuple(pairs), RATE, number, None, place), Unwatched())
            seconds = time.perf_counter() - began
            losses = done.trained.losses
            told.append(
                {
                    "seconds": seconds,
                    "loss_first": losses[0],
                    "loss_last": losses[-1],
                    "tokens": done.trained.tokens,
                    "after_last_step": seconds - done.trained.seconds,
                }
            )
            _say("ours", number, told[-1])
    return told


def main() -> None:
    """Measure both and print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how many rounds of each (3)")
    parser.add_argument("--samples", type=int, default=60, help="samples in a round (60, the original's first round)")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="a model's folder (the understudy)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads of both (all cores)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers_logging.disable_progress_bar()
    pairs = samples(arguments.samples)

    theirs = measure_original(arguments.model, arguments.precision, pairs, arguments.rounds)
    ours = measure_ours(arguments.model, arguments.precision, pairs, arguments.rounds)

    slow, fast = (statistics.median(one["seconds"] for one in way) for way in (theirs, ours))
    print(
        f"\n{arguments.samples} samples, {EPOCHS} epochs, {arguments.threads} threads; median of {arguments.rounds} rounds"
    )
    print(f"{'':<18}{'seconds':>9}{'first loss':>12}{'last loss':>11}")
    for name, way, seconds in (("(a) original", theirs, slow), ("(b) ours", ours, fast)):
        print(f"{name:<18}{seconds:>9.2f}{way[-1]['loss_first']:>12.4f}{way[-1]['loss_last']:>11.4f}")
    print(f"{'ratio':<18}{slow / fast:>9.1f}   (goal: at least 5)\n")
    line = {
        "benchmark": "round",
        "ratio": round(slow / fast, 2),
        "original_seconds": round(slow, 6),
        "our_seconds": round(fast, 6),
        "original_losses": [theirs[-1]["loss_first"], theirs[-1]["loss_last"]],
        "our_losses": [ours[-1]["loss_first"], ours[-1]["loss_last"]],
        "tokens": int(ours[-1]["tokens"]),
        "samples": arguments.samples,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
    }
    print(json.dumps(line))


def _trainer(model: Path, precision: Precision) -> RoundTrainer:
    recipe = Recipe(0.0, EPOCHS, BATCH, 4096, "adamw")
    return RoundTrainer(load_base(model, precision), SHAPE, Habits(recipe, 512, "text"))


def _say(name: str, number: int, told: dict[str, float]) -> None:
    print(f"{name}, round {number}: {told['seconds']:.2f} s", flush=True)


if __name__ == "__main__":
    main()
