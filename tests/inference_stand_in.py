"""A stand-in of inference, for the tests of the owner: the same doors and messages, and words instead of a model.

It notes what it was asked, and can be told to be slow, to break off, to be away, to refuse.  Nothing in it thinks.

    python -m tests.inference_stand_in --port 8123 --base-model understudy
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from wmkml import wire

WORDS = ["Ein ", "Haus ", "aus ", "Wört", "ern", ". ", "Und", " dann"]
ENTROPY = 1.25
TOO_LONG = 2000


class StandIn:
    """What inference holds, what it was asked, and how it is told to behave."""

    def __init__(self, base_model: str) -> None:
        self.base_model = base_model
        self.loaded: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.calls: list[list[Any]] = []
        self.ready = True
        self.words = list(WORDS)
        self.probabilities = [0.5]
        self.alternatives: list[list[Any]] = []
        """Text and probability of what else is nearly said at every token."""
        self.pause = 0.0
        self.break_next = False
        self.refuse = False
        self.poison = ""
        self.load_pause = self.current_pause = 0.0
        self.fails_over: str | None = None
        self.under_way = 0
        self.cancelled = 0


def make_app(base_model: str, deadly: str = "", deadly_to_load: str = "") -> FastAPI:
    """The stand-in as an application, which dies when one model is asked, and when another is loaded."""
    app, this = FastAPI(), StandIn(base_model)

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"ok": this.ready, "engine": "stand-in"}, 200 if this.ready else 503)

    @app.get("/osc")
    async def osc() -> list[wire.OscSent]:
        return [wire.OscSent(address="/prompt", at=time.time(), values=[])] if this.asked else []

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name} for name in [this.base_model, *this.loaded]]}

    @app.post("/reload")
    def reload(message: wire.ReloadRequest) -> Response:
        this.calls.append(["reload", message.iteration, message.path])
        folder, name = Path(message.path), wire.model_name(message.iteration, this.base_model)
        if name == deadly_to_load:
            os._exit(1)
        if this.refuse or not (folder / "adapter_model.safetensors").is_file():
            return JSONResponse({"error": "The adapter is refused."}, 400)
        this.loaded[name] = message.path  # a second time the same adapter is there already, which is no error
        time.sleep(this.load_pause)
        return JSONResponse(wire.ReloadReply(model=name, seconds=0.01).model_dump())

    @app.post("/current")
    async def current(message: wire.CurrentIteration) -> dict[str, str]:
        await asyncio.sleep(this.current_pause)
        this.calls.append(["current", message.iteration])
        return {"status": "success"}

    @app.post("/unload")
    def unload(message: wire.UnloadRequest) -> dict[str, str]:
        there = all(Path(path).is_dir() for path in this.loaded.values())
        this.calls.append(["unload", sorted(this.loaded), there])
        this.loaded.clear()
        return {"status": "success"}

    @app.post("/v1/chat/completions")
    async def complete(request: wire.CompletionRequest) -> Response:
        this.asked.append(request.model_dump())
        if request.model == deadly:
            os._exit(1)
        if not this.ready:
            return _error(503, "loading", "The engine is loading.")
        if request.model not in [this.base_model, *this.loaded]:
            return _error(404, "model_not_found", "There is no such model.")
        if len(request.messages[-1].content) > TOO_LONG:
            return _error(400, "context_length_exceeded", "Too long.")
        if this.fails_over == request.messages[-1].content:
            return _error(500, "", "The request failed.")
        if request.stream:
            return StreamingResponse(_streamed(this, request), media_type="text/event-stream")
        await asyncio.sleep(this.pause)
        if this.poison and this.poison in request.messages[-1].content:
            return _error(503, "away", "The engine broke off.")
        number = len(this.asked)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": f"Antwort {number}.{index} von {request.model}."},
                "logprobs": {"content": [_entry("Antwort")]} if request.logprobs else None,
            }
            for index in range(request.n)
        ]
        return JSONResponse({"choices": choices})

    @app.get("/stand_in")
    async def known() -> dict[str, Any]:
        return {
            "asked": this.asked,
            "calls": this.calls,
            "loaded": this.loaded,
            "under_way": this.under_way,
            "cancelled": this.cancelled,
        }

    @app.post("/stand_in")
    async def behave(request: Request) -> dict[str, bool]:
        for name, value in (await request.json()).items():
            setattr(this, name, value)
        return {"ok": True}

    return app


async def _streamed(this: StandIn, request: wire.CompletionRequest) -> AsyncIterator[str]:
    this.under_way += 1
    finished = False
    try:
        for number, word in enumerate(this.words):
            if number == 3 and this.break_next:
                this.break_next = False
                os._exit(1)
            await asyncio.sleep(this.pause)
            entry = _entry(word, this.probabilities[number % len(this.probabilities)])
            top = [_entry(*one) for one in [*this.alternatives, [word, math.exp(entry["logprob"])]]]
            top.sort(key=lambda one: -one["logprob"])
            entry["top_logprobs"] = top[: request.top_logprobs or 0]
            choice = {"index": 0, "delta": {"content": word}, "logprobs": {"content": [entry]}}
            yield f"data: {json.dumps({'choices': [choice]})}\n\n"
        finished = True
        yield "data: [DONE]\n\n"
    finally:
        this.under_way -= 1
        this.cancelled += not finished


def _entry(text: str, probability: float = 0.5) -> dict[str, Any]:
    return {"token": text, "logprob": math.log(probability), "bytes": None, "top_logprobs": [], "entropy": ENTROPY}


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error", "code": code}}, status)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--deadly", default="")
    parser.add_argument("--deadly-to-load", default="")
    arguments = parser.parse_args()
    app = make_app(arguments.base_model, arguments.deadly, arguments.deadly_to_load)
    uvicorn.run(app, port=arguments.port, log_level="warning")
