"""`--join HEAD --key KEY`: asks the head what a node shall serve, and makes this machine's settings fit it.

The key is kept in the data folder, so that it is given once.  What belongs to this machine (folders, ports, number formats,
arguments of vLLM, threads) is its own; the model and what adapters look like are the head's.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import httpx
from pydantic import ValidationError

from wmkml.config import Inference, Settings
from wmkml.launcher.launch import OWNER_PORT, CannotStartError
from wmkml.models.fingerprint import model_fingerprint
from wmkml.protocol.inference import NodeSettings

ASK_SECONDS = 5.0

RETRY_SECONDS = 2.0


def head_scheme(head: str) -> str:
    """`https` where `--join` names a head with a certificate so, else `http`."""
    return "https" if head.startswith("https://") else "http"


def head_address(head: str) -> tuple[str, int]:
    """Host and port of `--join`: `10.0.0.4`, `10.0.0.4:8000`, `http://10.0.0.4:8000` or `https://kunst.example.org:8000`.

    Raises:
        CannotStartError: it is none of these.
    """
    bare = head.removeprefix("http://").removeprefix("https://").rstrip("/")
    host, colon, port = bare.partition(":")
    if not host or "/" in bare or (colon and not port.isdigit()):
        raise CannotStartError(
            f"--join {head} is not allowed; allowed: the head's address, as 10.0.0.4 or 10.0.0.4:8000."
        )
    return host, int(port) if port else OWNER_PORT


def ask_head(
    host: str,
    port: int,
    key: str,
    report: Callable[[str], None],
    scheme: str = "http",
    verify: ssl.SSLContext | bool = True,
) -> NodeSettings:
    """What the head wants of its nodes; waits for a head that is not there yet.

    Args:
        verify: of a head with https, as httpx takes it.

    Raises:
        CannotStartError: it does not take the key, or has no nodes in its settings.
    """
    url = f"{scheme}://{host}:{port}/node/settings"
    reported = False
    while True:
        try:
            reply = httpx.get(url, headers={"X-Key": key}, timeout=ASK_SECONDS, trust_env=False, verify=verify)
        except httpx.TransportError as error:
            reason = f"nobody answers there ({type(error).__name__})"
        else:
            if reply.status_code == 200:
                return _read(reply, url)
            if reply.status_code == 401:
                raise CannotStartError("The head does not take this key. It prints the right command when it starts.")
            if reply.status_code == 404:
                raise CannotStartError(
                    f"{host}:{port} has no nodes in its settings. Put this machine's address into inference.nodes there, "
                    "and start it again."
                )
            reason = f"it answers with status {reply.status_code}"
        if not reported:
            report(f"Waiting for the head at {host}:{port}: {reason}. Ctrl-C ends it.")
            reported = True
        time.sleep(RETRY_SECONDS)


def _read(reply: httpx.Response, url: str) -> NodeSettings:
    try:
        return NodeSettings.model_validate_json(reply.content)
    except ValidationError:
        raise CannotStartError(f"{url} is not of this version: have the same release on head and node.") from None


def settings_of_node(settings: Settings, of_head: NodeSettings, host: str, port: int, model: str | None) -> Settings:
    """This machine's settings as a node of that head.

    Args:
        settings: this machine's own.
        of_head: what the head wants.
        host, port: the head's owner.
        model: the folder of the same model on this machine, where it is not at the head's path; None: by the head's name.
    """
    own = settings.inference
    general = {
        "model_name": model or of_head.model_name,
        "owner_host": host,
        "owner_port": port,
        "osc_ip": "",
        "osc_port": 0,
    }
    finetuning = {
        "num_total_iters": of_head.num_total_iters,
        "lora_r": of_head.lora_r,
        "lora_target_modules": of_head.lora_target_modules,
    }
    everywhere = own.inference_host == Inference().inference_host
    inference = {
        "max_model_len": of_head.max_model_len,
        "dtype": of_head.dtype if of_head.dtype in get_args(Inference.model_fields["dtype"].annotation) else "auto",
        "inference_host": "0.0.0.0" if everywhere else own.inference_host,
        "nodes": [],
        "url": "",
    }
    return settings.model_copy(
        update={
            "general": settings.general.model_copy(update={**general, "osc_hosts": []}),
            "finetuning": settings.finetuning.model_copy(update=finetuning),
            "inference": own.model_copy(update=inference),
        }
    )


def check_model(folder: Path, of_head: NodeSettings) -> None:
    """Return if this folder holds the head's model.

    Raises:
        CannotStartError: it holds another.
    """
    if model_fingerprint(folder) != of_head.fingerprint:
        raise CannotStartError(
            f"{folder} holds another model than the head serves ({of_head.model_name}), by its hash. Copy the head's folder "
            "here and name it with --model, or delete this one, so that it is fetched again."
        )
