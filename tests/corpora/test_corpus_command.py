"""`python -m wmkml corpus`: what it shows, what it writes, and what it says when nothing can be read."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wmkml.__main__ import main
from wmkml.config.paths import PROJECT
from wmkml.corpora import read

EXAMPLES = PROJECT / "examples" / "corpora"
GUIDE = (PROJECT / "docs" / "corpora.md").read_text(encoding="utf-8")


def summary(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main(["corpus", *map(str, arguments), "--json", "-"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_json_tells_pairs_parts_and_refusals(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "spells.txt"
    path.write_text("# Spells\na # b\nA # B\nno mark\nc # d\n# _EVAL_\ne # f\n")
    result = summary(capsys, path)
    assert {key: result[key] for key in ("pairs", "train", "evaluation", "duplicates")} == {
        "pairs": 4,
        "train": 3,
        "evaluation": 1,
        "duplicates": 1,
    }
    assert result["refused"] == [
        {"file": str(path), "line": 4, "reason": "expected instruction # answer; there is no # on this line"}
    ]
    assert sum(entry["pairs"] for entry in result["tokens"]["histogram"]) == 4


def test_several_files_are_one_corpus(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [EXAMPLES / "chat.jsonl", EXAMPLES / "sharegpt.json", EXAMPLES / "instructions.txt"]
    result = summary(capsys, *files)
    assert (result["pairs"], [entry["pairs"] for entry in result["files"]]) == (10, [3, 3, 4])
    out = tmp_path / "together.jsonl"
    assert main(["corpus", *map(str, files), "--out", str(out), "--no-tokens"]) == 0
    assert [pair for file in files for pair in read(file).pairs()] == list(read(out).pairs())


def test_everything_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = "".join(f"question {n % 40}?,answer {n % 50} {'word ' * n}\n" for n in range(100)) + "question 1?,\n" * 2
    (path := tmp_path / "a.csv").write_text("prompt,answer\n" + rows + "question 0?,answer 0\n" * 3)
    assert main(["corpus", str(path), "--samples", "2", "--seed", "4"]) == 0
    out = capsys.readouterr().out
    assert out.count("the answer is empty") == 2 and f"{path}, line 102: the answer is empty" in out
    assert "103 pairs" in out and "there is no evaluation part, so evaluation is on the training part" in out
    assert "3 pairs are there more than once" in out and f"{path}, line 2: 4 times" in out
    assert "prompts have several different answers" in out
    assert len(re.findall(r"^ +\d+ – +\d+  [█▏]", out, re.MULTILINE)) >= 4, "a histogram"
    assert out.count("\nuser: question") == 2 and out.count("\nassistant: answer") == 2
    assert main(["corpus", str(path), "--samples", "2", "--seed", "4"]) == 0
    assert capsys.readouterr().out == out, "the same seed draws the same samples"


def test_pairs_in_both_parts_are_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (path := tmp_path / "a.txt").write_text("a # b\n# _EVAL_\na # b\nc # d\n")
    assert summary(capsys, path, "--no-tokens")["in_both_parts"] == 1


@pytest.mark.parametrize("out", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.txt"])
def test_the_ending_says_what_is_written(out: str, tmp_path: Path) -> None:
    source, path = EXAMPLES / "instructions.txt", tmp_path / out
    assert main(["corpus", str(source), "--out", str(path), "--no-tokens"]) == 0
    assert sorted(read(path).pairs(), key=repr) == sorted(read(source).pairs(), key=repr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere.csv", "There is no file or folder nowhere.csv"),
        ("films.csv --prompt-column titel", "there is no column titel; there are: name, year, text"),
        ("films.csv --prompt-template {nam}", "did you mean name?"),
        ("films.csv --answer-column text", "--prompt-column"),
        ("films.csv --prompt-column name --prompt-template {name}", "not both"),
        ("dolly.jsonl --format chat", "expected messages"),
        ("dolly.jsonl --out a.xml", "the ending .xml is not known"),
        ("dolly.jsonl --out a.csv --out-format chat", "chat is written to files with the ending .jsonl"),
        ("dolly.jsonl --hold-out 1", "allowed: 0 to below 1"),
        ("dolly.jsonl --model nowhere", "nowhere holds no tokenizer"),
        ("empty.txt", "it holds no pair, prompt or passage"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for file in EXAMPLES.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "empty.txt").write_text("\n")
    monkeypatch.chdir(tmp_path)
    assert main(["corpus", *shlex.split(arguments)]) == 2
    assert message in capsys.readouterr().err


def test_strict_makes_a_refused_line_an_error(tmp_path: Path) -> None:
    (path := tmp_path / "a.txt").write_text("a # b\nc # d\nno mark\n")
    assert main(["corpus", str(path), "--no-tokens"]) == 0
    assert main(["corpus", str(path), "--no-tokens", "--strict"]) == 1


# The guide


def test_the_guide_shows_every_example_as_it_is() -> None:
    for path in sorted(EXAMPLES.iterdir()):
        assert f"`examples/corpora/{path.name}`" in GUIDE, path.name
        assert path.read_text(encoding="utf-8").strip() in GUIDE, path.name


@pytest.mark.process
def test_every_command_of_the_guide_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("env/bin/python -m wmkml")]
    local = [command for command in commands if "databricks/" not in command]
    assert len(local) >= 5
    script = "\n".join(local).replace("/tmp/", f"{tmp_path}/").replace("env/bin/python", shlex.quote(sys.executable))
    done = subprocess.run(["bash", "-ec", script], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_of_lines_that_looks_like_another_form_says_how_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path := tmp_path / "a.jsonl").write_text('{"prompt": "a # b"}\n{"prompt": "c # d"}\n')
    assert main(["corpus", str(path), "--no-tokens", "--out", str(tmp_path / "out.txt")]) == 0
    assert "looks like instructions: read it with --format prompts" in capsys.readouterr().err


def test_a_poem_is_read_as_prompts_and_the_report_says_how_it_is_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (poem := tmp_path / "poem.txt").write_text(
        "Es war ein Haus,\nDas Licht ging aus\n\nUnd niemand kam,\nUnd sagte was.\n"
    )
    (questions := tmp_path / "questions.txt").write_text("Was ist blau?\nWas ist rot\nWas ist grün?\n")
    hint = "each line is read as a prompt; --format text"
    assert main(["corpus", str(poem), str(questions), "--no-tokens"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if hint in line] == [str(poem)]
    for form, pairs in (("text", 1), ("prompts", 4)):
        assert main(["corpus", str(poem), "--format", form, "--no-tokens"]) == 0
        shown = capsys.readouterr().out
        assert f"\n{pairs} pairs" in shown and hint not in shown
