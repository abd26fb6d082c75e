"""What the doctor has found, as a message: printed, written as JSON, and shown on the desk (`GET /desk/doctor`).

The TypeScript counterpart is in `frontend/src/desk/desk_wire.ts`.
"""

from __future__ import annotations

from typing import Literal

from wmkml.protocol.base import Message


class DoctorText(Message):
    """A text in German and English."""

    de: str
    en: str


class DoctorFinding(Message):
    """One finding of one check.

    `check`: its name; `outcome`: which of the check's outcomes this is; `means`: what it is for; `mend` and `command`: what to
    do, in words and as a command for a terminal in the project's folder, empty where nothing is to be done; `blocks`: nothing
    can be started like this; `problem`: its code in `wmkml.problems.table`, empty where it is none of them.
    """

    check: str
    outcome: str
    mark: Literal["good", "warning", "bad", "unknown"]
    title: DoctorText
    text: DoctorText
    means: DoctorText
    mend: DoctorText
    command: str
    blocks: bool
    problem: str = ""


class DoctorReport(Message):
    """All findings, in the order of the checks; `at`: when, in seconds since 1970."""

    at: float
    findings: list[DoctorFinding]
