#!/usr/bin/env python3
"""Whether the literature's results are reproduced: what replacing, accumulating and human text leave of a language.

Training each generation on the newest one's text alone collapses (Shumailov et al. 2024, "AI models collapse when
trained on recursively generated data"); keeping the older text beside it, or mixing in human text, slows or stops that
(Gerstgrasser et al. 2024, "Is Model Collapse Inevitable?"; Alemohammad et al. 2023, "Self-Consuming Generative Models
Go MAD").  Every way is run with the same seeds.  `left` is a measure at the last iteration divided by the base model's;
`facts, mean` is the mean of `facts` over all iterations, which shows how early they are lost if all lose them in the
end.

    replace         a round trains on the newest iteration's pairs alone
    installation    all pairs, an iteration's weighing e times the one's before
    accumulate      all pairs, equally
    human 0.2, 0.5  as replace, that share of the samples being text of the understudy's generator (or --human FILE)

What bounds it: as in benchmarks/arc.py.

    env/bin/python benchmarks/literature.py [--seeds 3] [--language en] [--visitors talkative] [--set key=value]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lives import add_arguments, experiment, play_all
from wmkml.config import Settings
from wmkml.config.paths import Paths
from wmkml.laboratory.experiment import Experiment, VisitorKind
from wmkml.laboratory.report import MeasuresLine, Outcome, align_columns, format_value, not_measured_note
from wmkml.policy.pair_selection import Keeping

WAYS: dict[str, tuple[Keeping, float]] = {
    "replace": ("replace", 0.0),
    "installation": ("installation", 0.0),
    "accumulate": ("accumulate", 0.0),
    "human 0.2": ("replace", 0.2),
    "human 0.5": ("replace", 0.5),
}
COLUMNS = ("distinct_2", "distinct_3", "real_words", "facts")
"""The measures of the table."""


def left(lines: list[MeasuresLine], name: str) -> float | None:
    """A measure at the last iteration divided by the base model's; None if it cannot be computed."""
    if not lines or not lines[0].get(name) or name not in lines[-1]:
        return None
    return float(lines[-1][name]) / float(lines[0][name])


def summarize_way(outcome: Outcome) -> dict[str, Any]:
    """Means over the seeds: each measure at the end, what is left of it, and the base model's loss at the end."""
    lives = outcome.lines.values()
    figures: dict[str, Any] = {}
    for name in COLUMNS:
        kept = [value for lines in lives if (value := left(lines, name)) is not None]
        figures[name] = _mean(lines[-1][name] for lines in lives if name in lines[-1])
        figures[f"{name}_left"] = _mean(kept)
        figures[f"{name}_left_range"] = [min(kept), max(kept)] if kept else None
    figures["facts_mean"] = _mean(line["facts"] for lines in lives for line in lines[1:] if "facts" in line)
    figures["base_loss"] = _mean(lines[-1]["base_loss"] for lines in lives)
    figures["ended"] = len(outcome.end_reasons)
    return figures


def main() -> int:
    """Run every way, and print the table and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", default="en", help="(en)")
    parser.add_argument("--visitors", choices=get_args(VisitorKind), default="talkative")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS), help="(all)")
    parser.add_argument("--human", type=Path, metavar="FILE", help="CSV of prompt and answer, for other models")
    add_arguments(parser, seeds=3)
    arguments = parser.parse_args()

    def experiments(settings: Settings, where: Paths, out: Path) -> list[Experiment]:
        return [
            experiment(
                arguments,
                settings,
                where,
                language=arguments.language,
                visitors=arguments.visitors,
                out=out / way.replace(" ", "-"),
                keeping=WAYS[way][0],
                human_share=WAYS[way][1],
                human=arguments.human if WAYS[way][1] else None,
            )
            for way in arguments.ways
        ]

    played, seconds = play_all(arguments, experiments)
    ways = {way: summarize_way(outcome) for way, (_, outcome) in zip(arguments.ways, played, strict=True)}
    rows = [["way", *(text for name in COLUMNS for text in (name, "left")), "facts, mean", "base loss"]]
    for way, figures in ways.items():
        cells = [
            text for name in COLUMNS for text in (format_value(name, figures[name]), _share(figures[f"{name}_left"]))
        ]
        rows.append([way, *cells, _share(figures["facts_mean"]), format_value("base_loss", figures["base_loss"])])
    print(f"\nAfter {arguments.rounds} rounds, means of {arguments.seeds} seeds\n\n{align_columns(rows)}\n")
    not_measured = {name: why for _, outcome in played for name, why in outcome.not_measured().items()}
    if not_measured:
        print(f"{not_measured_note(not_measured)}\n")
    lives = arguments.seeds * len(ways)
    print(f"{seconds / lives:.0f} s a life. Runs: {played[0][0].out.parent}\n")
    line = {"benchmark": "literature", "rounds": arguments.rounds, "seeds": arguments.seeds, "ways": ways}
    line["not_measured"] = not_measured
    print(json.dumps({**line, "seconds_a_life": round(seconds / lives, 1)}))
    return 0


def _mean(values: Iterable[float]) -> float | None:
    """The mean; None without values."""
    numbers = list(values)
    return statistics.mean(numbers) if numbers else None


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
