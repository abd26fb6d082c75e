"""The rehearsal's report: its exact JSON form, which other tools read, and its figures as lines beside the goals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

NOT_SEEN: Final = "not seen"
"""In place of a figure that needs something which never happened: nobody can say whether its goal was reached."""


class ReportModel(BaseModel):
    """Base of the report's parts.  Unknown keys are refused, so that writer and reader cannot drift apart."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class LatencySummary(ReportModel):
    """Median, 95th percentile (nearest rank) and maximum, in milliseconds; all 0 when nothing was measured."""

    median: float = 0.0
    p95: float = 0.0
    max: float = 0.0


class RoundFigures(ReportModel):
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


class VisitFigures(ReportModel):
    """What the visitors experienced.  Times in milliseconds, measured by the visitor's client."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    quiet_first_token_ms: LatencySummary = Field(default_factory=LatencySummary)
    first_token_ms: LatencySummary = Field(default_factory=LatencySummary)
    token_gap_ms: LatencySummary = Field(default_factory=LatencySummary)
    swap_gap_ms_max: float | Literal["not seen"] = Field(
        default=NOT_SEEN,
        description="The longest gap of any stream that was under way during a swap; `not seen` if none was.",
    )


class PairCounts(ReportModel):
    """Pairs in the store near the end of the last words, by source."""

    visitor: int = 0
    echo: int = 0
    persistent: int = 0
    dataset: int = 0


class MeasureFigures(ReportModel):
    """The measures of one iteration that were taken once, by their names in `docs/measures.md`; null: not measurable."""

    iteration: int
    values: dict[str, float | None]


class Report(ReportModel):
    """The whole report.  `ok` is correctness alone: it is true exactly when `problems` is empty."""

    ok: bool
    engine: str
    model: str
    seconds: float = Field(description="From the first quiet prompt to the run's end.")
    start_seconds: float = Field(description="Time until the cluster was healthy; 0 when it was running already.")
    rounds: list[RoundFigures]
    visits: VisitFigures
    pairs: PairCounts
    osc: dict[str, int] = Field(description="Messages received, by address.")
    problems: list[str] = Field(description="Sentences; none quotes a visitor.")
    measures: list[MeasureFigures] = Field(
        default_factory=list,
        description="Of the base model (iteration -1) and of each iteration that answered, as the event stream had them.",
    )


def latency_summary(values: Sequence[float]) -> LatencySummary:
    """Median, nearest-rank 95th percentile and maximum of values in milliseconds."""
    if not values:
        return LatencySummary()
    ordered = sorted(values)
    rank = math.ceil(0.95 * len(ordered)) - 1
    return LatencySummary(
        median=round(statistics.median(ordered), 1), p95=round(ordered[rank], 1), max=round(ordered[-1], 1)
    )


def goal_lines(report: Report) -> list[str]:
    """The figures as lines, each beside its goal.  A missed goal is not a problem: machines differ."""
    visits, lines = report.visits, []
    slowest = max((figures.swap_seconds for figures in report.rounds), default=0.0)
    lines.append(_goal_line("swap, slowest round", slowest, "s", 1.0, strict=True, goal="under 1.0 s"))
    gap = visits.token_gap_ms
    lines.append(
        _goal_line(
            "longest gap at a swap", visits.swap_gap_ms_max, "ms", 5 * gap.median, goal=f"5 × median {gap.median} ms"
        )
    )
    quiet = visits.quiet_first_token_ms
    if quiet.p95:
        lines.append(
            _goal_line(
                "first token, p95", visits.first_token_ms.p95, "ms", 3 * quiet.p95, goal=f"3 × quiet p95 {quiet.p95} ms"
            )
        )
    return lines


def _goal_line(
    name: str, value: float | Literal["not seen"], unit: str, limit: float, *, goal: str, strict: bool = False
) -> str:
    if isinstance(value, str):
        return f"  {name:<22} {'–':>8} {unit:<2}   goal: {goal:<28} {value}"
    reached = value < limit if strict else value <= limit
    mark = "reached" if reached else "missed"
    return f"  {name:<22} {value:>8.2f} {unit:<2}   goal: {goal:<28} {mark}"
