"""A stand-in of `vllm serve`: its routes and its protocol, over the transformers engine, so that answers and log-probabilities are real.

It is what `inference.url` may name: adapters are loaded at run time, from a path that it can read.  It can lack what such a
deployment may lack.

    python -m tests.engine.vllm_server_stand_in --model FOLDER --port 8123
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from tests.engine.random_model import RANK
from tests.waiting import until
from tests.warm_processes import MODEL, WarmPopen
from wmkml.engine.setup import EngineSetup
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.inference.nodes.vllm_routes import NamedAdapters, routes
from wmkml.inference.refusals import install_handlers
from wmkml.system.ports import free_port

NAME = "tiny"
"""The model's name there."""


class Lacking:
    """What the stand-in does not have, by the names of its arguments."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    async def __call__(self, request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer as a deployment does that lacks it."""
        if "runtime-adapters" in self._names and request.url.path.endswith("lora_adapter"):
            return JSONResponse({"detail": "Not Found"}, 404)
        if "forgetting" in self._names and request.url.path == "/reset_prefix_cache":
            return JSONResponse({"detail": "Not Found"}, 404)
        if "models" in self._names and request.url.path == "/v1/models":
            return Response("<html>Welcome</html>", media_type="text/html")
        if "window" in self._names and request.url.path == "/v1/models":
            return JSONResponse({"data": [{"id": NAME, "max_model_len": 100}]})
        if request.url.path == "/v1/completions":
            body = await request.json()
            if "priorities" in self._names and body.get("priority"):
                return JSONResponse({"error": {"message": "Priority scheduling is not enabled."}}, 400)
            if "long-probes" in self._names and "prompt_logprobs" in body and len(body["prompt"]) > 100:
                return JSONResponse({"error": {"message": "This is too long."}}, 400)
            if "completions" in self._names and "prompt_logprobs" in body and len(body["prompt"]) > 100:
                return JSONResponse({"ok": True})
            if "prompt-logprobs" in self._names and "prompt_logprobs" in body:
                request._body = await _without_prompt_logprobs(request)
        return await proceed(request)


async def _without_prompt_logprobs(request: Request) -> bytes:
    import json

    return json.dumps({**await request.json(), "prompt_logprobs": None}).encode()


def make_app(engine: TransformersEngine, lacks: Sequence[str]) -> FastAPI:
    """The stand-in's routes around an engine."""
    app = FastAPI()
    install_handlers(app)
    app.middleware("http")(Lacking(lacks))
    app.include_router(routes(engine, NamedAdapters(engine, NAME, Path), vocabulary=2**31))
    return app


@contextlib.contextmanager
def vllm_server_stand_in(model: Path, folder: Path, lacks: Sequence[str] = (), port: int = 0) -> Iterator[str]:
    """A stand-in in a process of its own; yields its URL."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = ["-m", "tests.engine.vllm_server_stand_in", "--model", str(model), "--port", str(port)]
    command += [word for name in lacks for word in ("--lacks", name)]
    with (folder / "stand_in.log").open("ab") as log:
        process = WarmPopen(command, MODEL, output=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until(
            lambda: process.poll() is not None or httpx.get(f"{url}/health", verify=False).status_code == 200,
            "the stand-in",
        )
        assert process.poll() is None, (folder / "stand_in.log").read_text()
        yield url
    finally:
        process.kill()
        process.wait()


async def _serve(engine: TransformersEngine, port: int, lacks: Sequence[str]) -> None:
    await engine.start()
    config = uvicorn.Config(make_app(engine, lacks), port=port, log_level="warning", timeout_keep_alive=75)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lacks", action="append", default=[])
    arguments = parser.parse_args()
    setup = EngineSetup(
        arguments.model, adapters=16, rank=RANK, dtype="float32", sequences=16, batched_tokens=32, threads=1
    )
    asyncio.run(_serve(TransformersEngine(setup), arguments.port, arguments.lacks))
