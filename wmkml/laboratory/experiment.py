"""The description of an experiment (model, language, visitors, old and human text), and the check that it can be done.

No model is loaded here.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from wmkml.config import UNDERSTUDY, Settings
from wmkml.config.paths import SHIPPED_PANEL
from wmkml.corpora import list_datasets, read_dataset
from wmkml.laboratory.human import HumanTextError, read_human_pairs
from wmkml.laboratory.memory import memory_problem
from wmkml.measures.panel.prompts import PanelFileError, PanelPrompt, panel_prompts, with_persistent
from wmkml.models.devices import AUTO, DeviceMissingError, find_device
from wmkml.policy.pair_selection import Keeping
from wmkml.system import durable_files

VisitorKind = Literal["quiet", "talkative", "bilingual"]

PANEL = yaml.safe_load(Path(__file__).with_name("panel.yaml").read_text(encoding="utf-8"))
"""By language, the fixed prompts that every iteration answers to be measured."""

TRAINING_RECORD = "training.json"
"""The file that `understudy build` leaves beside a model."""

DESCRIPTION_FILE = "experiment.json"
"""The file in the experiment's folder that describes what its runs have in common; compared on resuming."""


@dataclass(frozen=True)
class VisitorProfile:
    """A crowd of visitors: stations, prompts per station and round, and whether stations use all languages in turn."""

    stations: int
    prompts: int
    all_languages: bool = False


VISITOR_PROFILES: Mapping[VisitorKind, VisitorProfile] = {
    "quiet": VisitorProfile(1, 2),
    "talkative": VisitorProfile(6, 2),
    "bilingual": VisitorProfile(6, 2, all_languages=True),
}
"""A shy person alone; a room full of people; and one in which every other station speaks another language."""


@dataclass(frozen=True)
class GenerationPlan:
    """The literature's experiment in place of an exhibition's: generations, each on text that earlier ones wrote.

    Generation 0 is trained on human pairs, every later one on answers to the same prompts; nobody visits.

    Attributes:
        way: what a generation is trained on: the answers of the one before (`replace`), all that there is, human pairs
            included (`accumulate`), or a sample of that as large as one generation's (`subsample`).
        pairs: human pairs, and answers of each generation.
        human_share: share (0 to 1) of every generation's samples that stay human.
        beams: search with so many beams instead of sampling; 0: sample.
        continued: train on from the generation before; False: each from the untouched model.
    """

    way: Literal["replace", "accumulate", "subsample"] = "replace"
    pairs: int = 120
    human_share: float = 0.0
    temperature: float = 1.0
    top_p: float = 1.0
    beams: int = 0
    continued: bool = False


class ExperimentRefusedError(ValueError):
    """The experiment cannot be done.  The message says why, and what to do."""


@dataclass(frozen=True)
class Experiment:
    """The parameters of an experiment.

    Attributes:
        settings: the cluster's settings; `num_total_iters` is the number of rounds.
        model: the folder of the model.
        datasets: the folder of the prompt sets.
        seeds: one run each.
        out: the folder the runs are written to.
        human_share: share of human pairs among each round's samples, 0 to 1.
        human: a file of human prompts and answers; None: the understudy's generator writes them.
        panel_size: of the measured prompts, how many every iteration answers; there are 50 in each language.
        panel_answers: answers of every iteration to each prompt of the installation's panel; 0: it is not asked.
        panel_file: the file with the panel's prompts.
        exam_size: questions about the understudy's world that every iteration is asked; 0: none.
        held_out: a file of human pairs that every iteration reads and none is trained on; None: the understudy's
            generator writes them, and other models read none.
        plan: generations of the literature's kind; None: an exhibition's rounds.
        device: where it is computed, as `--device` names it; no part of what the experiment is.
    """

    settings: Settings
    model: Path
    datasets: Path
    language: str
    seeds: tuple[int, ...]
    visitors: VisitorKind
    out: Path
    keeping: Keeping = "installation"
    human_share: float = 0.0
    human: Path | None = None
    panel_size: int = 50
    exam_size: int = 150
    panel_answers: int = 0
    panel_file: Path = SHIPPED_PANEL
    held_out: Path | None = None
    plan: GenerationPlan | None = None
    device: str = AUTO

    @property
    def rounds(self) -> int:
        """The number of rounds of a run."""
        return self.settings.finetuning.num_total_iters

    @property
    def is_understudy(self) -> bool:
        """Whether the model is the understudy or built like it: it can be examined and has a generator of text."""
        return self.settings.general.model_name == UNDERSTUDY or (self.model / TRAINING_RECORD).is_file()

    @property
    def title(self) -> str:
        """A one-line title for plots and progress lines."""
        model = Path(self.settings.general.model_name).name
        if self.plan is not None:
            return f"{model}, {self.language}, {plan_title(self.plan)}"
        human = f", {self.human_share:.0%} human" if self.human_share else ""
        return f"{model}, {self.language}, {self.visitors} visitors, {self.keeping}{human}"

    def description(self) -> dict[str, Any]:
        """All parameters except the seeds, for files; compared as a whole when an experiment is resumed."""
        return {
            "language": self.language,
            "visitors": self.visitors,
            "keeping": self.keeping,
            "human_share": self.human_share,
            "human": str(self.human) if self.human else None,
            "measured": self.panel_size,
            "examined": self.exam_size,
            "panel_answers": self.panel_answers,
            "model": self.settings.general.model_name,
            "held_out": str(self.held_out) if self.held_out else None,
            "plan": dataclasses.asdict(self.plan) if self.plan else None,
            "settings": self.settings.model_dump(mode="json"),
        }

    @property
    def panel(self) -> list[PanelPrompt]:
        """The prompts of the installation's panel, the persistent one among them; none where it is not asked.

        Raises:
            PanelFileError: the file cannot be used.
        """
        if not self.panel_answers:
            return []
        persistent = self.settings.persistent_prompt(self.language)
        return with_persistent(panel_prompts(self.panel_file, self.language), persistent)

    @property
    def station_languages(self) -> list[str]:
        """The languages that stations use in turn: the run's and, with some profiles, all others with a panel."""
        others = [language for language in self.settings.languages if language in PANEL and language != self.language]
        return [self.language, *others] if VISITOR_PROFILES[self.visitors].all_languages else [self.language]

    def visitor_prompts(self, language: str) -> list[str]:
        """The prompts visitors draw from: those of all allowed data sets whose name ends with `_language`."""
        names = [name for name in list_datasets(self.datasets) if name.endswith(f"_{language}")]
        if allowed := self.settings.general.available_datasets:
            names = [name for name in names if name in allowed]
        return list(dict.fromkeys(prompt for name in names for prompt in read_dataset(self.datasets, name).prompts))


def plan_title(plan: GenerationPlan) -> str:
    """A plan in a few words."""
    drawn = f"{plan.beams} beams" if plan.beams else f"temperature {plan.temperature:g}"
    if not plan.beams and plan.top_p < 1.0:
        drawn += f", top-p {plan.top_p:g}"
    human = f", {plan.human_share:.0%} human" if plan.human_share else ""
    return f"{plan.way}{human}, {drawn}, {plan.pairs} pairs a generation"


def seeded_random(seed: int, *purpose: str | int) -> random.Random:
    """A random source for one purpose of one run; draws for other purposes do not affect it."""
    return random.Random(":".join(map(str, (seed, *purpose))))


def check_experiment(experiment: Experiment, *, resume: bool) -> None:
    """Check that the experiment can be done.

    Args:
        resume: allow `out` to hold unfinished runs of the same experiment.

    Raises:
        ExperimentRefusedError: it cannot.
    """
    languages = [language for language in experiment.settings.languages if language in PANEL]
    if experiment.language not in languages:
        raise ExperimentRefusedError(
            f"--language: {experiment.language} is not known here; there are: {', '.join(languages)}."
        )
    if experiment.visitors not in get_args(VisitorKind):
        raise ExperimentRefusedError(f"--visitors: one of {', '.join(get_args(VisitorKind))}.")
    if not experiment.seeds:
        raise ExperimentRefusedError("--seeds: at least 1.")
    if not 0.0 <= experiment.human_share <= 1.0:
        raise ExperimentRefusedError(f"--human-share: {experiment.human_share:g} is not allowed; allowed: 0 to 1.")
    if experiment.panel_size > len(PANEL[experiment.language]):
        raise ExperimentRefusedError(
            f"--measured: there are {len(PANEL[experiment.language])} prompts to measure with, not {experiment.panel_size}."
        )
    try:
        _ = experiment.panel
    except PanelFileError as error:
        raise ExperimentRefusedError(str(error)) from None
    human: list[tuple[str, str]] = []
    if experiment.human is not None:
        try:
            human = read_human_pairs(experiment.human)
        except HumanTextError as error:
            raise ExperimentRefusedError(f"--human: {error}") from None
        if not experiment.human_share and experiment.plan is None:
            raise ExperimentRefusedError(
                "--human needs --human-share: which share of a round's samples it is, above 0."
            )
    elif (experiment.human_share or experiment.plan) and not experiment.is_understudy:
        needing = "--reproduce" if experiment.plan else "--human-share"
        raise ExperimentRefusedError(
            f"{needing} needs --human FILE with this model: a CSV with the columns prompt and answer, "
            "written by people. Only the understudy brings such text with it."
        )
    if experiment.held_out is not None:
        try:
            held_out = read_human_pairs(experiment.held_out)
        except HumanTextError as error:
            raise ExperimentRefusedError(f"--held-out: {error}") from None
        if both := set(held_out) & set(human):
            raise ExperimentRefusedError(
                f"--held-out and --human have {len(both)} pairs in common, so that a round might train on what is to stay unread. "
                "Divide them."
            )
    try:
        device = find_device(experiment.device)
    except DeviceMissingError as error:
        raise ExperimentRefusedError(str(error)) from None
    if not (experiment.model / "config.json").is_file():
        raise ExperimentRefusedError(
            f"{experiment.model} holds no model (no config.json). Fetch it with `python -m wmkml download`."
        )
    if problem := memory_problem(experiment.settings, experiment.model, device):
        raise ExperimentRefusedError(problem)
    if VISITOR_PROFILES[experiment.visitors].all_languages and len(experiment.station_languages) == 1:
        raise ExperimentRefusedError(
            f"--visitors {experiment.visitors}: inference.system_prompts holds no language beside {experiment.language}."
        )
    # Where generations follow each other nobody visits.
    for language in experiment.station_languages if experiment.plan is None else ():
        if not experiment.visitor_prompts(language):
            raise ExperimentRefusedError(
                f"{experiment.datasets} holds no prompt set for visitors: a folder whose name ends with "
                f"_{language} and that available_datasets allows."
            )
    _check_out_folder(experiment, resume=resume)


def _check_out_folder(experiment: Experiment, *, resume: bool) -> None:
    out, description = experiment.out, experiment.out / DESCRIPTION_FILE
    if out.exists() and not out.is_dir():
        raise ExperimentRefusedError(f"{out} is not a folder. Give another with --out.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not resume:
        raise ExperimentRefusedError(
            f"{out} is not empty. Give another folder with --out, or go on in it with --resume."
        )
    try:
        previous = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ExperimentRefusedError(
            f"{out} holds no experiment to go on with ({DESCRIPTION_FILE} cannot be read)."
        ) from None
    if previous != json.loads(json.dumps(experiment.description())):
        raise ExperimentRefusedError(
            f"{out} holds another experiment: its settings differ. Give another folder with --out."
        )


def write_description(experiment: Experiment) -> None:
    """Create the experiment's folder and write its description."""
    experiment.out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(experiment.description(), ensure_ascii=False, indent=1)
    durable_files.write(experiment.out / DESCRIPTION_FILE, content.encode())
