"""The panel: fixed prompts that every iteration answers in the background, after everybody else, to be measured.

An iteration is asked from the moment it answers until the next one does; what is not answered by then never will be.  The
answers are neither stored nor trained on nor shown: they are in memory until they are measured, and only numbers leave.
After a restart of the owner the iteration that answers is asked anew, unless its whole panel was measured.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from wmkml.measures.panel.measuring import GROUP, PromptAnswers
from wmkml.measures.panel.process import PanelJob
from wmkml.measures.panel.prompts import PanelPrompt
from wmkml.owner.answers.echoes import BackgroundRequests
from wmkml.owner.answers.panel_measurer import PanelMeasurer
from wmkml.owner.inference.client import InferenceRefusedError
from wmkml.owner.measuring.record import MeasureRecord
from wmkml.owner.run.live_run import LiveRun

log = logging.getLogger(__name__)

REQUESTS_PART = 16
"""Of so many background answers that inference makes at the same time, one prompt of the panel is asked, and one at least."""


class IterationPanel:
    """The answers of one iteration to each prompt of the panel, so far."""

    def __init__(self, iteration: int, prompts: Sequence[PanelPrompt]) -> None:
        self.iteration, self.prompts = iteration, prompts
        self.answers: list[list[str]] = [[] for _ in prompts]
        self.count = 0
        """How many answers there are."""
        self.measured = 0
        """How many there were when they were measured last."""

    def add(self, prompt: int, answers: Sequence[str]) -> None:
        """More answers to the prompt with this index."""
        self.answers[prompt] += answers
        self.count += len(answers)


class Panel:
    """Asks the panel of one run's iterations."""

    def __init__(
        self,
        background: BackgroundRequests,
        run: LiveRun,
        prompts: Sequence[PanelPrompt],
        measurer: PanelMeasurer,
        record: MeasureRecord,
    ) -> None:
        """Args:
        prompts: in the run's language.
        measurer: of this run alone: it is closed with it.
        """
        self._background, self._run, self._prompts = background, run, prompts
        self._measurer, self._record = measurer, record

    async def work(self) -> None:
        """Ask every iteration until cancelled; with the run, what measures its answers ends."""
        try:
            await self._ask_iterations()
        finally:
            await self._measurer.close()

    async def _ask_iterations(self) -> None:
        settings = self._background.settings.inference
        while settings.panel_answers:
            panel = IterationPanel(self._run.iteration, self._prompts)
            asking = None
            if not self._is_measured():
                asking = self._run.spawn(self._ask_all(panel))
            while self._run.iteration == panel.iteration:
                await self._run.iteration_changed.wait()
            if asking is not None:
                asking.cancel()
                await asyncio.wait([asking])
            self._measure_later(panel)

    def _is_measured(self) -> bool:
        """Whether the whole panel of the iteration that answers is measured already."""
        measured = self._record.of_current()
        return measured is not None and measured.values.get("panel_answered") == 1.0

    async def _ask_all(self, panel: IterationPanel) -> None:
        """Ask every prompt for a group of answers, measure, and again, until there are as many as the settings want."""
        wanted = self._background.settings.inference.panel_answers
        at_once = max(1, await self._background.answers_at_once() // REQUESTS_PART)
        for begun in range(0, wanted, GROUP):
            left = deque(range(len(panel.prompts)))
            count = min(GROUP, wanted - begun)
            await asyncio.gather(*(self._ask_from(panel, left, count) for _ in range(at_once)))
            self._measure_later(panel)

    async def _ask_from(self, panel: IterationPanel, left: deque[int], count: int) -> None:
        while left:
            index = left.popleft()
            try:
                reply = await self._background.ask(
                    self._run, self._run.language, panel.prompts[index].text, count, "measure"
                )
            except InferenceRefusedError as refusal:
                log.warning("Inference refuses a prompt of the panel (%s).", refusal.code or "no code")
                continue
            if reply.iteration == panel.iteration:
                panel.add(index, [answer.text for answer in reply.answers])

    def _measure_later(self, panel: IterationPanel) -> None:
        """Measure what is new in a task of its own: the end of the asking is not the end of that."""
        if panel.count == panel.measured:
            return
        panel.measured = panel.count
        inference = self._background.settings.inference
        asked = [
            PromptAnswers(tuple(answers), prompt.expected)
            for prompt, answers in zip(panel.prompts, panel.answers, strict=True)
        ]
        job = PanelJob(asked, self._run.language, inference.panel_words, inference.panel_answers)
        self._run.spawn(self._measure(panel.iteration, job))

    async def _measure(self, iteration: int, job: PanelJob) -> None:
        for part in (job, replace(job, of_words=True)):  # a dictionary takes seconds to load
            if values := await self._measurer.measure(part):
                self._record.record_measures(iteration, values)
