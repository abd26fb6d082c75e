"""The routes that are ours: `/reload`, `/current`, `/unload`, `/language`, `/healthz` and `/metrics`.

Knows the shelf of iterations and where the owner is; decides nothing about runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from wmkml.engine.protocol import AdapterRefused, Engine, EngineDied
from wmkml.inference.access import given_key
from wmkml.inference.answering import away
from wmkml.inference.bodies import read_message
from wmkml.inference.metrics import Metrics
from wmkml.inference.refusals import Refused
from wmkml.inference.shelf import NotLoaded, Shelf
from wmkml.inference.to_owner import OwnerAway, pass_on
from wmkml.keys import opens
from wmkml.osc import OscSender, noted
from wmkml.wire import CurrentIteration, LanguageChoice, OscSent, ReloadReply, ReloadRequest, UnloadRequest, model_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Controls:
    """What these routes work with.

    Attributes:
        owner: where the owner is, as a URL.
        operator_key: the key that the owner sends.
        roots: the folders whose adapters may be loaded.
        start: what relative paths start from.
        limit: the largest body in bytes.
    """

    engine: Engine
    shelf: Shelf
    osc: OscSender
    metrics: Metrics
    base: str
    owner: str
    operator_key: str
    roots: Sequence[Path]
    start: Path
    limit: int


def routes(controls: Controls) -> APIRouter:
    """Our own routes."""
    router = APIRouter()
    engine, shelf, metrics = controls.engine, controls.shelf, controls.metrics

    def tell_numbers() -> None:
        metrics.adapters.set(len(shelf.iterations) - 1)
        metrics.current.set(shelf.current)

    def make_current(iteration: int) -> None:
        changed = shelf.make_current(iteration)
        if changed and iteration >= 0:
            controls.osc.send("/swap", iteration + 1)
        tell_numbers()

    @router.get("/osc")
    async def _osc() -> list[OscSent]:
        return noted(controls.osc)

    @router.post("/reload")
    async def _reload(request: Request) -> Response:
        asked = await read_message(request, ReloadRequest, controls.limit)
        path = _inside(asked.path, controls)
        if opens(given_key(request), controls.operator_key):
            return await loaded(path, asked.iteration)
        # Whoever is not the owner wants this adapter to answer from now on, as the original's worker does; which one
        # answers is the owner's to say, and it comes back here with its key.
        try:
            return await pass_on(request, controls.owner, "/reload", {"path": str(path), "iteration": asked.iteration})
        except OwnerAway:
            reply = await loaded(path, asked.iteration)
            make_current(asked.iteration)
            return reply

    async def loaded(path: Path, iteration: int) -> JSONResponse:
        begun = time.monotonic()
        try:
            await shelf.load(path, iteration)
        except AdapterRefused as error:
            raise Refused(400, str(error), "adapter_refused") from None
        except EngineDied:
            raise away() from None
        tell_numbers()
        seconds = time.monotonic() - begun
        log.info("Iteration %d is loaded (%.3f s).", iteration, seconds)
        return JSONResponse(ReloadReply(model=model_name(iteration, controls.base), seconds=seconds).model_dump())

    @router.post("/current")
    async def _current(request: Request) -> JSONResponse:
        asked = await read_message(request, CurrentIteration, controls.limit)
        try:
            make_current(asked.iteration)
        except NotLoaded:
            raise Refused(409, "That iteration is not loaded; post it to /reload first.", "not_loaded") from None
        return JSONResponse({"status": "success"})

    @router.post("/unload")
    async def _unload(request: Request) -> JSONResponse:
        asked = await read_message(request, UnloadRequest, controls.limit)
        try:
            gone = await shelf.unload(asked.iterations)
        except EngineDied:
            raise away() from None
        tell_numbers()
        return JSONResponse({"status": "success", "unloaded": gone})

    @router.post("/language")
    async def _language(request: Request) -> Response:
        asked = await read_message(request, LanguageChoice, controls.limit)
        try:
            return await pass_on(request, controls.owner, "/language", asked.model_dump())
        except OwnerAway:
            raise Refused(503, "The owner is not there; the run cannot be started. Try again in a moment.") from None

    @router.get("/healthz")
    async def _healthz() -> JSONResponse:
        alive = engine.alive()
        body = {
            "ok": alive,
            "engine": engine.name,
            "model": controls.base,
            "window": engine.window,
            "iterations": shelf.iterations,
            "current": shelf.current,
        }
        return JSONResponse(body, status_code=200 if alive else 503)

    @router.get("/metrics")
    async def _metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def _inside(path: str, controls: Controls) -> Path:
    """The real folder of a path.  Raises Refused when it is outside the models' and runs' folders, links followed."""
    try:
        real = (controls.start / path).resolve()
    except (ValueError, OSError, RuntimeError):
        raise Refused(400, "path is no path.", "invalid_value") from None
    if not any(real.is_relative_to(root.resolve()) for root in controls.roots):
        raise Refused(403, "Adapters are loaded from the models' and the runs' folders only.", "path_outside")
    return real
