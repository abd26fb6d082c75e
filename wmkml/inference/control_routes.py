"""The service's own routes: `/reload`, `/current`, `/unload`, `/language`, `/osc`, `/healthz` and `/metrics`.

Runs are the owner's to decide: `/language`, and a `/reload` without the operator's key, are forwarded to it.
"""

from __future__ import annotations

import logging
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from wmkml.access.keys import key_matches
from wmkml.adapters.checks import AdapterRefusedError
from wmkml.engine.protocol import Engine, EngineDiedError
from wmkml.inference.access import given_key
from wmkml.inference.adapter_registry import AdapterRegistry, NotLoadedError
from wmkml.inference.answering import engine_died_refusal
from wmkml.inference.metrics import Metrics
from wmkml.inference.owner_proxy import OwnerUnreachableError, forward_request
from wmkml.inference.request_parsing import read_message
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import CurrentIteration, NodeState, OscSent, UnloadRequest, model_name
from wmkml.protocol.original import LanguageChoice, ReloadReply, ReloadRequest
from wmkml.protocol.osc import OscSender, last_messages
from wmkml.protocol.run_state import AdapterProof

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ControlContext:
    """What these routes work with.

    Attributes:
        base: the name of the base model.
        owner: the owner's URL.
        owner_verification: its certificate, as httpx takes it.
        operator_key: the key that the owner sends now.
        roots: the folders whose adapters may be loaded.
        start: the folder that relative paths start from.
        max_bytes: the largest body.
        background_answers: how many echoes and dataset answers are generated at the same time.
        node_states: every node of `inference.nodes`.
    """

    engine: Engine
    registry: AdapterRegistry
    osc: OscSender
    metrics: Metrics
    base: str
    owner: str
    owner_verification: ssl.SSLContext | bool
    operator_key: Callable[[], str]
    roots: Sequence[Path]
    start: Path
    max_bytes: int
    background_answers: int
    node_states: Callable[[], Sequence[NodeState]] = list


def routes(context: ControlContext) -> APIRouter:
    """The service's own routes."""
    router = APIRouter()
    # The owner polls: one that is started anew between two polls would else not be told from the one before.
    process = secrets.token_hex(8)
    engine, registry, metrics = context.engine, context.registry, context.metrics

    def update_gauges() -> None:
        metrics.adapters.set(len(registry.iterations) - 1)
        metrics.current.set(registry.current)

    def set_current(iteration: int) -> None:
        changed = registry.set_current(iteration)
        if changed and iteration >= 0:
            context.osc.send("/swap", iteration + 1)
        update_gauges()

    @router.get("/osc")
    async def _osc() -> list[OscSent]:
        return last_messages(context.osc)

    @router.post("/reload")
    async def _reload(request: Request) -> Response:
        message = await read_message(request, ReloadRequest, context.max_bytes)
        path = _resolved_path(message.path, context)
        if key_matches(given_key(request), context.operator_key()):
            return await load_adapter(path, message.iteration)
        # Without the owner's key this is the original's call: load the adapter and make it current.  Which iteration is
        # current is the owner's to decide; it calls this route again, with its key.
        try:
            return await forward_request(
                request,
                context.owner,
                "/reload",
                {"path": str(path), "iteration": message.iteration},
                context.owner_verification,
            )
        except OwnerUnreachableError:
            reply = await load_adapter(path, message.iteration)
            set_current(message.iteration)
            return reply

    async def load_adapter(path: Path, iteration: int) -> JSONResponse:
        started_at = time.monotonic()
        try:
            proof = await registry.load(path, iteration)
        except AdapterRefusedError as error:
            raise RequestRefusedError(400, str(error), "adapter_refused") from None
        except EngineDiedError:
            raise engine_died_refusal() from None
        except OSError as error:
            # No fault of the adapter's: whoever asks may ask again.
            log.error("Iteration %d cannot be copied to be served: %s.", iteration, error.strerror)
            raise RequestRefusedError(503, "The disk takes no copy of the adapter; ask again.", "disk") from None
        update_gauges()
        seconds = time.monotonic() - started_at
        log.info("Iteration %d is loaded (%.3f s).", iteration, seconds)
        reply = ReloadReply(model=model_name(iteration, context.base), seconds=seconds)
        if proof is not None:
            reply.proof = AdapterProof(**asdict(proof))
        return JSONResponse(reply.model_dump())

    @router.post("/current")
    async def _current(request: Request) -> JSONResponse:
        message = await read_message(request, CurrentIteration, context.max_bytes)
        try:
            set_current(message.iteration)
        except NotLoadedError:
            raise RequestRefusedError(
                409, "That iteration is not loaded; post it to /reload first.", "not_loaded"
            ) from None
        return JSONResponse({"status": "success"})

    @router.post("/unload")
    async def _unload(request: Request) -> JSONResponse:
        message = await read_message(request, UnloadRequest, context.max_bytes)
        try:
            unloaded = await registry.unload(message.iterations)
        except EngineDiedError:
            raise engine_died_refusal() from None
        update_gauges()
        return JSONResponse({"status": "success", "unloaded": unloaded})

    @router.post("/language")
    async def _language(request: Request) -> Response:
        message = await read_message(request, LanguageChoice, context.max_bytes)
        try:
            return await forward_request(
                request, context.owner, "/language", message.model_dump(), context.owner_verification
            )
        except OwnerUnreachableError:
            raise RequestRefusedError(
                503, "The owner is not there; the run cannot be started. Try again in a moment."
            ) from None

    @router.get("/healthz")
    async def _healthz() -> JSONResponse:
        alive = engine.alive()
        body = {
            "ok": alive,
            "process": process,
            "engine": engine.name,
            "model": context.base,
            "window": engine.window,
            "background_answers": context.background_answers,
            "iterations": registry.iterations,
            "current": registry.current,
            "nodes": [state.model_dump() for state in context.node_states()],
        }
        return JSONResponse(body, status_code=200 if alive else 503)

    @router.get("/metrics")
    async def _metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def _resolved_path(path: str, context: ControlContext) -> Path:
    """The absolute path of an adapter's folder, links followed.

    Raises:
        RequestRefusedError: 403 when it is outside the models' and runs' folders, 400 when it is no path.
    """
    try:
        resolved = (context.start / path).resolve()
    except (ValueError, OSError, RuntimeError):
        raise RequestRefusedError(400, "path is no path.", "invalid_value") from None
    if not any(resolved.is_relative_to(root.resolve()) for root in context.roots):
        raise RequestRefusedError(
            403, "Adapters are loaded from the models' and the runs' folders only.", "path_outside"
        )
    return resolved
