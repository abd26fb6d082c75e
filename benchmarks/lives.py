"""Shared by the benchmarks of dying: their arguments, and several experiments run with one engine and trainer."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wmkml.cli.collapse import laboratory_settings
from wmkml.config import Settings
from wmkml.config.arguments import add_settings_arguments
from wmkml.config.paths import Paths, paths_of
from wmkml.engine.protocol import EngineDiedError
from wmkml.laboratory.experiment import Experiment, ExperimentRefusedError, check_experiment, write_description
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import Outcome
from wmkml.laboratory.resources import SETUP_ERRORS, start_resources
from wmkml.laboratory.runner import run_seeds


def add_arguments(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Add the arguments of every benchmark of dying, including `--config --model --engine --set`."""
    parser.add_argument("--rounds", type=int, default=8, help="rounds of a run (8)")
    parser.add_argument("--seeds", type=int, default=seeds, metavar="N", help=f"runs of each kind ({seeds})")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where runs and plots go (a new temporary folder)")
    parser.add_argument("--resume", action="store_true", help="go on in --out with what is not finished")
    parser.add_argument("--measured", type=int, default=50, metavar="N", help="prompts an iteration answers (50)")
    parser.add_argument("--examined", type=int, default=150, metavar="N", help="questions it is examined with (150)")
    add_settings_arguments(parser)


def experiment(arguments: argparse.Namespace, settings: Settings, where: Paths, **its_own: Any) -> Experiment:
    """An experiment from the shared arguments and further parameters of its own."""
    return Experiment(
        settings=settings,
        model=where.model,
        datasets=where.datasets,
        seeds=tuple(range(1, arguments.seeds + 1)),
        panel_size=arguments.measured,
        exam_size=arguments.examined,
        **its_own,
    )


def each_language_and_visitors(
    arguments: argparse.Namespace, settings: Settings, where: Paths, out: Path
) -> list[Experiment]:
    """An experiment for each of `--languages` with each of `--visitors`, in a folder of its own below `out`."""
    return [
        experiment(arguments, settings, where, language=language, visitors=visitors, out=out / f"{language}-{visitors}")
        for language in arguments.languages
        for visitors in arguments.visitors
    ]


def play_all(
    arguments: argparse.Namespace, make: Callable[[Settings, Paths, Path], Sequence[Experiment]]
) -> tuple[list[tuple[Experiment, Outcome]], float]:
    """Run the experiments that `make` returns for settings, paths and results folder; also returns the seconds taken.

    Exits with status 2 and a sentence if one of them cannot be done (none is begun then), and with status 1 if the
    engine dies (what is finished stays).
    """
    settings, root = laboratory_settings(arguments)
    where = paths_of(settings, root)
    out = arguments.out or Path(tempfile.mkdtemp(prefix="wmkml-lives-"))
    experiments = make(settings, where, out)
    try:
        for planned in experiments:
            check_experiment(planned, resume=arguments.resume)
    except ExperimentRefusedError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    progress = Progress()

    async def play() -> list[tuple[Experiment, Outcome]]:
        played = []
        async with start_resources(settings, where.model) as bench:
            for planned in experiments:
                progress.print_line(f"{planned.title}: {planned.out}")
                write_description(planned)
                played.append((planned, await run_seeds(bench, planned, progress)))
        return played

    began = time.perf_counter()
    try:
        played = asyncio.run(play())
    except SETUP_ERRORS as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except EngineDiedError as error:
        print(f"The engine died: {error} What is finished is in {out}; --resume goes on there.", file=sys.stderr)
        raise SystemExit(1) from None
    return played, time.perf_counter() - began
