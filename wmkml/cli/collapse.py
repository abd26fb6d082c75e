"""Kill the language without services, seed after seed, and measure it: the laboratory of model collapse.

    python -m wmkml collapse --rounds 8 --seeds 5
    python -m wmkml collapse --replace --human-share 0.2 --out results/replace
    python -m wmkml collapse --reproduce gaussian

Runs the installation's loop (docs/laboratory.md) with simulated visitors, and writes into --out a run folder for each
seed, a plot of every measure, a profile of collapse by its definitions, and a summary. Prints tables, and last one line
of JSON.
With --reproduce it runs what a paper found instead (docs/reproductions.md), and prints expected and found side by side;
stopped, it goes on where it was. Without --out that is kept in laboratory/reproductions of the data folder.
Exit status: 0 when every seed ran to its end, 1 when one ended early, 2 when it cannot begin, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from wmkml.config import Settings
from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.config.paths import laboratory_datasets, paths_of
from wmkml.models.devices import AUTO, add_device_argument
from wmkml.system.disk.output_files import unwritable, unwritable_problem
from wmkml.system.gpus import GpusUnknownError, visible_gpus

REPRODUCTIONS = (
    "gaussian",
    "regression",
    "replace-accumulate-subsample",
    "human-share",
    "decoding",
    "order",
    "facts-first",
)
"""As in `wmkml.laboratory.reproductions.table`, which is not imported before it is needed."""

PANEL_ANSWERS = 25
"""Answers to each prompt of the panel: more than the installation has time for, so that its measures hardly vary by chance."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reproduce", choices=REPRODUCTIONS, metavar="NAME", help=f"one of {', '.join(REPRODUCTIONS)}")
    parser.add_argument("--rounds", type=int, help="how many rounds a run has (default: finetuning.num_total_iters)")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="how many runs, with seeds 1 to N (default: 1, with --reproduce 3)"
    )
    parser.add_argument(
        "--language", help="the language of the runs (default: inference.system_language, with --reproduce en)"
    )
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
        "--held-out",
        type=Path,
        metavar="FILE",
        help="human pairs that are read and never trained on, for the loss on human text (the understudy has its own)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: a new one in the folder `laboratory` of the data folder"
    )
    parser.add_argument("--resume", action="store_true", help="continue in --out with the seeds that are not finished")
    parser.add_argument(
        "--measured",
        type=int,
        metavar="N",
        help="prompts whose answers are measured at each iteration (default: 50, with --reproduce 40)",
    )
    parser.add_argument(
        "--examined",
        type=int,
        metavar="N",
        help="questions of the understudy's examination, 0: none (default: 150, with --reproduce 40)",
    )
    add_device_argument(parser)
    parser.add_argument(
        "--panel-answers",
        type=int,
        default=PANEL_ANSWERS,
        metavar="N",
        help="answers of each iteration to each prompt of the installation's panel (docs/measures.md); how long they will "
        f"take is said before they are asked for. 0: no panel (default: {PANEL_ANSWERS}; none with --reproduce)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the results as JSON there; -: print only that, on standard output"
    )
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Run the experiment.  Returns 2, with a sentence on stderr, when it cannot begin."""
    if problem := _argument_problem(arguments):
        print(problem, file=sys.stderr)
        return 2
    if arguments.reproduce:
        return _reproduce(arguments)
    settings, root = laboratory_settings(arguments)
    paths = paths_of(settings, root)

    # Imported here: `--help` must not wait for torch.
    import asyncio

    from wmkml.engine.protocol import EngineDiedError
    from wmkml.laboratory.experiment import Experiment, ExperimentRefusedError
    from wmkml.laboratory.profile.profile import profile
    from wmkml.laboratory.progress import Progress
    from wmkml.laboratory.report import table
    from wmkml.laboratory.resources import SETUP_ERRORS
    from wmkml.laboratory.runner import PLOT_FILE, PROFILE_FIGURE, SUMMARY_FILE, results, run_experiment

    experiment = Experiment(
        settings=settings,
        model=paths.model,
        datasets=laboratory_datasets(settings, paths),
        language=arguments.language or settings.inference.system_language,
        seeds=tuple(range(1, (arguments.seeds or 1) + 1)),
        visitors=arguments.visitors,
        out=arguments.out or paths.data / "laboratory" / time.strftime("%Y%m%d-%H%M%S"),
        keeping=arguments.keeping,
        human_share=arguments.human_share,
        human=arguments.human,
        panel_size=arguments.measured or 50,
        exam_size=150 if arguments.examined is None else arguments.examined,
        held_out=arguments.held_out,
        device=arguments.device,
        panel_answers=arguments.panel_answers,
        panel_file=paths.panel,
    )
    try:
        outcome = asyncio.run(run_experiment(experiment, Progress(), resume=arguments.resume))
    except (ExperimentRefusedError, *SETUP_ERRORS) as error:
        print(error, file=sys.stderr)
        return 2
    except EngineDiedError as error:
        print(f"The engine died: {error} What is finished is in {experiment.out}.", file=sys.stderr)
        return 1
    except OSError as error:
        advice = "Name another folder with --out, or make room and go on with --resume."
        print(unwritable(error, experiment.out), advice, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is in {experiment.out}; --resume goes on there.", file=sys.stderr)
        return 130
    if not outcome.lines:
        ends = "; ".join(f"seed {seed}: {reason}" for seed, reason in outcome.end_reasons.items())
        print(f"No seed came to its first measurement. {ends}", file=sys.stderr)
        return 1
    everything = results(outcome, experiment)
    if arguments.json != "-":
        print(f"\n{outcome.title}; means of {len(outcome.lines)} seeds\n\n{table(outcome)}\n")
        print(f"The same by the field's definitions of collapse\n\n{profile(outcome.lines).as_text()}\n")
        out = experiment.out
        print(f"Plots: {out / PLOT_FILE}, {out / PROFILE_FIGURE}.png. Summary: {out / SUMMARY_FILE}. Runs: {out}.\n")
    try:
        _write_json(arguments.json, everything)
    except OSError as error:
        print(unwritable(error, arguments.json), file=sys.stderr)
        return 2
    if arguments.json is None:
        # The profile is in the table above and in the summary's file; here it would fill a screen.
        print(json.dumps({name: value for name, value in everything.items() if name != "profile"}, ensure_ascii=False))
    return 1 if outcome.end_reasons else 0


def _reproduce(arguments: argparse.Namespace) -> int:
    """Run a reproduction; those that are arithmetic read no settings and load no model."""
    from wmkml.engine.protocol import EngineDiedError
    from wmkml.laboratory.experiment import ExperimentRefusedError
    from wmkml.laboratory.progress import Progress
    from wmkml.laboratory.reproductions import lineages
    from wmkml.laboratory.reproductions.table import ARITHMETIC, reproduce, write_result
    from wmkml.laboratory.resources import SETUP_ERRORS

    name, options = arguments.reproduce, None
    # What is asked for comes later, and so goes before.
    arguments.settings = [f"{key}={value}" for key, value in lineages.SETTINGS.items()] + arguments.settings
    settings, root = laboratory_settings(arguments)
    paths = paths_of(settings, root)
    out = arguments.out or paths.data / "laboratory" / "reproductions"
    if name not in ARITHMETIC:
        options = lineages.LineageOptions(
            settings=settings,
            model=paths.model,
            datasets=laboratory_datasets(settings, paths),
            out=out,
            language=arguments.language or "en",
            seeds=tuple(range(1, (arguments.seeds or 3) + 1)),
            panel_size=arguments.measured or lineages.PANEL,
            exam_size=lineages.QUESTIONS if arguments.examined is None else arguments.examined,
            human=arguments.human,
            held_out=arguments.held_out,
            device=arguments.device,
        )
    try:
        result = reproduce(name, options, Progress())
        files = write_result(result, out)
        _write_json(arguments.json, result.as_json())
    except (ExperimentRefusedError, *SETUP_ERRORS) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unwritable(error, out), file=sys.stderr)
        return 2
    except EngineDiedError as error:
        print(f"The engine died: {error} The same command goes on in {out}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is in {out}; the same command goes on there.", file=sys.stderr)
        return 130
    if arguments.json != "-":
        print(result.as_text())
    print("Written: " + ", ".join(map(str, files)), file=sys.stderr)
    return 0


def _write_json(target: str | None, content: object) -> None:
    """Write JSON to a file, or to standard output where the target is "-"; nothing without a target."""
    if target == "-":
        print(json.dumps(content, ensure_ascii=False))
    elif target is not None:
        Path(target).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _argument_problem(arguments: argparse.Namespace) -> str:
    """A sentence about the first argument that cannot be used; empty if there is none."""
    for name, least in (("rounds", 1), ("seeds", 1), ("measured", 1), ("examined", 0), ("panel_answers", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            return f"--{name.replace('_', '-')}: {value} is not allowed; allowed: at least {least}."
    if arguments.reproduce and (arguments.keeping != "installation" or arguments.human_share):
        return "--reproduce plays its own ways of keeping text: leave out --accumulate, --replace and --human-share."
    if arguments.resume and arguments.out is None and not arguments.reproduce:
        return "--resume needs --out: the folder to go on in."
    return unwritable_problem(arguments.json)


def laboratory_settings(arguments: argparse.Namespace) -> tuple[Settings, Path]:
    """The settings, with the number of rounds asked for, and the folder that their relative paths start from.

    Without a GPU, or with another `--device`, the engine is transformers unless another is asked for: on a CPU, vLLM takes
    half a minute to start, and its answers do not follow a seed; on Apple's GPU it does not run.
    """
    if arguments.rounds is not None:
        arguments.settings = [*arguments.settings, f"finetuning.num_total_iters={arguments.rounds}"]
    try:
        device = getattr(arguments, "device", AUTO)
        if arguments.engine is None and (device in ("cpu", "mps") or not visible_gpus()):
            arguments.engine = "transformers"
    except GpusUnknownError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    return settings_of(arguments)
