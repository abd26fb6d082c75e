"""The reproductions that the understudy plays: under which conditions generations follow each other, and what was found.

Conditions are played one after another with one engine, each in a folder of its own under `out`, so that reproductions
which share a condition share its runs.  What the papers found is in `wmkml.laboratory.reproductions.claims`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from wmkml.config import Settings
from wmkml.laboratory.experiment import (
    Experiment,
    ExperimentRefusedError,
    GenerationPlan,
    check_experiment,
    write_description,
)
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import Outcome
from wmkml.laboratory.reproductions.claims import CLAIMS, Played, judge
from wmkml.laboratory.reproductions.results import ReproductionResult
from wmkml.laboratory.resources import start_resources
from wmkml.laboratory.runner import is_finished, run_seeds
from wmkml.models.devices import AUTO

PAIRS = 64
"""Human pairs that a lineage begins with, and answers of each of its generations."""

SETTINGS: Mapping[str, float] = {
    "finetuning.num_total_iters": 5,
    "finetuning.learning_rate": 0.009,
    "finetuning.learning_rate_increase": 0.0,
}
"""What reproductions set otherwise than config.yaml: five generations, all at one learning rate."""

PANEL, QUESTIONS = 40, 40
"""Answers that are measured of each generation, and questions it is examined with."""

PROBED = 2
"""Generations, the untouched model's among them, that must be measured before the rest is predicted."""

CONDITIONS: Mapping[str, GenerationPlan] = {
    "replace": GenerationPlan("replace", PAIRS),
    "accumulate": GenerationPlan("accumulate", PAIRS),
    "subsample": GenerationPlan("subsample", PAIRS),
    "10 % human": GenerationPlan("replace", PAIRS, human_share=0.1),
    "temperature 1": GenerationPlan("replace", PAIRS, continued=True),
    "temperature 0.7": GenerationPlan("replace", PAIRS, temperature=0.7, continued=True),
    "top-p 0.9": GenerationPlan("replace", PAIRS, top_p=0.9, continued=True),
    "5 beams": GenerationPlan("replace", PAIRS, beams=5, continued=True),
}
"""By name. Where nothing else is named, answers are sampled at temperature 1, top-p 1, and replace those before.

What is kept is compared as the papers do it, each generation from the untouched model. How answers are drawn is compared on
lineages that train on, which go further in as many generations."""


@dataclass(frozen=True)
class LineageOptions:
    """What is asked of a reproduction beyond its name.

    Attributes:
        settings: with `num_total_iters` generations and their learning rate.
        human: pairs to begin with, for other models than the understudy.
        device: where it is computed, as `--device` names it.
    """

    settings: Settings
    model: Path
    datasets: Path
    out: Path
    language: str = "en"
    seeds: tuple[int, ...] = (1, 2, 3)
    panel_size: int = PANEL
    exam_size: int = QUESTIONS
    pairs: int = PAIRS
    human: Path | None = None
    held_out: Path | None = None
    device: str = AUTO


def conditions_of(name: str) -> list[str]:
    """The conditions that a reproduction plays, by name."""
    return list(dict.fromkeys(condition for claim in CLAIMS[name].claims for condition in claim.conditions))


def experiment_of(condition: str, options: LineageOptions) -> Experiment:
    """The experiment that plays one condition."""
    return Experiment(
        settings=options.settings,
        model=options.model,
        datasets=options.datasets,
        language=options.language,
        seeds=options.seeds,
        visitors="quiet",
        out=options.out / condition.replace(" %", "").replace(" ", "-"),
        human=options.human,
        panel_size=options.panel_size,
        exam_size=options.exam_size,
        held_out=options.held_out,
        device=options.device,
        plan=dataclasses.replace(CONDITIONS[condition], pairs=options.pairs),
    )


async def reproduce_lineages(name: str, options: LineageOptions, progress: Progress) -> ReproductionResult:
    """Play the conditions of a reproduction that are not played yet in `options.out`, and judge them.

    Raises:
        ExperimentRefusedError: it cannot be done; nothing was begun.
        One of `resources.SETUP_ERRORS`: the settings cannot work here.
    """
    if options.out.exists() and not options.out.is_dir():
        raise ExperimentRefusedError(f"{options.out} is not a folder. Give another with --out.")
    experiments = {condition: experiment_of(condition, options) for condition in conditions_of(name)}
    for experiment in experiments.values():
        check_experiment(experiment, resume=True)
    clock = DurationClock(list(experiments.values()), progress.print_line)
    played: Played = {}
    async with start_resources(options.settings, options.model, options.device) as resources:
        for condition, experiment in experiments.items():
            progress.print_line(f"{condition}: {experiment.out}")
            with held(experiment.out):
                write_description(experiment)
                played[condition] = await run_seeds(resources, experiment, progress, on_measured=clock.measured)
    result = judge(name, played, options.language)
    rounds = options.settings.finetuning.num_total_iters
    result.setting = (
        f"{Path(options.settings.general.model_name).name}, {options.language}: {options.pairs} human pairs, then as many "
        f"answers a generation, {rounds} generations, {len(options.seeds)} seeds; means with 95 % intervals over seeds."
    )
    result.notes += _notes(played)
    return result


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a condition's folder: a second process there would take its unfinished lineage for an interrupted one."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ExperimentRefusedError(
            f"{folder} is being played by another program. Wait for it, or give another folder with --out."
        ) from None
    try:
        yield
    finally:
        lock.release()


class DurationClock:
    """Says how long all lineages will take, once the first has shown how long a generation takes."""

    def __init__(self, experiments: Sequence[Experiment], print_line: Callable[[str], None]) -> None:
        self._print_line, self._began, self._measured = print_line, 0.0, 0
        todo = [
            experiment
            for experiment in experiments
            for seed in experiment.seeds
            if not is_finished(experiment.out / f"seed-{seed}")
        ]
        self._done_before = sum(len(experiment.seeds) for experiment in experiments) - len(todo)
        self._costs = [cost for experiment in todo for cost in generation_costs(experiment)]
        print_line(
            f"{len(todo)} lineages to play"
            + (f", {self._done_before} are there already" if self._done_before else "")
            + ("; how long they take is said once the first has two generations." if todo else ".")
        )

    def measured(self) -> None:
        """Called after each generation is measured."""
        now = time.monotonic()
        if not self._measured:
            self._began = now  # what came before is the loading of dictionaries and embeddings, which is not repeated
        self._measured += 1
        if self._measured == PROBED:
            spent = sum(self._costs[1:PROBED])
            seconds = (now - self._began) * sum(self._costs[PROBED:]) / spent
            self._print_line(f"All lineages will take about {duration_text(seconds)}, if this machine stays as busy.")


def generation_costs(experiment: Experiment) -> list[float]:
    """What measuring the untouched model and then each generation costs, in units of measuring one.

    Training on one generation's pairs takes about as long as measuring; where pairs accumulate, generation k trains on
    k + 1 times as many.
    """
    assert experiment.plan is not None
    growing = experiment.plan.way == "accumulate"
    return [1.0, *(1.0 + (number + 1 if growing else 1) for number in range(experiment.rounds))]


def duration_text(seconds: float) -> str:
    """Seconds as words: "40 seconds", "12 minutes", "1.5 hours"."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _notes(played: Mapping[str, Outcome]) -> list[str]:
    notes = [
        f"{condition}, seed {seed}: {why}"
        for condition, outcome in played.items()
        for seed, why in outcome.end_reasons.items()
    ]
    reasons = {name: why for outcome in played.values() for name, why in outcome.not_measured().items()}
    return notes + [f"{name} is not measured: {why}." for name, why in reasons.items()]
