"""The owner's HTTP client of inference (:8011): one method for each request.

Errors come in two kinds that callers treat differently: `InferenceAwayError` (unreachable, not ready, or broken off:
ask again later) and `InferenceRefusedError` (the same request would fail again).  No error text quotes a message.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from wmkml.access.key_header import KeyHeader
from wmkml.config import Settings
from wmkml.config.addresses import inference_url
from wmkml.protocol.conversation import ALTERNATIVES, Alternative
from wmkml.protocol.inference import CompletionRequest, CurrentIteration, OscSent, UnloadRequest, digest_of, model_name
from wmkml.protocol.original import ReloadReply, ReloadRequest

CONNECT_TIMEOUT_SECONDS = 2.0
"""Also the whole timeout of small queries that must not hold up the desk."""

HEALTH_TIMEOUT_SECONDS = 5.0

READ_TIMEOUT_SECONDS = 120.0
"""An answer without a token for this long counts as broken off; waiting behind queued echoes takes less."""


class InferenceAwayError(ConnectionError):
    """Inference is unreachable or not ready, or it broke off during the request."""


class InferenceAbsentError(InferenceAwayError):
    """Nobody listens at inference's port: its process is gone, and holds no file open any more."""


class InferenceRefusedError(ValueError):
    """Inference refuses this request.  The text is inference's own sentence, `code` its error code (may be empty)."""

    def __init__(self, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class AnswerToken:
    """One token of an answer, with the likeliest other tokens where the request asked for them; entropy in nats.

    `adapter`: the sha256 of the adapter that made it; empty: the base model.
    """

    text: str
    probability: float
    entropy: float
    alternatives: tuple[Alternative, ...] = ()
    adapter: str = ""


@dataclass(frozen=True)
class WholeAnswer:
    """One whole answer, with the mean entropy of its tokens in nats where the request asked for it."""

    text: str
    entropy: float | None


class InferenceClient:
    """Requests to inference over one connection pool, with the operator's key."""

    def __init__(self, settings: Settings, key: Callable[[], str]) -> None:
        """`key`: the operator's, called for every request, since it may be rotated."""
        self._base_model = settings.general.model_name
        self._http = httpx.AsyncClient(
            base_url=inference_url(settings),
            auth=KeyHeader(key),
            timeout=httpx.Timeout(READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
            trust_env=False,  # inference is on this machine or network: no proxy
            verify=False,  # it is asked without TLS; a context would read all certificates at the start
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def model_name(self, iteration: int) -> str:
        """The model name under which inference serves an iteration."""
        return model_name(iteration, self._base_model)

    async def health(self) -> dict[str, Any] | None:
        """The body of `/healthz` when inference is ready to answer; None while it loads.

        Raises:
            InferenceAbsentError: nobody listens at its port.
            InferenceAwayError: somebody listens and does not answer.
        """
        try:
            reply = await self._http.get("/healthz", timeout=HEALTH_TIMEOUT_SECONDS)
        except httpx.ConnectError:
            raise InferenceAbsentError("nobody listens at inference's port") from None
        except httpx.TransportError as error:
            raise InferenceAwayError(type(error).__name__) from None
        if reply.status_code != 200:
            return None
        body = reply.json()
        return body if isinstance(body, dict) else {}

    async def loaded_models(self) -> set[str]:
        """The names of all models that can be asked now."""
        reply = await self._call("GET", "/v1/models")
        return {str(model["id"]) for model in reply["data"]}

    async def reload(self, path: str, iteration: int) -> ReloadReply:
        """Load an adapter.  Raises InferenceRefusedError when it must not be served."""
        reply = await self._call("POST", "/reload", ReloadRequest(path=path, iteration=iteration).model_dump())
        return ReloadReply.model_validate(reply)

    async def set_current(self, iteration: int) -> None:
        """Name the iteration that answers from now on.

        Raises:
            InferenceAwayError: inference is away, or has lost the iteration's adapter.
        """
        try:
            await self._call("POST", "/current", CurrentIteration(iteration=iteration).model_dump())
        except InferenceRefusedError as refusal:
            raise InferenceAwayError(str(refusal)) from None

    async def unload_all(self) -> None:
        """Unload every adapter."""
        await self._call("POST", "/unload", UnloadRequest().model_dump())

    async def osc_sent(self) -> list[OscSent]:
        """The last OSC message that inference sent to each address, without visitors' words."""
        try:
            reply = await self._http.get("/osc", timeout=CONNECT_TIMEOUT_SECONDS)
        except httpx.TransportError as error:
            raise InferenceAwayError(type(error).__name__) from None
        if reply.status_code != 200:
            raise _failure(reply)
        return [OscSent.model_validate(message) for message in reply.json()]

    async def complete(self, request: CompletionRequest, *, patient: bool = False) -> list[WholeAnswer]:
        """The request's `n` answers, once all of them are complete.

        Args:
            patient: wait for them without end, as what comes after everybody else's requests must.
        """
        body = request.model_dump(exclude_none=True)
        reply = await self._call("POST", "/v1/chat/completions", body, patient=patient)
        return [
            WholeAnswer(
                text=str(choice["message"]["content"] or ""),
                entropy=mean([_entropy(entry) for entry in _entries(choice)]),
            )
            for choice in reply["choices"]
        ]

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[AnswerToken]]:
        """One answer, token by token.  On entering, inference has accepted the prompt; leaving cancels the generation.

        Raises:
            InferenceRefusedError, InferenceAwayError: on entering.
            InferenceAwayError: while iterating, if the answer breaks off.
        """
        async with self.stream_chunks(request) as chunks:
            yield _tokens(chunks)

    @asynccontextmanager
    async def stream_chunks(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """As `stream`, with the protocol's own objects: those that have a choice."""
        body = request.model_dump(exclude_none=True) | {"stream": True}
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body) as reply:
                if reply.status_code != 200:
                    await reply.aread()
                    raise _failure(reply)
                yield _chunks(reply)
        except httpx.TransportError as error:
            raise InferenceAwayError(type(error).__name__) from None

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, patient: bool = False
    ) -> dict[str, Any]:
        seconds = httpx.Timeout(None if patient else READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
        try:
            reply = await self._http.request(method, path, json=body, timeout=seconds)
        except httpx.TransportError as error:
            raise InferenceAwayError(type(error).__name__) from None
        if reply.status_code >= 400:
            raise _failure(reply)
        parsed = reply.json() if reply.content else {}
        return parsed if isinstance(parsed, dict) else {}


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None where there are no values."""
    return sum(values) / len(values) if values else None


async def _chunks(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in reply.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise InferenceAwayError("inference ended the answer with an error")
        if chunk.get("choices"):
            yield chunk
    raise InferenceAwayError("inference broke the answer off")


async def _tokens(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[AnswerToken]:
    last = AnswerToken("", 1.0, 0.0)
    async for chunk in chunks:
        choice = chunk["choices"][0]
        adapter = digest_of(str(chunk.get("system_fingerprint") or ""))
        text, entries = str((choice.get("delta") or {}).get("content") or ""), _entries(choice)
        # A chunk may hold several tokens, and a token may have no text yet: the text is given to the last of them.
        for entry in entries[:-1]:
            yield _token("", entry, adapter)
        if entries:
            last = _token(text, entries[-1], adapter)
            yield last
        elif text:  # a character whose last byte came late belongs to the token before
            yield replace(last, text=text)


def _entries(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((choice.get("logprobs") or {}).get("content") or [])


def _token(text: str, entry: Mapping[str, Any], adapter: str) -> AnswerToken:
    return AnswerToken(text, _probability(entry), _entropy(entry), _alternatives(entry), adapter)


def _alternatives(entry: Mapping[str, Any]) -> tuple[Alternative, ...]:
    """The likeliest tokens other than the sampled one.

    The OpenAI protocol lists the sampled token among the likeliest and gives no token ids, so it is recognised by its
    log probability, and among equal ones by its text.
    """
    top = list(entry.get("top_logprobs") or [])
    same = [candidate for candidate in top if candidate["logprob"] == entry["logprob"]]
    sampled = next((candidate for candidate in same if candidate["token"] == entry["token"]), same[0] if same else None)
    others = [candidate for candidate in top if candidate is not sampled]
    return tuple(
        Alternative(text=str(other["token"]), probability=_probability(other)) for other in others[:ALTERNATIVES]
    )


def _probability(entry: Mapping[str, Any]) -> float:
    return math.exp(min(0.0, float(entry["logprob"])))


def _entropy(entry: Mapping[str, Any]) -> float:
    return float(entry["entropy"])


def _failure(reply: httpx.Response) -> InferenceAwayError | InferenceRefusedError:
    try:
        body = reply.json()
    except ValueError:
        body = {}
    error = body.get("error", "") if isinstance(body, dict) else ""
    sentence, code = (error.get("message", ""), error.get("code")) if isinstance(error, dict) else (error, "")
    if reply.status_code == 503 or code == "model_not_found":
        # A model it does not know is one it has lost: it was restarted and needs its adapters again.
        return InferenceAwayError(f"inference answered {reply.status_code}")
    if reply.status_code >= 500:
        # It fails over this request only: others are answered, and this one would fail again.
        code = "failed"
    return InferenceRefusedError(str(sentence) or f"inference answered {reply.status_code}", str(code or ""))
