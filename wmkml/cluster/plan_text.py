"""A plan as an operator reads it: `--plan`.  Secrets stay masked.  Decides nothing."""

from __future__ import annotations

from typing import Any

from wmkml.cluster.plan import Device, Plan, Process
from wmkml.config import UNDERSTUDY, differences


def told(plan: Plan) -> str:
    """The whole plan as text, lines under 120 characters where the settings allow it."""
    settings, places, machine = plan.settings, plan.places, plan.machine
    general, inference = settings.general, settings.inference
    pretended = " (pretended, WMKML_GPUS)" if machine.gpus_pretended else ""
    osc = ", ".join(f"{host}:{port}" for host, port in settings.osc_targets) or "none"
    lines = [
        "What runs where",
        *(f"  {process.name:<10} {_where(process, plan)}" for process in plan.processes),
        "",
        f"  engine     {inference.engine}",
        f"  model      {general.model_name}{' (ships with the project)' if general.model_name == UNDERSTUDY else ''}: "
        f"{_count(plan.shape.parameters)} weights, {plan.shape.known}",
        f"  machine    {len(machine.gpus)} GPU{'' if len(machine.gpus) == 1 else 's'}{pretended}, "
        f"{machine.cores} cores, {machine.memory_gib:.0f} GiB of memory",
        f"  ports      owner {general.owner_host}:{general.owner_port}, "
        f"inference {inference.inference_host}:{general.inference_port}",
        f"  OSC hosts  {osc}",
        "",
        "Folders",
        f"  model      {places.model}",
        f"  data       {places.data}",
        f"  logs       {places.logs}",
        f"  datasets   {places.datasets}",
        f"  models     {places.models}",
        "",
        "Expected memory",
        *(line for device in plan.devices for line in _memory(device)),
        "",
        "Settings that differ from their defaults",
        *(
            [
                f"  {key} = {_shown(value)}   (default {_shown(usual)})"
                for key, (value, usual) in differences(settings).items()
            ]
            or ["  none"]
        ),
    ]
    if plan.notices:
        lines += ["", "To be noted", *(f"  - {notice}" for notice in plan.notices)]
    return "\n".join(lines)


def _where(process: Process, plan: Plan) -> str:
    threads = f", {process.threads} thread{'' if process.threads == 1 else 's'}" if process.threads else ""
    if process.name in ("owner", "gui"):
        return f"CPU                    {process.door}"
    if not process.gpus:
        place = f"CPU{threads}"
    elif len(process.gpus) == 1:
        shared = len(plan.machine.gpus) == 1
        place = f"GPU {process.gpus[0]}{' (shared)' if shared else ''}{threads}"
    else:
        place = f"GPUs {', '.join(map(str, process.gpus))} (data parallel × {len(process.gpus)}){threads}"
    return f"{place:<22} {process.door}"


def _memory(device: Device) -> list[str]:
    lines = [f"  {device.name}: {device.expected_gib:.1f} of {device.gib:.1f} GiB"]
    lines += [f"    {held.process:<10} {held.gib:7.2f} GiB  {held.part}" for held in device.holdings]
    return lines


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e8 else f"{parameters / 1e6:.1f}M"


def _shown(value: Any) -> str:
    return '""' if value == "" else str(value)
