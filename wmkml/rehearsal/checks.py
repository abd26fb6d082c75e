"""What must hold after a rehearsal.  Each check returns one sentence for each violation, an empty list for none.

The checks are about correctness, never about speed.  No sentence quotes a visitor.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from wmkml.protocol.run_state import RoundRecord, SwapEvent
from wmkml.rehearsal.visitors import Visit


def check_rounds(expected: int, rounds: Sequence[RoundRecord], swaps: Sequence[SwapEvent], iteration: int) -> list[str]:
    """All `expected` rounds were accepted and swapped in, in order, and the last adapter answers at the end."""
    problems = []
    for record in rounds:
        if record.status != "accepted":
            problems.append(f"Round {record.iteration} ended as '{record.status}', not 'accepted'.")
    if len(rounds) != expected:
        problems.append(f"{len(rounds)} rounds took place instead of {expected}.")
    if (swapped := [swap.iteration for swap in swaps]) != list(range(expected)):
        problems.append(f"The swaps were {swapped}, not 0 to {expected - 1} in order.")
    if iteration != expected - 1:
        problems.append(f"Iteration {iteration} answered in the last words, not {expected - 1}.")
    return problems


def check_visits(visits: Sequence[Visit], expected: int) -> list[str]:
    """Every visit was answered: the first by the base model, the last by the last adapter, and none by an iteration
    older than one that had already answered when its prompt was sent.
    """
    failures = Counter(visit.failure for visit in visits if visit.failure is not None)
    problems = [
        f"{count} {'visit' if count == 1 else 'visits'} {failure.rstrip('.')}." for failure, count in failures.items()
    ]
    answers = [visit for visit in sorted(visits, key=lambda visit: visit.sent) if visit.iteration is not None]
    if not answers:
        return [*problems, "No visit was answered."]
    if answers[0].iteration != -1:
        problems.append(f"Iteration {answers[0].iteration} answered the first visit, not the base model (−1).")
    if answers[-1].iteration != expected - 1:
        problems.append(f"Iteration {answers[-1].iteration} answered the last visit, not {expected - 1}.")
    for earlier, later in itertools.pairwise(answers):
        if (earlier.iteration or 0) > (later.iteration or 0) and (earlier.started_at or 0) < later.sent:
            problems.append(
                f"After iteration {earlier.iteration} had answered, {later.iteration} answered a new prompt."
            )
    return problems


def check_probes(probes: Iterable[tuple[SwapEvent, Visit]]) -> list[str]:
    """Each prompt sent at the moment of a swap was answered by the new adapter."""
    return [
        f"Right after the swap to iteration {swap.iteration} a prompt was answered by {visit.started}."
        for swap, visit in probes
        if visit.started is not None and visit.started < swap.iteration
    ]


def check_store(visits: Iterable[Visit], stored: set[int]) -> list[str]:
    """Every pair that was acknowledged to a visitor is in the store."""
    acknowledged = {visit.pair for visit in visits if visit.pair is not None}
    if lost := acknowledged - stored:
        return [f"{len(lost)} of {len(acknowledged)} acknowledged pairs are not in the store."]
    return []


def check_words_deleted(folder: Path, canary: str) -> list[str]:
    """No file of the data folder, log files included, holds the `canary`, a word that a visitor typed."""
    needle = canary.encode()
    return [
        f"A visitor's word is still in {path.relative_to(folder)} after the run's end."
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _contains(path, needle)
    ]


def _contains(path: Path, needle: bytes) -> bool:
    try:
        return needle in path.read_bytes()
    except FileNotFoundError:
        # Deleted since the folder was listed.
        return False
