"""The doors that the original's frontends knock on: `/generate_gui`, `/language`, `/typing_event`, `/reload`.

Their messages are the original's; fields nobody knows are ignored.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from fastapi import FastAPI, Request

from wmkml.keys import opens
from wmkml.owner.asking import asked, first_of, refused_answers, refused_language
from wmkml.owner.inference_client import Away, Refused
from wmkml.owner.installation import RunAlive
from wmkml.owner.lease import ADAPTER_FILES, WEIGHTS, sha256_of
from wmkml.owner.parts import Owner
from wmkml.owner.reading import SMALL, Refusing, given_key, read, trusted
from wmkml.owner.stations import SHARED
from wmkml.runs.schema import AcceptedAdapter
from wmkml.wire import (
    ChatEnd,
    GenerateGui,
    GenerateGuiReply,
    LanguageChoice,
    ReloadReply,
    ReloadRequest,
    SwapEvent,
    TypingEvent,
)


def add_doors(app: FastAPI, owner: Owner) -> None:
    """Add the original's routes."""

    @app.get("/generate_gui")
    async def probe() -> dict[str, bool]:
        # The original's frontends ask until something answers, and only then show themselves.
        return {"ok": True, "ready": owner.watch.ready}

    @app.post("/generate_gui")
    async def generate_gui(request: Request) -> GenerateGuiReply:
        message = await read(request, GenerateGui, owner.settings.general.max_prompt_bytes)
        station = message.station or SHARED
        answer = asked(owner, station, message.prompt, None, message.temperature, message.top_p)
        with refused_answers():
            first = await first_of(answer)
            async for said in answer:
                if isinstance(said, ChatEnd):
                    return GenerateGuiReply(text=said.text, iteration=said.iteration)
        raise Refusing(503, f"The answer that iteration {first.iteration} began came to no end; ask again.")

    @app.post("/language")
    async def language(request: Request) -> dict[str, str]:
        message = await read(request, LanguageChoice, SMALL)
        door = "inference" if request.headers.get("x-wmkml-via") == "inference" else "owner"
        with refused_language(owner):
            try:
                await owner.installation.start(
                    message.language,
                    door=door,
                    trusted=trusted(request, owner.settings.general.trusted_hosts),
                    join=message.join,
                )
            except RunAlive:
                raise Refusing(
                    409, "A run is under way; it may be ended from a trusted host only. Wait for its end."
                ) from None
        return {"status": "success"}

    @app.post("/typing_event")
    async def typing_event(request: Request) -> dict[str, bool]:
        message = await read(request, TypingEvent, SMALL)
        owner.herald.typing((message.station or SHARED)[:64], message.status)
        return {"ok": True}

    @app.post("/reload")
    async def reload(request: Request) -> ReloadReply:
        near = trusted(request, owner.settings.general.trusted_hosts)
        if not near and not opens(given_key(request), owner.keys.operator):
            raise Refusing(403, "Adapters are loaded from a trusted host, or with the operator's key.")
        message = await read(request, ReloadRequest, SMALL)
        run = owner.life().run
        folder = _adapter(owner, message.path)
        began = time.monotonic()
        try:
            reply = await owner.client.reload(str(folder), message.iteration)
        except Refused as refusal:
            raise Refusing(400, f"Inference refuses this adapter: {refusal}") from None
        except Away:
            owner.watch.lost()
            raise Refusing(503, "Inference is away; try again when it is back.") from None
        if run.over:
            raise Refusing(409, "The run ended meanwhile.")
        sha256 = await asyncio.to_thread(sha256_of, folder / WEIGHTS)
        known = next((one for one in run.store.adapters() if one.iteration == message.iteration), None)
        if known is None or not _is_at(known, folder, sha256):
            known = AcceptedAdapter(message.iteration, str(folder), sha256, from_round=False)
        run.store.accept(known)  # a round's own adapter stays the one that training goes on from
        run.iteration = message.iteration
        seconds = time.monotonic() - began
        owner.herald.swapped(SwapEvent(iteration=message.iteration, swap_seconds=seconds, held_seconds=0.0))
        try:
            await owner.client.current(message.iteration)
        except Away:
            owner.watch.lost()
        return reply


def _is_at(known: AcceptedAdapter, folder: Path, sha256: str) -> bool:
    return known.sha256 == sha256 and Path(known.path).resolve() == folder


def _adapter(owner: Owner, path: str) -> Path:
    """The folder of an adapter that may be loaded.

    Raises:
        Refusing: 400, outside the folders of models and runs, or no adapter.
    """
    try:
        folder = Path(path).resolve()
    except (ValueError, OSError):
        raise Refusing(400, "This is not a path.") from None
    allowed = (owner.places.models.resolve(), owner.places.runs.resolve())
    if not any(folder.is_relative_to(one) for one in allowed):
        raise Refusing(400, "Adapters are loaded from the folders of models and of runs only.")
    if not all((folder / name).is_file() for name in ADAPTER_FILES):
        raise Refusing(400, f"There is no adapter in this folder: it holds {' and '.join(ADAPTER_FILES)}.")
    return folder
