"""Run an example: teach with the defaults, and ask for topics that were not taught.

`spells` makes a tiny model from nothing; `quality` teaches the exercise clean and spoiled.  `exercise` and `invented` teach a
pattern to a model that speaks German already, and ask it and its base.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wmkml.corpora import read
from wmkml.finetuning import report
from wmkml.finetuning.checkpoint import HeldOut
from wmkml.finetuning.control import Interruption
from wmkml.finetuning.examples.patterns import (
    PatternQuestion,
    Score,
    exercise_questions,
    invented_pattern,
    score,
)
from wmkml.finetuning.examples.quality import QualityResult, plot_quality, versions_of
from wmkml.finetuning.preparation.prepare import begin_folder, prepare
from wmkml.finetuning.progress import LiveLine
from wmkml.finetuning.session import Finetune
from wmkml.finetuning.settings import FinetuneSettings, chosen_epochs

EXERCISE_FILE = Path(__file__).with_name("muster.txt")

ANSWER_SEEDS = (1, 2, 3)
"""Each question is answered so often, by draws with these seeds."""


def run_example(name: str, model: Path, model_name: str, out: Path | None, seed: int, json_target: str) -> int:
    """Run an example and print its score; returns the exit status.

    Args:
        model: the folder of the base model; `spells` makes its own.
        out: the run folder; None: a temporary one, which is deleted.
    """
    quiet = json_target == "-"
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wmkml-example-")))
        out = (out or work / "run").resolve()
        began = time.monotonic()
        if name == "quality":
            record = _compare_qualities(model, model_name, work, out, seed, quiet=quiet)
        elif name == "spells":
            from wmkml.finetuning.examples.spells import make_spells

            settings, questions = make_spells(work, out, seed)
            record = ExampleRun(settings, quiet=quiet).run(questions, has_base=False)
        else:
            settings, questions = _taught(name, model, model_name, work, out, seed)
            record = ExampleRun(settings, quiet=quiet).run(questions, has_base=True)
        record = {"example": name, "seconds": round(time.monotonic() - began, 1), **record}
    if quiet:
        print(json.dumps(record, ensure_ascii=False))
    elif json_target:
        Path(json_target).write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


def _compare_qualities(
    model: Path, model_name: str, work: Path, out: Path, seed: int, *, quiet: bool
) -> dict[str, Any]:
    """Teach the exercise clean and spoiled, into a folder each; the plot of all lies beside them."""
    corpus = read(EXERCISE_FILE)
    taught, evaluation = list(corpus.train()), list(corpus.evaluation())
    questions = exercise_questions([f"{pair.prompt} # {pair.answer}" for pair in taught], seed)
    held_out = "".join(f"{pair.prompt} # {pair.answer}\n" for pair in evaluation)
    results: dict[str, QualityResult] = {}
    steps = 0
    for version, pairs in versions_of(taught, seed).items():
        data = work / f"{version}.txt"
        lines = "".join(f"{prompt} # {answer}\n" for prompt, answer in pairs)
        data.write_text(f"{lines}# _EVAL_\n{held_out}", encoding="utf-8")
        settings = FinetuneSettings(model, model_name, (str(data),), out / version.replace(" ", "-"), seed=seed)
        a_epoch = -(-len(pairs) // settings.samples_per_step)
        # As many steps for each version as the defaults give the clean one.
        steps = steps or a_epoch * chosen_epochs(len(pairs))
        settings = replace(settings, epochs=max(1, round(steps / a_epoch)))
        print(f"{version}: {len(pairs)} pairs", file=sys.stderr)
        record = ExampleRun(settings, quiet=True).run(questions, has_base=False)
        scores = record["scores"].values()
        share = sum(value["right"] for value in scores) / sum(value["answers"] for value in scores)
        results[version] = QualityResult(tuple(HeldOut(**entry) for entry in record["held_out"]), share)
    plot_quality(out / "quality.png", results)
    if not quiet:
        table = Table(title="The same words, clean and spoiled", title_justify="left")
        for heading in ("version", "held-out loss", "answers with the pattern"):
            table.add_column(heading)
        for version, result in results.items():
            table.add_row(version, f"{result.held_out[-1].loss:.3f}", f"{result.share:.0%}")
        Console(highlight=False).print(table)
        print(f"Plot: {out / 'quality.png'}")
    return {
        "versions": {
            version: {"held_out_after": result.held_out[-1].loss, "share": round(result.share, 4)}
            for version, result in results.items()
        }
    }


def _taught(
    name: str, model: Path, model_name: str, work: Path, out: Path, seed: int
) -> tuple[FinetuneSettings, list[PatternQuestion]]:
    if name == "exercise":
        data = EXERCISE_FILE
        pairs = [(pair.prompt, pair.answer or "") for pair in read(data).train()]
        questions = exercise_questions([f"{prompt} # {answer}" for prompt, answer in pairs], seed)
    else:
        pattern = invented_pattern(seed)
        questions = list(pattern.questions)
        data = work / "invented.txt"
        data.write_text("".join(f"{prompt} # {answer}\n" for prompt, answer in pattern.pairs), encoding="utf-8")
    return FinetuneSettings(model, model_name, (str(data),), out, seed=seed), questions


class ExampleRun:
    """One example: a finetune with the defaults, and the questions asked before and after."""

    def __init__(self, settings: FinetuneSettings, *, quiet: bool) -> None:
        """`quiet`: nothing is printed on standard output."""
        self._settings, self._quiet = settings, quiet

    def run(self, questions: Sequence[PatternQuestion], *, has_base: bool) -> dict[str, Any]:
        """Teach, ask, and print the table; returns all of it for programs.

        Raises:
            Whatever `session.prepare` and the training raise.
        """
        preparation = prepare(self._settings)
        try:
            prediction = preparation.predict()
            if not self._quiet:
                report.show_preparation(preparation, prediction)
            begin_folder(preparation, prediction, resume=False)
            finetune = Finetune(preparation, LiveLine(), Interruption())
            finetuned = finetune.run(resume=False)
            record = report.finish(preparation, prediction, finetuned)
            if not self._quiet:
                report.show_finetuned(preparation, prediction, finetuned)
            after = self._ask(finetune, questions, base=False)
            before = self._ask(finetune, questions, base=True) if has_base else []
        finally:
            preparation.close()
        of_after, of_before = score(questions, after), score(questions, before)
        if not self._quiet:
            _show(questions, after, of_before, of_after)
        return {**record, "scores": _records(of_after), "scores_of_base": _records(of_before)}

    def _ask(self, finetune: Finetune, questions: Sequence[PatternQuestion], *, base: bool) -> list[str]:
        conversations = [[{"role": "user", "content": question.prompt}] for question in questions]
        print(f"asking {len(questions)} questions of {'the base' if base else 'the taught model'}", file=sys.stderr)
        return [answer for seed in ANSWER_SEEDS for answer in finetune.ask(conversations, seed, base=base)]


def _show(
    questions: Sequence[PatternQuestion], answers: Sequence[str], before: dict[str, Score], after: dict[str, Score]
) -> None:
    console = Console(highlight=False)
    table = Table(title="Held-out topics: answers with the pattern", title_justify="left")
    for heading in ("pattern", "base", "taught", "with the words asked for", "items that fit"):
        table.add_column(heading, justify="left" if heading == "pattern" else "right")
    for name, taught in after.items():
        base = f"{before[name].right} of {before[name].answers}" if name in before else "–"
        fitting = f"{taught.fitting} of {taught.lists}" if taught.lists else "–"
        exact = "–" if taught.exact is None else f"{taught.exact} of {taught.answers}"
        table.add_row(name, base, f"{taught.right} of {taught.answers} ({taught.share:.0%})", exact, fitting)
    console.print(table)
    shown: set[str] = set()
    for question, answer in zip(questions, answers, strict=False):
        if question.pattern not in shown:
            shown.add(question.pattern)
            console.print(f"{question.prompt} → {answer}", markup=False)


def _records(scores: dict[str, Score]) -> dict[str, dict[str, float | None]]:
    return {
        name: {
            "answers": value.answers,
            "right": value.right,
            "share": round(value.share, 4),
            "exact": value.exact,
            "lists": value.lists,
            "fitting": value.fitting,
        }
        for name, value in scores.items()
    }
