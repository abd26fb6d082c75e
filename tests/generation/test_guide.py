"""docs/generating.md and the examples of the commands' help are true: all of it runs."""

from __future__ import annotations

import importlib
import io
import re
import shlex
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.config.paths import PROJECT

GUIDE = (PROJECT / "docs" / "generating.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("env/bin/")
    for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.replace("env/bin/python", "python").splitlines()
]
NAMES = ("generate", "chat", "probabilities")


def run(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command as a reader types it, with `echo … |` before it or without; what it writes goes into the test's folder."""
    words, _, command = line.rpartition(" | ")
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{word}\n" for word in shlex.split(words)[1:])))
    monkeypatch.chdir(PROJECT)
    arguments = shlex.split(command.replace("/tmp/", f"{tmp_path}/"))
    assert arguments[:3] == ["python", "-m", "wmkml"], line
    assert main(arguments[3:]) == 0, line


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_guide_runs(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(line, monkeypatch, tmp_path)
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", NAMES)
def test_the_first_example_of_a_help_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = importlib.import_module(f"wmkml.cli.{name}").__doc__ or ""
    example = re.search(r"^    (.*python -m wmkml .*)$", text, re.MULTILINE)
    assert example and f" {name} " in example[1]
    run(example[1], monkeypatch, tmp_path)
    assert capsys.readouterr().out.strip()


def test_the_code_of_the_guide_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert "Katze" in str(names["best"])
    assert [len(names[name]) > 0 for name in ("answers", "tokens")] == [True, True]  # type: ignore[arg-type]
