"""Serves the page of the autopsy for a kept run, with the same routes as the owner, on a port of its own.

Whoever sits at this machine needs no key; from elsewhere the stage's or the operator's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from wmkml.access.key_ring import KeyRing
from wmkml.owner.autopsy.routes import autopsy_routes
from wmkml.owner.autopsy.selves import Selves
from wmkml.owner.http.http_requests import add_error_handlers, from_trusted_host, refusal_response, require_key
from wmkml.owner.http.page_routes import add_asset_routes, page_response
from wmkml.owner.http.stage_access import may_see_stage, redirect_without_key
from wmkml.protocol.middleware.browser_guard import BrowserGuardMiddleware
from wmkml.protocol.middleware.no_store import NoStoreMiddleware
from wmkml.system.sockets import listen

HERE = ("127.0.0.1", "::1")

MAX_BODY_BYTES = 65536


def make_app(selves: Selves, keys: KeyRing) -> FastAPI:
    """The application: the page, its files, and the routes under `/autopsy`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_error_handlers(app)
    app.add_middleware(
        BrowserGuardMiddleware,
        refuse=lambda _path, refusal: refusal_response(refusal.status, refusal.sentence),
        trusted=HERE,
        host_names=[],
        behind_proxy=False,
        form_paths=(),
    )
    app.add_middleware(NoStoreMiddleware)

    async def selves_for(request: Request) -> Selves:
        if not from_trusted_host(request, HERE) and not may_see_stage(request, keys):
            require_key(request, "stage or the operator", keys.stage, keys.operator)
        return selves

    def page(request: Request) -> Response:
        if "key" in request.query_params:
            return redirect_without_key(request, keys, "autopsy")
        return page_response("autopsy.html")

    app.include_router(autopsy_routes(selves_for, MAX_BODY_BYTES, page))

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("autopsy", 307)

    add_asset_routes(app)
    return app


class AutopsyServer(uvicorn.Server):
    """uvicorn with signal handlers of ours: its own end the process by the signal, before the copies of the adapters are deleted."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Have SIGTERM and SIGINT end `serve`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: setattr(self, "should_exit", True))
        yield


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, and say on standard error where.

    Raises:
        OSError: the port cannot be used.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    listener = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    print(
        f"The autopsy is at http://{name}:{listener.getsockname()[1]}/autopsy; Ctrl-C ends it.",
        file=sys.stderr,
        flush=True,
    )
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=2
    )
    await AutopsyServer(config).serve(sockets=[listener])
