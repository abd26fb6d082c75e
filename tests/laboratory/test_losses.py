"""`python -m wmkml loss`: the losses of every kind of training, drawn in the terminal and as a picture, also while it runs."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wmkml.__main__ import main
from wmkml.config.paths import PROJECT
from wmkml.laboratory.losses.following import follow
from wmkml.laboratory.losses.reading import LossesError, read_losses
from wmkml.laboratory.losses.terminal import loss_plot

LIVE_RUN = PROJECT / "tests" / "fixtures" / "live_run"
LOSSES = (2.5, 1.5, 0.75)
HELD_OUT = (2.75, 1.25)


def of_trainer(folder: Path) -> Path:
    """What Hugging Face's Trainer leaves: a checkpoint with a shorter history, and one with all of it."""
    from transformers import TrainerState

    history: list[dict[str, float]] = []
    for step, loss in enumerate(LOSSES, 1):
        history.append({"loss": loss, "learning_rate": 1e-4, "epoch": step / 2, "step": step})
        if step < 3:
            history.append({"eval_loss": HELD_OUT[step - 1], "eval_runtime": 0.1, "epoch": step / 2, "step": step})
        (checkpoint := folder / f"checkpoint-{step}").mkdir()
        TrainerState(log_history=[*history], global_step=step).save_to_json(str(checkpoint / "trainer_state.json"))
    history.append({"train_loss": 99.0, "epoch": 1.5, "step": 3})
    TrainerState(log_history=history, global_step=3).save_to_json(str(folder / "checkpoint-3" / "trainer_state.json"))
    return folder


def of_tensorboard(folder: Path) -> Path:
    """Event files as PyTorch writes them, in a folder inside."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "runs" / "today")) as writer:
        for step, loss in enumerate(LOSSES, 1):
            writer.add_scalar("train/loss", loss, step)
            writer.add_scalar("train/grad_norm", 7.0, step)
        for step, loss in enumerate(HELD_OUT, 1):
            writer.add_scalar("eval/loss", loss, step)
    return folder


def of_tensorflow(folder: Path) -> Path:
    """Event files as TensorFlow 2 and Keras write them: scalars in tensors."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    writer = EventFileWriter(str(folder))
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    for tag, losses in (("loss", LOSSES), ("val_loss", HELD_OUT)):
        for step, loss in enumerate(losses, 1):
            value = Summary.Value(tag=tag, tensor=make_tensor_proto(loss, dtype="float32"), metadata=metadata)
            writer.add_event(Event(step=step, wall_time=float(step), summary=Summary(value=[value])))
    writer.close()
    return folder


def of_run(folder: Path) -> Path:
    lines: list[dict[str, Any]] = [{"step": n, "loss": loss, "epoch": n / 2} for n, loss in enumerate(LOSSES, 1)]
    lines += [{"step": n, "evaluation_loss": loss, "epoch": n / 2} for n, loss in enumerate(HELD_OUT, 1)]
    (folder / "losses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def of_finetuning(folder: Path) -> Path:
    """What `wmkml finetune` writes."""
    for name, losses in (("losses.jsonl", LOSSES), ("held_out.jsonl", HELD_OUT)):
        lines = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def of_table(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (path := folder / "history.csv").write_text(text, encoding="utf-8")
        return path

    return write


SOURCES: dict[str, Callable[[Path], Path]] = {
    "trainer": of_trainer,
    "tensorboard": of_tensorboard,
    "tensorflow": of_tensorflow,
    "run": of_run,
    "finetuning": of_finetuning,
    "csv": of_table("step,loss,val_loss\n1,2.5,2.75\n2,1.5,1.25\n3,0.75,\n"),
    "csv of a logger": of_table(
        "epoch,global_step,train/loss,val loss\n0,1,2.5,\n0,1,,2.75\n1,2,1.5,\n1,2,,1.25\n1,3,0.75,\n"
    ),
    "csv of a spreadsheet": of_table("Step;Loss;Eval_Loss\r\n1;2,5;2,75\r\n2;1,5;1,25\r\n3;0,75;\r\n"),
    "tsv without steps": of_table("loss\tdev loss\n2.5\t2.75\n1.5\t1.25\n0.75\t\n"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_training_has_the_same_losses(kind: str, tmp_path: Path) -> None:
    frame = read_losses(SOURCES[kind](tmp_path))
    by_series = dict(list(frame.groupby("series")))
    assert by_series.keys() == {"training", "held out"}
    assert by_series["training"]["loss"].tolist() == pytest.approx(LOSSES)
    assert by_series["held out"]["loss"].tolist() == pytest.approx(HELD_OUT)
    assert by_series["training"]["step"].tolist() == [1, 2, 3]


def test_a_run_goes_on_counting_over_its_rounds(tmp_path: Path) -> None:
    frame = read_losses(LIVE_RUN)
    assert frame["step"].tolist() == [1, 2, 3, 4] and frame["iteration"].tolist() == [0, 0, 1, 1]
    # A folder of runs, as the laboratory writes them.
    for seed in (1, 2):
        (tmp_path / f"seed-{seed}").mkdir()
        (tmp_path / f"seed-{seed}" / "losses.jsonl").write_bytes((LIVE_RUN / "losses.jsonl").read_bytes())
    assert set(read_losses(tmp_path)["source"]) == {f"{tmp_path.name}/seed-1", f"{tmp_path.name}/seed-2"}


def test_a_loss_that_is_not_finite_is_shown_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path := tmp_path / "losses.jsonl").write_text(
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": NaN}\n{"step": 3, "lo'
    )
    assert [math.isnan(loss) for loss in read_losses(path)["loss"]] == [False, True], "half a line waits"
    assert main(["loss", str(path)]) == 0
    assert "1 are not finite" in capsys.readouterr().out


def test_json_has_no_infinity_and_a_picture_keeps_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "losses.jsonl").write_text('{"step": 1, "loss": Infinity}\n{"step": 2, "loss": NaN}\n')
    assert main(["loss", str(tmp_path), "--json", "-", "--png", str(tmp_path / "loss.v2")]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    (series,) = json.loads(capsys.readouterr().out, parse_constant=refuse)["series"]
    assert series["points"] == [{"step": 1, "loss": None}, {"step": 2, "loss": None}]
    assert (series["last"], series["not_finite"]) == (None, 2)
    assert {path.name for path in tmp_path.glob("loss.v2*")} == {"loss.v2.png", "loss.v2.svg"}


def test_the_plot_falls_from_left_to_right(tmp_path: Path) -> None:
    plot = loss_plot(read_losses(of_run(tmp_path)), size=(60, 14))
    assert "\x1b" not in plot and "training" in plot and "held out" in plot
    rows = [line[6:] for line in plot.splitlines() if re.search("[⠁-⣿]", line) and "training" not in line]
    columns = [re.search("[⠁-⣿]", row) for row in rows]
    firsts = [match.start() for match in columns if match]
    assert firsts == sorted(firsts) and firsts[-1] - firsts[0] > 20
    assert "\x1b[" in loss_plot(read_losses(tmp_path), size=(60, 14), colours=True)


def test_picture_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = of_trainer(tmp_path)
    png, table = tmp_path / "plot" / "loss.png", tmp_path / "loss.csv"
    options = ["--smooth", "2", "--log", "--labels", "mine", "--png", str(png), "--csv", str(table), "--json", "-"]
    assert main(["loss", str(source), *options]) == 0
    with Image.open(png) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50
    assert "held out" in png.with_suffix(".svg").read_text() or png.with_suffix(".svg").stat().st_size > 5000
    first, second = json.loads(capsys.readouterr().out)["series"]
    assert (first["source"], first["series"], first["first"], first["last"]) == ("mine", "training", 2.5, 0.75)
    assert second["points"][1] == {"step": 2, "loss": 1.25, "epoch": 1.0}
    assert read_losses(table)["loss"].tolist() == pytest.approx([*LOSSES[:1], 2.75, 1.5, 1.25, 0.75])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "There is no file or folder"),
        ("a.csv", "", "is empty"),
        ("a.csv", "step,accuracy\n1,2\n", "no column has loss in its name; there are: step, accuracy"),
        ("a.csv", "step,loss\n1,high\n", "line 2: 'high' is no number"),
        ("a.csv", "step,loss\n", "holds no losses yet"),
        ("trainer_state.json", "{}", "expected log_history"),
        ("trainer_state.json", '{"log_history": [', "is not JSON"),
        ("losses.jsonl", '{"loss": 1}\nhello\n{"loss": 2}\n', "line 2: expected a JSON object"),
        ("folder/notes.txt", "words", "holds no losses. Expected losses.jsonl"),
        ("events.out.tfevents.1", "words", "tag"),
    ],
)
def test_what_holds_no_losses_is_said(
    name: str, content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_text(content)
    assert main(["loss", str(path if path.parent == tmp_path else path.parent)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--follow",)], ids=["once", "followed"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("--csv nowhere/l.csv", "nowhere/l.csv cannot be written: there is no folder nowhere"),
        ("--csv .", ". cannot be written: it is a folder"),
        ("--png losses.jsonl/l.png", "cannot be written: File exists"),
        ("--csv /dev/full", "/dev/full cannot be written: No space left on device"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(
    target: str,
    message: str,
    options: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(of_run(tmp_path))
    assert main(["loss", "losses.jsonl", *target.split(), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err


def test_following_reads_again_after_every_change(tmp_path: Path) -> None:
    path = tmp_path / "losses.jsonl"

    def writes() -> Iterator[bool]:
        for step, loss in enumerate(LOSSES, 1):
            with path.open("a") as file:
                file.write(json.dumps({"step": step, "loss": loss}) + "\n")
            yield True
            yield True  # nothing new: nothing to draw
        yield False

    turns = writes()
    states = list(follow((tmp_path,), lambda: next(turns)))
    assert isinstance(states[0], LossesError), "a run that has not begun is waited for"
    assert [len(state) for state in states[1:] if not isinstance(state, LossesError)] == [1, 2, 3]


@pytest.mark.process
def test_a_training_under_way_is_followed_until_ctrl_c(tmp_path: Path) -> None:
    run = of_run(tmp_path)
    command = [
        sys.executable,
        "-m",
        "wmkml",
        "loss",
        str(run),
        "--follow",
        "--every",
        "0.1",
        "--png",
        str(run / "l.png"),
    ]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert "training: 3 losses" in process.stdout.readline() and "held out" in process.stdout.readline()
        with (run / "losses.jsonl").open("a") as file:
            file.write(json.dumps({"step": 4, "loss": 0.5}) + "\n")
        assert "training: 4 losses, from 2.5 to 0.5" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert (run / "l.png").is_file()


def test_the_example_of_the_help_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import wmkml.cli.loss as command

    example = re.search(r"^    python -m wmkml (loss .*)$", command.__doc__ or "", re.MULTILINE)
    assert example
    monkeypatch.chdir(PROJECT)
    assert main(shlex.split(example[1])) == 0
    assert "optimizer step" in capsys.readouterr().out
