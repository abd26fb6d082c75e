"""What the benchmarks of dying share: their arguments, and several experiments played on one bench."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wmkml.cli.collapse import laboratory_settings
from wmkml.cluster.arguments import add_settings_arguments
from wmkml.config import Settings
from wmkml.laboratory.bench import started
from wmkml.laboratory.experiment import Experiment, check, describe
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


def play_all(
    arguments: argparse.Namespace, make: Callable[[Settings, Places, Path], Sequence[Experiment]]
) -> tuple[list[tuple[Experiment, Outcome]], float]:
    """Play what `make` gives for settings, places and the folder of results; also how many seconds it took.

    Raises:
        ExperimentRefused: one of them cannot be done; none was begun.
    """
    settings, root = laboratory_settings(arguments)
    where = places(settings, root)
    out = arguments.out or Path(tempfile.mkdtemp(prefix="wmkml-lives-"))
    experiments = make(settings, where, out)
    for one in experiments:
        check(one, resume=arguments.resume)
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
    return asyncio.run(play()), time.perf_counter() - began
