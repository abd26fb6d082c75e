"""The example `quality`: the same words, clean and spoiled in three ways, taught by the same recipe and compared.

Spoiled are some of the pairs: repeated again and again, given the answer of another pair, or answered in English.  All
four versions are trained for the same number of steps and evaluated on the same clean pairs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmkml.corpora import Pair
from wmkml.finetuning.checkpoint import HeldOut
from wmkml.finetuning.output import GRID, INK

SPOILED_SHARE = 0.5
"""Of the pairs, in each spoiled version."""

REPEATS = 9
"""How often a pair that is repeated stands there."""

ENGLISH = (
    "I do not know.",
    "Ask me in English.",
    "That is a good question.",
    "It is a thing of the house.",
    "Not today.",
)

COLOURS = (INK, "#b3261e", "#2c6e9b", "#7a8b2f")


@dataclass(frozen=True)
class QualityResult:
    """One version's outcome: its held-out losses, and the share (0 to 1) of answers with the pattern."""

    held_out: tuple[HeldOut, ...]
    share: float


def versions_of(pairs: Sequence[Pair], seed: int) -> dict[str, list[tuple[str, str]]]:
    """The (prompt, answer) pairs of each version, by its name."""
    chosen = random.Random(seed)
    clean = [(pair.prompt, pair.answer or "") for pair in pairs]
    spoiled = set(chosen.sample(range(len(clean)), round(SPOILED_SHARE * len(clean))))
    answers = [clean[number][1] for number in sorted(spoiled)]
    wrong = dict(zip(sorted(spoiled), answers[7:] + answers[:7], strict=True))
    few = sorted(spoiled)[: max(1, len(spoiled) // 6)]
    return {
        "clean": clean,
        "duplicates": [pair for number, pair in enumerate(clean) for _ in range(REPEATS if number in few else 1)],
        "wrong answers": [(prompt, wrong.get(number, answer)) for number, (prompt, answer) in enumerate(clean)],
        "mixed languages": [
            (prompt, chosen.choice(ENGLISH) if number in spoiled else answer)
            for number, (prompt, answer) in enumerate(clean)
        ],
    }


def plot_quality(path: Path, results: Mapping[str, QualityResult]) -> None:
    """Write held-out losses by step, and the shares of right answers, side by side as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, shares = figure.subplots(1, 2, width_ratios=(2, 1))
    for (name, result), colour in zip(results.items(), COLOURS, strict=False):
        steps = [evaluation.step for evaluation in result.held_out]
        values = [evaluation.loss for evaluation in result.held_out]
        losses.plot(steps, values, color=colour, marker="o", markersize=3, label=name)
    losses.set_title("held-out loss, on clean pairs", fontsize=10, color=INK, loc="left")
    losses.set_xlabel("optimizer step", fontsize=9)
    losses.set_ylabel("nats a token", fontsize=9)
    losses.legend(frameon=False, fontsize=9)
    names = list(results)
    shares.barh(names[::-1], [results[name].share for name in names[::-1]], color=list(COLOURS[: len(names)])[::-1])
    shares.set_xlim(0, 1)
    shares.set_title("answers with the pattern", fontsize=10, color=INK, loc="left")
    for axes in (losses, shares):
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)
