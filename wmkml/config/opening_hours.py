"""The settings of opening hours, read by the library `opening-hours-py`.

The notation is OpenStreetMap's: https://wiki.openstreetmap.org/wiki/Key:opening_hours/specification
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class OpeningTable(Protocol):
    """What is used of the library's `OpeningHours`."""

    def is_open(self, time: datetime) -> bool:
        """Whether it is open at a time."""

    def next_change(self, time: datetime) -> datetime | None:
        """When it opens or closes next; None: never."""


def opening_table(text: str, holidays: str, time_zone: str) -> OpeningTable:
    """The table that a text in OpenStreetMap's notation stands for.

    Args:
        holidays: the country whose public holidays `PH` means, as its two letters; empty: none.
        time_zone: its times' zone; empty: the machine's, and the table takes times without a zone.

    Raises:
        ImportError: the library is not installed.
        ValueError: the text, the country or the zone cannot be read.
    """
    import opening_hours

    more: dict[str, Any] = {"country": holidays.upper()} if holidays else {}
    try:
        if time_zone:
            more["timezone"] = ZoneInfo(time_zone)
        table: OpeningTable = opening_hours.OpeningHours(text, **more)
    except opening_hours.ParserError as error:  # type: ignore[attr-defined]  # missing in its stubs
        place = str(error).partition("-->")[2].split()
        raise ValueError(
            f"general.opening_hours: {text!r} cannot be read"
            + (f" from its character {place[0].rpartition(':')[2]} on" if place else "")
            + "; write it as Mo-Fr 10:00-18:00; Sa,Su 12:00-18:00; PH off"
        ) from None
    except opening_hours.UnknownCountryError:  # type: ignore[attr-defined]
        raise ValueError(
            f"general.public_holidays: {holidays!r} is not allowed; allowed: a country's two letters, as DE, or nothing"
        ) from None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"general.time_zone: {time_zone!r} is unknown here; write it as Europe/Berlin") from None
    return table


def opening_hours_problem(text: str, holidays: str, time_zone: str) -> str:
    """What is wrong with these settings, as a sentence; empty if nothing."""
    try:
        table = opening_table(text, holidays, time_zone)
    except ImportError:
        return "general.opening_hours needs the package opening-hours-py: pip install opening-hours-py"
    except ValueError as error:
        return str(error)
    now = datetime.now(ZoneInfo(time_zone) if time_zone else None)
    if not table.is_open(now) and table.next_change(now) is None:
        return f"general.opening_hours: {text!r} is never open"
    return ""
