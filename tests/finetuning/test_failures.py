"""What ends a finetune before or after its training: Ctrl-C, a full disk, a base that is gone when it is merged."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.finetuning.test_finetune import tiny, words  # noqa: F401 - fixtures
from tests.waiting import until
from tests.warm_processes import MODEL, WarmPopen
from wmkml.__main__ import main
from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.finetuning import output
from wmkml.finetuning.checkpoint import CHECKPOINT_FILE


def press(*_: object) -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("command", ["finetune", "corpus"])
def test_ctrl_c_while_words_are_read_is_a_sentence(
    command: str,
    tiny: Path,  # noqa: F811
    words: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading = "wmkml.cli.finetune._ReadingProgress.__call__" if command == "finetune" else "wmkml.corpora.survey._count"
    monkeypatch.setattr(reading, press)
    out = tmp_path / "out"
    arguments = {"finetune": ["--data", str(words), "--model", str(tiny), "--out", str(out)], "corpus": [str(words)]}
    try:
        status = main([command, *arguments[command]])
    except KeyboardInterrupt:  # which would end all tests
        pytest.fail("Ctrl-C is a traceback")
    assert status == 130
    assert "Interrupted" in capsys.readouterr().err and not out.exists()


@pytest.mark.slow
def test_a_full_disk_after_the_training_is_named(
    tiny: Path,  # noqa: F811
    words: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--model", str(tiny), "--data", str(words), "--epochs", "1", "--compared", "0"]
    assert main(["finetune", *arguments, "--out", str(tmp_path / "out"), "--json", "/dev/full"]) == 1
    assert "/dev/full: cannot be written: No space left on device." in capsys.readouterr().err
    assert (tmp_path / "out" / WEIGHTS_FILE).is_file()


@pytest.mark.slow
def test_a_merge_that_fails_leaves_the_adapter_and_goes_on_when_it_can(
    tiny: Path,  # noqa: F811
    words: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = shutil.copytree(tiny, tmp_path / "base")
    config, kept, append_loss = base / "config.json", tmp_path / "config.json", output.append_loss

    def lose_the_base(*step: Any) -> None:
        if config.exists():
            config.rename(kept)
        append_loss(*step)

    out = tmp_path / "out"
    arguments = ["finetune", "--model", str(base), "--data", str(words), "--epochs", "2", "--compared", "0", "--merge"]
    arguments += ["--out", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(output, "append_loss", lose_the_base)
        assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert "It was trained, and cannot be merged" in shown and f"The adapter is in {out}." in shown
    assert (out / WEIGHTS_FILE).is_file() and (out / CHECKPOINT_FILE).is_file()
    kept.rename(config)
    (out / ".merged").mkdir()  # as of a merge that was killed
    assert main([*arguments, "--resume"]) == 0
    assert (out / "model.safetensors").is_file() and not (out / WEIGHTS_FILE).exists()
    assert not (out / ".merged").exists()


@pytest.mark.process
def test_ctrl_c_twice_ends_a_real_finetune_at_once(tiny: Path, tmp_path: Path) -> None:  # noqa: F811
    """Of a step that takes long: the first is heard at once, and the second does not wait for the step."""
    out = tmp_path / "out"
    # Steps of many samples, so that one does not end between the two; and two of them an epoch, whose end saves.
    (many := tmp_path / "many.txt").write_text("Male Haus. # Hier ist Haus, ganz rot!\n" * 400, encoding="utf-8")
    command = ["-m", "wmkml", "finetune", "--model", str(tiny), "--compared", "0", "--anyway"]
    command += ["--data", str(many), "--batch-size", "200", "--epochs", "9"]
    command += ["--template", "plain", "--out", str(out)]
    error = tmp_path / "error"
    with error.open("wb") as file:
        process = WarmPopen(command, MODEL, output=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        until((out / output.LOSSES_FILE).exists, "the first step")
        process.send_signal(signal.SIGINT)
        until(lambda: "Ctrl-C again ends at once" in error.read_text(), "an answer to Ctrl-C")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    shown = error.read_text()
    assert f"Ended at once. What was saved before is in {out}" in shown and "Traceback" not in shown
    assert not (out / CHECKPOINT_FILE).exists(), "the second was obeyed before the step ended"
