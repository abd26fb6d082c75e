"""docs/analysis.md: its commands can be given, the quick ones run, its Python runs, and its tables name what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from wmkml.__main__ import command_parser, main
from wmkml.config.paths import PROJECT
from wmkml.laboratory.analysis.next_token.results import MEASURES
from wmkml.laboratory.analysis.prompts import read_prompts

GUIDE = (PROJECT / "docs" / "analysis.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.split(" -m wmkml ", 1)[1])
    for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]
HELP = [
    shlex.split(line.split(" -m wmkml ", 1)[1])
    for line in command_parser("analyse").format_help().splitlines()
    if line.startswith("    python -m wmkml ")
]


@pytest.mark.parametrize("words", [*COMMANDS, *HELP], ids=" ".join)
def test_a_command_can_be_given(words: list[str]) -> None:
    command_parser(words[0]).parse_args(words[1:])


def _reads_only_examples(words: list[str]) -> bool:
    """Whether a command can be given right after a checkout: some read what another command has written to data/.

    The example of `--answers` is run by `test_the_example_of_the_help_runs`.
    """
    read = words[: words.index("--out")] if "--out" in words else words
    return "--corpus" in read and not any(word.startswith("data/") for word in read)


@pytest.mark.slow
@pytest.mark.parametrize("words", [words for words in COMMANDS if _reads_only_examples(words)], ids=" ".join)
def test_a_quick_command_runs(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT)
    if "--out" in words:
        words = words[: words.index("--out")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "| `entropy` |" in capsys.readouterr().out and any((tmp_path / "out").glob("*.png"))


def test_the_python_of_the_guide_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert type(names["frame"]).__name__ == "DataFrame" and type(names["figure"]).__name__ == "Figure"


def test_the_guide_names_every_measure_and_its_prompts_are_read(tmp_path: Path) -> None:
    short = {name.replace("vocabulary_share", "") for name in MEASURES if name.startswith("vocabulary")}
    for name in [*(name for name in MEASURES if not name.startswith("vocabulary")), "vocabulary_share_70"]:
        assert f"`{name}`" in GUIDE
    assert short == {"_70", "_90"}
    (lists,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    path = tmp_path / "p.yaml"
    path.write_text(lists, encoding="utf-8")
    assert [prompt.kind for prompt in read_prompts(path, "en")] == ["creative", "creative", "factual"]
