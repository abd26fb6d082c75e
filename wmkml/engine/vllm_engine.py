"""vLLM as an engine: `AsyncLLM` in this process, its cores in child processes of it.

Importing this file imports no vLLM: that takes half a minute, and its settings must stand in the environment before.
Knows token ids only (`skip_tokenizer_init`), so that no visitor's word reaches vLLM's logs.
On a CPU a seed is ignored: vLLM 0.32 dies of one when its prompt is read in more than one piece ("CPU Generator does
not use offset"), and nobody's seed is worth that.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from typing import Any, Literal

from wmkml.engine.adapters import Expectation, LoadedAdapters, check_adapter
from wmkml.engine.protocol import TOP, Adapter, AdapterRefused, EngineDied, Generation, Step
from wmkml.engine.setup import EngineSetup

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks for which vLLM has room; a rank between two takes the room of the larger."""


ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


def environment(setup: EngineSetup) -> dict[str, str]:
    """What must stand in the environment before vLLM is imported."""
    wanted = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        # A spawned child, unlike a forked one, carries our environment where leftovers are looked for.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, math.ceil(setup.kv_cache_gib))),
        "HF_HUB_OFFLINE": "1",
    }
    if setup.threads:
        # Not pinned: another process on the same core would halt every step. One thread more than there are free
        # cores is worse still: they wait for one another, and a token takes 300 ms instead of 14.
        wanted |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(setup.threads)}
    return wanted


class VllmEngine:
    """See `wmkml.engine.protocol.Engine`."""

    name = "vllm"

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._expectation = Expectation(setup.rank, setup.shapes)
        self._adapters = LoadedAdapters(setup.adapters)
        self._llm: Any = None
        self._poisoned = False
        self._on_cpu = False

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._setup.chosen_window

    async def start(self) -> None:
        """Import vLLM, start its core and load the model."""
        os.environ.update(environment(self._setup))
        # vLLM answers its start-up questions to the terminal; a service has none.
        self._llm = await asyncio.to_thread(self._made)
        await self._llm.check_health()

    def _made(self) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        setup = self._setup
        self._on_cpu = bool(current_platform.is_cpu())
        arguments = AsyncEngineArgs(
            model=str(setup.model),
            skip_tokenizer_init=True,
            dtype="bfloat16" if setup.dtype == "auto" else setup.dtype,
            max_model_len=setup.chosen_window,
            max_num_seqs=setup.sequences,
            max_num_batched_tokens=max(setup.batched_tokens, setup.sequences),
            scheduling_policy="priority",
            enable_lora=True,
            max_loras=setup.adapters,
            max_cpu_loras=setup.adapters,
            max_lora_rank=next(rank for rank in RANKS if rank >= setup.rank),
            max_logprobs=TOP,
            logprobs_mode="raw_logprobs",
            enforce_eager=self._on_cpu,
            gpu_memory_utilization=setup.gpu_share,
            data_parallel_size=setup.replicas,
            generation_config="vllm",
            # By name, since importing it imports vLLM's worker, which has no place in this process.
            worker_cls="wmkml.engine.cpu_lora.CpuWorker" if self._on_cpu else "auto",
            # In the core's own process: two of them spin while they wait for each other, which costs most of a core.
            # By name, for the plain word is overruled on a CPU, lest threads be bound too late; ours are bound by nobody.
            distributed_executor_backend=ONE_PROCESS if self._on_cpu and setup.threads else None,
            enable_log_requests=False,
            disable_log_stats=True,
        )
        return AsyncLLM.from_engine_args(arguments)

    async def stop(self) -> None:
        """End vLLM's child processes."""
        llm, self._llm = self._llm, None
        if llm is not None:
            await asyncio.to_thread(llm.shutdown)

    async def load(self, adapter: Adapter) -> None:
        """Check an adapter and give it to vLLM."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self._adapters.check_free(adapter)
        await asyncio.to_thread(check_adapter, adapter.path, self._expectation)
        self._adapters.add(adapter)
        try:
            loaded = await self._llm.add_lora(_request(adapter))
        except EngineDeadError as error:
            raise EngineDied("vLLM's core has ended.") from error
        except Exception as error:
            self._adapters.remove(adapter)
            raise AdapterRefused(f"vLLM cannot load the adapter ({type(error).__name__}).") from error
        if not loaded:
            self._adapters.remove(adapter)
            raise AdapterRefused("vLLM did not take the adapter.")

    async def unload(self, adapter: Adapter) -> None:
        """Take an adapter out; from here on no generation can name it."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self._adapters.remove(adapter)
        try:
            await self._llm.remove_lora(adapter.id)
        except EngineDeadError as error:
            raise EngineDied("vLLM's core has ended.") from error

    async def forget_prompts(self) -> None:
        """Empty the prefix cache.  Answers under way hold a part of it: those are read again, and go on."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            if not await self._llm.reset_prefix_cache():
                await self._llm.reset_prefix_cache(reset_running_requests=True)
        except EngineDeadError as error:
            raise EngineDied("vLLM's core has ended.") from error

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """Steps of one answer; closing the iterator aborts the request in vLLM."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        self._adapters.check_loaded(generation.adapter)
        if not self.alive():
            raise EngineDied("vLLM has ended.")
        sampling, ends = generation.sampling, self._setup.end_tokens
        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
            seed=None if self._on_cpu else sampling.seed,
            logprobs=TOP,
            stop_token_ids=list(ends),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        outputs = self._llm.generate(
            {"prompt_token_ids": list(generation.prompt)},
            parameters,
            generation.id,
            lora_request=_request(generation.adapter) if generation.adapter else None,
            priority=generation.priority,
        )
        try:
            async for output in outputs:
                part = output.outputs[0]
                last = len(part.token_ids) - 1
                for place, (token, logprobs) in enumerate(zip(part.token_ids, part.logprobs, strict=True)):
                    yield self._step(token, logprobs, part.finish_reason if place == last else None)
        except EngineDeadError as error:
            raise EngineDied("vLLM's core has ended.") from error
        finally:
            await outputs.aclose()

    def _step(self, token: int, logprobs: Any, finish: str | None) -> Step:
        logprob = float(logprobs[token].logprob)
        if not math.isfinite(logprob):
            # Its cache blocks are poisoned for every later request; only a new process heals that.
            self._poisoned = True
            raise EngineDied("The model yields numbers that are not finite.")
        ranked = sorted(logprobs.items(), key=lambda item: -item[1].logprob)[:TOP]
        top = tuple((number, float(told.logprob)) for number, told in ranked)
        return Step(token, logprob, top, _finish(finish))

    def alive(self) -> bool:
        """False once vLLM's core has ended or its cache is poisoned."""
        return self._llm is not None and not self._poisoned and not self._llm.errored


def _finish(reason: str | None) -> Literal["stop", "length"] | None:
    if reason is None:
        return None
    if reason in ("stop", "length"):
        return "stop" if reason == "stop" else "length"
    raise EngineDied(f"vLLM ended an answer with {reason!r}.")


def _request(adapter: Adapter) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(adapter.name, adapter.id, str(adapter.path))
