"""How much memory next-token diversity takes over corpora of different sizes: it must not grow with them.

    python benchmarks/next_token_memory.py                          # a small random model, 5 and 50 MB
    python benchmarks/next_token_memory.py --model understudy --mb 1 5
    python benchmarks/next_token_memory.py --model constant --mb 400 4000 --compressed --longest 60000

Each size is measured in a process of its own, by the largest resident set that the kernel saw (ru_maxrss). `random`: a
Mistral-shaped model of one layer with 128 tokens, so that 50 MB take minutes and not hours; `constant`: constant logits
in place of a model, which leaves the reader and the sums.  With `--compressed` the corpus is a .jsonl.zst, whose text,
repeated, takes hardly any space; each line of it differs by a number.

Prints a table, and one line of JSON last.  Exit status 1 when two sizes differ by more than 30 MB.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from wmkml.config.paths import PROJECT, SHIPPED_MODEL

MOST_DIFFERENCE_MB = 30
VOCABULARY = 128


def guides() -> str:
    """The project's guides, joined."""
    return "\n\n".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "docs").glob("*.md")))


def lines(size: int, longest: int) -> Iterator[bytes]:
    """About `size` bytes of JSON lines: parts of the guides, a tenth of `longest` to `longest` characters, numbered."""
    text = guides()
    done, number, random = 0, 0, np.random.default_rng(0)
    while done < size:
        length = int(random.integers(longest // 10, longest))
        start = int(random.integers(0, len(text) - length))
        line = json.dumps({"text": f"{number}. {text[start : start + length]}"}).encode() + b"\n"
        yield line
        done, number = done + len(line), number + 1


def write_corpus(path: Path, size: int, longest: int) -> None:
    """Write a corpus, compressed if its name says so."""
    if path.suffix != ".zst":
        with path.open("wb") as file:
            for line in lines(size, longest):
                file.write(line)
        return
    import zstandard

    # A hundred million bytes of it again and again: making it takes longer than reading it.
    block = b"".join(lines(min(size, 10**8), longest))
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as stream:
        for _ in range(max(1, round(size / len(block)))):
            stream.write(block)


class ConstantLogits:
    """In place of a model: the same expectation after every token."""

    vocabulary = 256

    def score(self, windows: Sequence[Any]) -> Iterator[Any]:
        """Uniform."""
        from wmkml.laboratory.analysis.next_token.sums import WindowScores

        for window in windows:
            count = len(window.targets)
            ranks = np.full(self.vocabulary, count / self.vocabulary)
            logs = np.full(count, -np.log(self.vocabulary))
            yield WindowScores(len(window.inputs), logs, -logs, np.full(count, 1 / self.vocabulary), ranks)


def understudy() -> tuple[Any, Callable[[str], list[int]], int]:
    """The understudy, its tokenizer, and the token before a document."""
    import torch
    from transformers import AutoModelForCausalLM

    from wmkml.laboratory.analysis.loading import load_any_tokenizer

    tokenizer = load_any_tokenizer(SHIPPED_MODEL)
    model = AutoModelForCausalLM.from_pretrained(str(SHIPPED_MODEL), dtype=torch.float32)
    return (
        model,
        lambda text: list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]),
        int(tokenizer.bos_token_id),
    )


def random_model() -> tuple[Any, Callable[[str], list[int]], int]:
    """A Mistral-shaped model with random weights, a tokenizer of the guides' most frequent words, and a token before a text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import MistralConfig, MistralForCausalLM

    counts = Counter(re.findall(r"\w+|[^\w\s]+", guides()))
    words = ["<begin>", "<other>", *(word for word, _ in counts.most_common(VOCABULARY - 2))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<other>"))
    tokenizer.pre_tokenizer = Whitespace()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = MistralConfig(vocab_size=VOCABULARY, num_key_value_heads=1, head_dim=16, **sizes)
    return MistralForCausalLM(config), lambda text: list(tokenizer.encode(text).ids), 0


def measure(model: str, path: Path) -> dict[str, Any]:
    """Measure a corpus in this process."""
    from wmkml.laboratory.analysis.next_token.measuring import NextTokenOptions, measure_corpus
    from wmkml.laboratory.analysis.next_token.results import next_token_result

    began = time.monotonic()
    options = NextTokenOptions(1024, 1024)
    if model == "constant":
        # A token for a hundred characters: what counts is the number of bytes that are read.
        corpus = measure_corpus(ConstantLogits(), lambda text: [0] * (len(text) // 100), 0, [path], options)
        vocabulary = ConstantLogits.vocabulary
    else:
        import torch

        from wmkml.laboratory.analysis.next_token.scoring import ModelScorer

        loaded, encode, prefix = understudy() if model == "understudy" else random_model()
        scorer = ModelScorer(loaded.eval(), torch.device("cpu"))
        corpus = measure_corpus(scorer, encode, prefix, [path], options)
        vocabulary = scorer.vocabulary
    micro = next_token_result(corpus, options, vocabulary)["micro"]
    return {
        "bytes_read": corpus.progress[str(path)].offset,
        "documents": micro["documents"],
        "tokens": micro["tokens"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("random", "understudy", "constant"), default="random")
    parser.add_argument("--mb", type=int, nargs="+", default=[5, 50], help="sizes in millions of bytes")
    parser.add_argument("--compressed", action="store_true", help="a .jsonl.zst in place of a .jsonl")
    parser.add_argument("--longest", type=int, default=3000, metavar="N", help="characters of a document at most")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.model, arguments.measure)))
        return 0
    results = []
    for size in arguments.mb:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ("corpus.jsonl.zst" if arguments.compressed else "corpus.jsonl")
            write_corpus(path, size * 10**6, arguments.longest)
            command = [sys.executable, __file__, "--model", arguments.model, "--measure", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(
            "{bytes_read:>14,} bytes {documents:>10,} documents {tokens:>13,} tokens {peak_mb:>7.0f} MB at most "
            "{seconds:>8} s".format(**results[-1]),
            flush=True,
        )
    peaks = [result["peak_mb"] for result in results]
    print(json.dumps({"benchmark": "next_token_memory", "model": arguments.model, "sizes": results}))
    return int(max(peaks) - min(peaks) > MOST_DIFFERENCE_MB)


if __name__ == "__main__":
    sys.exit(main())
