"""The owner's one visible place of wiring: which part knows which, and what runs while the owner does.

The parts do not know this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from wmkml.config import Settings
from wmkml.keys import Keys
from wmkml.osc import OscSender
from wmkml.owner.background import Asking, Echoes
from wmkml.owner.cards import Cards
from wmkml.owner.chat import Chat
from wmkml.owner.chat_routes import add_chat
from wmkml.owner.dataset_answers import DatasetAnswers, KeptAnswers
from wmkml.owner.desk_routes import add_desk
from wmkml.owner.dials import Dials
from wmkml.owner.doors import add_doors
from wmkml.owner.events import Hub
from wmkml.owner.herald import Herald
from wmkml.owner.inference_client import InferenceClient
from wmkml.owner.inference_watch import InferenceWatch
from wmkml.owner.installation import Installation
from wmkml.owner.life import Life
from wmkml.owner.live_run import LiveRun
from wmkml.owner.operator_routes import add_operator
from wmkml.owner.page_routes import add_pages
from wmkml.owner.parts import Owner, state
from wmkml.owner.reading import add_refusals
from wmkml.owner.rounds import Rounds
from wmkml.owner.stage_folder import StageFolder
from wmkml.owner.stage_routes import add_stage
from wmkml.owner.state_routes import add_state
from wmkml.owner.worker_routes import add_worker
from wmkml.owner.workers import Workers
from wmkml.places import SHIPPED_STAGE, Places
from wmkml.wire import RunState


def make_app(settings: Settings, places: Places, keys: Keys, crashed: Callable[[BaseException], None]) -> FastAPI:
    """The owner as an ASGI application; it lives from the application's start to its shutdown.

    Args:
        crashed: hears of an error that the owner cannot go on after; supervision starts it again, the run goes on.
    """
    hub, osc, workers, dials = Hub(), OscSender(settings.osc_targets), Workers(), Dials(settings)
    client = InferenceClient(settings, keys.operator)

    def now() -> RunState:
        return state(settings, installation, watch, workers, hub, list(herald.notices))

    def make_life(run: LiveRun) -> Life:
        datasets = DatasetAnswers(settings, places.datasets, asking, kept)
        rounds = Rounds(settings, run, client, watch, herald, asking, datasets, dials)
        return Life(settings.finetuning, run, rounds, Echoes(asking), asking, datasets, herald)

    herald = Herald(osc, hub, now, settings.general.log_visitor_words)
    installation = Installation(settings, places.runs, places.serving, client, make_life, crashed)
    watch = InferenceWatch(client, installation.restore, installation.inference_is_gone, lambda _: herald.state())
    installation.wire(watch, herald)
    asking = Asking(settings, client, watch, dials)
    kept = KeptAnswers(places.kept_answers, settings.general.model_name)
    chat = Chat(settings, client, watch, herald)
    cards = Cards(settings, client, watch, dials)
    stage = StageFolder(places.stage, SHIPPED_STAGE)
    owner = Owner(settings, places, keys, hub, herald, client, watch, installation, chat, cards, workers, osc, dials)

    @asynccontextmanager
    async def living(_app: FastAPI) -> AsyncIterator[None]:
        herald.notices.extend(settings.notices())
        await installation.resume()
        tending = [
            asyncio.create_task(watch.watch()),
            asyncio.create_task(_beat(settings, herald)),
            asyncio.create_task(stage.watch(herald.stage_runtime)),
        ]
        for task in tending:
            task.add_done_callback(lambda task: _ended(task, crashed))
        yield
        for task in tending:
            task.cancel()
        await asyncio.wait(tending)
        await installation.close()
        hub.close()
        await client.close()
        kept.close()
        osc.close()

    app = FastAPI(lifespan=living, docs_url=None, redoc_url=None, openapi_url=None)
    add_refusals(app)
    add_doors(app, owner)
    add_chat(app, owner)
    add_state(app, owner)
    add_operator(app, owner)
    add_desk(app, owner)
    add_worker(app, owner)
    add_stage(app, owner, stage)
    add_pages(app)
    return app


async def _beat(settings: Settings, herald: Herald) -> None:
    seconds = settings.general.osc_heartbeat_seconds
    while seconds:
        herald.heartbeat()
        await asyncio.sleep(seconds)


def _ended(task: asyncio.Task[None], crashed: Callable[[BaseException], None]) -> None:
    with suppress(asyncio.CancelledError):
        if (error := task.exception()) is not None:
            crashed(error)
