"""An engine that runs elsewhere, behind the HTTP server of `vllm serve`: a deployment of its own, or a node of this installation.

Token ids go there and token ids come back (`return_tokens_as_token_ids`), so that templates, stop strings and entropies are
made here as for every engine.  An adapter gets there as a path that the deployment can read, or is sent as an archive.
Whatever is lost there (the connection, an adapter after a restart) is the death of this engine: it begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import httpx

from wmkml.adapters.archive import pack
from wmkml.adapters.checks import AdapterRefusedError, Expectation, check_adapter
from wmkml.adapters.files import WEIGHTS_FILE, sha256_of
from wmkml.engine.loaded_adapters import LoadedAdapters
from wmkml.engine.protocol import (
    Adapter,
    EngineDiedError,
    Generation,
    GenerationRefusedError,
    LogProbabilitiesUnavailableError,
    Step,
)
from wmkml.engine.remote_protocol import (
    PROBE_PRIORITY,
    Deployment,
    ProtocolError,
    probe_request,
    read_probe_reply,
    sentence_of,
    steps_of,
    stream_request,
)
from wmkml.engine.setup import EngineSetup

log = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0

KEEP_ALIVE_SECONDS = 2.0
"""How long an idle connection is used again: vLLM closes it after five, and a request sent into that would be lost."""

HEALTH_SECONDS = 3.0
"""The longest that a living deployment takes to say that it lives."""

WATCH_SECONDS = 0.5
"""Between two questions whether it lives."""

MAX_MISSED = 2
"""After this many questions in a row without an answer it counts as dead."""

LOAD_SECONDS = 120.0
"""The longest that loading an adapter, or reading a probe, may take."""

REPORT_SECONDS = 30.0
"""How often a deployment that is not ready is reported."""

Arrival = Step | BaseException
"""A step of an answer, or what ended the answer early."""


class RemoteEngine:
    """See `wmkml.engine.protocol.Engine`."""

    name = "remote"

    def __init__(self, setup: EngineSetup, deployment: Deployment) -> None:
        self._setup, self._deployment = setup, deployment
        self._expectation = Expectation(setup.rank, setup.shapes, setup.target_modules)
        self._adapters = LoadedAdapters(setup.adapters)
        # A name is never used twice, nor by two lives of this engine: vLLM keys its prefix cache by it.
        self._prefix = f"{deployment.label}-{secrets.token_hex(3)}"
        self._http = httpx.AsyncClient(
            base_url=deployment.url,
            headers={"Authorization": f"Bearer {deployment.key}"} if deployment.key else {},
            timeout=httpx.Timeout(LOAD_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE_SECONDS),
            trust_env=deployment.through_proxy,
        )
        self._model = deployment.model
        self._has_priorities = True
        self._reads_prompts = True
        self._streams: set[asyncio.Queue[Arrival]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._alive = False
        self._died = asyncio.Event()
        self._death = "The deployment is not asked any more."

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._setup.chosen_window

    def alive(self) -> bool:
        """Whether the deployment answered when it was last asked."""
        return self._alive

    async def start(self) -> None:
        """Wait until the deployment is healthy, and find out what it can do; adapters that an earlier life left are unloaded.

        Raises:
            ProtocolError: it is not a vLLM that this engine can use.
        """
        loop = asyncio.get_running_loop()
        reported = loop.time()
        while (reason := await self._unhealthy_reason()) is not None:
            if loop.time() - reported >= REPORT_SECONDS:
                reported = loop.time()
                log.warning("Still waiting for %s: %s.", self._deployment.url, reason)
            await asyncio.sleep(WATCH_SECONDS)
        windows = await self._models()
        models = list(windows)
        self._model = self._model or (models[0] if models else "")
        if self._model not in models:
            raise ProtocolError(
                f"{self._deployment.url} serves {', '.join(models) or 'nothing'}, and not {self._model!r}; "
                "give the base model's name there in inference.url_model."
            )
        window = windows[self._model]
        if window is not None and window < self.window:
            raise ProtocolError(
                f"{self._deployment.url} reads at most {window} tokens (its max_model_len), and here the window is "
                f"{self.window}: set inference.max_model_len to {window}, or serve there with --max-model-len {self.window}."
            )
        for name in models:
            if self._deployment.bare_name(name).startswith(f"{self._deployment.label}-"):
                await self._unload(name)
        await self._find_abilities()
        self._alive = True
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Ask nothing any more; the deployment lives on without this engine's adapters."""
        if self._alive:
            for adapter in list(self._adapters):
                try:
                    await self._unload(self._name(adapter))
                except EngineDiedError:
                    break
        await self.abandon()

    async def abandon(self) -> None:
        """Ask nothing any more, not even to unload: the deployment is lost, or begins anew."""
        self._die("The deployment is not asked any more.")
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._http.aclose()

    async def load(self, adapter: Adapter) -> None:
        """Check an adapter, bring it there, and have it loaded."""
        self._adapters.check_free(adapter)
        await asyncio.to_thread(check_adapter, adapter.path, self._expectation)
        self._require_alive()
        self._adapters.add(adapter)
        try:
            await self._load(adapter)
        except BaseException:
            self._adapters.remove(adapter)
            raise

    async def _load(self, adapter: Adapter) -> None:
        name = self._name(adapter)
        if self._deployment.uploads:
            await self._upload(adapter, name)
            path = name
        else:
            path = self._deployment.path_there(adapter.path)
        reply = await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        if reply.status_code == 404:
            # A deployment may load an adapter with the first request that names it, and have no such route (Ray Serve).
            if await self._answers(name):
                return
            raise AdapterRefusedError(
                f"{self._deployment.url} does not find the adapter ({sentence_of(reply)}). vLLM needs --enable-lora, "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and the adapter's folder at the path it is given (inference.url_adapters)."
            )
        if reply.status_code >= 400:
            await self._die_if_unhealthy()
            raise AdapterRefusedError(f"The deployment cannot load the adapter: {sentence_of(reply)}")

    async def _upload(self, adapter: Adapter, name: str) -> None:
        with tempfile.TemporaryFile() as archive:
            await asyncio.to_thread(pack, adapter.path, archive)
            archive.seek(0)
            content = await asyncio.to_thread(archive.read)
        digest = await asyncio.to_thread(sha256_of, adapter.path / WEIGHTS_FILE)
        reply = await self._request("PUT", f"/adapters/{name}", content=content, headers={"X-Sha256": digest})
        if reply.status_code >= 400:
            await self._die_if_unhealthy()
            raise AdapterRefusedError(f"{self._deployment.url} does not take the adapter: {sentence_of(reply)}")

    async def _answers(self, name: str) -> bool:
        reply = await self._post("/v1/completions", probe_request(name, [0], None))
        return reply.status_code == 200

    async def unload(self, adapter: Adapter) -> None:
        """Have an adapter unloaded; from here on no generation can use it."""
        self._adapters.remove(adapter)
        self._require_alive()
        await self._unload(self._name(adapter))

    async def _unload(self, name: str) -> None:
        # One that is not there any more is unloaded.
        await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def clear_prompt_cache(self) -> None:
        """Ask the deployment to forget; `vllm serve` does so with VLLM_SERVER_DEV_MODE=1 alone, and others do not say."""
        self._require_alive()
        reply = await self._request("POST", "/reset_prefix_cache")
        if reply.status_code >= 400:
            log.warning(
                "%s has no /reset_prefix_cache (status %d): what it keeps of earlier prompts stays until it needs the "
                "place. vLLM has the route with VLLM_SERVER_DEV_MODE=1; --no-enable-prefix-caching keeps nothing.",
                self._deployment.url,
                reply.status_code,
            )

    async def log_probabilities(self, tokens: Sequence[int], adapter: Adapter | None) -> list[list[float]]:
        """Ask whichever copy answers; a node of ours asks all of its own.

        Raises:
            LogProbabilitiesUnavailableError: the deployment does not give them.
            GenerationRefusedError: it refuses the question, or answers something else.
        """
        self._adapters.check_loaded(adapter)
        self._require_alive()
        if not self._reads_prompts:
            raise LogProbabilitiesUnavailableError
        priority = PROBE_PRIORITY if self._has_priorities else None
        reply = await self._post("/v1/completions", probe_request(self._name(adapter), tokens, priority))
        if reply.status_code != 200:
            raise await self._failure(reply)
        try:
            values = read_probe_reply(reply, tokens)
        except ProtocolError as error:
            raise GenerationRefusedError(str(error)) from None
        if values is None:
            raise self._die("The model yields numbers that are not finite.")
        return values

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """Steps of one answer; closing the iterator breaks the connection, which ends the request there."""
        self._adapters.check_loaded(generation.adapter)
        self._require_alive()
        arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        self._streams.add(arrivals)
        reading = asyncio.create_task(self._read_stream(generation, arrivals))
        try:
            while True:
                arrival = await arrivals.get()
                if isinstance(arrival, BaseException):
                    raise arrival
                yield arrival if generation.with_logprobs else replace(arrival, logprob=math.nan, top=(), rank=None)
                if arrival.finish is not None:
                    return
        finally:
            self._streams.discard(arrivals)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read_stream(self, generation: Generation, arrivals: asyncio.Queue[Arrival]) -> None:
        """Ask, and put every step into the queue; it ends with a step that has `finish`, or with an error."""
        body = stream_request(generation, self._name(generation.adapter), self._setup.end_tokens)
        if not self._has_priorities:
            del body["priority"]
        try:
            # How long a token may take is not limited: the watch sees a deployment that has died.
            timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
            async with self._http.stream("POST", "/v1/completions", json=body, timeout=timeout) as reply:
                if reply.status_code != 200:
                    await reply.aread()
                    raise await self._failure(reply)
                finished = False
                async for line in reply.aiter_lines():
                    for step in steps_of(line):
                        arrivals.put_nowait(step)
                        finished = step.finish is not None
                if not finished:
                    raise self._die("The deployment broke an answer off.")
        except httpx.TransportError as error:
            arrivals.put_nowait(self._die(f"The connection broke ({type(error).__name__})."))
        except (ProtocolError, EngineDiedError) as error:
            arrivals.put_nowait(self._die(str(error)))
        except GenerationRefusedError as error:
            arrivals.put_nowait(error)

    # --- the deployment's life ------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ask whether the deployment lives, until it does not."""
        missed = 0
        while self._alive:
            await asyncio.sleep(WATCH_SECONDS)
            reason = await self._unhealthy_reason()
            missed = 0 if reason is None else missed + 1
            if missed >= MAX_MISSED or reason == "nobody listens there":
                self._die(f"The deployment does not answer ({reason}).")

    async def _unhealthy_reason(self) -> str | None:
        """Why the deployment cannot be asked now, in a few words; None: it can."""
        try:
            reply = await self._http.get("/health", timeout=HEALTH_SECONDS)
            if reply.status_code == 404:  # Ray Serve has the models alone
                reply = await self._http.get("/v1/models", timeout=HEALTH_SECONDS)
        except httpx.ConnectError:
            return "nobody listens there"
        except httpx.TransportError as error:
            return type(error).__name__
        return None if reply.status_code == 200 else f"status {reply.status_code}"

    async def _find_abilities(self) -> None:
        """Learn by one question whether the deployment has priorities, token ids and the prompt's log-probabilities."""
        tokens = [0, 1]
        reply = await self._post("/v1/completions", probe_request(self._model, tokens, PROBE_PRIORITY))
        if reply.status_code == 400:
            self._has_priorities = False
            log.warning("%s has no priorities: visitors wait for echoes (--scheduling-policy priority).", self._model)
            reply = await self._post("/v1/completions", probe_request(self._model, tokens, None))
        if reply.status_code != 200:
            raise ProtocolError(f"{self._deployment.url} refuses a completion: {sentence_of(reply)}")
        try:
            read_probe_reply(reply, tokens)
        except LogProbabilitiesUnavailableError:
            self._reads_prompts = False
            log.warning("%s gives no log-probabilities of a prompt: swaps stay unproved.", self._deployment.url)

    async def _models(self) -> dict[str, int | None]:
        """The names that can be asked there, each with its window in tokens; None: the deployment does not say."""
        reply = await self._request("GET", "/v1/models")
        if reply.status_code != 200:
            raise ProtocolError(f"{self._deployment.url}/v1/models: {sentence_of(reply)}")
        try:
            windows = {str(model["id"]): model.get("max_model_len") for model in reply.json()["data"]}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ProtocolError(f"{self._deployment.url}/v1/models is no list of models: no vLLM is there.") from None
        return {name: window if isinstance(window, int) else None for name, window in windows.items()}

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self._request("POST", path, json=body)

    async def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        asking = asyncio.create_task(self._http.request(method, path, **more))
        # A deployment that is silent would be waited for until the request's own timeout.
        dying = asyncio.create_task(self._died.wait())
        try:
            await asyncio.wait({asking, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise EngineDiedError(self._death)
            return asking.result()
        except httpx.TransportError as error:
            raise self._die(f"The connection broke ({type(error).__name__}).") from None
        finally:
            for task in (asking, dying):
                task.cancel()
            await asyncio.gather(asking, dying, return_exceptions=True)

    async def _failure(self, reply: httpx.Response) -> EngineDiedError | GenerationRefusedError:
        """What a refused question means: the engine's death where an adapter was lost or the deployment is ill."""
        if reply.status_code == 404:
            return self._die("The deployment has lost an adapter; it was started anew.")
        if await self._unhealthy_reason() is not None:
            return self._die(f"The deployment has failed ({sentence_of(reply)}).")
        return GenerationRefusedError(f"The deployment refuses this request (status {reply.status_code}).")

    async def _die_if_unhealthy(self) -> None:
        if (reason := await self._unhealthy_reason()) is not None:
            raise self._die(f"The deployment has failed ({reason}).")

    def _die(self, sentence: str) -> EngineDiedError:
        """End every answer under way; returns the error that says why.  The first reason stays."""
        if self._alive:
            self._alive, self._death = False, sentence
            self._died.set()
            log.warning("%s: %s", self._deployment.url, sentence)
            for arrivals in self._streams:
                arrivals.put_nowait(EngineDiedError(sentence))
        return EngineDiedError(sentence)

    def _require_alive(self) -> None:
        if not self._alive:
            raise EngineDiedError(self._death)

    def _name(self, adapter: Adapter | None) -> str:
        """The model name there."""
        if adapter is None:
            return self._model
        if self._deployment.loads_by_folder:
            return self._deployment.full_name(adapter.path.name)
        return self._deployment.full_name(f"{self._prefix}-{adapter.name}")
