"""The stage's routes: its page, the content of the artist's folder, and the operator's switch that blanks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from wmkml.owner.context import OwnerContext
from wmkml.owner.http.http_requests import SMALL_BODY_BYTES, read, require_key
from wmkml.owner.http.page_routes import REVALIDATED, SECURITY_HEADERS, page_response
from wmkml.owner.http.stage_access import may_see_stage, redirect_without_key, require_stage_key
from wmkml.owner.stage.folder import FONT_TYPES, StageFolder
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.events import StageEvent
from wmkml.protocol.opening import SoundReport


def add_stage_routes(
    app: FastAPI, owner: OwnerContext, folder: StageFolder, on_sound: Callable[[SoundReport], None]
) -> None:
    """Add `GET /stage`, `/stage/runtime` with its fonts, `/stage/recordings`, `POST /stage/sound` and `/operator/stage`.

    Args:
        on_sound: called with what a kiosk tells of the stage's sound.
    """

    @app.get("/stage", include_in_schema=False)
    async def stage(request: Request) -> Response:
        return (
            redirect_without_key(request, owner.keys) if "key" in request.query_params else page_response("stage.html")
        )

    @app.get("/stage/runtime")
    async def runtime(request: Request) -> dict[str, Any]:
        # Public: it holds no visitor's word, and the page needs its texts to say that the key is missing.
        return folder.runtime_state() | {
            "opened": may_see_stage(request, owner.keys),
            "blank": owner.publisher.blank,
        }

    @app.get("/stage/runtime/fonts/{name}", include_in_schema=False)
    async def font(name: str) -> Response:
        path = folder.font(Path(name).name)
        media_type = FONT_TYPES[path.suffix.lower()] if path else ""
        return await _file_response(path, media_type, "The stage has no such font.")

    @app.get("/stage/recordings/{name}", include_in_schema=False)
    async def recording(request: Request, name: str) -> Response:
        require_stage_key(request, owner.keys)
        return await _file_response(folder.recording(name), "application/gzip", "The stage has no such recording.")

    @app.post("/stage/sound")
    async def sound(request: Request) -> dict[str, str]:
        require_key(request, "stage", owner.keys.stage, owner.keys.operator)
        on_sound(await read(request, SoundReport, SMALL_BODY_BYTES))
        return {"status": "success"}

    @app.post("/operator/stage")
    async def blank_stage(request: Request) -> dict[str, str]:
        require_key(request, "operator", owner.keys.operator)
        await owner.blank_stage((await read(request, StageEvent, SMALL_BODY_BYTES)).blank)
        return {"status": "success"}


async def _file_response(path: Path | None, media_type: str, missing: str) -> Response:
    """A file of the stage's folder; refused with 404 and the sentence `missing` where there is none, or it was just deleted."""
    try:
        content = await asyncio.to_thread(path.read_bytes) if path else None
    except OSError:
        content = None
    if content is None:
        raise RequestRefusedError(404, missing)
    return Response(content, media_type=media_type, headers=SECURITY_HEADERS | REVALIDATED)
