"""The owner's parts as its routes use them, and the run's public state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wmkml.access.key_ring import KeyRing
from wmkml.config import Settings
from wmkml.config.paths import Paths
from wmkml.decency.safeguards import Safeguards
from wmkml.owner.answers.cards import Cards
from wmkml.owner.answers.chat import Chat
from wmkml.owner.events.event_hub import EventHub
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.inference.client import InferenceClient
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.owner.installation import Installation
from wmkml.owner.opening.keeper import OpeningKeeper
from wmkml.owner.rounds.scheduler import RoundScheduler
from wmkml.owner.rounds.worker_registry import WorkerRegistry
from wmkml.owner.run.desk_file import DeskFile
from wmkml.owner.run.overrides import Overrides
from wmkml.owner.run_lifecycle import RunLifecycle
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.osc import OscSender
from wmkml.protocol.run_state import RunState
from wmkml.runs.store import SOURCES


@dataclass
class OwnerContext:
    """Everything a route may need."""

    settings: Settings
    paths: Paths
    keys: KeyRing
    hub: EventHub
    publisher: EventPublisher
    client: InferenceClient
    watch: InferenceWatch
    installation: Installation
    chat: Chat
    cards: Cards
    workers: WorkerRegistry
    osc: OscSender
    overrides: Overrides
    desk_file: DeskFile
    opening: OpeningKeeper
    safeguards: Safeguards
    legal_pages: list[Literal["privacy", "imprint"]]
    """Those that the settings have words for."""

    def require_lifecycle(self) -> RunLifecycle:
        """The current run's lifecycle.

        Raises:
            RequestRefusedError: 409 while no run is under way.
        """
        lifecycle = self.installation.lifecycle
        if lifecycle is None:
            raise RequestRefusedError(409, "No run is under way: choose a language first.")
        return lifecycle

    async def blank_stage(self, blank: bool) -> None:
        """Blank the stage or show it again, at once; it stays so when the owner is started again."""
        self.publisher.set_blank(blank)
        await self.desk_file.change(blank=blank)

    def scheduler(self) -> RoundScheduler | None:
        """The current run's rounds, if a run is under way."""
        lifecycle = self.installation.lifecycle
        return None if lifecycle is None else lifecycle.scheduler

    def _newest_measures(self, scheduler: RoundScheduler) -> dict[str, float]:
        return self.publisher.measures | scheduler.measures.newest_values() | self.publisher.rolling

    @property
    def autopsy_open(self) -> bool:
        """Whether everybody may ask every iteration of the run."""
        run = self.installation.run
        return self.settings.general.autopsy and run is not None and run.phase == "last_words"

    def run_state(self) -> RunState:
        """The public state of the installation and its run; it holds no visitor's word."""
        settings, lifecycle, scheduler = self.settings, self.installation.lifecycle, self.scheduler()
        general, run = settings.general, self.installation.run
        current_round = None if scheduler is None else scheduler.current
        return RunState(
            run=None if run is None else run.name,
            phase="waiting" if run is None else run.phase,
            language=None if run is None else run.language,
            languages=settings.languages,
            iteration=-1 if run is None else run.iteration,
            num_total_iters=settings.finetuning.num_total_iters,
            elapsed_seconds=0.0 if run is None else run.clock.elapsed(),
            time_left_seconds=self._time_left(),
            round=None if current_round is None else current_round.record(),
            rounds=[] if scheduler is None else [round_.record() for round_ in scheduler.rounds],
            pairs=dict.fromkeys(SOURCES, 0) if run is None else run.store.pair_counts(),
            stations=len(self.hub.listening_stations() | (set() if run is None else run.stations)),
            inference="ready" if self.watch.ready else "away",
            nodes=[node.state for node in self.watch.nodes],
            worker=self.workers.state(current_round),
            model=general.model_name,
            engine=self.watch.engine or settings.inference.engine,
            keep_runs=general.keep_runs,
            carries_words=not settings.finetuning.delete_live_questions_at_start,
            log_visitor_words=general.log_visitor_words,
            osc=bool(settings.osc_targets),
            autopsy=self.autopsy_open,
            idle_seconds=general.idle_seconds,
            opening=self.opening.state(),
            measures={} if scheduler is None else self._newest_measures(scheduler),
            measured=None if scheduler is None else scheduler.measures.of_current(),
            life=None if lifecycle is None else lifecycle.life.shown,
            lives={} if scheduler is None else scheduler.measures.lives(),
            notices=list(self.publisher.notices),
            legal_pages=self.legal_pages,
        )

    def _time_left(self) -> float | None:
        """Seconds until the run ends, by its own clock or at closing time; None while none is under way."""
        lifecycle, farewell = self.installation.lifecycle, self.opening.farewell_left()
        if lifecycle is None:
            return None
        return lifecycle.time_left() if farewell is None else min(lifecycle.time_left(), farewell)
