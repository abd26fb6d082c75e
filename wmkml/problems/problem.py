"""What a named problem is: its code, how bad it is, who raises it, and its sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wmkml.problems.wording import BothLanguages

Severity = Literal["trouble", "warning"]
"""`trouble`: visitors notice it now, or soon; `warning`: look when there is time."""

Raiser = Literal["owner", "doctor", "status"]
"""Who can raise a problem: the owner while it runs, the doctor before a start or when it is asked, `status` from outside."""

Sentences = tuple[str, str, str]
"""Title, cause, and what to do.  The title may hold `{detail}`; commands stand between backticks."""


@dataclass(frozen=True)
class NamedProblem:
    """A problem that somebody who does not program can meet, and what to do about it.

    Attributes:
        code: its name for programs, in alerts, and in the manual.
        raised_by: who can raise it.
        title: what is the matter, in a sentence; `cause`: why; `remedy`: what to do.
    """

    code: str
    severity: Severity
    raised_by: tuple[Raiser, ...]
    title: BothLanguages
    cause: BothLanguages
    remedy: BothLanguages


def named(
    code: str, severity: Severity, raised_by: tuple[Raiser, ...] | Raiser, de: Sentences, en: Sentences
) -> NamedProblem:
    """A row of the table."""
    title, cause, remedy = (BothLanguages(german, english) for german, english in zip(de, en, strict=True))
    raisers = (raised_by,) if isinstance(raised_by, str) else raised_by
    return NamedProblem(code, severity, raisers, title, cause, remedy)
