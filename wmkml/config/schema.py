"""Every key of `config.yaml`: named, typed, bounded and described, section by section.

The sections `general`, `finetuning` and `inference` are the original installation's, with its keys, meanings and
defaults, so that an original `config.yaml` runs unchanged; keys declared with `_added` are new.  The tables in
`docs/settings.md` are generated from this file.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator


def _number(value: Any) -> Any:
    # YAML 1.1 reads 1e-4, without a dot, as a string.
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
    """A section of config.yaml.  Unknown keys are refused, and values are not converted to another type."""

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
        3, "How many GPUs are expected. Every GPU present is used; the plan says so where the number differs."
    )
    logging: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _original(
        "DEBUG",
        "Level of the log files. They hold no visitor's words at any level, unless `log_visitor_words` is true.",
    )
    osc_port: Port = _original(0, "Port of the OSC host for music and visuals. 0: no OSC host.")
    osc_ip: str = _original(
        "", "Address of the OSC host. Empty: no OSC host; the Tk window opens where there is a display."
    )
    verification_mode: bool = _original(
        False, "true: check every dataset at start and report every problem with file and line."
    )
    owner_host: str = _added("0.0.0.0", "Address the owner listens on. `127.0.0.1`: this machine only.")
    trusted_hosts: list[str] = _added(
        ["127.0.0.1", "::1"], "Addresses that may restart a run under way through `/language`, and reload adapters."
    )
    behind_proxy: bool = _added(
        False,
        "true: visitors come through a proxy, a tunnel or a forwarded port, so that everybody has this machine's address: "
        "`trusted_hosts` is trusted no more, and what it allows needs a key.",
    )
    trusted_proxies: list[str] = _added(
        [],
        "With `behind_proxy`: addresses or networks of the proxy, as `127.0.0.1`. From there alone `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed. Empty, as behind a tunnel, which writes neither: from nowhere.",
    )
    tls_certificate: str = _added(
        "",
        "The owner's certificate with its chain, in PEM, relative to config.yaml: pages are https then. A renewed file is used "
        "without a restart. Empty: plain HTTP.",
    )
    tls_key: str = _added("", "The certificate's key, in PEM, without a password.")
    hsts_seconds: Count = _added(
        0,
        "How long browsers that came by https refuse plain HTTP of this name, at every port (HSTS). 0: not said. Only where "
        "the certificate will be a valid one for as long.",
    )
    host_names: list[str] = _added(
        [],
        "More names under which browsers reach this installation, as `kunst.example.org`. With any, requests to another "
        "name are refused. Empty: from trusted hosts this machine's own names and addresses, from others any.",
    )
    max_connections: AtLeastOne = _added(
        2000,
        "Connections to the owner at the same time; a further one is closed with 503. Fewer where this user may open fewer "
        "files.",
    )
    max_connections_per_address: Count = _added(
        500, "As many of them from one address. 0: no limit; there is none with `behind_proxy` either."
    )
    osc_hosts: list[str] = _added([], "More OSC hosts, each as `address:port`.")
    osc_heartbeat_seconds: Seconds = _added(5.0, "Interval of `/heartbeat` and `/time_left`, in seconds. 0: never.")
    data_folder: str = _added("data", "Where runs, keys and logs are kept, relative to config.yaml.")
    models_folder: str = _added("models", "Where downloaded models are kept, relative to config.yaml.")
    datasets_folder: str = _added("Datasets", "Where the prompt sets are, relative to config.yaml.")
    allow_adult_datasets: bool = _added(
        False,
        "true: data sets that are marked `adult: true` (Datasets/README.md) may be used; else the start refuses them.",
    )
    stage_folder: str = _added(
        "stage",
        "The projection's mapping, texts and fonts, relative to config.yaml; changes appear when they are saved.",
    )
    words_folder: str = _added(
        "words",
        "Word lists of your own for `decency`, relative to config.yaml; a file takes the place of the shipped one of its name.",
    )
    log_visitor_words: bool = _added(
        False, "true: visitors' words may appear in the logs. The consent page then says so."
    )
    keep_runs: bool = _added(
        False,
        "true: a finished run's folder (conversations, adapters) stays on disk. false: it is deleted at the rebirth.",
    )
    autopsy: bool = _added(
        False,
        "true: during last words everybody may open `/autopsy` and ask every self of the language. false: who has the key "
        "of the stage or the operator, or comes from the desk. See docs/autopsy.md.",
    )
    keep_reports: Count = _added(
        200,
        "Reports of ended runs that stay in `data/reports`; the oldest goes first. They are numbers, unless `keep_runs` keeps "
        "the words too. 0: none is made.",
    )
    idle_seconds: Seconds = _added(
        90.0, "After this many seconds without a touch, a visitor's page forgets its visitor. 0: never."
    )
    on_idle: Literal["continue", "rebirth"] = _added(
        "continue",
        "What happens to a run when nobody has spoken or typed for `idle_seconds`. `rebirth`: it ends, and the next visitor "
        "finds the language as it was born.",
    )
    opening_hours: str = _added(
        "",
        "When visitors may talk, in OpenStreetMap's notation: `Mo-Fr 10:00-18:00; Sa,Su 12:00-18:00; PH off; Dec 24 off`. "
        "Empty: always.",
    )
    public_holidays: str = _added("DE", "The country whose public holidays `PH` means, as its two letters.")
    time_zone: str = _added("", "The time zone of `opening_hours`, as `Europe/Berlin`. Empty: the machine's.")
    farewell_seconds: Seconds = _added(
        120.0, "At closing time a run that is under way gets so many seconds for its last words; then it ends."
    )
    disk_quota_gib: Seconds = _added(
        0.0,
        "The most that runs, reports and logs may take together, in GiB: with more, ended runs, reports and rotated logs are "
        "deleted, the oldest first, never the run under way. 0: no limit.",
    )
    log_format: Literal["text", "json"] = _added(
        "text",
        "Form of the log lines of owner, inference and worker. json: an object in each line, for collectors of logs.",
    )
    expected_pages: list[Literal["visitor", "stage"]] = _added(
        ["visitor", "stage"],
        "With `opening_hours`: the pages that are open in a room of the exhibition. One that is missing for three minutes "
        "while it is open is a problem.",
    )
    expected_volume: Annotated[Number, Field(ge=0, le=150)] = _added(
        0.0,
        "The least volume of the stage's machine, in percent: while it is open, a sound output that is missing, muted or turned "
        "lower is a problem. Its kiosk looks (docs/exhibition.md). 0: nothing is expected, as where OSC makes the music.",
    )
    installation_name: str = _added("", "This installation's name in alerts. Empty: the machine's.")
    alert_url: Annotated[SecretStr, BeforeValidator(_secret)] = _added(
        SecretStr(""),
        "An address that gets each problem as JSON when it appears and when it goes (POST). Empty: none. Never shown, never "
        "logged. See docs/exhibition.md.",
        strict=False,
    )
    heartbeat_url: Annotated[SecretStr, BeforeValidator(_secret)] = _added(
        SecretStr(""),
        "An address that is called (GET) every `heartbeat_seconds` while the owner lives; who answers there can tell when "
        "it is dead. Empty: none. Never shown, never logged.",
        strict=False,
    )
    heartbeat_seconds: Annotated[Number, Field(ge=1)] = _added(60.0, "Interval of these calls, in seconds.")
    max_prompt_bytes: AtLeastOne = _added(
        65536, "The largest body of a visitor's request, in bytes; a larger one is refused (413)."
    )


class Finetuning(Section):
    """The run, its rounds, and how a round trains."""

    num_train_epochs: AtLeastOne = _original(2, "How often a round trains on each of its samples.")
    num_total_iters: AtLeastOne = _original(9, "How many rounds a run has.")
    learning_rate: Positive = _original(0.0015, "Learning rate of round 0.")
    learning_rate_increase: Number = _original(
        -0.0001, "Added to the learning rate with every round; the rate never goes below zero."
    )
    lr_precision: Count = _original(20, "Obsolete: accepted and not used.")
    batch_size: AtLeastOne = _original(256, "Samples in each batch; an optimizer step takes `grad_acc_steps` batches.")
    grad_acc_steps: AtLeastOne = _original(1, "Batches accumulated into one optimizer step.")
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
        40, "The most live pairs chosen for a round before its datasets top it up."
    )
    max_per_prompt: AtLeastOne = _original(
        20, "The most live pairs of the same prompt that are considered for a round."
    )
    similar_prompts_as_one: bool = _added(
        False,
        "true: for `max_per_prompt`, prompts that differ in digits, punctuation, spaces or case alone are one. "
        "false: any other character makes another prompt, as in the original.",
    )
    station_share: Share = _added(
        1.0,
        "The most of a round's samples that come from one station, as a share, where several stations have spoken. "
        "1: no limit, as in the original.",
    )
    sample_increase_by_iteration: Count = _original(15, "Samples added with every round.")
    recreate_iteration_0: bool = _original(
        False, "true: at start, the base model answers the datasets of round 0 again."
    )
    minimum_iteration_time: Seconds = _original(
        120.0, "The shortest time from a round's beginning until its adapter answers, in seconds."
    )
    dataloader_num_workers: Count = _original(
        2, "Accepted and not used: samples are tokenised all at once before a round."
    )
    delete_live_questions_at_start: bool = _original(
        True, "true: a new run trains on none of the earlier visitors' words."
    )
    lora_target_modules: list[str] = _original(["q_proj", "v_proj"], "The linear layers that get a LoRA.", min_length=1)
    duration_of_a_run: Positive = _original(1200.0, "The longest time that the rounds of a run may take, in seconds.")
    last_iteration_time: Seconds = _original(
        180.0, "Last words: how long visitors may still talk after the last round, in seconds."
    )
    lora_r: AtLeastOne = _added(16, "Rank of the LoRA.")
    lora_alpha: AtLeastOne = _added(32, "Alpha of the LoRA; its scale is alpha / r.")
    lora_dropout: Annotated[Number, Field(ge=0, lt=1)] = _added(0.05, "Dropout probability before the LoRA.")
    loss_on: Literal["text", "answer"] = _added(
        "text", "What the loss covers: the whole text (as in the original) or the answer alone."
    )
    max_length: Annotated[int, Field(ge=16)] = _added(512, "The longest sample, in tokens; a longer one is cut.")
    precision: Literal["auto", "bfloat16", "float32", "nf4"] = _added(
        "auto",
        "Number format of the frozen base model in training. "
        "auto: bfloat16; nf4 on a GPU too small for it (the plan decides); float32 on a CPU without AMX.",
    )
    optimizer: Literal["auto", "adamw_8bit", "adamw"] = _added(
        "auto", "The optimizer. auto: 8-bit AdamW (bitsandbytes) on a GPU, AdamW elsewhere."
    )
    micro_batch_tokens: AtLeastOne = _added(
        4096,
        "The most tokens that go through the model at once; a step is accumulated from such parts. The plan halves it "
        "for a small GPU, the worker when memory runs out and, to 1,024, on a CPU, where more is slower.",
    )
    liger: bool = _added(
        True,
        "true: train with Liger's kernels on a GPU, where liger-kernel is installed, knows the model, and computes what "
        "the model computes without it (checked at start). false: never.",
    )
    packing: bool = _added(
        True,
        "true: train without padding on a GPU that torch's FlashAttention runs on, if it computes the same (checked at "
        "start). false: always pad each batch to its longest sample, as on a CPU.",
    )
    devices: Count = _added(
        1,
        "How many GPUs train a round together; on a machine without one, processes on the CPU. "
        "0: the plan decides: one, those that `inference.tensor_parallel_size` leaves over, and more where one cannot hold "
        "the model.",
    )
    parallel: Literal["auto", "ddp", "fsdp"] = _added(
        "auto",
        "With several `devices`: ddp: each holds the whole model and trains its share of the samples; fsdp: each holds a "
        "part of the model besides. auto: ddp where the model fits (the plan decides).",
    )
    worker_threads: Count = _added(
        0,
        "CPU threads of the worker. 0: one on a machine with up to 4 cores, else half of them; "
        "with a GPU a quarter, at most 8.",
    )
    lease_seconds: Annotated[Number, Field(ge=2)] = _added(
        30.0,
        "After this many seconds without a report a worker loses its round, which is offered once more, then skipped.",
    )
    worker_shares_folder: bool = _added(True, "false: the worker runs on another machine and uploads its adapters.")


class Inference(Section):
    """How the model is prompted, and how it is served."""

    temperature: Annotated[Number, Field(ge=0, le=2)] = _original(
        0.4, "Sampling temperature of echoes and dataset answers."
    )
    max_tokens: AtLeastOne = _original(256, "The longest answer, in tokens.")
    num_generated_responses: Count = _original(
        6, "Echoes: how many extra answers to every visitor's prompt are generated in the background."
    )
    top_p: Share = _original(0.9, "Nucleus (top-p) of echoes and dataset answers.")
    system_prompts: dict[str, str] = _original(
        {"de": "Du fasst dich kurz und antwortest auf deutsch", "en": "You provide concise answers in english"},
        "The system prompt of each language; its keys are the languages that can be chosen.",
        min_length=1,
    )
    system_language: str = _original(
        "de",
        "The language of requests that name none (in a run: the run's), and of the window (`gui.py`) at first.",
    )
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] = _original(1.0, "Frequency penalty of every answer.")
    num_context_messages: AtLeastOne = _original(
        6, "The conversation's window: how many prompts the model sees, the new one included."
    )
    context_length_switch: Count = _original(
        2, "The iteration from which on the window is `late_num_context_messages`."
    )
    late_num_context_messages: AtLeastOne = _original(
        1, "The conversation's window from iteration `context_length_switch` on."
    )
    visitor_temperature: Annotated[Number, Field(ge=0, le=2)] = _added(
        0.7, "Sampling temperature of a visitor's answer, where the request names none."
    )
    visitor_top_p: Share = _added(0.9, "Nucleus (top-p) of a visitor's answer, where the request names none.")
    prompts_per_station: Count = _added(
        0,
        "Prompts of one station that are answered at the same time; its further ones wait for their turn. 0: no limit. "
        "Callers that name no station are one.",
    )
    panel_answers: Count = _added(
        8,
        "How many answers every iteration gives to each prompt of the panel, in the background and after everything else, "
        "to be measured; see docs/measures.md. 0: no panel.",
    )
    panel_words: AtLeastOne = _added(
        16, "So many first words of the panel's answers are compared; shorter answers are not compared."
    )
    panel_prompts: str = _added(
        "", "The panel's prompts, a YAML file, relative to config.yaml. Empty: wmkml/measures/panel/panel.yaml."
    )
    inference_host: str = _added(
        "127.0.0.1", "Address the inference service listens on; from other machines only `/language` needs no key."
    )
    engine: Literal["auto", "vllm", "transformers", "remote"] = _added(
        "auto",
        "What turns messages into tokens. auto: vLLM where it is installed, else transformers; with `url` the deployment "
        "there (remote).",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = _added(
        "auto", "Number format of the served model. auto: bfloat16."
    )
    quantization: Literal["auto", "none", "fp8", "awq", "gptq"] = _added(
        "auto",
        "Number format of the served weights with vLLM on a GPU. auto: fp8 where `dtype` does not fit the GPU, else as "
        "`none`, which takes the weights as the model's folder has them; fp8 makes them at start; awq and gptq need a "
        "folder in that format.",
    )
    max_model_len: Count = _added(0, "The model's window in tokens. 0: the model's own, at most 4096.")
    max_num_batched_tokens: Count = _added(
        0,
        "Prompt tokens read in one step; fewer make streams smoother beside echoes. 0: 128 on a CPU, 2048 on a GPU.",
    )
    max_num_seqs: AtLeastOne = _added(64, "Answers generated at the same time.")
    max_background_seqs: Count = _added(
        0, "Echoes and dataset answers generated at the same time; others wait. 0: 4 on a CPU, 32 on a GPU."
    )
    gpu_memory_utilization: Share = _added(
        0.9,
        "Share of a GPU's memory for the engine; halved when the engine shares the GPU with the worker. "
        "Never less than the model needs.",
    )
    kv_cache_gib: Positive = _added(1.0, "Memory for the engine's key-value cache on a CPU, in GiB.")
    cpu_threads: Count = _added(
        0, "CPU threads of the engine. 0: all cores but those of the worker; with a GPU a quarter, at most 8."
    )
    tensor_parallel_size: AtLeastOne = _added(
        1,
        "How many GPUs hold one copy of the model together (vLLM), for a model that one GPU cannot hold. As many copies "
        "serve as there are GPUs for.",
    )
    engine_args: dict[str, Any] = _added(
        {},
        "More arguments of vLLM's `AsyncEngineArgs`, by name. Those that this project sets itself are refused.",
    )
    nodes: list[str] = _added(
        [],
        "Other machines that answer too, each as `address` or `address:port` (8011); there `./master_script.sh --join` "
        "starts them. See docs/machines.md.",
    )
    url: str = _added(
        "",
        "A deployment of vLLM elsewhere that answers in place of an engine here, as http://10.0.0.9:8000. Empty: none. "
        "See docs/machines.md.",
    )
    url_key: Annotated[SecretStr, BeforeValidator(_secret)] = _added(
        SecretStr(""),
        "The key (bearer token) that the deployment at `url` wants. Never shown, never logged.",
        strict=False,
    )
    url_model: str = _added("", "The base model's name at `url`. Empty: the first that it lists.")
    url_adapters: str = _added(
        "", "The folder in which the deployment at `url` finds what is in data/serving here. Empty: the same path."
    )
    url_adapter_name: str = _added(
        "{name}",
        "An adapter's model name at `url`. `{name}` for vLLM; for Ray Serve, which finds adapters by their folders, "
        "`MODEL:{name}`.",
    )


class Decency(Section):
    """What is not repeated to a room: entries of the word lists (docs/decency.md), replaced by "…". All of it is off by default."""

    visitor: bool = _added(False, "true: in the answers that a visitor reads.")
    stage: bool = _added(False, "true: in what the stage shows and OSC carries, prompts too.")
    card: bool = _added(False, "true: on the take-home card.")
    training: bool = _added(False, "true: no round trains on a pair with such a word in its prompt or answer.")
    help_line: dict[str, str] = _added(
        {},
        "A line of help for a visitor who writes of harming themselves; it is shown on their own page alone, and their pair is "
        "neither trained on nor shown. Empty: none. See docs/decency.md.",
    )


class Privacy(Section):
    """The pages `/privacy` and `/imprint`: texts, or one for each language (docs/decency.md). Without them there are none."""

    controller: str | dict[str, str] = _added(
        "", "Who is responsible: name and address. Empty: no page on privacy, and no link to it."
    )
    contact: str | dict[str, str] = _added("", "How the controller, or its data protection officer, is reached.")
    purpose: str | dict[str, str] = _added("", "What the words are processed for.")
    legal_basis: str | dict[str, str] = _added("", "By what right, as `Art. 6 (1) a GDPR: consent`.")
    hosting: str | dict[str, str] = _added("", "Where the machine is, and whose it is.")
    imprint: str | dict[str, str] = _added("", "The imprint. Empty: no such page.")


NODE_PORT = 8011
"""Where a node listens that is named without a port."""


def _with_port(node: str) -> str:
    # An IPv6 address stands in brackets where a port follows.
    has_port = "]:" in node or (node.count(":") == 1)
    return node if has_port else f"{node}:{NODE_PORT}"


class Settings(Section):
    """All settings: those of config.yaml, and defaults for the others."""

    general: General = Field(default_factory=General)
    finetuning: Finetuning = Field(default_factory=Finetuning)
    inference: Inference = Field(default_factory=Inference)
    decency: Decency = Field(default_factory=Decency)
    privacy: Privacy = Field(default_factory=Privacy)

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
        self._check_opening_hours()
        self._check_url()
        self._check_proxies_and_certificate()
        for node in self.inference.nodes:
            host, _, port = _with_port(node).rpartition(":")
            if not host or "/" in node or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(
                    f"inference.nodes: {node!r} is not allowed; allowed: address or address:port, as 10.0.0.7"
                )
        if bool(self.general.osc_ip) != bool(self.general.osc_port):
            given, lacking = ("osc_ip", "osc_port") if self.general.osc_ip else ("osc_port", "osc_ip")
            raise ValueError(f"general.{lacking}: is missing although general.{given} is given; give both or neither")
        return self

    @property
    def node_addresses(self) -> list[str]:
        """Every node as host and port."""
        return [_with_port(node) for node in self.inference.nodes]

    def _check_opening_hours(self) -> None:
        general = self.general
        if general.opening_hours:
            from wmkml.config.opening_hours import opening_hours_problem

            problem = opening_hours_problem(general.opening_hours, general.public_holidays, general.time_zone)
            if problem:
                raise ValueError(problem)

    def _check_proxies_and_certificate(self) -> None:
        general = self.general
        for proxy in general.trusted_proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(
                    f"general.trusted_proxies: {proxy!r} is not allowed; allowed: an address or a network, as 127.0.0.1"
                ) from None
        if general.trusted_proxies and not general.behind_proxy:
            raise ValueError("general.trusted_proxies: is given although general.behind_proxy is false; set that too")
        if general.tls_key and not general.tls_certificate:
            raise ValueError("general.tls_certificate: is missing although general.tls_key is given; give both")

    def _check_url(self) -> None:
        inference = self.inference
        if inference.engine == "remote" and not inference.url:
            raise ValueError("inference.url: '' is not allowed; allowed: an address, since inference.engine is remote")
        if inference.url and inference.engine in ("vllm", "transformers"):
            raise ValueError(
                f"inference.engine: {inference.engine!r} is not allowed; allowed: auto or remote, since inference.url is given"
            )
        if inference.url and not inference.url.startswith(("http://", "https://")):
            raise ValueError(f"inference.url: {inference.url!r} is not allowed; allowed: http://… or https://…")
        if inference.url_adapter_name.count("{name}") != 1:
            raise ValueError(
                f"inference.url_adapter_name: {inference.url_adapter_name!r} is not allowed; allowed: a text with {{name}} in it"
            )

    @property
    def trusted_hosts(self) -> list[str]:
        """The addresses that are trusted; none behind a proxy, where everybody has the proxy's."""
        return [] if self.general.behind_proxy else self.general.trusted_hosts

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
    def max_loaded_adapters(self) -> int:
        """How many adapters the engine can hold at a time.

        One for each round, one that is replaced under way, and one that is reloaded by hand.
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
        """Sentences that an operator should read about these settings, although none of them is wrong."""
        notices = []
        tuning = self.finetuning
        if len(tuning.dataset_array) < tuning.num_total_iters:
            notices.append(
                f"finetuning.dataset_array names datasets for {len(tuning.dataset_array)} of {tuning.num_total_iters} "
                "iterations: the rest have no backup words and train on what visitors said alone."
            )
        if tuning.lr_precision != Finetuning().lr_precision:
            notices.append("finetuning.lr_precision is obsolete and not used.")
        return notices


def sections() -> dict[str, type[Section]]:
    """The sections of config.yaml by name."""
    return {
        "general": General,
        "finetuning": Finetuning,
        "inference": Inference,
        "decency": Decency,
        "privacy": Privacy,
    }
