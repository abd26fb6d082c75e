"""Generate the pairs of one run with the iteration that answers now, and store them as the owner does.

Visitors' prompts and their echoes, the datasets' prompts, and the persistent prompt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from wmkml.corpora import read_dataset
from wmkml.dialogue.answer_end import kept_length
from wmkml.dialogue.conversation_window import chat_messages, window_length
from wmkml.laboratory.experiment import VISITOR_PROFILES, Experiment, seeded_random
from wmkml.laboratory.generation import AnswerGenerator, AnswerRequest, GeneratedAnswer
from wmkml.protocol.run_state import Source
from wmkml.runs.schema import NewPair
from wmkml.runs.store import RunStore

OnProgress = Callable[[str, int, int], None]
"""Called with the task's name, how much of it is done, and how much there is."""


class PairGenerator:
    """Generates and stores the pairs of one seed's run; `iteration` is recorded as the one that answered."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        store: RunStore,
        generator: AnswerGenerator,
        on_progress: OnProgress,
    ) -> None:
        self._experiment, self._seed, self._store = experiment, seed, store
        self._generator, self._on_progress = generator, on_progress
        own, *others = experiment.station_languages
        # The prompts in the run's own language do not depend on which other languages are spoken beside it.
        self._visitor_prompts = {
            own: _endless_prompts(experiment.visitor_prompts(own), seeded_random(seed, "visitors"))
        } | {
            language: _endless_prompts(experiment.visitor_prompts(language), seeded_random(seed, "visitors", language))
            for language in others
        }
        self.iteration = -1

    def single_request(self, prompt: str, *, visitor: bool) -> AnswerRequest:
        """A request without conversation, sampled as visitors' answers are, or as echoes are."""
        return self._request(prompt, [], self._experiment.language, visitor=visitor)

    async def answer_persistent_prompt(self, count: int, *, live: bool) -> None:
        """Answer the persistent prompt `count` times: live, to seed a run, or not, for the record."""
        prompt = self._experiment.settings.persistent_prompt(self._experiment.language)
        requests = [self.single_request(prompt, visitor=False)] * count
        answers = await self._answers(requests, "persistent prompt", self.iteration)
        self._store.add_pairs(self._pair("persistent", prompt, answer, live=live) for answer in answers)

    async def play_visitors(self, round_number: int) -> None:
        """Answer the visitors' prompts of one round: every station in each turn, then the echoes of all prompts."""
        profile = VISITOR_PROFILES[self._experiment.visitors]
        languages_known = self._experiment.station_languages
        inference = self._experiment.settings.inference
        stations = [f"visitor-{number + 1}" for number in range(profile.stations)]
        languages = [languages_known[number % len(languages_known)] for number in range(profile.stations)]
        prompted: list[tuple[str, str]] = []
        for turn in range(profile.prompts):
            prompts = [next(self._visitor_prompts[language]) for language in languages]
            newest = window_length(inference, self.iteration) - 1
            requests = []
            for station, language, prompt in zip(stations, languages, prompts, strict=True):
                past = (
                    [(exchange.prompt, exchange.text) for exchange in self._store.exchanges(station, newest)]
                    if newest
                    else []
                )
                requests.append(self._request(prompt, past, language, visitor=True))
            answers = await self._answers(requests, "visitors", round_number, turn)
            self._store.add_pairs(
                self._pair("visitor", prompt, answer, live=True, language=language, station=station)
                for station, language, prompt, answer in zip(stations, languages, prompts, answers, strict=True)
            )
            prompted += zip(prompts, languages, strict=True)
        echoed = [entry for entry in prompted for _ in range(inference.num_generated_responses)]
        requests = [self._request(prompt, [], language, visitor=False) for prompt, language in echoed]
        answers = await self._answers(requests, "echoes", round_number)
        self._store.add_pairs(
            self._pair("echo", prompt, answer, live=True, language=language)
            for (prompt, language), answer in zip(echoed, answers, strict=True)
        )

    async def answer_datasets(self, round_number: int, wanted: int) -> None:
        """Answer prompts of a round's datasets until `wanted` answers hold a word, or no prompt is left."""
        dataset_of: dict[str, str] = {}
        for name in self._experiment.settings.datasets_of(round_number):
            for prompt in read_dataset(self._experiment.datasets, name).prompts:
                dataset_of.setdefault(prompt, name)
        remaining = list(dataset_of)
        seeded_random(self._seed, "datasets", round_number).shuffle(remaining)
        missing = wanted
        while missing > 0 and remaining:
            prompts, remaining = remaining[:missing], remaining[missing:]
            requests = [self.single_request(prompt, visitor=False) for prompt in prompts]
            answers = await self._answers(requests, "datasets", round_number, len(remaining))
            pairs = [
                self._pair("dataset", prompt, answer, live=False, dataset=dataset_of[prompt], for_round=round_number)
                for prompt, answer in zip(prompts, answers, strict=True)
                if answer.text.strip()
            ]
            self._store.add_pairs(pairs)
            missing -= len(pairs)

    async def answer(self, requests: Sequence[AnswerRequest], task: str) -> list[GeneratedAnswer]:
        """Answers that are not stored, for evaluation; `task` names them in progress lines and seeds their draws."""
        return await self._answers(requests, task, self.iteration)

    async def _answers(self, requests: Sequence[AnswerRequest], task: str, *purpose: int) -> list[GeneratedAnswer]:
        source = seeded_random(self._seed, task, *purpose)
        return await self._generator.generate(
            requests, source, lambda done: self._on_progress(task, done, len(requests))
        )

    def _request(self, prompt: str, past: Sequence[tuple[str, str]], language: str, *, visitor: bool) -> AnswerRequest:
        inference = self._experiment.settings.inference
        return AnswerRequest(
            messages=tuple(chat_messages(inference, language, prompt, past)),
            temperature=inference.visitor_temperature if visitor else inference.temperature,
            top_p=inference.visitor_top_p if visitor else inference.top_p,
        )

    def _pair(
        self,
        source: Source,
        prompt: str,
        answer: GeneratedAnswer,
        *,
        live: bool,
        language: str | None = None,
        station: str | None = None,
        dataset: str | None = None,
        for_round: int | None = None,
    ) -> NewPair:
        return NewPair(
            source=source,
            language=language or self._experiment.language,
            prompt=prompt,
            answer=answer.text,
            kept=kept_length(answer.text),
            iteration=self.iteration,
            live=live and bool(answer.text.strip()),  # an answer without a word trains nothing
            station=station,
            dataset=dataset,
            for_round=for_round,
            entropy=answer.entropy,
        )


def _endless_prompts(prompts: Sequence[str], random_source: random.Random) -> Iterator[str]:
    """All prompts in a random order, then all again in another, without end."""
    while True:
        yield from random_source.sample(prompts, len(prompts))
