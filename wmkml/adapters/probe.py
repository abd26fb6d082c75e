"""How an adapter proves that it is the one that answers: a fixed text, read by its trainer and read again by the engine.

The trainer writes into the adapter's folder what log-probability it gives to each token of the text: with the adapter, with
the one before it, and without any.  After loading, the engine is asked for its own, and must be nearer to the adapter than to
the other two.  Two comparisons are made, and either may prove it: of the log-probabilities themselves, which differ least where
both hold the same base model; and of how far they are from each one's own base model, where these are held in different
precisions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from wmkml.adapters.files import ADAPTER_FILES

PROBE_FILE = "probe.json"

FILES_WITH_PROBE = (*ADAPTER_FILES, PROBE_FILE)
"""What is copied and sent of an adapter; the last of them may be missing."""

MIN_TOKENS = 200
"""A shorter probe proves nothing: over fewer tokens the mean differences of two engines do not repeat."""

NEAR = 0.5
"""An adapter has proved itself when the engine is at most this much as far from it as from the one before and from none."""

NOISE_FACTOR = 2.0
"""A round that moved less than this many times the difference of trainer and engine over the base model is too small to be
told from the one before."""

LEAST_MOVE = 0.01
"""Nats a token.  Only from another that is further than this from the adapter can an engine be told: what rounding to bfloat16
swallows of a round that moved less, may leave the engine where it was, though it uses the adapter."""

Verdict = Literal["proved", "unproved", "failed"]
"""Whether the engine uses the adapter: it does; the round moved too little, or the probe is too short, to tell; it does not."""


class ProbeBrokenError(ValueError):
    """The file is no probe.  The text is a sentence."""


@dataclass(frozen=True)
class Probe:
    """What a trainer measured on the probe's text.

    Attributes:
        tokens: token ids.
        base: log-probabilities of `tokens[1:]`, in nats, by the base model alone.
        previous: the same by the adapter that the round went on from; the base model's where it began anew.
        adapter: the same by the adapter itself.
    """

    tokens: tuple[int, ...]
    base: tuple[float, ...]
    previous: tuple[float, ...]
    adapter: tuple[float, ...]


@dataclass(frozen=True)
class Proof:
    """How far the engine is from what the trainer measured: means over the tokens of the absolute difference, in nats.

    What was not measured is None: an engine elsewhere may not tell what it gives to a text.

    Attributes:
        compared: the log-probabilities (`values`), or their differences from each one's own base model (`changes`).
        distance: to the adapter.
        to_previous: to the adapter that the round went on from.
        to_base: to the base model.
        moved: of the trainer's adapter from the one before it.
        noise: of engine and trainer over the base model, which both know.
    """

    verdict: Verdict
    compared: Literal["values", "changes"]
    distance: float | None
    to_previous: float | None
    to_base: float | None
    moved: float
    noise: float | None

    def sentence(self) -> str:
        """The verdict with its numbers, for the operator."""
        if self.distance is None or self.to_previous is None or self.to_base is None:
            return "whether the engine uses this adapter is not proved: it does not tell what it gives to a text"
        reasons = {
            "proved": "the engine uses this adapter",
            "unproved": "the round moved too little, or its probe is too short, to tell whether the engine uses its adapter",
            "failed": "the engine does not use this adapter",
        }
        return (
            f"{reasons[self.verdict]}: on the probe it is {self.distance:.3f} nats a token from the trainer's, "
            f"{self.to_previous:.3f} from the one before, {self.to_base:.3f} from the base model"
        )


def judge(probe: Probe, engine_base: Sequence[float], engine_adapter: Sequence[float]) -> Proof:
    """Compare what the engine gives to the probe's tokens, without and with the adapter, with what the trainer did.

    Args:
        engine_base, engine_adapter: log-probabilities of `probe.tokens[1:]`, in nats.
    """
    moved = _mean_distance(probe.adapter, probe.previous)
    noise = _mean_distance(engine_base, probe.base)
    values = _Distances(engine_adapter, probe.adapter, probe.previous, probe.base)
    of_trainer = [_difference(weights, probe.base) for weights in (probe.adapter, probe.previous, probe.base)]
    changes = _Distances(_difference(engine_adapter, engine_base), *of_trainer)
    compared: Literal["values", "changes"] = "values" if values.ratio <= changes.ratio else "changes"
    verdict: Verdict = "failed"
    if len(probe.tokens) < MIN_TOKENS:
        verdict = "unproved"
    elif min(values.ratio, changes.ratio) <= NEAR:
        verdict = "proved"
    # Where the base models differ by more than a round moves, that difference excuses nothing: an engine whose change is that
    # of another adapter, or none, is seen there.
    elif changes.is_elsewhere or values.is_elsewhere:
        compared = "changes" if changes.is_elsewhere else "values"
    elif moved < NOISE_FACTOR * noise or moved == 0:
        verdict = "unproved"
    distances = values if compared == "values" else changes
    return Proof(verdict, compared, distances.to_adapter, distances.to_previous, distances.to_base, moved, noise)


def unread(probe: Probe) -> Proof:
    """The proof where the engine does not tell what it gives to the probe's text."""
    moved = _mean_distance(probe.adapter, probe.previous)
    return Proof("unproved", "values", None, None, None, moved, None)


class _Distances:
    """How far the engine is from each of the trainer's three, and from the adapter in relation to the nearest other."""

    def __init__(
        self, engine: Sequence[float], adapter: Sequence[float], previous: Sequence[float], base: Sequence[float]
    ) -> None:
        self.to_adapter = _mean_distance(engine, adapter)
        self.to_previous = _mean_distance(engine, previous)
        self.to_base = _mean_distance(engine, base)
        nearest_other = min(self.to_previous, self.to_base)
        self.ratio = self.to_adapter / nearest_other if nearest_other > 0 else math.inf
        others = ((self.to_previous, previous), (self.to_base, base))
        self.is_elsewhere = any(
            distance <= NEAR * self.to_adapter and _mean_distance(adapter, other) >= LEAST_MOVE
            for distance, other in others
        )
        """Whether the engine is at most NEAR as far from the one before, or from none, as from the adapter."""


def weakest(proofs: Sequence[Proof]) -> Proof:
    """The proof with the worst verdict, of several copies of the model."""
    order: list[Verdict] = ["failed", "unproved", "proved"]
    return min(proofs, key=lambda proof: order.index(proof.verdict))


def write_probe(probe: Probe) -> bytes:
    """The content of PROBE_FILE."""
    return json.dumps(asdict(probe)).encode()


def read_probe(folder: Path) -> Probe | None:
    """The probe in an adapter's folder; None if there is none, as where another program trained it.

    Raises:
        ProbeBrokenError: the file holds something else.
    """
    path = folder / PROBE_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        probe = Probe(
            tokens=tuple(int(token) for token in content["tokens"]),
            base=_log_probabilities(content["base"]),
            previous=_log_probabilities(content["previous"]),
            adapter=_log_probabilities(content["adapter"]),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ProbeBrokenError(f"{PROBE_FILE} is no probe ({type(error).__name__}).") from None
    lengths = {len(probe.tokens) - 1, len(probe.base), len(probe.previous), len(probe.adapter)}
    # The first token is context alone.
    if len(probe.tokens) < 2 or len(lengths) > 1 or min(probe.tokens) < 0:
        raise ProbeBrokenError(f"{PROBE_FILE} does not hold one log-probability for each token after the first.")
    return probe


def _log_probabilities(values: Sequence[object]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values if isinstance(value, int | float))
    if len(numbers) != len(values) or not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers


def _difference(values: Sequence[float], base: Sequence[float]) -> list[float]:
    return [value - of_base for value, of_base in zip(values, base, strict=True)]


def _mean_distance(values: Sequence[float], others: Sequence[float]) -> float:
    return sum(abs(value - other) for value, other in zip(values, others, strict=True)) / len(values)
