#!/usr/bin/env python3
"""Whether `life` falls as it should: whole runs over seeds × languages × visitors, its course by seed.

For each life: its value at every iteration, Spearman's correlation with the iteration (at most −0.9), the largest rise from an
iteration to the next (at most 0.05), and the last value (at most 0.1 where the life has the arc of wmkml/laboratory/arc.py).
Lives that were played before life was measured are read again from their adapters, once: `life.json` in the seed's folder.
With `--resume` it goes on in `--out`, also where benchmarks/arc.py has played.

    env/bin/python benchmarks/life.py [--seeds 5] [--languages de en] [--visitors quiet talkative] [--out FOLDER --resume]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lives import add_arguments, each_language_and_visitors, play_all
from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.laboratory import arc
from wmkml.laboratory.experiment import Experiment, VisitorKind
from wmkml.laboratory.report import MeasuresLine, align_columns
from wmkml.measures.life import life_of
from wmkml.runs.folder import adapter_folder

if TYPE_CHECKING:
    from wmkml.training.rounds import RoundTrainer

CORRELATION, RISE, LAST = -0.9, 0.05, 0.1
"""Most that each may be."""

LIFE_FILE = "life.json"


def main() -> int:
    """Run or read again, judge, print the table and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["de", "en"], help="(de en)")
    parser.add_argument("--visitors", nargs="+", choices=get_args(VisitorKind), default=["quiet", "talkative"])
    add_arguments(parser, seeds=5)
    arguments = parser.parse_args()

    played, _ = play_all(arguments, functools.partial(each_language_and_visitors, arguments))
    reader = AdapterReader(played[0][0])
    rows = [["life", *map(str, range(-1, arguments.rounds)), "correlation", "largest rise", "arc", "met"]]
    lives = []
    for played_experiment, outcome in played:
        for seed, lines in outcome.lines.items():
            name = f"{played_experiment.language} {played_experiment.visitors} {seed}"
            course = reader.course(played_experiment.out / f"seed-{seed}", lines)
            correlation, rise = spearman(course), largest_rise(course)
            has_arc = all(met is True for _, met in arc.judge(lines, played_experiment.rounds).values())
            met = correlation <= CORRELATION and rise <= RISE and (course[-1] <= LAST or not has_arc)
            cells = [f"{life:.3f}" for life in course]
            rows.append(
                [name, *cells, f"{correlation:.3f}", f"{rise:.3f}", "yes" if has_arc else "no", "yes" if met else "no"]
            )
            lives.append({"life": name, "course": [round(life, 4) for life in course], "arc": has_arc, "met": met})
    print(f"\n{align_columns(rows)}\n")
    good = sum(bool(life["met"]) for life in lives)
    print(json.dumps({"benchmark": "life", "lives": lives, "good": good, "of": len(lives)}))
    return 0


class AdapterReader:
    """Reads the life of iterations from their adapters; the model is loaded when it is first needed."""

    def __init__(self, of_experiment: Experiment) -> None:
        self._experiment = of_experiment
        self._trainer: RoundTrainer | None = None

    def course(self, folder: Path, lines: Sequence[MeasuresLine]) -> list[float]:
        """Life at every iteration of a run: as its measures hold it, or read from its adapters."""
        if all("life" in line for line in lines):
            return [float(line["life"]) for line in lines]
        kept = folder / LIFE_FILE
        if not kept.is_file():
            course = [1.0, *(self._read(adapter_folder(folder, line["iteration"], 1)) for line in lines[1:])]
            kept.write_text(json.dumps(course), encoding="utf-8")
        return [float(life) for life in json.loads(kept.read_text(encoding="utf-8"))]

    def _read(self, adapter: Path) -> float:
        from wmkml.training.lora import load_lora
        from wmkml.training.trainer_factory import make_trainer

        if self._trainer is None:
            self._trainer = make_trainer(self._experiment.settings, self._experiment.model)
        sha256 = hashlib.sha256((adapter / WEIGHTS_FILE).read_bytes()).hexdigest()
        load_lora(self._trainer.model, adapter, sha256)
        life = life_of(self._trainer.measure_forgetting())
        assert life is not None, f"{adapter}: with it the model's logits are not finite"
        return life


def spearman(course: Sequence[float]) -> float:
    """Spearman's rank correlation of life with the iteration, with mean ranks for equal values."""
    ranks = [
        sum(other < life for other in course) + (sum(other == life for other in course) - 1) / 2 for life in course
    ]
    middle = (len(course) - 1) / 2
    products = sum((rank - middle) * (place - middle) for place, rank in enumerate(ranks))
    spread = sum((rank - middle) ** 2 for rank in ranks) * sum((place - middle) ** 2 for place in range(len(course)))
    return products / spread**0.5 if spread else 0.0


def largest_rise(course: Sequence[float]) -> float:
    """The largest rise from an iteration to the next; 0 where there is none."""
    return max(0.0, *(second - first for first, second in itertools.pairwise(course)))


if __name__ == "__main__":
    sys.exit(main())
