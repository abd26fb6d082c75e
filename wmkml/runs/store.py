"""A run's database: everything of a run that must survive a crash, in one SQLite file.

What a method has returned from is on disk (WAL with full synchronisation), but for rounds, phases and languages: those
are written behind the caller, in order, since nobody is promised them and the disk may take a tenth of a second, in
which no token could be sent.  Reading waits for no writer.  Methods may be called from any thread.
Knows no clock, no HTTP and no files beyond its own.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from wmkml.choosing import Candidate
from wmkml.runs.schema import FORMAT, TABLES, AcceptedAdapter, NewPair, Round, RunRow
from wmkml.wire import ChatToken, Exchange, Phase, Sample, ShownExchange, Source

TOKENS = TypeAdapter(list[ChatToken])

SOURCES: tuple[Source, ...] = ("visitor", "echo", "persistent", "dataset")


OF_THIS_RUN = "source != 'dataset' AND NOT carried"
"""Of the pairs: those that this run's own iterations said to somebody, and their echoes."""


class StoreClosed(RuntimeError):
    """The run of this store is over; nothing can be kept in it any more."""

    def __init__(self) -> None:
        super().__init__("the run is over and its store is closed")


class RunStore:
    """One run's pairs, rounds and adapters."""

    def __init__(self, path: Path) -> None:
        """Open the database, and make its tables if it is new.

        Raises:
            sqlite3.DatabaseError: the file is none of SQLite's, or damaged.
        """
        self._closed = False
        self._writer_lock, self._reader_lock = threading.Lock(), threading.Lock()
        with closing(_connected(path)) as trying:  # a damaged file shows here, and nothing is left open then
            trying.execute("PRAGMA journal_mode=WAL")
            trying.executescript(TABLES)
        self._writer, self._reader = _connected(path), _connected(path)
        self._writer.execute("PRAGMA synchronous=FULL")
        self._reader.execute("PRAGMA query_only=ON")
        self._behind = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._last: Future[None] | None = None
        self._failed: sqlite3.Error | None = None

    def close(self) -> None:
        """Write everything into the one file and let go of it; the -wal and -shm files are gone afterwards.

        Raises what a write behind the caller failed with, where nobody was told of it yet.
        """
        if self._closed:
            return
        self._behind.shutdown(wait=True)
        with self._writer_lock, self._reader_lock:
            self._closed = True
            self._reader.close()
            self._writer.close()  # the last connection takes the -wal file with it
        self._tell()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._writer_lock:
            if self._closed:
                raise StoreClosed
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # some errors have rolled back already
                    self._writer.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._reader_lock:
            if self._closed:
                raise StoreClosed
            return self._reader.execute(query, values).fetchall()

    def _write_behind(self, statement: str, *values: Any) -> None:
        def write() -> None:
            try:
                with self._writing() as connection:
                    connection.execute(statement, values)
            except sqlite3.Error as error:
                self._failed = error  # raised where the next one writes: a full disk must not pass unseen

        self._tell()
        if self._closed:
            raise StoreClosed
        self._last = self._behind.submit(write)

    def _settle(self) -> None:
        """Wait for what is written behind the caller; raises what it failed with."""
        if self._last is not None:
            wait([self._last])
        self._tell()

    def _tell(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    # --- the run ---------------------------------------------------------------------------------------------------

    def begin(self, run: str, language: str, started_at: float) -> None:
        """Write the run's own row; once, before anything else."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO run VALUES (1, ?, ?, ?, ?, 'seeding', 0.0, -1, 0)", (FORMAT, run, language, started_at)
            )

    def run(self) -> RunRow | None:
        """The run; none if the process was killed before it was written."""
        self._settle()
        rows = self._rows("SELECT run, language, started_at, phase, phase_began, iteration, clean FROM run")
        return RunRow(**{**dict(rows[0]), "clean": bool(rows[0]["clean"])}) if rows else None

    def whole(self) -> bool:
        """Whether the file is undamaged and holds a run."""
        [found] = self._rows("PRAGMA quick_check(1)")
        return found[0] == "ok" and self.run() is not None

    def set_phase(self, phase: Phase, began: float) -> None:
        """The run is in this phase since `began` seconds after its start."""
        self._write_behind("UPDATE run SET phase = ?, phase_began = ?", phase, began)

    def set_clean(self) -> None:
        """Inference has forgotten every earlier run."""
        with self._writing() as connection:
            connection.execute("UPDATE run SET clean = 1")

    def set_iteration(self, iteration: int) -> None:
        """This iteration answers."""
        with self._writing() as connection:
            connection.execute("UPDATE run SET iteration = ?", (iteration,))

    # --- pairs -----------------------------------------------------------------------------------------------------

    def add_pairs(self, pairs: Iterable[NewPair], tokens: Sequence[ChatToken] = ()) -> list[int]:
        """Store pairs, all or none; returns their numbers.  `tokens`: how the last one's answer was said."""
        columns = [field.name for field in fields(NewPair)]
        statement = f"INSERT INTO pairs ({', '.join(columns)}, made_at) VALUES ({', '.join('?' * len(columns))}, ?)"
        now, numbers = time.time(), []
        with self._writing() as connection:
            for pair in pairs:
                cursor = connection.execute(statement, (*(getattr(pair, name) for name in columns), now))
                numbers.append(int(cursor.lastrowid or 0))
            if tokens:
                said = TOKENS.dump_json(list(tokens)).decode()
                connection.execute("INSERT INTO tokens VALUES (?, ?)", (numbers[-1], said))
        return numbers

    def counts(self) -> dict[Source, int]:
        """How many pairs there are of each source."""
        found = {row["source"]: row["n"] for row in self._rows("SELECT source, count(*) n FROM pairs GROUP BY source")}
        return {source: found.get(source, 0) for source in SOURCES}

    def exchanges(self, station: str, newest: int | None = None, oldest: int | None = None) -> list[Exchange]:
        """What a station said and was answered in this run, oldest first; answers cut as they were shown.

        Args:
            newest, oldest: only so many of its newest, or of its oldest; neither: all of them.
        """
        rows = self._rows(
            "SELECT prompt, substr(answer, 1, kept) text, iteration FROM pairs "
            "WHERE station = ? AND source = 'visitor' AND NOT carried "
            f"ORDER BY pair {'DESC' if oldest is None else 'ASC'} LIMIT ?",
            station,
            next((one for one in (oldest, newest) if one is not None), -1),
        )
        return [Exchange(**dict(row)) for row in (reversed(rows) if oldest is None else rows)]

    def shown(self, station: str, with_tokens: int) -> list[ShownExchange]:
        """What a station said and was answered in this run, oldest first; the newest `with_tokens` as they were drawn."""
        rows = self._rows(
            "SELECT prompt, substr(answer, 1, kept) text, iteration, tokens FROM pairs LEFT JOIN ("
            "SELECT pair, tokens FROM tokens JOIN pairs USING (pair) WHERE station = ?1 ORDER BY pair DESC LIMIT ?2"
            ") USING (pair) WHERE station = ?1 AND source = 'visitor' AND NOT carried ORDER BY pair",
            station,
            with_tokens,
        )
        return [
            ShownExchange(**{**dict(row), "tokens": TOKENS.validate_json(row["tokens"]) if row["tokens"] else []})
            for row in rows
        ]

    def live(self) -> list[Candidate]:
        """Every live pair."""
        return [Candidate(*row) for row in self._rows("SELECT pair, prompt, iteration FROM pairs WHERE live")]

    def considered(self, most_per_prompt: int) -> int:
        """How many live pairs there are, counting at most so many of each prompt."""
        rows = self._rows(
            "SELECT coalesce(sum(min(n, ?)), 0) n FROM (SELECT count(*) n FROM pairs WHERE live GROUP BY prompt)",
            most_per_prompt,
        )
        return int(rows[0]["n"])

    def answered_for(self, for_round: int) -> int:
        """How many dataset pairs were answered for a round."""
        rows = self._rows("SELECT count(*) n FROM pairs WHERE source = 'dataset' AND for_round = ?", for_round)
        return int(rows[0]["n"])

    def of_datasets(self, for_round: int) -> list[Candidate]:
        """The dataset pairs that were answered for a round."""
        return [
            Candidate(*row)
            for row in self._rows(
                "SELECT pair, prompt, iteration FROM pairs WHERE source = 'dataset' AND for_round = ?", for_round
            )
        ]

    def samples(self, pairs: list[int]) -> list[Sample]:
        """The words of these pairs, in their order, repeats included."""
        marks = ", ".join("?" * len(set(pairs)))
        rows = self._rows(f"SELECT pair, prompt, answer FROM pairs WHERE pair IN ({marks})", *set(pairs))
        words = {row["pair"]: Sample(prompt=row["prompt"], answer=row["answer"]) for row in rows}
        return [words[pair] for pair in pairs]

    def newest_answers(self, count: int) -> list[tuple[str, float | None]]:
        """The newest answers (datasets' left out) and their entropies, newest first."""
        rows = self._rows(
            "SELECT answer, entropy FROM pairs WHERE source != 'dataset' ORDER BY pair DESC LIMIT ?", count
        )
        return [(row["answer"], row["entropy"]) for row in rows]

    def answer_counts(self) -> dict[int, int]:
        """How many answers of this run there are of each iteration, datasets' left out."""
        rows = self._rows(f"SELECT iteration, count(*) n FROM pairs WHERE {OF_THIS_RUN} GROUP BY iteration")
        return {row["iteration"]: row["n"] for row in rows}

    def answers_of(self, iteration: int, newest: int) -> list[tuple[str, float | None]]:
        """The newest answers of an iteration (datasets' left out) and their entropies."""
        rows = self._rows(
            f"SELECT answer, entropy FROM pairs WHERE {OF_THIS_RUN} AND iteration = ? ORDER BY pair DESC LIMIT ?",
            iteration,
            newest,
        )
        return [(row["answer"], row["entropy"]) for row in rows]

    def last_exchanges(self, count: int) -> list[Exchange]:
        """What visitors said last, wherever they sit, newest first; answers cut as they were shown."""
        rows = self._rows(
            "SELECT prompt, substr(answer, 1, kept) text, iteration FROM pairs "
            "WHERE source = 'visitor' AND NOT carried ORDER BY pair DESC LIMIT ?",
            count,
        )
        return [Exchange(**dict(row)) for row in rows]

    def persistent_answered(self, iteration: int) -> int:
        """How often this iteration has answered the persistent prompt."""
        rows = self._rows("SELECT count(*) n FROM pairs WHERE source = 'persistent' AND iteration = ?", iteration)
        return int(rows[0]["n"])

    def all_pairs(self, source: Source | None = None) -> list[dict[str, Any]]:
        """Whole rows of `pairs`: for the operator, and for carrying what visitors said into the next run."""
        rows = self._rows("SELECT * FROM pairs WHERE ?1 IS NULL OR source = ?1 ORDER BY pair", source)
        return [dict(row) for row in rows]

    # --- stations --------------------------------------------------------------------------------------------------

    def set_language(self, station: str, language: str) -> None:
        """A station speaks this language from now on."""
        self._write_behind("INSERT OR REPLACE INTO stations VALUES (?, ?)", station, language)

    def languages(self) -> dict[str, str]:
        """The language of every station that chose one."""
        self._settle()
        return {row["station"]: row["language"] for row in self._rows("SELECT station, language FROM stations")}

    def stations(self) -> set[str]:
        """Every station that said something in this run."""
        rows = self._rows("SELECT DISTINCT station FROM pairs WHERE source = 'visitor' AND NOT carried")
        return {row["station"] for row in rows}

    # --- rounds and adapters ---------------------------------------------------------------------------------------

    def save_round(self, one: Round) -> None:
        """Write a round as it is now."""
        row = {**asdict(one), "pairs": json.dumps(one.pairs)}
        statement = f"INSERT OR REPLACE INTO rounds ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        self._write_behind(statement, *row.values())

    def rounds(self) -> list[Round]:
        """Every round so far, in order."""
        self._settle()
        rows = self._rows("SELECT * FROM rounds ORDER BY iteration")
        return [Round(**{**dict(row), "pairs": json.loads(row["pairs"])}) for row in rows]

    def accept(self, adapter: AcceptedAdapter, finished: Round | None = None) -> None:
        """From now on this adapter answers; its round, where it has one, is finished: all or nothing."""
        self._settle()  # or a round saved before would be written over what is written here
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO adapters VALUES (?, ?, ?, ?, ?)",
                (adapter.iteration, adapter.path, adapter.sha256, adapter.from_round, time.time()),
            )
            connection.execute("UPDATE run SET iteration = ?", (adapter.iteration,))
            if finished is not None:
                connection.execute(
                    "UPDATE rounds SET status = 'accepted', held_seconds = ? WHERE iteration = ?",
                    (finished.held_seconds, finished.iteration),
                )

    def withdraw(self, iteration: int, instead: int) -> None:
        """This adapter was accepted and shall never answer again, nor be trained on from; `instead` answers now."""
        with self._writing() as connection:
            connection.execute("DELETE FROM adapters WHERE iteration = ?", (iteration,))
            connection.execute("UPDATE run SET iteration = ?", (instead,))

    def adapters(self) -> list[AcceptedAdapter]:
        """Every adapter that was accepted, by iteration; a wall clock may be set back, iterations never are."""
        rows = self._rows("SELECT iteration, path, sha256, from_round FROM adapters ORDER BY iteration")
        return [AcceptedAdapter(**{**dict(row), "from_round": bool(row["from_round"])}) for row in rows]


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection
