"""The plain page at `/` to talk through: serves the static files of `pages/`, and nothing else.

Knows no run and no visitor: the page asks the owner's other routes itself.  Its headers allow the page to load from and
speak to this owner only.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response

from wmkml.wire import Refusal

PAGES = Path(__file__).parent / "pages"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # The page changes with the project; a browser in the room may stay open for weeks.
}

MEDIA_TYPES = {
    # Spelled out, since what a machine's own table says of .js differs.
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def add_pages(app: FastAPI) -> None:
    """Add `GET /` and `GET /pages/{name}`; a name that is no file of the page gets 404 and a sentence."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _file(PAGES / "index.html")

    @app.get("/pages/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        known = {path.name: path for path in PAGES.iterdir() if path.suffix in MEDIA_TYPES}
        if name not in known:
            return JSONResponse(Refusal(error="The page has no such file.").model_dump(), 404)
        return _file(known[name])


def _file(path: Path) -> FileResponse:
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=HEADERS)
