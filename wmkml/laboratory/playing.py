"""Plays an experiment: one life after another on one bench, going on where an interrupted one stopped between lives.

The plot and the summary are written anew after every life, so that Ctrl-C leaves what is finished.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import closing
from pathlib import Path

from wmkml.laboratory.bench import Bench, started
from wmkml.laboratory.experiment import Experiment, check, describe
from wmkml.laboratory.life import Life, LifeEnded
from wmkml.laboratory.plotting import plot
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import COLUMNS, Line, Outcome, read_lines, shown, summary
from wmkml.runs import folder as runs
from wmkml.runs.store import RunStore

PLOT = "measures.png"
SUMMARY = "summary.json"


async def play(experiment: Experiment, progress: Progress, *, resume: bool = False) -> Outcome:
    """Live every seed's life.

    Raises:
        ExperimentRefused: it cannot be done; nothing was begun.
        One of `bench.CANNOT_WORK`: these settings cannot work here.
    """
    check(experiment, resume=resume)
    describe(experiment)
    progress.where = experiment.title
    progress("loading the model", 0, 1)
    async with started(experiment.settings, experiment.model) as bench:
        return await play_on(bench, experiment, progress)


async def play_on(bench: Bench, experiment: Experiment, progress: Progress) -> Outcome:
    """Live every seed's life on a bench that stands; the folder is described already."""
    outcome = Outcome(experiment.title)
    for seed in experiment.seeds:
        folder = experiment.out / f"seed-{seed}"
        if not _finished(folder):
            if folder.exists():
                progress.line(f"seed {seed} was interrupted and begins anew")
                shutil.rmtree(folder)
            await _one(bench, experiment, seed, progress, outcome)
        lines = read_lines(folder)
        if len(lines) <= experiment.rounds:
            outcome.ended.setdefault(seed, f"it ended before round {len(lines) - 1} was trained")
        outcome.lines[seed], outcome.seconds[seed] = lines, lines[-1]["seconds"]
        plot(outcome, experiment.out / PLOT)
        text = json.dumps(summary(outcome, experiment.described(), experiment.out), ensure_ascii=False, indent=1)
        (experiment.out / SUMMARY).write_text(text, encoding="utf-8")
    return outcome


async def _one(bench: Bench, experiment: Experiment, seed: int, progress: Progress, outcome: Outcome) -> None:
    folder, store = runs.make(
        experiment.out,
        f"seed-{seed}",
        experiment.language,
        experiment.settings,
        "laboratory",
        {"seed": seed, **{name: value for name, value in experiment.described().items() if name != "settings"}},
    )
    began = time.monotonic()
    iteration = -1

    def told(what: str, done: int, of: int) -> None:
        progress.where = f"seed {seed}, after iteration {iteration}"
        progress(what, done, of)

    def measured(line: Line) -> None:
        nonlocal iteration
        iteration = line["iteration"]
        values = ", ".join(f"{COLUMNS[name]} {shown(name, line[name])}" for name in COLUMNS if name in line)
        progress.line(f"seed {seed}, iteration {iteration}: {values} ({time.monotonic() - began:.0f} s)")

    with closing(store):
        try:
            await Life(experiment, bench, seed, folder, store, told, measured).live()
        except LifeEnded as end:
            progress.line(f"seed {seed}: {end}")
            outcome.ended[seed] = str(end)
            store.set_phase("waiting", time.monotonic() - began)


def _finished(folder: Path) -> bool:
    """Whether a seed's life was lived to its end."""
    if not (folder / "run.sqlite").is_file():
        return False
    with closing(RunStore(folder / "run.sqlite")) as store:
        row = store.run()
    return row is not None and row.phase == "waiting"
