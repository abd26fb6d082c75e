"""`read_losses(path)`: the losses of a training as a DataFrame, whoever wrote them.

Told by content: a run folder (`losses.jsonl`) or a folder of them, `trainer_state.json` of Hugging Face's Trainer or a folder
with its checkpoints, TensorBoard's event files, CSV and JSON lines.  Every column or key that is called loss is a series.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.corpora.encodings import TextFile, detect_encoding
from wmkml.corpora.pairs import CorpusError

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("source", "series", "step", "loss", "iteration", "epoch")
"""Of the DataFrame.  `step` counts optimizer steps from the beginning; `iteration` is a run's round; both last may be missing."""

RUN_FILE = "losses.jsonl"
HELD_OUT_FILE = "held_out.jsonl"
"""Beside it in the folder of a finetuning: losses on what was held out."""

TRAINER_FILE = "trainer_state.json"
EVENTS = "*tfevents*"

STEPS = ("step", "global_step", "steps", "iter", "iteration", "batch")
"""Names of a column that says at which step a loss was measured, the first of them that is there."""

NAMES = {"loss": "training", "train_loss": "training", "training_loss": "training", "train/loss": "training"}
HELD_OUT = re.compile(r"(eval|val|valid|validation|evaluation|held_?out|dev|test)[_/ ]?loss|loss[_/ ](eval|val)")


class LossesError(ValueError):
    """No losses can be read there.  The message says where, what was expected, and what to do."""


@dataclass(frozen=True)
class Point:
    """One loss, in nats a token where the source says nothing else."""

    source: str
    series: str
    step: float
    loss: float
    iteration: int | None = None
    epoch: float | None = None


def read_losses(*paths: Path, labels: tuple[str, ...] = ()) -> DataFrame:
    """The losses at these paths, as a DataFrame with COLUMNS, in the order of steps.

    Args:
        paths: run folders, `trainer_state.json`, folders with checkpoints, TensorBoard's files or folders, CSV, JSON lines.
        labels: what the paths are called in the column `source`; as many, or none: their names.

    Raises:
        LossesError: one of them is missing, empty, or holds no losses.
    """
    from pandas import DataFrame

    labels = labels or unlike_labels(paths)
    if len(labels) != len(paths):
        raise LossesError(f"{len(labels)} labels for {len(paths)} sources. Give one for each.")
    points = [point for path, label in zip(paths, labels, strict=True) for point in points_of(path, label)]
    return DataFrame([vars(point) for point in points], columns=list(COLUMNS))


def unlike_labels(paths: tuple[Path, ...]) -> tuple[str, ...]:
    """A name for each path, with as many folders before it as tell them apart."""
    parts = [
        (path.resolve().parent if path.name in (RUN_FILE, TRAINER_FILE) else path.resolve()).parts for path in paths
    ]
    for count in range(1, max((len(names) for names in parts), default=0) + 1):
        labels = tuple("/".join(names[-count:]) for names in parts)
        if len(set(labels)) == len(labels):
            return labels
    return tuple(f"{index}: {'/'.join(names[-1:])}" for index, names in enumerate(parts, 1))


def points_of(path: Path, label: str) -> list[Point]:
    """The losses at one path.

    Raises:
        LossesError: as `read_losses`.
    """
    try:
        points = [point for point in _points(path, label) if math.isfinite(point.step)]
    except OSError as error:
        raise LossesError(f"{path} cannot be read: {error.strerror}.") from None
    except CorpusError as error:
        raise LossesError(str(error)) from None
    if not points:
        raise LossesError(f"{path} holds no losses yet: it is empty, or no step was written.")
    return points


def _points(path: Path, label: str) -> Iterator[Point]:
    if not path.exists():
        raise LossesError(f"There is no file or folder {path}.")
    if path.is_dir():
        yield from _of_folder(path, label)
    elif "tfevents" in path.name:
        yield from _of_events(path, label)
    else:
        yield from _of_file(path, label)


def _of_folder(path: Path, label: str) -> Iterator[Point]:
    if (path / RUN_FILE).is_file():
        yield from _of_file(path / RUN_FILE, label)
        if (path / HELD_OUT_FILE).is_file() and (path / HELD_OUT_FILE).stat().st_size:
            for point in _of_file(path / HELD_OUT_FILE, label):
                yield replace(point, series="held out")
    elif runs := sorted(path.glob(f"*/{RUN_FILE}")):
        for run in runs:
            yield from _of_file(run, f"{label}/{run.parent.name}")
    elif (path / TRAINER_FILE).is_file():
        yield from _of_file(path / TRAINER_FILE, label)
    elif states := list(path.glob(f"checkpoint-*/{TRAINER_FILE}")):
        # The last checkpoint's history holds that of all before it.
        yield from _of_file(max(states, key=lambda state: int(re.sub(r"\D", "", state.parent.name) or 0)), label)
    elif folders := sorted({file.parent for file in path.rglob(EVENTS)}):
        for folder in folders:
            inner = "" if folder == path else f"/{folder.relative_to(path)}"
            yield from _of_events(folder, f"{label}{inner}")
    else:
        raise LossesError(
            f"{path} holds no losses. Expected {RUN_FILE} (a run folder), {TRAINER_FILE} or checkpoint-*/{TRAINER_FILE} "
            "(Hugging Face's Trainer), or TensorBoard's event files; a CSV file is named itself."
        )


def _of_events(path: Path, label: str) -> Iterator[Point]:
    """Every scalar with loss in its tag; TensorFlow 2 writes them as tensors."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    names = [tag for tag in tags["scalars"] + tags["tensors"] if "loss" in tag.lower()]
    if not names:
        others = ", ".join([*tags["scalars"], *tags["tensors"]][:8]) or "nothing"
        raise LossesError(f"{path}: no tag of these events has loss in its name; there is: {others}.")
    for tag in names:
        if tag in tags["scalars"]:
            yield from (Point(label, series_name(tag), event.step, event.value) for event in events.Scalars(tag))
        else:
            for event in events.Tensors(tag):
                yield Point(label, series_name(tag), event.step, float(make_ndarray(event.tensor_proto).item()))


def _of_file(path: Path, label: str) -> Iterator[Point]:
    if not path.stat().st_size:
        raise LossesError(f"{path} is empty: no step was written yet.")
    text = TextFile(path, detect_encoding(path))
    head = text.head().lstrip()
    if path.suffix == ".jsonl" or (path.suffix != ".json" and head.startswith("{")):
        yield from _numbered(_json_lines(text), label)
    elif head.startswith(("{", "[")):
        yield from _numbered(_trainer_history(text), label)
    else:
        yield from _of_table(text, label)


def _json_lines(text: TextFile) -> Iterator[Mapping[str, Any]]:
    """A record for each line; a last line that is being written is left for the next reading."""
    broken = 0
    for number, line in text.lines():
        if broken:
            raise LossesError(f"{text.path}, line {broken}: expected a JSON object with a loss.")
        if not (line or "").strip():
            continue
        try:
            record = json.loads(line or "")
        except ValueError:
            broken = number
            continue
        if not isinstance(record, dict):
            raise LossesError(f"{text.path}, line {number}: expected a JSON object with a loss.")
        yield record


def _trainer_history(text: TextFile) -> Iterator[Mapping[str, Any]]:
    with text.open() as stream:
        try:
            content = json.load(stream)
        except ValueError as error:
            raise LossesError(f"{text.path} is not JSON: {error}.") from None
    history = content.get("log_history") if isinstance(content, dict) else content
    if not isinstance(history, list):
        raise LossesError(
            f"{text.path}: expected log_history, as Hugging Face's Trainer writes it, or a list of records."
        )
    # `train_loss` is the mean of the whole training, written once at its end: no step's loss.
    yield from ({k: v for k, v in entry.items() if k != "train_loss"} for entry in history if isinstance(entry, dict))


def _numbered(records: Iterator[Mapping[str, Any]], label: str) -> Iterator[Point]:
    """Points of records with keys.  A run counts its steps anew in each round: here they go on."""
    done, last, place = 0.0, 0.0, None
    for index, record in enumerate(records, 1):
        iteration = record.get("iteration")
        in_rounds = isinstance(iteration, int) and "step" in record
        step = next((float(record[name]) for name in STEPS if _is_number(record.get(name))), float(index))
        if in_rounds and place not in (None, (iteration, record.get("attempt"))):
            done += last
        if in_rounds:
            place, last = (iteration, record.get("attempt")), step
        epoch = record.get("epoch")
        for name, value in record.items():
            # A loss that is not a number breaks the line in a figure; it is shown, not left out.
            if is_loss(name) and (_is_number(value) or value in ("NaN", "nan", None)):
                loss = float(value) if isinstance(value, int | float) else math.nan
                yield Point(
                    label,
                    series_name(name),
                    done + step,
                    loss,
                    iteration if in_rounds else None,
                    float(epoch) if isinstance(epoch, int | float) else None,
                )


def _of_table(text: TextFile, label: str) -> Iterator[Point]:
    with text.open() as stream:
        sample = stream.read(4096)
        stream.seek(0)
        first = sample.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        reader = csv.DictReader(stream, delimiter=delimiter)
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        losses = [name for name in names if is_loss(name)]
        if not losses:
            raise LossesError(
                f"{text.path}: no column has loss in its name; there are: {', '.join(names[:12])}. "
                "Expected a header with a column loss, and step where steps are not the lines."
            )
        steps = next((name for wanted in STEPS for name in names if name.lower() == wanted), None)
        epochs = next((name for name in names if name.lower() == "epoch"), None)
        for index, row in enumerate(reader, 1):
            # A logger writes a line for each thing that it measures, and leaves the other cells empty.
            step = _number(row.get(steps) if steps else None, float(index), f"{text.path}, line {reader.line_num}")
            epoch = _number(row.get(epochs) if epochs else None, math.nan, f"{text.path}, line {reader.line_num}")
            for name in losses:
                cell = (row.get(name) or "").strip()
                if cell:
                    loss = _number(cell, math.nan, f"{text.path}, line {reader.line_num}")
                    yield Point(label, series_name(name), step, loss, None, None if math.isnan(epoch) else epoch)


def is_loss(name: str) -> bool:
    """Whether a column, key or tag of this name holds a loss."""
    return "loss" in name.lower() and "scale" not in name.lower()


def series_name(name: str) -> str:
    """What a series is called: training, held out, or its own name."""
    lowered = name.strip().lower()
    if lowered in NAMES:
        return NAMES[lowered]
    return "held out" if HELD_OUT.fullmatch(lowered) else name.strip()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(cell: str | None, default: float, where: str) -> float:
    if cell is None or not cell.strip():
        return default
    try:
        # A table of a German spreadsheet has decimal commas.
        return float(cell.strip().replace(",", "."))
    except ValueError:
        raise LossesError(f"{where}: {cell.strip()[:40]!r} is no number.") from None
