"""A stand-in of the owner for the tests of the worker: its worker routes over real HTTP, and a record of every message.

The test sets which rounds it offers and what it answers.  It can stop and come back at its port.
"""

from __future__ import annotations

import asyncio
import io
import queue
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request, Response

from wmkml.adapters.archive import pack
from wmkml.protocol.training import (
    Claim,
    HandIn,
    HandInReply,
    ModelMeasures,
    RoundFailure,
    RoundJob,
    StepReply,
    StepReport,
    WorkerUnable,
)
from wmkml.system.ports import free_port

KEY = "worker-key-of-the-stand-in"
POLL = 0.5
"""Seconds that a claim waits for a round before it is answered with 204."""


class OwnerStandIn:
    """Offers what `offer` was given; the worker's messages are in its lists and queues."""

    def __init__(self) -> None:
        self.port = free_port()
        self.claims: list[Claim] = []
        self.unable: list[str] = []
        self.refused_keys = 0
        self.adapters: dict[int, Path] = {}
        self._offered: queue.Queue[Any] = queue.Queue()
        self.reset()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def reset(self) -> None:
        """Return to the first state, for the next test: no messages recorded, and everything is accepted."""
        self.steps: list[tuple[int, StepReport]] = []
        self.hand_ins: queue.Queue[HandIn] = queue.Queue()
        self.measures: queue.Queue[ModelMeasures] = queue.Queue()
        self.failures: queue.Queue[str] = queue.Queue()
        self.uploads: queue.Queue[tuple[bytes, str]] = queue.Queue()
        self.proceed = True
        self.wants_upload = False
        self.accepts = True
        self._uploaded: set[int] = set()

    def offer(self, job: RoundJob | dict[str, Any]) -> None:
        """Answer the next claim with this; a dict need not be a valid job."""
        self._offered.put(job)

    def steps_of(self, iteration: int) -> list[StepReport]:
        """The optimizer steps reported of a round, without signs of life and notices."""
        return [report for number, report in self.steps if number == iteration and report.step and not report.notice]

    def start(self) -> None:
        """Start listening; returns when it does."""
        config = uvicorn.Config(
            self._app(), host="127.0.0.1", port=self.port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = server = uvicorn.Server(config)
        self._thread = threading.Thread(target=server.run, daemon=True)
        self._thread.start()
        while not server.started:
            self._thread.join(0.02)
            assert self._thread.is_alive(), "the stand-in could not listen"

    def stop(self) -> None:
        """Stop listening."""
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _app(self) -> FastAPI:
        app = FastAPI()

        def checked(key: str) -> None:
            if key != KEY:
                self.refused_keys += 1
                raise HTTPException(403)

        @app.post("/worker/claim")
        async def claim(message: Claim, x_key: str = Header("")) -> Any:
            checked(x_key)
            self.claims.append(message)
            for _ in range(int(POLL / 0.05)):
                if not self._offered.empty():
                    return self._offered.get()
                await asyncio.sleep(0.05)
            return Response(status_code=204)

        @app.post("/worker/unable")
        async def unable(message: WorkerUnable, x_key: str = Header("")) -> None:
            checked(x_key)
            self.unable.append(message.reason)

        @app.post("/worker/rounds/{run}/{iteration}/{attempt}/step")
        async def step(iteration: int, message: StepReport, x_key: str = Header("")) -> StepReply:
            checked(x_key)
            self.steps.append((iteration, message))
            return StepReply(proceed=self.proceed)

        @app.post("/worker/rounds/{run}/{iteration}/{attempt}/hand_in")
        async def hand_in(iteration: int, message: HandIn, x_key: str = Header("")) -> HandInReply:
            checked(x_key)
            self.hand_ins.put(message)
            upload = self.wants_upload and iteration not in self._uploaded
            accepted = self.accepts and not upload
            return HandInReply(accepted=accepted, upload=upload, reason="" if accepted else "not today")

        @app.post("/worker/rounds/{run}/{iteration}/{attempt}/measures")
        async def measures(message: ModelMeasures, x_key: str = Header("")) -> None:
            checked(x_key)
            self.measures.put(message)

        @app.put("/worker/rounds/{run}/{iteration}/{attempt}/adapter")
        async def adapter(iteration: int, request: Request, x_sha256: str = Header(), x_key: str = Header("")) -> None:
            checked(x_key)
            self.uploads.put((await request.body(), x_sha256))
            self._uploaded.add(iteration)

        @app.post("/worker/rounds/{run}/{iteration}/{attempt}/failed")
        async def failed(message: RoundFailure, x_key: str = Header("")) -> None:
            checked(x_key)
            self.failures.put(message.reason)

        @app.get("/worker/adapters/{run}/{iteration}")
        async def accepted_adapter(iteration: int, x_key: str = Header("")) -> Response:
            checked(x_key)
            archive = io.BytesIO()
            pack(self.adapters[iteration], archive)
            return Response(archive.getvalue(), media_type="application/x-tar")

        return app
