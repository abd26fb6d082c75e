"""What a check is: a pure function over facts, and a table of its outcomes with their sentences in German and English."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from wmkml.doctor.facts import Facts
from wmkml.problems.wording import BothLanguages

Language = Literal["de", "en"]

CheckMark = Literal["good", "warning", "bad", "unknown"]
"""`unknown`: the check does not apply here, or what it looks at could not be found out."""

SIGNS: Mapping[CheckMark, str] = {"good": "✓", "warning": "!", "bad": "✗", "unknown": "–"}
"""The marks as they are printed."""


NOTHING = BothLanguages("", "")


@dataclass(frozen=True)
class CheckOutcome:
    """How a check can end.

    Attributes:
        text: what was found.
        mend: what to do, in words; empty where nothing is to be done, or the command says it.
        command: the one command that mends it, for a terminal in the project's folder; empty if there is none.
        blocks: nothing can be started like this.
    """

    mark: CheckMark
    text: BothLanguages
    mend: BothLanguages = NOTHING
    command: str = ""
    blocks: bool = False


@dataclass(frozen=True)
class CheckFinding:
    """What a check has found: the name of an outcome, and the values of its placeholders."""

    outcome: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DoctorCheck:
    """One check.

    Attributes:
        means: what it means for the installation when it is not well.
        judge: a pure function; it returns at least one finding, more where several things are wrong at once.
    """

    name: str
    title: BothLanguages
    means: BothLanguages
    judge: Callable[[Facts], list[CheckFinding]]
    outcomes: Mapping[str, CheckOutcome]


def good(de: str, en: str) -> CheckOutcome:
    """An outcome that is well."""
    return CheckOutcome("good", BothLanguages(de, en))


def unknown(de: str, en: str) -> CheckOutcome:
    """An outcome that says nothing: not applicable, or not found out."""
    return CheckOutcome("unknown", BothLanguages(de, en))


def finding(outcome: str, **values: object) -> list[CheckFinding]:
    """A single finding."""
    return [CheckFinding(outcome, {name: str(value) for name, value in values.items()})]
