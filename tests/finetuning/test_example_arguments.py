"""What an example makes of the command's other arguments: it goes by them, or refuses them by name."""

from __future__ import annotations

import json
import signal
import warnings
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.finetuning.preparation import estimate


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["exercise", "--resume", "--hold-out", "0.5"], "--example exercise takes no --resume, --hold-out"),
        (["spells", "--lora-rank", "4", "--quantize", "nf4"], "--example spells takes no --quantize, --lora-rank"),
        (["exercise", "--model", "nowhere"], "holds no model"),
        (["exercise", "--out", "there"], "exists already"),
        (["exercise", "--epochs", "0"], "--epochs: 0 is not allowed"),
        (["invented", "--device", "toaster"], "--device: toaster is not known"),
    ],
)
def test_what_an_example_cannot_do_is_refused(
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "something").touch()
    assert main(["finetune", "--example", *arguments]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_of_an_example_trains_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ["finetune", "--example", "invented", "--dry-run", "--epochs", "2", "--lora-rank", "4", "--json", "-"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["epochs"], record["steps"]) == (2, 4) and "steps_done" not in record
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(estimate, "available_on", lambda device: 10_000_000)
    assert main(["finetune", "--example", "invented"]) == 2
    assert "It will not fit." in capsys.readouterr().err


@pytest.mark.slow
def test_an_example_goes_by_its_arguments_keeps_nothing_unasked_and_ends_at_ctrl_c(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    json_file = tmp_path / "r.json"
    short = ["finetune", "--example", "invented", "--epochs", "1", "--compared", "1"]
    assert main([*short, "--json", str(json_file)]) == 0
    printed = capsys.readouterr().out
    assert "Nothing of it is kept" in printed and "wmkml-example-" not in printed
    record = json.loads(json_file.read_text())
    assert record["steps_done"] == 2 and "folder" not in record and "erfundenes Muster" in record["scores"]

    def press(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("wmkml.finetuning.output.append_loss", press)
    assert main(short) == 130
    assert "Interrupted." in capsys.readouterr().err
