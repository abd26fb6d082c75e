"""Data sets of the installation from any words: instruction files, chats, tables; only what stands alone, and is to train on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from wmkml.config.paths import PROJECT
from wmkml.corpora import check_datasets, datasets, list_datasets, read_dataset

EXAMPLES = PROJECT / "examples" / "corpora"

PROMPTS = {
    "prompts.csv": ["Was riecht nach Regen?", "Wenn es schneit, wer ist dann leise?", 'Was heißt "zu Hause"?'],
    "prompts.txt": [
        "What does rain smell of?",
        "Describe a Monday to somebody who has none.",
        "Who is quiet when it snows?",
    ],
    "instructions.txt": ["Zaubere Regen.", "Zaubere Wind.", "Zaubere C# um."],
    "columns.tsv": ["What is blue?", "What is slow?"],
    "alpaca.json": ["Name a colour of the sea.", "Count the words.\n\nHere I am."],
    "dolly.jsonl": ["When did the shop open?\n\nThe shop opened in 1921.", "Why do cats purr?"],
    "chat.jsonl": ["Hello!", "Say nothing."],
    "sharegpt.json": ["Who are you?", "Sing."],
    "completion.jsonl": ["The opposite of loud is", "The opposite of full is"],
    "story.txt": ["There was a house at the end of the street.", "One evening there was a light."],
    "notes.md": ["Rain", "It begins on the roof.", "Snow", "It begins nowhere, and is there."],
}


@pytest.mark.parametrize("name", PROMPTS)
def test_any_readable_file_is_a_data_set(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    shutil.copy(EXAMPLES / name, tmp_path / "mine")
    assert list_datasets(tmp_path) == ["mine"]
    dataset = read_dataset(tmp_path, "mine")
    assert dataset.prompts == PROMPTS[name] and not dataset.broken
    expected = {"chat.jsonl", "sharegpt.json"}
    assert [problem.severity for problem in dataset.problems] == ["warning"] * (name in expected)


def test_a_table_of_instructions_keeps_their_inputs(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.csv").write_text("instruction,input,output\nCount.,One two.,Two.\n")
    assert read_dataset(tmp_path, "mine").prompts == ["Count.\n\nOne two."]


def test_files_of_several_forms_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("instructions.txt", "alpaca.json", "notes.md"):
        shutil.copy(EXAMPLES / name, tmp_path / "mine")
    (tmp_path / "mine" / "LICENSE.txt").write_text("Anybody may use it.\n")
    dataset = read_dataset(tmp_path, "mine")
    assert dataset.prompts == [*PROMPTS["alpaca.json"], *PROMPTS["instructions.txt"]], (
        "notes count where nothing else is"
    )


def test_a_broken_line_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("Sing. # La.\nno mark\nSing. # Lala.\nHum. # Mm.\n")
    dataset = read_dataset(tmp_path, "mine")
    assert dataset.prompts == ["Sing.", "Sing.", "Hum."] and dataset.broken
    assert [(problem.line, problem.severity) for problem in dataset.problems] == [(2, "error"), (3, "warning")]
    (tmp_path / "mine" / "a.txt").unlink()
    (tmp_path / "mine" / "a.json").write_text("nothing")
    (problem,) = check_datasets(tmp_path)
    assert (
        str(problem)
        == f"{tmp_path}/mine/a.json: error: line 1: expected JSON: an object on each line, or an array of objects."
    )


def test_a_large_file_costs_a_bounded_number_of_prompts_and_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "MOST_PROMPTS", 30)
    monkeypatch.setattr(datasets, "MOST_PROBLEMS", 5)
    (tmp_path / "mine").mkdir()
    lines = [json.dumps({"prompt": f"question {n}"} if n % 2 else {"wrong": n}) for n in range(100)]
    (tmp_path / "mine" / "a.jsonl").write_text("\n".join(lines))
    dataset = read_dataset(tmp_path, "mine")
    assert len(dataset.prompts) == 30 and len(dataset.problems) == 7
    assert "only the first 30 prompts are used" in dataset.problems[0].text
    assert "more problems" in dataset.problems[-1].text and dataset.problems[-1].severity == "error"
