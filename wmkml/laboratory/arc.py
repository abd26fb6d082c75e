"""Whether one life has the arc of a good death: each criterion, judged from the measures of its iterations.

beginning   iterations 0 and 1 make sense: real words at least 97 %, facts at least 70 %
middle      facts go first: half of them are gone while most answers still end with a sentence
end         at the last iteration the language is gone: distinct 2-grams over the measured answers at most a third
            of the base model's, facts under 15 %
always      never an empty answer, never a number that is not finite: every round is trained and answers
"""

from __future__ import annotations

import math

from wmkml.laboratory.report import MeasuresLine, format_value

REAL_WORDS, FACTS_BEFORE = 0.97, 0.70
DISTINCT_LEFT, FACTS_AFTER = 1 / 3, 0.15

Verdict = tuple[str, bool | None]
"""The value as text, and whether the criterion is met; None: it cannot be judged."""


def judge(lines: list[MeasuresLine], rounds: int) -> dict[str, Verdict]:
    """Judge one run by every criterion, by name."""
    by_iteration = {line["iteration"]: line for line in lines}
    base, last = by_iteration.get(-1, {}), by_iteration.get(rounds - 1, {})
    early = [by_iteration.get(iteration, {}) for iteration in (0, 1) if iteration < rounds]
    left = last["distinct_2"] / base["distinct_2"] if "distinct_2" in last and base.get("distinct_2") else None
    whole = len(by_iteration) == rounds + 1
    # Values that are not finite are left out of their line.
    finite = all(base.keys() <= line.keys() for line in lines)
    return {
        "words 0, 1": _least(early, "real_words", REAL_WORDS),
        "facts 0, 1": _least(early, "facts", FACTS_BEFORE),
        "facts first": _falls_first(by_iteration, "facts", "ended"),
        "distinct-2 left": (format_value("distinct_2", left), None if left is None else left <= DISTINCT_LEFT),
        "facts at the end": (
            format_value("facts", last.get("facts")),
            last["facts"] < FACTS_AFTER if "facts" in last else None,
        ),
        "never empty": (
            format_value("empty", max(line["empty"] for line in lines)),
            all(not line["empty"] for line in lines),
        ),
        "never NaN": (f"{len(by_iteration) - 1} of {rounds}", whole and finite),
    }


def _least(lines: list[MeasuresLine], name: str, bound: float) -> Verdict:
    values = [line[name] for line in lines if name in line]
    if not values:
        return format_value(name, None), None
    return format_value(name, min(values)), min(values) >= bound


def _falls_first(by_iteration: dict[int, MeasuresLine], early: str, late: str) -> Verdict:
    """Whether measure `early` falls to half of the base model's value before measure `late` does."""
    falls = {}
    for name in (early, late):
        whole = by_iteration.get(-1, {}).get(name)
        if not whole:
            return format_value(name, None), None
        halved = [iteration for iteration, line in by_iteration.items() if line.get(name, whole) <= whole / 2]
        falls[name] = min(halved, default=math.inf)
    return f"{falls[early]:.0f} < {falls[late]:.0f}", falls[early] < falls[late]
