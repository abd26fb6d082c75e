"""The section `general` of config.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from wmkml.config.sections.declaring import (
    AtLeastOne,
    Count,
    Number,
    Port,
    Seconds,
    SecretAddress,
    Section,
    added,
    none_is_empty,
    original,
)


class General(Section):
    """Names, ports, hosts and folders."""

    model_name: str = original(
        "mistralai/Mistral-7B-Instruct-v0.3",
        "The model that dies: a hub id, a folder, or `understudy`. Without a GPU the understudy runs instead.",
    )
    hf_token: Annotated[SecretStr, BeforeValidator(none_is_empty)] = original(
        SecretStr(""), "Token for gated models on the hub. Never shown, never logged.", strict=False
    )
    available_datasets: list[str] = original([], "The folders under `Datasets/` that may be used. Empty: all of them.")
    owner_port: Port = original(8000, "Port of the owner: pages, visitors, operator, worker.")
    inference_port: Port = original(8011, "Port of the inference service.")
    available_gpus: Count = original(
        3, "How many GPUs are expected. Every GPU present is used; the plan says so where the number differs."
    )
    logging: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = original(
        "DEBUG",
        "Level of the log files. They hold no visitor's words at any level, unless `log_visitor_words` is true.",
    )
    osc_port: Port = original(0, "Port of the OSC host for music and visuals. 0: no OSC host.")
    osc_ip: str = original(
        "", "Address of the OSC host. Empty: no OSC host; the Tk window opens where there is a display."
    )
    verification_mode: bool = original(
        False, "true: check every dataset at start and report every problem with file and line."
    )
    owner_host: str = added("0.0.0.0", "Address the owner listens on. `127.0.0.1`: this machine only.")
    trusted_hosts: list[str] = added(
        ["127.0.0.1", "::1"], "Addresses that may restart a run under way through `/language`, and reload adapters."
    )
    behind_proxy: bool = added(
        False,
        "true: visitors come through a proxy, a tunnel or a forwarded port, so that everybody has this machine's address: "
        "`trusted_hosts` is trusted no more, and what it allows needs a key.",
    )
    trusted_proxies: list[str] = added(
        [],
        "With `behind_proxy`: addresses or networks of the proxy, as `127.0.0.1`. From there alone `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed. Empty, as behind a tunnel, which writes neither: from nowhere.",
    )
    tls_certificate: str = added(
        "",
        "The owner's certificate with its chain, in PEM, relative to config.yaml: pages are https then. A renewed file is used "
        "without a restart. Empty: plain HTTP.",
    )
    tls_key: str = added("", "The certificate's key, in PEM, without a password.")
    hsts_seconds: Count = added(
        0,
        "How long browsers that came by https refuse plain HTTP of this name, at every port (HSTS). 0: not said. Only where "
        "the certificate will be a valid one for as long.",
    )
    host_names: list[str] = added(
        [],
        "More names under which browsers reach this installation, as `kunst.example.org`. With any, requests to another "
        "name are refused. Empty: from trusted hosts this machine's own names and addresses, from others any.",
    )
    max_connections: AtLeastOne = added(
        2000,
        "Connections to the owner at the same time; a further one is closed with 503. Fewer where this user may open fewer "
        "files.",
    )
    max_connections_per_address: Count = added(
        500, "As many of them from one address. 0: no limit; there is none with `behind_proxy` either."
    )
    osc_hosts: list[str] = added([], "More OSC hosts, each as `address:port`.")
    osc_heartbeat_seconds: Seconds = added(5.0, "Interval of `/heartbeat` and `/time_left`, in seconds. 0: never.")
    data_folder: str = added("data", "Where runs, keys and logs are kept, relative to config.yaml.")
    models_folder: str = added("models", "Where downloaded models are kept, relative to config.yaml.")
    datasets_folder: str = added("Datasets", "Where the prompt sets are, relative to config.yaml.")
    allow_adult_datasets: bool = added(
        False,
        "true: data sets that are marked `adult: true` (Datasets/README.md) may be used; else the start refuses them.",
    )
    stage_folder: str = added(
        "stage",
        "The projection's mapping, texts and fonts, relative to config.yaml; changes appear when they are saved.",
    )
    words_folder: str = added(
        "words",
        "Word lists of your own for `decency`, relative to config.yaml; a file takes the place of the shipped one of its name.",
    )
    log_visitor_words: bool = added(
        False, "true: visitors' words may appear in the logs. The consent page then says so."
    )
    keep_runs: bool = added(
        False,
        "true: a finished run's folder (conversations, adapters) stays on disk. false: it is deleted at the rebirth.",
    )
    autopsy: bool = added(
        False,
        "true: during last words everybody may open `/autopsy` and ask every self of the language. false: who has the key "
        "of the stage or the operator, or comes from the desk. See docs/autopsy.md.",
    )
    keep_reports: Count = added(
        200,
        "Reports of ended runs that stay in `data/reports`; the oldest goes first. They are numbers, unless `keep_runs` keeps "
        "the words too. 0: none is made.",
    )
    idle_seconds: Seconds = added(
        90.0, "After this many seconds without a touch, a visitor's page forgets its visitor. 0: never."
    )
    on_idle: Literal["continue", "rebirth"] = added(
        "continue",
        "What happens to a run when nobody has spoken or typed for `idle_seconds`. `rebirth`: it ends, and the next visitor "
        "finds the language as it was born.",
    )
    opening_hours: str = added(
        "",
        "When visitors may talk, in OpenStreetMap's notation: `Mo-Fr 10:00-18:00; Sa,Su 12:00-18:00; PH off; Dec 24 off`. "
        "Empty: always.",
    )
    public_holidays: str = added("DE", "The country whose public holidays `PH` means, as its two letters.")
    time_zone: str = added("", "The time zone of `opening_hours`, as `Europe/Berlin`. Empty: the machine's.")
    farewell_seconds: Seconds = added(
        120.0, "At closing time a run that is under way gets so many seconds for its last words; then it ends."
    )
    disk_quota_gib: Seconds = added(
        0.0,
        "The most that runs, reports and logs may take together, in GiB: with more, ended runs, reports and rotated logs are "
        "deleted, the oldest first, never the run under way. 0: no limit.",
    )
    log_format: Literal["text", "json"] = added(
        "text",
        "Form of the log lines of owner, inference and worker. json: an object in each line, for collectors of logs.",
    )
    expected_pages: list[Literal["visitor", "stage"]] = added(
        ["visitor", "stage"],
        "With `opening_hours`: the pages that are open in a room of the exhibition. One that is missing for three minutes "
        "while it is open is a problem.",
    )
    expected_volume: Annotated[Number, Field(ge=0, le=150)] = added(
        0.0,
        "The least volume of the stage's machine, in percent: while it is open, a sound output that is missing, muted or turned "
        "lower is a problem. Its kiosk looks (docs/exhibition.md). 0: nothing is expected, as where OSC makes the music.",
    )
    installation_name: str = added("", "This installation's name in alerts. Empty: the machine's.")
    alert_url: SecretAddress = added(
        SecretStr(""),
        "An address that gets each problem as JSON when it appears and when it goes (POST). Empty: none. Never shown, never "
        "logged. See docs/exhibition.md.",
        strict=False,
    )
    heartbeat_url: SecretAddress = added(
        SecretStr(""),
        "An address that is called (GET) every `heartbeat_seconds` while the owner lives; who answers there can tell when "
        "it is dead. Empty: none. Never shown, never logged.",
        strict=False,
    )
    heartbeat_seconds: Annotated[Number, Field(ge=1)] = added(60.0, "Interval of these calls, in seconds.")
    max_prompt_bytes: AtLeastOne = added(
        65536, "The largest body of a visitor's request, in bytes; a larger one is refused (413)."
    )
