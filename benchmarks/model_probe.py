#!/usr/bin/env python3
"""What measuring the model costs: its share of a round on this machine, which the swap waits for.

After every round the worker reads the measuring probe with the whole vocabulary (`wmkml.training.probing`).  What bounds it
is arithmetic: about a thousand tokens forward, once, or twice where the base model's distributions are too large to keep; a
round goes forward and back through every token of its samples, in every epoch.  So the share falls with the round's samples,
and is the same for every model that computes its own share of them.  Distributions cost a few passes over tokens × vocabulary.

Rounds and probes alternate.  Processor time is counted, which other programs on the machine do not lengthen; on a GPU the time
until it is done.

    env/bin/python benchmarks/model_probe.py [--rounds N] [--samples N …] [--model FOLDER] [--threads N]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.round import samples
from wmkml.config import load_settings
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.training.loop import NullWatcher
from wmkml.training.rounds import RoundTrainer, TrainingRound
from wmkml.training.trainer_factory import make_trainer

RATE = 1e-3


def seconds() -> float:
    """Processor time of this process, or the clock once the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.monotonic()
    return time.process_time()


def measure(trainer: RoundTrainer, count: int, folder: Path) -> tuple[float, float, int]:
    """Train and write a round of `count` samples, and measure the model: seconds of both, and the round's tokens."""
    began = seconds()
    trained = trainer.train(TrainingRound(tuple(samples(count)), RATE, 1, None, folder), NullWatcher())
    written = seconds()
    reading = trainer.measure_model()
    done = seconds()
    if None in reading.values.values():
        raise SystemExit("The model could not be measured; its log says why.")
    return written - began, done - written, trained.result.tokens


def main() -> int:
    """Measure and print the table and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how many rounds of each size (3), after one not counted")
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 154, 274], help="samples in a round")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="a model's folder (the understudy)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trainer = make_trainer(load_settings(overrides={"finetuning.batch_size": 8}), arguments.model)
    lines = []
    print(f"{'samples':>8}{'tokens':>9}{'round, s':>10}{'probe, s':>10}{'share':>8}")
    with tempfile.TemporaryDirectory() as folder:
        trainer.measure_base()
        for count in arguments.samples:
            figures = [measure(trainer, count, Path(folder) / f"{count}-{n}") for n in range(arguments.rounds + 1)][1:]
            of_round, of_probe = (statistics.median(column) for column in list(zip(*figures, strict=True))[:2])
            tokens, share = figures[0][2], of_probe / (of_round + of_probe)
            print(f"{count:>8}{tokens:>9}{of_round:>10.2f}{of_probe:>10.3f}{share:>8.1%}", flush=True)
            lines.append({"samples": count, "tokens": tokens, "round": of_round, "probe": of_probe, "share": share})
    figures_of_probe = {"benchmark": "model_probe", "model": arguments.model.name, "precision": trainer.base.precision}
    print(json.dumps({**figures_of_probe, "threads": arguments.threads, "rounds": lines}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
