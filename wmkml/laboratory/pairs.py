"""The pairs of one run: asked of the iteration that answers now, and stored as the owner stores them.

Visitors' prompts and their echoes, datasets' prompts, the persistent prompt.  Knows no training and no choosing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from wmkml.conversation import messages, window
from wmkml.corpora import read_dataset
from wmkml.cutting import kept_length
from wmkml.laboratory.experiment import VISITORS, Experiment, drawing
from wmkml.laboratory.speaking import Answer, Asked, Speaker
from wmkml.runs.schema import NewPair
from wmkml.runs.store import RunStore
from wmkml.wire import Source

Told = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and how much there is."""


class Pairs:
    """Makes the pairs of one seed's run."""

    def __init__(self, experiment: Experiment, seed: int, store: RunStore, speaker: Speaker, told: Told) -> None:
        self._experiment, self._seed, self._store, self._speaker, self._told = experiment, seed, store, speaker, told
        own, *others = experiment.spoken
        # The run's own deck is the same whoever else is there.
        self._visitors_say = {own: _deck(experiment.visitors_prompts(own), drawing(seed, "visitors"))} | {
            one: _deck(experiment.visitors_prompts(one), drawing(seed, "visitors", one)) for one in others
        }
        self.iteration = -1

    def alone(self, prompt: str, *, visitor: bool) -> Asked:
        """A prompt without a conversation, drawn as visitors' answers are, or as echoes are."""
        return self._asked(prompt, [], self._experiment.language, visitor=visitor)

    async def persistent(self, count: int, *, live: bool) -> None:
        """Answers to the persistent prompt: to seed a run, or for the record."""
        prompt = self._experiment.settings.persistent_prompt(self._experiment.language)
        answers = await self._answers([self.alone(prompt, visitor=False)] * count, "persistent prompt", self.iteration)
        self._store.add_pairs(self._pair("persistent", prompt, answer, live=live) for answer in answers)

    async def visit(self, round_number: int) -> None:
        """What visitors say while a round trains: each station in turn, then the echoes of all of it."""
        how, spoken = VISITORS[self._experiment.visitors], self._experiment.spoken
        inference = self._experiment.settings.inference
        stations = [f"visitor-{number + 1}" for number in range(how.stations)]
        languages = [spoken[number % len(spoken)] for number in range(how.stations)]
        said: list[tuple[str, str]] = []
        for turn in range(how.prompts):
            prompts = [next(self._visitors_say[language]) for language in languages]
            newest = window(inference, self.iteration) - 1
            asked = []
            for station, language, prompt in zip(stations, languages, prompts, strict=True):
                past = [(one.prompt, one.text) for one in self._store.exchanges(station, newest)] if newest else []
                asked.append(self._asked(prompt, past, language, visitor=True))
            answers = await self._answers(asked, "visitors", round_number, turn)
            self._store.add_pairs(
                self._pair("visitor", prompt, answer, live=True, language=language, station=station)
                for station, language, prompt, answer in zip(stations, languages, prompts, answers, strict=True)
            )
            said += zip(prompts, languages, strict=True)
        echoed = [one for one in said for _ in range(inference.num_generated_responses)]
        asked = [self._asked(prompt, [], language, visitor=False) for prompt, language in echoed]
        answers = await self._answers(asked, "echoes", round_number)
        self._store.add_pairs(
            self._pair("echo", prompt, answer, live=True, language=language)
            for (prompt, language), answer in zip(echoed, answers, strict=True)
        )

    async def datasets(self, round_number: int, wanted: int) -> None:
        """Answer prompts of a round's datasets until there are so many answers with a word in them, or no prompts."""
        named: dict[str, str] = {}
        for name in self._experiment.settings.datasets_of(round_number):
            for prompt in read_dataset(self._experiment.datasets, name).prompts:
                named.setdefault(prompt, name)
        left = list(named)
        drawing(self._seed, "datasets", round_number).shuffle(left)
        missing = wanted
        while missing > 0 and left:
            some, left = left[:missing], left[missing:]
            asked = [self.alone(prompt, visitor=False) for prompt in some]
            answers = await self._answers(asked, "datasets", round_number, len(left))
            found = [
                self._pair("dataset", prompt, answer, live=False, dataset=named[prompt], for_round=round_number)
                for prompt, answer in zip(some, answers, strict=True)
                if answer.text.strip()
            ]
            self._store.add_pairs(found)
            missing -= len(found)

    async def answers(self, asked: Sequence[Asked], what: str) -> list[Answer]:
        """Answers that are not stored, to measure."""
        return await self._answers(asked, what, self.iteration)

    async def _answers(self, asked: Sequence[Asked], what: str, *purpose: int) -> list[Answer]:
        source = drawing(self._seed, what, *purpose)
        return await self._speaker.answers(asked, source, lambda done: self._told(what, done, len(asked)))

    def _asked(self, prompt: str, past: Sequence[tuple[str, str]], language: str, *, visitor: bool) -> Asked:
        inference = self._experiment.settings.inference
        return Asked(
            messages=tuple(messages(inference, language, prompt, past)),
            temperature=inference.visitor_temperature if visitor else inference.temperature,
            top_p=inference.visitor_top_p if visitor else inference.top_p,
        )

    def _pair(
        self,
        source: Source,
        prompt: str,
        answer: Answer,
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


def _deck(prompts: Sequence[str], random_source: random.Random) -> Iterator[str]:
    """The prompts in a drawn order, and again in another when all were said."""
    while True:
        yield from random_source.sample(prompts, len(prompts))
