"""One lineage of generations, as the literature has it: human text first, then each generation on what earlier ones wrote.

Generation 0 is trained on human pairs. It answers their prompts; on those answers, and on older ones where they are kept,
generation 1 is trained, and so on. A generation is a round of a run, so training, run folder and measures are those of
the laboratory's other runs; nobody visits, and no data set is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from wmkml.dialogue.answer_end import kept_length
from wmkml.dialogue.chat_template import MessagesRefusedError, PromptTooLongError, fit_window
from wmkml.laboratory.experiment import GenerationPlan, seeded_random
from wmkml.laboratory.generation import AnswerRequest
from wmkml.laboratory.human import generate_human_pairs, read_human_pairs
from wmkml.laboratory.simulation import HUMAN, Simulation, SimulationEndedError
from wmkml.policy.pair_selection import HUMAN_ITERATION, Candidate, with_human
from wmkml.runs.schema import NewPair, Round

BEAM_BATCH = 16
"""Prompts that are searched with beams at once."""


class GenerationSimulation(Simulation):
    """One seed's lineage."""

    async def run(self) -> None:
        """Train and measure every generation of the plan.

        Raises:
            SimulationEndedError: it cannot go on.
        """
        plan, generations = self._plan, self._experiment.rounds
        try:
            self._store_human_pairs()
            prompts = [pair.prompt for pair in self._human]
            pool = list(self._human)
            self._store.set_phase("running", self._elapsed())
            await self._evaluate(None)
            for number in range(generations):
                if not plan.continued:
                    self._previous = None
                result = await self._train(self._open_generation(number, pool))
                await self._evaluate(result)
                if number + 1 < generations:
                    written = await self._write_answers(prompts, number)
                    pool = written if plan.way == "replace" else pool + written
            self._store.set_phase("waiting", self._elapsed())
        except (PromptTooLongError, MessagesRefusedError) as error:
            raise SimulationEndedError(f"a prompt could not be asked: {error}") from error
        finally:
            await self._forget_adapters()

    @property
    def _plan(self) -> GenerationPlan:
        assert self._experiment.plan is not None
        return self._experiment.plan

    def _store_human_pairs(self) -> None:
        experiment, plan = self._experiment, self._plan
        source = seeded_random(self._seed, "human")
        if experiment.human is not None:
            known = read_human_pairs(experiment.human)
            pairs = source.sample(known, min(plan.pairs, len(known)))
        else:
            pairs = generate_human_pairs(experiment.language, plan.pairs, source.getrandbits(31))
        self._human = self._store_pairs(pairs, HUMAN_ITERATION, 0)

    def _open_generation(self, number: int, pool: Sequence[Candidate]) -> Round:
        """Choose what a generation is trained on, and store it as a round."""
        plan = self._plan
        source = seeded_random(self._seed, "choosing", number)
        chosen = list(pool)
        if plan.way == "subsample":
            chosen = source.sample(chosen, min(len(self._human), len(chosen)))
        if plan.human_share:
            chosen = with_human(chosen, self._human, plan.human_share, source)
        if not chosen:
            raise SimulationEndedError(f"generation {number} has no pair to train on: no answer held a word")
        return self._begin_training(number, chosen, source)

    async def _write_answers(self, prompts: Sequence[str], number: int) -> list[Candidate]:
        """Have the generation that was trained last answer the human pairs' prompts; empty answers are left out."""
        plan, experiment = self._plan, self._experiment
        messages = [self._pairs.single_request(prompt, visitor=False).messages for prompt in prompts]
        if plan.beams:
            texts = await asyncio.to_thread(self._search, messages, number)
        else:
            requests = [AnswerRequest(of_prompt, plan.temperature, plan.top_p) for of_prompt in messages]
            source = seeded_random(self._seed, "generation", number)
            answers = await self._generator.generate(
                requests, source, lambda done: self._on_progress("answers", done, len(requests))
            )
            texts = [answer.text for answer in answers]
        pairs = [(prompt, text) for prompt, text in zip(prompts, texts, strict=True) if text.strip()]
        if not pairs:
            raise SimulationEndedError(f"generation {number} of {experiment.rounds} did not answer a single prompt")
        return self._store_pairs(pairs, number, number + 1)

    def _search(self, messages: Sequence[tuple[Any, ...]], number: int) -> list[str]:
        """The likeliest answers that beam search finds, by the model that the trainer holds."""
        import torch

        resources, inference = self._resources, self._experiment.settings.inference
        tokenizer: Any = resources.tokenizer
        model: Any = resources.trainer.model
        end = tokenizer.eos_token_id
        model.eval()
        texts: list[str] = []
        for first in range(0, len(messages), BEAM_BATCH):
            self._on_progress(f"answers of generation {number} by beams", first, len(messages))
            batch = [
                fit_window(tokenizer, of_prompt, resources.engine.window, inference.max_tokens).ids
                for of_prompt in messages[first : first + BEAM_BATCH]
            ]
            width = max(map(len, batch))
            device = resources.trainer.base.device
            # Padded on the left, so that every answer begins in the same column.
            ids = torch.tensor([[end] * (width - len(row)) + list(row) for row in batch], device=device)
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch], device=device)
            with torch.inference_mode():
                generated = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    num_beams=self._plan.beams,
                    do_sample=False,
                    temperature=None,
                    top_p=None,
                    max_new_tokens=inference.max_tokens,
                    eos_token_id=end,
                    pad_token_id=end,
                )
            texts += tokenizer.batch_decode(generated[:, width:], skip_special_tokens=True)
        return texts

    def _store_pairs(self, pairs: Sequence[tuple[str, str]], iteration: int, for_round: int) -> list[Candidate]:
        numbers = self._store.add_pairs(
            NewPair(
                source="dataset",
                dataset=HUMAN if iteration == HUMAN_ITERATION else f"generation-{iteration}",
                language=self._experiment.language,
                prompt=prompt,
                answer=answer,
                kept=kept_length(answer),
                iteration=iteration,
                live=False,
                for_round=for_round,
            )
            for prompt, answer in pairs
        )
        return [Candidate(number, prompt, iteration) for number, (prompt, _) in zip(numbers, pairs, strict=True)]
