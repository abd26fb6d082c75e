"""The routes of the original exhibition's owner: `/generate_gui`, `/language`, `/typing_event`, `/reload`.

Their messages are the original's; unknown fields are ignored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from wmkml.access.keys import key_matches
from wmkml.adapters.files import ADAPTER_FILES, WEIGHTS_FILE, missing_file, sha256_of
from wmkml.owner.answers.conversations import SHARED_STATION
from wmkml.owner.context import OwnerContext
from wmkml.owner.events.kept_alive import SPACE, done_soon, kept_alive
from wmkml.owner.events.typing_limit import TypingLimit
from wmkml.owner.http.chat_requests import (
    answer_before_run,
    answer_errors_as_refusals,
    language_error_as_refusal,
    start_answer,
)
from wmkml.owner.http.http_requests import SMALL_BODY_BYTES, from_trusted_host, key_of, read
from wmkml.owner.inference.client import InferenceAwayError, InferenceRefusedError
from wmkml.owner.installation import RunAliveError
from wmkml.protocol.base import Refusal, RequestRefusedError
from wmkml.protocol.conversation import ChatEnd
from wmkml.protocol.original import (
    GenerateGui,
    GenerateGuiReply,
    LanguageChoice,
    ReloadReply,
    ReloadRequest,
    TypingEvent,
)
from wmkml.protocol.run_state import SwapEvent
from wmkml.runs.schema import AcceptedAdapter


def add_original_routes(app: FastAPI, owner: OwnerContext) -> None:
    """Add the routes."""

    typing_limit = TypingLimit()

    @app.get("/generate_gui")
    async def readiness() -> dict[str, bool]:
        # The original's frontends poll this until it answers, and only then show themselves.
        return {"ok": True, "ready": owner.watch.ready}

    @app.post("/generate_gui")
    async def generate_gui(request: Request) -> Response:
        message = await read(request, GenerateGui, owner.settings.general.max_prompt_bytes)
        reply = asyncio.ensure_future(_whole_answer(owner, message))
        if await done_soon(reply):
            return Response(reply.result().model_dump_json(), media_type="application/json")
        return StreamingResponse(kept_alive(_late(reply), SPACE), media_type="application/json")

    @app.post("/language")
    async def language(request: Request) -> dict[str, str]:
        message = await read(request, LanguageChoice, SMALL_BODY_BYTES)
        owner.opening.require_open()
        via = "inference" if request.headers.get("x-wmkml-via") == "inference" else "owner"
        with language_error_as_refusal(owner):
            try:
                await owner.installation.start(
                    message.language,
                    via=via,
                    trusted=from_trusted_host(request, owner.settings.trusted_hosts),
                    join=message.join,
                )
            except RunAliveError:
                raise RequestRefusedError(
                    409, "A run is under way; it may be ended from a trusted host only. Wait for its end."
                ) from None
        return {"status": "success"}

    @app.post("/typing_event")
    async def typing_event(request: Request) -> dict[str, bool]:
        message = await read(request, TypingEvent, SMALL_BODY_BYTES)
        station = message.station or SHARED_STATION
        if typing_limit.allows(station):  # more than anybody types is not passed on
            owner.publisher.typing(station, message.status)
        return {"ok": True}

    @app.post("/reload")
    async def reload(request: Request) -> ReloadReply:
        is_trusted = from_trusted_host(request, owner.settings.trusted_hosts)
        if not is_trusted and not key_matches(key_of(request), owner.keys.operator):
            raise RequestRefusedError(403, "Adapters are loaded from a trusted host, or with the operator's key.")
        message = await read(request, ReloadRequest, SMALL_BODY_BYTES)
        run = owner.require_lifecycle().run
        folder = _checked_adapter_folder(owner, message.path)
        started_at = time.monotonic()
        try:
            reply = await owner.client.reload(str(folder), message.iteration)
        except InferenceRefusedError as refusal:
            raise RequestRefusedError(400, f"Inference refuses this adapter: {refusal}") from None
        except InferenceAwayError:
            owner.watch.require_restore()
            raise RequestRefusedError(503, "Inference is away; try again when it is back.") from None
        if run.over:
            raise RequestRefusedError(409, "The run ended meanwhile.")
        sha256 = await asyncio.to_thread(sha256_of, folder / WEIGHTS_FILE)
        adapter = next((adapter for adapter in run.store.adapters() if adapter.iteration == message.iteration), None)
        # An adapter that a round made keeps `from_round` when it is reloaded: training still continues from it.
        if adapter is None or not _is_same_adapter(adapter, folder, sha256):
            adapter = AcceptedAdapter(message.iteration, str(folder), sha256, from_round=False)
        run.store.accept(adapter)
        run.iteration = message.iteration
        seconds = time.monotonic() - started_at
        owner.publisher.swapped(SwapEvent(iteration=message.iteration, swap_seconds=seconds, held_seconds=0.0))
        try:
            await owner.client.set_current(message.iteration)
        except InferenceAwayError:
            owner.watch.require_restore()
        return reply


async def _whole_answer(owner: OwnerContext, message: GenerateGui) -> GenerateGuiReply:
    if owner.installation.run is None:
        # As the original did, whose frontends may ask before a language is chosen; our own `/chat` refuses that.
        with answer_errors_as_refusals():
            early = await answer_before_run(owner, message.prompt, message.temperature, message.top_p)
        return GenerateGuiReply(text=early.text, iteration=early.iteration)
    station = message.station or SHARED_STATION
    answer = start_answer(owner, station, message.prompt, None, message.temperature, message.top_p)
    with answer_errors_as_refusals():
        async for event in answer:
            if isinstance(event, ChatEnd):
                return GenerateGuiReply(text=event.text, iteration=event.iteration)
    raise RequestRefusedError(503, "The answer came to no end; ask again.")


async def _late(reply: asyncio.Future[GenerateGuiReply]) -> AsyncIterator[str]:
    """The body of a reply whose status has been sent: a refusal can only be said in words."""
    try:
        yield (await reply).model_dump_json()
    except RequestRefusedError as refusal:
        yield Refusal(error=refusal.sentence).model_dump_json()


def _is_same_adapter(adapter: AcceptedAdapter, folder: Path, sha256: str) -> bool:
    return adapter.sha256 == sha256 and Path(adapter.path).resolve() == folder


def _checked_adapter_folder(owner: OwnerContext, path: str) -> Path:
    """The resolved folder of an adapter that may be loaded.

    Raises:
        RequestRefusedError: 400 if it is outside the folders of models and runs, or holds no adapter.
    """
    try:
        folder = Path(path).resolve()
    except (ValueError, OSError):
        raise RequestRefusedError(400, "This is not a path.") from None
    allowed = (owner.paths.models.resolve(), owner.paths.runs.resolve())
    if not any(folder.is_relative_to(parent) for parent in allowed):
        raise RequestRefusedError(400, "Adapters are loaded from the folders of models and of runs only.")
    if missing_file(folder) is not None:
        raise RequestRefusedError(400, f"There is no adapter in this folder: it holds {' and '.join(ADAPTER_FILES)}.")
    return folder
