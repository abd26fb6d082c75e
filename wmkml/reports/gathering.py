"""Takes the record of a run from its folder and its database: pure numbers, and words only where the run is kept.

No torch and no matplotlib: the owner calls this at a run's end, before its words are deleted.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from wmkml.config import Settings
from wmkml.measures.registry import TABLE, measure_answers
from wmkml.reports.record import IterationAnswer, IterationNumbers, KeptWords, RoundNumbers, RunRecord, StepLoss
from wmkml.runs.schema import Round
from wmkml.runs.store import RunStore

MAX_MEASURED_ANSWERS = 200
"""At most this many of an iteration's newest answers are measured, which bounds what it costs."""

MIN_MEASURED_ANSWERS = 3
"""An iteration with fewer answers is not measured: the numbers would mean little."""

SHAPING = ("finetuning", "inference")
"""The sections of the settings that shape the language."""

PRIVATE = {"inference_host", "nodes", "url", "url_key", "url_model", "url_adapters", "url_adapter_name"}
"""Their settings that tell of machines and keys, which no report names."""


class RunUnreadableError(ValueError):
    """A folder holds no run, or one that is damaged; the text says which file."""


def record_of_folder(folder: Path) -> RunRecord:
    """The record of the run in this folder, of the installation or of the laboratory.

    Raises:
        RunUnreadableError: it holds none, or its files are damaged.
    """
    database = folder / "run.sqlite"
    if not database.is_file():
        raise RunUnreadableError(f"{folder} holds no run: there is no run.sqlite in it.")
    try:
        with closing(RunStore(database)) as store:
            return gather(folder, store)
    except sqlite3.DatabaseError as error:
        raise RunUnreadableError(f"{database} cannot be read: {error}.") from None


def gather(folder: Path, store: RunStore, seconds: float | None = None) -> RunRecord:
    """The record of the run whose store is open.

    Args:
        seconds: how long the run has lasted, where it ends now.

    Raises:
        RunUnreadableError: its `run.json` or its own row is missing or damaged.
    """
    about, row = _about(folder), store.run()
    if row is None:
        raise RunUnreadableError(f"{folder / 'run.sqlite'} holds no run.")
    settings, kind = about.get("settings", {}), str(about.get("kind", "installation"))
    finished = seconds is not None or row.phase == "waiting"
    rounds = [_round_numbers(round_) for round_ in store.rounds()]
    if seconds is None:
        # A run that is under way has lasted at least until its last round began.
        seconds = max([row.phase_began, *(round_.began + round_.train_seconds for round_ in rounds)])
    # A laboratory's run has no visitors; what the installation keeps, it keeps by its settings.
    has_words = kind != "installation" or bool(settings.get("general", {}).get("keep_runs"))
    return RunRecord(
        run=row.run,
        kind=kind,
        language=row.language,
        model=str(settings.get("general", {}).get("model_name", "")),
        started_at=row.started_at,
        seconds=seconds,
        finished=finished,
        rounds_planned=int(settings.get("finetuning", {}).get("num_total_iters", len(rounds))),
        pairs=dict(store.pair_counts(carried=False)),
        stations=len(store.stations()),
        rounds=rounds,
        losses=_losses(folder),
        measures=_stored_measures(store) if kind == "installation" else _written_measures(folder, store),
        settings=changed_settings(settings),
        words=_words(folder, store) if has_words else None,
    )


def changed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's settings, those that shape its language and differ from the defaults, by dotted key."""
    defaults = Settings().model_dump(mode="json")
    return {
        f"{section}.{key}": value
        for section in SHAPING
        for key, value in settings.get(section, {}).items()
        if key not in PRIVATE and key in defaults[section] and value != defaults[section][key]
    }


def measures_of_answers(store: RunStore, iteration: int) -> dict[str, float]:
    """The measures of an iteration's newest answers, as the desk shows them."""
    answers = store.answers_of(iteration, MAX_MEASURED_ANSWERS)
    return measure_answers("desk", [text for text, _ in answers], [entropy for _, entropy in answers])


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunUnreadableError(f"{folder} holds no run: there is no run.json in it.") from None
    except ValueError:
        raise RunUnreadableError(f"{folder / 'run.json'} is damaged.") from None
    if not isinstance(about, dict):
        raise RunUnreadableError(f"{folder / 'run.json'} is damaged.")
    return about


def _round_numbers(round_: Round) -> RoundNumbers:
    numbers = {name: getattr(round_, name) for name in RoundNumbers.model_fields if name != "samples"}
    for name in ("loss_first", "loss_last"):
        numbers[name] = _finite(numbers[name])
    return RoundNumbers(samples=len(round_.pairs), **numbers)


def _losses(folder: Path) -> list[StepLoss]:
    losses: dict[tuple[int, int], StepLoss] = {}
    for line in _lines(folder / "losses.jsonl"):
        iteration, step, loss = line["iteration"], line["step"], _finite(line.get("loss"))
        if step == 1:  # a second attempt replaces the first one's losses
            losses = {key: point for key, point in losses.items() if key[0] != iteration}
        if loss is not None:
            losses[iteration, step] = StepLoss(iteration=iteration, step=step, loss=loss)
    return [losses[key] for key in sorted(losses)]


def _stored_measures(store: RunStore) -> list[IterationNumbers]:
    """What was measured once of every iteration, and the measures of its answers."""
    counts = store.answer_counts()
    once = {measures.iteration: measures for measures in store.measures()}
    numbers = []
    for iteration in sorted({*counts, *once}):
        count = counts.get(iteration, 0)
        values: dict[str, float | None] = {}
        if count >= MIN_MEASURED_ANSWERS:
            values |= measures_of_answers(store, iteration)
        measured = once.get(iteration)
        if measured is not None:
            values |= measured.values
        layers = {} if measured is None else measured.layers
        numbers.append(IterationNumbers(iteration=iteration, answers=count, values=values, layers=layers))
    return numbers


def _written_measures(folder: Path, store: RunStore) -> list[IterationNumbers]:
    """The laboratory's measures, which it takes itself: a line of `measures.jsonl` for each iteration."""
    counts = store.answer_counts()
    numbers = {}
    for line in _lines(folder / "measures.jsonl"):
        iteration = int(line["iteration"])
        values = {name: _finite(value) for name, value in line.items() if name in TABLE}
        numbers[iteration] = IterationNumbers(iteration=iteration, answers=counts.get(iteration, 0), values=values)
    return [numbers[iteration] for iteration in sorted(numbers)]


def _words(folder: Path, store: RunStore) -> KeptWords:
    """The first answer of each iteration to the persistent prompt, and to each prompt of `answers.jsonl`."""
    persistent: dict[int, IterationAnswer] = {}
    for pair in store.all_pairs("persistent"):
        if not pair["carried"] and pair["iteration"] not in persistent:
            answer = pair["answer"][: pair["kept"]]
            persistent[pair["iteration"]] = IterationAnswer(
                iteration=pair["iteration"], prompt=pair["prompt"], answer=answer
            )
    panel: dict[tuple[str, int], IterationAnswer] = {}
    for line in _lines(folder / "answers.jsonl"):
        answer = IterationAnswer.model_validate(line)
        panel.setdefault((answer.prompt, answer.iteration), answer)
    return KeptWords(
        persistent=[persistent[iteration] for iteration in sorted(persistent)],
        panel=list(panel.values()),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of one of the run's `.jsonl` files; a last line that was broken off is left out."""
    if not path.is_file():
        return []
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
