"""Run an experiment: one seed after another with the same engine and trainer; finished seeds are skipped on resuming.

Plot and summary are rewritten after every seed that is played, and after the last, so that Ctrl-C leaves what is finished.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from wmkml.laboratory.analysis.figures import save_figure
from wmkml.laboratory.experiment import Experiment, check_experiment, write_description
from wmkml.laboratory.plotting import draw
from wmkml.laboratory.profile.figures import profile_figure
from wmkml.laboratory.profile.profile import profile
from wmkml.laboratory.progress import Progress, RoundClock
from wmkml.laboratory.report import COLUMNS, MeasuresLine, Outcome, format_value, read_lines, summary
from wmkml.laboratory.reproductions.generations import GenerationSimulation
from wmkml.laboratory.resources import LaboratoryResources, start_resources
from wmkml.laboratory.simulation import Simulation, SimulationEndedError
from wmkml.policy.schedules import sample_count
from wmkml.runs import folder as runs
from wmkml.runs.store import RunStore

PLOT_FILE = "measures.png"
"""Beside it the same as SVG."""
SUMMARY_FILE = "summary.json"
PROFILE_FIGURE = "profile"
"""The name of the profile's figure, without `.png` and `.svg`."""


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
    async with start_resources(experiment.settings, experiment.model, experiment.device) as resources:
        return await run_seeds(resources, experiment, progress)


async def run_seeds(
    resources: LaboratoryResources,
    experiment: Experiment,
    progress: Progress,
    on_measured: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run every seed that is not finished; the experiment's folder and description must exist.

    Args:
        on_measured: called after each iteration is measured.
    """
    outcome = Outcome(experiment.title)
    left = [seed for seed in experiment.seeds if not is_finished(experiment.out / f"seed-{seed}")]
    # Lineages have a clock of their own over all their conditions.
    clock = RoundClock(round_weights(experiment), len(left), progress.print_line) if experiment.plan is None else None

    def after_measuring(iteration: int) -> None:
        on_measured()
        if clock is not None:
            clock.measured(iteration)

    for seed in experiment.seeds:
        folder = experiment.out / f"seed-{seed}"
        played = not is_finished(folder)
        if played:
            if folder.exists():
                progress.print_line(f"seed {seed} was interrupted and begins anew")
                shutil.rmtree(folder)
            await _run_seed(resources, experiment, seed, progress, outcome, after_measuring)
        lines = read_lines(folder)
        if not lines:
            outcome.end_reasons.setdefault(seed, "it ended before anything was measured")
            continue
        if len(lines) <= experiment.rounds:
            outcome.end_reasons.setdefault(seed, f"it ended before round {len(lines) - 1} was trained")
        outcome.lines[seed], outcome.seconds[seed] = lines, lines[-1]["seconds"]
        if played or seed == experiment.seeds[-1]:
            _write_results(outcome, experiment)
    return outcome


def _write_results(outcome: Outcome, experiment: Experiment) -> None:
    """Write plot, profile and summary of the seeds that were played until now."""
    # Lineages are drawn by their reproduction, several conditions in one figure.
    if experiment.plan is None:
        save_figure(draw(outcome), (experiment.out / PLOT_FILE).with_suffix(""))
        figure = profile_figure(profile(outcome.lines), outcome.title)
        save_figure(figure, experiment.out / PROFILE_FIGURE)
    text = json.dumps(results(outcome, experiment), ensure_ascii=False, indent=1)
    (experiment.out / SUMMARY_FILE).write_text(text, encoding="utf-8")


def round_weights(experiment: Experiment) -> list[float]:
    """What each round takes, in units of the first: half of it is measuring, the rest grows with its samples."""
    tuning = experiment.settings.finetuning
    first = max(1, sample_count(tuning, 0))
    return [(1.0 + sample_count(tuning, number) / first) / 2 for number in range(experiment.rounds)]


def results(outcome: Outcome, experiment: Experiment) -> dict[str, Any]:
    """Everything that came out, for programs: the means of all measures, and the profile."""
    described = summary(outcome, experiment.description(), experiment.out)
    return {**described, "profile": profile(outcome.lines).as_json()}


async def _run_seed(
    resources: LaboratoryResources,
    experiment: Experiment,
    seed: int,
    progress: Progress,
    outcome: Outcome,
    after_measuring: Callable[[int], None],
) -> None:
    folder, store = runs.create_run(
        experiment.out,
        f"seed-{seed}",
        experiment.language,
        experiment.settings,
        "laboratory",
        {"seed": seed, **{name: value for name, value in experiment.description().items() if name != "settings"}},
    )
    simulation = Simulation if experiment.plan is None else GenerationSimulation
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
        after_measuring(iteration)

    def on_prediction(sentence: str) -> None:
        progress.print_line(f"seed {seed}: {sentence}")

    with closing(store):
        try:
            await simulation(experiment, resources, seed, folder, store, on_progress, on_measured, on_prediction).run()
        except SimulationEndedError as end:
            progress.print_line(f"seed {seed}: {end}")
            outcome.end_reasons[seed] = str(end)
            store.set_phase("waiting", time.monotonic() - began)


def is_finished(folder: Path) -> bool:
    """Whether a seed's run was played to its end."""
    if not (folder / "run.sqlite").is_file():
        return False
    with closing(RunStore(folder / "run.sqlite")) as store:
        row = store.run()
    return row is not None and row.phase == "waiting"
