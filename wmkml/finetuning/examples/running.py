"""Run an example: teach with the defaults, and ask for topics that were not taught.

`spells` makes a tiny model from nothing; `quality` teaches the exercise clean and spoiled.  `exercise` and `invented` teach a
pattern to a model that speaks German already, and ask it and its base.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wmkml.corpora import read
from wmkml.finetuning import report
from wmkml.finetuning.checkpoint import HeldOut
from wmkml.finetuning.control import interruption
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
from wmkml.finetuning.settings import FinetuneRefusedError, FinetuneSettings, chosen_epochs

EXERCISE_FILE = Path(__file__).with_name("muster.txt")

ANSWER_SEEDS = (1, 2, 3)
"""Each question is answered so often, by draws with these seeds."""


@dataclass(frozen=True)
class ExampleOptions:
    """How an example is run.

    Attributes:
        quiet: nothing is printed on standard output.
        dry_run: it stops before it trains.
        anyway: it trains although it is predicted not to fit.
        kept: its run folder was asked for; else it lies in a temporary one, which is deleted.
    """

    quiet: bool = False
    dry_run: bool = False
    anyway: bool = False
    kept: bool = False


def run_example(name: str, given: FinetuneSettings, options: ExampleOptions) -> tuple[dict[str, Any], bool]:
    """Run an example and print its score; returns all of it for programs, and whether it fits into memory.

    Args:
        given: the settings that were asked for; model, words and folder are the example's where it has its own.

    Raises:
        FinetuneRefusedError, BaseMissingError: it cannot be done, or would not fit.
        KeyboardInterrupt: Ctrl-C; an example does not go on later.
        Whatever `session.Finetune.run` raises.
    """
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wmkml-example-")))
        given = given if options.kept else replace(given, out=work / "run")
        began = time.monotonic()
        if name == "quality":
            record, fits = _compare_qualities(work, given, options)
        elif name == "spells":
            from wmkml.finetuning.examples.spells import make_spells

            settings, questions = make_spells(work, given)
            record, fits = ExampleRun(settings, options).run(questions, has_base=False)
        else:
            settings, questions = _taught(name, work, given)
            record, fits = ExampleRun(settings, options).run(questions, has_base=not given.full)
        return {"example": name, "seconds": round(time.monotonic() - began, 1), **record}, fits


def _compare_qualities(work: Path, given: FinetuneSettings, options: ExampleOptions) -> tuple[dict[str, Any], bool]:
    """Teach the exercise clean and spoiled, into a folder each; the plot of all lies beside them."""
    corpus = read(EXERCISE_FILE)
    taught, evaluation = list(corpus.train()), list(corpus.evaluation())
    questions = exercise_questions([f"{pair.prompt} # {pair.answer}" for pair in taught], given.seed)
    held_out = "".join(f"{pair.prompt} # {pair.answer}\n" for pair in evaluation)
    results: dict[str, QualityResult] = {}
    predicted: dict[str, Any] = {}
    steps, all_fit = 0, True
    for version, pairs in versions_of(taught, given.seed).items():
        data = work / f"{version}.txt"
        lines = "".join(f"{prompt} # {answer}\n" for prompt, answer in pairs)
        data.write_text(f"{lines}# _EVAL_\n{held_out}", encoding="utf-8")
        a_epoch = -(-len(pairs) // given.samples_per_step)
        # As many steps for each version as are taken for the clean one.
        steps = steps or a_epoch * (given.epochs or chosen_epochs(len(pairs)))
        epochs = max(1, round(steps / a_epoch))
        settings = replace(given, data=(str(data),), out=given.out / version.replace(" ", "-"), epochs=epochs)
        print(f"{version}: {len(pairs)} pairs", file=sys.stderr)
        shown = options if options.dry_run else replace(options, quiet=True)
        record, fits = ExampleRun(settings, shown).run(questions, has_base=False)
        if options.dry_run:
            predicted[version], all_fit = record, all_fit and fits
            continue
        scores = record["scores"].values()
        share = sum(value["right"] for value in scores) / sum(value["answers"] for value in scores)
        results[version] = QualityResult(tuple(HeldOut(**entry) for entry in record["held_out"]), share)
    if options.dry_run:
        return {"versions": predicted}, all_fit
    plot_quality(given.out / "quality.png", results)
    if not options.quiet:
        table = Table(title="The same words, clean and spoiled", title_justify="left")
        for heading in ("version", "held-out loss", "answers with the pattern"):
            table.add_column(heading)
        for version, result in results.items():
            table.add_row(version, f"{result.held_out[-1].loss:.3f}", f"{result.share:.0%}")
        Console(highlight=False).print(table)
        print(f"Plot: {given.out / 'quality.png'}" if options.kept else "Nothing of it is kept: --out FOLDER keeps it.")
    return {
        "versions": {
            version: {"held_out_after": result.held_out[-1].loss, "share": round(result.share, 4)}
            for version, result in results.items()
        }
    }, True


def _taught(name: str, work: Path, given: FinetuneSettings) -> tuple[FinetuneSettings, list[PatternQuestion]]:
    if name == "exercise":
        data = EXERCISE_FILE
        pairs = [(pair.prompt, pair.answer or "") for pair in read(data).train()]
        questions = exercise_questions([f"{prompt} # {answer}" for prompt, answer in pairs], given.seed)
    else:
        pattern = invented_pattern(given.seed)
        questions = list(pattern.questions)
        data = work / "invented.txt"
        data.write_text("".join(f"{prompt} # {answer}\n" for prompt, answer in pattern.pairs), encoding="utf-8")
    return replace(given, data=(str(data),)), questions


class ExampleRun:
    """One example: a finetune, and the questions asked before and after."""

    def __init__(self, settings: FinetuneSettings, options: ExampleOptions) -> None:
        """What is not in the settings has the defaults."""
        self._settings, self._options = settings, options

    def run(self, questions: Sequence[PatternQuestion], *, has_base: bool) -> tuple[dict[str, Any], bool]:
        """Teach, ask, and print the table; returns all of it for programs, and whether it fits into memory.

        Args:
            has_base: the model without what it was taught is there to be asked, too.

        Raises:
            As `run_example`.
        """
        options = self._options
        preparation = prepare(self._settings)
        try:
            prediction = preparation.predict()
            if not options.quiet:
                report.show_preparation(preparation, prediction)
            if options.dry_run:
                return report.preparation_record(preparation, prediction), prediction.fits
            if not prediction.fits and not options.anyway:
                raise FinetuneRefusedError("\n".join(report.refusal_lines(prediction)))
            begin_folder(preparation, prediction, resume=False)
            with interruption(_say_ending) as asked:
                finetune = Finetune(preparation, LiveLine(), asked)
                finetuned = finetune.run(resume=False)
            if not finetuned.done:
                raise KeyboardInterrupt
            record = report.finish(preparation, prediction, finetuned)
            if not options.quiet:
                report.show_finetuned(preparation, prediction, finetuned, kept=options.kept)
            after = self._ask(finetune, questions, base=False)
            before = self._ask(finetune, questions, base=True) if has_base else []
        finally:
            preparation.close()
        of_after, of_before = score(questions, after), score(questions, before)
        if not options.quiet:
            _show(questions, after, of_before, of_after)
        if not options.kept:
            del record["folder"]
        return {**record, "scores": _records(of_after), "scores_of_base": _records(of_before)}, True

    def _ask(self, finetune: Finetune, questions: Sequence[PatternQuestion], *, base: bool) -> list[str]:
        conversations = [[{"role": "user", "content": question.prompt}] for question in questions]
        print(f"asking {len(questions)} questions of {'the base' if base else 'the taught model'}", file=sys.stderr)
        return [answer for seed in ANSWER_SEEDS for answer in finetune.ask(conversations, seed, base=base)]


def _say_ending() -> None:
    print("\nEnding after this step; Ctrl-C again ends at once.", file=sys.stderr)


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
