"""The table of named problems: whole, in both languages, raised by somebody, and the same on desk, terminal and paper."""

from __future__ import annotations

import ast
import json
import string
from pathlib import Path

import pytest

from wmkml.doctor.check import DoctorCheck
from wmkml.doctor.examination import CHECKS
from wmkml.doctor.named_problems import NAMED, problem_code
from wmkml.problems.printing import manual_chapters, problem_lines, problem_types, title_of
from wmkml.problems.problem import NamedProblem
from wmkml.problems.table import PROBLEMS

ROOT = Path(__file__).parent.parent.parent

NOT_IN_FACTS = {
    "inference_loading",
    "inference_restoring",
    "inference_absent",
    "inference_silent",
    "inference_refuses",
    "worker_away",
}
"""Their names are made of a light's name and its code."""


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))
def test_a_row_is_whole(problem: NamedProblem) -> None:
    for text in (problem.title, problem.cause, problem.remedy):
        assert (text.de.strip() and text.en.strip() and text.de != text.en) or text.de.startswith("`")
        assert text.de.count("`") % 2 == text.en.count("`") % 2 == 0
    placeholders = {
        language: {name for _, name, _, _ in string.Formatter().parse(getattr(problem.title, language)) if name}
        for language in ("de", "en")
    }
    assert placeholders["de"] == placeholders["en"] <= {"detail"}
    assert problem.raised_by


def strings_in(folder: Path) -> set[str]:
    """Every string of the Python files in a folder."""
    return {
        node.value
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_problem_is_raised_where_the_table_says_and_no_other() -> None:
    by_owner = strings_in(ROOT / "wmkml" / "owner" / "problems") | NOT_IN_FACTS
    by_status = strings_in(ROOT / "wmkml" / "launcher")
    by_doctor = {
        code
        for check in CHECKS
        for outcome in check.outcomes
        if (code := problem_code(check.name, outcome)) and check.outcomes[outcome].mark in ("bad", "warning")
    }
    for code, problem in PROBLEMS.items():
        raisers = {"owner": by_owner, "status": by_status, "doctor": by_doctor}
        assert all(code in raisers[raiser] for raiser in problem.raised_by), code
    assert by_doctor <= set(PROBLEMS)
    assert by_doctor == {code for code, problem in PROBLEMS.items() if "doctor" in problem.raised_by}


@pytest.mark.parametrize("check", [check for check in CHECKS if check.name in NAMED], ids=lambda check: check.name)
def test_the_doctors_outcomes_that_are_named_exist(check: DoctorCheck) -> None:
    named = NAMED[check.name]
    assert isinstance(named, str) or set(named) <= set(check.outcomes)


def test_there_are_more_than_twenty_and_the_desks_old_codes_keep_their_names() -> None:
    old = NOT_IN_FACTS | {"unstored", "disk", "memory", "osc", "node", "skipped"}
    assert old <= set(PROBLEMS) and len(PROBLEMS) > 20


def test_desk_terminal_and_manuals_say_the_same() -> None:
    types = problem_types()
    rows = json.loads(types[types.index("> = {") + 4 : types.rindex(";")])
    assert list(rows) == list(PROBLEMS)
    for language, manual in (("de", manual_chapters("de")), ("en", manual_chapters("en"))):
        for code, row in rows.items():
            assert f"`{code}`" in manual and row[language]["remedy"] in manual
            head, cause, remedy = problem_lines(code, "7", language)  # type: ignore[arg-type]
            assert head[2:] == row[language]["title"].replace("{detail}", "7")
            assert (cause.strip(), remedy.strip()) == (row[language]["cause"], row[language]["remedy"].replace("`", ""))


def test_a_detail_with_braces_and_an_unknown_code_are_printed_as_they_are() -> None:
    assert "{0} {x}" in title_of("osc", "{0} {x}", "de")
    assert problem_lines("of_a_later_version", "7", "en") == ["! of_a_later_version: 7"]
