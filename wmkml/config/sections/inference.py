"""The section `inference` of config.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from wmkml.config.sections.declaring import (
    AtLeastOne,
    Count,
    Number,
    Positive,
    Section,
    Share,
    added,
    none_is_empty,
    original,
)


class Inference(Section):
    """How the model is prompted, and how it is served."""

    temperature: Annotated[Number, Field(ge=0, le=2)] = original(
        0.4, "Sampling temperature of echoes and dataset answers."
    )
    max_tokens: AtLeastOne = original(256, "The longest answer, in tokens.")
    num_generated_responses: Count = original(
        6, "Echoes: how many extra answers to every visitor's prompt are generated in the background."
    )
    top_p: Share = original(0.9, "Nucleus (top-p) of echoes and dataset answers.")
    system_prompts: dict[str, str] = original(
        {"de": "Du fasst dich kurz und antwortest auf deutsch", "en": "You provide concise answers in english"},
        "The system prompt of each language; its keys are the languages that can be chosen.",
        min_length=1,
    )
    system_language: str = original(
        "de",
        "The language of requests that name none (in a run: the run's), and of the window (`gui.py`) at first.",
    )
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] = original(1.0, "Frequency penalty of every answer.")
    num_context_messages: AtLeastOne = original(
        6, "The conversation's window: how many prompts the model sees, the new one included."
    )
    context_length_switch: Count = original(2, "The iteration from which on the window is `late_num_context_messages`.")
    late_num_context_messages: AtLeastOne = original(
        1, "The conversation's window from iteration `context_length_switch` on."
    )
    visitor_temperature: Annotated[Number, Field(ge=0, le=2)] = added(
        0.7, "Sampling temperature of a visitor's answer, where the request names none."
    )
    visitor_top_p: Share = added(0.9, "Nucleus (top-p) of a visitor's answer, where the request names none.")
    prompts_per_station: Count = added(
        0,
        "Prompts of one station that are answered at the same time; its further ones wait for their turn. 0: no limit. "
        "Callers that name no station are one.",
    )
    panel_answers: Count = added(
        8,
        "How many answers every iteration gives to each prompt of the panel, in the background and after everything else, "
        "to be measured; see docs/measures.md. 0: no panel.",
    )
    panel_words: AtLeastOne = added(
        16, "So many first words of the panel's answers are compared; shorter answers are not compared."
    )
    panel_prompts: str = added(
        "", "The panel's prompts, a YAML file, relative to config.yaml. Empty: wmkml/measures/panel/panel.yaml."
    )
    inference_host: str = added(
        "127.0.0.1", "Address the inference service listens on; from other machines only `/language` needs no key."
    )
    engine: Literal["auto", "vllm", "transformers", "remote"] = added(
        "auto",
        "What turns messages into tokens. auto: vLLM where it is installed, else transformers; with `url` the deployment "
        "there (remote).",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = added(
        "auto", "Number format of the served model. auto: bfloat16."
    )
    quantization: Literal["auto", "none", "fp8", "awq", "gptq"] = added(
        "auto",
        "Number format of the served weights with vLLM on a GPU. auto: fp8 where `dtype` does not fit the GPU, else as "
        "`none`, which takes the weights as the model's folder has them; fp8 makes them at start; awq and gptq need a "
        "folder in that format.",
    )
    max_model_len: Count = added(0, "The model's window in tokens. 0: the model's own, at most 4096.")
    max_num_batched_tokens: Count = added(
        0,
        "Prompt tokens read in one step; fewer make streams smoother beside echoes. 0: 128 on a CPU, 2048 on a GPU.",
    )
    max_num_seqs: AtLeastOne = added(64, "Answers generated at the same time.")
    max_background_seqs: Count = added(
        0, "Echoes and dataset answers generated at the same time; others wait. 0: 4 on a CPU, 32 on a GPU."
    )
    gpu_memory_utilization: Share = added(
        0.9,
        "Share of a GPU's memory for the engine; halved when the engine shares the GPU with the worker. "
        "Never less than the model needs.",
    )
    kv_cache_gib: Positive = added(1.0, "Memory for the engine's key-value cache on a CPU, in GiB.")
    cpu_threads: Count = added(
        0, "CPU threads of the engine. 0: all cores but those of the worker; with a GPU a quarter, at most 8."
    )
    tensor_parallel_size: AtLeastOne = added(
        1,
        "How many GPUs hold one copy of the model together (vLLM), for a model that one GPU cannot hold. As many copies "
        "serve as there are GPUs for.",
    )
    engine_args: dict[str, Any] = added(
        {},
        "More arguments of vLLM's `AsyncEngineArgs`, by name. Those that this project sets itself are refused.",
    )
    nodes: list[str] = added(
        [],
        "Other machines that answer too, each as `address` or `address:port` (8011); there `./master_script.sh --join` "
        "starts them. See docs/machines.md.",
    )
    url: str = added(
        "",
        "A deployment of vLLM elsewhere that answers in place of an engine here, as http://10.0.0.9:8000. Empty: none. "
        "See docs/machines.md.",
    )
    url_key: Annotated[SecretStr, BeforeValidator(none_is_empty)] = added(
        SecretStr(""),
        "The key (bearer token) that the deployment at `url` wants. Never shown, never logged.",
        strict=False,
    )
    url_model: str = added("", "The base model's name at `url`. Empty: the first that it lists.")
    url_adapters: str = added(
        "", "The folder in which the deployment at `url` finds what is in data/serving here. Empty: the same path."
    )
    url_adapter_name: str = added(
        "{name}",
        "An adapter's model name at `url`. `{name}` for vLLM; for Ray Serve, which finds adapters by their folders, "
        "`MODEL:{name}`.",
    )
