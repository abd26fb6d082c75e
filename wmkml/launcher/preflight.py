"""What the doctor is told of an installation: its settings, folders, ports, model and plan, looked at before a start.

Changes nothing.  The launcher asks for the quick facts and refuses to start where the doctor's findings say so;
`python -m wmkml doctor` also measures.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from wmkml.access.keys import load_keys
from wmkml.access.pin import load_pin
from wmkml.access.tls import CertificateError, check_certificate
from wmkml.config import UNDERSTUDY
from wmkml.config.paths import PAGES, PROJECT, Paths
from wmkml.config.planned import READY_TIMEOUT
from wmkml.corpora import check_datasets, is_adult, list_datasets, read_dataset
from wmkml.doctor.examination import examine, sentence
from wmkml.doctor.facts import (
    DatasetFacts,
    DeviceFacts,
    Facts,
    InstallationFacts,
    ModelState,
    PortFacts,
    TakenGpu,
)
from wmkml.doctor.observing import file_state, free_gib, machine_facts, osc_facts, program_facts, writing_problem
from wmkml.install.decency import SWITCHES
from wmkml.launcher.memory.devices import gpu_name
from wmkml.launcher.plan import Plan
from wmkml.launcher.supervision.configuration import is_writable
from wmkml.models.files import has_chat_template, has_own_format_only, has_tekken_only, is_complete, present_weights
from wmkml.protocol.doctor import DoctorReport
from wmkml.system.disk.reading import read_speed
from wmkml.system.ports import describe_listener, is_free

GIB = 2**30


def examine_plan(plan: Plan, *, thorough: bool = False, cluster_runs: bool = False) -> DoctorReport:
    """What the doctor finds on this machine with this plan.

    Args:
        thorough: also measure what takes seconds: torch on every GPU, the speed of the weights' disk, a datagram to OSC hosts.
        cluster_runs: the installation's own cluster runs now, and has its ports and GPUs.
    """
    return examine(facts_of(plan, thorough=thorough, cluster_runs=cluster_runs))


def problems(plan: Plan) -> list[str]:
    """A sentence, in English, for each thing that must be mended before a start; empty: the cluster can start."""
    return [
        *(sentence(result, "en") for result in examine_plan(plan).findings if result.blocks),
        *refused_settings(plan),
    ]


def refused_settings(plan: Plan) -> list[str]:
    """The plan's refusals that are about settings, and about no device: those the doctor finds."""
    devices = {device.name for device in plan.devices}
    return [refusal for refusal in plan.refusals if refusal.partition(": ")[0] not in devices]


def _has_owner(plan: Plan) -> bool:
    """False on a node."""
    return any(process.name == "owner" for process in plan.processes)


def warnings(plan: Plan) -> list[str]:
    """What `verification_mode` finds in the prompt files, by file and line; empty without that setting."""
    if not plan.settings.general.verification_mode:
        return []
    names = plan.settings.general.available_datasets or None
    lines = [str(problem) for problem in check_datasets(plan.paths.datasets, names)]
    return lines or ["verification_mode: every prompt file is in order."]


def facts_of(
    plan: Plan, environment: Mapping[str, str] | None = None, *, thorough: bool = False, cluster_runs: bool = False
) -> Facts:
    """Everything that the checks want to know."""
    environment = os.environ if environment is None else environment
    machine = plan.machine
    return Facts(
        machine_facts(machine.gpus, environment, gpus_pretended=machine.gpus_pretended),
        # A cluster that runs has the GPUs; another process must not take memory there.
        program_facts(machine.gpus, environment, count_by_torch=thorough and not cluster_runs),
        installation_facts(plan, thorough=thorough, cluster_runs=cluster_runs),
    )


def installation_facts(plan: Plan, *, thorough: bool, cluster_runs: bool) -> InstallationFacts:
    """What settings, folders and plan say."""
    paths, settings = plan.paths, plan.settings
    of_process = {process.name: process for process in plan.processes}
    serving, training = of_process.get("inference") or of_process["node"], of_process.get("worker")
    weights = present_weights(paths.model)
    certificate_problem, certificate_days = _certificate(paths)
    decency = settings.decency
    largest = max(weights, key=lambda path: path.stat().st_size, default=None)
    return InstallationFacts(
        cluster_runs=cluster_runs,
        unwritable_names=_unwritable_names(plan),
        data_folder=str(paths.data),
        data_problem=writing_problem(paths.data),
        disk_free_gib=free_gib(paths.data),
        model_name=settings.general.model_name,
        model_folder=str(paths.model),
        model_state=_model_state(plan),
        model_disk_free_gib=free_gib(paths.model),
        download_gib=plan.shape.weights_gib("bfloat16") if needs_download(plan) else 0.0,
        read_mib_s=read_speed(largest) if thorough and largest else None,
        weights_gib=sum(path.stat().st_size for path in weights) / GIB,
        ready_timeout_s=int(serving.environment.get(READY_TIMEOUT, 0)),
        keys=file_state(paths.keys, lambda: load_keys(paths)),
        keys_path=str(paths.keys),
        pin=file_state(paths.pin, lambda: load_pin(paths)),
        pin_path=str(paths.pin),
        ports=_ports(plan, cluster_runs=cluster_runs),
        osc=tuple(osc_facts(host, port, send=thorough) for host, port in settings.osc_targets),
        datasets=tuple(_datasets(plan)) if _has_owner(plan) else (),
        devices=_devices(plan),
        sizes_estimated=plan.shape.estimated,
        taken_gpus=_taken_gpus(plan),
        engine=settings.inference.engine,
        engine_gpus=len(serving.gpus),
        training_gpus=len(training.gpus) if training is not None else 0,
        engine_threads=serving.threads,
        worker_threads=training.threads if training is not None else 0,
        pages_built=(PAGES / "index.html").is_file(),
        trusts_addresses=bool(settings.trusted_hosts),
        loopback_only=settings.general.owner_host in ("127.0.0.1", "::1", "localhost"),
        certificate_problem=certificate_problem,
        certificate_days=certificate_days,
        held_back=tuple(name for name in SWITCHES if getattr(decency, name)),
        decency_asked=paths.decency_answer.exists(),
    )


def _certificate(paths: Paths) -> tuple[str, int | None]:
    """Why the owner's certificate cannot be used, and in how many days it runs out."""
    try:
        runs_out = check_certificate(paths)
    except CertificateError as error:
        return str(error), None
    return "", None if runs_out is None else (runs_out - datetime.now(UTC)).days


def needs_download(plan: Plan) -> bool:
    """Whether the model is from the hub and not complete here."""
    name = plan.settings.general.model_name
    of_hub = name != UNDERSTUDY and plan.paths.model.parent == plan.paths.models
    return of_hub and not is_complete(plan.paths.model)


def _unwritable_names(plan: Plan) -> tuple[tuple[str, str], ...]:
    # Every path and name that stands in the programs' commands.
    values = {
        "The project's folder": PROJECT,
        "general.data_folder": plan.paths.data,
        "general.model_name": plan.settings.general.model_name,
        "The Python of env/": sys.executable,
    }
    return tuple((key, str(value)) for key, value in values.items() if not is_writable(value))


def _ports(plan: Plan, *, cluster_runs: bool) -> tuple[PortFacts, ...]:
    general, inference = plan.settings.general, plan.settings.inference
    owner = ("general.owner_port", general.owner_host, general.owner_port)
    served = ("general.inference_port", inference.inference_host, general.inference_port)
    if not _has_owner(plan):
        return (_port(*served, own=cluster_runs),)
    if general.owner_port == general.inference_port != 0:
        return (PortFacts(*served, "same"),)
    return tuple(_port(*address, own=cluster_runs) for address in (owner, served))


def _port(key: str, host: str, port: int, *, own: bool) -> PortFacts:
    if own:
        return PortFacts(key, host, port, "own")
    try:
        if is_free(host, port):
            return PortFacts(key, host, port, "free")
    except OSError as error:
        return PortFacts(key, host, port, "refused", error.strerror or type(error).__name__)
    return PortFacts(key, host, port, "taken", describe_listener(port))


def _datasets(plan: Plan) -> list[DatasetFacts]:
    general, tuning = plan.settings.general, plan.settings.finetuning
    root = plan.paths.datasets
    known = ", ".join(list_datasets(root)) or "none"
    used = dict.fromkeys(name for names in tuning.dataset_array[: tuning.num_total_iters] for name in names)
    missing = []
    for key, name in [
        *(("general.available_datasets", name) for name in general.available_datasets),
        *(("finetuning.dataset_array", name) for name in used),
    ]:
        if is_adult(root, name) and not general.allow_adult_datasets:
            missing.append(DatasetFacts(key, name, "adult", str(root), known))
        elif not read_dataset(root, name).prompts:
            if (root / name).is_dir():
                missing.append(DatasetFacts(key, name, "empty", str(root / name), known))
            else:
                missing.append(DatasetFacts(key, name, "absent", str(root), known))
    if general.available_datasets:
        missing += [
            DatasetFacts("finetuning.dataset_array", name, "not_available", str(root), known)
            for name in used
            if name not in general.available_datasets
        ]
    return missing


def _devices(plan: Plan) -> tuple[DeviceFacts, ...]:
    refusals = {refusal.partition(": ")[0]: refusal for refusal in plan.refusals}
    return tuple(
        DeviceFacts(device.name, device.expected_gib, device.usable_gib, device.fits, refusals.get(device.name, ""))
        for device in plan.devices
    )


def _taken_gpus(plan: Plan) -> tuple[TakenGpu, ...] | None:
    used = {index for process in plan.processes for index in process.gpus}
    gpus = [gpu for gpu in plan.machine.gpus if gpu.index in used]
    if all(gpu.free_gib is None for gpu in gpus):
        return None
    needed = {device.name: device.least_free_gib for device in plan.devices}
    return tuple(
        TakenGpu(gpu, needed[gpu_name(gpu)])
        for gpu in gpus
        if gpu.free_gib is not None and gpu.free_gib < needed[gpu_name(gpu)]
    )


def _model_state(plan: Plan) -> ModelState:
    folder = plan.paths.model
    if needs_download(plan):
        return "to_fetch"
    if plan.settings.general.model_name == UNDERSTUDY:
        return "complete" if is_complete(folder) else "shipped_incomplete"
    if not is_complete(folder):
        return "own_format" if has_own_format_only(folder) else "incomplete"
    if has_tekken_only(folder) and not has_chat_template(folder) and importlib.util.find_spec("mistral_common") is None:
        return "no_tokenizer_library"
    return "complete"
