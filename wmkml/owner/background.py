"""Answers that nobody waits for: echoes of visitors' prompts, and the persistent prompt's.

All of them wait while inference is away, and carry the iteration that answered.  Knows no HTTP and no rounds.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from wmkml.config import Settings
from wmkml.cutting import kept_length
from wmkml.owner.dials import Dials
from wmkml.owner.inference_client import Answer, Away, InferenceClient, Refused
from wmkml.owner.inference_watch import InferenceWatch
from wmkml.owner.live_run import LiveRun, Pulse
from wmkml.owner.stations import alone
from wmkml.runs.schema import NewPair
from wmkml.wire import Audience, CompletionRequest, Source

log = logging.getLogger(__name__)

WAITING_ECHOES = 64
"""So many prompts may wait for their echoes; beyond that the oldest goes without."""

ECHO_WORKERS = 2
"""So many prompts are echoed at the same time."""

TRIES = 5
"""A prompt over which inference went away so often is not asked again: it would keep everybody waiting for ever."""

MOST_AT_ONCE = 64
"""The protocol's largest `n`."""


@dataclass(frozen=True)
class Answered:
    """What an iteration said to one prompt."""

    iteration: int
    answers: list[Answer]


class Asking:
    """Asks inference in the background, with the sampling of the config and the dials."""

    def __init__(self, settings: Settings, client: InferenceClient, watch: InferenceWatch, dials: Dials) -> None:
        self.settings, self._client, self._watch, self._dials = settings, client, watch, dials

    async def ask(
        self, run: LiveRun, language: str, prompt: str, count: int, audience: Audience, *, entropy: bool = False
    ) -> Answered:
        """`count` answers to a prompt alone, by the iteration that answers now; waits while inference is away.

        Args:
            entropy: also ask for the entropy of the tokens.

        Raises:
            Refused: inference will not answer this prompt, or went away over it TRIES times (`broken_off`).
        """
        inference = self.settings.inference
        for _ in range(TRIES):
            await self._watch.wait()
            iteration = run.iteration
            request = CompletionRequest(
                model=self._client.model(iteration),
                messages=alone(inference, language, prompt),
                n=min(count, MOST_AT_ONCE),
                max_tokens=inference.max_tokens,
                temperature=self._dials.temperature,
                top_p=inference.top_p,
                frequency_penalty=inference.frequency_penalty,
                logprobs=entropy,
                audience=audience,
            )
            try:
                answers = await self._client.answers(request)
                run.deaths.answered(iteration)
                return Answered(iteration, answers)
            except Away:
                run.deaths.broke_off(iteration)
                self._watch.lost()
        raise Refused(f"inference went away {TRIES} times over this prompt", "broken_off")

    async def store(self, run: LiveRun, source: Source, language: str, prompt: str, said: Answered, live: bool) -> None:
        """Keep answers as pairs; one without a word is kept and trains nothing."""
        await run.add(
            *(
                NewPair(
                    source=source,
                    language=language,
                    prompt=prompt,
                    answer=answer.text,
                    kept=kept_length(answer.text),
                    iteration=said.iteration,
                    live=live and bool(answer.text.strip()),
                    entropy=answer.entropy,
                )
                for answer in said.answers
            )
        )

    async def seed(self, run: LiveRun) -> None:
        """Have the base model answer the persistent prompt, so that round 0 has live pairs."""
        wanted = self.settings.inference.num_generated_responses
        while (missing := wanted - run.store.persistent_answered(run.iteration)) > 0:
            if not await self._persistent(run, missing, live=True):
                return

    async def for_the_record(self, run: LiveRun) -> None:
        """Have the iteration that answers now answer the persistent prompt, once; no round trains on it."""
        if run.store.persistent_answered(run.iteration):
            return
        await self._persistent(run, 1, live=False)

    async def _persistent(self, run: LiveRun, count: int, *, live: bool) -> bool:
        prompt = self.settings.persistent_prompt(run.language)
        try:
            said = await self.ask(run, run.language, prompt, count, "panel", entropy=True)
        except Refused as refusal:
            log.error("Inference refuses finetuning.persistent_prompt: %s", refusal)
            return False
        await self.store(run, "persistent", run.language, prompt, said, live)
        return True


class Echoes:
    """Echoes of one run's prompts, newest left for last."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._waiting: deque[tuple[str, str]] = deque(maxlen=WAITING_ECHOES)
        self._more = Pulse()

    def want(self, language: str, prompt: str) -> None:
        """A visitor's prompt was answered; have it answered more often when there is time."""
        if self._asking.settings.inference.num_generated_responses:
            self._waiting.append((language, prompt))
            self._more.beat()

    async def work(self, run: LiveRun) -> None:
        """Make echoes until the run ends."""
        while True:
            if not self._waiting:
                await self._more.wait()
                continue
            language, prompt = self._waiting.popleft()
            count = self._asking.settings.inference.num_generated_responses
            try:
                said = await self._asking.ask(run, language, prompt, count, "echo")
            except Refused as refusal:
                log.warning("Inference refuses to echo a prompt (%s).", refusal.code or "no code")
                continue
            await self._asking.store(run, "echo", language, prompt, said, live=True)
