"""Memory while a corpus is read, checked and written does not grow with its size (a million pairs: benchmarks/corpora.py)."""

from __future__ import annotations

import importlib.util
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from wmkml.config.paths import PROJECT
from wmkml.corpora import ReadingOptions, read
from wmkml.corpora.survey import survey
from wmkml.corpora.writing import write_corpora
from wmkml.training import batching

PAIRS, WORDS_EACH = 1_500, 800
"""Some 7 MB of text: few long pairs, since the time goes by pairs."""

MOST = 5 << 20
"""Bytes; a piece of a file being read, its decoded text, and the records of it."""


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The benchmark's module, which writes corpora of any size."""
    specification = importlib.util.spec_from_file_location(
        "benchmark_of_corpora", PROJECT / "benchmarks" / "corpora.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def peak(act: Callable[[], object]) -> int:
    """The most bytes of Python's objects that were there at once while acting, above those before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        act()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "txt"])
def test_reading_takes_no_more_memory_than_a_piece_of_the_file(
    form: str, benchmark: ModuleType, tmp_path: Path
) -> None:
    benchmark.write(path := tmp_path / f"a.{form}", form, PAIRS, WORDS_EACH)
    assert path.stat().st_size > MOST + (1 << 20)
    corpus = read(path)
    assert peak(lambda: sum(1 for _ in corpus.entries())) < MOST
    assert corpus.position.done == corpus.position.total == path.stat().st_size
    assert form == "txt" or corpus.counts().pairs == PAIRS


@pytest.mark.slow
def test_a_survey_holds_no_pairs(benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.write(path := tmp_path / "a.jsonl", "jsonl", PAIRS, WORDS_EACH)
    progress: list[int] = []
    options = ReadingOptions(hold_out=0.1)
    assert peak(lambda: survey([read(path, options)], on_progress=lambda pairs, _: progress.append(pairs))) < MOST
    assert progress == sorted(progress) and progress[-1] > PAIRS - 600


def test_writing_holds_no_pairs(benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.write(path := tmp_path / "a.jsonl", "jsonl", PAIRS, WORDS_EACH)
    corpus = read(path)
    assert peak(lambda: write_corpora([corpus], tmp_path / "b.json", "alpaca")) < MOST
    assert read(tmp_path / "b.json").counts().pairs == PAIRS


@pytest.mark.slow
def test_what_is_prepared_for_training_is_packed_whole(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmark with few pairs; a million of them are measured by hand (docs/corpora.md)."""
    benchmark.write(path := tmp_path / "a.jsonl", "jsonl", pairs := 404)
    benchmark.pack_here(path)
    result = json.loads(capsys.readouterr().out)
    assert result["pairs"] == pairs and result["seconds"] > 0 and result["peak"] > 100
    batches = batching.packed_batches
    monkeypatch.setattr(batching, "packed_batches", lambda samples, most: batches(samples[1:], most))
    benchmark.write(few := tmp_path / "few.jsonl", "jsonl", 8)
    with pytest.raises(SystemExit, match="samples were lost"):
        benchmark.pack_here(few)
