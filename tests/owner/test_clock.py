"""A run's clock counts seconds that have passed, whatever the wall clock is set to meanwhile."""

from __future__ import annotations

import time

import pytest

from wmkml.owner.run.clock import RunClock


@pytest.mark.parametrize("jump", [-86_400.0, -3600.0, 3600.0, 40 * 86_400.0])
def test_a_clock_that_is_set_moves_no_run(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    now, passed = 1_790_000_000.0, 500.0
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "monotonic", lambda: passed)
    clock = RunClock(now - 100.0)
    now += jump
    assert clock.elapsed() == 100.0
    passed += 7.0
    assert clock.elapsed() == 107.0
