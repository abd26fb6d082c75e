"""Data sets of the Hugging Face hub, streamed through `datasets` from a stand-in of it; and Parquet, by row groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.corpora.hub_data_stand_in import DataHub, serving
from wmkml.config.paths import PROJECT
from wmkml.corpora import Pair, RefusedLine, Turn, read

NAME = "someone/some-words"


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(record)}\n" for record in records).encode()


def corpus_command(hub: DataHub, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, since the hub's libraries read their address when they are imported."""
    return subprocess.run(
        [sys.executable, "-m", "wmkml", "corpus", *arguments, "--no-tokens"],
        cwd=folder,
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hub"), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.process
def test_a_data_set_of_the_hub_is_streamed_with_its_parts(tmp_path: Path) -> None:
    files = {
        "data/train.jsonl": lines([{"instruction": f"Say {n}.", "context": "", "response": str(n), "category": "a"} for n in range(5)]),
        "data/test.jsonl": lines([{"instruction": "Say x.", "context": "", "response": "x", "category": "b"},
                                  {"instruction": "", "context": "", "response": "y", "category": "b"}]),
    }  # fmt: skip
    with serving(DataHub(NAME, files)) as hub:
        done = corpus_command(hub, tmp_path, NAME, "--json", "-", "--out", str(tmp_path / "here.jsonl"))
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        unknown = corpus_command(hub, tmp_path, "someone/other-words")
    assert (summary["pairs"], summary["train"], summary["evaluation"]) == (6, 5, 1)
    assert summary["refused"] == [{"file": NAME, "line": 2, "reason": "the prompt is empty"}]
    assert summary["files"][0]["format"] == "dolly"
    assert [pair.part for pair in read(tmp_path / "here.jsonl").pairs()] == ["train"] * 5 + ["evaluation"]
    assert unknown.returncode == 2 and "Traceback" not in unknown.stderr
    assert "someone/other-words of the Hugging Face hub cannot be read" in unknown.stderr


def test_parquet_is_read_by_rows(tmp_path: Path) -> None:
    rows = [{"Frage": f"q {n}", "Antwort": None if n == 7 else f"a {n}", "n": n} for n in range(2500)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path := tmp_path / "a.parquet", row_group_size=100)
    corpus = read(path)
    entries = list(corpus.entries())
    assert entries[7] == RefusedLine(8, "the answer is empty", str(path))
    assert [entry for entry in entries if isinstance(entry, Pair)][-1] == Pair("q 2499", "a 2499")
    assert (corpus.form, corpus.counts().pairs, corpus.position.done) == ("columns", 2499, path.stat().st_size)


def test_parquet_of_conversations_and_of_texts(tmp_path: Path) -> None:
    roles = ("user", "assistant", "user", "assistant")
    turns = [{"role": role, "content": text} for role, text in zip(roles, "abcd", strict=True)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": turns}]), path := tmp_path / "a.parquet")
    assert list(read(path).pairs()) == [Pair("a", "b"), Pair("c", "d", (Turn("user", "a"), Turn("assistant", "b")))]
    pyarrow.parquet.write_table(pyarrow.table({"text": ["A passage."]}), path)
    assert list(read(path).pairs()) == [Pair("", "A passage.")]
