"""The wiring of the owner: creates its parts, connects them, and runs its background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from wmkml.access.key_ring import KeyRing
from wmkml.access.pin import PinUnusableError, load_pin
from wmkml.config import Settings
from wmkml.config.paths import SHIPPED_STAGE, Paths
from wmkml.decency.safeguards import load_safeguards
from wmkml.measures.panel.prompts import panel_prompts, with_persistent
from wmkml.owner.answers.cards import Cards
from wmkml.owner.answers.chat import Chat
from wmkml.owner.answers.dataset_answers import BaseAnswerCache, DatasetAnswers
from wmkml.owner.answers.echoes import BackgroundRequests, Echoes
from wmkml.owner.answers.panel import Panel
from wmkml.owner.answers.panel_measurer import PanelMeasurer
from wmkml.owner.autopsy.routes import add_autopsy
from wmkml.owner.context import OwnerContext
from wmkml.owner.desk.routes import add_desk_routes
from wmkml.owner.desk.sessions import DeskSessions
from wmkml.owner.events.event_hub import EventHub
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.http.chat_routes import add_chat_routes
from wmkml.owner.http.http_requests import add_error_handlers, refusal_response
from wmkml.owner.http.metrics_routes import add_metrics_routes
from wmkml.owner.http.node_routes import add_node_routes
from wmkml.owner.http.operator_routes import add_operator_routes
from wmkml.owner.http.original_routes import add_original_routes
from wmkml.owner.http.page_routes import add_page_routes
from wmkml.owner.http.privacy_pages import add_privacy_pages, legal_pages
from wmkml.owner.http.state_routes import add_state_routes
from wmkml.owner.http.worker_routes import add_worker
from wmkml.owner.inference.client import InferenceClient
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.owner.installation import Installation
from wmkml.owner.opening.keeper import OpeningKeeper
from wmkml.owner.problems.calls import AlertSender, HeartbeatCaller
from wmkml.owner.problems.quota_watch import keep_quota
from wmkml.owner.problems.routes import add_problem_routes
from wmkml.owner.problems.watch import ProblemWatch
from wmkml.owner.report_maker import ReportMaker
from wmkml.owner.rounds.scheduler import RoundScheduler
from wmkml.owner.rounds.worker_registry import WorkerRegistry
from wmkml.owner.run.desk_file import DeskFile
from wmkml.owner.run.live_run import LiveRun
from wmkml.owner.run.overrides import Overrides
from wmkml.owner.run_lifecycle import RunLifecycle
from wmkml.owner.stage.folder import StageFolder
from wmkml.owner.stage.routes import add_stage_routes
from wmkml.protocol.middleware.browser_guard import BrowserGuardMiddleware
from wmkml.protocol.middleware.no_store import NoStoreMiddleware
from wmkml.protocol.osc import OscSender
from wmkml.protocol.run_state import RunState

ROLLING_SECONDS = 1.0
"""Between two readings of the rolling measures, while tokens flow."""

KEY_SECONDS = 0.5
"""How long a stream of all words may outlive the key it was opened with."""


def make_app(settings: Settings, paths: Paths, keys: KeyRing, on_crash: Callable[[BaseException], None]) -> FastAPI:
    """The owner as an ASGI application.  At its start a run that was under way is resumed.

    Args:
        on_crash: called with an error after which the owner cannot continue and its process must be restarted.

    Raises:
        WordListError: a word list cannot be used.
    """
    safeguards = load_safeguards(settings, paths.words)
    hub, osc, workers = EventHub(), OscSender(settings.osc_targets), WorkerRegistry()
    client = InferenceClient(settings, lambda: keys.operator)

    def run_state() -> RunState:
        return owner.run_state()

    def make_lifecycle(run: LiveRun) -> RunLifecycle:
        datasets = DatasetAnswers(settings, paths.datasets, background, base_answers)
        scheduler = RoundScheduler(settings, run, client, watch, publisher, background, datasets, overrides)
        persistent = settings.persistent_prompt(run.language)
        prompts = with_persistent(panel_prompts(paths.panel, run.language), persistent)
        panel = Panel(background, run, prompts, PanelMeasurer(), scheduler.measures)
        return RunLifecycle(
            settings.finetuning, run, scheduler, Echoes(background, run), background, datasets, panel, publisher
        )

    publisher = EventPublisher(osc, hub, run_state, settings.general.log_visitor_words)
    desk_file = DeskFile(paths.desk, publisher.notice)
    overrides = Overrides(settings, desk_file)
    reports = ReportMaker(paths.reports, settings.general.keep_reports, publisher.notice)
    installation = Installation(settings, paths.runs, paths.serving, client, make_lifecycle, on_crash, reports)
    watch = InferenceWatch(
        client, installation.restore, installation.on_inference_absent, lambda _: publisher.state_changed()
    )
    installation.connect(watch, publisher)
    background = BackgroundRequests(settings, client, watch, overrides, safeguards)
    base_answers = BaseAnswerCache(paths.kept_answers, settings.general.model_name)
    chat = Chat(settings, client, watch, publisher, safeguards)
    cards = Cards(settings, client, watch, overrides, safeguards)
    stage = StageFolder(paths.stage, SHIPPED_STAGE)
    opening = OpeningKeeper(settings.general, installation, publisher, chat, desk_file)
    owner = OwnerContext(
        settings,
        paths,
        keys,
        hub,
        publisher,
        client,
        watch,
        installation,
        chat,
        cards,
        workers,
        osc,
        overrides,
        desk_file,
        opening,
        safeguards,
        legal_pages(settings),
    )

    desk_sessions = DeskSessions(lambda: load_pin(paths))

    def desk_open(token: str | None) -> bool:
        try:
            return desk_sessions.valid(token)
        except (PinUnusableError, OSError):
            return False  # the desk's log-in says what is wrong

    problems = ProblemWatch(owner)
    alerts, heartbeats = AlertSender(settings.general), HeartbeatCaller(settings.general)
    problems.on_change.append(alerts.problem_changed)
    problems.alert_failure, problems.heartbeat_failure = alerts.failure, heartbeats.failure

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        publisher.notices.extend(settings.notices())
        if desk_file.record.blank:
            publisher.set_blank(True)
        await installation.resume()
        tasks = [
            asyncio.create_task(watch.watch()),
            asyncio.create_task(installation.watch_run_folder()),
            asyncio.create_task(opening.watch()),
            asyncio.create_task(problems.watch()),
            asyncio.create_task(keep_quota(owner, problems)),
            asyncio.create_task(alerts.send()),
            asyncio.create_task(heartbeats.call()),
            asyncio.create_task(reports.work()),
            asyncio.create_task(_send_heartbeats(settings, publisher)),
            asyncio.create_task(stage.watch(publisher.stage_folder_changed)),
            asyncio.create_task(_send_rolling_measures(publisher)),
            asyncio.create_task(_end_streams_of_old_keys(keys, hub)),
        ]
        for task in tasks:
            task.add_done_callback(lambda task: _report_crash(task, on_crash))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await installation.close()
        await desk_file.close()
        hub.close()
        await client.close()
        base_answers.close()
        osc.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    add_error_handlers(app)
    app.add_middleware(
        BrowserGuardMiddleware,
        refuse=lambda _path, refusal: refusal_response(refusal.status, refusal.sentence),
        trusted=settings.trusted_hosts,
        host_names=settings.general.host_names,
        behind_proxy=settings.general.behind_proxy,
        hsts_seconds=settings.general.hsts_seconds,
        form_paths=("/desk/login",),  # a plain form, for browsers without JavaScript
    )
    app.add_middleware(NoStoreMiddleware)  # outside the error handlers: the last one added is the outermost
    if settings.general.trusted_proxies:
        # A request's address and scheme are the visitor's from here on, as the proxy has named them.
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.general.trusted_proxies)
    add_original_routes(app, owner)
    add_chat_routes(app, owner)
    add_state_routes(app, owner)
    add_metrics_routes(app, owner, lambda: [problem.code for problem in problems.look()])
    add_operator_routes(app, owner)
    add_problem_routes(app, owner, problems)
    add_desk_routes(app, owner, desk_sessions, problems)
    add_worker(app, owner)
    add_node_routes(app, owner)
    add_stage_routes(app, owner, stage, problems.hear)
    add_autopsy(app, owner, desk_open)
    add_page_routes(app)
    add_privacy_pages(app, settings)
    return app


async def _send_heartbeats(settings: Settings, publisher: EventPublisher) -> None:
    seconds = settings.general.osc_heartbeat_seconds
    while seconds:
        publisher.heartbeat()
        await asyncio.sleep(seconds)


async def _send_rolling_measures(publisher: EventPublisher) -> None:
    while True:
        await asyncio.sleep(ROLLING_SECONDS)
        publisher.rolling_measured()


async def _end_streams_of_old_keys(keys: KeyRing, hub: EventHub) -> None:
    """Whoever still has a valid key is back at once, and has missed nothing (`Last-Event-ID`)."""
    opened_with = keys.now()
    while True:
        await asyncio.sleep(KEY_SECONDS)
        valid = keys.now()
        if (valid.stage, valid.operator) != (opened_with.stage, opened_with.operator):
            hub.end_streams_of_all_words()
        opened_with = valid


def _report_crash(task: asyncio.Task[None], on_crash: Callable[[BaseException], None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        on_crash(error)
