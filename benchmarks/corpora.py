"""Memory and speed of reading and packing a large corpus: pairs are streamed and checked, so memory does not grow with them.

Regime: a file of N pairs of some 60 words is written, in each form, and surveyed as `wmkml corpus` does it (every record
parsed and checked, duplicates found, and, with --tokens, every text counted by the understudy's tokenizer), in a process
of its own whose peak memory is measured; the same for a tenth of the pairs.  What bounds it is parsing, one core; the
tokenizer takes several.  With --pack the same file is prepared as `wmkml finetune` does it: every pair in the understudy's
template, as tokens in a file that is read as memory is, an epoch's steps drawn, and of every hundredth step its samples read
and packed.  What bounds that is the template and the tokenizer, one core; of each sample 24 bytes stay in memory, and 8 of an
epoch's order.

    env/bin/python benchmarks/corpora.py [--pairs 1000000] [--forms jsonl json csv parquet] [--tokens | --pack]

Prints a table and, last, one JSON line with `ratio` (the largest growth of peak memory from a tenth to all pairs).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
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


def measure(path: Path, how: Sequence[str]) -> dict[str, float]:
    """Survey or pack a file in a process of its own: pairs, seconds, peak memory in MiB."""
    command = [sys.executable, __file__, "--survey", str(path), *how]
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


def pack_here(path: Path) -> None:
    """What `measure` runs with --pack.

    Pages of the file that holds the tokens count as memory while it is read, and are given back wherever memory is short: from
    then on only anonymous memory is counted.
    """
    from wmkml.config.paths import SHIPPED_MODEL
    from wmkml.finetuning.preparation.prepare import prepare
    from wmkml.finetuning.settings import FinetuneSettings
    from wmkml.training.batching import StepPlan, packed_batches

    began = time.perf_counter()
    settings = FinetuneSettings(SHIPPED_MODEL, "understudy", (str(path),), Path("unused"), epochs=1)
    preparation = prepare(settings)
    store, recipe = preparation.words.store, preparation.recipe
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    plan = StepPlan(len(store), recipe.samples_per_step, 1, recipe.seed)
    packed = 0
    for number in range(0, len(plan), 100):
        batches = packed_batches([store[index] for index in plan[number]], recipe.micro_batch_tokens)
        packed += sum(map(len, batches))
    if packed != sum(len(plan[number]) for number in range(0, len(plan), 100)):
        raise SystemExit("samples were lost in packing")
    seconds, pairs = time.perf_counter() - began, preparation.words.pairs
    preparation.close()
    peak = max(peak, int(re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 2**10)
    print(json.dumps({"pairs": pairs, "seconds": seconds, "peak": peak}))


def main() -> None:
    """Write, survey and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=["jsonl", "json", "csv", "parquet"])
    further = parser.add_mutually_exclusive_group()
    further.add_argument("--tokens", action="store_true", help="count the tokens too")
    further.add_argument("--pack", action="store_true", help="prepare for training, and pack")
    parser.add_argument("--survey", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.survey is not None and arguments.pack:
        pack_here(arguments.survey)
        return
    if arguments.survey is not None:
        survey_here(arguments.survey, arguments.tokens)
        return
    how = ["--tokens"] * arguments.tokens + ["--pack"] * arguments.pack
    rows, ratios = [], []
    print(f"{'form':<10}{'file MiB':>10}{'pairs':>12}{'seconds':>10}{'pairs/s':>12}{'peak MiB':>10}{'of a tenth':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for form in arguments.forms:
            peaks = []
            for pairs in (arguments.pairs // 10, arguments.pairs):
                path = Path(folder) / f"corpus.{'jsonl' if form == 'chat' else form}"
                write(path, form, pairs)
                result = measure(path, how)
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
