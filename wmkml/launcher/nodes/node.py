"""This machine as a node: asks the head, plans, starts the engine under supervision, and runs until a signal ends it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from wmkml.access.node_key import load_node_key
from wmkml.access.tls import CertificateError, owner_verification
from wmkml.config.arguments import ResolvedSettings
from wmkml.config.paths import paths_of
from wmkml.engine.choice import choose_engine
from wmkml.launcher.launch import CannotStartError, launch, report
from wmkml.launcher.machine import Machine
from wmkml.launcher.memory.model import shape_of
from wmkml.launcher.nodes.joining import ask_head, check_model, head_address, head_scheme, settings_of_node
from wmkml.launcher.nodes.node_plan import make_node_plan
from wmkml.launcher.plan_text import plan_text


def run_node(resolved: ResolvedSettings, machine: Machine, head: str, model: str | None, *, only_plan: bool) -> int:
    """Be a node of the head until a signal ends it; returns the exit status.

    Args:
        resolved: this machine's own settings.
        head: as `--join` names it.
        model: as `--model` names it; None: by the head's name for it.
        only_plan: print what would run here, and start nothing.

    Raises:
        CannotStartError: something must be fixed first.
    """
    host, port = head_address(head)
    paths = paths_of(resolved.settings, resolved.root)
    if not paths.node_key.exists():
        raise CannotStartError("--join needs --key: the head prints both when it starts.")
    try:
        verify = owner_verification(paths)
    except CertificateError as error:
        raise CannotStartError(str(error)) from None
    of_head = ask_head(host, port, load_node_key(paths), report, head_scheme(head), verify)
    settings = settings_of_node(resolved.settings, of_head, host, port, model)
    settings = choose_engine(settings, vllm=machine.vllm)
    paths = paths_of(settings, resolved.root)
    plan = make_node_plan(settings, machine, paths, shape_of(settings.general.model_name, paths.model))
    plan = replace(plan, notices=(*plan.notices, f"Node of {host}:{port}: model and adapters are as the head says."))
    if only_plan:
        print(plan_text(plan))
        return 0
    return launch(plan, make=make_node_plan, check_model=partial(check_model, of_head=of_head))
