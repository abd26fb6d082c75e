"""Background answers, which no visitor waits for: echoes of visitors' prompts, and answers to the persistent prompt.

Requests wait while inference is away; every answer is stored with the iteration that gave it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from wmkml.config import Settings
from wmkml.decency.safeguards import Safeguards
from wmkml.dialogue.answer_end import kept_length
from wmkml.owner.answers.conversations import standalone_messages
from wmkml.owner.inference.client import InferenceAwayError, InferenceClient, InferenceRefusedError, WholeAnswer
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.owner.run.live_run import ChangeSignal, LiveRun
from wmkml.owner.run.overrides import Overrides
from wmkml.protocol.inference import Audience, CompletionRequest
from wmkml.protocol.run_state import Source
from wmkml.runs.schema import NewPair, WaitingEcho

log = logging.getLogger(__name__)

MAX_QUEUED_PROMPTS = 64
"""Number of prompts that may wait for their echoes; beyond it the oldest gets none."""

ECHO_WORKERS = 2
"""Number of prompts that are echoed at the same time."""

MAX_ATTEMPTS = 5
"""A prompt is not asked again after inference went away over it this often: it would block the others for ever."""

MAX_ANSWERS_PER_REQUEST = 64
"""The largest `n` the protocol allows."""


@dataclass(frozen=True)
class BackgroundAnswers:
    """One iteration's answers to one prompt."""

    iteration: int
    answers: list[WholeAnswer]


class BackgroundRequests:
    """Asks inference in the background, with the sampling of the config and the operator's overrides."""

    def __init__(
        self,
        settings: Settings,
        client: InferenceClient,
        watch: InferenceWatch,
        overrides: Overrides,
        safeguards: Safeguards,
    ) -> None:
        self.settings, self._client, self._watch, self._overrides = settings, client, watch, overrides
        self.safeguards = safeguards

    async def answers_at_once(self) -> int:
        """How many background answers inference generates at the same time; waits while it is away."""
        await self._watch.wait()
        return self._watch.background_answers

    async def ask(
        self, run: LiveRun, language: str, prompt: str, count: int, audience: Audience, *, entropy: bool = False
    ) -> BackgroundAnswers:
        """Ask the iteration that answers now for `count` answers to a prompt without conversation.

        Waits while inference is away; returns at most MAX_ANSWERS_PER_REQUEST answers.

        Args:
            entropy: also ask for the mean entropy of the answers' tokens.

        Raises:
            InferenceRefusedError: inference refuses the prompt, or went away over it MAX_ATTEMPTS times (`broken_off`).
        """
        inference = self.settings.inference
        for _ in range(MAX_ATTEMPTS):
            await self._watch.wait()
            iteration = run.iteration
            request = CompletionRequest(
                model=self._client.model_name(iteration),
                messages=standalone_messages(inference, language, prompt),
                n=min(count, MAX_ANSWERS_PER_REQUEST),
                max_tokens=inference.max_tokens,
                temperature=self._overrides.temperature,
                top_p=inference.top_p,
                frequency_penalty=inference.frequency_penalty,
                logprobs=entropy,
                audience=audience,
            )
            try:
                answers = await self._client.complete(request, patient=audience == "measure")
                run.crashes.record_answer(iteration)
                return BackgroundAnswers(iteration, answers)
            except InferenceAwayError:
                run.crashes.record_failure(iteration)
                self._watch.require_restore()
        raise InferenceRefusedError(f"inference went away {MAX_ATTEMPTS} times over this prompt", "broken_off")

    async def store(
        self,
        run: LiveRun,
        source: Source,
        language: str,
        prompt: str,
        reply: BackgroundAnswers,
        live: bool,
        echoes_of: int | None = None,
        station: str | None = None,
    ) -> None:
        """Store answers as pairs; an empty answer is stored too, but never live, and so is what may not be trained on.

        Args:
            echoes_of: the pair whose prompt they echo: it waits no longer.
            station: whose prompt that was.
        """
        await run.add_pairs_patiently(
            *(
                NewPair(
                    source=source,
                    station=station,
                    language=language,
                    prompt=prompt,
                    answer=answer.text,
                    kept=kept_length(answer.text),
                    iteration=reply.iteration,
                    live=live and bool(answer.text.strip()) and self.safeguards.may_train(prompt, answer.text),
                    entropy=answer.entropy,
                )
                for answer in reply.answers
            ),
            echoes_of=echoes_of,
        )

    async def seed(self, run: LiveRun) -> None:
        """Have the base model answer the persistent prompt, so that round 0 has live pairs; stops if it is refused."""
        wanted = self.settings.inference.num_generated_responses
        while (missing := wanted - run.store.count_persistent_answers(run.iteration)) > 0:
            if not await self._answer_persistent(run, missing, live=True):
                return

    async def record_persistent_answer(self, run: LiveRun) -> None:
        """Store one answer of the current iteration to the persistent prompt, if there is none; it is never live."""
        if run.store.count_persistent_answers(run.iteration):
            return
        await self._answer_persistent(run, 1, live=False)

    async def _answer_persistent(self, run: LiveRun, count: int, *, live: bool) -> bool:
        """Store answers to the persistent prompt; False if inference refuses it."""
        prompt = self.settings.persistent_prompt(run.language)
        try:
            reply = await self.ask(run, run.language, prompt, count, "panel", entropy=True)
        except InferenceRefusedError as refusal:
            log.error("Inference refuses finetuning.persistent_prompt: %s", refusal)
            return False
        await self.store(run, "persistent", run.language, prompt, reply, live)
        return True


class Echoes:
    """The queue of one run's prompts that wait for their echoes, oldest first.

    Which prompts wait is in the run's store, too, until their echoes are stored or given up: a killed owner's queue, with
    what it was echoing just then, is taken up by the next.
    """

    def __init__(self, background: BackgroundRequests, run: LiveRun) -> None:
        """Take up the prompts that wait in the run's store."""
        self._background, self._run = background, run
        self._queue: deque[WaitingEcho] = deque()
        self._added = ChangeSignal()
        self._forgotten: set[int] = set()
        for waiting in run.store.waiting_echoes():
            # The settings may have changed since the owner's last process.
            if self.wanted and waiting.language in background.settings.languages:
                self.enqueue(waiting)
            else:
                run.store.give_up_echoes(waiting.pair)

    @property
    def wanted(self) -> bool:
        """Whether visitors' prompts are echoed at all."""
        return self._background.settings.inference.num_generated_responses > 0

    def enqueue(self, waiting: WaitingEcho) -> None:
        """Have a visitor's prompt, once it is answered, answered `num_generated_responses` times more.

        The caller has stored the visitor's pair as one that awaits its echoes.
        """
        if len(self._queue) == MAX_QUEUED_PROMPTS:
            self._run.store.give_up_echoes(self._queue.popleft().pair)
        self._queue.append(waiting)
        self._added.notify()

    def forget(self, pairs: Iterable[int]) -> None:
        """Echo none of these pairs' prompts, and keep no echo of them that is being answered now."""
        self._forgotten.update(pairs)
        self._queue = deque(waiting for waiting in self._queue if waiting.pair not in self._forgotten)

    async def work(self) -> None:
        """Answer queued prompts until cancelled; several workers may share the queue."""
        while True:
            if not self._queue:
                await self._added.wait()
                continue
            waiting = self._queue.popleft()
            count = self._background.settings.inference.num_generated_responses
            try:
                reply = await self._background.ask(self._run, waiting.language, waiting.prompt, count, "echo")
            except InferenceRefusedError as refusal:
                log.warning("Inference refuses to echo a prompt (%s).", refusal.code or "no code")
                self._run.store.give_up_echoes(waiting.pair)
                continue
            if waiting.pair in self._forgotten:
                continue
            await self._background.store(
                self._run,
                "echo",
                waiting.language,
                waiting.prompt,
                reply,
                live=True,
                echoes_of=waiting.pair,
                station=waiting.station,
            )
