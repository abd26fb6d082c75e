"""A stand-in of inference, for the tests of the owner: the same doors and messages, and words instead of a model.

It records every request, and can be set to be slow, to break off, to be away, to refuse.

    python -m tests.owner.inference_stand_in --port 8123 --base-model understudy
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import secrets
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from wmkml.config.addresses import KEEP_ALIVE_SECONDS
from wmkml.protocol.inference import CompletionRequest, CurrentIteration, OscSent, UnloadRequest, model_name
from wmkml.protocol.original import ReloadReply, ReloadRequest

WORDS = ["Ein ", "Haus ", "aus ", "Wört", "ern", ". ", "Und", " dann"]
ENTROPY = 1.25
TOO_LONG = 2000
BACKGROUND_ANSWERS = 7
"""How many background answers it says it generates at the same time."""


class InferenceStandIn:
    """The adapters it holds, the requests it got, and how it is to behave; `POST /stand_in` sets any attribute."""

    def __init__(self, base_model: str) -> None:
        self.base_model = base_model
        self.loaded: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.calls: list[list[Any]] = []
        self.ready = True
        self.process = secrets.token_hex(8)
        """What tells it from the one before it."""
        self.words = list(WORDS)
        self.probabilities = [0.5]
        self.alternatives: list[list[Any]] = []
        """Text and probability of the other likely tokens, the same at every position."""
        self.pause = 0.0
        self.keeps_back: list[str] = []
        """Audiences whose answers come only once they are not listed here any more; those of a stream come at once."""
        self.keeps_back_prompt = ""
        """A prompt whose answers do not come either, until it is empty."""
        self.measured_texts: list[str] = []
        """What it answers to be measured, by the answer's index; as everybody if there are none."""
        self.proof: dict[str, Any] | None = None
        """What it says of every adapter that it loads."""
        self.nodes: list[dict[str, Any]] = []
        """The other machines that it says answer too."""
        self.break_next = False
        self.refuse = False
        self.poison = ""
        self.load_pause = 0.0
        self.keeps_current_back = False
        """Whether it lets the owner wait that tells it who answers now."""
        self.fails_over: str | None = None
        self.under_way = 0
        self.cancelled = 0


def make_app(base_model: str, deadly: str = "", deadly_to_load: str = "") -> FastAPI:
    """The stand-in as an application; its process exits when `deadly` is asked or `deadly_to_load` is loaded (model names)."""
    app, stand_in = FastAPI(), InferenceStandIn(base_model)

    @app.get("/healthz")
    async def healthz() -> Response:
        body = {
            "ok": stand_in.ready,
            "process": stand_in.process,
            "engine": "stand-in",
            "background_answers": BACKGROUND_ANSWERS,
            "nodes": stand_in.nodes,
        }
        return JSONResponse(body, 200 if stand_in.ready else 503)

    @app.get("/osc")
    async def osc() -> list[OscSent]:
        return [OscSent(address="/prompt", at=time.time(), values=[])] if stand_in.requests else []

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name} for name in [stand_in.base_model, *stand_in.loaded]]}

    @app.post("/reload")
    def reload(message: ReloadRequest) -> Response:
        stand_in.calls.append(["reload", message.iteration, message.path])
        folder, name = Path(message.path), model_name(message.iteration, stand_in.base_model)
        if name == deadly_to_load:
            os._exit(1)
        if stand_in.refuse or not (folder / "adapter_model.safetensors").is_file():
            return JSONResponse({"error": "The adapter is refused."}, 400)
        stand_in.loaded[name] = message.path  # a second time the same adapter is there already, which is no error
        time.sleep(stand_in.load_pause)
        return JSONResponse(ReloadReply(model=name, seconds=0.01).model_dump() | {"proof": stand_in.proof})

    @app.post("/current")
    async def current(message: CurrentIteration) -> dict[str, str]:
        while stand_in.keeps_current_back:  # noqa: ASYNC110 - set by name, by a request
            await asyncio.sleep(0.02)
        stand_in.calls.append(["current", message.iteration])
        return {"status": "success"}

    @app.post("/unload")
    def unload(message: UnloadRequest) -> dict[str, str]:
        folders_exist = all(Path(path).is_dir() for path in stand_in.loaded.values())
        stand_in.calls.append(["unload", sorted(stand_in.loaded), folders_exist])
        stand_in.loaded.clear()
        return {"status": "success"}

    @app.post("/v1/chat/completions")
    async def complete(request: CompletionRequest) -> Response:
        stand_in.requests.append(request.model_dump())
        if request.model == deadly:
            os._exit(1)
        if not stand_in.ready:
            return _error(503, "loading", "The engine is loading.")
        if request.model not in [stand_in.base_model, *stand_in.loaded]:
            return _error(404, "model_not_found", "There is no such model.")
        if len(request.messages[-1].content) > TOO_LONG:
            return _error(400, "context_length_exceeded", "Too long.")
        if stand_in.fails_over == request.messages[-1].content:
            return _error(500, "", "The request failed.")
        if request.stream:
            return StreamingResponse(_streamed(stand_in, request), media_type="text/event-stream")
        await asyncio.sleep(stand_in.pause)
        prompt = request.messages[-1].content
        while request.audience in stand_in.keeps_back or prompt == stand_in.keeps_back_prompt:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        if stand_in.poison and stand_in.poison in request.messages[-1].content:
            return _error(503, "away", "The engine broke off.")
        number = len(stand_in.requests)
        texts = [f"Antwort {number}.{index} von {request.model}." for index in range(request.n)]
        if request.audience == "measure" and stand_in.measured_texts:
            texts = [stand_in.measured_texts[index % len(stand_in.measured_texts)] for index in range(request.n)]
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": texts[index]},
                "logprobs": {"content": [_entry("Antwort")]} if request.logprobs else None,
            }
            for index in range(request.n)
        ]
        return JSONResponse({"choices": choices})

    @app.get("/stand_in")
    async def state() -> dict[str, Any]:
        return {
            "requests": stand_in.requests,
            "calls": stand_in.calls,
            "loaded": stand_in.loaded,
            "under_way": stand_in.under_way,
            "cancelled": stand_in.cancelled,
        }

    @app.post("/stand_in")
    async def behave(request: Request) -> dict[str, bool]:
        for name, value in (await request.json()).items():
            setattr(stand_in, name, value)
        return {"ok": True}

    return app


async def _streamed(stand_in: InferenceStandIn, request: CompletionRequest) -> AsyncIterator[str]:
    stand_in.under_way += 1
    finished = False
    try:
        words = stand_in.words
        if request.audience == "autopsy":  # which asks on from a place, and for one token
            words = words[len(request.answer_ids or ()) :][: request.max_tokens]
        for number, word in enumerate(words):
            if number == 3 and stand_in.break_next:
                stand_in.break_next = False
                os._exit(1)
            await asyncio.sleep(stand_in.pause)
            entry = _entry(word, stand_in.probabilities[number % len(stand_in.probabilities)])
            top = [_entry(*alternative) for alternative in [*stand_in.alternatives, [word, math.exp(entry["logprob"])]]]
            top.sort(key=lambda token: -token["logprob"])
            entry["top_logprobs"] = top[: request.top_logprobs or 0]
            finish = "length" if number == len(words) - 1 else None
            choice = {
                "index": 0,
                "delta": {"content": word},
                "logprobs": {"content": [entry]},
                "finish_reason": finish,
            }
            yield f"data: {json.dumps({'system_fingerprint': _fingerprint(request.model), 'choices': [choice]})}\n\n"
        finished = True
        yield "data: [DONE]\n\n"
    finally:
        stand_in.under_way -= 1
        stand_in.cancelled += not finished


def _fingerprint(model: str) -> str:
    return f"sha256:of {model}" if model.startswith("iteration-") else "base"


def _entry(text: str, probability: float = 0.5) -> dict[str, Any]:
    return {
        "id": zlib.crc32(text.encode()) >> 1,
        "token": text,
        "logprob": math.log(probability),
        "bytes": None,
        "top_logprobs": [],
        "entropy": ENTROPY,
    }


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
    # As inference itself: a connection closed after uvicorn's 5 s may be closed just when the owner asks again over it.
    uvicorn.run(app, port=arguments.port, log_level="warning", timeout_keep_alive=KEEP_ALIVE_SECONDS)
