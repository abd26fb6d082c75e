"""The projection's doors: its page, what the artist's folder says, and the operator's switch that darkens it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from wmkml.owner.page_routes import HEADERS, NOT_KEPT, page
from wmkml.owner.parts import Owner
from wmkml.owner.reading import SMALL, Refusing, read, require_key
from wmkml.owner.stage_access import let_in, opens_stage
from wmkml.owner.stage_folder import FONT_TYPES, StageFolder
from wmkml.owner.telling import StageTold


def add_stage(app: FastAPI, owner: Owner, folder: StageFolder) -> None:
    """Add `GET /stage`, `/stage/runtime` with its fonts, and `POST /operator/stage`."""

    @app.get("/stage", include_in_schema=False)
    async def stage(request: Request) -> Response:
        return let_in(request, owner.keys) if "key" in request.query_params else page("stage.html")

    @app.get("/stage/runtime")
    async def runtime(request: Request) -> dict[str, Any]:
        # For everybody: it holds no word of a visitor, and the page needs its texts to say that the key is missing.
        return folder.said() | {
            "opened": opens_stage(request, owner.keys),
            "blank": owner.herald.blank,
        }

    @app.get("/stage/runtime/fonts/{name}", include_in_schema=False)
    async def font(name: str) -> Response:
        path = folder.font(Path(name).name)
        try:
            content = await asyncio.to_thread(path.read_bytes) if path else None
        except OSError:
            content = None  # taken away since the folder was looked at last
        if path is None or content is None:
            raise Refusing(404, "The stage has no such font.")
        return Response(content, media_type=FONT_TYPES[path.suffix.lower()], headers=HEADERS | NOT_KEPT)

    @app.post("/operator/stage")
    async def darken(request: Request) -> dict[str, str]:
        require_key(request, "operator", owner.keys.operator)
        owner.herald.stage((await read(request, StageTold, SMALL)).blank)
        return {"status": "success"}
