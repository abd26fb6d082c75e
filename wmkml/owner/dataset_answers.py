"""The answers to dataset prompts that top up a round: made by the dying model itself while the round before trains.

Round 0's are the base model's; these outlive the runs, in a file of their own that holds no visitor's word.
Knows no lease and no clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from wmkml.choosing import datasets_wanted
from wmkml.config import Settings
from wmkml.corpora import read_dataset
from wmkml.cutting import kept_length
from wmkml.owner.background import Asking
from wmkml.owner.inference_client import Refused
from wmkml.owner.live_run import LiveRun, Pulse
from wmkml.runs.schema import NewPair

log = logging.getLogger(__name__)

AT_ONCE = 4
"""So many dataset prompts are answered at the same time."""

PATIENCE_SECONDS = 60.0
"""A round waits no longer for answers to datasets, and takes those there are."""


class KeptAnswers:
    """The base model's answers to dataset prompts, by model, language and prompt."""

    def __init__(self, path: Path, model: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._model = model
        try:
            self._connection = _opened(path)
        except sqlite3.DatabaseError as damage:
            log.warning("%s is damaged (%s); the base model answers the datasets anew.", path, damage)
            for one in path.parent.glob(f"{path.name}*"):
                one.unlink()
            self._connection = _opened(path)

    def get(self, language: str, prompt: str) -> str | None:
        """The answer that is kept, if there is one."""
        row = self._connection.execute(
            "SELECT answer FROM answers WHERE model = ? AND language = ? AND prompt = ?",
            (self._model, language, prompt),
        ).fetchone()
        return None if row is None else str(row[0])

    def put(self, language: str, prompt: str, answer: str) -> None:
        """Keep an answer."""
        self._connection.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (self._model, language, prompt, answer)
        )

    def forget(self, language: str, prompts: Iterable[str]) -> None:
        """Drop the answers to these prompts, so that they are made anew."""
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "DELETE FROM answers WHERE model = ? AND language = ? AND prompt = ?",
            [(self._model, language, prompt) for prompt in prompts],
        )
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # Nothing here is promised to anybody, and no token may wait for the disk: what a power cut takes is made anew.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS answers (model TEXT, language TEXT, prompt TEXT, answer TEXT NOT NULL, "
            "PRIMARY KEY (model, language, prompt))"
        )
    except BaseException:
        connection.close()
        raise
    return connection


class DatasetAnswers:
    """Makes the dataset pairs of one run's rounds."""

    def __init__(self, settings: Settings, datasets: Path, asking: Asking, kept: KeptAnswers) -> None:
        self._settings, self._datasets, self._asking, self._kept = settings, datasets, asking, kept
        self._making: dict[int, asyncio.Task[None]] = {}
        self._made = Pulse()

    async def renew(self, run: LiveRun) -> None:
        """Forget the base model's answers of round 0, so that this run makes them anew."""
        named = await asyncio.to_thread(self._prompts, 0)
        self._kept.forget(run.language, [prompt for _, prompt in named])

    def begin(self, run: LiveRun, round_number: int) -> None:
        """Begin to answer the datasets of a round, in the background; what is stored already stays."""
        if self._settings.datasets_of(round_number) and round_number not in self._making:
            self._making[round_number] = run.spawn(self._make(run, round_number))

    async def enough(self, run: LiveRun, round_number: int) -> None:
        """Wait until a round has its dataset pairs, or all there can be, or patience ends; then no more are made."""
        self.begin(run, round_number)
        task = self._making.get(round_number)
        if task is None:
            return
        done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        if not done:
            log.info("Round %d does not wait any longer for answers to its datasets.", round_number)
            task.cancel()

    async def _make(self, run: LiveRun, round_number: int) -> None:
        there = {one.prompt for one in run.store.of_datasets(round_number)}
        left = [one for one in await asyncio.to_thread(self._prompts, round_number) if one[1] not in there]
        random.SystemRandom().shuffle(left)
        await asyncio.gather(*(self._answer_some(run, round_number, left) for _ in range(AT_ONCE)))

    async def _answer_some(self, run: LiveRun, round_number: int, left: list[tuple[str, str]]) -> None:
        while left and run.store.answered_for(round_number) < self._wanted(run, round_number):
            name, prompt = left.pop()
            try:
                answer, iteration = await self._answer(run, round_number, prompt)
            except Refused as refusal:
                log.warning("Inference refuses a prompt of dataset %s (%s).", name, refusal.code or "no code")
                continue
            if not answer.strip():
                continue
            await run.add(
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
        if round_number == 0 and (answer := self._kept.get(run.language, prompt)) is not None:
            return answer, -1
        said = await self._asking.ask(run, run.language, prompt, 1, "dataset")
        if said.iteration < 0 and round_number == 0:
            self._kept.put(run.language, prompt, said.answers[0].text)
        return said.answers[0].text, said.iteration

    def _wanted(self, run: LiveRun, round_number: int) -> int:
        tuning = self._settings.finetuning
        return datasets_wanted(run.store.considered(tuning.max_per_prompt), tuning, round_number)

    def _prompts(self, round_number: int) -> list[tuple[str, str]]:
        """The prompts of a round's datasets with the name of the first that has each."""
        named: dict[str, str] = {}
        for name in self._settings.datasets_of(round_number):
            for prompt in read_dataset(self._datasets, name).prompts:
                named.setdefault(prompt, name)
        return [(name, prompt) for prompt, name in named.items()]
