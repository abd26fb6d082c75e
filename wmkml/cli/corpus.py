"""Read words to train on, in any form, and show what they hold; write them in any other form (docs/corpora.md).

    python -m wmkml corpus spells.txt
    python -m wmkml corpus films.csv --prompt-template "Describe {title}, {year}:" --answer-template "{plot}"
    python -m wmkml corpus alpaca.json --out alpaca.parquet

Shows counts, lengths in tokens, samples, duplicates, and every line that was left out, with its number and the reason.
Exit status: 0 when words were read, 1 when lines were left out and --strict is given, 2 when nothing can be read, 130 after
Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, get_args

from wmkml.config import UNDERSTUDY, Settings
from wmkml.config.paths import model_folder
from wmkml.corpora import Columns, Corpus, CorpusError, ReadingOptions, read
from wmkml.corpora.readers.prose import PASSAGE_LENGTH, TextRule
from wmkml.corpora.recognition import FORMATS
from wmkml.corpora.writing import FORM_ENDINGS, check_form, usual_form, write_corpora
from wmkml.system.disk.output_files import unwritable

if TYPE_CHECKING:
    from wmkml.corpora.survey import CountTokens, Survey

SAMPLE_LENGTH = 300
"""Characters of a sample that are shown."""

REPEATED_SHOWN = 10
"""Repeated pairs that are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="FILE",
        help="a file, a folder of files, a run folder, or the id of a Hugging Face data set (owner/name)",
    )
    parser.add_argument("--format", choices=FORMATS, default="", help="read it as this (default: told by its content)")
    parser.add_argument("--prompt-column", metavar="NAME", default="", help="the column that holds the prompts")
    parser.add_argument("--answer-column", metavar="NAME", default="", help="the column that holds the answers")
    parser.add_argument(
        "--prompt-template", metavar="TEXT", default="", help='prompts over columns: "Describe {name}, {year}:"'
    )
    parser.add_argument("--answer-template", metavar="TEXT", default="", help='answers over columns: "{text}"')
    parser.add_argument("--encoding", metavar="NAME", default="", help="of a text file (default: told by its bytes)")
    parser.add_argument(
        "--text-rule",
        choices=get_args(TextRule),
        default="passages",
        help="raw text becomes: passages; pairs of a paragraph's first sentence and the rest; of heading and text; or "
        "prompts, of first sentences (default: passages)",
    )
    parser.add_argument(
        "--passage-length",
        type=int,
        default=PASSAGE_LENGTH,
        metavar="N",
        help=f"characters of a passage at most (default: {PASSAGE_LENGTH})",
    )
    parser.add_argument(
        "--hold-out",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the training part to hold out for evaluation, 0 to below 1 (default: 0)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of what is held out and of the samples shown (default: 0)"
    )
    parser.add_argument("--subset", metavar="NAME", default="", help="the configuration of a Hugging Face data set")
    parser.add_argument(
        "--model",
        metavar="PATH_OR_ID",
        default=UNDERSTUDY,
        help="count tokens as this model does: a folder, or the id of one that was fetched (default: understudy)",
    )
    parser.add_argument("--no-tokens", action="store_true", help="count no tokens")
    parser.add_argument(
        "--samples", type=int, default=3, metavar="N", help="show N pairs, drawn by the seed (default: 3)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all pairs to this file; its ending says how")
    parser.add_argument(
        "--out-format", choices=sorted(FORM_ENDINGS), default="", help="the form to write (default: by the ending)"
    )
    parser.add_argument(
        "--json", metavar="FILE", default="", help="write what was found as JSON there; -: print only that"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a line was left out")


def main(arguments: argparse.Namespace) -> int:
    """Read, show and write.  Returns 2, with a sentence on stderr, when nothing can be read or written."""
    from wmkml.corpora.survey import survey

    try:
        options = _options(arguments)
        corpora = [read(source, options) for source in arguments.sources]
        if arguments.out is not None:
            # Before hours of reading: whether anything is written to such a file at all.
            check_form(arguments.out, arguments.out_format or usual_form(arguments.out, False, True, False))
        progress = _Progress(sys.stderr)
        result = survey(corpora, _token_counter(arguments), arguments.samples, arguments.seed, progress)
        progress.close()
    except (CorpusError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted: the words were not read to their end.", file=sys.stderr)
        return 130
    try:
        if arguments.json != "-":
            _print(corpora, result)
        if arguments.json:
            _write_json(arguments.json, corpora, result)
        if not result.pairs:
            print(f"Nothing can be used of {', '.join(arguments.sources)}: {_nothing(result)}.", file=sys.stderr)
            return 2
        if arguments.out is not None:
            _write(arguments.out, arguments.out_format, corpora, result)
        return 1 if arguments.strict and result.refused else 0
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(unwritable(error, arguments.out, arguments.json), file=sys.stderr)
        return 2
    finally:
        result.close()


def _options(arguments: argparse.Namespace) -> ReadingOptions:
    return ReadingOptions(
        format=arguments.format,
        columns=Columns(
            arguments.prompt_column,
            arguments.answer_column,
            arguments.prompt_template,
            arguments.answer_template,
        ),
        encoding=arguments.encoding,
        text_rule=arguments.text_rule,
        passage_length=arguments.passage_length,
        hold_out=arguments.hold_out,
        seed=arguments.seed,
        subset=arguments.subset,
    )


def _token_counter(arguments: argparse.Namespace) -> CountTokens | None:
    if arguments.no_tokens:
        return None
    from wmkml.corpora.token_counts import load_token_counter

    root = Path.cwd()
    return load_token_counter(model_folder(arguments.model, root / Settings().general.models_folder, root))


class _Progress:
    """A line on standard error that is overwritten, at most five times a second; none where nobody watches."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._began = stream, time.monotonic()
        self._terminal = stream.isatty()
        self._every = 0.2 if self._terminal else 5.0
        self._written_at = self._began
        self._open = False

    def __call__(self, pairs: int, corpus: Corpus) -> None:
        now = time.monotonic()
        if now - self._written_at < self._every:
            return
        self._written_at = now
        done, total = corpus.position.done, corpus.position.total
        share = f", {min(1.0, done / total):.0%} of {total / 2**20:,.0f} MiB" if total else ""
        text = f"{corpus.source}: {pairs:,} pairs{share}, {pairs / (now - self._began):,.0f} a second"
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._stream.flush()
        self._open = self._terminal

    def close(self) -> None:
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _nothing(result: Survey) -> str:
    first = next(result.refusals(), None)
    return f"line {first.line}: {first.reason}" if first is not None else "it holds no pair, prompt or passage"


def _print(corpora: Sequence[Corpus], result: Survey) -> None:
    for refusal in result.refusals():
        print(refusal)
    if result.refused:
        print()
    width = max(len(corpus.source) for corpus in corpora)
    for corpus in corpora:
        counts = corpus.counts()
        read_as = ", ".join(filter(None, [corpus.form, corpus.encoding]))
        print(f"{corpus.source:<{width}}  {counts.pairs:>9,} pairs  {counts.refused:>7,} refused  {read_as}")
    for corpus in corpora:
        if corpus.may_be_verse:
            print(f"{corpus.source}: each line is read as a prompt; --format text reads lines of a poem as a text.")
    kinds = [(result.prompts_only, "prompts without an answer"), (result.passages, "passages of plain text")]
    kinds += [(result.turns, "with a context before them")]
    noted = ", ".join(f"{count:,} {kind}" for count, kind in kinds if count)
    print(f"\n{result.pairs:,} pairs" + (f", of them {noted}" if noted else ""))
    if result.evaluation:
        print(f"{result.train:,} to train on, {result.evaluation:,} to evaluate with")
        if result.held_in_both:
            print(f"{result.held_in_both:,} of them are in both parts: they evaluate what was learned by heart")
    elif result.pairs:
        print(f"{result.train:,} to train on; there is no evaluation part, so evaluation is on the training part")
    if result.duplicates:
        print(f"\n{result.duplicates:,} pairs are there more than once; most often:")
        for source, line, times in result.repeated(REPEATED_SHOWN):
            print(f"  {source}, line {line}: {times:,} times")
    if result.contradictions:
        print(f"{result.contradictions:,} prompts have several different answers")
    _print_lengths(result)
    for pair in result.samples:
        print(f"\n--- line {pair.line}, {pair.part}")
        for message in pair.messages:
            text = message["content"]
            cut = text if len(text) <= SAMPLE_LENGTH else f"{text[:SAMPLE_LENGTH]}…"
            print(f"{message['role']}: {cut}")


def _print_lengths(result: Survey) -> None:
    lengths = result.tokens
    if lengths is None or not lengths.counts:
        return
    print(
        f"\n{lengths.total:,} tokens; of a pair {lengths.mean:.1f} on average, {lengths.quantile(0.5):,} in the middle, "
        f"95 % up to {lengths.quantile(0.95):,}, at most {lengths.longest:,}"
    )
    bins = lengths.bins()
    most, width = max(count for _, _, count in bins), len(f"{bins[-1][1]:,}")
    for least, last, count in bins:
        bar = "█" * round(40 * count / most) or ("▏" if count else "")
        print(f"  {least:>{width},} – {last:>{width},}  {bar} {count:,}")


def _write_json(target: str, corpora: Sequence[Corpus], result: Survey) -> None:
    summary: dict[str, Any] = {
        "pairs": result.pairs,
        "train": result.train,
        "evaluation": result.evaluation,
        "evaluation_on_training": not result.evaluation,
        "prompts_only": result.prompts_only,
        "passages": result.passages,
        "duplicates": result.duplicates,
        "contradictions": result.contradictions,
        "in_both_parts": result.held_in_both,
        "files": [
            {"file": corpus.source, "format": corpus.form, "encoding": corpus.encoding, "pairs": corpus.counts().pairs}
            for corpus in corpora
        ],
    }
    if (lengths := result.tokens) is not None:
        summary["tokens"] = {
            "total": lengths.total,
            "mean": round(lengths.mean, 2),
            "median": lengths.quantile(0.5),
            "longest": lengths.longest,
            "histogram": [{"from": least, "to": last, "pairs": count} for least, last, count in lengths.bins()],
        }
    if target == "-":
        _dump(sys.stdout, summary, result)
        return
    with Path(target).open("w", encoding="utf-8") as file:
        _dump(file, summary, result)


def _dump(file: TextIO, summary: dict[str, Any], result: Survey) -> None:
    """One JSON object; `refused` is written line by line, since it may be as long as the corpus."""
    file.write(json.dumps(summary, ensure_ascii=False)[:-1] + ', "refused": [')
    for number, refusal in enumerate(result.refusals()):
        entry = {"file": refusal.file, "line": refusal.line, "reason": refusal.reason}
        file.write((", " if number else "") + json.dumps(entry, ensure_ascii=False))
    file.write("]}\n")


def _write(path: Path, form: str, corpora: Sequence[Corpus], result: Survey) -> None:
    form = form or usual_form(
        path,
        has_context=bool(result.turns),
        has_answers=result.prompts_only < result.pairs,
        has_passages=result.passages == result.pairs,
    )
    written = write_corpora(corpora, path, form)
    for refusal in written.left_out:
        print(f"{refusal} (left out)", file=sys.stderr)
    if written.left_out_count > len(written.left_out):
        print(f"… and {written.left_out_count - len(written.left_out):,} more left out", file=sys.stderr)
    print(f"{written.pairs:,} pairs written to {path} as {form}", file=sys.stderr)
    if written.pairs and path.suffix.lower() in (".txt", ".md") and (again := read(path).form) != form:
        print(f"By its lines it looks like {again}: read it with --format {form}.", file=sys.stderr)
