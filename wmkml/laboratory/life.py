"""One life: from the untouched model to the last round, as the owner plays a run, without its clock.

Round k chooses among what was said so far; while it trains, visitors speak to iteration k−1 and the datasets of round
k+1 are answered by it; then iteration k answers.  Everything drawn follows from the seed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmkml.choosing import NOBODY, Candidate, choose, datasets_wanted, learning_rate, newest_only, with_human
from wmkml.engine.protocol import Adapter, AdapterRefused
from wmkml.laboratory.bench import Bench
from wmkml.laboratory.experiment import Experiment, drawing
from wmkml.laboratory.human import read_human, write_human
from wmkml.laboratory.measures import ordered
from wmkml.laboratory.measuring import measure
from wmkml.laboratory.pairs import Pairs, Told
from wmkml.prompting import MessagesRefused, PromptTooLong
from wmkml.runs import folder as runs
from wmkml.runs.schema import AcceptedAdapter, NewPair, Round
from wmkml.runs.store import RunStore
from wmkml.training import rounds as training
from wmkml.training.loop import StepDone, Trained, TrainingSpoiled
from wmkml.training.lora import AdapterBroken

HUMAN = "human"
"""The dataset's name of pairs that the dying model did not make."""

HUMAN_PAIRS = 500
"""So many are written by the understudy's generator for a life."""


class LifeEnded(RuntimeError):
    """The language died before its rounds were over.  Its text says how."""


@dataclass
class Following:
    """A training's watcher: writes its losses down, and can be told to stop it."""

    folder: Path
    iteration: int
    told: Told
    stopped: bool = False

    def proceed(self) -> bool:
        """Until it is stopped."""
        return not self.stopped

    def stepped(self, done: StepDone) -> None:
        """Write it down as the owner does."""
        line = {"step": done.step, "steps": done.steps, "loss": done.loss, "tokens": done.tokens}
        runs.append_line(self.folder, "losses.jsonl", {"iteration": self.iteration, "attempt": 1, **line})
        self.told("training", done.step, done.steps)

    def noticed(self, sentence: str) -> None:
        """Nobody has to know here."""


class Life:
    """One seed's run."""

    def __init__(
        self,
        experiment: Experiment,
        bench: Bench,
        seed: int,
        folder: Path,
        store: RunStore,
        told: Told,
        measured: Callable[[dict[str, Any]], None],
    ) -> None:
        """`told` hears of all that takes long, `measured` each line of `measures.jsonl` once it is written."""
        self._experiment, self._bench, self._seed, self._folder, self._store = experiment, bench, seed, folder, store
        self._told, self._measured, self._began = told, measured, time.monotonic()
        self._speaker = bench.speaker(experiment.settings)
        self._pairs = Pairs(experiment, seed, store, self._speaker, told)
        self._adapters: list[Adapter] = []
        self._previous: training.Previous | None = None
        self._human: list[Candidate] = []

    async def live(self) -> None:
        """All of it; the lines are in `measures.jsonl` as soon as they are known.

        Raises:
            LifeEnded: it cannot go on.
        """
        tuning, store = self._experiment.settings.finetuning, self._store
        try:
            await self._pairs.persistent(self._experiment.settings.inference.num_generated_responses, live=True)
            self._bring_human()
            store.set_phase("running", self._elapsed())
            await self._measure(None)
            await self._answer_datasets(0)
            for number in range(tuning.num_total_iters):
                one = self._open(number)
                if number + 1 < tuning.num_total_iters:
                    await self._pairs.visit(number)
                    await self._answer_datasets(number + 1)
                trained = await self._train(one)
                await self._measure(trained)
            store.set_phase("waiting", self._elapsed())
        except (PromptTooLong, MessagesRefused) as error:
            raise LifeEnded(f"a prompt could not be asked: {error}") from error
        finally:
            self._speaker.adapter = None
            for adapter in self._adapters:
                await self._bench.engine.unload(adapter)

    def _live(self) -> list[Candidate]:
        live = self._store.live()
        return newest_only(live) if self._experiment.keeping == "replace" else live

    async def _answer_datasets(self, number: int) -> None:
        tuning = self._experiment.settings.finetuning
        each = Counter(one.prompt for one in self._live())
        considered = sum(min(count, tuning.max_per_prompt) for count in each.values())
        await self._pairs.datasets(number, datasets_wanted(considered, tuning, number))

    def _open(self, number: int) -> Round:
        """Choose what a round trains on."""
        tuning, keeping = self._experiment.settings.finetuning, self._experiment.keeping
        source = drawing(self._seed, "choosing", number)
        first = 0 if keeping == "accumulate" else number
        of_datasets = [one for earlier in range(first, number + 1) for one in self._store.of_datasets(earlier)]
        chosen = choose(self._live(), of_datasets, tuning, number, source, newest_first=keeping == "installation")
        if self._experiment.human_share:
            chosen = with_human(chosen, self._human, self._experiment.human_share, source)
        if not chosen:
            raise LifeEnded(f"round {number} has no pair to train on: no answer held a word")
        one = Round(
            iteration=number,
            status="training",
            attempt=1,
            learning_rate=learning_rate(tuning, number),
            pairs=[candidate.pair for candidate in chosen],
            seed=source.getrandbits(31),
            began=self._elapsed(),
            worker="laboratory",
        )
        self._store.save_round(one)
        return one

    async def _train(self, one: Round) -> Trained:
        """Train a round, and let its adapter answer."""
        place = runs.adapter_folder(self._folder, one.iteration, one.attempt)
        samples = tuple((sample.prompt, sample.answer) for sample in self._store.samples(one.pairs))
        job = training.Round(samples, one.learning_rate, one.seed, self._previous, place)
        following = Following(self._folder, one.iteration, self._told)
        try:
            done = await self._bench.train(job, following)
            adapter = await self._bench.load(done.folder)
        except (TrainingSpoiled, AdapterBroken, AdapterRefused) as error:
            one.status = "skipped"
            self._store.save_round(one)
            raise LifeEnded(f"round {one.iteration} came to nothing: {error}") from error
        except asyncio.CancelledError:
            following.stopped = True
            raise
        self._adapters.append(adapter)
        self._speaker.adapter, self._previous = adapter, training.Previous(done.folder, done.sha256)
        losses = done.trained.losses
        one.step = one.steps = len(losses)
        one.loss, one.loss_first, one.loss_last = losses[-1], losses[0], losses[-1]
        one.tokens, one.train_seconds = done.trained.tokens, done.trained.seconds
        one.path, one.sha256 = str(done.folder), done.sha256
        self._store.save_round(one)
        self._store.accept(AcceptedAdapter(one.iteration, str(done.folder), done.sha256, from_round=True), one)
        self._pairs.iteration = one.iteration
        await self._pairs.persistent(1, live=False)
        return done.trained

    async def _measure(self, trained: Trained | None) -> None:
        reading = await measure(self._experiment, self._bench, self._pairs, self._told)
        found, iteration = reading.measures, self._pairs.iteration
        for prompt, answer in reading.said:
            said = {"iteration": iteration, "prompt": prompt, "answer": answer}
            runs.append_line(self._folder, "answers.jsonl", said)
        if trained is not None:
            found["loss_first"], found["loss_last"] = trained.losses[0], trained.losses[-1]
        line: dict[str, Any] = {"iteration": iteration, "round": iteration + 1, **ordered(found)}
        line["seconds"] = round(self._elapsed(), 2)
        runs.append_line(self._folder, "measures.jsonl", line)
        self._measured(line)

    def _bring_human(self) -> None:
        """Store the human pairs; no round chooses them as a dataset's."""
        experiment = self._experiment
        if not experiment.human_share:
            return
        if experiment.human is not None:
            pairs = read_human(experiment.human)
        else:
            seed = drawing(self._seed, "human").getrandbits(31)
            pairs = write_human(experiment.language, HUMAN_PAIRS, seed)
        numbers = self._store.add_pairs(
            NewPair(
                source="dataset",
                dataset=HUMAN,
                language=experiment.language,
                prompt=prompt,
                answer=answer,
                kept=len(answer),
                iteration=NOBODY,
                live=False,
            )
            for prompt, answer in pairs
        )
        self._human = [Candidate(number, prompt, NOBODY) for number, (prompt, _) in zip(numbers, pairs, strict=True)]

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
