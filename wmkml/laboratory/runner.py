"""Run an experiment: one seed after another with the same engine and trainer; finished seeds are skipped on resuming.

Plot and summary are rewritten after every seed, so that Ctrl-C leaves what is finished.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import closing
from pathlib import Path

from wmkml.laboratory.experiment import Experiment, check_experiment, write_description
from wmkml.laboratory.plotting import plot
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import COLUMNS, MeasuresLine, Outcome, format_value, read_lines, summary
from wmkml.laboratory.resources import LaboratoryResources, start_resources
from wmkml.laboratory.simulation import Simulation, SimulationEndedError
from wmkml.runs import folder as runs
from wmkml.runs.store import RunStore

PLOT_FILE = "measures.png"
SUMMARY_FILE = "summary.json"


async def run_experiment(experiment: Experiment, progress: Progress, *, resume: bool = False) -> Outcome:
    """Check the experiment, start engine and trainer, and run every seed.

    Raises:
        ExperimentRefusedError: it cannot be done; nothing was begun.
        One of `resources.SETUP_ERRORS`: the settings cannot work here.
    """
    check_experiment(experiment, resume=resume)
    write_description(experiment)
    progress.where = experiment.title
    progress("loading the model", 0, 1)
    async with start_resources(experiment.settings, experiment.model) as resources:
        return await run_seeds(resources, experiment, progress)


async def run_seeds(resources: LaboratoryResources, experiment: Experiment, progress: Progress) -> Outcome:
    """Run every seed that is not finished; the experiment's folder and description must exist."""
    outcome = Outcome(experiment.title)
    for seed in experiment.seeds:
        folder = experiment.out / f"seed-{seed}"
        if not _is_finished(folder):
            if folder.exists():
                progress.print_line(f"seed {seed} was interrupted and begins anew")
                shutil.rmtree(folder)
            await _run_seed(resources, experiment, seed, progress, outcome)
        lines = read_lines(folder)
        if len(lines) <= experiment.rounds:
            outcome.end_reasons.setdefault(seed, f"it ended before round {len(lines) - 1} was trained")
        outcome.lines[seed], outcome.seconds[seed] = lines, lines[-1]["seconds"]
        plot(outcome, experiment.out / PLOT_FILE)
        text = json.dumps(summary(outcome, experiment.description(), experiment.out), ensure_ascii=False, indent=1)
        (experiment.out / SUMMARY_FILE).write_text(text, encoding="utf-8")
    return outcome


async def _run_seed(
    resources: LaboratoryResources, experiment: Experiment, seed: int, progress: Progress, outcome: Outcome
) -> None:
    folder, store = runs.create_run(
        experiment.out,
        f"seed-{seed}",
        experiment.language,
        experiment.settings,
        "laboratory",
        {"seed": seed, **{name: value for name, value in experiment.description().items() if name != "settings"}},
    )
    began = time.monotonic()
    iteration = -1

    def on_progress(task: str, done: int, total: int) -> None:
        progress.where = f"seed {seed}, after iteration {iteration}"
        progress(task, done, total)

    def on_measured(line: MeasuresLine) -> None:
        nonlocal iteration
        iteration = line["iteration"]
        values = ", ".join(f"{COLUMNS[name]} {format_value(name, line[name])}" for name in COLUMNS if name in line)
        progress.print_line(f"seed {seed}, iteration {iteration}: {values} ({time.monotonic() - began:.0f} s)")

    with closing(store):
        try:
            await Simulation(experiment, resources, seed, folder, store, on_progress, on_measured).run()
        except SimulationEndedError as end:
            progress.print_line(f"seed {seed}: {end}")
            outcome.end_reasons[seed] = str(end)
            store.set_phase("waiting", time.monotonic() - began)


def _is_finished(folder: Path) -> bool:
    """Whether a seed's run was played to its end."""
    if not (folder / "run.sqlite").is_file():
        return False
    with closing(RunStore(folder / "run.sqlite")) as store:
        row = store.run()
    return row is not None and row.phase == "waiting"
