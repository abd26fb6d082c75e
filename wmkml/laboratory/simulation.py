"""One run of the laboratory: from the base model to the last round, as the owner plays a run, but without its clock.

Round k chooses among the pairs stored so far.  While it trains, visitors talk to iteration k−1, which also answers the
datasets of round k+1; then iteration k answers.  Every random draw follows from the seed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.dialogue.chat_template import MessagesRefusedError, PromptTooLongError
from wmkml.engine.protocol import Adapter
from wmkml.laboratory.evaluation import evaluate
from wmkml.laboratory.experiment import Experiment, seeded_random
from wmkml.laboratory.human import generate_human_pairs, read_human_pairs
from wmkml.laboratory.measures import finite_in_order
from wmkml.laboratory.pairs import OnProgress, PairGenerator
from wmkml.laboratory.resources import LaboratoryResources
from wmkml.policy.pair_selection import (
    HUMAN_ITERATION,
    Candidate,
    choose,
    dataset_pairs_wanted,
    newest_only,
    with_human,
)
from wmkml.policy.schedules import learning_rate
from wmkml.runs import folder as runs
from wmkml.runs.schema import AcceptedAdapter, NewPair, Round
from wmkml.runs.store import RunStore
from wmkml.training import rounds as training
from wmkml.training.loop import OptimizerStep, TrainingResult, TrainingSpoiledError
from wmkml.training.lora import AdapterBrokenError

HUMAN = "human"
"""The dataset name under which human pairs are stored."""

HUMAN_PAIRS = 500
"""Pairs that the understudy's generator writes for a run when no file of human text is given."""


class SimulationEndedError(RuntimeError):
    """The run cannot go on before its rounds are over.  The message says why."""


@dataclass
class LossRecorder:
    """A training's watcher that writes losses.jsonl as the owner does; `stopped` ends the training."""

    folder: Path
    iteration: int
    on_progress: OnProgress
    stopped: bool = False

    def should_continue(self) -> bool:
        """True until `stopped` is set."""
        return not self.stopped

    def on_step(self, step: OptimizerStep) -> None:
        """Append the step to losses.jsonl."""
        line = {"step": step.step, "steps": step.steps, "loss": step.loss, "tokens": step.tokens}
        runs.append_line(self.folder, "losses.jsonl", {"iteration": self.iteration, "attempt": 1, **line})
        self.on_progress("training", step.step, step.steps)

    def on_notice(self, sentence: str) -> None:
        """Ignored: the laboratory has no operator."""


class Simulation:
    """One seed's run."""

    def __init__(
        self,
        experiment: Experiment,
        resources: LaboratoryResources,
        seed: int,
        folder: Path,
        store: RunStore,
        on_progress: OnProgress,
        on_measured: Callable[[dict[str, Any]], None],
        on_prediction: Callable[[str], None],
    ) -> None:
        """Args:
        on_measured: called with each line of measures.jsonl once it is written.
        on_prediction: called with a sentence about what will take long, before it begins.
        """
        self._experiment, self._resources, self._seed = experiment, resources, seed
        self._folder, self._store = folder, store
        self._on_progress, self._on_measured, self._began = on_progress, on_measured, time.monotonic()
        self._on_prediction = on_prediction
        self._generator = resources.answer_generator(experiment.settings)
        self._pairs = PairGenerator(experiment, seed, store, self._generator, on_progress)
        self._adapters: list[Adapter] = []
        self._previous: training.PreviousAdapter | None = None
        self._human: list[Candidate] = []

    async def run(self) -> None:
        """Play all rounds; each iteration's line is in measures.jsonl as soon as it is known.

        Raises:
            SimulationEndedError: it cannot go on.
        """
        experiment, store = self._experiment, self._store
        rounds = experiment.settings.finetuning.num_total_iters
        try:
            count = experiment.settings.inference.num_generated_responses
            await self._pairs.answer_persistent_prompt(count, live=True)
            self._store_human_pairs()
            store.set_phase("running", self._elapsed())
            await self._evaluate(None)
            await self._answer_datasets(0)
            for number in range(rounds):
                round_ = self._open_round(number)
                if number + 1 < rounds:
                    await self._pairs.play_visitors(number)
                    await self._answer_datasets(number + 1)
                result = await self._train(round_)
                await self._evaluate(result)
            store.set_phase("waiting", self._elapsed())
        except (PromptTooLongError, MessagesRefusedError) as error:
            raise SimulationEndedError(f"a prompt could not be asked: {error}") from error
        finally:
            await self._forget_adapters()

    async def _forget_adapters(self) -> None:
        self._generator.adapter = None
        for adapter in self._adapters:
            await self._resources.engine.unload(adapter)

    def _live_pairs(self) -> list[Candidate]:
        live = self._store.live_pairs()
        return newest_only(live) if self._experiment.keeping == "replace" else live

    async def _answer_datasets(self, number: int) -> None:
        tuning = self._experiment.settings.finetuning
        per_prompt = Counter(pair.prompt for pair in self._live_pairs())
        considered = sum(min(count, tuning.max_per_prompt) for count in per_prompt.values())
        await self._pairs.answer_datasets(number, dataset_pairs_wanted(considered, tuning, number))

    def _open_round(self, number: int) -> Round:
        """Choose the pairs a round trains on, and store the round."""
        tuning, keeping = self._experiment.settings.finetuning, self._experiment.keeping
        source = seeded_random(self._seed, "choosing", number)
        first = 0 if keeping == "accumulate" else number
        datasets = [pair for earlier in range(first, number + 1) for pair in self._store.dataset_pairs(earlier)]
        chosen = choose(self._live_pairs(), datasets, tuning, number, source, newest_first=keeping == "installation")
        if self._experiment.human_share:
            chosen = with_human(chosen, self._human, self._experiment.human_share, source)
        if not chosen:
            raise SimulationEndedError(f"round {number} has no pair to train on: no answer held a word")
        return self._begin_training(number, chosen, source)

    def _begin_training(self, number: int, chosen: Sequence[Candidate], source: random.Random) -> Round:
        """Store the round that trains on the chosen pairs; `source` gives its seed."""
        round_ = Round(
            iteration=number,
            status="training",
            attempt=1,
            learning_rate=learning_rate(self._experiment.settings.finetuning, number),
            pairs=[candidate.pair for candidate in chosen],
            seed=source.getrandbits(31),
            began=self._elapsed(),
            worker="laboratory",
        )
        self._store.save_round(round_)
        return round_

    async def _train(self, round_: Round) -> TrainingResult:
        """Train a round, and let its adapter answer from then on."""
        folder = runs.adapter_folder(self._folder, round_.iteration, round_.attempt)
        samples = tuple((sample.prompt, sample.answer) for sample in self._store.samples(round_.pairs))
        job = training.TrainingRound(samples, round_.learning_rate, round_.seed, self._previous, folder)
        recorder = LossRecorder(self._folder, round_.iteration, self._on_progress)
        try:
            trained = await self._resources.train(job, recorder)
            adapter = await self._resources.load_adapter(trained.folder)
        except (TrainingSpoiledError, AdapterBrokenError, AdapterRefusedError) as error:
            round_.status = "skipped"
            self._store.save_round(round_)
            raise SimulationEndedError(f"round {round_.iteration} came to nothing: {error}") from error
        except asyncio.CancelledError:
            recorder.stopped = True
            raise
        self._adapters.append(adapter)
        self._generator.adapter = adapter
        self._previous = training.PreviousAdapter(trained.folder, trained.sha256)
        losses = trained.result.losses
        round_.step = round_.steps = len(losses)
        round_.loss, round_.loss_first, round_.loss_last = losses[-1], losses[0], losses[-1]
        round_.tokens, round_.train_seconds = trained.result.tokens, trained.result.seconds
        round_.path, round_.sha256 = str(trained.folder), trained.sha256
        self._store.save_round(round_)
        accepted = AcceptedAdapter(round_.iteration, str(trained.folder), trained.sha256, from_round=True)
        self._store.accept(accepted, round_)
        self._pairs.iteration = round_.iteration
        await self._pairs.answer_persistent_prompt(1, live=False)
        return trained.result

    async def _evaluate(self, trained: TrainingResult | None) -> None:
        """Evaluate the current iteration, and write its answers and measures."""
        evaluation = await evaluate(
            self._experiment, self._resources, self._pairs, self._on_progress, self._on_prediction
        )
        measures, iteration = evaluation.measures, self._pairs.iteration
        for prompt, answer in evaluation.answers:
            entry = {"iteration": iteration, "prompt": prompt, "answer": answer}
            runs.append_line(self._folder, "answers.jsonl", entry)
        if trained is not None:
            measures["loss_first"], measures["loss_last"] = trained.losses[0], trained.losses[-1]
        line: dict[str, Any] = {"iteration": iteration, "round": iteration + 1, **finite_in_order(measures)}
        line["seconds"] = round(self._elapsed(), 2)
        runs.append_line(self._folder, "measures.jsonl", line)
        self._on_measured(line)

    def _store_human_pairs(self) -> None:
        """Store the human pairs.  They have no `for_round`, so no round chooses them as its dataset's."""
        experiment = self._experiment
        if not experiment.human_share:
            return
        if experiment.human is not None:
            pairs = read_human_pairs(experiment.human)
        else:
            seed = seeded_random(self._seed, "human").getrandbits(31)
            pairs = generate_human_pairs(experiment.language, HUMAN_PAIRS, seed)
        numbers = self._store.add_pairs(
            NewPair(
                source="dataset",
                dataset=HUMAN,
                language=experiment.language,
                prompt=prompt,
                answer=answer,
                kept=len(answer),
                iteration=HUMAN_ITERATION,
                live=False,
            )
            for prompt, answer in pairs
        )
        self._human = [
            Candidate(number, prompt, HUMAN_ITERATION) for number, (prompt, _) in zip(numbers, pairs, strict=True)
        ]

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
