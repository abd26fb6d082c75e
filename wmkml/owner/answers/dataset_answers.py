"""The answers to dataset prompts that top up a round, given by the dying model itself while the round before trains.

Round 0 uses the base model's answers.  These are cached across runs, in a file of their own that holds no visitor's
words.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wmkml.config import Settings
from wmkml.corpora import read_dataset
from wmkml.dialogue.answer_end import kept_length
from wmkml.owner.answers.echoes import BackgroundRequests
from wmkml.owner.inference.client import InferenceRefusedError
from wmkml.owner.run.live_run import LiveRun
from wmkml.policy.pair_selection import considered_pairs, dataset_pairs_wanted
from wmkml.runs.database import not_stored
from wmkml.runs.schema import NewPair

log = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 60.0
"""A round waits this long for its dataset pairs; then it opens with those there are."""


class BaseAnswerCache:
    """The base model's answers to dataset prompts, by model, language and prompt, in an SQLite file."""

    def __init__(self, path: Path, model: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._model = model
        try:
            self._connection = _open_cache(path)
        except sqlite3.OperationalError as error:
            if not_stored(error) is None:
                raise
            log.warning("%s cannot be opened (%s): the base model's answers are not kept.", path, error)
            self._connection = _open_cache(Path(":memory:"))
        except sqlite3.DatabaseError as damage:
            log.warning("%s is damaged (%s); the base model answers the datasets anew.", path, damage)
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
            self._connection = _open_cache(path)

    def get(self, language: str, prompt: str) -> str | None:
        """The cached answer; None if there is none."""
        row = self._connection.execute(
            "SELECT answer FROM answers WHERE model = ? AND language = ? AND prompt = ?",
            (self._model, language, prompt),
        ).fetchone()
        return None if row is None else str(row[0])

    def put(self, language: str, prompt: str, answer: str) -> None:
        """Cache an answer, in place of an earlier one; on a disk that takes nothing it is asked for again some time."""
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (self._model, language, prompt, answer)
            )
        except sqlite3.OperationalError as error:
            if not_stored(error) is None:
                raise

    def delete(self, language: str, prompts: Iterable[str]) -> None:
        """Delete the answers to these prompts, so that they are generated anew."""
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "DELETE FROM answers WHERE model = ? AND language = ? AND prompt = ?",
            [(self._model, language, prompt) for prompt in prompts],
        )
        self._connection.execute("COMMIT")

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the database, and empty it: it never shrinks by itself."""
        # On a disk that takes nothing the log stays, and is emptied at the end of a later run.
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _open_cache(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # Durability is not needed (a lost answer is generated again), and the event loop must not wait for the disk.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        [verdict] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS answers (model TEXT, language TEXT, prompt TEXT, answer TEXT NOT NULL, "
            "PRIMARY KEY (model, language, prompt))"
        )
    except BaseException:
        connection.close()
        raise
    return connection


@dataclass
class _Count:
    value: int = 0


class DatasetAnswers:
    """Generates the dataset pairs of one run's rounds."""

    def __init__(
        self, settings: Settings, datasets: Path, background: BackgroundRequests, cache: BaseAnswerCache
    ) -> None:
        """`datasets`: the folder of all datasets."""
        self._settings, self._datasets, self._background, self._cache = settings, datasets, background, cache
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """By round: the task that answers its datasets."""

    def end(self) -> None:
        """The run is over."""
        self._cache.checkpoint()

    async def discard_base_answers(self, run: LiveRun) -> None:
        """Delete the cached answers to round 0's datasets, so that this run generates them anew."""
        prompts = await asyncio.to_thread(self._prompts, 0)
        self._cache.delete(run.language, [prompt for _, prompt in prompts])

    def begin(self, run: LiveRun, round_number: int) -> None:
        """Start to answer a round's datasets in the background; pairs that are stored already count."""
        if self._settings.datasets_of(round_number) and round_number not in self._tasks:
            self._tasks[round_number] = run.spawn(self._answer_datasets(run, round_number))

    async def wait_until_enough(self, run: LiveRun, round_number: int) -> None:
        """Wait until a round has all its dataset pairs, at most MAX_WAIT_SECONDS; then stop generating them."""
        self.begin(run, round_number)
        task = self._tasks.get(round_number)
        if task is None:
            return
        done, _ = await asyncio.wait([task], timeout=MAX_WAIT_SECONDS)
        if not done:
            log.info("Round %d does not wait any longer for answers to its datasets.", round_number)
            task.cancel()

    async def _answer_datasets(self, run: LiveRun, round_number: int) -> None:
        answered = {pair.prompt for pair in run.store.dataset_pairs(round_number)}
        prompts = await asyncio.to_thread(self._prompts, round_number)
        left = [(name, prompt) for name, prompt in prompts if prompt not in answered]
        random.SystemRandom().shuffle(left)
        under_way = _Count()
        workers = range(await self._background.answers_at_once())
        await asyncio.gather(*(self._answer_from(run, round_number, left, under_way) for _ in workers))

    async def _answer_from(
        self, run: LiveRun, round_number: int, left: list[tuple[str, str]], under_way: _Count
    ) -> None:
        """Take prompts out of `left` until the round has the pairs it wants.

        Args:
            left, under_way: shared by all that do this; how many answers are under way, so that no more are asked for.
        """
        while left and self._missing(run, round_number) > under_way.value:
            name, prompt = left.pop()
            under_way.value += 1
            try:
                await self._answer_one(run, round_number, name, prompt)
            finally:
                under_way.value -= 1

    async def _answer_one(self, run: LiveRun, round_number: int, name: str, prompt: str) -> None:
        """Have one prompt of the dataset `name` answered, and store the pair.

        None is stored of a refused or empty answer, or where a round may not train on it.
        """
        try:
            answer, iteration = await self._answer(run, round_number, prompt)
        except InferenceRefusedError as refusal:
            log.warning("Inference refuses a prompt of dataset %s (%s).", name, refusal.code or "no code")
            return
        if not answer.strip() or not self._background.safeguards.may_train(prompt, answer):
            return
        await run.add_pairs_patiently(
            NewPair(
                source="dataset",
                dataset=name,
                for_round=round_number,
                language=run.language,
                prompt=prompt,
                answer=answer,
                kept=kept_length(answer),
                iteration=iteration,
                live=False,
            )
        )

    async def _answer(self, run: LiveRun, round_number: int, prompt: str) -> tuple[str, int]:
        """An answer, and the iteration that gave it."""
        if round_number == 0 and (answer := self._cache.get(run.language, prompt)) is not None:
            return answer, -1
        reply = await self._background.ask(run, run.language, prompt, 1, "dataset")
        text = reply.answers[0].text
        if reply.iteration < 0 and round_number == 0:
            self._cache.put(run.language, prompt, text)
        return text, reply.iteration

    def _missing(self, run: LiveRun, round_number: int) -> int:
        """How many dataset pairs the round wants and does not have yet."""
        tuning = self._settings.finetuning
        if tuning.similar_prompts_as_one or tuning.station_share < 1:
            considered = considered_pairs(run.store.live_pairs(), tuning, round_number)
        else:
            considered = run.store.count_live_pairs(tuning.max_per_prompt)
        wanted = dataset_pairs_wanted(considered, tuning, round_number)
        return wanted - run.store.count_dataset_pairs(round_number)

    def _prompts(self, round_number: int) -> list[tuple[str, str]]:
        """The prompts of a round's datasets without repeats, each with the name of the first dataset that has it."""
        dataset_of: dict[str, str] = {}
        for name in self._settings.datasets_of(round_number):
            for prompt in read_dataset(self._datasets, name).prompts:
                dataset_of.setdefault(prompt, name)
        return [(name, prompt) for prompt, name in dataset_of.items()]
