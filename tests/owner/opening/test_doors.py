"""Opening hours, and what the operator decides over them: pure, with the times of a week by hand."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from wmkml.config import ConfigError, General, load_settings
from wmkml.owner.opening.doors import OpeningHours, decided, state_at
from wmkml.owner.run.desk_file import OpeningRecord
from wmkml.protocol.opening import Decision

BERLIN = ZoneInfo("Europe/Berlin")
HOURS = OpeningHours(
    General(opening_hours="Mo-Fr 10:00-18:00; Sa,Su 12:00-18:00; PH off; Dec 24 off", time_zone="Europe/Berlin")
)


def at(text: str) -> float:
    """Seconds since 1970 at a time in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("now", "is_open", "change"),
    [
        ("2026-11-30T09:59:59", False, "2026-11-30T10:00"),  # a Monday
        ("2026-11-30T10:00", True, "2026-11-30T18:00"),
        ("2026-11-30T18:00", False, "2026-12-01T10:00"),
        ("2026-12-05T11:00", False, "2026-12-05T12:00"),  # a Saturday
        ("2026-12-24T12:00", False, "2026-12-27T12:00"),  # the day given, and two public holidays
        ("2026-03-29T00:30", False, "2026-03-29T12:00"),  # the clock goes forward that night
        ("2026-10-25T00:30", False, "2026-10-25T12:00"),  # and back
    ],
)
def test_it_opens_and_closes_by_its_hours(now: str, is_open: bool, change: str) -> None:
    state = state_at(HOURS, OpeningRecord(), at(now))
    assert (state.open, state.next_change, state.decision) == (is_open, at(change), "hours")


@pytest.mark.parametrize(
    ("decision", "now", "until"),
    [
        ("closed", "2026-11-30T17:00", "2026-12-01T10:00"),  # over the closing time
        ("closed", "2026-11-30T20:00", "2026-12-01T10:00"),
        ("open", "2026-11-30T08:00", "2026-11-30T10:00"),  # from then on it is open anyway
        ("open", "2026-11-30T17:00", "2026-11-30T18:00"),
    ],
)
def test_a_decision_holds_until_the_hours_change(decision: Decision, now: str, until: str) -> None:
    record = decided(HOURS, OpeningRecord(), decision, at(now))
    state = state_at(HOURS, record, at(now))
    assert (state.open, state.decision, state.next_change) == (decision == "open", decision, at(until))
    after = state_at(HOURS, record, at(until))
    assert (after.open, after.decision) == (HOURS.is_open(at(until)), "hours")
    assert state_at(HOURS, decided(HOURS, record, "hours", at(now)), at(now)).decision == "hours"


def test_without_hours_it_is_open_until_somebody_closes_it() -> None:
    hours = OpeningHours(General())
    assert state_at(hours, OpeningRecord(), 0.0).open
    closed = decided(hours, OpeningRecord(), "closed", 0.0)
    assert closed.until is None and not state_at(hours, closed, 1e9).open


def test_hours_that_never_change_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = OpeningHours(General(opening_hours="Mo-Su 10:00-12:00"))
    assert hours._table is not None
    first = hours.next_change(at("2026-11-30T09:00"))
    assert first is not None and hours.next_change(first - 1) == first
    later = hours.next_change(first)
    assert later is not None and later > first, "a change that is over is not kept"
    assert hours.next_change(first - 7 * 86400) != later, "nor does one hold for a clock that was set back"
    never = OpeningHours(General(opening_hours="24/7"))
    assert never.next_change(first) is None
    monkeypatch.setattr(never, "_table", object())  # it is not asked again
    assert never.next_change(first + 1) is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"opening_hours": "Mo-Fr 10:00-18:00; täglich 9"}, "general.opening_hours: .* cannot be read"),
        ({"opening_hours": "off"}, "is never open"),
        ({"opening_hours": "24/7", "public_holidays": "Deutschland"}, "a country's two letters"),
        ({"opening_hours": "24/7", "time_zone": "Mitteleuropa"}, "general.time_zone: 'Mitteleuropa' is unknown"),
    ],
)
def test_a_mistake_starts_nothing_and_is_named(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_settings(None, overrides={f"general.{name}": value for name, value in settings.items()})
