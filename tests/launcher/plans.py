"""Plans for machines that are described, not detected."""

from __future__ import annotations

from pathlib import Path

from wmkml.config import Settings
from wmkml.config.paths import paths_of
from wmkml.launcher.machine import Machine
from wmkml.launcher.memory.model import shape_of
from wmkml.launcher.plan import Plan, Process, make_plan
from wmkml.system.gpus import pretended_gpus

MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"


def machine(gpus: int, gib: float = 80.0, cores: int = 32, display: bool = False, pretended: bool = True) -> Machine:
    return Machine(pretended_gpus(f"{gpus}x{gib:g}"), cores, 256.0, display, vllm=True, gpus_pretended=pretended)


def plan_for(
    on: Machine,
    model: str = MISTRAL,
    engine: str = "vllm",
    root: Path = Path("/nowhere"),
    **sections: dict[str, object],
) -> Plan:
    content = {name: dict(values) for name, values in sections.items()}
    content.setdefault("general", {}).setdefault("model_name", model)
    content.setdefault("inference", {}).setdefault("engine", engine)
    settings = Settings.model_validate(content)
    where = paths_of(settings, root)
    return make_plan(settings, on, where, shape_of(settings.general.model_name, where.model))


def process_of(plan: Plan, name: str) -> Process:
    (match,) = [process for process in plan.processes if process.name == name]
    return match
