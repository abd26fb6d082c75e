"""Kill the language without services, seed after seed, and measure it: the laboratory of model collapse.

    python -m wmkml collapse --rounds 8 --seeds 5
    python -m wmkml collapse --replace --human-share 0.2 --out results/replace

Plays the installation's loop (docs/laboratory.md) with simulated visitors, and writes into --out a run's folder for each
seed, a plot of every measure, and a summary. Prints a table, and last one line of JSON.
Exit status: 0 when every seed was played to its end, 1 when one ended before, 2 when it cannot begin, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from wmkml.cluster.arguments import add_settings_arguments, settings_of
from wmkml.cluster.machine import MachineError, detect
from wmkml.config import Settings
from wmkml.places import places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, help="how many rounds a run has (default: finetuning.num_total_iters)")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="how many runs, with seeds 1 to N (default: 1)"
    )
    parser.add_argument("--language", help="the language of the runs (default: inference.system_language)")
    parser.add_argument(
        "--visitors",
        choices=("quiet", "talkative", "bilingual"),
        default="talkative",
        help="two prompts a round at one station, twelve at six, or twelve at six that speak two languages in turn (talkative)",
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--accumulate",
        dest="keeping",
        action="store_const",
        const="accumulate",
        default="installation",
        help="all pairs of all iterations weigh the same (default: the newest weigh most)",
    )
    kept.add_argument(
        "--replace",
        dest="keeping",
        action="store_const",
        const="replace",
        help="only the newest iteration's pairs are trained on",
    )
    parser.add_argument(
        "--human-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="this share of each round's samples, 0 to 1, is text that the dying model did not say (default: 0)",
    )
    parser.add_argument(
        "--human",
        type=Path,
        metavar="FILE",
        help="where that text is: a CSV with the columns prompt and answer (the understudy brings its own)",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: a new one in the data folder's laboratory")
    parser.add_argument("--resume", action="store_true", help="go on in --out with the seeds that are not finished")
    parser.add_argument(
        "--measured", type=int, default=50, metavar="N", help="prompts answered at each iteration to be measured (50)"
    )
    parser.add_argument(
        "--examined",
        type=int,
        default=150,
        metavar="N",
        help="questions the understudy is examined with, 0: none (150)",
    )
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Play the experiment.  Returns 2, with a sentence, where it cannot begin."""
    if problem := _wrong(arguments):
        print(problem, file=sys.stderr)
        return 2
    settings, root = laboratory_settings(arguments)
    where = places(settings, root)

    # Here, not above: `--help` must not wait for torch.
    import asyncio

    from wmkml.engine.protocol import EngineDied
    from wmkml.laboratory.bench import CANNOT_WORK
    from wmkml.laboratory.experiment import Experiment, ExperimentRefused
    from wmkml.laboratory.playing import PLOT, SUMMARY, play
    from wmkml.laboratory.progress import Progress
    from wmkml.laboratory.report import as_json, table

    experiment = Experiment(
        settings=settings,
        model=where.model,
        datasets=where.datasets,
        language=arguments.language or settings.inference.system_language,
        seeds=tuple(range(1, arguments.seeds + 1)),
        visitors=arguments.visitors,
        out=arguments.out or where.data / "laboratory" / time.strftime("%Y%m%d-%H%M%S"),
        keeping=arguments.keeping,
        human_share=arguments.human_share,
        human=arguments.human,
        measured=arguments.measured,
        examined=arguments.examined,
    )
    try:
        outcome = asyncio.run(play(experiment, Progress(), resume=arguments.resume))
    except (ExperimentRefused, *CANNOT_WORK) as error:
        print(error, file=sys.stderr)
        return 2
    except EngineDied as error:
        print(f"The engine died: {error} What is finished is in {experiment.out}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is in {experiment.out}; --resume goes on there.", file=sys.stderr)
        return 130
    print(f"\n{outcome.title}; means of {len(outcome.lines)} seeds\n\n{table(outcome)}\n")
    print(f"Plot: {experiment.out / PLOT}. Summary: {experiment.out / SUMMARY}. Runs: {experiment.out}.\n")
    print(as_json(outcome, experiment.described(), experiment.out))
    return 1 if outcome.ended else 0


def _wrong(arguments: argparse.Namespace) -> str:
    """What is wrong with the numbers; empty if nothing."""
    for name, least in (("rounds", 1), ("seeds", 1), ("measured", 1), ("examined", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            return f"--{name}: {value} is not allowed; allowed: at least {least}."
    if arguments.resume and arguments.out is None:
        return "--resume needs --out: the folder to go on in."
    return ""


def laboratory_settings(arguments: argparse.Namespace) -> tuple[Settings, Path]:
    """The cluster's settings and the folder their paths start from, with the number of rounds; without a GPU the engine is transformers.

    vLLM takes half a minute to start, and on a CPU its answers follow no seed.
    """
    if arguments.rounds is not None:
        arguments.settings = [*arguments.settings, f"finetuning.num_total_iters={arguments.rounds}"]
    try:
        if arguments.engine is None and not detect().gpus:
            arguments.engine = "transformers"
    except MachineError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    return settings_of(arguments)
