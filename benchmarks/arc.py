#!/usr/bin/env python3
"""Whether the arc of dying is what it should be: seeds × languages (× visitors) of whole runs, each criterion by seed.

    beginning   iterations 0 and 1 make sense: real words at least 97 %, facts at least 70 %
    middle      facts go first: half of them are gone while most answers still end with a sentence
    end         at the last one it is gone: distinct 2-grams over the measured answers at most a third of the base
                model's, facts under 15 %
    always      never an empty answer, never a number that is not finite: every round is trained and answers

What bounds it: answering and training take turns on all cores; most of a life is spent in the engine, on echoes and on
the examination.  A model without an examination has no facts: their criteria are then left open.

    env/bin/python benchmarks/arc.py [--seeds 5] [--languages de en] [--visitors quiet talkative] [--set key=value]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lives import add_arguments, experiment, play_all
from wmkml.config import Settings
from wmkml.laboratory.experiment import Experiment, VisitorKind
from wmkml.laboratory.report import Line, aligned, shown
from wmkml.places import Places

REAL_WORDS, FACTS_BEFORE = 0.97, 0.70
DISTINCT_LEFT, FACTS_AFTER = 1 / 3, 0.15

Verdict = tuple[str, bool | None]
"""The value for people, and whether the criterion is met; none where it cannot be told."""


def judged(lines: list[Line], rounds: int) -> dict[str, Verdict]:
    """Every criterion of one life, by name."""
    by_iteration = {line["iteration"]: line for line in lines}
    base, last = by_iteration.get(-1, {}), by_iteration.get(rounds - 1, {})
    early = [by_iteration.get(iteration, {}) for iteration in (0, 1) if iteration < rounds]
    left = last["distinct_2"] / base["distinct_2"] if "distinct_2" in last and base.get("distinct_2") else None
    whole = len(by_iteration) == rounds + 1
    # What is not finite is left out of its line.
    finite = all(base.keys() <= line.keys() for line in lines)
    return {
        "words 0, 1": _least(early, "real_words", REAL_WORDS),
        "facts 0, 1": _least(early, "facts", FACTS_BEFORE),
        "facts first": _first(by_iteration, "facts", "ended"),
        "distinct-2 left": (shown("distinct_2", left), None if left is None else left <= DISTINCT_LEFT),
        "facts at the end": (
            shown("facts", last.get("facts")),
            last["facts"] < FACTS_AFTER if "facts" in last else None,
        ),
        "never empty": (shown("empty", max(line["empty"] for line in lines)), all(not line["empty"] for line in lines)),
        "never NaN": (f"{len(by_iteration) - 1} of {rounds}", whole and finite),
    }


def _least(lines: list[Line], name: str, bound: float) -> Verdict:
    values = [line[name] for line in lines if name in line]
    if not values:
        return shown(name, None), None
    return shown(name, min(values)), min(values) >= bound


def _first(by_iteration: dict[int, Line], one: str, other: str) -> Verdict:
    """Whether one measure has fallen to half of the base model's before the other one has."""
    falls = {}
    for name in (one, other):
        whole = by_iteration.get(-1, {}).get(name)
        if not whole:
            return shown(name, None), None
        halved = [iteration for iteration, line in by_iteration.items() if line.get(name, whole) <= whole / 2]
        falls[name] = min(halved, default=math.inf)
    return f"{falls[one]:.0f} < {falls[other]:.0f}", falls[one] < falls[other]


def main() -> int:
    """Play, judge, print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["de", "en"], help="(de en)")
    parser.add_argument("--visitors", nargs="+", choices=get_args(VisitorKind), default=["talkative"])
    add_arguments(parser, seeds=5)
    arguments = parser.parse_args()

    def experiments(settings: Settings, where: Places, out: Path) -> list[Experiment]:
        return [
            experiment(
                arguments, settings, where, language=language, visitors=visitors, out=out / f"{language}-{visitors}"
            )
            for language in arguments.languages
            for visitors in arguments.visitors
        ]

    played, seconds = play_all(arguments, experiments)
    lives: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for one, outcome in played:
        for seed, lines in outcome.lines.items():
            verdicts = judged(lines, one.rounds)
            head = {"language": one.language, "visitors": one.visitors, "seed": seed}
            if not rows:
                rows.append(["life", *verdicts, "arc"])
            whole = _all([met for _, met in verdicts.values()])
            cells = [f"{value} {_word(met)}" for value, met in verdicts.values()]
            rows.append([" ".join(map(str, head.values())), *cells, _word(whole)])
            lives.append({**head, "arc": whole, **{name: met for name, (_, met) in verdicts.items()}})
    print(f"\n{aligned(rows)}\n")
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
                "mean": {
                    f"{one.language}-{one.visitors}": {
                        name: [round(value, 4) for value in outcome.means().get(name, {}).values()]
                        for name in ("distinct_2", "real_words", "facts", "empty")
                    }
                    for one, outcome in played
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
