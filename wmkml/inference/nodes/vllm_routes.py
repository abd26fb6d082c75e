"""An engine behind the part of `vllm serve`'s protocol that `wmkml.engine.remote_engine` speaks.

Prompts are token ids, and so are the tokens of a reply.  One field is of our own: `copies`, the prompt's log-probabilities by
each copy of the model, since each has loaded an adapter by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.engine.protocol import Adapter, Engine, EngineDiedError, Generation, Sampling, Step
from wmkml.engine.remote_protocol import TOKEN_PREFIX
from wmkml.inference.refusals import openai_error
from wmkml.inference.request_parsing import read_message
from wmkml.protocol.base import RequestRefusedError

MAX_BYTES = 4 * 2**20
"""The largest request: token ids of the longest prompt there may be, and a bias for as many."""


class TokenCompletion(BaseModel):
    """`POST /v1/completions` with a prompt of token ids; what else vLLM knows is ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str
    prompt: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    stream: bool = False
    max_tokens: Annotated[int, Field(ge=1)] = 16
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    logit_bias: dict[str, float] = Field(default_factory=dict)
    prompt_logprobs: int | None = None
    priority: int = 0


class LoadAdapter(BaseModel):
    """`POST /v1/load_lora_adapter`."""

    model_config = ConfigDict(extra="ignore")

    lora_name: str
    lora_path: str


class UnloadAdapter(BaseModel):
    """`POST /v1/unload_lora_adapter`."""

    model_config = ConfigDict(extra="ignore")

    lora_name: str


class NamedAdapters:
    """The adapters of an engine by the names that requests give them."""

    def __init__(
        self,
        engine: Engine,
        base: str,
        folder_of: Callable[[str], Path],
        delete: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        """Args:
        base: the name of the model without an adapter.
        folder_of: the folder that a `lora_path` means.
        delete: called with the folder of every adapter that was refused, or that the engine does not hold any more.
        """
        self._engine, self.base, self._folder_of, self._delete = engine, base, folder_of, delete
        self._adapters: dict[str, Adapter] = {}
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """All names that can be asked, the base model's first."""
        return [self.base, *self._adapters]

    def find(self, name: str) -> Adapter | None:
        """The adapter of this name; None: the base model.

        Raises:
            RequestRefusedError: 404, there is none.
        """
        if name == self.base:
            return None
        if name not in self._adapters:
            raise RequestRefusedError(404, "The model does not exist.", "model_not_found")
        return self._adapters[name]

    async def load(self, message: LoadAdapter) -> None:
        """Load an adapter under a new name.

        Raises:
            RequestRefusedError: 400, the engine refuses it, or the name is taken.
        """
        async with self._lock:
            if message.lora_name in self.names:
                raise RequestRefusedError(400, "An adapter of this name is loaded already.", "name_taken")
            adapter = Adapter(message.lora_name, next(self._numbers), self._folder_of(message.lora_path))
            try:
                await self._engine.load(adapter)
            except AdapterRefusedError as error:
                await asyncio.to_thread(self._delete, adapter.path)
                raise RequestRefusedError(400, str(error), "adapter_refused") from None
            self._adapters[message.lora_name] = adapter

    async def unload(self, name: str) -> None:
        """Unload an adapter.

        Raises:
            RequestRefusedError: 404, there is none.
        """
        async with self._lock:
            adapter = self._adapters.pop(name, None)
            if adapter is None:
                raise RequestRefusedError(404, "The adapter does not exist.", "model_not_found")
            await self._engine.unload(adapter)
            await asyncio.to_thread(self._delete, adapter.path)


def routes(engine: Engine, adapters: NamedAdapters, vocabulary: int) -> APIRouter:
    """The routes of an engine and its adapters.

    Args:
        vocabulary: how many tokens the model has; a larger id would end the engine.
    """
    router = APIRouter()

    @router.get("/health")
    async def _health() -> Response:
        return Response(status_code=200 if engine.alive() else 503)

    @router.get("/v1/models")
    async def _models() -> JSONResponse:
        models = [{"id": name, "object": "model", "max_model_len": engine.window} for name in adapters.names]
        return JSONResponse({"object": "list", "data": models})

    @router.post("/v1/load_lora_adapter")
    async def _load(request: Request) -> Response:
        message = await read_message(request, LoadAdapter, MAX_BYTES)
        try:
            await adapters.load(message)
        except EngineDiedError:
            raise _died() from None
        return PlainTextResponse(f"Success: LoRA adapter '{message.lora_name}' added successfully.")

    @router.post("/v1/unload_lora_adapter")
    async def _unload(request: Request) -> Response:
        message = await read_message(request, UnloadAdapter, MAX_BYTES)
        try:
            await adapters.unload(message.lora_name)
        except EngineDiedError:
            raise _died() from None
        return PlainTextResponse(f"Success: LoRA adapter '{message.lora_name}' removed successfully.")

    @router.post("/reset_prefix_cache")
    async def _forget() -> Response:
        await engine.clear_prompt_cache()
        return Response(status_code=200)

    @router.post("/v1/completions")
    async def _complete(request: Request) -> Response:
        message = await read_message(request, TokenCompletion, MAX_BYTES)
        adapter = adapters.find(message.model)
        if len(message.prompt) >= engine.window:
            raise RequestRefusedError(400, f"The window is {engine.window} tokens.", "context_length_exceeded")
        generation = _generation(message, adapter, engine.window)
        if any(token >= vocabulary for token in (*message.prompt, *(token for token, _ in generation.sampling.bias))):
            raise RequestRefusedError(400, "The request names what is no token id of this model.", "invalid_value")
        try:
            if message.stream:
                steps = _steps(engine, generation)
                return StreamingResponse(
                    _events(message.model, await anext(steps), steps), media_type="text/event-stream"
                )
            copies = []
            if message.prompt_logprobs is not None:
                copies = await engine.log_probabilities(message.prompt, adapter)
            done = [step async for step in _steps(engine, generation)]
        except EngineDiedError:
            raise _died() from None
        except AdapterRefusedError:
            raise RequestRefusedError(404, "The model does not exist.", "model_not_found") from None
        return JSONResponse(_whole_reply(message, done, copies))

    return router


def _died() -> RequestRefusedError:
    return RequestRefusedError(503, "The engine has ended.", "engine_died")


def _generation(message: TokenCompletion, adapter: Adapter | None, window: int) -> Generation:
    sampling = Sampling(
        temperature=message.temperature,
        top_p=message.top_p,
        max_tokens=min(message.max_tokens, window - len(message.prompt)),
        frequency_penalty=message.frequency_penalty,
        presence_penalty=message.presence_penalty,
        seed=message.seed,
        bias=tuple((int(token), value) for token, value in message.logit_bias.items() if token.isdigit()),
    )
    return Generation(uuid.uuid4().hex, tuple(message.prompt), sampling, adapter, message.priority)


async def _steps(engine: Engine, generation: Generation) -> AsyncGenerator[Step]:
    steps = engine.generate(generation)
    async with aclosing(steps):  # type: ignore[type-var]  # every engine's is an async generator
        async for step in steps:
            yield step


async def _events(model: str, first: Step, others: AsyncGenerator[Step]) -> AsyncIterator[str]:
    head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()), "model": model}
    async with aclosing(others):
        try:
            yield _event({**head, "choices": [_choice([first])]})
            async for step in others:
                yield _event({**head, "choices": [_choice([step])]})
        except (EngineDiedError, AdapterRefusedError):
            yield _event(openai_error(_died()))
            return
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n"


def _choice(steps: list[Step]) -> dict[str, Any]:
    """One choice of a reply, without its text: who asks with token ids wants none."""
    return {
        "index": 0,
        "text": "",
        "logprobs": {
            "tokens": [f"{TOKEN_PREFIX}{step.token}" for step in steps],
            "token_logprobs": [step.logprob for step in steps],
            "top_logprobs": [{f"{TOKEN_PREFIX}{token}": value for token, value in step.top} for step in steps],
        },
        "finish_reason": steps[-1].finish,
    }


def _whole_reply(message: TokenCompletion, steps: list[Step], copies: list[list[float]]) -> dict[str, Any]:
    choice = _choice(steps)
    if copies:
        pairs = zip(message.prompt[1:], copies[0], strict=True)
        choice["prompt_logprobs"] = [None, *({str(token): {"logprob": value}} for token, value in pairs)]
        choice["copies"] = copies
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": message.model,
        "choices": [choice],
    }
