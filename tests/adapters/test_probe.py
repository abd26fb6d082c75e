"""What an engine's reading of the probe proves: by numbers made for each case."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wmkml.adapters.probe import PROBE_FILE, Probe, ProbeBrokenError, judge, read_probe, weakest, write_probe

COUNT = 250


def numbers(seed: int, mean: float, spread: float) -> tuple[float, ...]:
    drawn = random.Random(seed)
    return tuple(drawn.gauss(mean, spread) for _ in range(COUNT))


def added(values: tuple[float, ...], *others: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(sum, zip(values, *others, strict=True)))


BASE = numbers(1, -4, 1)
PREVIOUS = added(BASE, numbers(2, -0.5, 1))
ADAPTER = added(PREVIOUS, numbers(3, 0, 0.2))
"""A round like the original's: its mean difference from the one before is 0.16."""

PROBE = Probe(tuple(range(COUNT + 1)), BASE, PREVIOUS, ADAPTER)
ROUNDING = 0.04
"""Spread of the differences between an engine in bfloat16 and a trainer in float32; their mean is 0.03, as measured."""


def rounded(values: tuple[float, ...], seed: int) -> tuple[float, ...]:
    return added(values, numbers(seed, 0, ROUNDING))


def test_an_engine_that_uses_the_adapter_proves_it() -> None:
    proof = judge(PROBE, rounded(BASE, 4), rounded(ADAPTER, 5))
    assert (proof.verdict, proof.compared) == ("proved", "values")
    assert proof.distance == pytest.approx(0.03, abs=0.01)
    assert proof.noise == pytest.approx(0.03, abs=0.01)
    assert proof.moved == pytest.approx(0.16, abs=0.02)
    assert proof.to_base is not None and proof.to_base > 0.6


@pytest.mark.parametrize("used", [BASE, PREVIOUS], ids=["base", "previous"])
def test_an_engine_that_uses_another_fails(used: tuple[float, ...]) -> None:
    proof = judge(PROBE, rounded(BASE, 4), rounded(used, 5))
    assert proof.verdict == "failed"
    assert "does not use this adapter" in proof.sentence()


def test_unequal_bases_are_compared_by_what_the_adapter_changes() -> None:
    """As nf4 in the trainer and fp8 in the engine: over the base model they are further apart than a round moves."""
    of_engine = numbers(6, 0.1, 0.4)
    proof = judge(PROBE, added(BASE, of_engine), rounded(added(ADAPTER, of_engine), 5))
    assert (proof.verdict, proof.compared) == ("proved", "changes")
    assert proof.noise is not None
    assert proof.noise > proof.moved
    still_on_previous = judge(PROBE, added(BASE, of_engine), rounded(added(PREVIOUS, of_engine), 5))
    assert (still_on_previous.verdict, still_on_previous.compared) == ("failed", "changes")
    assert "does not use this adapter" in still_on_previous.sentence()


@pytest.mark.parametrize("bases", ["equal", "unequal"])
def test_in_every_round_an_engine_that_stayed_where_it_was_fails(bases: str) -> None:
    """It answers without any adapter, or with the one before, in each of six rounds."""
    of_engine = numbers(6, 0.1, 0.4) if bases == "unequal" else (0.0,) * COUNT
    adapters = [BASE]
    for round_ in range(6):
        adapters.append(added(adapters[-1], numbers(20 + round_, -0.1, 0.2)))
        *_, previous, adapter = adapters
        probe = replace(PROBE, previous=previous, adapter=adapter)

        def verdict(used: tuple[float, ...], probe: Probe = probe) -> str:
            return judge(probe, rounded(added(BASE, of_engine), 4), rounded(added(used, of_engine), 5)).verdict

        assert [verdict(used) for used in (adapter, previous, BASE)] == ["proved", "failed", "failed"], round_


def test_what_rounding_swallows_of_a_round_refuses_nothing() -> None:
    probe = replace(PROBE, previous=BASE, adapter=added(BASE, numbers(3, 0, 0.008)))
    of_engine = added(BASE, numbers(6, 0.1, 0.4))
    assert judge(probe, of_engine, of_engine).verdict == "unproved"
    probe = replace(probe, adapter=added(BASE, numbers(3, 0, 0.08)))
    assert judge(probe, of_engine, of_engine).verdict == "failed"


def test_a_probe_of_fewer_tokens_proves_nothing() -> None:
    def first(tokens: int) -> Probe:
        return Probe(PROBE.tokens[:tokens], BASE[: tokens - 1], PREVIOUS[: tokens - 1], ADAPTER[: tokens - 1])

    for used in (ADAPTER, PREVIOUS):
        assert judge(first(199), BASE[:198], used[:198]).verdict == "unproved"
    assert "too short" in judge(first(199), BASE[:198], ADAPTER[:198]).sentence()
    assert [judge(first(200), BASE[:199], used[:199]).verdict for used in (ADAPTER, PREVIOUS)] == ["proved", "failed"]


def test_a_round_that_moved_less_than_the_noise_is_unproved() -> None:
    probe = replace(PROBE, adapter=added(PREVIOUS, numbers(3, 0, 0.02)))
    for used in (probe.adapter, PREVIOUS):
        assert judge(probe, rounded(BASE, 4), rounded(used, 5)).verdict == "unproved"
    assert judge(replace(PROBE, adapter=PREVIOUS), BASE, PREVIOUS).verdict == "unproved", "it moved nothing at all"


def test_the_first_round_is_measured_against_the_base_model() -> None:
    probe = replace(PROBE, previous=BASE)
    assert judge(probe, rounded(BASE, 4), rounded(ADAPTER, 5)).verdict == "proved"
    assert judge(probe, rounded(BASE, 4), rounded(BASE, 5)).verdict == "failed"


def test_of_several_copies_the_weakest_counts() -> None:
    good = judge(PROBE, rounded(BASE, 4), rounded(ADAPTER, 5))
    bad = judge(PROBE, rounded(BASE, 4), rounded(PREVIOUS, 5))
    assert weakest([good, bad, good]) is bad
    assert weakest([good]) is good


def test_a_probe_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_probe(tmp_path) is None
    (tmp_path / PROBE_FILE).write_bytes(write_probe(PROBE))
    assert read_probe(tmp_path) == PROBE


BROKEN: dict[str, Any] = {
    "no JSON": b"{",
    "no object": b"[]",
    "not UTF-8": b"\xff",
    "a name is missing": {"previous": None},
    "no numbers": {"base": ["x"] * COUNT},
    "not finite": {"adapter": [float("nan")] * COUNT},
    "too few": {"adapter": [0.0]},
    "no tokens": {"tokens": [], "base": [], "previous": [], "adapter": []},
    "negative tokens": {"tokens": [-1] * (COUNT + 1)},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_probe_is_refused_with_a_sentence(kind: str, tmp_path: Path) -> None:
    content = BROKEN[kind]
    if isinstance(content, dict):
        content = json.dumps(json.loads(write_probe(PROBE)) | content).encode()
    (tmp_path / PROBE_FILE).write_bytes(content)
    with pytest.raises(ProbeBrokenError, match=PROBE_FILE):
        read_probe(tmp_path)
