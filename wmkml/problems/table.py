"""Every named problem, by its code.  Desk, `status`, alerts, doctor and manuals take their sentences from here."""

from __future__ import annotations

from collections.abc import Mapping

from wmkml.problems.exhibition import EXHIBITION_PROBLEMS
from wmkml.problems.machine import MACHINE_PROBLEMS
from wmkml.problems.problem import NamedProblem
from wmkml.problems.services import SERVICE_PROBLEMS

PROBLEMS: Mapping[str, NamedProblem] = {
    problem.code: problem for problem in (*SERVICE_PROBLEMS, *EXHIBITION_PROBLEMS, *MACHINE_PROBLEMS)
}
"""In the order of the manual: what visitors notice first."""
