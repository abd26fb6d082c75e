"""Life: the rule, by values computed by hand and on what real lives measured."""

from __future__ import annotations

import math

import pytest

from wmkml.measures.life import life_of

MEASURED_FORGETTING = {
    "de quiet 1": (0.0, 0.2800, 0.4394, 0.6993, 1.1002, 1.6998, 2.3139, 3.2480, 4.0886),
    "de talkative 1": (0.0, 0.2800, 0.5234, 0.6749, 1.1193, 1.6299, 2.1644, 2.9358, 3.4970),
    "en quiet 1": (0.0, 0.2946, 0.5324, 0.8519, 1.1102, 1.7313, 2.5342, 3.0800, 3.5988),
}
"""Of iterations −1 to 7 of lives of the understudy in the laboratory, in nats: those with which the rule was chosen (docs/life.md)."""


@pytest.mark.parametrize(
    ("forgetting", "expected"),
    [(0.0, 1.0), (math.log(2), 0.5), (math.log(10), 0.1), (math.inf, 0.0), (-1e-9, 1.0)],
)
def test_life_halves_with_every_ln_2_of_forgetting(forgetting: float, expected: float) -> None:
    assert life_of(forgetting) == pytest.approx(expected, abs=1e-12)


def test_what_was_not_measured_has_no_life() -> None:
    assert life_of(None) is None
    assert life_of(math.nan) is None


def test_life_falls_through_lives_that_were_measured() -> None:
    for forgetting in MEASURED_FORGETTING.values():
        course = [life_of(nats) for nats in forgetting]
        assert course[0] == 1.0
        assert course == sorted(course, reverse=True)  # type: ignore[type-var]
        assert course[-1] is not None and course[-1] <= 0.1
