"""What the benchmarks of dying share: their arguments, and several experiments played on one bench."""

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
from wmkml.cluster.arguments import add_settings_arguments
from wmkml.config import Settings
from wmkml.engine.protocol import EngineDied
from wmkml.laboratory.bench import CANNOT_WORK, started
from wmkml.laboratory.experiment import Experiment, ExperimentRefused, check, describe
from wmkml.laboratory.playing import play_on
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import Outcome
from wmkml.places import Places, places


def add_arguments(parser: argparse.ArgumentParser, seeds: int) -> None:
    """The arguments of every benchmark of dying; `--config --model --engine --set` among them."""
    parser.add_argument("--rounds", type=int, default=8, help="rounds of a run (8)")
    parser.add_argument("--seeds", type=int, default=seeds, metavar="N", help=f"runs of each kind ({seeds})")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where runs and plots go (a new temporary folder)")
    parser.add_argument("--resume", action="store_true", help="go on in --out with what is not finished")
    parser.add_argument("--measured", type=int, default=50, metavar="N", help="prompts an iteration answers (50)")
    parser.add_argument("--examined", type=int, default=150, metavar="N", help="questions it is examined with (150)")
    add_settings_arguments(parser)


def experiment(arguments: argparse.Namespace, settings: Settings, where: Places, **its_own: Any) -> Experiment:
    """An experiment by the arguments that all benchmarks of dying have, and what is its own."""
    return Experiment(
        settings=settings,
        model=where.model,
        datasets=where.datasets,
        seeds=tuple(range(1, arguments.seeds + 1)),
        measured=arguments.measured,
        examined=arguments.examined,
        **its_own,
    )


def play_all(
    arguments: argparse.Namespace, make: Callable[[Settings, Places, Path], Sequence[Experiment]]
) -> tuple[list[tuple[Experiment, Outcome]], float]:
    """Play what `make` gives for settings, places and the folder of results; also how many seconds it took.

    Ends the program with status 2, and a sentence, where one of them cannot be done; then none was begun.  With status 1 where
    the engine dies: what is finished stays.
    """
    settings, root = laboratory_settings(arguments)
    where = places(settings, root)
    out = arguments.out or Path(tempfile.mkdtemp(prefix="wmkml-lives-"))
    experiments = make(settings, where, out)
    try:
        for one in experiments:
            check(one, resume=arguments.resume)
    except ExperimentRefused as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    progress = Progress()

    async def play() -> list[tuple[Experiment, Outcome]]:
        played = []
        async with started(settings, where.model) as bench:
            for one in experiments:
                progress.line(f"{one.title}: {one.out}")
                describe(one)
                played.append((one, await play_on(bench, one, progress)))
        return played

    began = time.perf_counter()
    try:
        played = asyncio.run(play())
    except CANNOT_WORK as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except EngineDied as error:
        print(f"The engine died: {error} What is finished is in {out}; --resume goes on there.", file=sys.stderr)
        raise SystemExit(1) from None
    return played, time.perf_counter() - began
