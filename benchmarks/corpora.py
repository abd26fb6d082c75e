"""Memory and speed of reading a large corpus: pairs are streamed and checked, so memory does not grow with them.

Regime: a file of N pairs of some 60 words is written, in each form, and surveyed as `wmkml corpus` does it (every record
parsed and checked, duplicates found, and, with --tokens, every text counted by the understudy's tokenizer), in a process
of its own whose peak memory is measured; the same for a tenth of the pairs.  What bounds it is parsing, one core; the
tokenizer takes several.

    env/bin/python benchmarks/corpora.py [--pairs 1000000] [--forms jsonl json csv parquet] [--tokens]

Prints a table and, last, one JSON line with `ratio` (the largest growth of peak memory from a tenth to all pairs).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

WORDS = (
    *("the", "language", "narrows", "stammers", "dies", "and", "is", "born", "again", "of", "its", "own", "words"),
    *("for", "whoever", "comes", "next", "to", "talk"),
)

FORMS = {"jsonl": "completion", "json": "alpaca", "csv": "columns", "parquet": "columns", "chat": "chat", "txt": "text"}


def records(pairs: int, words_each: int) -> Iterator[tuple[str, str]]:
    """Pairs of so many words, one of a hundred of them a repeat."""
    source = random.Random(0)
    for number in range(pairs):
        words = source.choices(WORDS, k=words_each)
        number -= number % 100 == 99
        yield f"{number}: {' '.join(words[:12])}?", " ".join(words[12:])


def write(path: Path, form: str, pairs: int, words_each: int = 60) -> None:
    """Write a corpus without the readers or writers that are measured."""
    if form == "parquet":
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema([("prompt", pyarrow.string()), ("answer", pyarrow.string())])
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            rows = records(pairs, words_each)
            while batch := list(itertools.islice(rows, 10_000)):
                columns = [[prompt for prompt, _ in batch], [answer for _, answer in batch]]
                writer.write_table(pyarrow.table(columns, schema=schema))
        return
    with path.open("w") as file:
        file.write({"json": "[\n", "csv": "prompt,answer\n"}.get(form, ""))
        for number, (prompt, answer) in enumerate(records(pairs, words_each)):
            if form == "json":
                record = {"instruction": prompt, "input": "", "output": answer}
                file.write((",\n" if number else "") + json.dumps(record))
            elif form == "csv":
                file.write(f'"{prompt}","{answer}"\n')
            elif form == "txt":
                file.write(f"{prompt} {answer}.\n\n")
            elif form == "chat":
                turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
                file.write(json.dumps({"messages": turns}) + "\n")
            else:
                file.write(json.dumps({"prompt": prompt, "completion": answer}) + "\n")
        file.write("\n]\n" if form == "json" else "")


def measure(path: Path, tokens: bool) -> dict[str, float]:
    """Survey a file in a process of its own: pairs, seconds, peak memory in MiB."""
    command = [sys.executable, __file__, "--survey", str(path), *(["--tokens"] if tokens else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def survey_here(path: Path, tokens: bool) -> None:
    """What `measure` runs."""
    from wmkml.corpora import read
    from wmkml.corpora.survey import survey
    from wmkml.corpora.token_counts import load_token_counter

    model = Path(__file__).parent.parent / "wmkml" / "understudy" / "model"
    began = time.perf_counter()
    result = survey([read(path)], load_token_counter(model) if tokens else None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"pairs": result.pairs, "seconds": time.perf_counter() - began, "peak": peak}))


def main() -> None:
    """Write, survey and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=["jsonl", "json", "csv", "parquet"])
    parser.add_argument("--tokens", action="store_true", help="count the tokens too")
    parser.add_argument("--survey", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.survey is not None:
        survey_here(arguments.survey, arguments.tokens)
        return
    rows, ratios = [], []
    print(f"{'form':<10}{'file MiB':>10}{'pairs':>12}{'seconds':>10}{'pairs/s':>12}{'peak MiB':>10}{'of a tenth':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for form in arguments.forms:
            peaks = []
            for pairs in (arguments.pairs // 10, arguments.pairs):
                path = Path(folder) / f"corpus.{'jsonl' if form == 'chat' else form}"
                write(path, form, pairs)
                result = measure(path, arguments.tokens)
                size = path.stat().st_size / 2**20
                peaks.append(result["peak"])
                path.unlink()
            rate = result["pairs"] / result["seconds"]
            print(
                f"{form:<10}{size:>10.0f}{result['pairs']:>12,.0f}{result['seconds']:>10.1f}{rate:>12,.0f}"
                f"{peaks[1]:>10.0f}{peaks[0]:>12.0f}",
                flush=True,
            )
            ratios.append(peaks[1] / peaks[0])
            rows.append(
                {"form": form, "file_mib": round(size), "peak_mib": round(peaks[1]), "pairs_per_s": round(rate)}
            )
    print(json.dumps({"pairs": arguments.pairs, "forms": rows, "ratio": round(max(ratios), 2)}))


if __name__ == "__main__":
    main()
