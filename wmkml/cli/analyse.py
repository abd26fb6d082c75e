"""Measure how diverse the answers of models are, with tables, figures and intervals.

    python -m wmkml analyse --answers examples/answers/base.jsonl examples/answers/tuned.jsonl --labels base,tuned
    python -m wmkml analyse --answers plm.jsonl dpo.jsonl --labels PLM,DPO --out results/diversity --json -

A line of a file of answers: {"prompt": "…", "kind": "creative", "temperature": 0.7, "answers": ["…", "…"]}.
Each measure is taken per prompt and temperature, then averaged; `n` counts prompts, and the intervals (95 %) are
bootstrapped over prompts. What each measure is stands in docs/measures.md, how to read it in docs/laboratory.md.
Exit status: 0 when all was measured, 2 when it cannot begin, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmkml.laboratory.analysis.answers import AnswerSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--answers", type=Path, nargs="+", required=True, metavar="FILE", help="files of answers, one for each label"
    )
    parser.add_argument(
        "--labels", metavar="NAME,NAME", help="what the files are called in tables and figures (default: their names)"
    )
    parser.add_argument(
        "--max-num-words", type=int, metavar="N", help="cut answers after N words (default: not at all)"
    )
    parser.add_argument(
        "--cluster-threshold",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="Jaccard similarity of pairs of words, above 0 to 1, from which answers form a cluster (default: 0.5)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write tables (CSV, Markdown), figures (PNG, SVG) and answers (HTML)"
    )
    parser.add_argument("--json", metavar="FILE", help="write what was measured as JSON there; -: print only that")


def main(arguments: argparse.Namespace) -> int:
    """Measure the files.  Returns 2, with a sentence on stderr, when it cannot begin."""
    from wmkml.laboratory.analysis.answers import AnswersError, check_memory, read_answers
    from wmkml.laboratory.analysis.frames import to_markdown
    from wmkml.laboratory.analysis.output_diversity import DiversityOptions, output_diversity
    from wmkml.laboratory.progress import Progress

    try:
        labels = _labels(arguments)
        _check(arguments)
        check_memory(arguments.answers)
        labelled = {label: read_answers(path) for label, path in zip(labels, arguments.answers, strict=True)}
    except AnswersError as error:
        print(error, file=sys.stderr)
        return 2
    _warn_of_numbers(labelled)
    progress = Progress()
    options = DiversityOptions(arguments.max_num_words, arguments.cluster_threshold)

    def on_measured(label: str, done: int, total: int) -> None:
        progress.where = label
        progress("prompts and temperatures measured", done, total)

    try:
        result = output_diversity(labelled, options, on_measured)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was written.", file=sys.stderr)
        return 130
    progress.print_line(f"Measured: {', '.join(labels)}.")
    try:
        if arguments.out is not None:
            for path in write_results(result, labelled, arguments.out):
                print(f"Written: {path}", file=sys.stderr)
        if arguments.json == "-":
            print(json.dumps(result, ensure_ascii=False))
            return 0
        if arguments.json is not None:
            Path(arguments.json).write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"{error.filename} cannot be written: {error.strerror}.", file=sys.stderr)
        return 2
    print(to_markdown(result), end="")
    return 0


def write_results(result: Mapping[str, Any], labelled: Mapping[str, Sequence[AnswerSet]], out: Path) -> list[Path]:
    """Write tables, figures and the answers side by side into a folder, which is made.  Returns the files."""
    from wmkml.laboratory.analysis.figures import diversity_figure, save_figure
    from wmkml.laboratory.analysis.frames import kinds_of, side_by_side, to_csv, to_markdown

    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "output_diversity.csv": to_csv(result),
        "output_diversity.md": to_markdown(result),
        "answers.html": side_by_side(labelled),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    files = [out / name for name in texts]
    for number, kind in enumerate(kinds_of(result), 1):
        name = re.sub(r"[^\w-]+", "_", kind).strip("_") or f"kind_{number}"
        files += save_figure(diversity_figure(result, kind), out / f"output_diversity_{name}")
    return files


def _labels(arguments: argparse.Namespace) -> list[str]:
    from wmkml.laboratory.analysis.answers import AnswersError

    names = arguments.labels.split(",") if arguments.labels else [path.stem for path in arguments.answers]
    labels = [name.strip() for name in names]
    if len(labels) != len(arguments.answers):
        raise AnswersError(f"--labels: {len(labels)} names for {len(arguments.answers)} files. Give one for each.")
    doubled = [label for label, count in Counter(labels).items() if count > 1]
    if doubled or "" in labels:
        raise AnswersError("--labels: each file needs a name of its own: --labels base,tuned.")
    return labels


def _check(arguments: argparse.Namespace) -> None:
    from wmkml.laboratory.analysis.answers import AnswersError

    if arguments.max_num_words is not None and arguments.max_num_words < 1:
        raise AnswersError(f"--max-num-words: {arguments.max_num_words} is not allowed; allowed: at least 1.")
    if not 0.0 < arguments.cluster_threshold <= 1.0:
        raise AnswersError(
            f"--cluster-threshold: {arguments.cluster_threshold:g} is not allowed; allowed: above 0, up to 1."
        )


def _warn_of_numbers(labelled: Mapping[str, Sequence[AnswerSet]]) -> None:
    """Say when prompts have different numbers of answers: most measures depend on it."""
    numbers = sorted({len(answers.answers) for sets in labelled.values() for answers in sets})
    if len(numbers) > 1:
        print(
            f"Note: prompts have from {numbers[0]} to {numbers[-1]} answers. self_bleu, vendi, the Hill numbers, clusters "
            "and distinct_n depend on how many there are: compare equal numbers.",
            file=sys.stderr,
        )
