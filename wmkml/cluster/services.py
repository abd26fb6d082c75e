"""The services of a plan as supervised programs, each with the question whether it is ready.

Asks over HTTP, as anybody would; imports none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from wmkml.addresses import inference_url, owner_url
from wmkml.cluster.arguments import PROJECT
from wmkml.cluster.plan import Plan, Process
from wmkml.cluster.supervision import Program

Ready = Callable[[], str | None]
"""What a service is still waiting for, in a few words; None when it is ready."""

ASK_SECONDS = 2.0

STOP_SECONDS = {"inference": 15, "worker": 10, "owner": 10, "gui": 5}


@dataclass(frozen=True)
class Service:
    """A program under supervision, and how one sees that it is ready."""

    program: Program
    ready: Ready


def services_of(plan: Plan, settings_file: Path) -> list[Service]:
    """Every process of a plan, the owner first: its port answers before the heavy ones load their libraries."""
    ready: dict[str, Ready] = {
        "owner": lambda: owner_missing(owner_url(plan.settings)),
        "inference": lambda: inference_missing(inference_url(plan.settings)),
        "worker": lambda: worker_missing(owner_url(plan.settings)),
        "gui": lambda: None,
    }
    return [Service(_program(process, plan, settings_file), ready[process.name]) for process in plan.processes]


def _program(process: Process, plan: Plan, settings_file: Path) -> Program:
    settings = plan.settings
    command = (
        sys.executable,
        str(PROJECT / process.door),
        "--config",
        str(settings_file),
        # Without them a machine with no GPU would choose its own model over the one in the file.
        "--model",
        settings.general.model_name,
        "--engine",
        settings.inference.engine,
    )
    return Program(
        process.name,
        command,
        process.environment,
        restart="unexpected" if process.name == "gui" else "always",
        stop_seconds=STOP_SECONDS[process.name],
    )


def owner_missing(url: str) -> str | None:
    """What the owner is waiting for."""
    try:
        answer = httpx.get(f"{url}/healthz", timeout=ASK_SECONDS)
    except httpx.TransportError:
        return "starts"
    return None if answer.status_code == 200 else f"answers with status {answer.status_code}"


def inference_missing(url: str) -> str | None:
    """What the inference service is waiting for."""
    try:
        answer = httpx.get(f"{url}/healthz", timeout=ASK_SECONDS)
    except httpx.TransportError:
        return "starts"
    return None if answer.status_code == 200 else "loads the model"


def worker_missing(url: str) -> str | None:
    """What the worker is waiting for, as the owner sees it."""
    try:
        answer = httpx.get(f"{url}/state", timeout=ASK_SECONDS)
    except httpx.TransportError:
        return "waits for the owner"
    if answer.status_code != 200:
        return "waits for the owner"
    return "loads the model" if answer.json()["worker"] == "away" else None
