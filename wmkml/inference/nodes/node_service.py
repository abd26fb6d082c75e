"""What a node serves: its engine in vLLM's protocol, adapters taken as archives, and `/healthz`; all of it with the node key.

A node has no owner and no run.  It answers a head, which gives it adapters, and holds nothing over a restart.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from wmkml.adapters.archive import MAX_ARCHIVE_BYTES, ArchiveBrokenError, unpack
from wmkml.engine.protocol import Engine
from wmkml.inference import refusals
from wmkml.inference.access import AccessMiddleware
from wmkml.inference.nodes.vllm_routes import NamedAdapters, routes
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.middleware.browser_guard import BrowserGuardMiddleware
from wmkml.protocol.middleware.no_store import NoStoreMiddleware

BASE = "base"
"""The name of the model without an adapter on every node."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


class NodeService:
    """The app of a node."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        key: Callable[[], str],
        trusted: Sequence[str],
        fingerprint: str,
        copies: int,
        vocabulary: int,
    ) -> None:
        """Args:
        folder: emptied; the adapters are kept there.
        key: the node key; called for every request, since it may be rotated.
        trusted: addresses that need none.
        fingerprint: of the model's folder.
        copies: how many copies of the model answer, for the head's choice.
        vocabulary: how many tokens the model has.
        """
        self.engine = engine
        # An instance that was killed may have left adapters here, which learned from visitors' words.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        adapters = NamedAdapters(engine, BASE, self._folder_of, _delete)
        app = FastAPI(title="Watch me kill my language: node", docs_url=None, redoc_url=None, openapi_url=None)
        refusals.install_handlers(app)
        app.include_router(routes(engine, adapters, vocabulary))

        @app.put("/adapters/{name}")
        async def _take(request: Request, name: str) -> dict[str, str]:
            if name in adapters.names:
                raise RequestRefusedError(400, "An adapter of this name is loaded already.", "name_taken")
            await _unpack_body(request, self._folder_of(name))
            return {"status": "success"}

        @app.get("/healthz")
        async def _healthz() -> JSONResponse:
            alive = engine.alive()
            body = {
                "ok": alive,
                "engine": engine.name,
                "model": fingerprint,
                "window": engine.window,
                "copies": copies,
                "adapters": len(adapters.names) - 1,
            }
            return JSONResponse(body, status_code=200 if alive else 503)

        self.inner_app = app
        self._key = key
        self._trusted = trusted

    def guarded(self, app: ASGIApp) -> ASGIApp:
        """The app behind the node key."""
        guard = BrowserGuardMiddleware(
            AccessMiddleware(app, lambda: [self._key()], self._trusted),
            refuse=refusals.refusal_response,
            trusted=self._trusted,
        )
        return NoStoreMiddleware(guard)

    async def cancel_answers(self) -> None:
        """Nothing is told to the head: it sees the connection break, and asks elsewhere."""

    def close(self) -> None:
        """Delete every adapter: they learned from visitors' words."""
        _delete(self._folder)

    def _folder_of(self, name: str) -> Path:
        """Where the adapter of this name was unpacked.

        Raises:
            RequestRefusedError: 400, it is no name.
        """
        if not _NAME.fullmatch(name):
            raise RequestRefusedError(400, "This is no name of an adapter.", "invalid_value")
        return self._folder / name


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def _unpack_body(request: Request, folder: Path) -> None:
    """Unpack an archive that is the body of a request.

    Raises:
        RequestRefusedError: it is too large, or no adapter's, or not the one that was announced.
    """
    with tempfile.TemporaryFile(dir=folder.parent) as archive:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > MAX_ARCHIVE_BYTES:
                raise RequestRefusedError(413, f"An adapter has at most {MAX_ARCHIVE_BYTES} bytes.")
            archive.write(part)
        archive.seek(0)
        try:
            await asyncio.to_thread(unpack, archive, folder, request.headers.get("x-sha256", ""))
        except ArchiveBrokenError as error:
            raise RequestRefusedError(400, str(error)) from None
