"""The course: both languages have the same lessons, and every command in them runs on the understudy.

The commands run as they are typed, in a folder that holds the project's examples, in the order of the lessons, since later
lessons look at what earlier ones wrote.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from wmkml.__main__ import main
from wmkml.config.paths import PROJECT

COURSE = PROJECT / "docs" / "course"
LANGUAGES = ("de", "en")
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
RUN = "python -m wmkml "
LESSONS = 7
MOST_SECONDS = 75.0
"""What a command may take of each core, a minute and what a busy machine adds to it: how long it takes depends on what else the
machine does."""


def lessons(language: str) -> list[Path]:
    return sorted((COURSE / language).glob("*.md"))


def commands(lesson: Path) -> list[str]:
    """Every command of a lesson, as it is typed."""
    blocks = BLOCK.findall(lesson.read_text(encoding="utf-8"))
    return [line for block in blocks for line in block.splitlines() if line]


def is_slow(command: str) -> bool:
    """Whether a command plays a whole loop: the German course's first is, the others in the long tests."""
    return "collapse --rounds" in command and ("--language en" in command or "--replace" in command)


ALL = list(
    dict.fromkeys(command for language in LANGUAGES for lesson in lessons(language) for command in commands(lesson))
)


def processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def threads() -> int:
    """How many threads compute in this process."""
    import torch

    return torch.get_num_threads()


def typed(command: str) -> Any:
    marks = [pytest.mark.long] if is_slow(command) else []
    return pytest.param(command, marks=marks, id=command.removeprefix(RUN)[:60])


@pytest.fixture(scope="module")
def classroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the examples, in which all commands run."""
    folder = tmp_path_factory.mktemp("classroom")
    (folder / "examples").symlink_to(PROJECT / "examples")
    with chdir(folder):
        yield folder


def test_both_languages_have_the_same_seven_lessons() -> None:
    of_language = {language: lessons(language) for language in LANGUAGES}
    assert [len(paths) for paths in of_language.values()] == [LESSONS, LESSONS]
    for german, english in zip(*of_language.values(), strict=True):
        names = [[command.split()[3] for command in commands(lesson)] for lesson in (german, english)]
        assert names[0] == names[1] and names[0], german.name
        texts = [lesson.read_text(encoding="utf-8") for lesson in (german, english)]
        assert german.name[0] == english.name[0] and ": " in texts[0].splitlines()[0]
        assert "## Aufgabe" in texts[0] and "<summary>Antwort</summary>" in texts[0]
        assert "## Exercise" in texts[1] and "<summary>Answer</summary>" in texts[1]
    readme = (COURSE / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(((?:de|en)/[^)]+)\)", readme))
    assert linked == {f"{path.parent.name}/{path.name}" for paths in of_language.values() for path in paths}


@pytest.mark.process
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", [typed(command) for command in ALL])
def test_a_command_of_the_course_runs(command: str, classroom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.startswith(RUN), "a lesson shows commands of this package alone"
    before = processor_seconds()
    assert main(shlex.split(command.removeprefix(RUN))) == 0, capsys.readouterr().err
    seconds = processor_seconds() - before
    assert capsys.readouterr().out.strip()
    print(f"{seconds:.0f} seconds of processor time")
    assert seconds < MOST_SECONDS * threads(), "the course promises a minute"
