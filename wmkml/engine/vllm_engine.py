"""vLLM as an engine: `AsyncLLM` in this process, its cores in child processes.

vLLM is imported when the engine starts: that takes half a minute, and its environment variables must be set before.
vLLM gets token ids only (`skip_tokenizer_init`), so that no visitor's words reach its logs.
On a CPU seeds are ignored: vLLM 0.32 dies when the prompt of a seeded request is read in more than one piece ("CPU
Generator does not use offset").
"""

from __future__ import annotations

import asyncio
import math
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from wmkml.adapters.checks import AdapterRefusedError, Expectation, check_adapter
from wmkml.engine.engine_args import check_engine_args
from wmkml.engine.loaded_adapters import LoadedAdapters
from wmkml.engine.protocol import TOP_LOGPROBS, Adapter, EngineDiedError, Generation, Step
from wmkml.engine.setup import EngineSetup, ModelUnusableError
from wmkml.models.files import WEIGHTS_INDEX
from wmkml.system.memory import no_garbage_collection

SUPPORTED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of vLLM's `max_lora_rank`; an adapter of a rank between two is served with the larger."""

SINGLE_PROCESS_EXECUTOR = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""The executor that runs the model in the core's own process."""

PROBE_PRIORITY = 1
"""Of a probe: behind visitors' prompts, before everything in the background, since a swap waits for it."""


def vllm_environment(setup: EngineSetup) -> dict[str, str]:
    """The environment variables that must be set before vLLM is imported."""
    variables = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        # /proc shows a spawned child's environment as it is now, which holds the mark of `wmkml.system.orphans`;
        # a forked child would show the one that this process was started with.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, math.ceil(setup.kv_cache_gib))),
        "HF_HUB_OFFLINE": "1",
        # Its core ends at the first NaN, whether log-probabilities are asked for or not: the NaN is in cache blocks that
        # later requests reuse, and only a new process is free of it.
        "VLLM_RAISE_ON_LOGIT_NANS": "1",
    }
    if setup.threads:
        # Not pinned: another process on the same core would delay every step.  One thread more than there are free
        # cores is worse still: the threads wait for one another, and a token takes 300 ms instead of 14.
        variables |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(setup.threads)}
    return variables


def engine_arguments(setup: EngineSetup, *, on_cpu: bool) -> dict[str, Any]:
    """The arguments of vLLM's `AsyncEngineArgs`, by name.

    Raises:
        EngineArgsError: the settings give an argument that cannot be used.
        ModelUnusableError: the settings name another number format than the model's folder has.
    """
    check_engine_args(setup.engine_args)
    return {
        "model": str(setup.model),
        "skip_tokenizer_init": True,
        # By itself vLLM prefers Mistral's own files (params.json, consolidated.safetensors) where a folder has both kinds;
        # the worker trains with these.
        "config_format": "hf",
        "load_format": "hf" if (setup.model / WEIGHTS_INDEX).is_file() else "auto",
        "dtype": "bfloat16" if setup.dtype == "auto" else setup.dtype,
        "max_model_len": setup.chosen_window,
        "max_num_seqs": setup.sequences,
        "max_num_batched_tokens": max(setup.batched_tokens, setup.sequences),
        "scheduling_policy": "priority",
        "enable_lora": True,
        "max_loras": setup.adapters,
        "max_cpu_loras": setup.adapters,
        "max_lora_rank": next(rank for rank in SUPPORTED_RANKS if rank >= setup.rank),
        # vLLM compares the last part of a module's name; by default it keeps places in every linear layer.
        "lora_target_modules": [name.rpartition(".")[2] for name in setup.target_modules] or None,
        "max_logprobs": TOP_LOGPROBS,
        "logprobs_mode": "raw_logprobs",
        "enforce_eager": on_cpu,
        "quantization": None if on_cpu else _quantization(setup),
        # With a size vLLM measures nothing, and so takes no other process's memory for its own.
        "kv_cache_memory_bytes": None if on_cpu else setup.kv_cache_bytes,
        "gpu_memory_utilization": setup.gpu_share,
        "data_parallel_size": setup.replicas,
        "tensor_parallel_size": setup.tensor_parallel,
        "generation_config": "vllm",
        # By name: importing it would import vLLM's worker into this process.
        "worker_cls": "wmkml.engine.cpu_lora.CpuWorker" if on_cpu else "auto",
        # On a CPU in the core's own process: two processes spin while they wait for each other, which costs most of a
        # core.  By its class's name, since vLLM overrides "uni" on a CPU, to pin threads in time; ours are not pinned.
        "distributed_executor_backend": SINGLE_PROCESS_EXECUTOR if on_cpu and setup.threads else None,
        "enable_log_requests": False,
        "disable_log_stats": True,
        **setup.engine_args,
    }


def _quantization(setup: EngineSetup) -> str | None:
    """vLLM's name of the number format of the weights; None: as the model's folder has them.

    Raises:
        ModelUnusableError: the settings name another format than the folder has.
    """
    if setup.quantization in ("auto", "none"):
        return None
    stored = (setup.config.get("quantization_config") or {}).get("quant_method")
    if setup.quantization == "fp8":
        # vLLM 0.32 makes weights fp8 at start under this name; `fp8` is for folders that hold such weights.
        return "fp8_per_tensor" if stored is None else None
    if stored != setup.quantization:
        raise ModelUnusableError(
            f"inference.quantization: {setup.quantization} needs a model in that format; {setup.model} is "
            f"{stored or 'in 16 or 32 bits'} by its config.json. Use auto, or another model."
        )
    return setup.quantization


class VllmEngine:
    """See `wmkml.engine.protocol.Engine`."""

    name = "vllm"

    def __init__(self, setup: EngineSetup) -> None:
        """Raises EngineArgsError where vLLM cannot be started with the settings' `inference.engine_args`."""
        check_engine_args(setup.engine_args)
        self._setup = setup
        self._expectation = Expectation(setup.rank, setup.shapes, setup.target_modules)
        self._adapters = LoadedAdapters(setup.adapters)
        self._llm: Any = None
        self._poisoned = False
        self._on_cpu = False

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._setup.chosen_window

    async def start(self) -> None:
        """Import vLLM, start its core, load the model and have it compile what the first answers would wait for.

        Raises:
            EngineDiedError: the model yields numbers that are not finite, or vLLM's core ended otherwise.
        """
        os.environ.update(vllm_environment(self._setup))
        self._llm = await asyncio.to_thread(self._create_llm)
        try:
            # On a GPU vLLM compiles what ranks a token among the others at the first request for log-probabilities, and nobody's
            # answer goes on meanwhile.
            await self.log_probabilities((0, 0), None)
        except EngineDiedError as error:
            await self.stop()
            raise EngineDiedError("vLLM's core has ended over its first token.") from error

    def _create_llm(self) -> Any:
        with no_garbage_collection():
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM
        self._on_cpu = bool(current_platform.is_cpu())
        if self._on_cpu:
            # Its core would have a C++ compiler build what ranks a token among the others, for ten seconds of a start, and end
            # where there is none; as it stands, that takes as long for a token.
            os.environ["TORCH_COMPILE_DISABLE"] = "1"
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(self._setup, on_cpu=self._on_cpu)))

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
            loaded = await self._llm.add_lora(_lora_request(adapter))
        except EngineDeadError as error:
            raise EngineDiedError("vLLM's core has ended.") from error
        except Exception as error:
            self._adapters.remove(adapter)
            raise AdapterRefusedError(f"vLLM cannot load the adapter ({type(error).__name__}).") from error
        if not loaded:
            self._adapters.remove(adapter)
            raise AdapterRefusedError("vLLM did not take the adapter.")

    async def unload(self, adapter: Adapter) -> None:
        """Remove an adapter; from here on no generation can use it."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self._adapters.remove(adapter)
        try:
            await self._llm.remove_lora(adapter.id)
        except EngineDeadError as error:
            raise EngineDiedError("vLLM's core has ended.") from error

    async def clear_prompt_cache(self) -> None:
        """Empty the prefix cache.  Generations under way hold a part of it: they are read again, and go on."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            if not await self._llm.reset_prefix_cache():
                await self._llm.reset_prefix_cache(reset_running_requests=True)
        except EngineDeadError as error:
            raise EngineDiedError("vLLM's core has ended.") from error

    async def log_probabilities(self, tokens: Sequence[int], adapter: Adapter | None) -> list[list[float]]:
        """Ask each data-parallel rank in turn.

        A request for the prompt's log-probabilities reads no prefix cache (`SamplingParams.skip_reading_prefix_cache`).
        """
        self._adapters.check_loaded(adapter)
        ranks = range(self._setup.replicas) if self._setup.replicas > 1 else [None]
        return [await self._read(tokens, adapter, rank) for rank in ranks]

    async def _read(self, tokens: Sequence[int], adapter: Adapter | None, rank: int | None) -> list[float]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        outputs = self._llm.generate(
            {"prompt_token_ids": list(tokens)},
            parameters,
            f"probe-{uuid.uuid4().hex}",
            lora_request=_lora_request(adapter) if adapter else None,
            priority=PROBE_PRIORITY,
            data_parallel_rank=rank,
        )
        try:
            async for output in outputs:
                # The first token has nothing before it.
                entries = zip(tokens[1:], output.prompt_logprobs[1:], strict=True)
                values = [float(entry[token].logprob) for token, entry in entries]
                if not all(map(math.isfinite, values)):
                    raise self._poisoned_error()
                return values
        except EngineDeadError as error:
            raise EngineDiedError("vLLM's core has ended.") from error
        finally:
            await outputs.aclose()
        raise EngineDiedError("vLLM ended a probe without an answer.")

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """Steps of one answer; closing the iterator aborts the request in vLLM."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        self._adapters.check_loaded(generation.adapter)
        if not self.alive():
            raise EngineDiedError("vLLM has ended.")
        sampling, ends = generation.sampling, self._setup.end_tokens
        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
            seed=None if self._on_cpu else sampling.seed,
            logprobs=TOP_LOGPROBS if generation.with_logprobs else None,
            flat_logprobs=True,  # lists of numbers in place of an object for every likely token
            logit_bias=dict(sampling.bias) or None,
            stop_token_ids=list(ends),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        outputs = self._llm.generate(
            {"prompt_token_ids": list(generation.prompt)},
            parameters,
            generation.id,
            lora_request=_lora_request(generation.adapter) if generation.adapter else None,
            priority=generation.priority,
        )
        try:
            async for output in outputs:
                part = output.outputs[0]
                last = len(part.token_ids) - 1
                for index, token in enumerate(part.token_ids):
                    yield self._step(token, part.logprobs, index, part.finish_reason if index == last else None)
        except EngineDeadError as error:
            raise EngineDiedError("vLLM's core has ended.") from error
        finally:
            await outputs.aclose()

    def _step(self, token: int, logprobs: Any, index: int, finish: str | None) -> Step:
        """The step of the token with this index, from vLLM's `FlatLogprobs`; None where the generation is without them.

        The token's own entry is the first.  Whether it stands among the likeliest a second time depends on how vLLM passed
        the token on: not, where the reader was slow and several were joined.
        """
        if logprobs is None:
            return Step(token, math.nan, (), _finish_reason(finish))
        start, end = logprobs.start_indices[index], logprobs.end_indices[index]
        logprob = logprobs.logprobs[start]
        if not math.isfinite(logprob):
            raise self._poisoned_error()
        entries = dict(zip(logprobs.token_ids[start:end], logprobs.logprobs[start:end], strict=True))
        top = sorted(entries.items(), key=lambda entry: -entry[1])[:TOP_LOGPROBS]
        return Step(token, logprob, tuple(top), _finish_reason(finish), logprobs.ranks[start])

    def _poisoned_error(self) -> EngineDiedError:
        # The NaN is in cache blocks that later requests reuse; only a new process is free of it.
        self._poisoned = True
        return EngineDiedError("The model yields numbers that are not finite.")

    def alive(self) -> bool:
        """Whether vLLM runs, its core has not died, and its cache holds no NaN."""
        return self._llm is not None and not self._poisoned and not self._llm.errored


def _finish_reason(reason: str | None) -> Literal["stop", "length"] | None:
    if reason is None:
        return None
    if reason in ("stop", "length"):
        return "stop" if reason == "stop" else "length"
    raise EngineDiedError(f"vLLM ended an answer with {reason!r}.")


def _lora_request(adapter: Adapter) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(adapter.name, adapter.id, str(adapter.path))
