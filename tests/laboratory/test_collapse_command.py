"""`python -m wmkml collapse`, run as a command: what it refuses, prints and writes."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until
from tests.warm_processes import MODEL, WarmPopen
from wmkml.__main__ import main
from wmkml.config.paths import PROJECT
from wmkml.laboratory.report import read_lines
from wmkml.laboratory.runner import SUMMARY_FILE

pytestmark = pytest.mark.process

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}

REFUSED = {
    "--language fr": "--language: fr is not known here; there are: de, en.",
    "--rounds 0": "--rounds: 0 is not allowed; allowed: at least 1.",
    "--seeds 0": "--seeds: 0 is not allowed",
    "--human-share 1.5": "--human-share: 1.5 is not allowed; allowed: 0 to 1.",
    "--human-share 0.5 --model elsewhere": "--human-share needs --human FILE with this model",
    "--human nowhere.csv": "--human: nowhere.csv cannot be read",
    "--human tests/fixtures/human.csv": "--human needs --human-share",
    "--measured 51": "--measured: there are 50 prompts to measure with, not 51.",
    "--panel-answers -1": "--panel-answers: -1 is not allowed; allowed: at least 0.",
    "--set inference.panel_prompts=docs/cli.md": "docs/cli.md",
    "--set general.datasets_folder=docs": "holds no prompt set for visitors",
    "--out docs": "docs is not empty. Give another folder with --out",
    "--out docs --resume": "docs holds no experiment to go on with",
    "--resume": "--resume needs --out",
    "--model ./nowhere": "holds no model",
    "--device cuda:7": "--device: torch sees no cuda:7 on this machine; it has cpu",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_said_in_a_sentence(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    arguments = ["--set", f"general.data_folder={tmp_path}", *words.split()]
    assert main(["collapse", *arguments]) == 2
    captured = capsys.readouterr()
    assert REFUSED[words] in captured.err and "Traceback" not in captured.err and captured.out == ""


def test_the_command_prints_a_table_and_last_a_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--rounds 1 --language en --visitors quiet --replace --human-share 0.2 --measured 5 --examined 0"
    panel_file = tmp_path / "panel.yaml"
    panel_file.write_text('en: {creative: [Tell me a fairy tale.], factual: {"What is a horse?": [animal]}}')
    arguments += f" --panel-answers 4 --set inference.panel_prompts={panel_file}"
    small = ["--set", "finetuning.samples_by_iteration=8", "--set", "inference.cpu_threads=1", "--device", "cpu"]
    assert main(["collapse", *arguments.split(), "--out", str(tmp_path / "out"), *small]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert any(line.startswith("iteration ") and "distinct-2" in line for line in lines)
    last = json.loads(lines[-1])
    assert (last["keeping"], last["human_share"], last["seeds"]) == ("replace", 0.2, [1])
    assert last["mean"]["real_words"]["-1"] > 0.9
    assert "Not measured" not in captured.out and "real words" in captured.out and last["not_measured"] == {}
    of_iterations = read_lines(tmp_path / "out" / "seed-1")
    assert len(of_iterations) == 2
    assert all(line.keys() >= {"real_words", "foreign_words"} for line in of_iterations)
    assert "seed 1, iteration 0:" in captured.err
    assert "are left for all rounds" not in captured.err, "the first round was the last"
    # It is said beforehand how long the panel takes: before anything of it is measured.
    [prediction] = re.findall(
        r"seed 1: the panel: 3 prompts, 4 answers each, by 2 iterations: about (\d+) s", captured.err
    )
    assert captured.err.index("seed 1: the panel:") < captured.err.index("seed 1, iteration -1:")
    assert int(prediction) < 600
    panel = {name: values for name, values in last["mean"].items() if name.startswith("panel_")}
    assert panel["panel_answered"] == {"-1": 1.0, "0": 1.0}
    assert panel["panel_facts"]["-1"] > 0.5 and {"panel_distinct_2", "panel_vendi", "panel_real_words"} <= panel.keys()
    assert any(line.startswith("iteration ") and "Vendi" in line for line in lines)
    assert any(line.startswith("risk rises ") and line.endswith("open") for line in lines), "one seed decides nothing"
    written = json.loads((tmp_path / "out" / SUMMARY_FILE).read_text(encoding="utf-8"))["profile"]
    assert {record["definition"] for record in written} >= {"tails vanish", "variance shrinks", "coherence is lost"}
    assert (tmp_path / "out" / "profile.svg").is_file() and (tmp_path / "out" / "profile.png").is_file()


def test_help_imports_no_torch() -> None:
    program = (
        "import sys; from wmkml.__main__ import command_parser; command_parser('collapse').format_help(); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'transformers', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == "[]"


def test_arithmetic_tables_and_figures_need_no_torch() -> None:
    program = (
        "import sys, wmkml.laboratory.reproductions.table, wmkml.laboratory.analysis.report, wmkml.laboratory.plotting; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == "False"


def test_a_seed_that_ends_before_its_first_measurement_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its prompts are longer than the model's window."""
    words = f"collapse --rounds 1 --visitors quiet --measured 3 --examined 0 --panel-answers 0 --out {tmp_path / 'out'}"
    for more in ("", " --resume"):
        assert main([*f"{words}{more}".split(), "--set", "inference.max_model_len=16"]) == 1
        assert "No seed came to its first measurement. seed 1: " in capsys.readouterr().err


def test_ctrl_c_leaves_what_is_finished(tmp_path: Path) -> None:
    command = ["-m", "wmkml", "collapse", "--rounds", "1", "--seeds", "3", "--out", str(tmp_path / "out")]
    small = ["--visitors", "quiet", "--measured", "3", "--examined", "0", "--panel-answers", "0"]
    small += ["--held-out", "tests/fixtures/human.csv"]
    for setting in (
        "finetuning.samples_by_iteration=4",
        "inference.num_generated_responses=1",
        "inference.max_tokens=6",
    ):
        small += ["--set", setting]
    output, errors = tmp_path / "output", tmp_path / "errors"
    with output.open("wb") as to_output, errors.open("wb") as to_errors:
        process = WarmPopen([*command, *small], MODEL, output=to_output, errors=to_errors, env=ONE_THREAD)

    def shown_or_ended(line: str) -> bool:
        return line in errors.read_text() or process.poll() is not None

    try:
        for line in ("seed 1, iteration -1:", "seed 1, iteration 0:", "seed 2, iteration -1:"):
            until(functools.partial(shown_or_ended, line), line)
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
    finally:
        process.kill()
        process.wait()
    shown = errors.read_text()
    assert status == 130, shown
    # After its first iteration at the latest it is said how long all of it takes.
    assert re.search(r"^seed 1, iteration 0:.*\nAbout [\w ]+ are left for all rounds, if ", shown, re.MULTILINE)
    assert "Interrupted. What is finished is in" in shown and "Traceback" not in shown and output.read_text() == ""
    assert len(read_lines(tmp_path / "out" / "seed-1")) == 2
    assert json.loads((tmp_path / "out" / SUMMARY_FILE).read_text(encoding="utf-8"))["seeds"] == [1]
