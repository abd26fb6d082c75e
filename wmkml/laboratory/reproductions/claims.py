"""What papers found about collapsing language models, as claims about lineages, and whether played lineages bear them out.

A claim compares two curves, seed by seed, since every condition is played with the same seeds.  It holds where the 95 %
interval of the mean difference lies on the side that the paper has it, does not where it lies on the other side, and is
open where it holds 0 or there is only one seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.profile.bootstrap import SeedEstimate, estimate, finite
from wmkml.laboratory.report import MeasuresLine, Outcome
from wmkml.laboratory.reproductions.arithmetic import GERSTGRASSER, KAZDAN, SHUMAILOV
from wmkml.laboratory.reproductions.results import Curve, Finding, ReproductionResult

ALEMOHAMMAD = "Alemohammad et al. 2024, Self-Consuming Generative Models Go MAD"
TAILS = "Dohmatob et al. 2024, A Tale of Tails: Model Collapse as a Change of Scaling Laws"
DRAYSON = "Drayson et al. 2025, Machine-generated Text Detection Prevents Language Model Collapse"
GUO = "Guo et al. 2024, The Curious Decline of Linguistic Diversity"
KEISHA = "Keisha et al. 2025, Knowledge Collapse in LLMs: When Fluency Survives but Facts Fail"

Played = dict[str, Outcome]
"""What conditions left, by their name."""

Value = Callable[[Sequence[MeasuresLine]], float | None]
"""From the lines of one lineage, the untouched model's first, to a number."""


@dataclass(frozen=True)
class Quantity:
    """A number of one lineage: its condition, how it is taken, and what it is called."""

    condition: str
    measure: str
    taken: str
    value: Value

    @property
    def title(self) -> str:
        """As "human loss, at the end"."""
        return f"{self.measure}, {self.taken}"


@dataclass(frozen=True)
class PaperClaim:
    """`smaller` is less than `larger`, says the paper."""

    text: str
    paper: str
    smaller: Quantity
    larger: Quantity

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions that must be played."""
        return (self.larger.condition, self.smaller.condition)


@dataclass(frozen=True)
class ClaimSet:
    """A reproduction on the understudy: its claims, the measures its figure shows, and where it departs from the papers."""

    title: str
    claims: tuple[PaperClaim, ...]
    measures: tuple[str, ...]
    departures: tuple[str, ...] = ()


def at_end(condition: str, measure: str) -> Quantity:
    """A measure of the last generation."""
    return Quantity(condition, measure, "at the end", lambda lines: _of(lines, -1, measure))


def left_of(condition: str, measure: str) -> Quantity:
    """A measure of the last generation as a share of the untouched model's."""

    def value(lines: Sequence[MeasuresLine]) -> float | None:
        first, last = _of(lines, 0, measure), _of(lines, -1, measure)
        return last / first if first and last is not None else None

    return Quantity(condition, measure, "left", value)


def mean_left(condition: str, measure: str) -> Quantity:
    """The mean over all generations of a measure as a share of the untouched model's: the sooner it falls, the smaller."""

    def value(lines: Sequence[MeasuresLine]) -> float | None:
        first = _of(lines, 0, measure)
        seen = finite([_of(lines, index, measure) for index in range(1, len(lines))])
        return sum(seen) / len(seen) / first if first and seen else None

    return Quantity(condition, measure, "mean of what is left", value)


SAMPLED = "temperature 1"
NARROW = "temperature 0.7"

ANEW = "As in the papers each generation is trained anew from the untouched model, here as a LoRA adapter."
CONTINUED = (
    "Departs from the papers: each generation trains on from the one before, not anew from the untouched model, and so goes "
    "further in as few generations."
)

CLAIMS: Mapping[str, ClaimSet] = {
    "replace-accumulate-subsample": ClaimSet(
        "What becomes of the text that earlier generations left",
        (
            PaperClaim(
                "Replacing raises the loss on human text further than accumulating does",
                GERSTGRASSER,
                at_end("accumulate", "human_loss"),
                at_end("replace", "human_loss"),
            ),
            PaperClaim(
                "A sample of fixed size, out of all that accumulates, loses less than replacing",
                KAZDAN,
                at_end("subsample", "human_loss"),
                at_end("replace", "human_loss"),
            ),
            PaperClaim(
                "A sample of fixed size, out of all that accumulates, loses more than training on all of it",
                KAZDAN,
                at_end("accumulate", "human_loss"),
                at_end("subsample", "human_loss"),
            ),
        ),
        ("human_loss", "facts", "distinct_2"),
        (ANEW,),
    ),
    "human-share": ClaimSet(
        "A tenth of every generation's text stays human",
        (
            PaperClaim(
                "With 10 % of the human text kept, the loss on human text rises less",
                f"{SHUMAILOV}; {ALEMOHAMMAD}",
                at_end("10 % human", "human_loss"),
                at_end("replace", "human_loss"),
            ),
            PaperClaim(
                "With 10 % of the human text kept, more facts are left",
                SHUMAILOV,
                left_of("replace", "facts"),
                left_of("10 % human", "facts"),
            ),
        ),
        ("human_loss", "facts", "distinct_2"),
        (
            ANEW,
            "Shumailov et al. keep a tenth of the first data in every generation, as here; Alemohammad et al. add new "
            "human data to each.",
        ),
    ),
    "decoding": ClaimSet(
        "How answers are drawn, and which way collapses sooner",
        tuple(
            PaperClaim(
                f"With {name} the answers' diversity is lost sooner than with plain sampling",
                paper,
                mean_left(condition, "distinct_2"),
                mean_left(SAMPLED, "distinct_2"),
            )
            for condition, name, paper in (
                ("temperature 0.7", "a temperature of 0.7", f"{ALEMOHAMMAD}; {TAILS}"),
                ("top-p 0.9", "top-p 0.9", TAILS),
                (
                    "5 beams",
                    "a search with five beams",
                    f"{TAILS}; drawn so by Shumailov et al. 2024, ways compared by {DRAYSON}",
                ),
            )
        ),
        ("distinct_2", "word_variance", "tail_mass", "human_loss", "facts"),
        (
            CONTINUED,
            "Only the training text is drawn as the condition says; what is measured is drawn alike everywhere, as a "
            "visitor's answers are.",
        ),
    ),
    "order": ClaimSet(
        "What falls first: words, sentences or meanings",
        (
            PaperClaim(
                "Lexical diversity (distinct word pairs) falls before semantic diversity",
                GUO,
                mean_left(NARROW, "distinct_2"),
                mean_left(NARROW, "meaning_spread"),
            ),
            PaperClaim(
                "Syntactic diversity (distinct sentence frames) falls before semantic diversity",
                GUO,
                mean_left(NARROW, "distinct_frames"),
                mean_left(NARROW, "meaning_spread"),
            ),
        ),
        ("distinct_2", "distinct_frames", "meaning_spread", "word_variance"),
        (
            CONTINUED,
            "Guo et al. parse sentences and compare their graphs; here function words stand for syntax. Meanings are "
            "WordLlama's embeddings, not Sentence-BERT's.",
        ),
    ),
    "facts-first": ClaimSet(
        "Fluency outlives facts",
        (
            PaperClaim(
                "Of the facts less is left than of whole sentences",
                KEISHA,
                mean_left(NARROW, "facts"),
                mean_left(NARROW, "ended"),
            ),
            PaperClaim(
                "Of the facts less is left than of real words",
                KEISHA,
                mean_left(NARROW, "facts"),
                mean_left(NARROW, "real_words"),
            ),
        ),
        ("facts", "ended", "real_words", "prompt_fit"),
        (
            CONTINUED,
            "Facts are the understudy's examination, not MMLU; fluency is sentences that end, of words that exist.",
        ),
    ),
}
"""The reproductions that the understudy plays, by name."""


def judge(name: str, played: Played, language: str) -> ReproductionResult:
    """Compare what was played with the claims; the caller says in `setting` what was played."""
    claims = CLAIMS[name]
    findings = [judge_claim(claim, played) for claim in claims.claims]
    curves = [
        curve
        for measure in claims.measures
        for condition, outcome in played.items()
        if (curve := _curve(measure, condition, outcome)) is not None
    ]
    result = ReproductionResult(name, claims.title, "", findings, curves, claims.departures)
    if name == "decoding":
        result.notes.append(_ranking(claims, played))
    return result


def judge_claim(claim: PaperClaim, played: Played) -> Finding:
    """Both sides' means over seeds with their intervals, and whether their difference has the expected sign."""
    sides = [
        {seed: quantity.value(lines) for seed, lines in played[quantity.condition].lines.items()}
        for quantity in (claim.smaller, claim.larger)
    ]
    pairs = [
        (low, high)
        for seed, low in sides[0].items()
        if low is not None and (high := sides[1].get(seed)) is not None and math.isfinite(low) and math.isfinite(high)
    ]
    expected = f"{_label(claim.smaller, claim)} < {_label(claim.larger, claim)}"
    difference = estimate([high - low for low, high in pairs])
    if difference is None:
        return Finding(claim.text, claim.paper, expected, "not measured", None)
    means = [estimate([pair[side] for pair in pairs]) for side in (0, 1)]
    values = [_text(quantity, mean) for quantity, mean in zip((claim.smaller, claim.larger), means, strict=True)]
    observed = f"{values[0]} and {values[1]}; difference {_text(claim.larger, difference)}"
    return Finding(claim.text, claim.paper, expected, observed, _sign(difference))


def _sign(difference: SeedEstimate) -> bool | None:
    if difference.low is None or difference.high is None:
        return None
    if difference.low > 0:
        return True
    return False if difference.high < 0 else None


def _label(quantity: Quantity, claim: PaperClaim) -> str:
    same_condition = claim.smaller.condition == claim.larger.condition
    same_title = claim.smaller.title == claim.larger.title
    if same_condition:
        return quantity.title
    return quantity.condition if same_title and quantity is claim.larger else f"{quantity.title}, {quantity.condition}"


def _text(quantity: Quantity, value: SeedEstimate | None) -> str:
    assert value is not None
    return value.text(share=quantity.taken != "at the end" or MEASURES[quantity.measure].is_share)


def _ranking(claims: ClaimSet, played: Played) -> str:
    """The ways of drawing, from the one whose diversity went first to the one whose went last."""
    first: dict[str, float] = {}
    for condition, outcome in played.items():
        quantity = mean_left(condition, claims.measures[0])
        if seen := finite([quantity.value(lines) for lines in outcome.lines.values()]):
            first[condition] = sum(seen) / len(seen)
    order = sorted(first, key=lambda condition: first[condition])
    listed = ", ".join(f"{condition} ({100 * first[condition]:.1f} %)" for condition in order)
    return f"From the soonest to the latest, by the mean of what is left of {claims.measures[0]}: {listed}."


def _curve(measure: str, condition: str, outcome: Outcome) -> Curve | None:
    by_generation: dict[int, list[float]] = {}
    for lines in outcome.lines.values():
        for line in lines:
            if measure in line:
                by_generation.setdefault(int(line["iteration"]), []).append(float(line[measure]))
    points = [(generation, estimate(values)) for generation, values in sorted(by_generation.items())]
    known = tuple((generation, value) for generation, value in points if value is not None)
    return Curve(measure, condition, "found", known) if known else None


def _of(lines: Sequence[MeasuresLine], index: int, measure: str) -> float | None:
    return float(lines[index][measure]) if lines and measure in lines[index] else None
