"""The web pages: serves the files built from `frontend/`.

The pages fetch everything else from the owner's other routes.  Their headers restrict them to loading from, and
connecting to, this owner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response

from wmkml.config.paths import PAGES
from wmkml.protocol.base import Refusal

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        # blob: for the music's clock, a web worker created from a string; unsafe-inline for styles set by scripts.
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
        "font-src 'self'; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

REVALIDATED = {"Cache-Control": "no-cache"}
"""For files whose content changes with an update: a browser in the room may stay open for weeks."""

IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
"""For files whose name holds a hash of their content."""

WITH_ORIGIN = {"Referrer-Policy": "same-origin"}
"""Has plain forms name their origin, by which the desk's log-in tells its own page from another site's."""

MEDIA_TYPES = {
    # Listed here because the operating systems' tables differ, for .js among others.
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


def add_page_routes(app: FastAPI, pages: Path = PAGES) -> None:
    """Add `GET /`, `/desk`, and the files that all pages load; missing files are refused with 404."""

    @app.get("/", include_in_schema=False)
    async def visitor_page() -> Response:
        return page_response("index.html", pages)

    @app.get("/desk", include_in_schema=False)
    async def desk_page() -> Response:
        return page_response("desk.html", pages, WITH_ORIGIN)

    add_asset_routes(app, pages)


def add_asset_routes(app: FastAPI, pages: Path = PAGES) -> None:
    """Add the files that all pages load; missing ones are refused with 404."""

    @app.get("/icon.svg", include_in_schema=False)
    async def icon() -> Response:
        return _file_response(pages / "icon.svg", REVALIDATED)

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        return _file_response(pages / "assets" / Path(name).name, IMMUTABLE)


def page_response(name: str, pages: Path = PAGES, headers: Mapping[str, str] | None = None) -> Response:
    """A built page, with additional headers; 503 if the pages have not been built."""
    if not (pages / name).is_file():
        return _refusal_response(
            503, "The web pages are not built; ./master_script.sh install builds them and says what is missing."
        )
    return _file_response(pages / name, REVALIDATED | dict(headers or {}))


def _file_response(path: Path, headers: dict[str, str]) -> Response:
    # `Path.is_file` raises where a name is longer than a file's can be.
    if path.suffix not in MEDIA_TYPES or not os.path.isfile(path):  # noqa: PTH113
        return _refusal_response(404, "The pages have no such file.")
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=SECURITY_HEADERS | headers)


def _refusal_response(status: int, sentence: str) -> Response:
    return JSONResponse(Refusal(error=sentence).model_dump(), status)
