"""Inference's one visible place of wiring: settings to an engine, an app around it, and how both begin and end.

The port is taken first: whoever holds it is another instance that lives, and what is left of a dead one is ended only
when there is none.  When the engine dies the process ends with status 1, and supervision starts a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from wmkml.addresses import KEEP_ALIVE_SECONDS, owner_url
from wmkml.config import Settings
from wmkml.engine.building import build_engine, engine_setup
from wmkml.engine.protocol import Engine
from wmkml.engine.setup import ModelUnusable
from wmkml.engine.text import single_texts
from wmkml.inference import control, openai, refusals
from wmkml.inference.access import Access
from wmkml.inference.answering import Answering
from wmkml.inference.metrics import Metrics
from wmkml.inference.refusals import Refused
from wmkml.inference.shelf import Shelf
from wmkml.inference.turns import Turns
from wmkml.keys import Keys, KeysUnreadable, load_keys
from wmkml.leftovers import end_children, end_leftovers, mark_of, mark_this_process
from wmkml.listening import listen
from wmkml.osc import OscSender
from wmkml.places import places
from wmkml.prompting import load_tokenizer
from wmkml.wire import model_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

REPLICAS_VARIABLE = "WMKML_DATA_PARALLEL"
"""Set by the launcher: on how many GPUs the engine runs."""

WATCH_SECONDS = 0.25
"""How often it is looked whether the engine lives."""

STOP_SECONDS = 8.0
"""How long an engine may take to end by itself."""


def serve(settings: Settings, root: Path) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 when told to leave, 1 when the engine died, 2 when these settings cannot work.
    """
    logging.basicConfig(level=settings.general.logging, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "urllib3", "filelock", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_without_words)
    where = places(settings, root)
    try:
        listening = listen(settings.inference.inference_host, settings.general.inference_port)
    except OSError as error:
        print(
            f"Port {settings.general.inference_port} of {settings.inference.inference_host} cannot be used "
            f"({error.strerror}). Stop what listens there, or set general.inference_port.",
            file=sys.stderr,
        )
        return 2
    mark = mark_of("inference", where.data)
    if ended := end_leftovers(mark):
        log.warning("%d processes of an earlier instance were left and have been ended.", ended)
    mark_this_process(mark)
    try:
        keys = load_keys(where)
        setup = engine_setup(settings, where.model, replicas=int(os.environ.get(REPLICAS_VARIABLE) or 1))
        tokenizer = load_tokenizer(where.model)
        engine = build_engine(settings.inference.engine, setup)
    except (ModelUnusable, KeysUnreadable, ValueError, OSError) as error:
        print(f"Inference cannot start: {error}", file=sys.stderr)
        return 2
    status = asyncio.run(_serve(settings, root, keys, engine, tokenizer, listening))
    end_children()
    return status


BEGUN = 4
"""Of so many answers in the background one may be having its prompt read."""


def background_answers(settings: Settings) -> int:
    """How many echoes and dataset answers are made at the same time: as configured, else by what the engine runs on."""
    import torch

    return settings.inference.max_background_seqs or (32 if torch.cuda.is_available() else 4)


class Service:
    """The app, and the parts of it that begin and end."""

    def __init__(
        self, settings: Settings, root: Path, keys: Keys, engine: Engine, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        where = places(settings, root)
        general = settings.general
        self.engine = engine
        self.osc = OscSender(settings.osc_targets)
        self.metrics = Metrics()
        self.shelf = Shelf(engine, where.serving)
        background = background_answers(settings)
        turns = Turns(background, reading=max(1, background // BEGUN))
        answering = Answering(settings, engine, tokenizer, self.shelf, self.osc, self.metrics, turns)
        limit = general.max_prompt_bytes * 4
        controls = control.Controls(
            engine=engine,
            shelf=self.shelf,
            osc=self.osc,
            metrics=self.metrics,
            base=general.model_name,
            owner=owner_url(settings),
            operator_key=keys.operator,
            roots=(where.models, where.runs),
            start=root,
            limit=limit,
        )

        decode = single_texts(tokenizer)

        app = FastAPI(title="Watch me kill my language: inference", docs_url=None, redoc_url=None, openapi_url=None)
        refusals.install(app)
        app.include_router(openai.routes(answering, self._models(general.model_name), decode, limit))
        app.include_router(control.routes(controls))
        self.app: ASGIApp = Access(_Loading(app, engine), keys, general.trusted_hosts)

    def _models(self, base: str) -> functools.partial[list[str]]:
        return functools.partial(lambda shelf: [model_name(one, base) for one in shelf.iterations], self.shelf)


class _Loading:
    """ASGI middleware: until the engine answers, and once it is dead, only `/healthz`, `/metrics` and `/language` do."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready = scope["type"] != "http" or scope["path"] in ("/healthz", "/metrics", "/language")
        if ready or self._engine.alive():
            await self._app(scope, receive, send)
            return
        refused = Refused(503, "The model is being loaded; ask again in a moment.", "loading")
        await refusals.told(scope["path"], refused)(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn without its own signals: it would end the process before the engine's children have ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, lambda: setattr(self, "should_exit", True))
        yield


async def _serve(
    settings: Settings,
    root: Path,
    keys: Keys,
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    listening: socket.socket,
) -> int:
    """Serve; returns the exit status."""
    service = Service(settings, root, keys, engine, tokenizer)
    server = _Server(
        uvicorn.Config(
            service.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
    )
    tending = asyncio.create_task(_tend(service, server))
    await server.serve(sockets=[listening])
    status = 1 if tending.done() else 0
    if not tending.done() and not engine.alive():
        # A thread is still loading the model; neither it nor the process can be ended otherwise.
        end_children()
        logging.shutdown()
        os._exit(status)
    tending.cancel()
    await asyncio.gather(tending, return_exceptions=True)
    await service.shelf.end_all_answers()
    try:
        await asyncio.wait_for(engine.stop(), STOP_SECONDS)
    except TimeoutError:
        log.warning("The engine did not end by itself.")
    service.osc.close()
    return status


async def _tend(service: Service, server: uvicorn.Server) -> None:
    """Start the engine and watch it; returns once it cannot answer any more, having told the server to end."""
    engine = service.engine
    log.info("The model is being loaded (%s).", engine.name)
    try:
        await engine.start()
        log.info("Ready: answers of at most %d tokens with their prompt.", engine.window)
        while engine.alive():  # noqa: ASYNC110  (an engine that dies sets no event)
            await asyncio.sleep(WATCH_SECONDS)
        log.error("The engine has ended; so does this process, and a new one begins.")
        await service.shelf.end_all_answers()
    except Exception:
        # Before any word was read: this traceback is the operator's only clue.
        log.exception("The engine did not start.")
    finally:
        server.should_exit = True


def _without_words(record: logging.LogRecord) -> bool:
    """Take the exception's text, which may quote a request, out of uvicorn's log; where it arose stays."""
    if record.exc_info and record.exc_info[0] is not None:
        frames = traceback.extract_tb(record.exc_info[2])
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
        record.msg, record.args = "%s at %s", (record.exc_info[0].__name__, place)
        record.exc_info = record.exc_text = None
    return True
