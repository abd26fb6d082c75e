"""A duration in words for operators.  Standard library only."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """`2 h 5 min`, `3 min 20 s` or `7 s`; a negative duration counts as none."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
