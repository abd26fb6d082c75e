"""The siege's report: for each section what was tried, what held and what did not, as JSON and as lines."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

SHOWN_PROBLEMS = 40
"""The most problems of a section that are named; more are counted."""


class SiegePart(BaseModel):
    """Base of the report's parts.  Unknown keys are refused, so that writer and reader cannot drift apart."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class SectionReport(SiegePart):
    """One section.  It is written while the section runs, so that an interrupted one reports what it has done."""

    name: str
    wanted: int = Field(description="How many attacks were asked for.")
    tried: int = 0
    held: int = Field(default=0, description="Attacks after which everything was as it must be.")
    seconds: float = 0.0
    figures: dict[str, float] = Field(default_factory=dict, description="Measured values; their names hold the unit.")
    counts: dict[str, int] = Field(default_factory=dict, description="What was done, by kind.")
    problems: list[str] = Field(default_factory=list, description="Sentences; none quotes a visitor.")
    late: list[str] = Field(default_factory=list, description="What held, and took longer than it may; sentences.")
    unnamed_problems: int = Field(default=0, description=f"Problems beyond the first {SHOWN_PROBLEMS}.")

    @property
    def ok(self) -> bool:
        """Whether everything held that was tried, in time, and something was."""
        return not self.problems and not self.late and 0 < self.tried == self.held

    def add_problem(self, sentence: str) -> None:
        """Note what did not hold."""
        if sentence in self.problems:
            self.unnamed_problems += 1
        elif len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(sentence)
        else:
            self.unnamed_problems += 1

    def count(self, kind: str, number: int = 1) -> None:
        """Count what was done."""
        self.counts[kind] = self.counts.get(kind, 0) + number

    def note_worst(self, name: str, value: float) -> None:
        """Keep the largest value of this name."""
        self.figures[name] = round(max(self.figures.get(name, value), value), 3)


class SiegeReport(SiegePart):
    """The whole report.  `ok`: everything that was asked for was tried, and held."""

    ok: bool
    interrupted: bool = Field(default=False, description="It was ended before everything asked for had been tried.")
    seed: int
    model: str = ""
    engine: str = ""
    cores: int = 0
    load: float = Field(
        default=0.0, description="Processes that ran or waited for a core, a minute's mean, at the end."
    )
    seconds: float = 0.0
    sections: list[SectionReport] = Field(default_factory=list)


def report_lines(report: SiegeReport) -> list[str]:
    """The report for people."""
    lines = [
        f"Siege of {report.model or 'nothing'} ({report.engine or 'no engine'}), seed {report.seed}, "
        f"{report.seconds:.0f} s, {report.cores} cores with a load of {report.load:.1f}."
    ]
    for section in report.sections:
        mark = "held" if section.ok else "did NOT hold" if section.tried else "not tried"
        missing = f" of {section.wanted} asked for" if section.tried < section.wanted else ""
        lines.append(
            f"  {section.name:<9} {mark}: {section.held} of {section.tried} tried{missing}, {section.seconds:.0f} s"
        )
        lines += [f"    {kind}: {number}" for kind, number in sorted(section.counts.items())]
        lines += [f"    {name}: {value:g}" for name, value in sorted(section.figures.items())]
        lines += [f"    Problem: {problem}" for problem in section.problems]
        lines += [f"    Late: {sentence}" for sentence in section.late]
        if section.unnamed_problems:
            lines.append(f"    … and {section.unnamed_problems} more like these")
    lines.append(
        "Everything held."
        if report.ok
        else "It was ended early."
        if report.interrupted and all(section.ok or not section.tried for section in report.sections)
        else "Not everything held."
    )
    return lines
