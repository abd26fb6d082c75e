"""`inference.engine_args`: what may be given to vLLM on top, and what is refused with why, by the source of the installed vLLM."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.engine.random_model import RANK, make_model
from tests.launcher.plans import machine
from wmkml.config import load_settings
from wmkml.config.arguments import ResolvedSettings
from wmkml.engine import engine_args
from wmkml.engine.engine_args import RESERVED, EngineArgsError, engine_args_notice, engine_args_problems, vllm_arguments
from wmkml.engine.setup import EngineSetup
from wmkml.engine.vllm_engine import VllmEngine, engine_arguments
from wmkml.launcher.launch import plan_of
from wmkml.launcher.plan_text import plan_text

MAY_BE_CHANGED = {"enforce_eager", "distributed_executor_backend", "disable_log_stats", "load_format"}
"""What this project gives vLLM, and an installation may give otherwise."""

with_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> EngineSetup:
    return EngineSetup(make_model(tmp_path_factory.mktemp("model")), adapters=3, rank=RANK)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_all_that_this_project_sets_is_reserved(setup: EngineSetup, on_cpu: bool) -> None:
    assert set(engine_arguments(setup, on_cpu=on_cpu)) - MAY_BE_CHANGED <= set(RESERVED)
    assert not MAY_BE_CHANGED & set(RESERVED)


@with_vllm
def test_every_reserved_name_is_an_argument_of_vllm() -> None:
    assert set(RESERVED) <= set(vllm_arguments() or {})


@with_vllm
@pytest.mark.parametrize(
    "arguments",
    [
        {"enable_prefix_caching": False, "block_size": None},
        {"swap_space": 4} if "swap_space" in (vllm_arguments() or {}) else {"cpu_offload_gb": 4},
        {"cudagraph_capture_sizes": [1, 2, 4], "enforce_eager": True},
        {"per_request_spec_decode_metrics": "summary"},
        {"additional_config": {"anything": 1}, "compilation_config": {"mode": 3}},
    ],
)
def test_what_vllm_takes_is_given_to_it(setup: EngineSetup, arguments: dict[str, Any]) -> None:
    assert engine_args_problems(arguments) == []
    given = engine_arguments(dataclasses.replace(setup, engine_args=arguments), on_cpu=False)
    assert {name: given[name] for name in arguments} == arguments


@with_vllm
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"enable_prefix_cashing": True},
            "enable_prefix_cashing is no argument of vLLM 0.*; did you mean enable_prefix_c",
        ),
        ({"modle_impl": "auto"}, "did you mean model_impl?"),
        ({"enable_prefix_caching": "no"}, "enable_prefix_caching: 'no' is not allowed; vLLM 0.*wants bool | None"),
        ({"max_cudagraph_capture_size": True}, "True is not allowed"),
        ({"cudagraph_capture_sizes": [1, "2"]}, "wants list"),
        ({"jit_monitor_mode": "shout"}, "wants Literal"),
        ({"_api_process_count": 2}, "is no argument"),
        ({"model": "other"}, "model cannot be given here: it is general.model_name"),
        ({"max_loras": 2}, "it follows from finetuning.lora_r"),
        ({"tensor_parallel_size": 2}, "it is inference.tensor_parallel_size"),
        ({"enable_log_requests": True}, "would write visitors' words to the log"),
    ],
)
def test_what_it_does_not_take_is_refused_with_why(
    setup: EngineSetup, arguments: dict[str, Any], sentence: str
) -> None:
    [problem] = engine_args_problems(arguments)
    for part in sentence.split("*"):
        assert part in problem
    with pytest.raises(EngineArgsError):
        VllmEngine(dataclasses.replace(setup, engine_args=arguments))


def planned(**engine_arguments: Any) -> Any:
    settings = load_settings(overrides={"inference.engine_args": engine_arguments, "inference.engine": "vllm"})
    return plan_of(ResolvedSettings(settings, Path("/nowhere"), ()), machine(3))


@with_vllm
def test_the_plan_refuses_all_of_them_before_anything_is_started() -> None:
    plan = planned(model="x", enforce_eagr=True)
    assert len(plan.refusals) == 2
    assert "did you mean enforce_eager?" in plan_text(plan)
    assert planned(enforce_eager=True).refusals == ()


def test_without_vllm_the_check_is_put_off_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_args, "vllm_arguments", lambda: None)
    plan = planned(anything=1)
    assert plan.refusals == ()
    assert any("not checked yet, for vLLM is not installed here" in notice for notice in plan.notices)
    assert len(planned(max_loras=1).refusals) == 1
    assert engine_args_notice({"a": 1}, "transformers") == (
        "inference.engine_args is for vLLM, and not used by the engine transformers."
    )
    assert engine_args_notice({}, "transformers") is None
