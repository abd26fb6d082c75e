"""The services of a plan as supervised programs, each with a check over HTTP whether it is ready."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from wmkml.access.tls import owner_verification
from wmkml.config.addresses import inference_url, owner_url
from wmkml.config.paths import PROJECT
from wmkml.config.planned import planned_training
from wmkml.launcher.plan import Plan, Process
from wmkml.launcher.supervision.configuration import SHORTEST_LIFE_SECONDS, Program
from wmkml.launcher.supervision.liveness import Answers

PendingReason = Callable[[], str | None]
"""Returns what a service is still waiting for, in a few words; None when it is ready."""

REQUEST_SECONDS = 2.0
"""Timeout of a check; the cluster's start and end wait for it."""

_LOOPBACK = httpx.Client(verify=False, trust_env=False, timeout=REQUEST_SECONDS)
"""For plain HTTP to this cluster's own services, which no proxy of the environment is to be asked for.

Kept, and without certificates: they are read anew for every client, 20 ms of processor time in which a model could load.
"""

STOP_SECONDS = {"inference": 15, "node": 15, "worker": 10, "owner": 10, "gui": 5}
"""Seconds between SIGTERM and SIGKILL.  The sum of those of one machine must stay below `END_SECONDS` of supervision/cluster.py."""


START_SECONDS = {"worker": 10}
"""The worker needs some seconds to load its libraries before it can say that its settings or its GPU are wrong."""


EXPENDABLE = {"worker": 200, "inference": 100, "node": 100}
"""Which of them the kernel shall kill first when memory is short, in thousandths of the machine's memory.

A worker loses a round at most, and an engine answers again in half a minute.  The owner holds what visitors say; it is small, and
last.  No more than this: a foreign program that leaks is to be chosen before them when it has taken a fifth of the memory more.
"""


@dataclass(frozen=True)
class Service:
    """A supervised program, and the check whether it is ready."""

    program: Program
    pending_reason: PendingReason
    answers: Answers | None = None
    """Asks it whether it answers at all; None: it cannot be asked."""


def services_of(plan: Plan, settings_file: Path) -> list[Service]:
    """Every process of a plan, the owner first: its port answers before the others load their libraries."""
    to_owner = _LOOPBACK
    if plan.settings.general.tls_key:
        to_owner = httpx.Client(verify=owner_verification(plan.paths), trust_env=False, timeout=REQUEST_SECONDS)
    pending_reasons: dict[str, PendingReason] = {
        "owner": lambda: owner_pending_reason(owner_url(plan.settings), to_owner),
        "node": lambda: inference_pending_reason(inference_url(plan.settings)),
        "inference": lambda: inference_pending_reason(inference_url(plan.settings)),
        "worker": lambda: _worker_pending_reason(plan, to_owner),
        "gui": lambda: None,
    }
    urls = {
        "owner": owner_url(plan.settings),
        "inference": inference_url(plan.settings),
        "node": inference_url(plan.settings),
    }
    return [
        Service(
            _program(process, plan, settings_file),
            pending_reasons[process.name],
            answers_at(urls[process.name], to_owner if process.name == "owner" else _LOOPBACK)
            if process.name in urls
            else None,
        )
        for process in plan.processes
    ]


def answers_at(url: str, client: httpx.Client = _LOOPBACK) -> Answers:
    """Asks a service over HTTP whether it answers at all."""

    def answers() -> bool:
        try:
            client.get(f"{url}/healthz")
        except httpx.TransportError:
            return False
        return True

    return answers


def _program(process: Process, plan: Plan, settings_file: Path) -> Program:
    settings = plan.settings
    command = (
        sys.executable,
        str(PROJECT / process.door),
        "--config",
        str(settings_file),
        # Arguments win: on a machine without a GPU a process would otherwise replace the file's model by its own choice.
        "--model",
        settings.general.model_name,
        "--engine",
        settings.inference.engine,
        *(("--node",) if process.name == "node" else ()),
    )
    return Program(
        process.name,
        command,
        process.environment,
        restart="unexpected" if process.name == "gui" else "always",
        stop_seconds=STOP_SECONDS[process.name],
        start_seconds=START_SECONDS.get(process.name, SHORTEST_LIFE_SECONDS),
        expendable=EXPENDABLE.get(process.name, 0),
    )


def _worker_pending_reason(plan: Plan, to_owner: httpx.Client) -> str | None:
    reason = worker_pending_reason(owner_url(plan.settings), to_owner)
    [worker] = [process for process in plan.processes if process.name == "worker"]
    shares = planned_training(worker.environment).share is not None
    if reason is not None and shares and inference_pending_reason(inference_url(plan.settings)) is not None:
        return "waits for inference, which is first on their GPU"
    return reason


def owner_pending_reason(url: str, client: httpx.Client = _LOOPBACK) -> str | None:
    """What the owner is still waiting for; None when it is ready."""
    try:
        answer = client.get(f"{url}/healthz")
    except httpx.TransportError:
        return "starts"
    return None if answer.status_code == 200 else f"answers with status {answer.status_code}"


def inference_pending_reason(url: str) -> str | None:
    """What inference is still waiting for; None when it is ready."""
    try:
        answer = _LOOPBACK.get(f"{url}/healthz")
    except httpx.TransportError:
        return "starts"
    return None if answer.status_code == 200 else "loads the model"


def worker_pending_reason(url: str, client: httpx.Client = _LOOPBACK) -> str | None:
    """What the worker is still waiting for, as the owner sees it; None when it is ready."""
    try:
        answer = client.get(f"{url}/state")
    except httpx.TransportError:
        return "waits for the owner"
    if answer.status_code != 200:
        return "waits for the owner"
    return "loads the model" if answer.json()["worker"] == "away" else None
