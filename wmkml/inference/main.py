"""Wires the inference service: settings to an engine, an app around it, and how both start and stop.

The port is bound first: if it is taken, another instance is alive.  Only then are processes killed that a dead instance
left behind.  When the engine dies the process ends with status 1, and supervision starts a new one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wmkml.access.key_ring import KeyRing
from wmkml.access.keys import KeysUnreadableError
from wmkml.access.node_key import load_node_key
from wmkml.access.tls import owner_verification
from wmkml.config import Settings
from wmkml.config.addresses import KEEP_ALIVE_SECONDS, owner_url
from wmkml.config.logs import configure_logging
from wmkml.config.paths import Paths, paths_of
from wmkml.config.planned import planned_engine
from wmkml.decency.safeguards import load_safeguards
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.engine.build import build_engine, engine_setup, installation_label
from wmkml.engine.choice import choose_engine, vllm_runs
from wmkml.engine.protocol import Engine
from wmkml.engine.setup import EngineSetup, ModelUnusableError
from wmkml.engine.text import token_decoder
from wmkml.inference import control_routes, openai_routes, refusals
from wmkml.inference.access import AccessMiddleware
from wmkml.inference.adapter_registry import AdapterRegistry
from wmkml.inference.admission import Admission
from wmkml.inference.answering import Answering
from wmkml.inference.engine_watch import until_it_fails
from wmkml.inference.metrics import Metrics
from wmkml.inference.nodes.node import Node
from wmkml.inference.nodes.node_service import NodeService
from wmkml.inference.nodes.spread_engine import SpreadEngine
from wmkml.models.files import present_weights
from wmkml.models.fingerprint import model_fingerprint
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import model_name
from wmkml.protocol.middleware.browser_guard import BrowserGuardMiddleware
from wmkml.protocol.middleware.connection_limits import ConnectionLimits
from wmkml.protocol.middleware.no_store import NoStoreMiddleware
from wmkml.protocol.osc import OscSender
from wmkml.system.disk.private_temp import private_temp_folder, use_temp_folder
from wmkml.system.disk.reading import read_ahead
from wmkml.system.gpus import visible_gpus
from wmkml.system.memory import no_garbage_collection
from wmkml.system.open_files import raise_open_file_limit
from wmkml.system.orphans import end_marked_processes, kill_descendants, mark_this_process, service_mark
from wmkml.system.sockets import listen

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 2000
"""Connections at the same time; the owner needs one for each answer under way."""

STOP_SECONDS = 8.0
"""Seconds an engine may take to stop; supervision kills the whole process some seconds later."""

UNKNOWN_VOCABULARY = 2**31
"""Taken for a model whose configuration does not say how many tokens it has."""

ANSWERS_PER_PREFILL = 4
"""Background answers for each background prompt that may be read at the same time."""


def serve(settings: Settings, root: Path, *, node: bool = False) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        node: be a node of another machine's inference, instead of one with an owner.

    Returns:
        0 after a signal, 1 when the engine died, 2 when these settings cannot work.
    """
    configure_logging(settings.general, "inference")
    for name in ("httpx", "httpcore", "urllib3", "filelock", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_strip_exception_text)
    paths = paths_of(settings, root)
    try:
        listener = listen(settings.inference.inference_host, settings.general.inference_port)
    except OSError as error:
        print(
            f"Port {settings.general.inference_port} of {settings.inference.inference_host} cannot be used "
            f"({error.strerror}). Stop what listens there, or set general.inference_port.",
            file=sys.stderr,
        )
        return 2
    mark = service_mark("inference", paths.data)
    if killed := end_marked_processes(mark, grace_seconds=0):
        log.warning("Killed %d processes that an earlier instance had left.", len(killed))
    mark_this_process(mark)
    temporary = private_temp_folder("node" if node else "inference", paths.data)
    use_temp_folder(temporary)
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    try:
        keys = None if node else KeyRing(paths)
        # While libraries are imported, for half a minute, the disk has nothing else to do.
        read_ahead(present_weights(paths.model))
        setup = engine_setup(settings, paths.model, planned_engine(os.environ), paths.serving)
        settings = choose_engine(settings, vllm=vllm_runs(gpus=bool(visible_gpus())))
        with no_garbage_collection():  # torch is imported
            engine = build_engine(settings.inference.engine, setup)
        service: InferenceService | NodeService
        if keys is None:
            fingerprint = model_fingerprint(paths.model)
            trusted = settings.trusted_hosts
            load_node_key(paths)  # one that cannot be read is said now
            key = partial(load_node_key, paths)
            vocabulary = int(setup.config.get("vocab_size") or UNKNOWN_VOCABULARY)
            service = NodeService(engine, paths.serving, key, trusted, fingerprint, setup.replicas, vocabulary)
        else:
            if settings.inference.nodes:
                engine = spread(engine, setup, settings, paths)
            service = InferenceService(settings, root, keys, engine, load_tokenizer(paths.model))
    except (ModelUnusableError, KeysUnreadableError, ValueError, OSError) as error:
        print(f"Inference cannot start: {error}", file=sys.stderr)
        return 2
    # uvloop where it is installed, as vLLM's own server has it: of the cores that the engine needs it takes less.
    loop_factory = uvicorn.Config(app="", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        status = runner.run(_serve(service, listener))
    kill_descendants()
    return status


def spread(engine: Engine, setup: EngineSetup, settings: Settings, paths: Paths) -> SpreadEngine:
    """The engine together with those of the nodes in the settings."""
    label, fingerprint = installation_label(settings), model_fingerprint(paths.model)
    key = partial(load_node_key, paths)
    nodes = [Node(address, key, label, setup, fingerprint) for address in settings.node_addresses]
    return SpreadEngine(engine, nodes, setup.adapters, setup.replicas)


def background_answers(settings: Settings) -> int:
    """How many background answers are generated at the same time: as configured, else 32 on a GPU or elsewhere, 4 on a CPU."""
    import torch

    quick = torch.cuda.is_available() or settings.inference.engine == "remote"
    return settings.inference.max_background_seqs or (32 if quick else 4)


class InferenceService:
    """The app, and those of its parts that `_serve` starts and stops."""

    def __init__(
        self, settings: Settings, root: Path, keys: KeyRing, engine: Engine, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        paths = paths_of(settings, root)
        general = settings.general
        self.engine = engine
        self.osc = OscSender(settings.osc_targets)
        self.metrics = Metrics()
        self.registry = AdapterRegistry(engine, paths.serving)
        background = background_answers(settings)
        admission = Admission(background, max_prefills=max(1, background // ANSWERS_PER_PREFILL))
        ends = EngineSetup(model=paths.model, adapters=1, rank=1).end_tokens
        words = load_safeguards(settings, paths.words).stage
        answering = Answering(
            settings, engine, tokenizer, self.registry, self.osc, self.metrics, admission, ends, words
        )
        # Of a whole body, which holds all messages of the conversation's window.
        max_bytes = general.max_prompt_bytes * 4
        context = control_routes.ControlContext(
            engine=engine,
            registry=self.registry,
            osc=self.osc,
            metrics=self.metrics,
            base=general.model_name,
            owner=owner_url(settings),
            owner_verification=owner_verification(paths),
            operator_key=lambda: keys.operator,
            roots=(paths.models, paths.runs),
            start=root,
            max_bytes=max_bytes,
            background_answers=background,
            node_states=engine.node_states if isinstance(engine, SpreadEngine) else list,
        )
        app = FastAPI(title="Watch me kill my language: inference", docs_url=None, redoc_url=None, openapi_url=None)
        refusals.install_handlers(app)

        def model_names() -> list[str]:
            return [model_name(iteration, general.model_name) for iteration in self.registry.iterations]

        app.include_router(openai_routes.routes(answering, model_names, token_decoder(tokenizer), max_bytes))
        app.include_router(control_routes.routes(context))
        self.inner_app = app
        self._keys, self._settings = keys, settings

    def guarded(self, app: ASGIApp) -> ASGIApp:
        """The app behind the keys, and behind what keeps other sites' pages away."""
        settings, general = self._settings, self._settings.general
        guard = BrowserGuardMiddleware(
            AccessMiddleware(app, self._valid_keys, settings.trusted_hosts),
            refuse=refusals.refusal_response,
            trusted=settings.trusted_hosts,
            host_names=general.host_names,
            behind_proxy=general.behind_proxy,
        )
        return NoStoreMiddleware(guard)

    def _valid_keys(self) -> tuple[str, str]:
        keys = self._keys.now()
        return keys.operator, keys.worker

    async def cancel_answers(self) -> None:
        """Cancel every answer under way, and wait until they have ended."""
        await self.registry.cancel_all_answers()

    def close(self) -> None:
        """Close the socket to music and visuals."""
        self.osc.close()


class _ReadinessMiddleware:
    """ASGI middleware: while the engine is not alive, answers 503 except at `/healthz`, `/metrics` and `/language`.

    A request that is cut off by the process's end, before its reply has begun, is answered 503 too: uvicorn would answer 500,
    which says that this request fails and is not to be asked again.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready = scope["type"] != "http" or scope["path"] in ("/health", "/healthz", "/metrics", "/language")
        if ready or self._engine.alive():
            await self._answer(scope, receive, send)
            return
        refusal = RequestRefusedError(503, "The model is being loaded; ask again in a moment.", "loading")
        await refusals.refusal_response(scope["path"], refusal)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            if begun or scope["type"] != "http":
                raise
            refusal = RequestRefusedError(503, "Inference is being started anew; ask again in a moment.", "ending")
            await refusals.refusal_response(scope["path"], refusal)(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn with signal handlers of ours: its own would end the process before the engine's children have ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: setattr(self, "should_exit", True))
        yield


async def _serve(service: InferenceService | NodeService, listener: socket.socket) -> int:
    """Serve until a signal or the engine's death; returns the exit status."""
    engine = service.engine
    server = _Server(
        uvicorn.Config(
            service.guarded(_ReadinessMiddleware(service.inner_app, engine)),
            # One address, the owner's, has all of them.
            http=ConnectionLimits(MAX_CONNECTIONS, 0, open_files=raise_open_file_limit()).protocol(),
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
    )
    watching = asyncio.create_task(_run_engine(service, server))
    await server.serve(sockets=[listener])
    status = 1 if watching.done() else 0
    if not watching.done() and not engine.alive():
        # A thread is still loading the model; it cannot be cancelled, and would keep the process from ending.
        kill_descendants()
        logging.shutdown()
        os._exit(status)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    try:
        await asyncio.wait_for(service.cancel_answers(), STOP_SECONDS)
        await asyncio.wait_for(engine.stop(), STOP_SECONDS)
    except TimeoutError:
        log.warning("The engine did not stop within %g s.", STOP_SECONDS)
    service.close()
    return status


async def _run_engine(service: InferenceService | NodeService, server: uvicorn.Server) -> None:
    """Start the engine and watch it; when it has died, or did not start, tell the server to exit and return."""
    engine = service.engine
    log.info("The model is being loaded (%s).", engine.name)
    try:
        await engine.start()
        log.info("Ready: answers of at most %d tokens with their prompt.", engine.window)
        reason = await until_it_fails(engine)
        log.error("%s This process ends, and supervision starts a new one.", reason)
        await asyncio.wait_for(service.cancel_answers(), STOP_SECONDS)
    except TimeoutError:
        log.warning("Answers under way did not end within %g s.", STOP_SECONDS)
    except Exception:
        # No request has been read yet, so the traceback holds no visitor's words.
        log.exception("The engine did not start.")
    finally:
        server.should_exit = True


def _strip_exception_text(record: logging.LogRecord) -> bool:
    """Logging filter: replace an exception, whose text may quote a request, by its type and its line of code."""
    if record.exc_info and record.exc_info[0] is not None:
        frames = traceback.extract_tb(record.exc_info[2])
        location = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
        record.msg, record.args = "%s at %s", (record.exc_info[0].__name__, location)
        record.exc_info = record.exc_text = None
    return True
