"""The facts that the owner's problems are judged by, and the judgement: a pure function from facts to named problems.

What is None or empty does not apply, or is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from wmkml.access.tls import RENEWAL_DAYS

LOW_DISK_GIB = 5.0
"""Less free disk space than this is a problem; the doctor warns from the same figure on."""

LEAST_DISK_GIB = 1.0
"""Below this no run can be kept any more."""

LOW_MEMORY_SHARE = 0.05
"""A smaller share of free memory than this is a problem …"""

LOW_MEMORY_GIB = 0.5
"""… and so is less than this, where a twentieth is soon used up; but not more than LARGEST_LOW_SHARE."""

LARGEST_LOW_SHARE = 0.15
"""On a machine with little memory less than this share of it is a problem, however little that is."""

MANY_RESTARTS = 3
"""So many restarts of the language model within RESTART_WINDOW_SECONDS are a problem."""

RESTART_WINDOW_SECONDS = 900.0

PAGE_MINUTES = 3.0
"""How long a page may be missing while it is open: a computer starts within this time."""

FORGOTTEN_MINUTES = 30.0
"""After this long a hold, or a blank stage in opening hours, was forgotten."""

PANIC_MINUTES = 10.0
"""After this long a panic was forgotten."""

CLOCK_JUMP_SECONDS = 30.0
"""A wall clock that moves by more than this against the monotonic one has jumped."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Page = Literal["stage", "visitor"]


@dataclass(frozen=True)
class OwnerFacts:
    """What the owner knows of itself, its machine and its exhibition at one moment.

    Attributes:
        in_trouble: codes of lights that show trouble, as `worker_away`.
        data_problem: why the data folder cannot be written.
        skipped_rounds: how many rounds of the run were skipped, if the newest was.
        memory_kills: processes that the kernel has killed lately because memory was short.
        gpus_gone: names of graphics cards that were seen since the owner's start, or planned, and are gone.
        restarts: of the language model, within RESTART_WINDOW_SECONDS.
        minutes_without_iteration: since a new iteration answered, while rounds are played; `patience_minutes`: the most.
        adapters_gone: iterations of the run whose files are gone.
        held_minutes, blank_minutes, panic_minutes: how long it has been so.
        has_hours: opening hours are set; `open_by_hours`: what they say; `hours_end`: they never open again.
        absent_pages: expected pages that are missing, and for how many minutes while it is open.
        sound_problem: why the stage cannot be heard as loud as it should.
        clock_jump_seconds: how far the wall clock has jumped lately.
        quota_excess_gib: what runs and logs take, where that is more than allowed.
        certificate_problem: why the owner's certificate cannot be used; the former one is served until it can.
        certificate_end: when the one in the settings runs out, in UTC; None: there is none.  `now`: the time of these facts.
    """

    in_trouble: tuple[str, ...] = ()
    disk_free_gib: float = 1e6
    memory_free_gib: float = 1e6
    memory_total_gib: float = 1e6
    memory_kills: int = 0
    unstored: str = ""
    data_problem: str = ""
    osc_unreachable: tuple[str, ...] = ()
    nodes_refused: tuple[tuple[str, str], ...] = ()
    skipped_rounds: int = 0
    gpus_gone: tuple[str, ...] = ()
    restarts: int = 0
    worker_unable: str = ""
    minutes_without_iteration: float | None = None
    patience_minutes: float = 60.0
    adapters_gone: tuple[int, ...] = ()
    run_folder_gone: str = ""
    run_damaged: str = ""
    stage_problems: tuple[str, ...] = ()
    held_minutes: float = 0.0
    blank_minutes: float = 0.0
    panic_minutes: float = 0.0
    has_hours: bool = False
    is_open: bool = True
    open_by_hours: bool = True
    hours_end: bool = False
    absent_pages: tuple[tuple[Page, float], ...] = ()
    sound_problem: str = ""
    clock_jump_seconds: float = 0.0
    clock_synchronised: bool | None = None
    quota_excess_gib: float = 0.0
    certificate_problem: str = ""
    certificate_end: datetime | None = None
    now: datetime = EPOCH
    alert_failure: str = ""
    heartbeat_failure: str = ""


@dataclass(frozen=True)
class PresentProblem:
    """A problem that is there now.  `subject` tells several of one code apart; `detail` may change while it lasts."""

    code: str
    detail: str = ""
    subject: str = ""


def judge(facts: OwnerFacts) -> list[PresentProblem]:
    """Every problem that these facts hold, those that visitors notice first."""
    return [*_of_services(facts), *_of_exhibition(facts), *_of_machine(facts)]


def low_memory_gib(total_gib: float) -> float:
    """Less free memory than this is a problem, in GiB."""
    return max(LOW_MEMORY_SHARE * total_gib, min(LOW_MEMORY_GIB, LARGEST_LOW_SHARE * total_gib))


def _of_services(facts: OwnerFacts) -> list[PresentProblem]:
    problems = [PresentProblem(code) for code in facts.in_trouble]
    if facts.worker_unable:
        problems.append(PresentProblem("worker_unable", facts.worker_unable))
    if facts.restarts >= MANY_RESTARTS:
        problems.append(PresentProblem("inference_restarts", str(facts.restarts)))
    if facts.skipped_rounds >= 2:
        problems.append(PresentProblem("skipped", str(facts.skipped_rounds)))
    minutes = facts.minutes_without_iteration
    if minutes is not None and minutes > facts.patience_minutes:
        problems.append(PresentProblem("round_overdue", f"{minutes:.0f}"))
    if facts.adapters_gone:
        problems.append(PresentProblem("adapters_gone", ", ".join(map(str, facts.adapters_gone))))
    if facts.run_folder_gone:
        problems.append(PresentProblem("run_folder_gone", facts.run_folder_gone))
    if facts.run_damaged:
        problems.append(PresentProblem("run_damaged", facts.run_damaged))
    return problems + [PresentProblem("node", f"{address}: {why}", address) for address, why in facts.nodes_refused]


def _of_exhibition(facts: OwnerFacts) -> list[PresentProblem]:
    codes: dict[Page, str] = {"stage": "stage_absent", "visitor": "visitor_page_absent"}
    problems = [
        PresentProblem(codes[page], f"{minutes:.0f}")
        for page, minutes in facts.absent_pages
        if facts.has_hours and facts.is_open and minutes > PAGE_MINUTES
    ]
    if facts.sound_problem and facts.is_open:
        problems.append(PresentProblem("sound", facts.sound_problem))
    if facts.stage_problems:
        problems.append(PresentProblem("stage_files", facts.stage_problems[0]))
    problems += [PresentProblem("osc", address, address) for address in facts.osc_unreachable]
    if facts.panic_minutes > PANIC_MINUTES:
        problems.append(PresentProblem("panic", f"{facts.panic_minutes:.0f}"))
    if facts.is_open and facts.blank_minutes > FORGOTTEN_MINUTES:
        problems.append(PresentProblem("blank", f"{facts.blank_minutes:.0f}"))
    if facts.held_minutes > FORGOTTEN_MINUTES:
        problems.append(PresentProblem("held", f"{facts.held_minutes:.0f}"))
    if facts.has_hours and facts.is_open != facts.open_by_hours:
        problems.append(PresentProblem("open_by_hand" if facts.is_open else "closed_by_hand"))
    if facts.has_hours and facts.hours_end:
        problems.append(PresentProblem("hours_end"))
    if facts.certificate_problem:
        problems.append(PresentProblem("certificate_unusable", facts.certificate_problem))
    end = facts.certificate_end
    if end is not None and end < facts.now:
        problems.append(PresentProblem("certificate_over", f"{end:%Y-%m-%d}"))
    elif end is not None and end - facts.now < timedelta(days=RENEWAL_DAYS):
        problems.append(PresentProblem("certificate_ends", f"{end:%Y-%m-%d}"))
    if facts.alert_failure:
        problems.append(PresentProblem("alert_unreachable", facts.alert_failure))
    if facts.heartbeat_failure:
        problems.append(PresentProblem("heartbeat_unreachable", facts.heartbeat_failure))
    return problems


def _of_machine(facts: OwnerFacts) -> list[PresentProblem]:
    problems = []
    if facts.unstored:
        problems.append(PresentProblem("unstored", facts.unstored))
    if facts.data_problem:
        problems.append(PresentProblem("data_readonly", facts.data_problem))
    if facts.disk_free_gib < LEAST_DISK_GIB:
        problems.append(PresentProblem("disk_full", f"{facts.disk_free_gib:.1f}"))
    elif facts.disk_free_gib < LOW_DISK_GIB:
        problems.append(PresentProblem("disk", f"{facts.disk_free_gib:.1f}"))
    if facts.quota_excess_gib:
        problems.append(PresentProblem("quota", f"{facts.quota_excess_gib:.1f}"))
    if facts.memory_free_gib < low_memory_gib(facts.memory_total_gib):
        problems.append(PresentProblem("memory", f"{facts.memory_free_gib:.1f}"))
    if facts.memory_kills:
        problems.append(PresentProblem("memory_kills", str(facts.memory_kills)))
    if facts.gpus_gone:
        problems.append(PresentProblem("gpu_gone", ", ".join(facts.gpus_gone)))
    if abs(facts.clock_jump_seconds) > CLOCK_JUMP_SECONDS:
        problems.append(PresentProblem("clock_jumped", f"{facts.clock_jump_seconds:+.0f}"))
    if facts.has_hours and facts.clock_synchronised is False:
        problems.append(PresentProblem("clock_unsynchronised"))
    return problems
