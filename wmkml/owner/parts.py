"""The owner's parts as its doors see them, and the state of the run as everyone may know it."""

from __future__ import annotations

from dataclasses import dataclass

from wmkml.config import Settings
from wmkml.keys import Keys
from wmkml.osc import OscSender
from wmkml.owner.cards import Cards
from wmkml.owner.chat import Chat
from wmkml.owner.dials import Dials
from wmkml.owner.events import Hub
from wmkml.owner.herald import Herald
from wmkml.owner.inference_client import InferenceClient
from wmkml.owner.inference_watch import InferenceWatch
from wmkml.owner.installation import Installation
from wmkml.owner.life import Life
from wmkml.owner.reading import Refusing
from wmkml.owner.workers import Workers
from wmkml.places import Places
from wmkml.runs.store import SOURCES
from wmkml.wire import RunState


@dataclass
class Owner:
    """Everything a door may need."""

    settings: Settings
    places: Places
    keys: Keys
    hub: Hub
    herald: Herald
    client: InferenceClient
    watch: InferenceWatch
    installation: Installation
    chat: Chat
    cards: Cards
    workers: Workers
    osc: OscSender
    dials: Dials

    def life(self) -> Life:
        """The run of the moment with its parts.

        Raises:
            Refusing: 409 while a language is awaited.
        """
        life = self.installation.life
        if life is None:
            raise Refusing(409, "No run is under way: choose a language first.")
        return life


def state(
    settings: Settings,
    installation: Installation,
    watch: InferenceWatch,
    workers: Workers,
    hub: Hub,
    notices: list[str],
) -> RunState:
    """The state of the run; holds no visitor's word."""
    life, general = installation.life, settings.general
    run = None if life is None else life.run
    rounds = [] if life is None else life.rounds.all
    current = None if life is None else life.rounds.current
    return RunState(
        run=None if run is None else run.name,
        phase="waiting" if run is None else run.phase,
        language=None if run is None else run.language,
        languages=settings.languages,
        iteration=-1 if run is None else run.iteration,
        num_total_iters=settings.finetuning.num_total_iters,
        elapsed_seconds=0.0 if run is None else run.clock.elapsed(),
        time_left_seconds=None if life is None else life.time_left(),
        round=None if current is None else current.record(),
        rounds=[one.record() for one in rounds],
        pairs=dict.fromkeys(SOURCES, 0) if run is None else run.store.counts(),
        stations=len(hub.stations() | (set() if run is None else run.stations)),
        inference="ready" if watch.ready else "away",
        worker=workers.state(current),
        model=general.model_name,
        engine=watch.engine or settings.inference.engine,
        keep_runs=general.keep_runs,
        carries_words=not settings.finetuning.delete_live_questions_at_start,
        log_visitor_words=general.log_visitor_words,
        osc=bool(settings.osc_targets),
        idle_seconds=general.idle_seconds,
        notices=notices,
    )
