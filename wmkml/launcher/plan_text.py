"""A plan as text for the operator: `--plan`.  Secrets are masked."""

from __future__ import annotations

from typing import Any

from wmkml.config import UNDERSTUDY, non_default_settings
from wmkml.launcher.memory.devices import Device
from wmkml.launcher.plan import Plan, Process, copies_of


def plan_text(plan: Plan) -> str:
    """The whole plan, in lines under 120 characters where the settings allow it."""
    settings, paths, machine = plan.settings, plan.paths, plan.machine
    general, inference = settings.general, settings.inference
    pretended = " (pretended, WMKML_GPUS)" if machine.gpus_pretended else ""
    osc = ", ".join(f"{host}:{port}" for host, port in settings.osc_targets) or "none"
    lines = [
        "What runs where",
        *(f"  {process.name:<10} {_place(process, plan)}" for process in plan.processes),
        "",
        f"  engine     {inference.engine}{f' at {inference.url}' if inference.engine == 'remote' else ''}",
        f"  model      {general.model_name}{' (ships with the project)' if general.model_name == UNDERSTUDY else ''}: "
        f"{_count(plan.shape.parameters)} weights, {plan.shape.source}",
        f"  machine    {len(machine.gpus)} GPU{'' if len(machine.gpus) == 1 else 's'}{pretended}, "
        f"{machine.cores} cores, {machine.memory_gib:.0f} GiB of memory",
        f"  ports      owner {general.owner_host}:{general.owner_port}, "
        f"inference {inference.inference_host}:{general.inference_port}",
        f"  OSC hosts  {osc}",
        *(f"  node       {address}, by its own plan: --join … --plan there" for address in settings.node_addresses),
        "",
        "Folders",
        f"  model      {paths.model}",
        f"  data       {paths.data}",
        f"  logs       {paths.logs}",
        f"  datasets   {paths.datasets}",
        f"  models     {paths.models}",
        "",
        "Expected memory",
        *(line for device in plan.devices for line in _memory_lines(device)),
        "",
        "Settings that differ from their defaults",
        *(
            [
                f"  {key} = {_shown(value)}   (default {_shown(default)})"
                for key, (value, default) in non_default_settings(settings).items()
            ]
            or ["  none"]
        ),
    ]
    if plan.refusals:
        lines += ["", "What keeps it from starting", *(f"  - {refusal}" for refusal in plan.refusals)]
    if plan.notices:
        lines += ["", "To be noted", *(f"  - {notice}" for notice in plan.notices)]
    return "\n".join(lines)


def _place(process: Process, plan: Plan) -> str:
    threads = f", {process.threads} thread{'' if process.threads == 1 else 's'}" if process.threads else ""
    if process.name in ("owner", "gui"):
        return f"CPU                    {process.door}"
    if process.name == "inference" and plan.settings.inference.engine == "remote":
        place = "CPU, asks elsewhere"
    elif not process.gpus:
        place = f"CPU{threads}"
    elif len(process.gpus) == 1:
        shared = sum(process.gpus[0] in other.gpus for other in plan.processes) > 1
        place = f"GPU {process.gpus[0]}{' (shared)' if shared else ''}{threads}"
    elif process.name == "worker":
        how = "weights divided, fsdp" if plan.settings.finetuning.parallel == "fsdp" else "data parallel"
        place = f"GPUs {', '.join(map(str, process.gpus))} ({how} × {len(process.gpus)}){threads}"
    else:
        copies = copies_of(plan.settings, process.gpus)
        ways = {"data": copies, "tensor": len(process.gpus) // copies}
        how = ", ".join(f"{way} parallel × {count}" for way, count in ways.items() if count > 1)
        place = f"GPUs {', '.join(map(str, process.gpus))} ({how}){threads}"
    return f"{place:<22} {process.door}"


def _memory_lines(device: Device) -> list[str]:
    lines = [f"  {device.name}: {device.expected_gib:.1f} of {device.gib:.1f} GiB"]
    lines += [f"    {holding.process:<10} {holding.gib:7.2f} GiB  {holding.part}" for holding in device.holdings]
    return lines


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e8 else f"{parameters / 1e6:.1f}M"


def _shown(value: Any) -> str:
    return '""' if value == "" else str(value)
