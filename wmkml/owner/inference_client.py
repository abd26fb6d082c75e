"""How the owner speaks to inference: one function call for each message that goes to :8011.

Tells apart what its caller must treat differently: `Away` (nobody there, or it died under way: ask again later) and
`Refused` (it will say the same next time, or fails over this very request).  Neither text holds a word of the
messages.  Knows no run and no round.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from wmkml.addresses import inference_url
from wmkml.config import Settings
from wmkml.wire import (
    ALTERNATIVES,
    Alternative,
    CompletionRequest,
    CurrentIteration,
    OscSent,
    ReloadReply,
    ReloadRequest,
    UnloadRequest,
    model_name,
)

CONNECT_SECONDS = 2.0
SILENCE_SECONDS = 120.0
"""An answer that makes no token for so long is taken for broken; a queue of echoes before it is shorter than that."""


class Away(ConnectionError):
    """Inference is not there, not ready, or went away under way."""


class Absent(Away):
    """Nobody listens at its port: its process is gone, and with it everything it had open."""


class Refused(ValueError):
    """Inference refuses this request; its text is the sentence inference gave, `code` its name."""

    def __init__(self, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Token:
    """One token of an answer, and what was nearly said instead, where that was asked for; entropy in nats."""

    text: str
    probability: float
    entropy: float
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One whole answer, with the mean entropy of its tokens where it was asked for."""

    text: str
    entropy: float | None


class InferenceClient:
    """One connection pool to inference."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._base_model = settings.general.model_name
        self._http = httpx.AsyncClient(
            base_url=inference_url(settings),
            headers={"X-Key": key},
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
            trust_env=False,  # a proxy for the internet is none for the port next door
        )

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    def model(self, iteration: int) -> str:
        """The name under which an iteration answers."""
        return model_name(iteration, self._base_model)

    async def healthy(self) -> dict[str, Any] | None:
        """What inference says of itself when it is ready to answer; none while it loads.

        Raises:
            Absent: nobody listens there.
            Away: somebody does and says nothing.
        """
        try:
            reply = await self._http.get("/healthz", timeout=5.0)
        except httpx.ConnectError:
            raise Absent("nobody listens at inference's port") from None
        except httpx.TransportError as error:
            raise Away(type(error).__name__) from None
        if reply.status_code != 200:
            return None
        said = reply.json()
        return said if isinstance(said, dict) else {}

    async def models(self) -> set[str]:
        """The names of all models that can be asked now."""
        reply = await self._call("GET", "/v1/models")
        return {str(one["id"]) for one in reply["data"]}

    async def reload(self, path: str, iteration: int) -> ReloadReply:
        """Load an adapter.  Raises Refused when it must not be served."""
        said = await self._call("POST", "/reload", ReloadRequest(path=path, iteration=iteration).model_dump())
        return ReloadReply.model_validate(said)

    async def current(self, iteration: int) -> None:
        """This iteration answers from now on.  Raises Away also when inference has lost its adapter."""
        try:
            await self._call("POST", "/current", CurrentIteration(iteration=iteration).model_dump())
        except Refused as refusal:
            raise Away(str(refusal)) from None

    async def unload_all(self) -> None:
        """Forget every adapter."""
        await self._call("POST", "/unload", UnloadRequest().model_dump())

    async def osc_sent(self) -> list[OscSent]:
        """The last OSC message that inference sent to each address, without words."""
        try:
            reply = await self._http.get("/osc", timeout=CONNECT_SECONDS)
        except httpx.TransportError as error:
            raise Away(type(error).__name__) from None
        if reply.status_code != 200:
            raise _failure(reply)
        return [OscSent.model_validate(one) for one in reply.json()]

    async def answers(self, request: CompletionRequest) -> list[Answer]:
        """Whole answers, `n` of them."""
        said = await self._call("POST", "/v1/chat/completions", request.model_dump(exclude_none=True))
        return [
            Answer(
                text=str(choice["message"]["content"] or ""),
                entropy=mean([_entropy(entry) for entry in _entries(choice)]),
            )
            for choice in said["choices"]
        ]

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Token]]:
        """One answer, token by token.  Once entered, inference has taken the prompt; leaving ends the generation.

        Raises:
            Refused, Away: on entering.
            Away: while iterating, when it breaks off.
        """
        body = request.model_dump(exclude_none=True) | {"stream": True}
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body) as reply:
                if reply.status_code != 200:
                    await reply.aread()
                    raise _failure(reply)
                yield _tokens(reply)
        except httpx.TransportError as error:
            raise Away(type(error).__name__) from None

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            reply = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Away(type(error).__name__) from None
        if reply.status_code >= 400:
            raise _failure(reply)
        said = reply.json() if reply.content else {}
        return said if isinstance(said, dict) else {}


def mean(values: Sequence[float]) -> float | None:
    """The mean; none where there are no values."""
    return sum(values) / len(values) if values else None


async def _tokens(reply: httpx.Response) -> AsyncIterator[Token]:
    last = Token("", 1.0, 0.0)
    async for line in reply.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise Away("inference ended the answer with an error")
        if not chunk.get("choices"):
            continue
        choice = chunk["choices"][0]
        text, entries = str((choice.get("delta") or {}).get("content") or ""), _entries(choice)
        # The text of a chunk may come from several tokens, and a token may still lack text: text goes with the last.
        for entry in entries[:-1]:
            yield _token("", entry)
        if entries:
            last = _token(text, entries[-1])
            yield last
        elif text:  # characters that were waiting for their last byte belong to the token before
            yield replace(last, text=text)
    raise Away("inference broke the answer off")


def _entries(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((choice.get("logprobs") or {}).get("content") or [])


def _token(text: str, entry: Mapping[str, Any]) -> Token:
    return Token(text, _probability(entry), _entropy(entry), _alternatives(entry))


def _alternatives(entry: Mapping[str, Any]) -> tuple[Alternative, ...]:
    """The likeliest tokens but the one that was said: the protocol lists that one among them, and names no ids."""
    top = list(entry.get("top_logprobs") or [])
    equals = [one for one in top if one["logprob"] == entry["logprob"]]
    said = next((one for one in equals if one["token"] == entry["token"]), equals[0] if equals else None)
    others = [one for one in top if one is not said]
    return tuple(Alternative(text=str(one["token"]), probability=_probability(one)) for one in others[:ALTERNATIVES])


def _probability(entry: Mapping[str, Any]) -> float:
    return math.exp(min(0.0, float(entry["logprob"])))


def _entropy(entry: Mapping[str, Any]) -> float:
    return float(entry["entropy"])


def _failure(reply: httpx.Response) -> Away | Refused:
    try:
        said = reply.json()
    except ValueError:
        said = {}
    error = said.get("error", "") if isinstance(said, dict) else ""
    sentence, code = (error.get("message", ""), error.get("code")) if isinstance(error, dict) else (error, "")
    if reply.status_code == 503 or code == "model_not_found":
        # A model it does not know is one that it lost: it was restarted, and wants its adapters again.
        return Away(f"inference answered {reply.status_code}")
    if reply.status_code >= 500:
        # A mistake over this one request: it is there for every other, and would make the same mistake again.
        code = "failed"
    return Refused(str(sentence) or f"inference answered {reply.status_code}", str(code or ""))
