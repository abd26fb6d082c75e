"""Kill the language without services, seed after seed, and measure it: the laboratory of model collapse.

    python -m wmkml collapse --rounds 8 --seeds 5
    python -m wmkml collapse --replace --human-share 0.2 --out results/replace

Runs the installation's loop (docs/laboratory.md) with simulated visitors, and writes into --out a run folder for each
seed, a plot of every measure, and a summary. Prints a table, and last one line of JSON.
Exit status: 0 when every seed ran to its end, 1 when one ended early, 2 when it cannot begin, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from wmkml.config import Settings
from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.config.paths import paths_of
from wmkml.system.gpus import GpusUnknownError, visible_gpus


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
        help="quiet: two prompts a round at one station; talkative: twelve at six; bilingual: twelve at six, in two "
        "languages (default: talkative)",
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
        help="share of each round's samples, 0 to 1, that the dying model did not generate (default: 0)",
    )
    parser.add_argument(
        "--human",
        type=Path,
        metavar="FILE",
        help="the file that holds those samples, a CSV with the columns prompt and answer or any other of docs/corpora.md "
        "(the understudy has its own)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: a new one in the folder `laboratory` of the data folder"
    )
    parser.add_argument("--resume", action="store_true", help="continue in --out with the seeds that are not finished")
    parser.add_argument(
        "--measured",
        type=int,
        default=50,
        metavar="N",
        help="prompts whose answers are measured at each iteration (default: 50)",
    )
    parser.add_argument(
        "--examined",
        type=int,
        default=150,
        metavar="N",
        help="questions of the understudy's examination, 0: none (default: 150)",
    )
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Run the experiment.  Returns 2, with a sentence on stderr, when it cannot begin."""
    if problem := _argument_problem(arguments):
        print(problem, file=sys.stderr)
        return 2
    settings, root = laboratory_settings(arguments)
    paths = paths_of(settings, root)

    # Imported here: `--help` must not wait for torch.
    import asyncio

    from wmkml.engine.protocol import EngineDiedError
    from wmkml.laboratory.experiment import Experiment, ExperimentRefusedError
    from wmkml.laboratory.progress import Progress
    from wmkml.laboratory.report import summary_json, table
    from wmkml.laboratory.resources import SETUP_ERRORS
    from wmkml.laboratory.runner import PLOT_FILE, SUMMARY_FILE, run_experiment

    experiment = Experiment(
        settings=settings,
        model=paths.model,
        datasets=paths.datasets,
        language=arguments.language or settings.inference.system_language,
        seeds=tuple(range(1, arguments.seeds + 1)),
        visitors=arguments.visitors,
        out=arguments.out or paths.data / "laboratory" / time.strftime("%Y%m%d-%H%M%S"),
        keeping=arguments.keeping,
        human_share=arguments.human_share,
        human=arguments.human,
        panel_size=arguments.measured,
        exam_size=arguments.examined,
    )
    try:
        outcome = asyncio.run(run_experiment(experiment, Progress(), resume=arguments.resume))
    except (ExperimentRefusedError, *SETUP_ERRORS) as error:
        print(error, file=sys.stderr)
        return 2
    except EngineDiedError as error:
        print(f"The engine died: {error} What is finished is in {experiment.out}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is in {experiment.out}; --resume goes on there.", file=sys.stderr)
        return 130
    print(f"\n{outcome.title}; means of {len(outcome.lines)} seeds\n\n{table(outcome)}\n")
    print(f"Plot: {experiment.out / PLOT_FILE}. Summary: {experiment.out / SUMMARY_FILE}. Runs: {experiment.out}.\n")
    print(summary_json(outcome, experiment.description(), experiment.out))
    return 1 if outcome.end_reasons else 0


def _argument_problem(arguments: argparse.Namespace) -> str:
    """A sentence about the first argument that cannot be used; empty if there is none."""
    for name, least in (("rounds", 1), ("seeds", 1), ("measured", 1), ("examined", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            return f"--{name}: {value} is not allowed; allowed: at least {least}."
    if arguments.resume and arguments.out is None:
        return "--resume needs --out: the folder to go on in."
    return ""


def laboratory_settings(arguments: argparse.Namespace) -> tuple[Settings, Path]:
    """The settings, with the number of rounds asked for, and the folder that their relative paths start from.

    Without a GPU the engine is transformers unless another is asked for: on a CPU, vLLM takes half a minute to start,
    and its answers do not follow a seed.
    """
    if arguments.rounds is not None:
        arguments.settings = [*arguments.settings, f"finetuning.num_total_iters={arguments.rounds}"]
    try:
        if arguments.engine is None and not visible_gpus():
            arguments.engine = "transformers"
    except GpusUnknownError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    return settings_of(arguments)
