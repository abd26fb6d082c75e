"""What a corpus holds: counts, lengths in tokens, samples, duplicates and everything refused, in one streamed reading.

Duplicates and refusals are kept in a temporary SQLite database, which goes to the disk when it grows, so that memory is
bounded whatever the size of the corpus.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from wmkml.corpora.corpus import Corpus
from wmkml.corpora.pairs import Pair, RefusedLine

BATCH = 512
"""Pairs that are counted, and looked up, together."""

CACHE_KIB = 16 * 1024
"""Memory of the temporary database; what does not fit is on the disk."""

CountTokens = Callable[[Sequence[str]], list[int]]
"""The number of tokens of each of these texts."""

OnProgress = Callable[[int, Corpus], None]
"""Called now and then with the pairs read so far and the corpus being read."""


@dataclass
class Lengths:
    """How many texts have which number of tokens."""

    counts: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All tokens together."""
        return sum(length * count for length, count in self.counts.items())

    @property
    def longest(self) -> int:
        """The tokens of the longest text; 0 if there is none."""
        return max(self.counts, default=0)

    @property
    def mean(self) -> float:
        """Mean tokens of a text; 0 if there is none."""
        return self.total / max(1, self.counts.total())

    def quantile(self, share: float) -> int:
        """The smallest length that at least this share of the texts do not exceed."""
        missing = share * self.counts.total()
        for length in sorted(self.counts):
            missing -= self.counts[length]
            if missing <= 0:
                return length
        return 0

    def bins(self) -> list[tuple[int, int, int]]:
        """A histogram: (least, most, texts) for lengths 0–8, 9–16, 17–32, …, without empty ends."""
        if not self.counts:
            return []
        by_bin = Counter[int]()
        for length, count in self.counts.items():
            by_bin[max(3, (length - 1).bit_length() if length else 0)] += count
        first, last = min(by_bin), max(by_bin)
        return [(0 if k == 3 else 2 ** (k - 1) + 1, 2**k, by_bin[k]) for k in range(first, last + 1)]


@dataclass
class Survey:
    """What was found.  Close it when it is not needed any more.

    Attributes:
        pairs: all pairs, of which `prompts_only` have no answer and `passages` no prompt; `train` and `evaluation` are
            their parts.
        turns: pairs with a context.
        tokens: lengths of prompt (with context) and answer together, without a chat template's markup; None: not counted.
        samples: pairs drawn at random, in the order of the source.
        duplicates: pairs that stood there before, the same words in whatever case and spacing.
        contradictions: prompts that have several different answers.
        held_in_both: different pairs that are in both parts.
        sources: of the corpora, in order.
    """

    pairs: int = 0
    train: int = 0
    evaluation: int = 0
    prompts_only: int = 0
    passages: int = 0
    turns: int = 0
    refused: int = 0
    tokens: Lengths | None = None
    samples: list[Pair] = field(default_factory=list)
    duplicates: int = 0
    contradictions: int = 0
    held_in_both: int = 0
    sources: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _database: sqlite3.Connection = field(default_factory=lambda: _open_database(), repr=False)

    def refusals(self) -> Iterator[RefusedLine]:
        """Everything refused, in the order of reading."""
        for file, line, reason in self._database.execute("SELECT file, line, reason FROM refusals ORDER BY rowid"):
            yield RefusedLine(line, reason, file)

    def repeated(self, most: int) -> list[tuple[str, int, int]]:
        """The pairs that occur most often: (source, line of the first, how often)."""
        query = "SELECT corpus, line, times FROM pairs WHERE times > 1 ORDER BY times DESC, corpus, line LIMIT ?"
        return [(self.sources[corpus], line, times) for corpus, line, times in self._database.execute(query, (most,))]

    def close(self) -> None:
        """Delete the temporary database."""
        self._database.close()


def survey(
    corpora: Sequence[Corpus],
    count_tokens: CountTokens | None = None,
    samples: int = 3,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Survey:
    """Read corpora once and tell what they hold together.

    Args:
        count_tokens: the number of tokens of each of several texts; None: they are not counted.
        samples: how many pairs to draw, with this seed.

    Raises:
        CorpusError: one cannot be read on.
    """
    result = Survey(tokens=None if count_tokens is None else Lengths())
    began, source = time.monotonic(), random.Random(seed)
    drawn: list[tuple[int, Pair]] = []
    for corpus in corpora:
        result.sources.append(corpus.source)
        batch: list[Pair] = []
        refusals: list[RefusedLine] = []
        for entry in corpus.entries():
            if isinstance(entry, RefusedLine):
                result.refused += 1
                refusals.append(entry)
            else:
                result.pairs += 1
                _count(result, entry)
                _draw(drawn, entry, result.pairs, samples, source)
                batch.append(entry)
            if len(batch) >= BATCH or len(refusals) >= BATCH:
                _look_up(result, batch, refusals, count_tokens)
                batch, refusals = [], []
                if on_progress is not None:
                    on_progress(result.pairs, corpus)
        _look_up(result, batch, refusals, count_tokens)
    result.samples = [pair for _, pair in sorted(drawn, key=lambda draw: draw[0])]
    result.duplicates, result.contradictions, result.held_in_both = _duplicates(result._database)
    result.seconds = time.monotonic() - began
    return result


def _open_database() -> sqlite3.Connection:
    connection = sqlite3.connect("", isolation_level=None)  # a temporary file, which nobody else sees
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("CREATE TABLE refusals (file TEXT, line INTEGER, reason TEXT)")
    connection.execute(
        "CREATE TABLE pairs (pair INTEGER PRIMARY KEY, prompt INTEGER, corpus INTEGER, line INTEGER, times INTEGER, "
        "parts INTEGER)"
    )
    return connection


def _count(result: Survey, pair: Pair) -> None:
    result.train += pair.part == "train"
    result.evaluation += pair.part == "evaluation"
    result.prompts_only += pair.answer is None
    result.passages += pair.is_passage
    result.turns += bool(pair.context)


def _draw(drawn: list[tuple[int, Pair]], pair: Pair, number: int, samples: int, source: random.Random) -> None:
    """Reservoir sampling: at every moment each pair so far is among the drawn with the same probability."""
    if len(drawn) < samples:
        drawn.append((number, pair))
    elif samples and (place := source.randrange(number)) < samples:
        drawn[place] = (number, pair)


def _look_up(
    result: Survey,
    batch: Sequence[Pair],
    refusals: Sequence[RefusedLine],
    count_tokens: CountTokens | None,
) -> None:
    result._database.execute("BEGIN")
    result._database.executemany(
        "INSERT INTO refusals VALUES (?, ?, ?)", [(refusal.file, refusal.line, refusal.reason) for refusal in refusals]
    )
    # The hash is the key, and a table of SQLite is sorted by it: so the database holds a few dozen bytes for each pair.
    result._database.executemany(
        "INSERT INTO pairs VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT (pair) DO UPDATE SET times = times + 1, "
        "parts = parts | excluded.parts",
        [(*_hashes(pair), len(result.sources) - 1, pair.line, 1 if pair.part == "train" else 2) for pair in batch],
    )
    result._database.execute("COMMIT")
    if count_tokens is not None and result.tokens is not None and batch:
        result.tokens.counts.update(count_pair_tokens(batch, count_tokens))


def _hashes(pair: Pair) -> tuple[int, int]:
    """Of the whole pair, and of all but its answer; in whatever case and spacing."""
    asked = "\0".join([*(turn.text for turn in pair.context), pair.prompt])
    return _hash(f"{asked}\0{pair.answer}"), _hash(asked) if pair.prompt and pair.answer is not None else 0


def _hash(text: str) -> int:
    normal = " ".join(text.split()).casefold()
    return int.from_bytes(hashlib.blake2b(normal.encode(), digest_size=8).digest(), "big", signed=True)


def _duplicates(database: sqlite3.Connection) -> tuple[int, int, int]:
    """Pairs that repeat another; prompts with several answers; pairs that are in both parts."""
    [repeats, in_both] = database.execute("SELECT TOTAL(times - 1), TOTAL(parts = 3) FROM pairs").fetchone()
    [prompts] = database.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM pairs WHERE prompt != 0 GROUP BY prompt HAVING COUNT(*) > 1)"
    ).fetchone()
    return int(repeats), int(prompts), int(in_both)


def count_pair_tokens(pairs: Sequence[Pair], count_tokens: CountTokens) -> list[int]:
    """The tokens of each pair's texts, context included, without special ids or a template's markup."""
    messages = [[message["content"] for message in pair.messages] for pair in pairs]
    lengths = iter(count_tokens([text for texts in messages for text in texts]))
    return [sum(next(lengths) for _ in texts) for texts in messages]
