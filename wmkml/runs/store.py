"""A run's pairs, stations, rounds, adapters and measures: everything of it that must survive a crash, in one SQLite file.

Rounds, measures, phases, languages, the hold, and echoes that are given up are written behind: losing the last of them does no
harm.  All else is on disk when its method returns.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter

from wmkml.policy.pair_selection import Candidate
from wmkml.protocol.conversation import ChatToken, Exchange, ShownExchange
from wmkml.protocol.desk import DeskExchange
from wmkml.protocol.run_state import AdapterProof, IterationMeasures, Phase, Source
from wmkml.protocol.training import Sample
from wmkml.runs.database import Database
from wmkml.runs.schema import FORMAT, AcceptedAdapter, NewPair, Round, RunRow, WaitingEcho

TOKENS = TypeAdapter(list[ChatToken])

SOURCES: tuple[Source, ...] = ("visitor", "echo", "persistent", "dataset")

OF_THIS_RUN = "source != 'dataset' AND NOT carried"
"""SQL condition on `pairs`: answers of this run's own iterations, datasets' left out."""


class RunStore(Database):
    """One run's pairs, rounds and adapters."""

    # --- the run ---------------------------------------------------------------------------------------------------

    def begin(self, run: str, language: str, started_at: float) -> None:
        """Insert the run's own row: once, before anything else."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO run VALUES (1, ?, ?, ?, ?, 'seeding', 0.0, -1, 0)", (FORMAT, run, language, started_at)
            )

    def run(self) -> RunRow | None:
        """The run's own row; None if the process was killed before it was written."""
        self._settle()
        rows = self._rows("SELECT run, language, started_at, phase, phase_began, iteration, clean FROM run")
        return RunRow(**{**dict(rows[0]), "clean": bool(rows[0]["clean"])}) if rows else None

    def is_intact(self) -> bool:
        """Whether the file is undamaged and holds a run."""
        [row] = self._rows("PRAGMA quick_check(1)")
        return row[0] == "ok" and self.run() is not None

    def set_phase(self, phase: Phase, began: float) -> None:
        """Set the run's phase, which began `began` seconds after the run's start."""
        self._write_behind("UPDATE run SET phase = ?, phase_began = ?", phase, began)

    def set_clean(self) -> None:
        """Record that inference has unloaded every earlier run's adapters."""
        with self._transaction() as connection:
            connection.execute("UPDATE run SET clean = 1")

    def set_iteration(self, iteration: int) -> None:
        """Record the iteration that answers now."""
        with self._transaction() as connection:
            connection.execute("UPDATE run SET iteration = ?", (iteration,))

    def set_holding(self, holding: bool) -> None:
        """Record whether the operator holds the language."""
        self._write_behind("INSERT OR REPLACE INTO hold VALUES (1, ?)", holding)

    def holding(self) -> bool:
        """Whether the operator holds the language."""
        self._settle()
        return any(row["holding"] for row in self._rows("SELECT holding FROM hold"))

    # --- pairs -----------------------------------------------------------------------------------------------------

    def add_pairs(
        self,
        pairs: Iterable[NewPair],
        tokens: Sequence[ChatToken] = (),
        *,
        awaits_echoes: bool = False,
        echoes_of: int | None = None,
    ) -> list[int]:
        """Store pairs, all or none, and return their numbers.

        Args:
            tokens: the tokens of the last pair's answer.
            awaits_echoes: whether the last pair's prompt waits for its echoes from now on.
            echoes_of: the pair whose prompt these pairs echo: it waits no longer.

        What was written behind before is on the disk as well when this returns: a station's language with its pairs.
        """
        self._settle()
        columns = [field.name for field in fields(NewPair)]
        statement = f"INSERT INTO pairs ({', '.join(columns)}, made_at) VALUES ({', '.join('?' * len(columns))}, ?)"
        now, numbers = time.time(), []
        with self._transaction() as connection:
            for pair in pairs:
                cursor = connection.execute(statement, (*(getattr(pair, name) for name in columns), now))
                numbers.append(int(cursor.lastrowid or 0))
            if tokens:
                encoded = TOKENS.dump_json(list(tokens)).decode()
                connection.execute("INSERT INTO tokens VALUES (?, ?)", (numbers[-1], encoded))
            if awaits_echoes:
                connection.execute("INSERT INTO waiting_echoes VALUES (?)", (numbers[-1],))
            if echoes_of is not None:
                connection.execute("DELETE FROM waiting_echoes WHERE pair = ?", (echoes_of,))
        return numbers

    def forget(self, station: str) -> list[int]:
        """Delete a station's pairs and their echoes, and their tokens, in this run and from the file; their numbers.

        Pages are overwritten (`secure_delete`), and the write-ahead log, which holds them too, is emptied: later, where disk
        or readers keep it from being emptied now.
        """
        self._settle()  # a language written behind would come back after the deletion
        with self._transaction() as connection:
            numbers = _delete_pairs(connection, "station = ?", station)
            connection.execute("DELETE FROM stations WHERE station = ?", (station,))
        self._empty_log()
        return numbers

    def forget_prompt(self, station: str, prompt: str) -> list[int]:
        """Delete what a station was answered to a prompt, and its echoes, as `forget` does; the pairs' numbers."""
        with self._transaction() as connection:
            numbers = _delete_pairs(connection, "station = ? AND prompt = ?", station, prompt)
        self._empty_log()
        return numbers

    def spoken_pairs(self, station: str, prompt: str | None = None) -> set[int]:
        """The numbers of a station's pairs and their echoes; with `prompt`, of those to this prompt alone."""
        rows = self._rows(
            "SELECT pair FROM pairs WHERE source IN ('visitor', 'echo') AND station = ?1 AND (?2 IS NULL OR prompt = ?2)",
            station,
            prompt,
        )
        return {row["pair"] for row in rows}

    def prompt_of(self, pair: int) -> tuple[str, str] | None:
        """Station and prompt of a visitor's pair; None if there is none of this number."""
        rows = self._rows(
            "SELECT coalesce(station, '') station, prompt FROM pairs WHERE pair = ? AND source = 'visitor'", pair
        )
        return (rows[0]["station"], rows[0]["prompt"]) if rows else None

    def pair_counts(self, *, carried: bool = True) -> dict[Source, int]:
        """The number of pairs of each source, zeros included; `carried`: with those taken over from the run before."""
        rows = self._rows("SELECT source, count(*) n FROM pairs WHERE ? OR NOT carried GROUP BY source", carried)
        counts = {row["source"]: row["n"] for row in rows}
        return {source: counts.get(source, 0) for source in SOURCES}

    def exchanges(self, station: str, newest: int | None = None, oldest: int | None = None) -> list[Exchange]:
        """A station's exchanges in this run, oldest first; answers are cut as they were shown.

        Args:
            newest, oldest: return only this many of the newest, or of the oldest; neither: all of them.
        """
        limit = newest if oldest is None else oldest
        rows = self._rows(
            "SELECT prompt, substr(answer, 1, kept) text, iteration FROM pairs "
            "WHERE station = ? AND source = 'visitor' AND NOT carried "
            f"ORDER BY pair {'DESC' if oldest is None else 'ASC'} LIMIT ?",
            station,
            -1 if limit is None else limit,
        )
        return [Exchange(**dict(row)) for row in (reversed(rows) if oldest is None else rows)]

    def shown_exchanges(
        self, station: str, with_tokens: int, shown: Callable[[str, int], str] | None = None
    ) -> list[ShownExchange]:
        """A station's exchanges in this run, oldest first; the newest `with_tokens` of them with their tokens.

        Args:
            shown: what is shown of an answer of which so many characters are kept; None: those.
        """
        rows = self._rows(
            "SELECT prompt, answer, kept, iteration, tokens FROM pairs LEFT JOIN ("
            "SELECT pair, tokens FROM tokens JOIN pairs USING (pair) WHERE station = ?1 ORDER BY pair DESC LIMIT ?2"
            ") USING (pair) WHERE station = ?1 AND source = 'visitor' AND NOT carried ORDER BY pair",
            station,
            with_tokens,
        )
        return [
            ShownExchange(
                prompt=row["prompt"],
                text=shown(row["answer"], row["kept"]) if shown else row["answer"][: row["kept"]],
                iteration=row["iteration"],
                tokens=TOKENS.validate_json(row["tokens"]) if row["tokens"] else [],
            )
            for row in rows
        ]

    def live_pairs(self) -> list[Candidate]:
        """Every live pair."""
        return [Candidate(*row) for row in self._rows("SELECT pair, prompt, iteration, station FROM pairs WHERE live")]

    def count_live_pairs(self, max_per_prompt: int) -> int:
        """The number of live pairs, counting at most `max_per_prompt` of each prompt."""
        rows = self._rows(
            "SELECT coalesce(sum(min(n, ?)), 0) n FROM (SELECT count(*) n FROM pairs WHERE live GROUP BY prompt)",
            max_per_prompt,
        )
        return int(rows[0]["n"])

    def count_dataset_pairs(self, for_round: int) -> int:
        """The number of dataset pairs answered for a round."""
        rows = self._rows("SELECT count(*) n FROM pairs WHERE source = 'dataset' AND for_round = ?", for_round)
        return int(rows[0]["n"])

    def dataset_pairs(self, for_round: int) -> list[Candidate]:
        """The dataset pairs answered for a round."""
        return [
            Candidate(*row)
            for row in self._rows(
                "SELECT pair, prompt, iteration FROM pairs WHERE source = 'dataset' AND for_round = ?", for_round
            )
        ]

    def samples(self, pairs: list[int]) -> list[Sample]:
        """Prompt and answer of these pairs, in the given order, repeats included; those that were deleted are left out."""
        marks = ", ".join("?" * len(set(pairs)))
        rows = self._rows(f"SELECT pair, prompt, answer FROM pairs WHERE pair IN ({marks})", *set(pairs))
        by_number = {row["pair"]: Sample(prompt=row["prompt"], answer=row["answer"]) for row in rows}
        return [by_number[pair] for pair in pairs if pair in by_number]  # some may have been deleted meanwhile

    def newest_answers(self, count: int) -> list[tuple[str, float | None]]:
        """The newest answers (datasets' left out) with their mean entropies in nats, newest first."""
        rows = self._rows(
            "SELECT answer, entropy FROM pairs WHERE source != 'dataset' ORDER BY pair DESC LIMIT ?", count
        )
        return [(row["answer"], row["entropy"]) for row in rows]

    def answer_counts(self) -> dict[int, int]:
        """The number of answers of each iteration of this run, datasets' left out."""
        rows = self._rows(f"SELECT iteration, count(*) n FROM pairs WHERE {OF_THIS_RUN} GROUP BY iteration")
        return {row["iteration"]: row["n"] for row in rows}

    def answers_of(self, iteration: int, newest: int) -> list[tuple[str, float | None]]:
        """The newest answers of an iteration (datasets' left out) with their mean entropies in nats, newest first."""
        rows = self._rows(
            f"SELECT answer, entropy FROM pairs WHERE {OF_THIS_RUN} AND iteration = ? ORDER BY pair DESC LIMIT ?",
            iteration,
            newest,
        )
        return [(row["answer"], row["entropy"]) for row in rows]

    def newest_exchanges(self, count: int) -> list[DeskExchange]:
        """The newest exchanges of all stations, newest first; answers are cut as they were shown."""
        rows = self._rows(
            "SELECT pair, prompt, substr(answer, 1, kept) text, iteration FROM pairs "
            "WHERE source = 'visitor' AND NOT carried ORDER BY pair DESC LIMIT ?",
            count,
        )
        return [DeskExchange(**dict(row)) for row in rows]

    def waiting_echoes(self) -> list[WaitingEcho]:
        """The prompts that wait for their echoes, oldest first."""
        self._settle()
        rows = self._rows(
            "SELECT pair, language, prompt, coalesce(station, '') station FROM waiting_echoes JOIN pairs USING (pair) "
            "ORDER BY waiting_echoes.pair"
        )
        return [WaitingEcho(**dict(row)) for row in rows]

    def give_up_echoes(self, pair: int) -> None:
        """The prompt of this pair waits for its echoes no longer."""
        self._write_behind("DELETE FROM waiting_echoes WHERE pair = ?", pair)

    def count_persistent_answers(self, iteration: int) -> int:
        """The number of this iteration's answers to the persistent prompt."""
        rows = self._rows("SELECT count(*) n FROM pairs WHERE source = 'persistent' AND iteration = ?", iteration)
        return int(rows[0]["n"])

    def all_pairs(self, source: Source | None = None) -> list[dict[str, Any]]:
        """Whole rows of `pairs`, oldest first; None: of every source."""
        rows = self._rows("SELECT * FROM pairs WHERE ?1 IS NULL OR source = ?1 ORDER BY pair", source)
        return [dict(row) for row in rows]

    # --- stations --------------------------------------------------------------------------------------------------

    def set_language(self, station: str, language: str) -> None:
        """Set a station's language from now on."""
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

    def save_round(self, round_: Round) -> None:
        """Write a round as it is now, over what was saved of it before."""
        proof = None if round_.proof is None else round_.proof.model_dump_json()
        row = {**asdict(round_), "pairs": json.dumps(round_.pairs), "proof": proof}
        statement = f"INSERT OR REPLACE INTO rounds ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        self._write_behind(statement, *row.values())

    def rounds(self) -> list[Round]:
        """Every round so far, by iteration."""
        self._settle()
        rows = self._rows("SELECT * FROM rounds ORDER BY iteration")
        return [_round_of(row) for row in rows]

    def accept(self, adapter: AcceptedAdapter, finished: Round | None = None) -> None:
        """Record that this adapter answers from now on, and that its round, if given, is accepted: all or nothing."""
        self.flush()  # else an earlier save_round could overwrite this
        with self._transaction() as connection:
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
        """Remove an accepted adapter: it neither answers nor is trained further; iteration `instead` answers now."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM adapters WHERE iteration = ?", (iteration,))
            connection.execute("UPDATE run SET iteration = ?", (instead,))

    def set_measures(
        self, iteration: int, values: Mapping[str, float | None], layers: Mapping[str, Sequence[float | None]]
    ) -> None:
        """Write down measures of an iteration, over those of the same names; None: it could not be measured."""
        rows = [(iteration, name, value) for name, value in values.items()]
        self._write_rows_behind("measures", rows)
        self._write_rows_behind(
            "layer_measures",
            [
                (iteration, name, layer, value)
                for name, of_layers in layers.items()
                for layer, value in enumerate(of_layers)
            ],
        )

    def measures(self) -> list[IterationMeasures]:
        """The measures of the base model and of every iteration that was accepted, by iteration."""
        self._settle()
        answered = "iteration < 0 OR iteration IN (SELECT iteration FROM adapters)"
        measured: dict[int, IterationMeasures] = {}

        def of(iteration: int) -> IterationMeasures:
            return measured.setdefault(iteration, IterationMeasures(iteration=iteration, values={}))

        for row in self._rows(f"SELECT * FROM measures WHERE {answered} ORDER BY rowid"):
            of(row["iteration"]).values[row["name"]] = row["value"]
        for row in self._rows(f"SELECT * FROM layer_measures WHERE {answered} ORDER BY name, layer"):
            of(row["iteration"]).layers.setdefault(row["name"], []).append(row["value"])
        return [measured[iteration] for iteration in sorted(measured)]

    def adapters(self) -> list[AcceptedAdapter]:
        """Every accepted adapter, by iteration (not by time: the wall clock may have been set back)."""
        rows = self._rows("SELECT iteration, path, sha256, from_round FROM adapters ORDER BY iteration")
        return [AcceptedAdapter(**{**dict(row), "from_round": bool(row["from_round"])}) for row in rows]


def _delete_pairs(connection: sqlite3.Connection, condition: str, *values: str) -> list[int]:
    """Delete the visitors' pairs and echoes for which an SQL condition holds, and their tokens; their numbers."""
    chosen = f"SELECT pair FROM pairs WHERE source IN ('visitor', 'echo') AND {condition}"
    numbers = [int(row["pair"]) for row in connection.execute(chosen, values)]
    for table in ("tokens", "waiting_echoes", "pairs"):
        connection.execute(f"DELETE FROM {table} WHERE pair IN ({chosen})", values)
    return numbers


def _round_of(row: sqlite3.Row) -> Round:
    proof = None if row["proof"] is None else AdapterProof.model_validate_json(row["proof"])
    return Round(**{**dict(row), "pairs": json.loads(row["pairs"]), "proof": proof})
