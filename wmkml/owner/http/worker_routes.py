"""The worker's routes: the methods of `RoundScheduler` over HTTP, and adapters as archives.  All need the worker's key."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from wmkml.adapters.archive import MAX_ARCHIVE_BYTES, ArchiveBrokenError, pack, unpack
from wmkml.adapters.files import missing_file
from wmkml.owner.context import OwnerContext
from wmkml.owner.http.http_requests import read, require_key
from wmkml.owner.rounds.hand_in import UndecidedError
from wmkml.owner.rounds.scheduler import CLAIM_SECONDS, RoundScheduler
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.training import (
    Claim,
    HandIn,
    HandInReply,
    ModelMeasures,
    RoundFailure,
    StepReply,
    StepReport,
    WorkerUnable,
)

MESSAGE_BYTES = 64 * 1024
PART_BYTES = 2**20
AWAIT_RUN_SECONDS = 1.0
OVER = "This attempt is not under way any more."
ROUND = "/worker/rounds/{run}/{iteration}/{attempt}"


def add_worker(app: FastAPI, owner: OwnerContext) -> None:
    """Add the routes."""

    def scheduler_of(run: str) -> RoundScheduler | None:
        """The rounds of this run; None if it is not the one that lives."""
        lifecycle = owner.installation.lifecycle
        return lifecycle.scheduler if lifecycle is not None and lifecycle.run.name == run else None

    def require_key_of_round(request: Request) -> None:
        require_key(request, "worker", *owner.keys.worker_keys_of_a_round())

    @app.post("/worker/claim", response_model=None)
    async def claim(request: Request) -> Response:
        require_key(request, "worker", owner.keys.worker)
        message = await read(request, Claim, MESSAGE_BYTES)
        with owner.workers.request_under_way():
            for _ in range(int(CLAIM_SECONDS / AWAIT_RUN_SECONDS)):
                lifecycle = owner.installation.lifecycle
                if lifecycle is not None:
                    job = await lifecycle.scheduler.claim(message, owner.workers, request.is_disconnected)
                    if job is not None:
                        return Response(job.model_dump_json(), media_type="application/json")
                    if not lifecycle.run.over:
                        break
                if await request.is_disconnected():
                    break
                await asyncio.sleep(AWAIT_RUN_SECONDS)
        return Response(status_code=204)

    @app.post("/worker/unable")
    async def unable(request: Request) -> dict[str, str]:
        require_key(request, "worker", owner.keys.worker)
        message = await read(request, WorkerUnable, MESSAGE_BYTES)
        # No sign of life: this worker is away.
        owner.workers.unable_reason = message.reason
        owner.publisher.notice(f"The worker {message.worker} cannot train: {message.reason}")
        return {"status": "success"}

    @app.post(f"{ROUND}/step")
    async def step(request: Request, run: str, iteration: int, attempt: int) -> StepReply:
        require_key_of_round(request)
        report = await read(request, StepReport, MESSAGE_BYTES)
        scheduler = scheduler_of(run)
        with owner.workers.request_under_way():
            return StepReply(proceed=scheduler is not None and scheduler.step(iteration, attempt, report))

    @app.post(f"{ROUND}/hand_in")
    async def hand_in(request: Request, run: str, iteration: int, attempt: int) -> HandInReply:
        require_key_of_round(request)
        message = await read(request, HandIn, MESSAGE_BYTES)
        scheduler = scheduler_of(run)
        if scheduler is None:
            return HandInReply(accepted=False, reason="This run is over.")
        with owner.workers.request_under_way():
            try:
                return await scheduler.hand_in(iteration, attempt, message)
            except UndecidedError:
                raise RequestRefusedError(503, "Inference is away; hand in again.") from None

    @app.post(f"{ROUND}/measures")
    async def measures(request: Request, run: str, iteration: int, attempt: int) -> dict[str, str]:
        require_key_of_round(request)
        message = await read(request, ModelMeasures, MESSAGE_BYTES)
        scheduler = scheduler_of(run)
        if scheduler is not None:
            scheduler.measured(iteration, attempt, message)
        return {"status": "success"}

    @app.post(f"{ROUND}/failed")
    async def failed(request: Request, run: str, iteration: int, attempt: int) -> StepReply:
        require_key_of_round(request)
        failure = await read(request, RoundFailure, MESSAGE_BYTES)
        scheduler = scheduler_of(run)
        if scheduler is not None:
            scheduler.give_back(iteration, attempt, failure)
        return StepReply(proceed=False)

    @app.put(f"{ROUND}/adapter")
    async def upload(request: Request, run: str, iteration: int, attempt: int) -> dict[str, str]:
        require_key_of_round(request)
        scheduler = scheduler_of(run)
        folder = None if scheduler is None else scheduler.upload_folder(iteration, attempt)
        if scheduler is None or folder is None:
            raise RequestRefusedError(409, OVER)
        if not scheduler.run_folder_exists():
            raise RequestRefusedError(409, OVER)
        folder.parent.mkdir(exist_ok=True)  # somebody may have deleted the adapters' folder
        with tempfile.NamedTemporaryFile(dir=folder.parent, prefix=".parcel-") as archive:
            size = 0
            async for part in request.stream():
                size += len(part)
                if scheduler.upload_folder(iteration, attempt) is None:  # each part keeps the lease
                    raise RequestRefusedError(409, OVER)
                if size > MAX_ARCHIVE_BYTES:
                    raise RequestRefusedError(413, f"An adapter has at most {MAX_ARCHIVE_BYTES} bytes.")
                archive.write(part)
            archive.seek(0)
            try:
                await asyncio.to_thread(unpack, archive, folder, request.headers.get("x-sha256", ""))
            except ArchiveBrokenError as broken:
                raise RequestRefusedError(400, str(broken)) from None
        return {"status": "success"}

    @app.get("/worker/adapters/{run}/{iteration}", response_model=None)
    async def download(request: Request, run: str, iteration: int) -> Response:
        require_key_of_round(request)
        lifecycle = owner.installation.lifecycle
        adapters = [] if lifecycle is None or lifecycle.run.name != run else lifecycle.run.store.adapters()
        adapter = next((adapter for adapter in adapters if adapter.iteration == iteration), None)
        if lifecycle is None or adapter is None:
            raise RequestRefusedError(404, "This run has no such adapter.")
        if (missing := missing_file(Path(adapter.path))) is not None:
            raise RequestRefusedError(404, f"The adapter's {missing} is gone from the owner's disk.")
        # A file without a name, in the run's own folder: it learned words, and whatever happens nothing of it is left.
        archive = tempfile.TemporaryFile(dir=lifecycle.run.folder)  # noqa: SIM115 - closed once it is sent
        try:
            await asyncio.to_thread(pack, Path(adapter.path), archive)
            headers = {"X-Sha256": adapter.sha256, "Content-Length": str(archive.tell())}
            archive.seek(0)
        except BaseException:
            archive.close()
            raise
        return StreamingResponse(_sent(archive), media_type="application/x-tar", headers=headers)


def _sent(archive: IO[bytes]) -> Iterator[bytes]:
    with archive:
        while part := archive.read(PART_BYTES):
            yield part
