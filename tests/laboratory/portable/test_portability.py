"""Every command of the extra `lab` where Python has only what it has on Windows, its output in the encoding of there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.random_model import make_model
from wmkml.__main__ import express_everything
from wmkml.config.paths import PROJECT

pytestmark = pytest.mark.process

AS_WINDOWS = {"PYTHONIOENCODING": "cp1252", "PYTHONWARNDEFAULTENCODING": "1", "OMP_NUM_THREADS": "1"}
STORY = PROJECT / "examples" / "corpora" / "story.txt"

COMMANDS = f"""
corpus {STORY} --out pairs.jsonl --json corpus.json
finetune --model MODEL --data {PROJECT / "tests/fixtures/human.csv"} --out voice --epochs 1
merge voice --model MODEL --out merged
loss voice --png loss.png --csv loss.csv --json loss.json
generate Katze --model MODEL --adapter voice --max-tokens 4
probabilities Katze --model merged --csv tokens.csv --html tokens.html --json tokens.json
poetry --model MODEL --file {STORY} --transform walk:1 --html poems.html --csv poems.csv
analyse MODEL voice --corpus {STORY} --prompts --quick --completions 2 --max-tokens 4 --temperatures 1 --out analysis
collapse --model MODEL --rounds 1 --visitors quiet --measured 3 --panel-answers 0 --set inference.max_tokens=8 \
--set finetuning.samples_by_iteration=8 --set inference.num_generated_responses=1 \
--set general.datasets_folder={PROJECT / "Datasets"} --out life
report life/seed-1
collapse --reproduce gaussian --out gaussian
""".replace("\\\n", "").strip()


def run_python(*words: str, folder: Path, stdin: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run this interpreter in a folder, its output piped."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        input=None if stdin is None else stdin.encode(),
        env={**os.environ, **AS_WINDOWS, "PYTHONPATH": str(PROJECT)},
    )


@pytest.mark.slow
def test_every_command_of_the_laboratory_runs_with_what_windows_has(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    lines = COMMANDS.replace("MODEL", str(model)).splitlines()
    done = run_python("-m", "tests.laboratory.portable.like_windows", *lines, folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert (tmp_path / "life" / "measures.png").is_file() and (tmp_path / "merged" / "config.json").is_file()


def test_help_of_every_command_of_the_laboratory_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    names = dict.fromkeys(line.split()[0] for line in COMMANDS.splitlines())
    lines = [f"{name} --help" for name in (*names, "examine", "chat", "download", "datasets")]
    done = run_python("-m", "tests.laboratory.portable.like_windows", *lines, folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.mark.parametrize("missing", ["import fcntl", "import os; os.killpg", "import signal; signal.SIGKILL"])
def test_the_stand_in_lacks_what_windows_lacks(missing: str, tmp_path: Path) -> None:
    program = (
        "from tests.laboratory.portable.like_windows import become_like_windows as become; become(); exec({!r}, {!r})"
    )
    done = run_python("-c", program.format(missing, {"__name__": "wmkml.cli"}), folder=tmp_path)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].split(b":")[0] in (
        b"ModuleNotFoundError",
        b"AttributeError",
    )
    assert run_python("-c", program.format(missing, {"__name__": "other"}), folder=tmp_path).returncode == 0


def test_a_pipe_of_another_encoding_gets_utf_8(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("step,loss\n1,3.5\n2,3.0\n", encoding="utf-8")
    done = run_python("-m", "wmkml", "loss", "losses.csv", folder=tmp_path)
    assert done.returncode == 0 and "┤" in done.stdout.decode(), done.stderr.decode()
    answers = {"prompt": "p", "answers": ["→ ψ", "猫"]}
    (tmp_path / "→.jsonl").write_text(json.dumps(answers), encoding="utf-8")
    done = run_python("-m", "wmkml", "analyse", "--answers", "→.jsonl", "--json", "-", folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert list(json.loads(done.stdout.decode())["labels"]) == ["→"]


class Terminal(io.BytesIO):
    """A terminal, as far as a text stream asks."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_of_another_encoding_shows_a_mark_for_what_it_has_not() -> None:
    shown = Terminal()
    stream = io.TextIOWrapper(shown, encoding="cp1252")
    express_everything(stream)
    stream.write("für ┤")
    stream.flush()
    assert shown.getvalue() == "für ?".encode("cp1252")
