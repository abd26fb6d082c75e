"""The worker's doors: `wmkml.owner.lease` over HTTP, and adapters as parcels.  Every one wants the worker's key."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from wmkml.owner import lease
from wmkml.owner.adapter_parcel import LARGEST_BYTES, ParcelBroken, pack, unpack
from wmkml.owner.parts import Owner
from wmkml.owner.reading import Refusing, read, require_key
from wmkml.owner.rounds import Rounds
from wmkml.wire import Claim, HandIn, HandInReply, RoundFailure, StepReply, StepReport

MESSAGE_BYTES = 64 * 1024
PART_BYTES = 2**20
AWAIT_RUN_SECONDS = 1.0
OVER = "This attempt is not under way any more."
ROUND = "/worker/rounds/{run}/{iteration}/{attempt}"


def add_worker(app: FastAPI, owner: Owner) -> None:
    """Add the routes."""

    def rounds_of(run: str) -> Rounds | None:
        life = owner.installation.life
        return life.rounds if life is not None and life.run.name == run else None

    @app.post("/worker/claim", response_model=None)
    async def claim(request: Request) -> Response:
        require_key(request, "worker", owner.keys.worker)
        message = await read(request, Claim, MESSAGE_BYTES)
        with owner.workers.asking():
            for _ in range(int(lease.CLAIM_SECONDS / AWAIT_RUN_SECONDS)):
                life = owner.installation.life
                if life is not None:
                    job = await lease.claim(life.rounds, message, owner.workers, request.is_disconnected)
                    if job is not None:
                        return Response(job.model_dump_json(), media_type="application/json")
                    if not life.run.over:
                        break
                if await request.is_disconnected():
                    break
                await asyncio.sleep(AWAIT_RUN_SECONDS)
        return Response(status_code=204)

    @app.post(f"{ROUND}/step")
    async def step(request: Request, run: str, iteration: int, attempt: int) -> StepReply:
        require_key(request, "worker", owner.keys.worker)
        message = await read(request, StepReport, MESSAGE_BYTES)
        rounds = rounds_of(run)
        with owner.workers.asking():
            return StepReply(proceed=rounds is not None and lease.step(rounds, iteration, attempt, message))

    @app.post(f"{ROUND}/hand_in")
    async def hand_in(request: Request, run: str, iteration: int, attempt: int) -> HandInReply:
        require_key(request, "worker", owner.keys.worker)
        message = await read(request, HandIn, MESSAGE_BYTES)
        rounds = rounds_of(run)
        if rounds is None:
            return HandInReply(accepted=False, reason="This run is over.")
        with owner.workers.asking():
            try:
                return await lease.hand_in(rounds, iteration, attempt, message)
            except lease.Undecided:
                raise Refusing(503, "Inference is away; hand in again.") from None

    @app.post(f"{ROUND}/failed")
    async def failed(request: Request, run: str, iteration: int, attempt: int) -> StepReply:
        require_key(request, "worker", owner.keys.worker)
        message = await read(request, RoundFailure, MESSAGE_BYTES)
        rounds = rounds_of(run)
        if rounds is not None:
            lease.give_up(rounds, iteration, attempt, message)
        return StepReply(proceed=False)

    @app.put(f"{ROUND}/adapter")
    async def upload(request: Request, run: str, iteration: int, attempt: int) -> dict[str, str]:
        require_key(request, "worker", owner.keys.worker)
        rounds = rounds_of(run)
        folder = None if rounds is None else lease.receives(rounds, iteration, attempt)
        if rounds is None or folder is None:
            raise Refusing(409, OVER)
        with tempfile.NamedTemporaryFile(dir=folder.parent, prefix=".parcel-") as parcel:
            size = 0
            async for part in request.stream():
                size += len(part)
                if not lease.arriving(rounds, iteration, attempt):
                    raise Refusing(409, OVER)
                if size > LARGEST_BYTES:
                    raise Refusing(413, f"An adapter has at most {LARGEST_BYTES} bytes.")
                parcel.write(part)
            parcel.flush()
            try:
                await asyncio.to_thread(unpack, Path(parcel.name), folder, request.headers.get("x-sha256", ""))
            except ParcelBroken as broken:
                raise Refusing(400, str(broken)) from None
        return {"status": "success"}

    @app.get("/worker/adapters/{run}/{iteration}", response_model=None)
    async def download(request: Request, run: str, iteration: int) -> Response:
        require_key(request, "worker", owner.keys.worker)
        rounds = rounds_of(run)
        known = [] if rounds is None else [one for one in rounds.run.store.adapters() if one.iteration == iteration]
        if rounds is None or not known:
            raise Refusing(404, "This run has no such adapter.")
        # A file without a name, in the run's own folder: it learned words, and whatever happens nothing of it is left.
        parcel = tempfile.TemporaryFile(dir=rounds.run.folder)  # noqa: SIM115 - closed once it is sent
        try:
            await asyncio.to_thread(pack, Path(known[0].path), parcel)
            headers = {"X-Sha256": known[0].sha256, "Content-Length": str(parcel.tell())}
            parcel.seek(0)
        except BaseException:
            parcel.close()
            raise
        return StreamingResponse(_sent(parcel), media_type="application/x-tar", headers=headers)


def _sent(parcel: IO[bytes]) -> Iterator[bytes]:
    with parcel:
        while part := parcel.read(PART_BYTES):
            yield part
