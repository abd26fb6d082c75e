"""An experiment: what is killed, in which language, by how many visitors, with which old and human texts; checked whole.

Reads prompts and checks; loads no model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from wmkml import durable
from wmkml.choosing import Keeping
from wmkml.config import UNDERSTUDY, Settings
from wmkml.corpora import list_datasets, read_dataset
from wmkml.laboratory.human import HumanUnusable, read_human

VisitorKind = Literal["quiet", "talkative", "bilingual"]

MEASURED = yaml.safe_load(Path(__file__).with_name("measured.yaml").read_text(encoding="utf-8"))
"""By language, what every iteration is asked to measure how it speaks."""

BUILT_HERE = "training.json"
"""The file that `understudy build` leaves beside a model."""

DESCRIPTION = "experiment.json"
"""The file that tells what the runs beside it have in common."""


@dataclass(frozen=True)
class Visitors:
    """How many stations are spoken at, how many prompts each hears while a round trains, and in one language or in all."""

    stations: int
    prompts: int
    all_languages: bool = False


VISITORS: Mapping[VisitorKind, Visitors] = {
    "quiet": Visitors(1, 2),
    "talkative": Visitors(6, 2),
    "bilingual": Visitors(6, 2, all_languages=True),
}
"""A shy person alone, a room full of people, and one in which every other station speaks another language."""


class ExperimentRefused(ValueError):
    """What is asked for cannot be done.  Its text says why, and what to do."""


@dataclass(frozen=True)
class Experiment:
    """What the laboratory is to do.

    Attributes:
        settings: as the cluster's; `num_total_iters` is the number of rounds.
        model: the folder of the model that dies.
        datasets: the folder of the prompt sets.
        seeds: each is one run.
        human_share: of each round's samples, 0 to 1.
        human: a CSV of prompts and answers; the understudy needs none.
        out: the folder that the runs are written in.
        measured: how many prompts every iteration answers to be measured; there are 50 of each language.
        examined: how many questions of the understudy's world every iteration is asked; 0: none.
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
    measured: int = 50
    examined: int = 150

    @property
    def rounds(self) -> int:
        """How many rounds a run has."""
        return self.settings.finetuning.num_total_iters

    @property
    def of_understudy(self) -> bool:
        """Whether the understudy dies, or one built like it: it can be examined, and brings human-like text of its own."""
        return self.settings.general.model_name == UNDERSTUDY or (self.model / BUILT_HERE).is_file()

    @property
    def title(self) -> str:
        """What tells this experiment from others, in words."""
        model = Path(self.settings.general.model_name).name
        human = f", {self.human_share:.0%} human" if self.human_share else ""
        return f"{model}, {self.language}, {self.visitors} visitors, {self.keeping}{human}"

    def described(self) -> dict[str, Any]:
        """Everything about it but its seeds, for files."""
        return {
            "language": self.language,
            "visitors": self.visitors,
            "keeping": self.keeping,
            "human_share": self.human_share,
            "human": str(self.human) if self.human else None,
            "measured": self.measured,
            "examined": self.examined,
            "model": self.settings.general.model_name,
            "settings": self.settings.model_dump(mode="json"),
        }

    @property
    def spoken(self) -> list[str]:
        """The languages of the stations, in turn: the run's, and with some visitors the others that are known."""
        others = [one for one in self.settings.languages if one in MEASURED and one != self.language]
        return [self.language, *others] if VISITORS[self.visitors].all_languages else [self.language]

    def visitors_prompts(self, language: str) -> list[str]:
        """What visitors may say in a language: every prompt of the sets whose name ends with it."""
        names = [name for name in list_datasets(self.datasets) if name.endswith(f"_{language}")]
        if allowed := self.settings.general.available_datasets:
            names = [name for name in names if name in allowed]
        return list(dict.fromkeys(prompt for name in names for prompt in read_dataset(self.datasets, name).prompts))


def drawing(seed: int, *purpose: str | int) -> random.Random:
    """The random source of one purpose of one seed; what other purposes draw does not move it."""
    return random.Random(":".join(map(str, (seed, *purpose))))


def check(experiment: Experiment, *, resume: bool) -> None:
    """That it can be done.

    Raises:
        ExperimentRefused: it cannot.
    """
    languages = [one for one in experiment.settings.languages if one in MEASURED]
    if experiment.language not in languages:
        raise ExperimentRefused(
            f"--language: {experiment.language} is not known here; there are: {', '.join(languages)}."
        )
    if experiment.visitors not in get_args(VisitorKind):
        raise ExperimentRefused(f"--visitors: one of {', '.join(get_args(VisitorKind))}.")
    if not experiment.seeds:
        raise ExperimentRefused("--seeds: at least 1.")
    if not 0.0 <= experiment.human_share <= 1.0:
        raise ExperimentRefused(f"--human-share: {experiment.human_share:g} is not allowed; allowed: 0 to 1.")
    if experiment.measured > len(MEASURED[experiment.language]):
        raise ExperimentRefused(
            f"--measured: there are {len(MEASURED[experiment.language])} prompts to measure with, not {experiment.measured}."
        )
    if experiment.human is not None:
        try:
            read_human(experiment.human)
        except HumanUnusable as error:
            raise ExperimentRefused(f"--human: {error}") from None
        if not experiment.human_share:
            raise ExperimentRefused("--human needs --human-share: which share of a round's samples it is, above 0.")
    elif experiment.human_share and not experiment.of_understudy:
        raise ExperimentRefused(
            "--human-share needs --human FILE with this model: a CSV with the columns prompt and answer, "
            "written by people. Only the understudy brings such text with it."
        )
    if not (experiment.model / "config.json").is_file():
        raise ExperimentRefused(f"{experiment.model} holds no model (no config.json). Fetch it with download_model.py.")
    if VISITORS[experiment.visitors].all_languages and len(experiment.spoken) == 1:
        raise ExperimentRefused(
            f"--visitors {experiment.visitors}: inference.system_prompts holds no language beside {experiment.language}."
        )
    for language in experiment.spoken:
        if not experiment.visitors_prompts(language):
            raise ExperimentRefused(
                f"{experiment.datasets} holds no prompt set for visitors: a folder whose name ends with "
                f"_{language} and that available_datasets allows."
            )
    _check_place(experiment, resume=resume)


def _check_place(experiment: Experiment, *, resume: bool) -> None:
    out, description = experiment.out, experiment.out / DESCRIPTION
    if out.exists() and not out.is_dir():
        raise ExperimentRefused(f"{out} is not a folder. Give another with --out.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not resume:
        raise ExperimentRefused(f"{out} is not empty. Give another folder with --out, or go on in it with --resume.")
    try:
        there = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ExperimentRefused(f"{out} holds no experiment to go on with ({DESCRIPTION} cannot be read).") from None
    if there != json.loads(json.dumps(experiment.described())):
        raise ExperimentRefused(f"{out} holds another experiment: its settings differ. Give another folder with --out.")


def describe(experiment: Experiment) -> None:
    """Make the folder and write down what its runs have in common."""
    experiment.out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(experiment.described(), ensure_ascii=False, indent=1)
    durable.write(experiment.out / DESCRIPTION, content.encode())
