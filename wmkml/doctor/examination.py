"""All checks in their order, what they find, and how that is printed."""

from __future__ import annotations

import os
import shlex
import string
import time
from collections.abc import Iterable, Mapping

from wmkml.doctor import gpu_checks, installation_checks, machine_checks, public_checks
from wmkml.doctor.check import SIGNS, DoctorCheck, Language
from wmkml.doctor.facts import Facts
from wmkml.doctor.named_problems import problem_code
from wmkml.problems.wording import BothLanguages
from wmkml.protocol.doctor import DoctorFinding, DoctorReport, DoctorText

CHECKS: tuple[DoctorCheck, ...] = (
    installation_checks.SETTINGS,
    gpu_checks.DRIVER,
    gpu_checks.TORCH,
    gpu_checks.COMPILER,
    gpu_checks.FLASHINFER,
    gpu_checks.ENGINE,
    gpu_checks.MEMORY,
    gpu_checks.FREE_MEMORY,
    machine_checks.CORES,
    machine_checks.SHM,
    installation_checks.MODEL,
    machine_checks.READING,
    installation_checks.DATA,
    installation_checks.DISK,
    installation_checks.KEYS,
    installation_checks.PORTS,
    installation_checks.DATASETS,
    installation_checks.PAGES,
    public_checks.CERTIFICATE,
    public_checks.DECENCY,
    machine_checks.PROXY,
    machine_checks.OSC,
)


def examine(facts: Facts, at: float | None = None) -> DoctorReport:
    """What all checks find in these facts.  `at`: seconds since 1970; default: now."""
    findings = [_message(check, result.outcome, result.values) for check in CHECKS for result in check.judge(facts)]
    return DoctorReport(at=time.time() if at is None else at, findings=findings)


def _message(check: DoctorCheck, outcome_name: str, values: Mapping[str, str]) -> DoctorFinding:
    outcome = check.outcomes[outcome_name]
    return DoctorFinding(
        check=check.name,
        outcome=outcome_name,
        mark=outcome.mark,
        title=_text(check.title),
        text=_text(outcome.text.filled(values)),
        means=_text(check.means),
        mend=_text(outcome.mend.filled(values)),
        command=outcome.command.format(**{name: _in_shell(name, value) for name, value in values.items()}),
        blocks=outcome.blocks,
        problem=problem_code(check.name, outcome_name) if outcome.mark in ("bad", "warning") else "",
    )


def _in_shell(name: str, value: str) -> str:
    """A value as a shell reads it as one word; of `packages` every word is one."""
    return value if name == "packages" else shlex.quote(value)


def _text(both: BothLanguages) -> DoctorText:
    return DoctorText(de=both.de, en=both.en)


def locale_language(environment: Mapping[str, str] | None = None) -> Language:
    """The language of this shell: German where its locale is German, else English.  Source: POSIX, 8.2."""
    environment = os.environ if environment is None else environment
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "de" if locale.lower().startswith("de") else "en"


def sentence(result: DoctorFinding, language: Language) -> str:
    """A finding in one line: what is wrong and what to do."""
    parts = [getattr(result.text, language), getattr(result.mend, language)]
    if result.command:
        parts.append(f"({result.command})")
    return " ".join(part for part in parts if part)


def report_text(report: DoctorReport, language: Language) -> str:
    """The report for a terminal: a line for each finding, and below what is not well what it means and what to do."""
    heading = {"de": "Was der Doktor findet", "en": "What the doctor finds"}[language]
    width = max(len(getattr(result.title, language)) for result in report.findings)
    lines = [heading, ""]
    for result in report.findings:
        lines.append(
            f"{SIGNS[result.mark]} {getattr(result.title, language):<{width}}  {getattr(result.text, language)}"
        )
        if result.mark in ("bad", "warning"):
            lines.append(f"    {getattr(result.means, language)}")
        if result.mark in ("bad", "warning") and (mend := getattr(result.mend, language)):
            lines.append(f"    {mend}")
        if result.mark != "good" and result.command:
            lines.append(f"    > {result.command}")
    return "\n".join([*lines, "", summary(report.findings, language)])


def summary(findings: Iterable[DoctorFinding], language: Language) -> str:
    """One line that counts the marks."""
    marks = [result.mark for result in findings]
    words = {
        "de": ("in Ordnung", "zu beachten", "zu beheben", "nicht zutreffend oder nicht zu prüfen"),
        "en": ("in order", "to be noted", "to be mended", "does not apply or could not be checked"),
    }[language]
    counts = [
        f"{SIGNS[mark]} {marks.count(mark)} {word}" for mark, word in zip(SIGNS, words, strict=True) if mark in marks
    ]
    return " · ".join(counts)


def table_rows() -> list[tuple[str, str, str, str]]:
    """For the docs: check, mark and what is found, what to do; each check's first row says what it means."""
    rows = []
    for check in CHECKS:
        rows.append((f"**{check.title.en}** (`{check.name}`)", "", check.means.en, ""))
        for outcome in check.outcomes.values():
            if outcome.mark in ("bad", "warning"):
                command = f"`{_named(outcome.command)}`" if outcome.command else ""
                mend = " ".join(part for part in (_named(outcome.mend.en), command) if part)
                refused = " Nothing is started." if outcome.blocks else ""
                rows.append(("", SIGNS[outcome.mark], f"{_named(outcome.text.en)}{refused}", mend))
    return rows


def _named(text: str) -> str:
    """A text whose placeholders stand in it by name, in capitals."""
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return text.format(**{name: name.upper() for name in names})


def exit_status(report: DoctorReport) -> int:
    """0 where nothing is bad, else 1."""
    return int(any(result.mark == "bad" for result in report.findings))
