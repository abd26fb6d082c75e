"""The web pages: serves what was built from `frontend/`, and nothing else.

Knows no run and no visitor: the pages ask the owner's other routes themselves.  Their headers allow them to load from and
speak to this owner only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response

from wmkml.places import PAGES
from wmkml.wire import Refusal

HEADERS = {
    "Content-Security-Policy": (
        # blob: the music's clock is a worker made from a string.  Inline styles: those that scripts set.
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
        "font-src 'self'; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

NOT_KEPT = {"Cache-Control": "no-cache"}
"""The pages change with the project; a browser in the room may stay open for weeks."""

KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}
"""Their names hold a hash of their content."""

SAYS_WHENCE = {"Referrer-Policy": "same-origin"}
"""Without it a plain form names no origin, and the desk's log-in could not tell our page from another site's."""

MEDIA_TYPES = {
    # Spelled out, since what a machine's own table says of .js differs.
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


def add_pages(app: FastAPI, pages: Path = PAGES) -> None:
    """Add `GET /`, `/desk`, and what all pages load.  Files that are not there get 404 and a sentence."""

    @app.get("/", include_in_schema=False)
    async def visitor() -> Response:
        return page("index.html", pages)

    @app.get("/desk", include_in_schema=False)
    async def desk() -> Response:
        return page("desk.html", pages, SAYS_WHENCE)

    @app.get("/icon.svg", include_in_schema=False)
    async def icon() -> Response:
        return _file(pages / "icon.svg", NOT_KEPT)

    @app.get("/assets/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        return _file(pages / "assets" / Path(name).name, KEPT)


def page(name: str, pages: Path = PAGES, more: Mapping[str, str] | None = None) -> Response:
    """A built page; 503 and a sentence where none was built."""
    if not (pages / name).is_file():
        return _refused(
            503, "The web pages are not built; ./master_script.sh install builds them and says what is missing."
        )
    return _file(pages / name, NOT_KEPT | dict(more or {}))


def _file(path: Path, caching: dict[str, str]) -> Response:
    if path.suffix not in MEDIA_TYPES or not path.is_file():
        return _refused(404, "The pages have no such file.")
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=HEADERS | caching)


def _refused(status: int, sentence: str) -> Response:
    return JSONResponse(Refusal(error=sentence).model_dump(), status)
