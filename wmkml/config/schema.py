"""Every key of `config.yaml`: named, typed, bounded and described, section by section.

The sections `general`, `finetuning` and `inference` are the original installation's, with its keys, meanings and
defaults, so that an original `config.yaml` runs unchanged; keys marked *added* are ours.  The tables in
`docs/settings.md` are generated from this file.  It deliberately knows nothing else: not where the values come from,
which GPUs there are, or who listens on a port.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator


def _number(value: Any) -> Any:
    # YAML 1.1 reads 1e-4 (no dot) as a word; an operator means the number.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _secret(value: Any) -> Any:
    return "" if value is None else value


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Number, Field(gt=0)]
Seconds = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]


def _original(default: Any, description: str, **more: Any) -> Any:
    factory = {"default_factory": lambda: default} if isinstance(default, list | dict) else {"default": default}
    return Field(description=description, json_schema_extra={"added": False}, **factory, **more)


def _added(default: Any, description: str, **more: Any) -> Any:
    factory = {"default_factory": lambda: default} if isinstance(default, list | dict) else {"default": default}
    return Field(description=description, json_schema_extra={"added": True}, **factory, **more)


class Section(BaseModel):
    """A section of config.yaml.  Unknown keys are refused; values are not converted behind the operator's back."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class General(Section):
    """Names, ports, hosts and folders."""

    model_name: str = _original(
        "mistralai/Mistral-7B-Instruct-v0.3",
        "The model that dies: a hub id, a folder, or `understudy`. Without a GPU the understudy runs instead.",
    )
    hf_token: Annotated[SecretStr, BeforeValidator(_secret)] = _original(
        SecretStr(""), "Token for gated models on the hub. Never shown, never logged.", strict=False
    )
    available_datasets: list[str] = _original([], "The folders under `Datasets/` that may be used. Empty: all of them.")
    owner_port: Port = _original(8000, "Port of the owner: pages, visitors, operator, worker.")
    inference_port: Port = _original(8011, "Port of the inference service.")
    available_gpus: Count = _original(
        3, "How many GPUs one wishes to use. What is really there is detected, and the plan says so."
    )
    logging: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _original(
        "DEBUG", "How much the log files tell. Visitors' words are in none of them at any level."
    )
    osc_port: Port = _original(0, "Port of the OSC host for music and visuals. 0: no OSC host.")
    osc_ip: str = _original(
        "", "Address of the OSC host. Empty: no OSC host; the Tk window opens where there is a display."
    )
    verification_mode: bool = _original(
        False, "true: check every dataset at start and tell every problem by file and line."
    )
    owner_host: str = _added("0.0.0.0", "Where the owner listens. `127.0.0.1`: this machine only.")
    trusted_hosts: list[str] = _added(
        ["127.0.0.1", "::1"], "Addresses that may restart a run under way through `/language`, and reload adapters."
    )
    osc_hosts: list[str] = _added([], "More OSC hosts, each as `address:port`.")
    osc_heartbeat_seconds: Seconds = _added(5.0, "How often `/heartbeat` and `/time_left` are sent. 0: never.")
    data_folder: str = _added("data", "Where runs, keys and logs are kept, relative to config.yaml.")
    models_folder: str = _added("models", "Where downloaded models are kept, relative to config.yaml.")
    datasets_folder: str = _added("Datasets", "Where the prompt sets are, relative to config.yaml.")
    stage_folder: str = _added(
        "stage",
        "The projection's mapping, texts and fonts, relative to config.yaml; changes appear when they are saved.",
    )
    log_visitor_words: bool = _added(
        False, "true: visitors' words may appear in the logs. The consent page then says so."
    )
    keep_runs: bool = _added(
        False,
        "true: a finished run's folder (conversations, adapters) stays on disk. false: it is deleted at the rebirth.",
    )
    idle_seconds: Seconds = _added(
        90.0, "A visitor's page that nobody touches for so long forgets its visitor and waits for the next. 0: never."
    )
    max_prompt_bytes: AtLeastOne = _added(65536, "The largest body of a visitor's request, in bytes; larger: 413.")


class Finetuning(Section):
    """The run, its rounds, and how a round trains."""

    num_train_epochs: AtLeastOne = _original(2, "How often a round reads each of its samples.")
    num_total_iters: AtLeastOne = _original(9, "How many rounds a run has.")
    learning_rate: Positive = _original(0.0015, "Learning rate of round 0.")
    learning_rate_increase: Number = _original(
        -0.0001, "Added to the learning rate with every round; it never goes below zero."
    )
    lr_precision: Count = _original(20, "Obsolete: accepted and not used.")
    batch_size: AtLeastOne = _original(256, "Samples per optimizer step (per accumulation step).")
    grad_acc_steps: AtLeastOne = _original(1, "Batches that are accumulated into one optimizer step.")
    dataset_array: list[list[str]] = _original(
        [[], []], "For each round, the datasets whose prompts (answered by the dying model) top up its samples."
    )
    persistent_prompt: str | dict[str, str] = _original(
        "Was für Sprichwörter kennst du?",
        "The prompt that seeds every run and is answered once per iteration for the record; "
        "one text, or one for each language.",
    )
    samples_by_iteration: AtLeastOne = _original(60, "Samples in round 0.")
    live_samples_by_iteration: Count = _original(
        40, "At most so many samples of a round are live pairs, before datasets."
    )
    max_per_prompt: AtLeastOne = _original(20, "At most so many live pairs of the same prompt are considered.")
    sample_increase_by_iteration: Count = _original(15, "So many more samples with every round.")
    recreate_iteration_0: bool = _original(False, "true: the base model answers the datasets of round 0 anew at start.")
    minimum_iteration_time: Seconds = _original(
        120.0, "A new adapter answers no sooner than this after its round began, in seconds."
    )
    dataloader_num_workers: Count = _original(2, "Accepted; samples are tokenised in one go before a round.")
    delete_live_questions_at_start: bool = _original(True, "true: a new run trains on nothing of the visitors before.")
    lora_target_modules: list[str] = _original(["q_proj", "v_proj"], "The linear layers that get a LoRA.", min_length=1)
    duration_of_a_run: Positive = _original(1200.0, "A run's length in seconds, if its rounds are not done sooner.")
    last_iteration_time: Seconds = _original(
        180.0, "Last words: so long one may still talk after the last round, in seconds."
    )
    lora_r: AtLeastOne = _added(16, "Rank of the LoRA.")
    lora_alpha: AtLeastOne = _added(32, "Scale of the LoRA (alpha / r).")
    lora_dropout: Annotated[Number, Field(ge=0, lt=1)] = _added(0.05, "Dropout before the LoRA.")
    loss_on: Literal["text", "answer"] = _added(
        "text", "What the loss is taken of: the whole text (the original) or the answer."
    )
    max_length: Annotated[int, Field(ge=16)] = _added(512, "A sample is cut at so many tokens.")
    precision: Literal["auto", "bfloat16", "float32", "nf4"] = _added(
        "auto",
        "Of the frozen base model in training. auto: bfloat16, or nf4 where a GPU is too small for it; on a CPU without AMX, float32.",
    )
    optimizer: Literal["auto", "adamw_8bit", "adamw"] = _added(
        "auto", "auto: 8-bit AdamW (bitsandbytes) on a GPU, AdamW elsewhere."
    )
    micro_batch_tokens: AtLeastOne = _added(
        4096,
        "So many tokens go through the model at once; the samples of a step are accumulated. Halved when memory runs out.",
    )
    worker_threads: Count = _added(
        0, "CPU threads of the worker. 0: one on a machine with up to 4 cores, else half of them."
    )
    lease_seconds: Annotated[Number, Field(ge=2)] = _added(
        30.0, "A worker that says nothing for so long loses its round; the round is offered once more, then skipped."
    )
    worker_shares_folder: bool = _added(True, "false: the worker runs on another machine and uploads its adapters.")


class Inference(Section):
    """How the model is spoken to, and how it is served."""

    temperature: Annotated[Number, Field(ge=0, le=2)] = _original(0.4, "Of echoes and dataset answers.")
    max_tokens: AtLeastOne = _original(256, "The longest answer, in tokens.")
    num_generated_responses: Count = _original(
        6, "Echoes: extra answers to every visitor's prompt, made in the background."
    )
    top_p: Share = _original(0.9, "Of echoes and dataset answers.")
    system_prompts: dict[str, str] = _original(
        {"de": "Du fasst dich kurz und antwortest auf deutsch", "en": "You provide concise answers in english"},
        "The system prompt of each language; its keys are the languages one can choose.",
        min_length=1,
    )
    system_language: str = _original(
        "de", "What callers get who name no language: the window (`gui.py`) begins in it. In a run it is the run's own."
    )
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] = _original(1.0, "Of every answer.")
    num_context_messages: AtLeastOne = _original(6, "The conversation's window, the prompt being asked included.")
    context_length_switch: Count = _original(2, "From the arrival of this adapter on, the window is the late one.")
    late_num_context_messages: AtLeastOne = _original(1, "The late window.")
    visitor_temperature: Annotated[Number, Field(ge=0, le=2)] = _added(
        0.7, "Of a visitor's answer, where the request names none."
    )
    visitor_top_p: Share = _added(0.9, "Of a visitor's answer, where the request names none.")
    inference_host: str = _added(
        "127.0.0.1", "Where the inference service listens; from elsewhere only `/language` needs no key."
    )
    engine: Literal["auto", "vllm", "transformers"] = _added(
        "auto", "auto: vLLM where it is installed, else transformers."
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = _added("auto", "Of the served model. auto: bfloat16.")
    max_model_len: Count = _added(0, "The model's window in tokens. 0: the model's own, at most 4096.")
    max_num_batched_tokens: Count = _added(
        0,
        "Prompt tokens read in one step: fewer means smoother streams while echoes are read. 0: 128 on a CPU, 2048 on a GPU.",
    )
    max_num_seqs: AtLeastOne = _added(64, "Answers generated at the same time.")
    max_background_seqs: Count = _added(
        0, "Echoes and dataset answers generated at the same time; the others wait. 0: 4 on a CPU, 32 on a GPU."
    )
    gpu_memory_utilization: Share = _added(
        0.9, "Share of a GPU's memory for the engine; halved when it shares one with the worker."
    )
    kv_cache_gib: Positive = _added(1.0, "Memory for the engine's key-value cache on a CPU, in GiB.")
    cpu_threads: Count = _added(0, "CPU threads of the engine. 0: all cores but those of the worker.")


class Settings(Section):
    """Everything config.yaml says, with defaults for what it does not."""

    general: General = Field(default_factory=General)
    finetuning: Finetuning = Field(default_factory=Finetuning)
    inference: Inference = Field(default_factory=Inference)

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        languages = self.languages
        if self.inference.system_language not in languages:
            raise ValueError(
                f"inference.system_language: {self.inference.system_language!r} is not allowed; "
                f"allowed: a language of system_prompts ({', '.join(languages)})"
            )
        prompt = self.finetuning.persistent_prompt
        if isinstance(prompt, dict) and (missing := [name for name in languages if not prompt.get(name, "").strip()]):
            raise ValueError(
                f"finetuning.persistent_prompt: no text for {', '.join(missing)}; give one for each language"
            )
        if isinstance(prompt, str) and not prompt.strip():
            raise ValueError(
                "finetuning.persistent_prompt: '' is not allowed; allowed: a prompt, which seeds every run"
            )
        for host in self.general.osc_hosts:
            address, colon, port = host.rpartition(":")
            if not colon or not address or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"general.osc_hosts: {host!r} is not allowed; allowed: address:port, as 10.0.0.7:9000")
        if bool(self.general.osc_ip) != bool(self.general.osc_port):
            given, lacking = ("osc_ip", "osc_port") if self.general.osc_ip else ("osc_port", "osc_ip")
            raise ValueError(f"general.{lacking}: is missing although general.{given} is given; give both or neither")
        return self

    @property
    def languages(self) -> list[str]:
        """The languages a visitor can choose, in the order of `system_prompts`."""
        return list(self.inference.system_prompts)

    @property
    def osc_targets(self) -> list[tuple[str, int]]:
        """Every configured OSC host, as (address, port)."""
        targets = [(self.general.osc_ip, self.general.osc_port)] if self.general.osc_ip else []
        for host in self.general.osc_hosts:
            address, _, port = host.rpartition(":")
            targets.append((address.strip("[]"), int(port)))
        return targets

    @property
    def adapter_places(self) -> int:
        """How many adapters the engine holds at a time.

        One for each round, one more for what is replaced under way, and one for a reload by hand.
        """
        return self.finetuning.num_total_iters + 2

    def persistent_prompt(self, language: str) -> str:
        """The prompt that seeds a run in this language."""
        prompt = self.finetuning.persistent_prompt
        return prompt if isinstance(prompt, str) else prompt[language]

    def datasets_of(self, round_number: int) -> list[str]:
        """The datasets of a round; none beyond the end of `dataset_array`."""
        array = self.finetuning.dataset_array
        return array[round_number] if round_number < len(array) else []

    def notices(self) -> list[str]:
        """What an operator should be told about these settings although nothing is wrong with them."""
        told = []
        tuning = self.finetuning
        if len(tuning.dataset_array) < tuning.num_total_iters:
            told.append(
                f"finetuning.dataset_array names datasets for {len(tuning.dataset_array)} of {tuning.num_total_iters} "
                "iterations: the rest have no backup words and train on what visitors said alone."
            )
        if tuning.lr_precision != Finetuning().lr_precision:
            told.append("finetuning.lr_precision is obsolete and not used.")
        return told


def sections() -> dict[str, type[Section]]:
    """The sections of config.yaml by name."""
    return {"general": General, "finetuning": Finetuning, "inference": Inference}
