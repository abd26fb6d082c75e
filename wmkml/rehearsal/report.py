"""The rehearsal's report: its exact JSON form, which other tools read, and its figures printed beside the goals.

Knows statistics and wording; not where a figure was measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field


class Figures(BaseModel):
    """A part of the report.  Unknown keys are refused, so that writer and reader cannot drift apart."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Spread(Figures):
    """Median, 95th percentile (nearest rank) and maximum, in milliseconds; all 0 when nothing was measured."""

    median: float = 0.0
    p95: float = 0.0
    max: float = 0.0


class RoundFigures(Figures):
    """An accepted round.  Times in seconds; `tokens` are those trained on."""

    iteration: int
    learning_rate: float
    samples: int
    tokens: int
    train_seconds: float
    swap_seconds: float = Field(
        description="From the worker's last optimizer step to the owner's switch, the hold left out."
    )
    loss_first: float
    loss_last: float


class Visits(Figures):
    """What the visitors met with.  Times in milliseconds, as they are on the visitor's side of the wire."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    quiet_first_token_ms: Spread = Field(default_factory=Spread)
    first_token_ms: Spread = Field(default_factory=Spread)
    token_gap_ms: Spread = Field(default_factory=Spread)
    swap_gap_ms_max: float = Field(
        default=0.0, description="The longest gap of any stream that was under way during a swap."
    )


class PairCounts(Figures):
    """Pairs in the store when the last words began to end, by source."""

    visitor: int = 0
    echo: int = 0
    persistent: int = 0
    dataset: int = 0


class Report(Figures):
    """The whole report.  `ok` is correctness alone: it is true exactly when `problems` is empty."""

    ok: bool
    engine: str
    model: str
    seconds: float = Field(description="From the first quiet prompt to the run's end.")
    start_seconds: float = Field(description="What the cluster took to be healthy; 0 when it was running already.")
    rounds: list[RoundFigures]
    visits: Visits
    pairs: PairCounts
    osc: dict[str, int] = Field(description="Messages received, by address.")
    problems: list[str] = Field(description="Sentences; none quotes a visitor.")


def spread(values: Sequence[float]) -> Spread:
    """Median, nearest-rank 95th percentile and maximum of values in milliseconds."""
    if not values:
        return Spread()
    ordered = sorted(values)
    rank = math.ceil(0.95 * len(ordered)) - 1
    return Spread(median=round(statistics.median(ordered), 1), p95=round(ordered[rank], 1), max=round(ordered[-1], 1))


def beside_goals(report: Report) -> list[str]:
    """The figures as lines, each beside its goal.  A missed goal is no problem: machines differ."""
    visits, lines = report.visits, []
    slowest = max((one.swap_seconds for one in report.rounds), default=0.0)
    lines.append(_line("swap, slowest round", slowest, "s", 1.0, strict=True, goal="under 1.0 s"))
    gap = visits.token_gap_ms
    lines.append(
        _line("longest gap at a swap", visits.swap_gap_ms_max, "ms", 5 * gap.median, goal=f"5 × median {gap.median} ms")
    )
    quiet = visits.quiet_first_token_ms
    if quiet.p95:
        lines.append(
            _line(
                "first token, p95", visits.first_token_ms.p95, "ms", 3 * quiet.p95, goal=f"3 × quiet p95 {quiet.p95} ms"
            )
        )
    return lines


def _line(name: str, value: float, unit: str, limit: float, *, goal: str, strict: bool = False) -> str:
    reached = value < limit if strict else value <= limit
    mark = "reached" if reached else "missed"
    return f"  {name:<22} {value:>8.2f} {unit:<2}   goal: {goal:<28} {mark}"
